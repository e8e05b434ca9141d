"""Sinks: what happens to a heavy kernel's results before anything is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rushlight.compiler.graph import Var
from rushlight.compiler.grouping import Group
from rushlight.compiler.looping import Leaf, Point, apply, operand_dtype
from rushlight.loops.arrays import KINDS, Array, Sink, WindowSink
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


class FusedSink(Sink):
    """Takes a heavy kernel's results through the elementwise equations that follow, and stores what is needed."""

    __slots__ = ("following",)

    def __init__(self, group: Group, outputs: dict[Var, Array], looks: dict[Var, Leaf]) -> None:
        super().__init__(_as_made(group, next(iter(outputs.values()))))
        self.following = Following(group, outputs, looks)

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
    """As `FusedSink`, for a convolution that pools its result: the largest of each window and its place remain."""

    __slots__ = ("following", "pooling", "whole")

    def __init__(self, group: Group, outputs: dict[Var, Array], looks: dict[Var, Leaf]) -> None:
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

    @property
    def shape(self) -> tuple[int, ...]:
        """The convolution's result, before it is pooled."""
        return self.whole

    def merge(
        self, b: Kernel, index: Sequence[Any], number: int, value: Value, best: Any, axis: int,
        mask: Value | None = None,
    ) -> Any:  # fmt: skip
        """The largest so far and its place; the first of equals, and NaN before all numbers."""
        part = self.following.values(b, index, value, axis, mask)[self.pooling.operands[0]]
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
        for var, value in zip(self.pooling.outputs, best, strict=True):
            if var in self.following.outputs:
                self.following.outputs[var].store(b, index, value, axis, mask)


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
