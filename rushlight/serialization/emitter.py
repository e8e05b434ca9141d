"""Objects in, a pickle stream out: protocol 2, with the names that PyTorch gives its things.

`descriptions.py` says how each type of object is called in a file; this file writes it down. Shared
objects are written once, and containers may hold themselves.

What is written is what `load` reads: an object that no checkpoint can hold is refused here, with its
place in the state and what to do, and not when somebody reads the file a year later.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from rushlight.serialization.constructors import check_key
from rushlight.serialization.descriptions import (
    Call,
    Description,
    Group,
    Name,
    Persistent,
    describe,
    refusal,
)
from rushlight.serialization.errors import UnpicklingError
from rushlight.serialization.storages import NAMES
from rushlight.tensor.memory import bytes_of
from rushlight.tensor.storage import memory_of

#: How many items one SETITEMS or APPENDS takes: as many as Python's pickler gives it.
_BATCH = 1000

_TUPLES = (b")", b"\x85", b"\x86", b"\x87")


class Storages:
    """The memory that tensors look into, numbered as it is met; tensors that share it share a number."""

    def __init__(self) -> None:
        self.memories: list[Any] = []  # arrays of bytes
        self.dtypes: list[Any] = []  # of the storage as a file has it; None for an untyped one
        self._numbers: dict[tuple[int, int], int] = {}
        self._kept: list[Any] = []  # addresses stay taken while their owners live

    def number(self, array: Any, dtype: Any) -> int:
        """The number of the memory that an array looks into; `dtype` is that of who asks first."""
        owner = memory_of(array)
        memory = bytes_of(owner)
        place = memory.__array_interface__["data"][0], memory.size
        number = self._numbers.get(place)
        if number is None:
            number = self._numbers[place] = len(self.memories)
            typed = dtype in NAMES and memory.size % dtype.itemsize == 0
            self.memories.append(memory)
            self.dtypes.append(dtype if typed else None)
            self._kept.append(owner)
        return number

    def offset(self, array: Any, number: int) -> int:
        """At which of its elements an array begins in its memory."""
        start = self.memories[number].__array_interface__["data"][0]
        return (array.__array_interface__["data"][0] - start) // array.itemsize if array.size else 0

    def itemsize(self, number: int) -> int:
        """Bytes of one element of a storage."""
        return 1 if self.dtypes[number] is None else self.dtypes[number].itemsize


class Emitter:
    """Writes one object. Afterwards `storages` holds the memory that its tensors look into."""

    def __init__(self, legacy: bool = False) -> None:
        self.legacy = legacy
        self.storages = Storages()
        self._out = bytearray()
        self._memo: dict[Any, int] = {}
        self._kept: list[Any] = []  # what the memo knows by its id must not go away
        self._path: list[str] = []

    def dump(self, value: Any) -> bytes:
        """The stream of an object. TypeError for what a checkpoint cannot hold."""
        self._out += b"\x80\x02"
        try:
            self.write(value)
        except RecursionError:
            raise ValueError(
                "containers stand too deeply in each other to be saved (at "
                f"'{'.'.join(self._path[:6])}...')"
            ) from None
        self._out += b"."
        return bytes(self._out)

    def write(self, value: Any) -> None:
        """Any object."""
        index = self._memo.get(id(value))
        if index is not None:
            self._get(index)
            return
        kind = type(value)
        if value is None or kind is bool:
            self._out += b"N" if value is None else b"\x88" if value else b"\x89"
        elif kind is int:
            self._int(value)
        elif kind is float:
            self._out += b"G" + struct.pack(">d", value)
        elif kind is str:
            self._text(value)
        elif kind is tuple:
            self._tuple(value)
        elif kind is list:
            self._out += b"]"
            self._memoize(value)
            self._elements(value)
        elif kind is dict:
            self._out += b"}"
            self._memoize(value)
            self._items(value.items())
        else:
            try:
                described = describe(value, self.storages)
            except UnpicklingError as problem:  # what the checks of `load` would say
                raise refusal(value, ".".join(self._path), str(problem)) from None
            if described is None:
                raise refusal(value, ".".join(self._path))
            self._described(value, described)

    def _described(self, value: Any, described: Description) -> None:
        self._expression(described.made)
        if type(described.made) is Name:  # names have a memo of their own
            return
        self._memoize(value)
        if described.elements is not None:
            self._elements(described.elements)
        if described.items is not None:
            self._items(described.items)
        if described.state is not None:
            self._argument(described.state)
            self._out += b"b"

    # -- expressions ---------------------------------------------------------------------------------

    def _expression(self, made: Any) -> None:
        if type(made) is Name:
            self._name(made)
        elif type(made) is Persistent:
            self._persistent(made.number, made.dtype)
        else:
            self._name(made.function)
            self._group(made.arguments)
            self._out += b"\x81" if made.new else b"R"

    def _argument(self, value: Any) -> None:
        if type(value) in (Name, Call, Persistent):
            self._expression(value)
        elif type(value) is Group:
            self._group(value.items)
        else:
            self.write(value)

    def _group(self, items: tuple[Any, ...]) -> None:
        """A tuple of arguments, which nothing else will look at."""
        if len(items) > 3:
            self._out += b"("
        for item in items:
            self._argument(item)
        self._out += _TUPLES[len(items)] if len(items) <= 3 else b"t"

    def _name(self, name: Name) -> None:
        index = self._memo.get(name)
        if index is not None:
            self._get(index)
            return
        self._out += f"c{name.module}\n{name.name}\n".encode()
        self._put(name)

    def _persistent(self, number: int, dtype: Any) -> None:
        """A storage, by its number; `dtype` is None for an untyped one."""
        size = self.storages.memories[number].size
        name = NAMES.get(dtype)
        kind = Name("torch", name or "ByteStorage")
        if (
            not name and not self.legacy
        ):  # PyTorch's reader of the legacy format knows no untyped ones
            kind = Name("torch.storage", "UntypedStorage")
        count = size // dtype.itemsize if name else size
        self._group(("storage", kind, str(number), "cpu", count, *((None,) if self.legacy else ())))
        self._out += b"Q"

    # -- the memo ------------------------------------------------------------------------------------

    def _memoize(self, value: Any) -> None:
        """Notes the object at the top of the stack: written again, it is the same one."""
        self._put(id(value))
        self._kept.append(value)

    def _put(self, key: Any) -> None:
        index = self._memo[key] = len(self._memo)
        self._out += b"q%c" % index if index < 256 else b"r" + struct.pack("<I", index)

    def _get(self, index: int) -> None:
        self._out += b"h%c" % index if index < 256 else b"j" + struct.pack("<I", index)

    # -- plain values --------------------------------------------------------------------------------

    def _int(self, value: int) -> None:
        if 0 <= value < 1 << 8:
            self._out += b"K" + struct.pack("<B", value)
        elif 0 <= value < 1 << 16:
            self._out += b"M" + struct.pack("<H", value)
        elif -(1 << 31) <= value < 1 << 31:
            self._out += b"J" + struct.pack("<i", value)
        else:
            size = value.bit_length() // 8 + 1
            if size > 255:
                raise refusal(value, ".".join(self._path), "it has more than 255 bytes")
            data = value.to_bytes(size, "little", signed=True)
            self._out += b"\x8a" + struct.pack("<B", size) + data

    def _text(self, value: str) -> None:
        """Equal strings are written once."""
        key = "text", value
        index = self._memo.get(key)
        if index is not None:
            self._get(index)
            return
        data = value.encode("utf-8", "surrogatepass")
        if len(data) > 0xFFFFFFFF:
            raise refusal(value, ".".join(self._path), "it has more than 4 GiB")
        self._out += b"X" + struct.pack("<I", len(data)) + data
        self._put(key)

    def _tuple(self, value: tuple[Any, ...]) -> None:
        if len(value) > 3:
            self._out += b"("
        for i, item in enumerate(value):
            self._place(i, item)
        index = self._memo.get(id(value))
        if index is not None:  # it stands in one of its own items, which has written it by now
            self._out += b"0" * len(value) if len(value) <= 3 else b"1"
            self._get(index)
            return
        self._out += _TUPLES[len(value)] if len(value) <= 3 else b"t"
        if value:
            self._memoize(value)

    # -- what containers hold ------------------------------------------------------------------------

    def _place(self, key: Any, value: Any) -> None:
        """An object under its key, for the errors about it."""
        self._path.append(str(key))
        self.write(value)
        self._path.pop()

    def _check_key(self, key: Any) -> None:
        try:
            check_key(key)
        except UnpicklingError as problem:
            raise refusal(key, ".".join(self._path), str(problem)) from None

    def _items(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        entries = list(pairs)
        for start in range(0, len(entries), _BATCH):
            batch = entries[start : start + _BATCH]
            several = len(batch) > 1
            self._out += b"(" if several else b""
            for key, value in batch:
                self._check_key(key)
                self.write(key)
                self._place(key, value)
            self._out += b"u" if several else b"s"

    def _elements(self, values: Iterable[Any]) -> None:
        entries = list(values)
        for start in range(0, len(entries), _BATCH):
            batch = entries[start : start + _BATCH]
            several = len(batch) > 1
            self._out += b"(" if several else b""
            for i, value in enumerate(batch, start):
                self._place(i, value)
            self._out += b"e" if several else b"a"
