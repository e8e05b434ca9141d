"""Panels: a matrix laid out so that register tiles read it in order, a few vectors of columns at a time.

panel, row, column of the panel          columns beyond the matrix hold anything, and are never stored
"""

from __future__ import annotations

from collections.abc import Callable

from rushlight.loops.arrays import Array
from rushlight.loops.builder import Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import along, transpose


class Panels:
    """A matrix (depth, columns) in panels of at most `vectors` registers, as even as can be."""

    def __init__(self, plan: Plan, matrix: Array, vectors: int) -> None:
        self.lanes = plan.target.lanes(matrix.kind)
        self.depth, self.columns = matrix.shape
        registers = -(-self.columns // self.lanes)
        self.count = -(-registers // vectors)
        self.vectors = -(-registers // self.count)
        self.width = self.vectors * self.lanes
        self._packed = plan.scratch(matrix.dtype, (self.count, self.depth, self.width))
        work = 0.2 * self.depth * self.width
        b = plan.kernel("panels", self.count, work, nbytes=2 * matrix.size * matrix.dtype.itemsize)
        pack = self._turn if matrix.strides[0] == 1 != matrix.strides[1] else self._copy
        b.over_items(lambda panel: pack(b, matrix, panel))

    def each(
        self,
        b: Kernel,
        body: Callable[[Value, Value, list[Value | None]], None],
        backwards: Value | None = None,
    ) -> None:
        """Runs `body(address, first column, mask of each vector)` for all panels; the last may have fewer vectors.

        `backwards` says, while the kernel runs, whether full panels come in the other order.
        """
        last = -(-(self.columns - (self.count - 1) * self.width) // self.lanes)
        ragged = last < self.vectors or self.columns % self.lanes != 0
        full = self.count - 1 if ragged else self.count

        def panel(number: Value, masks: list[Value | None]) -> None:
            if backwards is not None and full > 1 and number.number is None:
                number = b.select(backwards, full - 1 - number, number)
            base = b.address(
                b.pointer(self._packed), number * (self.depth * self.width), self._packed.kind
            )
            body(base, number * self.width, masks)

        whole: list[Value | None] = [None] * self.vectors
        b.loop(0, full, lambda number: panel(number, whole), label="panel")
        if ragged:
            masks: list[Value | None] = [None] * last
            if self.columns % self.lanes:
                masks[-1] = b.lane_mask(b.const(self.columns % self.lanes), self.lanes)
            panel(b.const(full), masks)

    # -- laying out ------------------------------------------------------------------------------------------

    def _copy(self, b: Kernel, matrix: Array, panel: Value) -> None:
        """Rows, a panel's width of each."""
        target = b.pointer(self._packed)
        first, aim = panel * self.width, panel * (self.depth * self.width)

        def row(k: Value) -> None:
            for v in range(self.vectors):
                column = first + v * self.lanes
                mask = None
                if self.columns % self.width:
                    mask = b.lane_mask(b.const(self.columns) - column, self.lanes)
                value = matrix.load(b, [k, column], 1, self.lanes, mask)
                b.store(value, target, aim + k * self.width + v * self.lanes)

        b.loop(0, self.depth, row, label="row")

    def _turn(self, b: Kernel, matrix: Array, panel: Value) -> None:
        """Columns that lie one after the other, turned in squares of lanes."""
        target = b.pointer(self._packed)
        first, aim = panel * self.width, panel * (self.depth * self.width)

        def square(k: Value, w: int, mask: Value | None) -> None:
            for v in range(self.vectors):
                lines = []
                for lane in range(self.lanes):
                    column = first + (v * self.lanes + lane)
                    if self.columns % self.width:
                        column = b.intrinsic("smin", column, b.const(self.columns - 1))
                    lines.append(matrix.load(b, [k, column], 0, w, mask))
                turned = transpose(b, lines)
                rows = self.lanes if mask is None else self.depth % self.lanes
                for j in range(rows):
                    b.store(turned[j], target, aim + (k + j) * self.width + v * self.lanes)

        along(b, b.const(0), b.const(self.depth), self.lanes, square)
