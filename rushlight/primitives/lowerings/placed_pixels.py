"""The gradient of a convolution's input through a max pooling, for pixels of whole vectors of channels.

The result channels of a window are told apart by the place that they chose: those of one place reach the same pixels,
which stay in registers while their weights are added. Gradients that are 0 are not written down.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BYTES, I32, I64, Value
from rushlight.loops.kernel import Kernel
from rushlight.loops.nest import decompose
from rushlight.primitives.lowerings.placed import InputWriter, Pictures, clear, share_of

#: Bytes of lists that are written at a time, about.
LIST_BYTES = 24 * 1024


class Pixels(InputWriter):
    """Rows of windows are worked on together: their lists are written once, and read for each group of channels."""

    def emit(self, sink: Sink) -> None:
        """Adds the kernels."""
        geometry, kind, lanes, target = self.geometry, self.kind, self.lanes, self.plan.target
        taps = [*itertools.product(*(range(n) for n in geometry.kernel))]
        vectors = geometry.pixel // lanes
        room = target.first_cache * 3 // 4
        #: Vectors of a pixel that are summed together, and result channels whose weights for them fit the first cache.
        self.vectors = max(
            v for v in range(1, vectors + 1)
            if vectors % v == 0 and (v == 1 or (
                len(taps) * v <= target.registers - 4
                and self.outer * len(taps) * v * target.vector_bytes <= room
            ))
        )  # fmt: skip
        self.groups = vectors // self.vectors
        #: Elements of a result channel's weights for one group.
        self.wide = len(taps) * self.vectors * lanes
        self.piece = max(lanes, room // (self.wide * BYTES[kind]) // lanes * lanes)
        self.pieces = -(-self.outer // self.piece)
        each = self.across * self.outer * (BYTES[kind] + BYTES[I32])
        self.band = max(1, min(self.down, LIST_BYTES // each))
        windows = self.band * self.across
        self.length = windows * self.outer + 2 * lanes
        weights = self._pack(taps)
        b, pictures = self.kernel(2 * len(taps) * vectors)
        batch = self.grad.shape[0]
        places = geometry.places
        count = self.pieces * windows * places
        rooms = [
            Pictures(self.plan, self.grad.dtype, kind, batch, self.length),
            Pictures(self.plan, "int32", I32, batch, self.length),
            Pictures(self.plan, "int32", I32, batch, count),
        ]

        def item(i: Value) -> None:
            picture = pictures.place(b, i, pictures.items)
            lists = [room.place(b, i, pictures.items) for room in rooms]

            def image(n: Value) -> None:
                clear(b, kind, lanes, picture, self.count)

                def band(k: Value) -> None:
                    low = k * self.band
                    high = b.intrinsic("smin", low + self.band, b.const(self.down))
                    self._list(b, n, low, high, lists)
                    b.loop(
                        0, self.groups,
                        lambda group: self._add(b, group, low, high, lists, weights, picture, taps),
                        label="groups",
                    )  # fmt: skip

                b.loop(0, -(-self.down // self.band), band, label="bands")
                self.store(b, sink, n, picture)

            b.loop(*share_of(b, i, pictures.items, batch), image, label="images")

        b.over_items(item)

    def _windows(
        self, b: Kernel, low: Value, high: Value, body: Callable[..., tuple[Value, ...]]
    ) -> None:
        """Runs `body(piece, y, x, at, number)` for all windows of a band; it gives the next at and number."""

        def piece(p: Value, *so_far: Value) -> Any:
            def line(y: Value, *so_far: Value) -> Any:
                def window(x: Value, *so_far: Value) -> Any:
                    return body(p, y, x, *so_far)

                return b.loop(0, self.across, window, so_far, label="windows")

            return b.loop(low, high, line, so_far, label="lines")

        b.loop(0, self.pieces, piece, [b.const(0), b.const(0)], label="pieces")

    def _list(self, b: Kernel, n: Value, low: Value, high: Value, lists: list[Value]) -> None:
        """Writes gradients and where their weights lie, by piece, window and place; and how many they are."""
        lanes = self.lanes
        values, starts, counts = lists

        def window(p: Value, y: Value, x: Value, at: Value, number: Value) -> tuple[Value, ...]:
            first = p * self.piece
            last = b.intrinsic("smin", first + self.piece, b.const(self.outer))
            for place in range(self.geometry.places):

                def some(o: Value, at: Value, place: int = place) -> Value:
                    inside = b.lane_mask(last - o, lanes)
                    value = self.grad.load(b, [n, o, y, x], 1, lanes, inside)
                    where = self.places.load(b, [n, o, y, x], 1, lanes, inside)
                    chosen = b.compare("eq", where, b.const(place, where.kind, lanes))
                    chosen = chosen & b.compare("ne", value, 0.0) & inside
                    offsets = b.splat(b.convert(o * self.wide, I32), lanes)
                    offsets = offsets + b.lane_numbers(lanes, I32) * self.wide
                    b.store(b.compress(value, chosen), values, at)
                    b.store(b.compress(offsets, chosen), starts, at)
                    return at + b.count(chosen)

                (after,) = b.loop(first, last, some, [at], step=lanes, label="channels")
                b.store(b.convert(after - at, I32), counts, number + place)
                at = after
            return at, number + self.geometry.places

        self._windows(b, low, high, window)

    def _add(
        self, b: Kernel, group: Value, low: Value, high: Value, lists: list[Value], weights: Array, picture: Value,
        taps: list[tuple[int, ...]],
    ) -> None:  # fmt: skip
        """Adds to some channels of the pixels what the lists say."""
        geometry, kind, lanes = self.geometry, self.kind, self.lanes
        values, starts, counts = lists
        source = b.address(b.pointer(weights), group * weights.strides[0], kind)
        every = [(t, v) for t in range(len(taps)) for v in range(self.vectors)]
        most = max(1, self.plan.target.registers - 4)
        size = -(-len(every) // -(-len(every) // most))

        def window(p: Value, y: Value, x: Value, at: Value, number: Value) -> tuple[Value, ...]:
            begin = geometry.at(b, y, x) + group * (self.vectors * lanes)
            places = itertools.product(*(range(n) for n in geometry.window))
            for place, (down, right) in enumerate(places):
                count = b.convert(b.load(counts, number + place, I32), I64)
                shift = begin + (down * geometry.row + right * geometry.pixel)
                base = b.address(picture, shift, kind)
                for start in range(0, len(every), size):
                    some = every[start : start + size]
                    to = [
                        taps[t][0] * geometry.row + taps[t][1] * geometry.pixel + v * lanes
                        for t, v in some
                    ]

                    def entry(i: Value, *sums: Value, first: int = start) -> list[Value]:
                        row = b.address(source, b.convert(b.load(starts, i, I32), I64), kind)
                        wide = b.splat(b.load(values, i, kind), lanes)
                        return [
                            b.fma(b.load(row, (first + k) * lanes, kind, lanes), wide, s)
                            for k, s in enumerate(sums)
                        ]

                    sums = [b.load(base, off, kind, lanes) for off in to]
                    ends = b.loop(at, at + count, entry, sums, label="listed")
                    for off, value in zip(to, ends, strict=True):
                        b.store(value, base, off)
                at = at + count
            return at, number + geometry.places

        self._windows(b, low, high, window)

    def _pack(self, taps: list[tuple[int, ...]]) -> Array:
        """The weights as (group of channels, result channel, tap, channel), zeros behind the last channel."""
        geometry, weight, kind, lanes = self.geometry, self.weight, self.kind, self.lanes
        wide = self.vectors * lanes
        packed = self.plan.scratch(weight.dtype, (self.groups, self.outer, len(taps), wide))
        b = self.plan.kernel(
            "pack_weights", self.outer * len(taps), geometry.pixel * 0.8, nbytes=2 * weight.size * BYTES[kind]
        )  # fmt: skip

        def item(i: Value) -> None:
            o, down, right = decompose(b, i, [self.outer, *geometry.kernel])
            for c in range(0, geometry.pixel, lanes):
                left = geometry.channels - c
                mask = b.lane_mask(b.const(left), lanes) if left < lanes else None
                value = weight.load(b, [o, b.const(c), down, right], 1, lanes, mask)
                if mask is not None:
                    value = b.select(mask, value, 0.0)
                group, rest = divmod(c, wide)
                to = i * wide + (group * packed.strides[0] + rest)
                b.store(value, b.pointer(packed), to)

        b.over_items(item)
        return packed
