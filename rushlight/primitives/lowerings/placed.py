"""What both gradients through a max pooling share: where the windows' places lie in a padded picture.

A picture is copied, image by image, into memory of the item that works on it: channels side by side, its border
around it, and room behind it for a whole vector. It stays in the first cache; that is worth far more than the copy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BYTES, F32, F64, I64, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import along, picked
from rushlight.primitives.lowerings.correlation import FLOP_NS

Sizes = tuple[int, ...]
#: Into how many items the images of a batch are cut, at most.
MOST_ITEMS = 16
#: Bytes that a kernel may take from the stack: what a thread has there stays in its own cache.
MOST_STACK = 1 << 14
#: Channels whose pixels are mixed, or told apart, in registers, at most.
MOST_MIXED = 8


def computable(*arrays: Any) -> bool:
    """Whether kernels can take these operands."""
    return all(isinstance(a, Array) and a.kind in (F32, F64) and a.size for a in arrays)


def items_of(batch: int) -> int:
    """The number of items that share a batch: even shares for 2, 4, 8 and 16 threads where it is large."""
    return min(batch, MOST_ITEMS)


@dataclass(frozen=True)
class Geometry:
    """Sizes of pictures, kernel and windows; a pixel of the padded picture takes `pixel` elements."""

    picture: Sizes
    before: Sizes
    after: Sizes
    kernel: Sizes
    window: Sizes
    channels: int
    pixel: int

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns with the border."""
        height, width = (
            n + b + a for n, b, a in zip(self.picture, self.before, self.after, strict=True)
        )
        return height, width

    @property
    def row(self) -> int:
        """Elements of a row."""
        return self.padded[1] * self.pixel

    @property
    def bordered(self) -> bool:
        """Whether there is a border."""
        return any((*self.before, *self.after))

    @property
    def places(self) -> int:
        """How many places a window has."""
        return math.prod(self.window)

    def at(self, b: Kernel, row: Value, column: Value) -> Value:
        """The first pixel that a window reaches."""
        return row * (self.window[0] * self.row) + column * (self.window[1] * self.pixel)

    def step(self, b: Kernel, place: Value) -> Value:
        """How much further on the pixels lie that a place of the window reaches."""
        place = b.convert(place, I64, signed=False)
        wide = self.window[1]
        down, right = b.binary("udiv", place, b.const(wide)), b.binary("urem", place, b.const(wide))
        return down * self.row + right * self.pixel


class Pictures:
    """Memory for the picture that an item works on: on its thread's stack if it is small."""

    def __init__(self, plan: Plan, dtype: Any, kind: str, batch: int, count: int) -> None:
        self.kind, self.count = kind, count
        self.on_stack = count * BYTES[kind] <= MOST_STACK
        #: How many items should share the batch.
        self.items = batch if self.on_stack else items_of(batch)
        self._plan, self._dtype = plan, dtype
        self._array: Array | None = None
        self._place: Value | None = None

    def place(self, b: Kernel, item: Value, items: int) -> Value:
        """The address of an item's picture."""
        if self.on_stack:
            if self._place is None:
                self._place = b.scratch(self.kind, self.count)
            return self._place
        if self._array is None:
            self._array = self._plan.scratch(self._dtype, (items, self.count))
        return b.address(b.pointer(self._array), item * self.count, self.kind)


def share_of(b: Kernel, item: Value, items: int, count: int) -> tuple[Value, Value]:
    """The range of images that an item works on."""
    if items == count:
        return item, item + 1
    return (
        b.binary("udiv", item * count, b.const(items)),
        b.binary("udiv", (item + 1) * count, b.const(items)),
    )


def clear(b: Kernel, kind: str, lanes: int, base: Value, count: int) -> None:
    """Zeros; up to a vector more than `count` of them."""
    zero = b.const(0.0, kind, lanes)
    whole = -(-count // lanes) * lanes
    b.loop(0, whole, lambda i: b.store(zero, base, i), step=lanes, label="clear")


def copy_rows(
    b: Kernel, plan: Plan, x: Array, geometry: Geometry, image: Value, first: Value, rows: Value | int, to: Value
) -> None:  # fmt: skip
    """Copies rows of a picture, from row `first` of the padded one on; the columns of the border are there already."""
    kind, lanes = x.kind, plan.target.lanes(x.kind)
    height, width = geometry.picture
    across = width * geometry.channels
    source = b.pointer(x)

    def mixed(start: Value, at: Value) -> Any:
        """Some pixels of all channels, their lanes mixed."""
        channels = geometry.channels

        def pixels(i: Value, w: int, mask: Value | None) -> None:
            rows = [
                b.load(source, start + c * x.strides[1] + i, kind, w, mask=mask) for c in range(channels)
            ]  # fmt: skip
            count = channels * (w if mask is None else width % lanes)
            for low in range(0, count, w):
                elements = [min(e, count - 1) for e in range(low, low + w)]
                places = [e % channels * w + e // channels for e in elements]
                inside = b.lane_mask(b.const(count - low), w) if count - low < w else None
                b.store(picked(b, rows, places, w), to, at + i * channels + low, mask=inside)

        return pixels

    def copied(y: Value, at: Value) -> None:
        start = image * x.strides[0] + y * x.strides[2]
        if x.strides[3] == geometry.channels and (geometry.channels == 1 or x.strides[1] == 1):

            def vector(i: Value, w: int, mask: Value | None) -> None:
                b.store(b.load(source, start + i, kind, w, mask=mask), to, at + i, mask=mask)

            along(b, b.const(0), b.const(across), lanes, vector)
            return

        if x.strides[3] == 1 and geometry.channels <= MOST_MIXED:
            along(b, b.const(0), b.const(width), lanes, mixed(start, at))
            return

        def channel(c: Value) -> None:
            def pixels(i: Value, w: int, mask: Value | None) -> None:
                count = w if mask is None else width % lanes
                base = start + c * x.strides[1]
                for k in range(count):
                    value = b.load(source, base + (i + k) * x.strides[3], kind)
                    b.store(value, to, at + c + (i + k) * geometry.pixel)

            along(b, b.const(0), b.const(width), lanes, pixels)

        b.loop(0, geometry.channels, channel, label="channel")

    def row(r: Value) -> None:
        at = r * geometry.row + geometry.before[1] * geometry.pixel
        y = first + r - geometry.before[0]
        if not geometry.before[0] and not geometry.after[0]:
            copied(y, at)
            return
        inside = b.compare("ult", y, b.const(height))

        def zeros() -> None:
            def vector(i: Value, w: int, mask: Value | None) -> None:
                b.store(b.const(0.0, kind, w), to, at + i, mask=mask)

            along(b, b.const(0), b.const(across), lanes, vector)

        b.when(inside, lambda: copied(y, at), zeros)

    b.loop(0, rows, row, label="rows")


class InputWriter:
    """A gradient of the input while its kernel is written: what both of its forms share."""

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
