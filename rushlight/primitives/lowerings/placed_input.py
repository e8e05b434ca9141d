"""The gradient of a convolution's input through a max pooling, one number of each window at a time.

Few channels: all pixels that a window can reach, with their channels, are a few registers, a patch. The weights lie in
a table, moved to each place of the window, with zeros around them: registers are summed over the result channels, and
added to the picture once for each window. Many channels: see `placed_pixels.py`.
"""

from __future__ import annotations

import itertools
from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BYTES, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import along
from rushlight.primitives import placed
from rushlight.primitives.lowerings.placed import (
    Geometry,
    InputWriter,
    Sizes,
    clear,
    computable,
    share_of,
)
from rushlight.primitives.lowerings.placed_pixels import Pixels


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
    Pixels(plan, grad, places, weight, geometry).emit(sinks[0])
    return None


class _Patches(InputWriter):
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
        #: Result channels whose part of the table comes out of the first cache, or most of it.
        each = geometry.places * self.wide * BYTES[self.kind]
        self.piece = max(1, min(self.outer, plan.target.first_cache * 5 // 4 // each))
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
