"""Convolutions with channels in lanes: a tile holds some pixels of a row by some vectors of result channels.

Pixels are read in place, as scalars; weights are packed so that the channels of a vector lie side by side. Taps that
reach outside of the picture are left out: rows of taps by the bounds of their loop, and at the ends of a row by tiles
that are written for their place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.loops.arrays import Array, Sink, WindowSink
from rushlight.loops.builder import BYTES, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import decompose, transpose
from rushlight.primitives.lowerings.correlation import (
    FLOP_NS,
    Axis,
    dot,
    nest,
    product_of,
    segments,
)
from rushlight.primitives.lowerings.tile import rows_of

#: Into how many items a kernel is cut at least, where there is enough to do.
ITEMS = 16


def vectors_of(outer: int, lanes: int) -> int:
    """How many vectors of channels a tile holds."""
    return 2 if outer > lanes else 1


def pack(plan: Plan, w: Array, groups: int, turned: bool) -> Array:
    """Weights as (group, panel, *kernel, inner channel, lane of a result channel), zeros in lanes beyond the last.

    Result channels are the weight's first dimension, or with `turned` its second.
    """
    lanes = plan.target.lanes(w.kind)
    outer, inner = w.shape[0] // groups, w.shape[1]
    by_outer, by_inner, by_group = w.strides[0], w.strides[1], w.strides[0] * outer
    if turned:
        outer, inner, by_outer, by_inner = inner, outer, by_inner, by_outer
    vectors = vectors_of(outer, lanes)
    width = vectors * lanes
    panels = -(-outer // width)
    kernel = w.shape[2:]
    memory = plan.scratch(w.dtype, (groups, panels, *kernel, inner, width))
    if groups == 1 and not turned and w.is_contiguous and inner * product_of(kernel) >= lanes > 1:
        _pack_squares(plan, w, memory, lanes)
        return memory
    work = product_of(kernel) * width * 0.7
    b = plan.kernel(
        "pack_weights", groups * panels * inner, work, nbytes=2 * w.size * BYTES[w.kind]
    )

    def item(i: Value) -> None:
        group, panel, channel = decompose(b, i, [groups, panels, inner])

        def place(index: list[Value]) -> None:
            for v in range(vectors):
                first = panel * width + v * lanes
                offset = (
                    group * by_group
                    + first * by_outer
                    + channel * by_inner
                    + dot(b, index, w.strides[2:])
                )
                mask = b.lane_mask(b.const(outer) - first, lanes) if outer % width else None
                if by_outer == 1:
                    value = b.load(b.pointer(w), offset, w.kind, lanes, mask=mask)
                else:
                    offsets = b.splat(offset, lanes) + b.lane_numbers(lanes) * by_outer
                    if mask is not None:
                        offsets = b.select(mask, offsets, b.splat(group * by_group, lanes))
                    value = b.gather(b.pointer(w), offsets, w.kind)
                    if mask is not None:
                        value = b.select(mask, value, 0.0)
                to = memory.element(b, [group, panel, *index, channel, 0])
                b.store(value, b.pointer(memory), to + v * lanes)

        nest(b, kernel, place, "t")

    b.over_items(item)
    return memory


def _pack_squares(plan: Plan, w: Array, memory: Array, lanes: int) -> None:
    """As `pack`, of weights that lie in the order of their indices: channels and taps are turned in squares."""
    outer, inner, *kernel = w.shape
    taps = product_of(kernel)
    rows, width = inner * taps, memory.shape[-1]
    squares, panels = -(-rows // lanes), memory.shape[1] * (width // lanes)
    b = plan.kernel(
        "pack_weights", panels * squares, lanes * 3.0, nbytes=2 * w.size * BYTES[w.kind]
    )

    def item(i: Value) -> None:
        panel, square = decompose(b, i, [panels, squares])
        first = b.intrinsic("smin", square * lanes, b.const(rows - lanes))
        lines = []
        for lane in range(lanes):
            o = b.intrinsic("smin", panel * lanes + lane, b.const(outer - 1))
            lines.append(b.load(b.pointer(w), o * rows + first, w.kind, lanes))
        mask = b.lane_mask(b.const(outer) - panel * lanes, lanes) if outer % width else None
        group, part = decompose(b, panel, [memory.shape[1], width // lanes])
        for k, vector in enumerate(transpose(b, lines)):
            channel, tap = decompose(b, first + k, [inner, taps])
            to = (group * taps + tap) * (inner * width) + channel * width + part * lanes
            value = vector if mask is None else b.select(mask, vector, 0.0)
            b.store(value, b.pointer(memory), to)

    b.over_items(item)


def channel_masks(
    b: Kernel, outer: int, panel: Value, vectors: int, lanes: int
) -> list[Value | None]:
    """The lanes of a panel that have a channel; None: all."""
    width = vectors * lanes
    if outer % width == 0:
        return [None] * vectors
    return [
        b.lane_mask(b.const(outer) - (panel * width + v * lanes), lanes) for v in range(vectors)
    ]


def correlate(
    plan: Plan, stem: str, sink: Sink, x: Array, weights: Array, w_taps: Sequence[int], w_start: int, outer: int,
    axes: Sequence[Axis], place: Callable[[list[Any]], list[Any]],
) -> None:  # fmt: skip
    """Result pixels as sums over taps and inner channels; `place` gives the index in the sink of a result pixel.

    `weights` are packed, and read from `w_start` on, with steps of `w_taps`.
    """
    kind = x.kind
    lanes = plan.target.lanes(kind)
    groups, panels, inner, wide = (
        weights.shape[0],
        weights.shape[1],
        weights.shape[-2],
        weights.shape[-1],
    )
    vectors = wide // lanes
    window = sink.window if isinstance(sink, WindowSink) else (1,) * len(axes)
    axes = [a.first(a.results // n * n) for a, n in zip(axes, window, strict=True)]
    *lead, last = axes
    rows = rows_of(plan.target.registers, vectors, last.results)
    rows = max(1, rows // window[-1]) * window[-1]
    inside_window = [*itertools.product(*(range(n) for n in window[:-1]))]
    tiles = [*segments(last, rows)]
    batch = x.shape[0]
    cut = 1
    lines = [a.results // n for a, n in zip(lead, window, strict=False)]
    if lead:
        cut = min(lines[0], -(-ITEMS // (batch * groups * panels)))
    flops = 2 * batch * groups * outer * inner * product_of([a.pairs for a in axes])
    items = batch * groups * panels * cut
    b = plan.kernel(
        stem, items, flops / items * (panels * wide / outer) * FLOP_NS[kind] + 20, flops=flops,
        nbytes=BYTES[kind] * (x.size + sink.array.size),
    )  # fmt: skip

    def item(i: Value) -> None:
        image, group, panel, part = decompose(b, i, [batch, groups, panels, cut])
        at_image = image * x.strides[0] + group * (inner * x.strides[1])
        at_panel = group * weights.strides[0] + panel * weights.strides[1] + w_start
        masks = channel_masks(b, outer, panel, vectors, lanes)
        first_channel = group * outer + panel * wide

        def line(index: list[Value]) -> None:
            def sums(
                where: list[Value], at: Value, count: int, served: Sequence[tuple[int, int]] | None
            ) -> Any:
                ranges = [a.taps_of(b, p) for a, p in zip(lead, where, strict=True)]

                def channels(from_x: Value, from_w: Value, low: int, high: int, totals: Any) -> Any:
                    source, weight = (
                        b.address(b.pointer(x), from_x, kind),
                        b.address(b.pointer(weights), from_w, kind),
                    )

                    def channel(c: Value, *inside: Value) -> list[Value]:
                        new = list(inside)
                        column = [
                            b.load(weight, c * wide + v * lanes, kind, lanes)
                            for v in range(vectors)
                        ]
                        for p in range(low, high):
                            value = b.load(
                                source, c * x.strides[1] + p * (last.move * x.strides[-1]), kind
                            )
                            for v in range(vectors):
                                new[p * vectors + v] = b.fma(
                                    b.splat(value, lanes), column[v], new[p * vectors + v]
                                )
                        return new

                    return (
                        b.loop(0, inner, channel, totals, label="inner")
                        if low < high
                        else tuple(totals)
                    )

                def taps(depth: int, from_x: Value, from_w: Value, totals: Any) -> Any:
                    if depth == len(lead):

                        def tap(t: Value, *inside: Value, low: int = 0, high: int = count) -> Any:
                            return channels(
                                from_x + t * (last.step * x.strides[-1]), from_w + t * w_taps[-1], low, high, inside
                            )  # fmt: skip

                        if served is None:
                            return b.loop(0, last.taps, tap, totals, label="tap")
                        for t, (first, end) in enumerate(served):
                            totals = tap(b.const(t), *totals, low=first, high=end)
                        return totals
                    axis, (low, high) = lead[depth], ranges[depth]
                    begin = where[depth] * axis.move + axis.origin
                    stride = x.strides[2 + depth]

                    def step(t: Value, *inside: Value) -> Any:
                        source = begin + t * axis.step
                        return taps(
                            depth + 1, from_x + source * stride, from_w + t * w_taps[depth], inside
                        )

                    return b.loop(low, high, step, totals, label=f"k{depth}")

                zero = [b.const(0.0, kind, lanes)] * (count * vectors)
                start = at_image + (at * last.move + last.origin) * x.strides[-1]
                return taps(0, start, at_panel, zero)

            def pixels(at: Value, count: int, served: Sequence[tuple[int, int]] | None) -> None:
                best: dict[tuple[int, int], Any] = {}
                for number, inner_row in enumerate(inside_window):
                    where = [p * n + k for p, n, k in zip(index, window, inner_row, strict=False)]
                    totals = sums(where, at, count, served)
                    for p, v in itertools.product(range(count), range(vectors)):
                        target = [image, first_channel + v * lanes, *place([*where, at + p])]
                        value = totals[p * vectors + v]
                        if not isinstance(sink, WindowSink):
                            sink.store(b, target, value, 1, masks[v])
                            continue
                        part = sink.prepare(b, target, value, 1, masks[v])
                        key = (p // window[-1], v)
                        k = number * window[-1] + p % window[-1]
                        best[key] = sink.merge(b, k, part, best.get(key))
                for (p, v), chosen in best.items():
                    assert isinstance(sink, WindowSink)  # noqa: S101 - only it makes a best
                    column = b.binary("udiv", at, b.const(window[-1])) + p
                    to = [image, first_channel + v * lanes, *index, column]
                    sink.store_window(b, to, chosen, 1, masks[v])

            for start, count, repeats, served in tiles:
                b.loop(
                    0, repeats,
                    lambda t, start=start, count=count, served=served: pixels(t * count + start, count, served),
                    label="tiles",
                )  # fmt: skip

        if not lead:
            line([])
            return
        low = b.binary("udiv", part * lines[0], b.const(cut))
        high = b.binary("udiv", (part + 1) * lines[0], b.const(cut))
        if cut == 1:
            low, high = b.const(0), b.const(lines[0])
        b.loop(low, high, lambda y: nest(b, lines[1:], lambda index: line([y, *index])), label="y")

    b.over_items(item)
