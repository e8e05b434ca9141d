"""Normalized rows and their gradients: a row is read once and stays in registers, or in the first cache.

What rows add to the gradients of weight and bias is summed in parts of rows whose number follows from the shape, so
that the sums have the same bits at any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import F32, F64, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import along
from rushlight.primitives import normalization as p
from rushlight.primitives.lowerings.copying import copy_into

#: Parts of rows that are summed apart, at most, and rows that each has at least.
MOST_PARTS, PART_ROWS = 32, 16
#: Elements that an item of the forward kernel holds, about.
ITEM_ELEMENTS = 2048
#: Nanoseconds for a vector, forward and back; and for what a row costs besides.
FORWARD_NS, BACK_NS, ROW_NS = 1.2, 4.0, 15.0

#: `body(column, lanes, mask, *carried)`, as `along` calls it.
Body = Callable[..., Any]


def _rows_in_order(plan: Plan, x: Array) -> Array:
    """The array, or a copy whose rows lie side by side."""
    if x.strides[1] == 1 or x.shape[1] == 1:
        return x
    copy = plan.scratch(x.dtype, x.shape)
    copy_into(plan, Sink(copy), x)
    return copy


class _Row:
    """Loads of rows of one array; vectors that were loaded are known again where loops are written out."""

    def __init__(self, b: Kernel, array: Array, index: list[Value]) -> None:
        self.b, self.array, self.index = b, array, index
        self._known: dict[int, Value] = {}

    def at(self, column: Value, lanes: int, mask: Value | None) -> Value:
        """A vector of the row from a column on."""
        known = self._known.get(column.number) if column.number is not None else None
        if known is None:
            known = self.array.load(self.b, [*self.index, column], len(self.index), lanes, mask)
            if column.number is not None:
                self._known[column.number] = known
        return known


def _over(
    b: Kernel, n: int, lanes: int, body: Body, carried: Sequence[Value] = ()
) -> Sequence[Value]:
    """Runs `body` along a row: written out where the row fits the registers."""
    if n > 8 * lanes:
        return along(b, b.const(0), b.const(n), lanes, body, carried)
    values = tuple(carried)
    for column in range(0, n, lanes):
        valid = min(lanes, n - column)
        mask = None if valid == lanes else b.lane_mask(b.const(valid), lanes)
        values = b._carry(body(b.const(column), lanes, mask, *values)) or ()
    return values


def _only(b: Kernel, mask: Value | None, value: Value) -> Value:
    """Zero in the lanes beyond the row."""
    return value if mask is None else b.select(mask, value, 0.0)


@p.normalize_rows.define_lowering
def _(plan: Plan, sinks: Sequence[Sink], operands: Sequence[Array], *, eps: float) -> bool | None:
    x, weight, bias = operands
    result, centers, scales = sinks
    if x.kind not in (F32, F64):
        return False
    x = _rows_in_order(plan, x)
    rows, n = x.shape
    kind, lanes = x.kind, plan.target.lanes(x.kind)
    many = max(1, min(rows, ITEM_ELEMENTS // n))
    items = -(-rows // many)
    vectors = -(-n // lanes)
    b = plan.kernel(
        "normalize",
        items,
        many * (vectors * FORWARD_NS + ROW_NS),
        nbytes=2 * x.size * x.dtype.itemsize,
    )

    def row(i: Value) -> None:
        line = _Row(b, x, [i])
        zero = b.const(0, kind, lanes)

        def add(c: Value, w: int, mask: Value | None, total: Value) -> Value:
            return total + line.at(c, w, mask)

        center = b.reduce("add", *_over(b, n, lanes, add, [zero])) * (1.0 / n)
        middle = b.splat(center, lanes)

        def add_square(c: Value, w: int, mask: Value | None, total: Value) -> Value:
            apart = _only(b, mask, line.at(c, w, mask) - middle)
            return b.multiply_add(apart, apart, total)

        spread = b.reduce("add", *_over(b, n, lanes, add_square, [zero])) * (1.0 / n)
        scale = 1.0 / b.sqrt(spread + eps)
        wide = b.splat(scale, lanes)

        def put(c: Value, w: int, mask: Value | None) -> None:
            value = (line.at(c, w, mask) - middle) * wide
            value = value * weight.load(b, [c], 0, w, mask) + bias.load(b, [c], 0, w, mask)
            result.store(b, [i, c], value, 1, mask)

        _over(b, n, lanes, put)
        centers.store(b, [i], center)
        scales.store(b, [i], scale)

    def item(number: Value) -> None:
        first = number * many
        last = first + many
        if rows % many:
            last = b.intrinsic("smin", last, b.const(rows))
        b.loop(first, last, row, label="rows")

    b.over_items(item)
    return None


@p.normalize_rows_adjoint.define_lowering
def _(plan: Plan, sinks: Sequence[Sink], operands: Sequence[Array]) -> bool | None:
    grad, x, weight, centers, scales = operands
    to_x, to_weight, to_bias = sinks
    if x.kind not in (F32, F64):
        return False
    x, grad = _rows_in_order(plan, x), _rows_in_order(plan, grad)
    rows, n = x.shape
    kind, lanes = x.kind, plan.target.lanes(x.kind)
    parts = max(1, min(MOST_PARTS, rows // PART_ROWS))
    many = -(-rows // parts)
    parts = -(-rows // many)
    vectors = -(-n // lanes)
    partial = plan.scratch(x.dtype, (parts, 2, n))
    b = plan.kernel(
        "normalize_adjoint",
        parts,
        many * (vectors * BACK_NS + ROW_NS),
        nbytes=3 * x.size * x.dtype.itemsize,
    )

    def item(part: Value) -> None:
        zero = b.const(0, kind, lanes)

        def clear(c: Value, w: int, mask: Value | None) -> None:
            for which in range(2):
                partial.store(b, [part, which, c], zero, 2, mask)

        _over(b, n, lanes, clear)
        first = part * many
        last = first + many
        if rows % many:
            last = b.intrinsic("smin", last, b.const(rows))
        b.loop(first, last, lambda i: row(part, i), label="rows")

    def row(part: Value, i: Value) -> None:
        line, through = _Row(b, x, [i]), _Row(b, grad, [i])
        middle = b.splat(centers.load(b, [i]), lanes)
        scale = b.splat(scales.load(b, [i]), lanes)
        zero = b.const(0, kind, lanes)

        def standard(c: Value, w: int, mask: Value | None) -> Value:
            return _only(b, mask, (line.at(c, w, mask) - middle) * scale)

        def add(
            c: Value, w: int, mask: Value | None, level: Value, across: Value
        ) -> tuple[Value, Value]:
            g, s = through.at(c, w, mask), standard(c, w, mask)
            for which, value in enumerate((g * s, g)):
                before = partial.load(b, [part, which, c], 2, w, mask)
                partial.store(b, [part, which, c], before + value, 2, mask)
            weighted = g * weight.load(b, [c], 0, w, mask)
            return level + weighted, b.multiply_add(weighted, s, across)

        sums = _over(b, n, lanes, add, [zero, zero])
        level, across = (b.splat(b.reduce("add", t) * (1.0 / n), lanes) for t in sums)

        def put(c: Value, w: int, mask: Value | None) -> None:
            weighted = through.at(c, w, mask) * weight.load(b, [c], 0, w, mask)
            value = scale * (weighted - level - standard(c, w, mask) * across)
            to_x.store(b, [i, c], value, 1, mask)

        _over(b, n, lanes, put)

    b.over_items(item)
    _sum_parts(plan, partial, (to_weight, to_bias))
    return None


def _sum_parts(plan: Plan, partial: Array, sinks: Sequence[Sink]) -> None:
    """The kernel that adds the parts, in order."""
    parts, _, n = partial.shape
    lanes = plan.target.lanes(partial.kind)
    b = plan.kernel("sum_parts", 1, 2 * parts * -(-n // lanes) * 0.5)

    def item(_: Value) -> None:
        for which, sink in enumerate(sinks):

            def column(
                c: Value, w: int, mask: Value | None, which: int = which, sink: Sink = sink
            ) -> None:
                total = partial.load(b, [b.const(0), which, c], 2, w, mask)
                for part in range(1, parts):
                    total = total + partial.load(b, [b.const(part), which, c], 2, w, mask)
                sink.store(b, [c], total, 0, mask)

            along(b, b.const(0), b.const(n), lanes, column)

    b.over_items(item)
