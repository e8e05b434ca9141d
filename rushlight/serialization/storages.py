"""Storages in files: their names in PyTorch, and tensors that look into them.

A tensor in a file is a storage with an offset, sizes and strides. Each is checked against the bytes
of the storage before an array is made: a file can point nowhere but into itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.core.dtypes import UINT8
from rushlight.serialization.errors import DamagedFileError, UnpicklingError
from rushlight.tensor.device import check_available, device
from rushlight.tensor.memory import TypedStorage, UntypedStorage
from rushlight.tensor.tensor import Tensor, wrap

#: PyTorch's classes for storages of one dtype. Other dtypes stand in untyped storages.
TYPES: dict[str, dtypes.dtype] = {
    "DoubleStorage": dtypes.float64, "FloatStorage": dtypes.float32,
    "HalfStorage": dtypes.float16, "BFloat16Storage": dtypes.bfloat16,
    "ComplexFloatStorage": dtypes.complex64, "ComplexDoubleStorage": dtypes.complex128,
    "LongStorage": dtypes.int64, "IntStorage": dtypes.int32, "ShortStorage": dtypes.int16,
    "CharStorage": dtypes.int8, "ByteStorage": dtypes.uint8, "BoolStorage": dtypes.bool_,
}  # fmt: skip

NAMES = {dtype.numpy: name for name, dtype in TYPES.items()}

#: Names of storages that hold what rushlight's tensors cannot.
QUANTIZED = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")


class StorageType:
    """The class of a storage as a file names it: `torch.FloatStorage` and its like."""

    def __init__(self, name: str, dtype: dtypes.dtype | None) -> None:
        self.name = name
        self.dtype = dtype  # None for an untyped storage, which is counted in bytes

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return 1 if self.dtype is None else self.dtype.itemsize


def make_storage(kind: StorageType, memory: Any) -> UntypedStorage:
    """A storage object around bytes."""
    found: UntypedStorage = object.__new__(UntypedStorage if kind.dtype is None else TypedStorage)
    found._memory = memory
    found._dtype = UINT8 if kind.dtype is None else kind.dtype.numpy
    return found


def swap_bytes(memory: Any, dtype: Any) -> None:
    """Turns elements of the other byte order into this machine's, in place."""
    size = dtype.itemsize // 2 if dtype in dtypes.COMPLEX else dtype.itemsize
    if size > 1:
        whole = memory.size // size * size
        memory[:whole].view(f"u{size}").byteswap(inplace=True)


# -- persistent ids --------------------------------------------------------------------------------


class Identity:
    """What a persistent id says of a storage, checked: its class, its key, where it was, its size."""

    __slots__ = ("count", "key", "kind", "location", "nbytes", "view")

    def __init__(self, identity: Any) -> None:
        if type(identity) is not tuple or len(identity) not in (5, 6):
            raise UnpicklingError(
                "persistent_load id must be a tuple of 5 or 6 items that names a storage, but got "
                f"{type(identity).__name__}"
            )
        what, kind, key, location, count = (_text(item) for item in identity[:5])
        if what != "storage" or type(kind) is not StorageType:
            raise UnpicklingError("Only persistent_load of storage is allowed")
        if type(key) is int:  # PyTorch 0.1 and 0.2
            key = str(key)
        if type(key) is not str or type(location) is not str:
            raise UnpicklingError("a storage's key and its location must be str")
        if type(count) is not int or not 0 <= count <= sys.maxsize:
            raise UnpicklingError(f"storage {key!r}: its number of elements must be an int >= 0")
        self.kind, self.key, self.location, self.count = kind, key, location, count
        self.nbytes = count * kind.itemsize
        self.view = None if len(identity) == 5 else _view(identity[5])  # before PyTorch 0.4


def _view(view: Any) -> tuple[int, int] | None:
    """The part of a storage that a storage is: its first element, and how many."""
    if view is None:
        return None
    if type(view) is not tuple or len(view) != 3:
        raise UnpicklingError("a view of a storage is a key, an offset and a size")
    first, count = view[1:]
    if type(first) is not int or type(count) is not int or first < 0 or count < 0:
        raise UnpicklingError("the offset and the size of a view of a storage are ints >= 0")
    return first, count


def _text(item: Any) -> Any:
    """Internal words are bytes in files that Python 2 wrote."""
    return item.decode("ascii") if type(item) is bytes and item.isascii() else item


# -- where tensors are to live ---------------------------------------------------------------------

Placing = Callable[[UntypedStorage, str], UntypedStorage]


def placing(map_location: Any) -> Placing:
    """What `map_location` asks for, as a function of a storage and its location in the file.

    There is one device, the CPU, and what was saved on another comes to it. Raises where
    `map_location` names a device that is not there.
    """
    if map_location is None:
        return lambda storage, location: storage
    if isinstance(map_location, (str, bytes, device)):
        wanted = map_location.decode() if isinstance(map_location, bytes) else map_location
        check_available(wanted)
        return lambda storage, location: storage
    if isinstance(map_location, dict):
        for wanted in map_location.values():
            check_available(wanted)
        return lambda storage, location: storage
    if not callable(map_location):
        raise TypeError(
            "map_location must be a device, a string, a dict or a function, not "
            f"{type(map_location).__name__}"
        )

    def place(storage: UntypedStorage, location: str) -> UntypedStorage:
        found = map_location(storage, location)
        if found is None:
            return storage
        if not isinstance(found, UntypedStorage):
            raise TypeError(
                f"map_location gave {type(found).__name__} for a storage on {location!r}: it must "
                "give a storage, or None to leave it"
            )
        return found

    return place


# -- tensors ---------------------------------------------------------------------------------------


def _ints(value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(type(n) is int and n >= 0 for n in value):
        raise UnpicklingError(f"the {what} of a tensor must be a tuple of ints >= 0")
    return value


def make_tensor(
    storage: Any, dtype: dtypes.dtype, offset: Any, size: Any, stride: Any, requires_grad: Any
) -> Tensor:
    """A tensor that looks into a storage. UnpicklingError where it would look outside."""
    array = _array(storage, dtype.numpy, offset, size, stride)
    tensor = wrap(array)
    if _flag(requires_grad):
        if array.dtype not in dtypes.INEXACT:
            raise UnpicklingError(f"a tensor of {dtype} cannot require a gradient")
        tensor._requires_grad = True
    return tensor


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise UnpicklingError(f"requires_grad must be a bool, not {type(value).__name__}")
    return value


def _array(storage: Any, dtype: Any, offset: Any, size: Any, stride: Any) -> Any:
    if not isinstance(storage, UntypedStorage):
        raise UnpicklingError(f"a tensor needs a storage, not {type(storage).__name__}")
    size, stride = _ints(size, "size"), _ints(stride, "stride")
    (offset,) = _ints((offset,), "storage offset")
    if len(size) != len(stride) or len(size) > 64:
        raise UnpicklingError(f"a tensor has {len(size)} sizes but {len(stride)} strides")
    memory, itemsize = storage._memory, dtype.itemsize
    empty = 0 in size
    last = offset + (-1 if empty else sum((n - 1) * s for n, s in zip(size, stride)))
    if (last + 1) * itemsize > memory.size:
        raise DamagedFileError(
            f"a tensor of size {list(size)}, stride {list(stride)} and offset {offset} ends at byte "
            f"{(last + 1) * itemsize} of a storage of {memory.size} bytes"
        )
    if getattr(storage, "foreign_order", False):  # an untyped storage, whose elements are known now
        swap_bytes(memory, dtype)
        storage.foreign_order = False  # type: ignore[attr-defined]
    try:
        if empty:
            return np.empty(size, dtype)
        strides = tuple(s * itemsize for s in stride)
        return np.ndarray(size, dtype, memory, offset * itemsize, strides)
    except (ValueError, OverflowError, MemoryError) as problem:
        raise UnpicklingError(
            f"no tensor can have size {list(size)} and stride {list(stride)}: {problem}"
        ) from None
