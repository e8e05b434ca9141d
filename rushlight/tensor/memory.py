"""The memory beneath tensors: storage objects, resize_, set_, shared memory.

NumPy's arrays can't grow in place. So where PyTorch grows a storage that views share, here the
tensor that was resized moves to new memory, and its former views keep the old.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.core.dtypes import UINT8
from rushlight.core.shapes import contiguous_strides, size_of
from rushlight.tensor.device import CPU, device
from rushlight.tensor.storage import memory_of, note_write
from rushlight.tensor.tensor import Tensor
from rushlight.tensor.values import values


def bytes_of(array: Any) -> Any:
    """All the memory that an array looks into, as a 1-d array of bytes that shares it."""
    owner = memory_of(array)
    if not owner.flags.c_contiguous:
        owner = owner.transpose(sorted(range(owner.ndim), key=lambda i: -owner.strides[i]))
    if not owner.flags.c_contiguous:  # foreign memory with gaps: only what the array spans is known
        span = (
            1
            + sum((n - 1) * s for n, s in zip(owner.shape, owner.strides, strict=True))
            // owner.itemsize
        )
        owner = np.lib.stride_tricks.as_strided(owner, (span,), (owner.itemsize,))
    return owner.reshape(-1).view(UINT8)


def _strided(
    memory: Any, dtype: Any, offset: int, shape: Sequence[int], strides: Sequence[int]
) -> Any:
    """An array into bytes; offset and strides count elements. RuntimeError where it leaves the
    memory.
    """
    span = (
        0
        if not size_of(shape)
        else 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    )
    needed = (offset + span) * dtype.itemsize
    if offset < 0 or needed > memory.size:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset} "
            f"and itemsize {dtype.itemsize} need {needed} bytes, which are out of bounds for "
            f"storage of size {memory.size}"
        )
    start = memory[offset * dtype.itemsize : (offset + span) * dtype.itemsize].view(dtype)
    return np.lib.stride_tricks.as_strided(
        start, tuple(shape), tuple(s * dtype.itemsize for s in strides)
    )


class UntypedStorage:
    """A piece of memory, counted in bytes. Tensors that are views of one another share it.

    `UntypedStorage(n)` makes n bytes; `tensor.untyped_storage()` gives a tensor's.
    """

    def __init__(self, size: int = 0, *, device: Any = None) -> None:
        self._memory = np.zeros(size, UINT8)
        self._dtype = UINT8

    device: device = CPU
    is_cuda = is_sparse = False
    filename = None

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return self._memory.__array_interface__["data"][0]  # type: ignore[no-any-return]

    def nbytes(self) -> int:
        """The number of bytes."""
        return int(self._memory.size)

    def size(self) -> int:
        """The number of elements (bytes of an untyped storage)."""
        return len(self)

    def element_size(self) -> int:
        """Bytes of one element."""
        return int(self._dtype.itemsize)

    def is_shared(self) -> bool:
        """Whether the memory is shared with other processes."""
        return is_shared_memory(self._memory)

    def resize_(self, size: int) -> UntypedStorage:
        """Gives this storage object another size; what fits of the content stays. Tensors keep the
        memory they had.
        """
        wanted = size * self._dtype.itemsize
        old = self._memory
        if wanted != old.size:
            self._memory = np.zeros(wanted, UINT8)
            kept = min(wanted, old.size)
            self._memory[:kept] = old[:kept]
        return self

    def clone(self) -> UntypedStorage:
        """A copy of the memory."""
        return _storage(type(self), self._memory.copy(), self._dtype)  # type: ignore[no-any-return]

    def copy_(self, source: UntypedStorage, non_blocking: bool = False) -> UntypedStorage:
        """Takes over the bytes of a storage of the same size."""
        if source.nbytes() != self.nbytes():
            raise RuntimeError(
                f"copy_: storages of {source.nbytes()} and {self.nbytes()} bytes do not match"
            )
        self._memory[:] = source._memory
        return self

    def fill_(self, value: Any) -> UntypedStorage:
        """Sets every element."""
        self._elements()[:] = value
        return self

    def tolist(self) -> list[Any]:
        """The elements as a list."""
        elements = self._elements()
        if elements.dtype == dtypes.BFLOAT16:
            elements = elements.astype(np.float32)
        return list(elements.tolist())

    def _elements(self) -> Any:
        return self._memory.view(self._dtype)

    def __len__(self) -> int:
        return int(self._memory.size // self._dtype.itemsize)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _storage(type(self), self._elements()[index].view(UINT8), self._dtype)
        return self._elements()[index].item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements()[index] = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self.data_ptr() == other.data_ptr()

    def __hash__(self) -> int:
        return hash(self.data_ptr())

    def __bytes__(self) -> bytes:
        return self._memory.tobytes()

    def _kind(self) -> str:
        return "torch.storage.UntypedStorage(device=cpu)"

    def __repr__(self) -> str:
        return "\n".join(f" {v}" for v in self.tolist()) + f"\n[{self._kind()} of size {len(self)}]"


class TypedStorage(UntypedStorage):
    """A piece of memory, counted in elements of one dtype: what `tensor.storage()` gives."""

    def __init__(self, size: int = 0, *, dtype: Any = None, device: Any = None) -> None:
        self._dtype = dtypes.to_numpy(dtypes.get_default_dtype() if dtype is None else dtype)
        self._memory = np.zeros(size * self._dtype.itemsize, UINT8)

    @property
    def dtype(self) -> dtypes.dtype:
        """The type of the elements."""
        return dtypes.of_numpy(self._dtype)

    def untyped(self) -> UntypedStorage:
        """The same memory, counted in bytes."""
        return _storage(UntypedStorage, self._memory, UINT8)  # type: ignore[no-any-return]

    def _kind(self) -> str:
        return f"torch.storage.TypedStorage(dtype={self.dtype!r}, device=cpu)"


def _storage(kind: type[UntypedStorage], memory: Any, dtype: Any) -> Any:
    storage = object.__new__(kind)
    storage._memory, storage._dtype = memory, dtype
    return storage


def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory that this tensor looks into, counted in bytes."""
    return _storage(UntypedStorage, bytes_of(values(self, "untyped_storage()")), UINT8)  # type: ignore[no-any-return]


def storage(self: Tensor) -> TypedStorage:
    """The memory that this tensor looks into, counted in elements of its dtype."""
    array = values(self, "storage()")
    return _storage(TypedStorage, bytes_of(array), array.dtype)  # type: ignore[no-any-return]


def is_storage(obj: Any) -> bool:
    """Whether `obj` is a storage object."""
    return isinstance(obj, UntypedStorage)


# -- tensors that change their memory --------------------------------------------------------------


def _sizes(size: tuple[Any, ...], caller: str) -> tuple[int, ...]:
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    shape = tuple(n.__index__() for n in size)
    if min(shape, default=0) < 0:
        raise RuntimeError(f"{caller}: sizes must not be negative: {list(shape)}")
    return shape


def resize_(self: Tensor, *size: Any, memory_format: Any = None) -> Tensor:
    """Gives the tensor another size in place: the first elements of its memory, contiguous.

    Where it grows beyond its memory it moves to new memory, with zeros behind the old elements.
    Raises RuntimeError for a tensor that requires a gradient.

    >>> import rushlight
    >>> rushlight.arange(4).resize_(2, 3)
    tensor([[0, 1, 2],
            [3, 0, 0]])
    """
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    array = values(self, "resize_()")
    shape = _sizes(size, "resize_")
    if shape == array.shape:
        return self
    offset, dtype = self.storage_offset(), array.dtype
    memory = bytes_of(array)
    needed = (offset + size_of(shape)) * dtype.itemsize
    if needed > memory.size:
        grown = np.zeros(-(-needed // dtype.itemsize), dtype).view(UINT8)
        grown[: memory.size] = memory
        memory = grown
    self._array = _strided(memory, dtype, offset, shape, contiguous_strides(shape))
    note_write(self, "resize_")
    return self


def resize_as_(self: Tensor, the_template: Tensor, memory_format: Any = None) -> Tensor:
    """Gives the tensor the size of another in place; see `resize_`."""
    return resize_(self, the_template._array.shape)


def set_(
    self: Tensor,
    source: Tensor | UntypedStorage | None = None,
    storage_offset: int | None = None,
    size: Sequence[int] | None = None,
    stride: Sequence[int] | None = None,
) -> Tensor:
    """Makes the tensor look at the memory of another tensor or of a storage; without a source, at
    nothing.

    Raises RuntimeError for a source of another dtype, for a window outside of the memory, and for a
    leaf that requires a gradient.
    """
    if self._requires_grad and self.history() is None:
        raise RuntimeError(
            "set_: a leaf Variable that requires grad is being used in an in-place operation."
        )
    dtype = self._array.dtype
    if source is None:
        self._array = np.empty(0, dtype)
    else:
        if isinstance(source, Tensor):
            array = values(source, "set_()")
            if array.dtype != dtype:
                raise RuntimeError(
                    f"Could not set tensor of type {source.dtype} to a tensor of type {self.dtype}"
                )
            memory = array if storage_offset is None and size is None else bytes_of(array)
        else:
            memory = source._memory
        if isinstance(source, Tensor) and storage_offset is None and size is None:
            self._array = memory
        else:
            shape = (
                (memory.size // dtype.itemsize - (storage_offset or 0),)
                if size is None
                else tuple(size)
            )
            strides = contiguous_strides(shape) if stride is None else tuple(stride)
            if len(strides) != len(shape):
                raise RuntimeError(
                    f"unequal size length ({len(shape)}) and stride length ({len(strides)}): "
                    f"{shape}, {strides}"
                )
            self._array = _strided(memory, dtype, storage_offset or 0, shape, strides)
    note_write(self, "set_")
    return self


def is_shared_memory(array: Any) -> bool:
    """Whether an array's memory is a map that processes share."""
    base: Any = memory_of(array).base
    if getattr(base, "is_shared_memory", False):
        return True
    while base is not None and type(base).__module__ != "mmap":
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base is not None


def is_shared(self: Tensor) -> bool:
    """Whether the elements are in memory that child processes share; see `share_memory_`."""
    return isinstance(self._array, np.ndarray) and is_shared_memory(self._array)


def share_memory_(self: Tensor) -> Tensor:
    """Moves the elements to memory that processes forked later share with this one, and returns the
    tensor.

    Views made before keep the old memory.
    """
    array = values(self, "share_memory_()")
    if array.size and not is_shared_memory(array):
        import mmap

        memory = np.frombuffer(mmap.mmap(-1, array.nbytes), array.dtype).reshape(array.shape)
        memory[...] = array
        self._array = memory
    return self


def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """RuntimeError: pinned memory serves copies to a GPU, and there is none."""
    raise RuntimeError(
        "Cannot access accelerator device when none is available: pinned memory serves copies to a "
        "GPU, and tensors here live on the CPU"
    )


#: What the package root ties onto Tensor.
METHODS = {
    "untyped_storage": untyped_storage,
    "storage": storage,
    "resize_": resize_,
    "resize_as_": resize_as_,
    "set_": set_,
    "is_shared": is_shared,
    "share_memory_": share_memory_,
    "pin_memory": pin_memory,
}

#: What is public at the package root.
FUNCTIONS: dict[str, Any] = {
    "UntypedStorage": UntypedStorage,
    "TypedStorage": TypedStorage,
    "is_storage": is_storage,
}
