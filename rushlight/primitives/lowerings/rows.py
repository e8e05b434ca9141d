"""Whole rows at once: softmax and its logarithm, the place of the largest element, running sums."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.loops import math
from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BF16, F16, F32, F64, FLOATS, I64, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import along, decompose, spread
from rushlight.primitives import reduction
from rushlight.primitives import softmax as s

#: A row of up to this many elements is kept on the stack between its passes.
KEPT = 2048
#: Rows of up to this many vectors are kept in registers, and so many of them go side by side.
SHORT, SIDE = 8, 4


def _wide(b: Kernel, value: Value) -> Value:
    return b.convert(value, F32) if value.kind in (F16, BF16) else value


def _softmax(plan: Plan, sink: Sink, x: Array, axis: int, logarithm: bool) -> bool | None:
    if x.kind not in FLOATS or not x.ndim:
        return False
    kind = F64 if x.kind == F64 else F32
    lanes = plan.target.lanes(kind)
    stem = "log_softmax" if logarithm else "softmax"
    n = x.shape[axis]
    if (x.strides[axis] == 1 or x.ndim == 1) and n >= 4:
        _along_rows(plan, sink, x, axis, logarithm, kind, lanes, stem)
        return None
    others = [d for d in range(x.ndim) if d != axis and x.shape[d] != 1]
    lane_axis = next((d for d in others if x.strides[d] == 1), others[-1] if others else axis)
    if lane_axis == axis:
        lanes = 1

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        def at(k: Value) -> Value:
            place = list(index)
            place[axis] = k
            return _wide(b, x.load(b, place, lane_axis, w, mask))

        start = b.const(float("-inf"), kind, w)
        (top,) = b.loop(0, n, lambda k, t: b.maximum(t, at(k)), [start], label="top")
        (total,) = b.loop(
            0, n, lambda k, t: t + math.exp(b, at(k) - top), [b.const(0.0, kind, w)], label="sum"
        )
        last = math.log(b, total) if logarithm else 1.0 / total

        def put(k: Value) -> None:
            place = list(index)
            place[axis] = k
            shifted = at(k) - top
            value = shifted - last if logarithm else math.exp(b, shifted) * last
            sink.store(b, place, b.convert(value, sink.array.kind), lane_axis, mask)

        b.loop(0, n, put, label="out")

    shape = [1 if d == axis else m for d, m in enumerate(x.shape)]
    spread(plan, stem, shape, lane_axis, lanes, n * 12.0, body)
    return None


def _along_rows(
    plan: Plan, sink: Sink, x: Array, axis: int, logarithm: bool, kind: str, lanes: int, stem: str
) -> None:
    others = [d for d in range(x.ndim) if d != axis and x.shape[d] != 1]
    n = x.shape[axis]
    rows = 1
    for d in others:
        rows *= x.shape[d]
    if n <= SHORT * lanes:
        _short_rows(plan, sink, x, axis, others, rows, logarithm, kind, lanes, stem)
        return
    b = plan.kernel(stem, rows, max(1, n // lanes) * 25.0 + 20, nbytes=8 * x.size)
    kept = b.scratch(kind, n) if n <= KEPT and not logarithm else None

    def row(i: Value) -> None:
        index: list[Any] = [b.const(0)] * x.ndim
        for d, place in zip(
            others, decompose(b, i, [x.shape[d] for d in others]) if others else [], strict=True
        ):
            index[d] = place
        low, high = b.const(0), b.const(n)

        def at(k: Value, w: int, mask: Value | None) -> Value:
            place = list(index)
            place[axis] = k
            return _wide(b, x.load(b, place, axis, w, mask))

        def larger(k: Value, w: int, mask: Value | None, t: Value) -> Value:
            value = at(k, w, mask)
            if mask is not None:
                value = b.select(mask, value, float("-inf"))
            return b.maximum(t, value)

        (top,) = along(b, low, high, lanes, larger, [b.const(float("-inf"), kind, lanes)])
        top = b.reduce("max", top)

        def add(k: Value, w: int, mask: Value | None, t: Value) -> Value:
            value = math.exp(b, at(k, w, mask) - b.splat(top, w))
            if kept is not None:
                b.store(value, kept, k, mask=mask)
            if mask is not None:
                value = b.select(mask, value, 0.0)
            return t + value

        (total,) = along(b, low, high, lanes, add, [b.const(0.0, kind, lanes)])
        total = b.reduce("add", total)
        last = math.log(b, total) if logarithm else 1.0 / total

        def put(k: Value, w: int, mask: Value | None) -> None:
            place = list(index)
            place[axis] = k
            if logarithm:
                value = at(k, w, mask) - b.splat(top, w) - b.splat(last, w)
            elif kept is not None:
                value = b.load(kept, k, kind, w, mask=mask) * b.splat(last, w)
            else:
                value = math.exp(b, at(k, w, mask) - b.splat(top, w)) * b.splat(last, w)
            sink.store(b, place, b.convert(value, sink.array.kind), axis, mask)

        along(b, low, high, lanes, put)

    b.over_items(row)


def _short_rows(
    plan: Plan, sink: Sink, x: Array, axis: int, others: list[int], rows: int, logarithm: bool, kind: str,
    lanes: int, stem: str,
) -> None:  # fmt: skip
    """Rows of a few vectors are read once; some of them go side by side, as each has to wait for its own sums."""
    n = x.shape[axis]
    starts = range(0, n, lanes)
    side = max(1, min(SIDE, rows, plan.target.registers // (2 * len(starts))))
    b = plan.kernel(stem, -(-rows // side), side * len(starts) * 15.0 + 20, nbytes=8 * x.size)
    tail = b.lane_mask(b.const(n % lanes), lanes) if n % lanes else None
    masks = [tail if start + lanes > n else None for start in starts]

    def together(values: list[Value], combine: Callable[[Value, Value], Value]) -> Value:
        while len(values) > 1:
            pairs = [combine(a, c) for a, c in zip(values[::2], values[1::2], strict=False)]
            values = [*pairs, *values[2 * len(pairs) :]]
        return values[0]

    def item(i: Value) -> None:
        places: list[list[Any]] = []
        there: list[Value] = []
        for r in range(side):
            number = i * side + r
            there.append(b.compare("lt", number, b.const(rows)))
            if rows % side:  # the last item reads its last row several times
                number = b.intrinsic("smin", number, b.const(rows - 1))
            index: list[Any] = [b.const(0)] * x.ndim
            found = decompose(b, number, [x.shape[d] for d in others]) if others else []
            for d, place in zip(others, found, strict=True):
                index[d] = place
            places.append(index)

        def at(index: list[Any], start: int) -> list[Any]:
            return [b.const(start) if d == axis else place for d, place in enumerate(index)]

        lines: list[list[Value]] = []
        for index in places:
            line = []
            for start, mask in zip(starts, masks, strict=True):
                value = _wide(b, x.load(b, at(index, start), axis, lanes, mask))
                line.append(value if mask is None else b.select(mask, value, float("-inf")))
            lines.append(line)
        tops = [b.reduce("max", together(line, b.maximum)) for line in lines]
        lines = [
            [value - b.splat(top, lanes) for value in line]
            for line, top in zip(lines, tops, strict=True)
        ]
        powers = [[math.exp_down(b, value) for value in line] for line in lines]
        totals = b.const(1.0, kind, side)
        for r, line in enumerate(powers):
            total = b.reduce("add", together(line, lambda a, c: a + c))
            totals = total if side == 1 else b.insert(totals, total, r)
        lasts = math.log(b, totals) if logarithm else 1.0 / totals

        def put(r: int) -> None:
            last = b.splat(lasts if side == 1 else b.extract(lasts, r), lanes)
            for v, (start, mask) in enumerate(zip(starts, masks, strict=True)):
                value = lines[r][v] - last if logarithm else powers[r][v] * last
                value = b.convert(value, sink.array.kind)
                sink.store(b, at(places[r], start), value, axis, mask)

        for r in range(side):
            # Each once: what follows in the sink may write over what it reads.
            if r and rows % side:
                b.when(there[r], functools.partial(put, r))
            else:
                put(r)

    b.over_items(item)


@s.softmax.define_lowering
def _(plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, axis: int) -> bool | None:
    return _softmax(plan, sinks[0], operands[0], axis, False)


@s.log_softmax.define_lowering
def _(plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, axis: int) -> bool | None:
    return _softmax(plan, sinks[0], operands[0], axis, True)


# -- lines: one result after the other along an axis ---------------------------------------------------------


def _lines(
    plan: Plan,
    stem: str,
    x: Array,
    axis: int,
    work: float,
    body: Callable[[Kernel, list[Any], int, Value | None, int], None],
) -> None:
    """Runs `body(b, index, lanes, mask, lane axis)` for every line along `axis`, lanes along another dimension."""
    others = [d for d in range(x.ndim) if d != axis and x.shape[d] != 1]
    lane_axis = next((d for d in others if x.strides[d] == 1), -1)
    lanes = (
        plan.target.lanes(x.kind if x.kind in FLOATS and x.kind not in (F16, BF16) else F32)
        if lane_axis >= 0
        else 1
    )
    if lane_axis < 0:
        lane_axis = others[-1] if others else axis
    shape = [1 if d == axis else m for d, m in enumerate(x.shape)]
    spread(
        plan, stem, shape, lane_axis, lanes, work, lambda b, i, w, m: body(b, i, w, m, lane_axis)
    )


def _position(largest: bool) -> Callable[..., bool | None]:
    def lowering(
        plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, axis: int
    ) -> bool | None:
        x, sink = operands[0], sinks[0]
        if not x.ndim:
            return False
        n = x.shape[axis]

        def body(b: Kernel, index: list[Any], w: int, mask: Value | None, lane_axis: int) -> None:
            def at(k: Any) -> Value:
                place = list(index)
                place[axis] = k
                value = _wide(b, x.load(b, place, lane_axis, w, mask))
                return b.convert(value, "i8", signed=False) if value.kind == "i1" else value

            unsigned = x.dtype.kind in "ub"

            def step(k: Value, best: Value, place: Value) -> tuple[Value, Value]:
                value = at(k)
                word = ("u" if unsigned else "") + ("gt" if largest else "lt")
                better = b.compare(word, value, best)
                if value.kind in FLOATS:
                    nan, had = b.compare("uno", value, value), b.compare("uno", best, best)
                    better = (better | nan) & b.logical_not(had)
                return b.select(better, value, best), b.select(better, b.splat(k, w), place)

            _, place = b.loop(1, n, step, [at(0), b.const(0, I64, w)], label="line")
            there = [p for d, p in enumerate(index) if d != axis]
            aim = lane_axis - (lane_axis > axis)
            sink.store(b, there, place, aim if w > 1 else None, mask)

        _lines(plan, "argmax" if largest else "argmin", x, axis, n * 2.0, body)
        return None

    return lowering


reduction.argmax.define_lowering(_position(True))
reduction.argmin.define_lowering(_position(False))


def _running(
    stem: str, start: float, combine: Callable[[Value, Value], Value]
) -> Callable[..., bool | None]:
    def lowering(
        plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, axis: int
    ) -> bool | None:
        x, sink = operands[0], sinks[0]
        if not x.ndim or x.kind == "i1":
            return False

        def body(b: Kernel, index: list[Any], w: int, mask: Value | None, lane_axis: int) -> None:
            def step(k: Value, total: Value) -> Value:
                place = list(index)
                place[axis] = k
                total = combine(total, _wide(b, x.load(b, place, lane_axis, w, mask)))
                sink.store(
                    b, place, b.convert(total, sink.array.kind), lane_axis if w > 1 else None, mask
                )
                return total

            kind = F32 if x.kind in (F16, BF16) else x.kind
            b.loop(0, x.shape[axis], step, [b.const(start, kind, w)], label="line")

        _lines(plan, stem, x, axis, x.shape[axis] * 2.0, body)
        return None

    return lowering


reduction.cumulative_sum.define_lowering(_running("cumulative_sum", 0, lambda a, c: a + c))
reduction.cumulative_product.define_lowering(_running("cumulative_product", 1, lambda a, c: a * c))

__all__: Sequence[str] = ()
