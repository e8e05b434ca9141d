"""Convolutions with images in lanes: a batch of whole vectors lies innermost, weights are the scalars.

No lane is wasted however few the channels are, and nothing is packed or padded. A tile holds some result channels by
some pixels of a row in registers; the taps of a row are written out, so that pixels which neighbours share are loaded
once, and taps that reach outside of the picture are left out where that is known, or looped over otherwise. In the
gradient of the weight a tile holds some channels by the taps of a row, and lanes are added at the very end.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.loops.arrays import Array, Sink, WindowSink
from rushlight.loops.builder import BYTES, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import decompose, spread
from rushlight.primitives.lowerings.correlation import (
    FLOP_NS,
    Axis,
    nest,
    product_of,
    segments,
)

#: Into how many items a kernel is cut at least, where there is enough to do.
ITEMS = 16
#: Taps of a row that a tile may write out.
MOST_TAPS = 11
#: Products that a tile may write out.
MOST_PRODUCTS = 400
#: A chain of sums in one register waits this many cycles for each, and two can start in each cycle.
LATENCY, PORTS = 4, 2

Served = list[tuple[int, int]]


def suits(x: Array, other: Array, groups: int, taps: int, lanes: int) -> bool:
    """Whether both arrays of pictures have whole vectors of images side by side, and a row few enough taps."""
    return (
        groups == 1
        and x.shape[0] % lanes == 0
        and (x.strides[0] == 1 or other.strides[0] == 1)
        and taps <= MOST_TAPS
    )


def _by_columns(rows: int, width: int, taps: int, registers: int) -> bool:
    """Whether all weights of a row of taps fit beside a tile: each pixel is then loaded once, and used for all."""
    return rows * width + rows * taps + 2 <= registers


def _loads(rows: int, width: int, axis: Axis, registers: int) -> int | None:
    """Loads of a tile's row of taps; None if it does not fit the registers."""
    columns = min(width * axis.taps, (width - 1) * axis.move + (axis.taps - 1) * abs(axis.step) + 1)
    alive = min(columns, width * min(axis.move, axis.taps))
    if _by_columns(rows, width, axis.taps, registers) or rows * width + alive + 2 <= registers:
        return columns + rows * axis.taps
    return None


@functools.cache
def tile_size(outer: int, axis: Axis, registers: int, unit: int) -> tuple[int, int]:
    """Channels and pixels of a tile, by a model of loads, products and their latency; pixels in whole `unit`s."""
    best: tuple[float, int, int] | None = None
    for rows, width in itertools.product(range(1, min(outer, 12) + 1), range(unit, 29, unit)):
        if width >= axis.results + unit or (
            rows * width * axis.taps > MOST_PRODUCTS and rows * width > 1
        ):
            continue

        def cycles(r: int, w: int) -> float | None:
            loads = _loads(r, w, axis, registers)
            if loads is None:
                return None
            return max(r * w * axis.taps / PORTS, loads / PORTS, axis.taps * LATENCY) + 2

        total = 0.0
        for r, many in ((rows, outer // rows), (outer % rows, 1)):
            for w, along in ((width, axis.results // width), (axis.results % width, 1)):
                if r and w and many and along:
                    each = cycles(r, w)
                    total += float("inf") if each is None else each * many * along
        if best is None or total < best[0]:
            best = (total, rows, width)
    if best is None:
        return 1, unit
    return best[1], best[2]


def _row_of_taps(
    b: Kernel, kind: str, lanes: int, axis: Axis, rows: int, width: int, served: Served | None, totals: Sequence[Value],
    x: Value, x_step: int, w: Value, w_row: int, w_tap: int, registers: int,
) -> list[Value]:  # fmt: skip
    """Adds one row of taps to a tile. `x` is the address of the source at place 0 for the tile's first pixel."""
    new = list(totals)
    uses: dict[int, list[tuple[int, int]]] = {}
    for tap in range(axis.taps):
        low, high = (0, width) if served is None else served[tap]
        for pixel in range(low, high):
            uses.setdefault(axis.source(pixel, tap), []).append((tap, pixel))
    loaded: dict[int, Value] = {}
    weights: dict[tuple[int, int], Value] = {}

    def column(place: int) -> Value:
        if place not in loaded:
            loaded[place] = b.load(x, place * x_step, kind, lanes)
        return loaded[place]

    def weight(row: int, tap: int) -> Value:
        if (row, tap) not in weights:
            weights[row, tap] = b.splat(b.load(w, row * w_row + tap * w_tap, kind), lanes)
        return weights[row, tap]

    if _by_columns(rows, width, axis.taps, registers):
        for place in sorted(uses):
            for tap, pixel in uses[place]:
                for row in range(rows):
                    at = row * width + pixel
                    new[at] = b.fma(column(place), weight(row, tap), new[at])
        return new
    for tap in range(axis.taps):
        low, high = (0, width) if served is None else served[tap]
        for row in range(rows):
            for pixel in range(low, high):
                at = row * width + pixel
                new[at] = b.fma(column(axis.source(pixel, tap)), weight(row, tap), new[at])
    return new


def correlate(
    plan: Plan, stem: str, sink: Sink, x: Array, w: Array, w_outer: int, w_inner: int, w_taps: Sequence[int],
    w_start: int, outer: int, inner: int, axes: Sequence[Axis], place: Callable[[list[Any]], list[Any]],
) -> None:  # fmt: skip
    """Result pixels as sums over taps and inner channels; `place` gives the index in the sink of a result pixel.

    `w` is read at `w_start + channel * w_outer + inner channel * w_inner + sum(tap * w_taps)`.
    """
    kind = x.kind
    lanes, registers = plan.target.lanes(kind), plan.target.registers
    window = sink.window if isinstance(sink, WindowSink) else (1,) * len(axes)
    axes = [a.first(a.results // n * n) for a, n in zip(axes, window, strict=True)]
    *lead, last = axes
    rows, width = tile_size(outer, last, registers, window[-1])
    blocks = x.shape[0] // lanes
    places = [a.results // n for a, n in zip(lead, window, strict=False)]
    cut = places[0] if places else 1
    shares = 1 if blocks * cut >= ITEMS else -(-outer // rows)
    flops = 2 * x.shape[0] * outer * inner * product_of([a.pairs for a in axes])
    items = blocks * cut * shares
    b = plan.kernel(
        stem, items, flops / items * FLOP_NS[kind] + 20, flops=flops, nbytes=BYTES[kind] * (x.size + sink.array.size)
    )  # fmt: skip
    tiles = [*segments(last, width)]
    inside_window = [*itertools.product(*(range(n) for n in window[:-1]))]

    def item(i: Value) -> None:
        block, row, share = decompose(b, i, [blocks, cut, shares])
        image = block * lanes

        def line(index: list[Value]) -> None:
            index = [row, *index] if lead else []

            def channels(first: Value, count: int) -> None:
                for start, many, repeats, served in tiles:

                    def pixels(
                        t: Value,
                        start: int = start,
                        many: int = many,
                        served: Served | None = served,
                    ) -> None:
                        at = b.index(start) + t * many
                        _tile(first, count, at, many, served)

                    b.loop(0, repeats, pixels, label="tiles")

            def _tile(
                first: Value, count: int, at: Value, many: int, served: Served | None
            ) -> None:
                best: dict[tuple[int, int], Any] = {}
                for number, inner_row in enumerate(inside_window):
                    where = [p * n + k for p, n, k in zip(index, window, inner_row, strict=False)]
                    totals = _sums(first, count, where, at, many, served)
                    for m, p in itertools.product(range(count), range(many)):
                        value = totals[m * many + p]
                        target = [image, first + m, *place([*where, at + p])]
                        if not isinstance(sink, WindowSink):
                            sink.store(b, target, value, 0)
                            continue
                        key = (m, p // window[-1])
                        k = number * window[-1] + p % window[-1]
                        part = sink.prepare(b, target, value, 0)
                        best[key] = sink.merge(b, k, part, best.get(key))
                for (m, p), chosen in best.items():
                    assert isinstance(sink, WindowSink)  # noqa: S101 - only it makes a best
                    column = b.binary("udiv", at, b.const(window[-1])) + p
                    sink.store_window(b, [image, first + m, *index, column], chosen, 0)

            def _sums(
                first: Value,
                count: int,
                where: list[Value],
                at: Value,
                many: int,
                served: Served | None,
            ) -> tuple[Value, ...]:
                base = b.pointer(x)
                ranges = [a.taps_of(b, p) for a, p in zip(lead, where, strict=True)]
                zero = [b.const(0.0, kind, lanes)] * (count * many)

                def taps(depth: int, at_x: Value, at_w: Value, totals: Sequence[Value]) -> Any:
                    if depth == len(lead):
                        return _row_of_taps(
                            b, kind, lanes, last, count, many, served, totals,
                            b.address(base, at_x, kind), x.strides[-1], b.address(b.pointer(w), at_w, kind),
                            w_outer, w_taps[-1], registers,
                        )  # fmt: skip
                    axis, (low, high) = lead[depth], ranges[depth]
                    begin = where[depth] * axis.move + axis.origin
                    stride = x.strides[2 + depth]

                    def tap(t: Value, *inside: Value) -> Any:
                        source = begin + t * axis.step
                        return taps(
                            depth + 1, at_x + source * stride, at_w + t * w_taps[depth], inside
                        )

                    return b.loop(low, high, tap, totals, label=f"k{depth}")

                def channel(c: Value, *totals: Value) -> Any:
                    at_x = image + c * x.strides[1] + at * (last.move * x.strides[-1])
                    return taps(0, at_x, c * w_inner + first * w_outer + w_start, totals)

                return b.loop(0, inner, channel, zero, label="inner")

            even = outer // rows
            if shares > 1:
                low = share * rows
                if outer % rows:
                    b.when(
                        b.compare("lt", share, b.const(even)),
                        lambda: channels(low, rows),
                        lambda: channels(low, outer % rows),
                    )
                else:
                    channels(low, rows)
                return
            b.loop(0, even, lambda t: channels(t * rows, rows), label="channels")
            if outer % rows:
                channels(b.const(even * rows), outer % rows)

        nest(b, places[1:], line)

    b.over_items(item)


# -- the gradient of the weight ---------------------------------------------------------------------------------


def weight_gradient(plan: Plan, sink: Sink, x: Array, grad: Array, axes: Sequence[Axis]) -> None:
    """The weight's gradient: every item sums, over all pictures, some channels by a row of taps."""
    kind = x.kind
    lanes, registers = plan.target.lanes(kind), plan.target.registers
    outer, inner = grad.shape[1], x.shape[1]
    *lead, last = axes
    rows = max(1, min(outer, (registers - last.taps - 2) // last.taps))
    rows = -(-outer // -(-outer // rows))
    tiles = -(-outer // rows)
    blocks = x.shape[0] // lanes
    taps = product_of([a.taps for a in lead])
    lines = lead[0].results if lead else 1
    parts = max(1, min(lines, ITEMS // (inner * taps * tiles)))
    partial = plan.scratch(x.dtype, (parts, *sink.shape)) if parts > 1 else None
    flops = 2 * x.shape[0] * outer * inner * product_of([a.pairs for a in axes])
    items = parts * inner * taps * tiles
    b = plan.kernel(
        "convolve_weight_lanes", items, flops / items * FLOP_NS[kind] + 20, flops=flops,
        nbytes=BYTES[kind] * (x.size + grad.size),
    )  # fmt: skip
    low, high = last.whole()

    def item(i: Value) -> None:
        part, channel, *tap, tile = decompose(b, i, [parts, inner, *(a.taps for a in lead), tiles])
        ranges = [a.results_at(b, t) for a, t in zip(lead, tap, strict=True)]
        if parts > 1:
            mine = [b.binary("udiv", (part + n) * lines, b.const(parts)) for n in (0, 1)]
            begin = b.intrinsic("smax", ranges[0][0], mine[0])
            ranges[0] = (begin, b.intrinsic("smin", ranges[0][1], mine[1]))

        def some(count: int) -> None:
            first = tile * rows
            at_x, at_g = channel * x.strides[1], first * grad.strides[1]

            def line(depth: int, from_x: Value, from_g: Value, totals: Sequence[Value]) -> Any:
                if depth == len(lead):
                    return _pixels(count, from_x, from_g, totals)
                axis = lead[depth]

                def step(p: Value, *inside: Value) -> Any:
                    source = p * axis.move + (tap[depth] * axis.step + axis.origin)
                    return line(
                        depth + 1, from_x + source * x.strides[2 + depth], from_g + p * grad.strides[2 + depth], inside
                    )  # fmt: skip

                return b.loop(*ranges[depth], step, totals, label=f"y{depth}")

            zero = [b.const(0.0, kind, lanes)] * (count * last.taps)
            totals = line(0, at_x, at_g, zero)
            for m, t in itertools.product(range(count), range(last.taps)):
                value = b.reduce("add", totals[m * last.taps + t])
                index = [first + m, channel, *tap, t]
                if partial is None:
                    sink.store(b, index, value)
                else:
                    partial.store(b, [part, *index], value)

        if outer % rows:
            b.when(
                b.compare("lt", tile, b.const(tiles - 1)),
                lambda: some(rows),
                lambda: some(outer % rows),
            )
        else:
            some(rows)

    def _pixels(count: int, at_x: Value, at_g: Value, totals: Sequence[Value]) -> Any:
        """One row of pixels: those that all taps reach in a loop, the others one by one."""

        def pixel(p: Value, *inside: Value, served: Sequence[int] = range(last.taps)) -> Any:
            from_x = at_x + p * (last.move * x.strides[-1])
            from_g = at_g + p * grad.strides[-1]

            def block(v: Value, *sums: Value) -> list[Value]:
                new = list(sums)
                source = b.address(b.pointer(x), from_x + v * lanes, kind)
                target = b.address(b.pointer(grad), from_g + v * lanes, kind)
                columns = {
                    t: b.load(source, (last.origin + t * last.step) * x.strides[-1], kind, lanes) for t in served
                }  # fmt: skip
                for m in range(count):
                    g = b.load(target, m * grad.strides[1], kind, lanes)
                    for t in served:
                        new[m * last.taps + t] = b.fma(g, columns[t], new[m * last.taps + t])
                return new

            return b.loop(0, blocks, block, inside, label="images")

        sums: Any = tuple(totals)
        for p in range(low):
            sums = pixel(
                b.const(p), *sums, served=[t for t in range(last.taps) if last.inside(p, t)]
            )
        sums = b.loop(low, high, pixel, sums, label="x")
        for p in range(high, last.results):
            sums = pixel(
                b.const(p), *sums, served=[t for t in range(last.taps) if last.inside(p, t)]
            )
        return sums

    b.over_items(item)
    if partial is not None:
        add_parts(plan, sink, partial)


def add_parts(plan: Plan, sink: Sink, partial: Array) -> None:
    """Adds, in order, sums that lie along the first dimension."""

    def add(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        axis = len(index) - 1
        value = partial.load(b, [0, *index], axis + 1, w, mask)
        for p in range(1, partial.shape[0]):
            value = value + partial.load(b, [p, *index], axis + 1, w, mask)
        sink.store(b, index, value, axis, mask)

    lanes = plan.target.lanes(partial.kind)
    spread(plan, "add_parts", sink.shape, len(sink.shape) - 1, lanes, 0.6 * partial.shape[0], add)
