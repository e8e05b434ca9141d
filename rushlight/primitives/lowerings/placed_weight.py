"""The gradient of a convolution's weight through a max pooling, one number of each window at a time.

For one result channel the taps of a row, with their channels, lie side by side in the picture: a few vectors for each
row of taps, summed in registers over all windows. Nothing is multiplied but what the pooling chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rushlight.core.shapes import size_of
from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BYTES, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import along
from rushlight.primitives import placed
from rushlight.primitives.lowerings.correlation import FLOP_NS
from rushlight.primitives.lowerings.placed import (
    MOST_STACK,
    Geometry,
    Pictures,
    Sizes,
    clear,
    computable,
    copy_rows,
    items_of,
    share_of,
)

#: A sum in one register waits this many cycles for each term, and two start in a cycle: so many sums are wanted.
LATENCY = 8


@placed.convolve_weight_placed.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, before: Sizes, after: Sizes, window: Sizes,
    shape: Sizes, size: Sizes,
) -> bool | None:  # fmt: skip
    x, grad, places = operands
    if not computable(x, grad) or not isinstance(places, Array):
        return False
    channels = x.shape[1]
    geometry = Geometry(x.shape[2:], before, after, size, window, channels, channels)
    PlacedWeight(plan, x, grad, places, geometry).emit(sinks[0])
    return None


class PlacedWeight:
    """One such kernel while it is written."""

    def __init__(
        self, plan: Plan, x: Array, grad: Array, places: Array, geometry: Geometry
    ) -> None:
        self.plan, self.x, self.grad, self.places, self.geometry = plan, x, grad, places, geometry
        self.kind = x.kind
        run = geometry.kernel[1] * geometry.channels
        lanes = plan.target.lanes(self.kind)
        while lanes > 4 and lanes >= 2 * run:
            lanes //= 2
        self.lanes = lanes
        self.vectors = -(-run // lanes)
        self.outer = grad.shape[1]
        #: Elements of the sums of one result channel.
        self.wide = geometry.kernel[0] * self.vectors * lanes
        self.down, self.across = grad.shape[2:]
        reach = geometry.window[0] * geometry.row * BYTES[self.kind]
        extra = (geometry.kernel[0] - 1) * geometry.row * BYTES[self.kind]
        #: Rows of windows that are worked on together, while the picture's rows are in the first cache.
        band = max(1, min(self.down, (plan.target.first_cache // 2 - extra) // reach))
        self.bands = -(-self.down // band)
        self.band = -(-self.down // self.bands)

    def emit(self, sink: Sink) -> None:
        """Adds the kernels."""
        plan, x, grad, geometry = self.plan, self.x, self.grad, self.geometry
        batch = x.shape[0]
        sums = self.outer * self.wide * BYTES[self.kind]
        parts = items_of(batch)
        while parts > 4 and parts * sums > plan.target.second_cache:
            parts //= 2
        rows = self.band * geometry.window[0] + geometry.kernel[0] - 1
        count = rows * geometry.row + plan.target.lanes(self.kind)
        pictures = Pictures(plan, x.dtype, self.kind, batch, count)
        partial = plan.scratch(x.dtype, (parts, self.outer, self.wide))
        products = grad.size * geometry.kernel[0] * geometry.kernel[1] * geometry.channels
        work = grad.size * self.wide * 2 / parts * FLOP_NS[self.kind] + 50
        b = plan.kernel(
            "convolve_weight_placed", parts, work, flops=2 * products, nbytes=BYTES[self.kind] * (x.size + grad.size)
        )  # fmt: skip

        def item(part: Value) -> None:
            picture = pictures.place(b, part, parts)
            total = b.address(b.pointer(partial), part * partial.strides[0], self.kind)
            clear(b, self.kind, self.lanes, total, self.outer * self.wide)
            if geometry.bordered:
                clear(b, self.kind, self.lanes, picture, rows * geometry.row)

            def image(n: Value) -> None:
                def one_band(k: Value) -> None:
                    first = k * self.band
                    last = b.intrinsic("smin", first + self.band, b.const(self.down))
                    begin = first * geometry.window[0]
                    end = b.intrinsic("smin", begin + rows, b.const(geometry.padded[0]))
                    copy_rows(b, plan, x, geometry, n, begin, end - begin, picture)
                    b.loop(
                        0, self.outer, lambda o: self._channel(b, n, o, first, last, picture, total), label="channels"
                    )  # fmt: skip

                b.loop(0, self.bands, one_band, label="bands")

            b.loop(*share_of(b, part, parts, batch), image, label="images")

        b.over_items(item)
        self._finish(sink, partial)

    def _channel(
        self, b: Kernel, n: Value, o: Value, first: Value, last: Value, picture: Value, total: Value
    ) -> None:
        """Adds the windows of a band to the sums of one result channel, as many sums at once as registers hold."""
        every = [
            (t, v) for t in range(self.geometry.kernel[0]) for v in range(self.vectors)
        ]  # fmt: skip
        most = max(1, self.plan.target.registers - 4)
        groups = -(-len(every) // most)
        size = -(-len(every) // groups)
        for start in range(0, len(every), size):
            self._sums(b, every[start : start + size], n, o, first, last, picture, total)

    def _sums(
        self, b: Kernel, sums: Sequence[tuple[int, int]], n: Value, o: Value, first: Value, last: Value,
        picture: Value, total: Value,
    ) -> None:  # fmt: skip
        kind, lanes, geometry = self.kind, self.lanes, self.geometry
        count = len(sums)
        most = (self.plan.target.registers - 4) // count
        ways = max(1, min(-(-LATENCY // count), most, self.across))
        to = [o * self.wide + (t * self.vectors + v) * lanes for t, v in sums]
        offsets = [t * geometry.row + v * lanes for t, v in sums]
        zero = b.const(0.0, kind, lanes)
        start = [*(b.load(total, at, kind, lanes) for at in to), *[zero] * (count * (ways - 1))]

        def line(y: Value, *inside: Value) -> Any:
            here = geometry.at(b, y - first, b.const(0))
            at_grad = self.grad.element(b, [n, o, y, 0])
            at_place = self.places.element(b, [n, o, y, 0])

            def window(column: Value, so_far: Sequence[Value]) -> list[Value]:
                value = b.load(b.pointer(self.grad), at_grad + column * self.grad.strides[3], kind)
                place = b.load(
                    b.pointer(self.places), at_place + column * self.places.strides[3], self.places.kind
                )  # fmt: skip
                at = here + column * (geometry.window[1] * geometry.pixel) + geometry.step(b, place)
                base = b.address(picture, at, kind)
                wide = b.splat(value, lanes)
                return [
                    b.fma(b.load(base, off, kind, lanes), wide, s)
                    for off, s in zip(offsets, so_far, strict=True)
                ]

            def columns(x: Value, *sums_: Value) -> list[Value]:
                new: list[Value] = []
                for k in range(ways):
                    new += window(x + k, sums_[k * count : (k + 1) * count])
                return new

            whole = self.across // ways * ways
            result: list[Value] = list(
                b.loop(0, whole, columns, inside, step=ways, label="windows")
            )
            for k in range(self.across - whole):
                result[k * count : (k + 1) * count] = window(
                    b.const(whole + k), result[k * count : (k + 1) * count]
                )
            return result

        ends = b.loop(first, last, line, start, label="lines")
        for k, at in enumerate(to):
            value = ends[k]
            for way in range(1, ways):
                value = value + ends[way * count + k]
            b.store(value, total, at)

    def _finish(self, sink: Sink, partial: Array) -> None:
        """Adds the parts in order, channel by channel, and hands the sums on in the order of the weight."""
        kind, lanes, geometry = self.kind, self.lanes, self.geometry
        channels = geometry.channels
        parts = partial.shape[0]
        work = geometry.kernel[0] * geometry.kernel[1] * channels * (1.5 + 0.1 * parts)
        b = self.plan.kernel("add_weights", self.outer, work, nbytes=partial.size * BYTES[kind])

        def item(o: Value) -> None:
            def vector(i: Value) -> None:
                at = o * self.wide + i
                total = b.load(b.pointer(partial), at, kind, lanes)
                for p in range(1, parts):
                    total = total + b.load(
                        b.pointer(partial), at + p * partial.strides[0], kind, lanes
                    )
                b.store(total, b.pointer(partial), at)

            b.loop(0, self.wide, vector, step=lanes, label="sums")

            self._hand_on(b, sink, o, b.address(b.pointer(partial), o * self.wide, kind))

        b.over_items(item)

    def _hand_on(self, b: Kernel, sink: Sink, o: Value, sums: Value) -> None:
        """Gives a result channel's sums to the sink: in whole vectors if it takes them in the order of the weight."""
        kind, geometry = self.kind, self.geometry
        count = geometry.channels * geometry.kernel[0] * geometry.kernel[1]
        flat = sink.reshape((size_of(sink.shape),)) if count * BYTES[kind] <= MOST_STACK else None
        turned = b.scratch(kind, count) if flat is not None else sums

        def channel(c: Value) -> None:
            def taps(t: Value) -> None:
                for k in range(geometry.kernel[1]):
                    at = t * (self.vectors * self.lanes) + c + k * geometry.channels
                    value = b.load(sums, at, kind)
                    if flat is None:
                        sink.store(b, [o, c, t, k], value)
                        continue
                    row = (c * geometry.kernel[0] + t) * geometry.kernel[1]
                    b.store(value, turned, row + k)

            b.loop(0, geometry.kernel[0], taps, label="taps")

        b.loop(0, geometry.channels, channel, label="channel")
        if flat is None:
            return

        def vector(i: Value, w: int, mask: Value | None) -> None:
            flat.store(b, [o * count + i], b.load(turned, i, kind, w, mask=mask), 0, mask)

        along(b, b.const(0), b.const(count), self.plan.target.lanes(kind), vector)
