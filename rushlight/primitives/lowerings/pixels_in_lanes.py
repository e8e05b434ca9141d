"""Convolutions with the pixels of a row in lanes: few channels, whatever the batch, and pictures as users have them.

A tile holds some result channels by all vectors of a row; weights are the scalars. Lanes whose tap lies outside of the
picture are masked, which is known while the kernel is written. A pooling merges neighbours by moving them to the same
lane first.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from rushlight.loops.arrays import Array, Sink, WindowSink
from rushlight.loops.builder import BYTES, I1, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import decompose, picked
from rushlight.primitives.lowerings.correlation import FLOP_NS, Axis, nest, product_of

#: Vectors that a row may take, and taps of it that are written out.
MOST_VECTORS, MOST_TAPS = 4, 11
#: Into how many items a kernel is cut at least, where there is enough to do.
ITEMS = 16


def share_of_lanes(length: int, lanes: int) -> float:
    """How many of the lanes that a row takes have a pixel."""
    return length / (-(-length // lanes) * lanes)


def fits(axis: Axis, lanes: int) -> bool:
    """Whether rows of results can lie in lanes."""
    return (
        axis.move == 1
        and axis.taps <= MOST_TAPS
        and axis.results <= MOST_VECTORS * lanes
        and lanes > 1
    )


def suits(sink: Sink, x: Array, outer: int, groups: int, axes: Sequence[Axis], lanes: int) -> bool:
    """Whether that wastes fewer lanes than channels would, and the arrays lie as it needs them."""
    last = axes[-1]
    along = isinstance(sink, WindowSink) or sink.strides[-1] == 1
    if groups != 1 or x.strides[-1] != 1 or not along or not fits(last, lanes):
        return False
    return share_of_lanes(last.results, lanes) > 1.1 * share_of_lanes(outer, lanes)


class Rows:
    """One such kernel while it is written."""

    def __init__(
        self, plan: Plan, sink: Sink, x: Array, w: Array, inner: int, outer: int, axes: Sequence[Axis]
    ) -> None:  # fmt: skip
        self.plan, self.sink, self.x, self.w = plan, sink, x, w
        self.inner, self.outer = inner, outer
        *self.lead, self.last = axes
        self.kind = x.kind
        self.lanes = plan.target.lanes(self.kind)
        self.window = sink.window if isinstance(sink, WindowSink) else (1,) * len(axes)
        #: Results that count: windows may leave some over.
        self.length = self.last.results // self.window[-1] * self.window[-1]
        self.vectors = -(-self.length // self.lanes)
        registers = plan.target.registers - self.vectors - 2
        most = max(1, registers // self.vectors)
        tiles = -(-outer // most)
        #: Result channels of a tile.
        self.rows = -(-outer // tiles)
        self.b: Kernel

    def emit(self) -> None:
        """Adds the kernel."""
        x, lead = self.x, self.lead
        places = [a.results // n for a, n in zip(lead, self.window, strict=False)]
        batch = x.shape[0]
        cut = min(places[0], -(-ITEMS // batch)) if places else 1
        flops = 2 * batch * self.outer * self.inner * product_of(
            [a.pairs for a in (*lead, self.last)]
        )  # fmt: skip
        items = batch * cut
        work = flops / items / share_of_lanes(self.length, self.lanes) * FLOP_NS[self.kind] + 20
        size = x.size + self.sink.array.size
        b = self.b = self.plan.kernel(
            "convolve_rows", items, work, flops=flops, nbytes=BYTES[self.kind] * size
        )

        def item(i: Value) -> None:
            image, part = decompose(b, i, [batch, cut])
            if not places:
                self._line(image, [])
                return
            low = b.binary("udiv", part * places[0], b.const(cut)) if cut > 1 else b.const(0)
            high = (
                b.binary("udiv", (part + 1) * places[0], b.const(cut))
                if cut > 1
                else b.const(places[0])
            )
            b.loop(
                low, high, lambda y: nest(b, places[1:], lambda rest: self._line(image, [y, *rest])), label="y"
            )  # fmt: skip

        b.over_items(item)

    def _line(self, image: Value, index: list[Value]) -> None:
        """A row of results, or of windows of results, of all channels."""
        b, even = self.b, self.outer // self.rows

        def channels(first: Value, count: int) -> None:
            best: dict[tuple[int, int], Any] = {}
            for number, inside in enumerate(
                itertools.product(*(range(n) for n in self.window[:-1]))
            ):
                where = [p * n + k for p, n, k in zip(index, self.window, inside, strict=False)]
                sums = self._sums(image, first, count, where)
                for m in range(count):
                    row = sums[m * self.vectors : (m + 1) * self.vectors]
                    self._take(image, first + m, m, where, number, row, best)
            for (m, v), chosen in best.items():
                assert isinstance(self.sink, WindowSink)  # noqa: S101 - only it makes a best
                windows = self.length // self.window[-1]
                mask = self._mask(windows - v * self.lanes)
                target = [image, first + m, *index, b.const(v * self.lanes)]
                self.sink.store_window(b, target, chosen, len(index) + 2, mask)

        b.loop(0, even, lambda t: channels(t * self.rows, self.rows), label="channels")
        if self.outer % self.rows:
            channels(b.const(even * self.rows), self.outer % self.rows)

    def _mask(self, count: int) -> Value | None:
        """The first lanes; None: all."""
        b = self.b
        return b.lane_mask(b.const(count), self.lanes) if count < self.lanes else None

    def _take(
        self, image: Value, channel: Value, m: int, where: list[Value], number: int, row: Sequence[Value],
        best: dict[tuple[int, int], Any],
    ) -> None:  # fmt: skip
        """Hands a row of results to the sink, or merges it into its windows."""
        b, sink, axis = self.b, self.sink, len(where) + 2
        masks = [self._mask(self.length - v * self.lanes) for v in range(self.vectors)]
        target = [[image, channel, *where, b.const(v * self.lanes)] for v in range(self.vectors)]
        if not isinstance(sink, WindowSink):
            for at, value, mask in zip(target, row, masks, strict=True):
                sink.store(b, at, value, axis, mask)
            return
        parts = [
            sink.prepare(b, at, value, axis, mask)
            for at, value, mask in zip(target, row, masks, strict=True)
        ]
        wide = self.window[-1]
        for v in range(-(-(self.length // wide) // self.lanes)):
            for k in range(wide):
                places = [(v * self.lanes + i) * wide + k for i in range(self.lanes)]
                moved = picked(b, parts, places, self.lanes)
                best[m, v] = sink.merge(b, number * wide + k, moved, best.get((m, v)))

    def _sums(
        self, image: Value, first: Value, count: int, where: list[Value]
    ) -> tuple[Value, ...]:
        """A row of results of some channels, channel by channel."""
        b, x, w, kind, lanes, last = self.b, self.x, self.w, self.kind, self.lanes, self.last
        ranges = [a.taps_of(b, p) for a, p in zip(self.lead, where, strict=True)]
        zero = [b.const(0.0, kind, lanes)] * (count * self.vectors)

        def taps(depth: int, at_x: Value, at_w: Value, totals: Sequence[Value]) -> Any:
            if depth == len(self.lead):
                return self._row_of_taps(
                    b.address(b.pointer(x), at_x, kind), b.address(b.pointer(w), at_w, kind), count, totals
                )  # fmt: skip
            axis, (low, high) = self.lead[depth], ranges[depth]
            begin = where[depth] * axis.move + axis.origin

            def tap(t: Value, *inside: Value) -> Any:
                source = begin + t * axis.step
                return taps(
                    depth + 1, at_x + source * x.strides[2 + depth], at_w + t * w.strides[2 + depth], inside
                )  # fmt: skip

            return b.loop(low, high, tap, totals, label=f"k{depth}")

        def channel(c: Value, *totals: Value) -> Any:
            at_x = image * x.strides[0] + c * x.strides[1] + last.origin
            return taps(0, at_x, c * w.strides[1] + first * w.strides[0], totals)

        return b.loop(0, self.inner, channel, zero, label="inner")

    def _row_of_taps(self, x: Value, w: Value, count: int, totals: Sequence[Value]) -> list[Value]:
        b, kind, lanes, last = self.b, self.kind, self.lanes, self.last
        new = list(totals)
        for tap in range(last.taps):
            columns: list[Value | None] = []
            for v in range(self.vectors):
                pixels = range(v * lanes, (v + 1) * lanes)
                inside = [p < self.length and last.inside(p, tap) for p in pixels]
                if not any(inside):
                    columns.append(None)
                    continue
                mask = None if all(inside) else b.values(inside, I1)
                columns.append(b.load(x, v * lanes + tap * last.step, kind, lanes, mask=mask))
            for m in range(count):
                weight = b.load(w, m * self.w.strides[0] + tap * self.w.strides[-1], kind)
                wide = b.splat(weight, lanes)
                for v, column in enumerate(columns):
                    if column is not None:
                        at = m * self.vectors + v
                        new[at] = b.fma(column, wide, new[at])
        return new
