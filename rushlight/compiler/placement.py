"""Where values lie: inputs, the caller's memory for outputs, parts of concatenations, orders that products can give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.grouping import REDUCTIONS, Group, Grouping
from rushlight.compiler.layout import choose_order
from rushlight.core.memory import ALIGNED_BYTES
from rushlight.core.shapes import contiguous_strides
from rushlight.loops.arrays import KINDS, Array, Memory


class Placement:
    """Gives each value of a graph an array, which the values of a group are then made in.

    `given` are the strides, in elements, of inputs that are not contiguous; `safe` is the last group before which no
    state may be written; with `streams`, what the caller gets and nobody else reads is stored past the caches.
    """

    def __init__(
        self,
        graph: Graph,
        grouping: Grouping,
        layouts: Mapping[Var, Any],
        writable: Sequence[tuple[int, int]],
        given: Mapping[int, Sequence[int]],
        safe: int,
        streams: bool,
    ) -> None:
        self.graph, self.grouping = graph, grouping
        self._layouts, self._safe, self._streams = layouts, safe, streams
        #: Where values lie that have been placed.
        self.arrays: dict[Var, Array] = {}
        self.inputs: list[Array] = []
        self.outputs: list[Array] = []
        self._wholes: dict[Var, Array] = {}
        for i, var in enumerate(graph.inputs):
            name = f"input {i}"
            array = (
                Array(Memory(bytes_of(var), name), var.dtype, var.shape, given.get(i))
                if var.dtype.name in KINDS
                else _opaque(var, name)
            )
            self.inputs.append(array)
            self.arrays[var] = array
        #: By value: the concatenation that it is made for, and its number there.
        self.destinations = self._find_destinations()
        self._orders = self._wanted_orders()
        #: Outputs that are copied at the end, and where to; those that are made where they are wanted.
        self.copies: list[tuple[Var, Array]] = []
        self.claimed: dict[Var, Array] = {}
        #: By new value of a state: the input that it is written over.
        self.overwritten: dict[Var, Var] = {}
        self._claim_outputs(writable)

    def _find_destinations(self) -> dict[Var, tuple[Equation, int]]:
        """Values that are made where a concatenation wants them."""
        found: dict[Var, tuple[Equation, int]] = {}
        for group in self.grouping.groups:
            head = group.head
            if head is not None and head.primitive.name == "concatenate" and group.kind == "heavy":
                for i, operand in enumerate(head.operands):
                    if isinstance(operand, Var) and self._only_reshaped(operand):
                        found.setdefault(self.grouping.root(operand), (head, i))
        return found

    def _only_reshaped(self, var: Var) -> bool:
        """Whether a value lies in the memory of its root as it was made, or as a product can be told to make it."""
        permuted = False
        while var in self.grouping.views:
            equation = self.grouping.views[var]
            if equation.primitive.name not in ("reshape", "permute"):
                return False
            permuted |= equation.primitive.name == "permute"
            var = equation.operands[0]
        group = self.grouping.group_of.get(var)
        return group is not None and (not permuted or _is_product(group, var))

    def _wanted_orders(self) -> dict[Var, tuple[int, ...]]:
        """For products that are wanted with permuted axes, as one run of memory: the order that gives just that."""
        found: dict[Var, tuple[int, ...]] = {}
        for view in self.grouping.views.values():
            source = view.operands[0]
            before = self.grouping.views.get(source)
            if view.primitive.name != "reshape" or before is None:
                continue
            root = before.operands[0]
            group = self.grouping.group_of.get(root)
            if before.primitive.name != "permute" or group is None or not _is_product(group, root):
                continue
            axes = before.params["axes"]
            natural = Array(Memory(0), root.dtype, root.shape).permute(axes)
            if natural.reshape(view.outputs[0].shape) is None:
                found.setdefault(root, tuple(axes))
        return found

    def _part(self, var: Var) -> Array | None:
        """The place of a value inside of the concatenation that it goes to."""
        head, number = self.destinations[var]
        whole = self.whole(head)
        axis = head.params["axis"]
        start = sum(o.shape[axis] for o in head.operands[:number])
        operand = head.operands[number]
        starts, stops = [0] * whole.ndim, list(whole.shape)
        starts[axis], stops[axis] = start, start + operand.shape[axis]
        part: Array | None = whole.slice(starts, stops, [1] * whole.ndim)
        while part is not None and operand is not var:  # the views between, backwards
            view = self.grouping.views[operand]
            operand = view.operands[0]
            if view.primitive.name == "reshape":
                part = part.reshape(operand.shape)
            else:
                axes = view.params["axes"]
                part = part.permute(sorted(range(len(axes)), key=axes.__getitem__))
        return part

    def whole(self, head: Equation) -> Array:
        """The memory of a concatenation, which is there before its parts are."""
        result = head.outputs[0]
        found = self._wholes.get(result)
        if found is None:
            found = self._wholes[result] = self.allocate(result, None)
        return found

    def _claim_outputs(self, writable: Sequence[tuple[int, int]]) -> None:
        """Decides for each output of the graph whether its maker writes straight into the caller's memory."""
        into = dict(writable)
        returned = {self.grouping.root(v) for v in self.graph.outputs}
        for number, var in enumerate(self.graph.outputs):
            if number in into:
                array = self.inputs[into[number]]
                source = self.graph.inputs[into[number]]
                if var is source:
                    self.outputs.append(array)
                    continue
                direct = (
                    self.grouping.ready(var) > self._safe
                    and source not in returned
                    and self._may_overwrite(var, source)
                )
            else:
                memory = Memory(bytes_of(var), f"output {number}", self._is_streamed(var))
                array = (
                    Array(memory, var.dtype, var.shape)
                    if var.dtype.name in KINDS
                    else _opaque(var, f"output {number}")
                )
                direct = (
                    self._layouts.get(var) is None
                )  # else it is turned at the end, in whole squares
            self.outputs.append(array)
            if direct and var in self.grouping.group_of and var not in self.claimed:
                self.claimed[var] = array
                if number in into:
                    self.overwritten[var] = self.graph.inputs[into[number]]
            else:
                self.copies.append((var, array))

    def _is_streamed(self, var: Var) -> bool:
        """Whether a result is better written past the caches: it is large, and no kernel reads it."""
        return (
            self._streams
            and bytes_of(var) >= ALIGNED_BYTES
            and self.grouping.last_reader.get(self.grouping.root(var), -1) < 0
        )

    def allocate(self, var: Var, group: Group | None) -> Array:
        """Memory for a value that is about to be made, in the order that its group's kernels want."""
        claimed = self.claimed.get(var)
        if claimed is not None:
            return claimed
        if var in self.destinations:
            part = self._part(var)
            if part is not None:
                return part
        if var.dtype.name not in KINDS:
            return _opaque(var, "object")
        memory = Memory(bytes_of(var), "")
        order = self._orders.get(var)
        if order is None and group is not None:
            order = choose_order(group, var, self.arrays, self._layouts)
        return Array(
            memory, var.dtype, var.shape, None if order is None else _strides(var.shape, order)
        )

    def _may_overwrite(self, var: Var, source: Var) -> bool:
        """Whether a state's new value may be written over the old one while it is computed."""
        group = self.grouping.group_of.get(var)
        if group is None or self.grouping.last_reader.get(source, -1) > group.number:
            return False
        if source not in group.reads:
            return True
        if group.kind == "host" or var.shape != group.shape:
            return False
        for equation in group.equations:
            for operand in equation.operands:
                if isinstance(operand, Var) and self.grouping.root(operand) is source:
                    if (
                        operand is not source
                        or equation is group.head
                        or source.shape != group.shape
                    ):
                        return False
                    if equation.primitive.name in REDUCTIONS:
                        continue
        return True


def _opaque(var: Var, name: str) -> Array:
    """An array of a dtype that kernels do not know: only host steps touch it."""
    array = object.__new__(Array)
    array.memory, array.dtype, array.kind = Memory(bytes_of(var), name), var.dtype, ""
    array.shape, array.offset = var.shape, 0
    array.strides = contiguous_strides(var.shape)
    return array


def bytes_of(var: Var) -> int:
    """Bytes that a value takes in memory."""
    return max(64, var.size * var.dtype.itemsize)


def _is_product(group: Group, var: Var) -> bool:
    """Whether a value is a product's result, or of its shape and stored with it: it may lie in any order."""
    head = group.head
    return (
        head is not None
        and head.primitive.name == "contract"
        and group.kind == "heavy"
        and var.shape == head.outputs[0].shape
    )


def _strides(shape: Sequence[int], order: Sequence[int]) -> list[int]:
    """Strides of memory in which dimensions lie in the given order, outermost first."""
    strides = [0] * len(shape)
    step = 1
    for d in reversed(order):
        strides[d] = step
        step *= max(shape[d], 1)
    return strides
