"""The gradient of a convolution's weight with channels in lanes.

A tile holds, in registers, some inner channels (for few of them: with the taps of a row) by some vectors of result
channels, and sums over pixels. Pictures are walked through in bands of rows that stay in the first cache while all taps
look at them. Where there is little to read, items are taps; else they are parts of the batch, whose number follows from
the shapes alone and whose sums are added in order at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from rushlight.loops.arrays import Array, Sink, contiguous_strides
from rushlight.loops.builder import BYTES, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import decompose, transpose
from rushlight.primitives.lowerings.channels_in_lanes import ITEMS, channel_masks, vectors_of
from rushlight.primitives.lowerings.copying import copy_into
from rushlight.primitives.lowerings.correlation import FLOP_NS, Axis, nest, product_of
from rushlight.primitives.lowerings.tile import rows_of

#: Inner channels below which the taps of a row share a tile.
FEW = 8
#: Parts into which a sum is cut: at least (where there is enough), and at most.
LEAST_PARTS, MOST_PARTS = 4, 16


class WeightGradient:
    """One such kernel while it is written."""

    def __init__(
        self, plan: Plan, x: Array, grad: Array, groups: int, axes: Sequence[Axis]
    ) -> None:
        self.plan, self.x, self.grad, self.groups = plan, x, grad, groups
        *self.lead, self.last = axes
        self.kind = x.kind
        self.lanes = plan.target.lanes(x.kind)
        self.outer, self.inner = grad.shape[1] // groups, x.shape[1] // groups
        self.vectors = vectors_of(self.outer, self.lanes)
        self.width = self.vectors * self.lanes
        self.panels = -(-self.outer // self.width)
        self.kernel = [a.taps for a in axes]
        self.b: Kernel

    def emit(self, sink: Sink) -> None:
        """Adds the kernels."""
        plan, x, grad, groups = self.plan, self.x, self.grad, self.groups
        item_bytes = BYTES[self.kind]
        banded = self.lead[0] if self.lead else self.last
        row = item_bytes * (
            x.size // (x.shape[0] * banded.size) + grad.size // (x.shape[0] * banded.results)
        )
        few = self.inner < FEW
        band = max(1, min(banded.results, plan.target.first_cache * 3 // 4 // max(row, 1)))
        if few and not self.lead:
            band = banded.results
        self.bands = -(-banded.results // band)
        self.band = -(-banded.results // self.bands)
        units = x.shape[0] * self.bands
        self.outside = [groups, self.panels, *(a.taps for a in self.lead)]
        weights = groups * self.inner * product_of(self.kernel) * self.panels * self.width
        little = item_bytes * (x.size + grad.size) <= plan.target.second_cache // 2
        if little:
            parts = min(units, -(-ITEMS // product_of(self.outside)))
        else:
            most = max(LEAST_PARTS, plan.target.second_cache // 2 // (weights * item_bytes))
            parts = min(
                units, MOST_PARTS, 1 << most.bit_length() - 1
            )  # whole shares for 2 and 4 threads
        self.partial = plan.scratch(
            x.dtype, (parts, groups, self.inner, *self.kernel, self.panels * self.width)
        )
        flops = 2 * x.shape[0] * grad.shape[1] * self.inner * product_of(
            [a.pairs for a in (*self.lead, self.last)]
        )  # fmt: skip
        items = parts * (product_of(self.outside) if little else 1)
        work = flops / items * (self.panels * self.width / self.outer) * FLOP_NS[self.kind] + 50
        b = self.b = plan.kernel(
            "convolve_weight", items, work, flops=flops, nbytes=item_bytes * (x.size + grad.size)
        )

        def item(i: Value) -> None:
            part, *where = decompose(b, i, [parts, *(self.outside if little else [])])
            low = b.binary("udiv", part * units, b.const(parts))
            high = b.binary("udiv", (part + 1) * units, b.const(parts))

            def unit(u: Value) -> None:
                image, number = decompose(b, u, [x.shape[0], self.bands])
                fresh = b.compare("eq", u, low)
                rows = (
                    number * self.band,
                    b.intrinsic("smin", (number + 1) * self.band, b.const(banded.results)),
                )

                def at(index: list[Value]) -> None:
                    self._tap(part, image, rows, fresh, index[0], index[1], index[2:])

                if little:
                    at(where)
                else:
                    nest(b, self.outside, at, "t")

            b.loop(low, high, unit, label="bands")

        b.over_items(item)
        self._finish(sink, parts)

    def _tap(
        self, part: Value, image: Value, rows: tuple[Value, Value], fresh: Value, group: Value, panel: Value,
        tap: Sequence[Value],
    ) -> None:  # fmt: skip
        """Adds one band of one picture to one panel, for one tap of all dimensions but the last."""
        b, x, grad = self.b, self.x, self.grad
        masks = channel_masks(b, self.outer, panel, self.vectors, self.lanes)
        at_x = image * x.strides[0] + group * (self.inner * x.strides[1])
        at_g = image * grad.strides[0] + group * (self.outer * grad.strides[1]) + panel * self.width
        ranges = [a.results_at(b, t) for a, t in zip(self.lead, tap, strict=True)]
        if self.lead:
            ranges[0] = _both(b, ranges[0], rows)
        most = max(1, (self.plan.target.registers - self.vectors - 2) // self.vectors)

        def sums(pairs: list[tuple[int, int]], channel: Any, along: Any, tap_x: Any) -> None:
            """`pairs` are (tap, inner channel) from `tap_x` and `channel` on."""
            to = self.partial.element(b, [part, group, channel, *tap, tap_x, panel * self.width])
            base = b.pointer(self.partial)
            offsets = [
                t * self.partial.strides[-2] + c * self.partial.strides[2] + v * self.lanes
                for (t, c), v in itertools.product(pairs, range(self.vectors))
            ]
            zero = b.const(0.0, self.kind, self.lanes)
            start = [
                b.select(fresh, zero, b.load(base, to + o, self.kind, self.lanes)) for o in offsets
            ]
            source = at_x + b.index(channel) * x.strides[1]
            totals = self._lines(0, ranges, tap, source, at_g, masks, pairs, along, tap_x, start)
            for o, value in zip(offsets, totals, strict=True):
                b.store(value, base, to + o)

        if self.inner < FEW:
            pairs = [*itertools.product(range(self.last.taps), range(self.inner))]
            tiles = -(-len(pairs) // most)
            size = -(-len(pairs) // tiles)
            for first in range(0, len(pairs), size):
                sums(pairs[first : first + size], b.const(0), None, b.const(0))
            return
        size = rows_of(self.plan.target.registers, self.vectors, self.inner)

        def each_tap(t: Value) -> None:
            along = self.last.results_at(b, t)
            if not self.lead:
                along = _both(b, along, rows)
            even = self.inner // size

            def some(first: Value, count: int) -> None:
                sums([(0, c) for c in range(count)], first, along, t)

            b.loop(0, even, lambda n: some(n * size, size), label="channels")
            if self.inner % size:
                some(b.const(even * size), self.inner % size)

        b.loop(0, self.last.taps, each_tap, label="tap")

    def _lines(
        self, depth: int, ranges: Sequence[tuple[Value, Value]], tap: Sequence[Value], at_x: Value, at_g: Value,
        masks: Sequence[Value | None], pairs: list[tuple[int, int]], along: Any, tap_x: Value, totals: Sequence[Value],
    ) -> Any:  # fmt: skip
        """The rows of pixels of a band."""
        b, x, grad = self.b, self.x, self.grad
        if depth < len(self.lead):
            axis = self.lead[depth]

            def line(p: Value, *inside: Value) -> Any:
                source = p * axis.move + (tap[depth] * axis.step + axis.origin)
                return self._lines(
                    depth + 1, ranges, tap, at_x + source * x.strides[2 + depth], at_g + p * grad.strides[2 + depth],
                    masks, pairs, along, tap_x, inside,
                )  # fmt: skip

            return b.loop(*ranges[depth], line, totals, label=f"y{depth}")
        last = self.last
        step = x.strides[-1]

        def pixel(p: Value, *inside: Value, served: Sequence[int] | None = None) -> list[Value]:
            new = list(inside)
            source = (p * last.move + last.origin) * step + tap_x * (last.step * step)
            left = b.address(b.pointer(x), at_x + source, self.kind)
            right = b.address(b.pointer(grad), at_g + p * grad.strides[-1], self.kind)
            column = [
                b.load(right, v * self.lanes, self.kind, self.lanes, mask=masks[v]) for v in range(self.vectors)
            ]  # fmt: skip
            for n, (t, c) in enumerate(pairs):
                if served is not None and t not in served:
                    continue
                value = b.load(left, t * last.step * step + c * x.strides[1], self.kind)
                for v in range(self.vectors):
                    place = n * self.vectors + v
                    new[place] = b.fma(b.splat(value, self.lanes), column[v], new[place])
            return new

        if along is not None:
            return b.loop(along[0], along[1], pixel, totals, label="x")
        low, high = last.whole()
        sums: Any = totals
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

    # -- adding the parts ------------------------------------------------------------------------------------------

    def _finish(self, sink: Sink, parts: int) -> None:
        """Adds the parts in order, and puts the sums where the weight's layout wants them."""
        shape = (self.groups, self.outer, self.inner * product_of(self.kernel))
        target = sink.reshape(shape)
        if target is not None and target.strides[2] == 1:
            self._turn(target, parts)
            return
        whole = self.plan.scratch(self.x.dtype, sink.shape)
        self._turn(Sink(whole.look(shape, contiguous_strides(shape))), parts)
        copy_into(self.plan, sink, whole, "weight")

    def _turn(self, target: Sink, parts: int) -> None:
        lanes, outer, kind = self.lanes, self.outer, self.kind
        rows = target.shape[2]
        wide = self.panels * self.width
        source = self.partial.look(
            (parts, self.groups, rows, wide), (self.groups * rows * wide, rows * wide, wide, 1)
        )
        ups, downs = -(-rows // lanes), -(-outer // lanes)
        work = lanes * (2.0 + 0.5 * parts)
        b = self.plan.kernel(
            "add_weights",
            self.groups * downs * ups,
            work,
            nbytes=source.size * BYTES[kind] + target.nbytes,
        )

        def item(i: Value) -> None:
            group, down, up = decompose(b, i, [self.groups, downs, ups])
            first, row = down * lanes, up * lanes
            vectors = []
            for j in range(lanes):
                place = row + j
                if rows % lanes:
                    place = b.intrinsic("smin", place, b.const(rows - 1))
                at = source.element(b, [0, group, place, first])
                total = b.load(b.pointer(source), at, kind, lanes)
                for p in range(1, parts):
                    total = total + b.load(
                        b.pointer(source), at + p * source.strides[0], kind, lanes
                    )
                vectors.append(total)
            mask = b.lane_mask(b.const(rows) - row, lanes) if rows % lanes else None
            for j, vector in enumerate(transpose(b, vectors)):

                def put(j: int = j, vector: Value = vector) -> None:
                    target.store(b, [group, first + j, row], vector, 2, mask)

                if outer % lanes:
                    b.when(b.compare("lt", first + j, b.const(outer)), put)
                else:
                    put()

        b.over_items(item)


def _both(b: Kernel, one: tuple[Value, Value], other: tuple[Value, Value]) -> tuple[Value, Value]:
    """What two ranges have in common."""
    return b.intrinsic("smax", one[0], other[0]), b.intrinsic("smin", one[1], other[1])
