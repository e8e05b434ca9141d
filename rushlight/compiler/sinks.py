"""Sinks: what happens to a heavy kernel's results before anything is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.grouping import Group
from rushlight.compiler.looping import Leaf, Point, apply, operand_dtype
from rushlight.loops.arrays import KINDS, Array, Sink, WindowSink, bytes_of
from rushlight.loops.builder import FLOATS, Value
from rushlight.loops.kernel import Kernel


class Following:
    """The elementwise equations behind a heavy primitive, applied to its results in registers."""

    def __init__(self, group: Group, outputs: dict[Var, Array], looks: dict[Var, Leaf]) -> None:
        self.group, self.outputs = group, outputs
        #: What the equations read besides the heavy result.
        self.leaves = looks

    @property
    def nest(self) -> Following:
        """A point finds its arrays here, as it does in a nest of loops."""
        return self

    @property
    def arrays(self) -> dict[Var, Array]:
        """The arrays behind the leaves."""
        return {v: leaf.array for v, leaf in self.leaves.items()}

    def values(
        self, b: Kernel, index: Sequence[Any], value: Value, axis: int | None, mask: Value | None
    ) -> dict[Var, Value]:
        """The values of all equations at a place, and those stored that others need."""
        head = self.group.equations[0].outputs[0]
        lanes = value.lanes
        along = 0 if axis is None else axis
        point = Point(self, b, index, along, lanes, mask)  # type: ignore[arg-type]
        kind = KINDS[head.dtype.name]
        point.values[head] = (
            value if value.kind == kind else b.convert(value, kind, head.dtype.kind != "u")
        )
        b.active = mask
        for equation in self.group.following:
            dtype = operand_dtype(equation)
            values = [point.of(o, dtype) for o in equation.operands]
            point.values[equation.outputs[0]] = b.splat(apply(b, equation, values), lanes)
        b.active = None
        for var, array in self.outputs.items():
            if var in point.values:
                array.store(b, index, point.values[var], axis, mask)
        return point.values

    @property
    def nbytes(self) -> int:
        """What the equations read and store."""
        read = [leaf.array for leaf in self.leaves.values() if leaf.equation is None]
        return sum(
            bytes_of(
                array.kind,
                math.prod(n for n, s in zip(array.shape, array.strides, strict=True) if s),
            )
            for array in (*read, *self.outputs.values())
        )


class FusedSink(Sink):
    """Takes a heavy kernel's results through the elementwise equations that follow, and stores what is needed."""

    __slots__ = ("following",)

    def __init__(self, group: Group, outputs: dict[Var, Array], looks: dict[Var, Leaf]) -> None:
        super().__init__(_as_made(group, next(iter(outputs.values()))))
        self.following = Following(group, outputs, looks)

    @property
    def nbytes(self) -> int:
        """What is moved for all results together."""
        return self.following.nbytes

    def reshape(self, shape: Sequence[int]) -> Sink | None:
        """The same equations over another shape, if all that they read and write can be seen in it."""
        outputs, looks = {}, {}
        for var, array in self.following.outputs.items():
            seen = array.reshape(shape)
            if seen is None:
                return None
            outputs[var] = seen
        for var, leaf in self.following.leaves.items():
            seen = leaf.array.reshape(shape)
            if seen is None:
                return None
            looks[var] = Leaf(leaf.key, seen, leaf.equation)
        return FusedSink(self.following.group, outputs, looks)

    def store(
        self,
        b: Kernel,
        index: Sequence[Any],
        value: Value,
        axis: int | None = None,
        mask: Value | None = None,
    ) -> None:
        """Applies the equations to a final value of the heavy primitive."""
        self.following.values(b, index, value, axis, mask)

    def reads(self) -> Sequence[Array]:
        """What the equations read besides the result."""
        leaves = self.following.leaves.values()
        return [leaf.array for leaf in leaves if leaf.equation is None]


def _as_made(group: Group, array: Array) -> Array:
    """An output of a group as its head sees it: what is stored may be of another dtype than what the head makes."""
    dtype = group.equations[0].outputs[0].dtype
    if array.dtype == dtype:
        return array
    return Array(array.memory, dtype, array.shape, array.strides, array.offset)


class PooledSink(WindowSink):
    """As `FusedSink`, for a convolution that pools its result: the largest of each window and its place remain.

    With `late`, the equations between are applied to what is left of a window (`may_pool_first` says whether they may).
    """

    __slots__ = ("following", "late", "pooling", "whole")

    def __init__(
        self, group: Group, outputs: dict[Var, Array], looks: dict[Var, Leaf], late: bool
    ) -> None:
        pooling = group.pooling
        assert pooling is not None  # noqa: S101 - the group has a pooling
        first = outputs.get(pooling.outputs[0]) or next(iter(outputs.values()))
        super().__init__(
            _as_made(group, first),
            tuple(pooling.params["size"]),
        )
        self.following = Following(group, outputs, looks)
        self.pooling = pooling
        self.whole = group.shape
        self.late = late

    @property
    def shape(self) -> tuple[int, ...]:
        """The convolution's result, before it is pooled."""
        return self.whole

    def prepare(
        self, b: Kernel, index: Sequence[Any], value: Value, axis: int, mask: Value | None = None
    ) -> Value:
        """The result behind the equations that come before the pooling."""
        if self.late:
            return value
        return self.following.values(b, index, value, axis, mask)[self.pooling.operands[0]]

    def merge(self, b: Kernel, number: int, part: Value, best: Any) -> Any:
        """The largest so far and its place; the first of equals, and NaN before all numbers."""
        kind = KINDS[self.pooling.outputs[1].dtype.name]
        if best is None:
            return part, b.const(0, kind, part.lanes)
        largest, place = best
        better = b.compare("gt", part, largest)
        if part.kind in FLOATS:
            better = better | b.compare("uno", part, part)
        return (
            b.select(better, part, largest),
            b.select(better, b.const(number, kind, part.lanes), place),
        )

    def store_window(
        self, b: Kernel, index: Sequence[Any], best: Any, axis: int, mask: Value | None = None
    ) -> None:
        """Stores the largest and its place."""
        largest, place = best
        if self.late:
            pooled = self.pooling.operands[0]
            largest = self.following.values(b, index, largest, axis, mask)[pooled]
        best = (largest, place)
        for var, value in zip(self.pooling.outputs, best, strict=True):
            if var in self.following.outputs:
                self.following.outputs[var].store(b, index, value, axis, mask)


def may_pool_first(group: Group, leaves: dict[Var, Leaf], graph: Graph) -> bool:
    """Whether the equations between a convolution and its pooling can as well follow the pooling.

    They can if none turns the order of numbers around (a bias that is the same for a window, a relu), nobody needs
    their results, and the place of the largest is asked for only where they have not made it equal to others: gradients
    that pass where the pooled value is positive.
    """
    pooling = group.pooling
    assert pooling is not None  # noqa: S101 - the group has a pooling
    values, places = pooling.outputs
    if not set(group.outputs) <= {values, places} or places in graph.outputs:
        return False
    at = group.equations[0].outputs[0]
    cut = False
    for equation in group.following:
        name, operands = equation.primitive.name, equation.operands
        others = [o for o in operands if o is not at]
        if len(others) != 1 or name not in ("add", "maximum"):
            return False
        cut = cut or name == "maximum"
        if name == "maximum" and (isinstance(others[0], Var) or others[0] > 0):
            return False
        if isinstance(others[0], Var):
            rank = len(pooling.params["size"])
            leaf = leaves.get(others[0])
            if leaf is None or any(leaf.array.strides[-rank:]):
                return False
        at = equation.outputs[0]
    if at is not pooling.operands[0]:
        return False
    readers = [e for e in graph.equations if places in e.operands]
    return all(_asks_for_positive(e, values, places, cut) for e in readers)


def _asks_for_positive(reader: Equation, values: Var, places: Var, cut: bool) -> bool:
    """Whether places are read to put a gradient there; after a cut at 0, one that is 0 where the pooled value is."""
    number = reader.operands.index(places)
    if reader.primitive.name not in PLACING or number == 0:
        return False
    grad = reader.operands[number - 1]
    masked = grad.equation if isinstance(grad, Var) else None
    if not cut:
        return True
    if masked is None or masked.primitive.name != "select":
        return False
    mask, _, otherwise = masked.operands
    test = mask.equation if isinstance(mask, Var) else None
    return (
        not isinstance(otherwise, Var)
        and otherwise == 0
        and test is not None
        and test.primitive.name == "greater"
        and test.operands[0] is values
        and not isinstance(test.operands[1], Var)
        and test.operands[1] >= 0
    )


#: Primitives that read a gradient and, behind it, the places where it goes.
PLACING = frozenset({"place_windows", "convolve_input_placed", "convolve_weight_placed"})


def leaves_none_over(result: Var, pooling: Equation) -> bool:
    """Whether windows reach every pixel of a convolution's result: those that none reaches are not computed."""
    sizes = zip(result.shape[2:], pooling.params["size"], strict=True)
    return all(n % k == 0 for n, k in sizes)


def pools_alone(head: Equation, pooling: Equation, graph: Graph) -> bool:
    """Whether nobody but a pooling needs a convolution's result, nor what is made of it on the way."""
    result, at = head.outputs[0], pooling.operands[0]
    made = {result}
    while at is not result:
        made.add(at)
        before = [o for o in at.equation.operands if isinstance(o, Var) and o.shape == result.shape]
        if len(before) != 1 or before[0].equation is None:
            return False
        at = before[0]
    if not made.isdisjoint(graph.outputs):
        return False
    readers = (
        e for e in graph.equations if any(o in made for o in e.operands if isinstance(o, Var))
    )
    return all(e is pooling or e.outputs[0] in made for e in readers)


def pools_side_by_side(params: dict[str, Any]) -> bool:
    """Whether the windows of a pooling touch without overlap, and nothing lies between or outside."""
    return (
        tuple(params["size"]) == tuple(params["stride"])
        and set(params["dilation"]) == {1}
        and not any((*params["before"], *params["after"]))
        and math.prod(params["size"]) <= MOST_PLACES
    )


#: Results of a window that are merged in registers, at most.
MOST_PLACES = 16
