"""The gradient of a convolution's input through a max pooling, one number of each window at a time.

Two ways to add what a number brings to the pixels that its place reaches:

patches     few channels: all pixels that a window can reach, with their channels, are a few registers. The weights lie
            in a table, moved to each place of the window, with zeros around them: registers are summed over the result
            channels, and added to the picture once for each window.
pixels      many channels: each pixel is whole vectors, which are read, added to and written back.
"""

from __future__ import annotations

import itertools
from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BYTES, I64, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import along, decompose, picked
from rushlight.primitives import placed
from rushlight.primitives.lowerings.correlation import FLOP_NS
from rushlight.primitives.lowerings.placed import (
    MOST_MIXED,
    Geometry,
    Pictures,
    Sizes,
    clear,
    computable,
    share_of,
)


@placed.convolve_input_placed.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, before: Sizes, after: Sizes, window: Sizes,
    shape: Sizes, size: Sizes,
) -> bool | None:  # fmt: skip
    grad, places, weight = operands
    if not computable(grad, weight) or not isinstance(places, Array):
        return False
    channels, kernel = weight.shape[1], weight.shape[2:]
    lanes = plan.target.lanes(grad.kind)
    patch = channels
    for taps, places_along in zip(kernel, window, strict=True):
        patch *= taps + places_along - 1
    vectors = -(-patch // lanes)
    if vectors <= plan.target.registers - 4 and channels % lanes:
        geometry = Geometry(size, before, after, kernel, window, channels, channels)
        _Patches(plan, grad, places, weight, geometry, vectors).emit(sinks[0])
        return None
    pixel = -(-channels // lanes) * lanes
    geometry = Geometry(size, before, after, kernel, window, channels, pixel)
    _Pixels(plan, grad, places, weight, geometry).emit(sinks[0])
    return None


class _Writer:
    """One such kernel while it is written."""

    def __init__(
        self, plan: Plan, grad: Array, places: Array, weight: Array, geometry: Geometry
    ) -> None:
        self.plan, self.grad, self.places, self.weight = plan, grad, places, weight
        self.geometry = geometry
        self.kind = grad.kind
        self.lanes = plan.target.lanes(self.kind)
        self.outer = grad.shape[1]
        self.down, self.across = grad.shape[2:]
        #: Elements of a padded picture.
        self.count = geometry.padded[0] * geometry.row

    def kernel(self, vectors: int) -> tuple[Kernel, Pictures]:
        """The kernel, whose items share the batch, and its items' pictures; a number costs this many vectors."""
        geometry, batch = self.geometry, self.grad.shape[0]
        count = self.count + 2 * self.lanes
        pictures = Pictures(self.plan, self.grad.dtype, self.kind, batch, count)
        items = pictures.items
        products = self.grad.size * geometry.kernel[0] * geometry.kernel[1] * geometry.channels
        work = self.grad.size * vectors * self.lanes * 2 / items * FLOP_NS[self.kind] + 50
        size = (
            self.grad.size + batch * geometry.channels * geometry.picture[0] * geometry.picture[1]
        )
        b = self.plan.kernel(
            "convolve_input_placed", items, work, flops=2 * products, nbytes=BYTES[self.kind] * size
        )
        return b, pictures

    def number(self, b: Kernel, index: list[Value]) -> tuple[Value, Value]:
        """The gradient of a window in all lanes, and its place."""
        value = self.grad.load(b, index)
        return b.splat(value, self.lanes), b.convert(self.places.load(b, index), I64, signed=False)

    def store(self, b: Kernel, sink: Sink, n: Value, picture: Value) -> None:
        """Hands the pixels inside of the border on."""
        geometry, lanes = self.geometry, self.lanes
        height, width = geometry.picture
        apart = sink.strides[3] == 1 and geometry.pixel <= MOST_MIXED

        def row(y: Value) -> None:
            at_row = (y + geometry.before[0]) * geometry.row + geometry.before[1] * geometry.pixel
            if apart:
                along(
                    b, b.const(0), b.const(width), lanes,
                    lambda x, w, mask: self._store_apart(b, sink, [n, y, x], picture, at_row, w, mask),
                )  # fmt: skip
                return

            def pixel(x: Value) -> None:
                at = at_row + x * geometry.pixel
                for c in range(0, geometry.channels, lanes):
                    left = geometry.channels - c
                    mask = b.lane_mask(b.const(left), lanes) if left < lanes else None
                    value = b.load(picture, at + c, self.kind, lanes)
                    sink.store(b, [n, b.const(c), y, x], value, 1, mask)

            b.loop(0, width, pixel, label="x")

        b.loop(0, height, row, label="y")

    def _store_apart(
        self, b: Kernel, sink: Sink, index: list[Value], picture: Value, at_row: Value, w: int, mask: Value | None
    ) -> None:  # fmt: skip
        """Some pixels of a row, channel by channel."""
        n, y, x = index
        pixel = self.geometry.pixel
        count = w if mask is None else self.geometry.picture[1] % w
        base = at_row + x * pixel
        vectors = [
            b.load(picture, base + v * w, self.kind, w) for v in range(-(-count * pixel // w))
        ]
        for c in range(self.geometry.channels):
            places = [i * pixel + c if i < count else c for i in range(w)]
            value = picked(b, vectors, places, w)
            sink.store(b, [n, b.const(c), y, x], value, 3, mask)


class _Patches(_Writer):
    """Sums over result channels in registers: `vectors` of them hold what a window reaches."""

    def __init__(
        self, plan: Plan, grad: Array, places: Array, weight: Array, geometry: Geometry, vectors: int
    ) -> None:  # fmt: skip
        super().__init__(plan, grad, places, weight, geometry)
        self.vectors = vectors
        #: Elements of a patch, and of a row of it.
        self.wide = vectors * self.lanes
        self.line = (geometry.kernel[1] + geometry.window[1] - 1) * geometry.channels
        self.lines = geometry.kernel[0] + geometry.window[0] - 1
        #: Result channels whose part of the table stays in the first cache.
        each = geometry.places * self.wide * BYTES[self.kind]
        self.piece = max(1, min(self.outer, plan.target.first_cache * 5 // 8 // each))
        self.pieces = -(-self.outer // self.piece)
        self.piece = -(-self.outer // self.pieces)

    def emit(self, sink: Sink) -> None:
        """Adds the kernels."""
        table = self._table()
        b, pictures = self.kernel(self.vectors)
        kind, batch = self.kind, self.grad.shape[0]

        def item(i: Value) -> None:
            picture = pictures.place(b, i, pictures.items)

            def image(n: Value) -> None:
                clear(b, kind, self.lanes, picture, self.count)

                def piece(k: Value) -> None:
                    low = k * self.piece
                    high = b.intrinsic("smin", low + self.piece, b.const(self.outer))

                    def window(y: Value, x: Value) -> None:
                        self._window(b, n, low, high, y, x, table, picture)

                    b.loop(
                        0, self.down,
                        lambda y: b.loop(0, self.across, lambda x: window(y, x), label="columns") and None,
                        label="lines",
                    )  # fmt: skip

                b.loop(0, self.pieces, piece, label="pieces")
                b.when(self._finite(b, picture), lambda: None, lambda: self._exact(b, n, picture))
                self.store(b, sink, n, picture)

            b.loop(*share_of(b, i, pictures.items, batch), image, label="images")

        b.over_items(item)

    def _table(self) -> Array:
        """The weights as (result channel, place of the window, patch), with zeros where a place does not reach."""
        geometry, weight, kind = self.geometry, self.weight, self.kind
        channels = geometry.channels
        table = self.plan.scratch(weight.dtype, (self.outer, geometry.places, self.wide))
        run = geometry.kernel[1] * channels
        b = self.plan.kernel(
            "place_weights", self.outer, geometry.kernel[0] * run * 0.5 + geometry.places * self.vectors,
            nbytes=BYTES[kind] * (table.size + weight.size),
        )  # fmt: skip
        taps = b.scratch(kind, run)

        def item(o: Value) -> None:
            base = b.address(b.pointer(table), o * table.strides[0], kind)
            clear(b, kind, self.lanes, base, table.strides[0])

            def row(t: Value) -> None:
                def channel(c: Value) -> None:
                    for k in range(geometry.kernel[1]):
                        b.store(weight.load(b, [o, c, t, b.const(k)]), taps, c + k * channels)

                b.loop(0, channels, channel, label="channel")
                places = itertools.product(*(range(n) for n in geometry.window))
                for number, (down, right) in enumerate(places):
                    to = (t + down) * self.line + (right * channels + number * self.wide)

                    def vector(i: Value, w: int, mask: Value | None, to: Value = to) -> None:
                        b.store(b.load(taps, i, kind, w, mask=mask), base, to + i, mask=mask)

                    along(b, b.const(0), b.const(run), self.lanes, vector)

            b.loop(0, geometry.kernel[0], row, label="taps")

        b.over_items(item)
        return table

    def _window(
        self, b: Kernel, n: Value, low: Value, high: Value, y: Value, x: Value, table: Array, picture: Value
    ) -> None:  # fmt: skip
        """Sums a window's result channels, and adds the patch to the picture."""
        kind, lanes = self.kind, self.lanes

        def channel(o: Value, *sums: Value) -> list[Value]:
            value, place = self.number(b, [n, o, y, x])
            at = o * table.strides[0] + place * self.wide
            base = b.address(b.pointer(table), at, kind)
            return [
                b.fma(b.load(base, v * lanes, kind, lanes), value, s) for v, s in enumerate(sums)
            ]

        zero = b.const(0.0, kind, lanes)
        sums = b.loop(low, high, channel, [zero] * self.vectors, label="channels")
        base = b.address(picture, self.geometry.at(b, y, x), kind)
        padded = [*sums, sums[-1]]
        for r in range(self.lines):
            for c in range(0, self.line, lanes):
                at = r * self.geometry.row + c
                old = b.load(base, at, kind, lanes)
                number, shift = divmod(r * self.line + c, lanes)
                part = padded[number]
                if shift:
                    part = b.shuffle(part, padded[number + 1], range(shift, shift + lanes))
                new = old + part
                if self.line - c < lanes:
                    new = b.select(b.lane_mask(b.const(self.line - c), lanes), new, old)
                b.store(new, base, at)

    def _finite(self, b: Kernel, picture: Value) -> Value:
        """Whether all sums are numbers: where a gradient is not, the table's zeros have spread it too far."""
        kind, lanes = self.kind, self.lanes
        whole = self.count // lanes * lanes

        def vector(i: Value, total: Value) -> Value:
            return b.fma(b.load(picture, i, kind, lanes), 0.0, total)

        (total,) = b.loop(0, whole, vector, [b.const(0.0, kind, lanes)], step=lanes, label="check")
        value = b.reduce("add", total)
        if whole < self.count:
            mask = b.lane_mask(b.const(self.count - whole), lanes)
            value = value + b.reduce("add", b.load(picture, whole, kind, lanes, mask=mask) * 0.0)
        return b.compare("eq", value, 0.0)

    def _exact(self, b: Kernel, n: Value, picture: Value) -> None:
        """The picture again, with no product but those that count."""
        geometry, kind, weight = self.geometry, self.kind, self.weight
        clear(b, kind, self.lanes, picture, self.count)
        sizes = [self.outer, self.down, self.across, *geometry.kernel, geometry.channels]

        def step(depth: int, index: list[Value]) -> None:
            if depth < len(sizes):
                b.loop(0, sizes[depth], lambda i: step(depth + 1, [*index, i]), label="exact")
                return
            o, y, x, down, right, c = index
            at = geometry.at(b, y, x) + down * geometry.row + right * geometry.pixel + c
            at = at + geometry.step(b, self.places.load(b, [n, o, y, x]))
            product = self.grad.load(b, [n, o, y, x]) * weight.load(b, [o, c, down, right])
            b.store(b.load(picture, at, kind) + product, picture, at)

        step(0, [])


class _Pixels(_Writer):
    """Adds to pixels of whole vectors, some rows of taps at a time: their weights stay in the first cache."""

    def emit(self, sink: Sink) -> None:
        """Adds the kernels."""
        geometry, kind, lanes = self.geometry, self.kind, self.lanes
        weights = self._pack()
        run = geometry.kernel[1] * geometry.pixel
        b, pictures = self.kernel(2 * geometry.kernel[0] * run // lanes)
        batch = self.grad.shape[0]
        fit = plan_rows(self.plan.target.first_cache // 2, self.outer * run * BYTES[kind])
        fit = min(geometry.kernel[0], fit)

        def item(i: Value) -> None:
            picture = pictures.place(b, i, pictures.items)

            def taps(n: Value, y: Value, first: int, last: int) -> None:
                def window(x: Value) -> None:
                    base = b.address(picture, geometry.at(b, y, x), kind)

                    def channel(o: Value) -> None:
                        value, place = self.number(b, [n, o, y, x])
                        to = b.address(base, geometry.step(b, place), kind)
                        source = b.address(b.pointer(weights), o * weights.strides[0], kind)
                        for t in range(first, last):
                            for v in range(0, run, lanes):
                                at = t * geometry.row + v
                                column = b.load(source, t * run + v, kind, lanes)
                                b.store(b.fma(column, value, b.load(to, at, kind, lanes)), to, at)

                    b.loop(0, self.outer, channel, label="channels")

                b.loop(0, self.across, window, label="columns")

            def image(n: Value) -> None:
                clear(b, kind, lanes, picture, self.count)

                def line(y: Value) -> None:
                    for first in range(0, geometry.kernel[0], fit):
                        taps(n, y, first, min(first + fit, geometry.kernel[0]))

                b.loop(0, self.down, line, label="lines")
                self.store(b, sink, n, picture)

            b.loop(*share_of(b, i, pictures.items, batch), image, label="images")

        b.over_items(item)

    def _pack(self) -> Array:
        """The weights as (result channel, taps, channel), zeros behind the last channel."""
        geometry, weight, kind, lanes = self.geometry, self.weight, self.kind, self.lanes
        taps = geometry.kernel[0] * geometry.kernel[1]
        packed = self.plan.scratch(weight.dtype, (self.outer, taps, geometry.pixel))
        b = self.plan.kernel(
            "pack_weights", self.outer * taps, geometry.pixel * 0.8, nbytes=2 * weight.size * BYTES[kind]
        )  # fmt: skip

        def item(i: Value) -> None:
            o, t, k = decompose(b, i, [self.outer, *geometry.kernel])
            for c in range(0, geometry.pixel, lanes):
                left = geometry.channels - c
                mask = b.lane_mask(b.const(left), lanes) if left < lanes else None
                value = weight.load(b, [o, b.const(c), t, k], 1, lanes, mask)
                if mask is not None:
                    value = b.select(mask, value, 0.0)
                b.store(value, b.pointer(packed), i * geometry.pixel + c)

        b.over_items(item)
        return packed


def plan_rows(cache: int, row: int) -> int:
    """How many rows of taps fit a cache, at least one."""
    return max(1, cache // row)
