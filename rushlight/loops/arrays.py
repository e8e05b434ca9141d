"""Where elements lie: `Memory` (a piece of it), `Array` (a strided look into one), `Sink` (where results go).

Strides and offsets count elements. A kernel is handed the address of an array's first element, so that its text
depends on shapes and strides only: the same kernel serves every time step and every layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rushlight.core.shapes import contiguous_strides, size_of
from rushlight.loops.builder import BYTES, CACHE_LINE, I1, Value

if TYPE_CHECKING:
    from rushlight.loops.kernel import Kernel

#: LLVM element types of NumPy dtypes, and whether integers of that type have a sign.
KINDS = {
    "float16": "half", "bfloat16": "bfloat", "float32": "float", "float64": "double", "bool": I1,
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "i8", "uint16": "i16", "uint32": "i32", "uint64": "i64",
}  # fmt: skip


class Memory:
    """A piece of memory that a program uses: an input, an output, or a part of the arena."""

    __slots__ = ("bytes", "name", "place", "streamed")

    def __init__(self, nbytes: int, name: str = "", streamed: bool = False) -> None:
        self.bytes = nbytes
        self.name = name
        #: Aligned, written once, not read again soon: stores need not fetch what they replace into the caches.
        self.streamed = streamed
        #: Filled by the program: ("slot", number, byte offset) or ("arena", byte offset).
        self.place: tuple[Any, ...] | None = None

    def __repr__(self) -> str:
        return f"<memory {self.name or hex(id(self))}: {self.bytes} bytes>"


class Array:
    """A strided array in some memory."""

    __slots__ = ("dtype", "kind", "memory", "offset", "shape", "strides")

    def __init__(
        self,
        memory: Memory,
        dtype: Any,
        shape: Sequence[int],
        strides: Sequence[int] | None = None,
        offset: int = 0,
    ) -> None:
        self.memory = memory
        self.dtype = dtype  # NumPy's
        self.kind: str = KINDS[dtype.name]
        self.shape = tuple(shape)
        self.strides = contiguous_strides(self.shape) if strides is None else tuple(strides)
        self.offset = offset

    def __repr__(self) -> str:
        return f"{self.dtype.name}{list(self.shape)} strides {list(self.strides)} + {self.offset}"

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return size_of(self.shape)

    @property
    def signed(self) -> bool:
        """Whether integers of the dtype have a sign."""
        return bool(self.dtype.kind != "u")

    @property
    def is_contiguous(self) -> bool:
        """Whether elements lie in the order of their indices without gaps."""
        step = 1
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != step:
                return False
            step *= n
        return True

    # -- other looks into the same memory --------------------------------------------------------------

    def look(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Array:
        """Another shape and strides, `offset` elements further on."""
        return Array(self.memory, self.dtype, shape, strides, self.offset + offset)

    def permute(self, axes: Sequence[int]) -> Array:
        """The dimensions in another order."""
        return self.look([self.shape[a] for a in axes], [self.strides[a] for a in axes])

    def expand(self, shape: Sequence[int]) -> Array:
        """Broadcast to a shape."""
        lead = len(shape) - self.ndim
        strides = [0] * lead + [
            0 if n == 1 else s for n, s in zip(self.shape, self.strides, strict=True)
        ]
        return self.look(shape, strides)

    def slice(self, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> Array:
        """A range of each dimension."""
        shape = [-(-(b - a) // c) for a, b, c in zip(starts, stops, steps, strict=True)]
        strides = [s * c for s, c in zip(self.strides, steps, strict=True)]
        return self.look(
            shape, strides, sum(s * a for s, a in zip(self.strides, starts, strict=True))
        )

    def reshape(self, shape: Sequence[int]) -> Array | None:
        """The elements in another shape without moving them; None where strides do not allow it."""
        shape = tuple(shape)
        if shape == self.shape:
            return self
        if 0 in shape or self.is_contiguous:
            return self.look(shape, contiguous_strides(shape))
        # Runs of old dimensions that cover the same elements as runs of new ones must be contiguous in themselves.
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        strides: list[int] = []
        i = 0
        j = 0
        while j < len(shape):
            if shape[j] == 1:
                strides.append(1)
                j += 1
                continue
            if i >= len(old):
                return None
            have, want = old[i][0], shape[j]
            i0, j0 = i, j
            while have != want:
                if have < want:
                    i += 1
                    have *= old[i][0]
                else:
                    j += 1
                    want *= shape[j]
            for k in range(i0, i):
                if old[k][1] != old[k + 1][1] * old[k + 1][0]:
                    return None
            run = []
            step = old[i][1]
            for k in range(j, j0 - 1, -1):
                run.append(step)
                step *= shape[k]
            strides += reversed(run)
            i += 1
            j += 1
        return self.look(shape, strides)

    # -- loads and stores --------------------------------------------------------------------------------

    def element(self, b: Kernel, index: Sequence[Any]) -> Value:
        """The offset of the element at an index of ints and values."""
        total = b.const(0)
        for i, (place, stride) in enumerate(zip(index, self.strides, strict=True)):
            if self.shape[i] != 1 and stride:
                total = total + b.index(place) * stride
        return total

    def load(
        self,
        b: Kernel,
        index: Sequence[Any],
        axis: int | None = None,
        lanes: int = 1,
        mask: Value | None = None,
    ) -> Value:
        """The element at `index`; with lanes, that many along `axis` from there on. Masked lanes read as 0."""
        place = self.element(b, index)
        base = b.pointer(self)
        if lanes == 1 or axis is None:
            return b.load(base, place, self.kind)
        stride = self.strides[axis] if self.shape[axis] != 1 else 0
        if stride == 0:
            return b.splat(b.load(base, place, self.kind), lanes)
        if stride == 1:
            return b.load(base, place, self.kind, lanes, mask=mask)
        offsets = b.splat(place, lanes) + b.lane_numbers(lanes) * stride
        if mask is not None:  # lanes that are off read the first element: there is one
            offsets = b.select(mask, offsets, b.splat(b.const(0), lanes))
        return b.gather(base, offsets, self.kind)

    def store(
        self,
        b: Kernel,
        index: Sequence[Any],
        value: Value,
        axis: int | None = None,
        mask: Value | None = None,
    ) -> None:
        """Writes the element at `index`; lanes of the value go along `axis`."""
        place = self.element(b, index)
        base = b.pointer(self)
        if value.kind != self.kind:
            value = b.convert(value, self.kind, self.signed)
        if value.lanes == 1 or axis is None:
            b.store(value, base, place)
            return
        stride = self.strides[axis]
        if stride == 1:
            streamed = self.memory.streamed and self.offset * BYTES[self.kind] % CACHE_LINE == 0
            b.store(value, base, place, mask=mask, streamed=streamed)
            return
        for lane in range(value.lanes):
            one = b.extract(value, lane)

            def put(lane: int = lane, one: Value = one) -> None:
                b.store(one, base, place + lane * stride)

            if mask is None:
                put()
            else:
                b.when(b.extract(mask, lane), put)


def bytes_of(kind: str, count: int) -> int:
    """Bytes that `count` elements take in memory."""
    return BYTES[kind] * count


class Sink:
    """Where a kernel's result goes: an array; a compiler may put what follows (bias, relu, ...) in between."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array

    @property
    def shape(self) -> tuple[int, ...]:
        """The result's shape."""
        return self.array.shape

    @property
    def strides(self) -> tuple[int, ...]:
        """Where results are written: lanes are best put along an axis of stride 1."""
        return self.array.strides

    @property
    def nbytes(self) -> int:
        """What is moved for all results together."""
        return bytes_of(self.array.kind, size_of(self.shape))

    def reshape(self, shape: Sequence[int]) -> Sink | None:
        """The same place in another shape; None where that cannot be without moving anything."""
        array = self.array.reshape(shape)
        return None if array is None else Sink(array)

    def store(
        self,
        b: Kernel,
        index: Sequence[Any],
        value: Value,
        axis: int | None = None,
        mask: Value | None = None,
    ) -> None:
        """Takes the final value of the element at `index` (lanes along `axis`)."""
        self.array.store(b, index, value, axis, mask)

    def reads(self) -> Sequence[Array]:
        """The arrays that `store` reads, as they are looked at with the result's index."""
        return ()


class WindowSink(Sink, ABC):
    """A sink that merges the windows of a pooling, which lie side by side, and stores one value for each.

    The lowering hands it the results of a window one after the other: `part = prepare(...)`, then
    `best = merge(..., part, best)`, then `store_window`.
    """

    __slots__ = ("window",)

    def __init__(self, array: Array, window: tuple[int, ...]) -> None:
        super().__init__(array)
        self.window = window

    def reshape(self, shape: Sequence[int]) -> Sink | None:
        """Windows need the dimensions that they lie in."""
        return None

    @abstractmethod
    def prepare(
        self, b: Kernel, index: Sequence[Any], value: Value, axis: int, mask: Value | None = None
    ) -> Value:
        """What is pooled of the result at `index`: lanes go along `axis` of the result before it is pooled."""

    @abstractmethod
    def merge(self, b: Kernel, number: int, part: Value, best: Any) -> Any:
        """The best of the window so far (None: nothing yet) and a prepared value, the `number`-th of it."""

    @abstractmethod
    def store_window(
        self, b: Kernel, index: Sequence[Any], best: Any, axis: int, mask: Value | None = None
    ) -> None:
        """Takes the final best of the window at `index`, which counts windows."""
