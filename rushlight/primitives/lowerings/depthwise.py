"""Depthwise convolutions: each channel by its own weights, channels in lanes of pictures and weights alike.

With one channel to a group there is nothing to sum over but taps, so that a vector of pixels meets a vector of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BYTES, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import decompose, spread
from rushlight.primitives.lowerings.copying import copy_into
from rushlight.primitives.lowerings.correlation import FLOP_NS, Axis, nest, product_of, segments

#: Pixels of a row whose sums are in registers, and taps of a row that may be written out.
PIXELS, MOST_TAPS = 8, 16
#: Parts of the batch into which the weight's gradient is cut, at most.
PARTS = 8


def suits(weight_shape: Sequence[int], groups: int) -> bool:
    """Whether every channel has weights of its own, and a row few enough taps."""
    return (
        groups > 1
        and weight_shape[0] == groups
        and weight_shape[1] == 1
        and weight_shape[-1] <= MOST_TAPS
    )


def channels_last(plan: Plan, x: Array) -> Array:
    """The array with its channels (dimension 1) innermost; a copy if they lie otherwise."""
    if x.strides[1] == 1:
        return x
    memory = plan.scratch(x.dtype, (x.shape[0], *x.shape[2:], x.shape[1]))
    turned = memory.permute((0, x.ndim - 1, *range(1, x.ndim - 1)))
    copy_into(plan, Sink(turned), x, "turn")
    return turned


def pack(plan: Plan, w: Array) -> Array:
    """Weights as (*kernel, channel)."""
    memory = plan.scratch(w.dtype, (*w.shape[2:], w.shape[0]))
    turned = memory.permute((w.ndim - 2, *range(w.ndim - 2)))
    source = w.look((w.shape[0], *w.shape[2:]), (w.strides[0], *w.strides[2:]))
    copy_into(plan, Sink(turned), source, "pack_weights")
    return memory


def _mask(b: Kernel, channels: int, first: Value, lanes: int) -> Value | None:
    return b.lane_mask(b.const(channels) - first, lanes) if channels % lanes else None


def correlate(
    plan: Plan, stem: str, sink: Sink, x: Array, weights: Array, w_taps: Sequence[int], w_start: int,
    axes: Sequence[Axis], place: Callable[[list[Any]], list[Any]],
) -> None:  # fmt: skip
    """Result pixels as sums over taps; `weights` are packed, and read from `w_start` on with steps of `w_taps`."""
    kind = x.kind
    lanes = plan.target.lanes(kind)
    batch, channels = x.shape[:2]
    *lead, last = axes
    blocks = -(-channels // lanes)
    cut = lead[0].results if lead else 1
    flops = 2 * batch * channels * product_of([a.results * a.taps for a in axes])
    items = batch * cut
    b = plan.kernel(
        stem, items, flops / items * 4 * FLOP_NS[kind] + 20, flops=flops,
        nbytes=BYTES[kind] * (x.size + sink.array.size)
    )  # fmt: skip
    tiles = [*segments(last, PIXELS)]

    def item(i: Value) -> None:
        image, row = decompose(b, i, [batch, cut])

        def line(index: list[Value]) -> None:
            index = [row, *index] if lead else []
            ranges = [a.taps_of(b, p) for a, p in zip(lead, index, strict=True)]

            def block(number: Value) -> None:
                first = number * lanes
                mask = _mask(b, channels, first, lanes)

                def pixels(at: Value, count: int, served: Sequence[tuple[int, int]] | None) -> None:
                    def taps(depth: int, from_x: Value, from_w: Value, totals: Any) -> Any:
                        if depth < len(lead):
                            axis = lead[depth]
                            begin = index[depth] * axis.move + axis.origin

                            def step(t: Value, *inside: Value) -> Any:
                                source = (begin + t * axis.step) * x.strides[2 + depth]
                                return taps(
                                    depth + 1, from_x + source, from_w + t * w_taps[depth], inside
                                )

                            return b.loop(*ranges[depth], step, totals, label=f"k{depth}")
                        new = list(totals)
                        source = b.address(b.pointer(x), from_x, kind)
                        weight = b.address(b.pointer(weights), from_w, kind)
                        for t in range(last.taps):
                            low, high = (0, count) if served is None else served[t]
                            factor = b.load(weight, t * w_taps[-1], kind, lanes, mask=mask)
                            for p in range(low, high):
                                where = (p * last.move + t * last.step) * x.strides[-1]
                                new[p] = b.fma(
                                    b.load(source, where, kind, lanes, mask=mask), factor, new[p]
                                )
                        return new

                    start = (
                        image * x.strides[0]
                        + first
                        + (at * last.move + last.origin) * x.strides[-1]
                    )
                    totals = taps(0, start, first + w_start, [b.const(0.0, kind, lanes)] * count)
                    for p in range(count):
                        sink.store(b, [image, first, *place([*index, at + p])], totals[p], 1, mask)

                for start, count, repeats, served in tiles:
                    b.loop(
                        0, repeats,
                        lambda t, start=start, count=count, served=served: pixels(t * count + start, count, served),
                        label="tiles",
                    )  # fmt: skip

            b.loop(0, blocks, block, label="channels")

        nest(b, [a.results for a in lead[1:]], line)

    b.over_items(item)


def weight_gradient(plan: Plan, sink: Sink, x: Array, grad: Array, axes: Sequence[Axis]) -> None:
    """The gradient of the weight: a row of taps in registers, summed over a part of the batch."""
    kind = x.kind
    lanes = plan.target.lanes(kind)
    batch, channels = x.shape[:2]
    *lead, last = axes
    blocks = -(-channels // lanes)
    parts = min(PARTS, batch)
    taps = [a.taps for a in lead]
    partial = plan.scratch(x.dtype, (parts, *taps, last.taps, blocks * lanes))
    flops = 2 * batch * channels * product_of([a.results * a.taps for a in axes])
    items = parts * blocks * product_of(taps)
    b = plan.kernel(
        "convolve_weight_depthwise", items, flops / items * 4 * FLOP_NS[kind] + 20, flops=flops,
        nbytes=BYTES[kind] * (x.size + grad.size),
    )  # fmt: skip
    low, high = last.whole()

    def item(i: Value) -> None:
        part, number, *tap = decompose(b, i, [parts, blocks, *taps])
        first = number * lanes
        mask = _mask(b, channels, first, lanes)
        ranges = [a.results_at(b, t) for a, t in zip(lead, tap, strict=True)]

        def line(depth: int, from_x: Value, from_g: Value, totals: Any) -> Any:
            if depth < len(lead):
                axis = lead[depth]

                def step(p: Value, *inside: Value) -> Any:
                    source = (p * axis.move + (tap[depth] * axis.step + axis.origin)) * x.strides[
                        2 + depth
                    ]
                    return line(
                        depth + 1, from_x + source, from_g + p * grad.strides[2 + depth], inside
                    )

                return b.loop(*ranges[depth], step, totals, label=f"y{depth}")

            def pixel(
                p: Value, *inside: Value, served: Sequence[int] = range(last.taps)
            ) -> list[Value]:
                new = list(inside)
                source = b.address(
                    b.pointer(x), from_x + (p * last.move + last.origin) * x.strides[-1], kind
                )
                g = b.load(b.pointer(grad), from_g + p * grad.strides[-1], kind, lanes, mask=mask)
                for t in served:
                    value = b.load(source, t * last.step * x.strides[-1], kind, lanes, mask=mask)
                    new[t] = b.fma(value, g, new[t])
                return new

            ends = [*range(low)], [*range(high, last.results)]
            for p in ends[0]:
                totals = pixel(
                    b.const(p), *totals, served=[t for t in range(last.taps) if last.inside(p, t)]
                )
            totals = b.loop(low, high, pixel, totals, label="x")
            for p in ends[1]:
                totals = pixel(
                    b.const(p), *totals, served=[t for t in range(last.taps) if last.inside(p, t)]
                )
            return totals

        def image(n: Value, *inside: Value) -> Any:
            return line(0, n * x.strides[0] + first, n * grad.strides[0] + first, inside)

        begin = b.binary("udiv", part * batch, b.const(parts))
        end = b.binary("udiv", (part + 1) * batch, b.const(parts))
        totals = b.loop(begin, end, image, [b.const(0.0, kind, lanes)] * last.taps, label="images")
        for t, value in enumerate(totals):
            partial.store(b, [part, *tap, t, first], value, partial.ndim - 1)

    b.over_items(item)

    def add(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        channel, _, *tap = index
        value = partial.load(b, [0, *tap, channel])
        for p in range(1, parts):
            value = value + partial.load(b, [p, *tap, channel])
        sink.store(b, index, value)

    spread(plan, "add_weights", sink.shape, len(sink.shape) - 1, 1, 1.0 + 0.5 * parts, add)
