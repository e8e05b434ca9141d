"""The formats before PyTorch 1.6: a stream of pickles with raw storages behind them, and before 0.1.10 a tar file.

The stream: a magic number, a version, facts about the machine, the state (whose persistent ids name
storages), the list of the storages' keys, and for each of them its number of elements and its bytes.
"""

from __future__ import annotations

import struct
from typing import IO, Any

import numpy as np

from rushlight.core.dtypes import UINT8
from rushlight.serialization.archive import Source
from rushlight.serialization.emitter import Emitter
from rushlight.serialization.errors import DamagedFileError, UnpicklingError
from rushlight.serialization.machine import Machine
from rushlight.serialization.opcodes import Cursor
from rushlight.serialization.reading import Storages
from rushlight.serialization.storages import (
    Identity,
    Placing,
    StorageType,
    make_storage,
    make_tensor,
)
from rushlight.serialization.survey import survey

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
_FACTS = {
    "protocol_version": VERSION,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}
_TAR_BLOCK = 512


def load_stream(source: Source, place: Placing, encoding: str) -> Any:
    """The state in a stream of pickles; leaves the file behind the last storage.

    The bytes of the storages come behind the state, in an order that only the list between them
    says, and how many they are is in the state. So the state is followed twice.
    """
    data = source.read(0, source.size)
    cursor = Cursor(data)
    pass_head(source, cursor)
    beginning = cursor.position
    named = survey(cursor, encoding)
    keys = Machine(cursor, None, encoding).run()
    places, end = _places(source, cursor, keys, named)

    def fetch(key: str, nbytes: int) -> Any:
        start, size = places[key]
        return np.array(memoryview(data)[start : start + size], UINT8)

    state = Machine(Cursor(data, beginning), Storages(fetch, place), encoding).run()
    source.stream.seek(source.start + end)
    return state


def pass_head(source: Source, cursor: Cursor) -> None:
    """Reads what stands before the state; DamagedFileError where it is no head of a checkpoint."""
    if Machine(cursor).run() != MAGIC:
        raise DamagedFileError(f"{source.name}: Invalid magic number; corrupt file?")
    version = Machine(cursor).run()
    if version != VERSION:
        raise DamagedFileError(f"{source.name}: Invalid protocol version: {version!r}")
    Machine(cursor).run()


def _places(
    source: Source, cursor: Cursor, keys: Any, named: dict[str, tuple[Identity, str]]
) -> tuple[dict[str, tuple[int, int]], int]:
    """Where the bytes of each storage begin and how many they are; and where the last one ends."""
    if type(keys) is not list or {str(key) for key in keys} != set(named):
        raise DamagedFileError(f"{source.name}: its list of storages is not that of its state")
    places: dict[str, tuple[int, int]] = {}
    for key in map(str, keys):
        asked, where = named[key]
        which = f"the storage {key!r}" + (f" of the tensor {where!r}" if where else "")
        if key in places:
            raise DamagedFileError(f"{source.name}: {which} is there twice")
        if cursor.position + 8 + asked.nbytes > len(cursor.data):
            raise DamagedFileError(f"{source.name} is cut off in {which}")
        (count,) = struct.unpack("<q", cursor.take(8))
        if count != asked.count:
            raise DamagedFileError(
                f"{source.name}: {which} has {count} elements where {asked.count} are wanted"
            )
        places[key] = cursor.position, asked.nbytes
        cursor.position += asked.nbytes
    return places, cursor.position


def save_stream(body: bytes, emitted: Emitter, stream: IO[bytes]) -> None:
    """Writes a state, whose stream is `body`, for PyTorch before 1.6."""
    for part in (MAGIC, VERSION, _FACTS):
        stream.write(Emitter().dump(part))
    stream.write(body)
    numbers = range(len(emitted.storages.memories))
    stream.write(Emitter().dump([str(number) for number in numbers]))
    for number in numbers:
        memory = emitted.storages.memories[number]
        stream.write(struct.pack("<q", memory.size // emitted.storages.itemsize(number)))
        stream.write(memory)


# -- tar files ---------------------------------------------------------------------------------------


def is_tar(source: Source) -> bool:
    """Whether the file begins as a tar file does."""
    return source.size >= _TAR_BLOCK and source.read(257, 5) == b"ustar"


def tar_members(source: Source) -> dict[str, Cursor]:
    """The files in a tar file, by their names."""
    found: dict[str, Cursor] = {}
    position = 0
    while position + _TAR_BLOCK <= source.size:
        header = source.read(position, _TAR_BLOCK)
        name = header[:100].rstrip(b"\0").decode("utf-8", "replace")
        digits = header[124:136].strip(b" \0")
        if not name:
            break
        if not digits.isdigit() or any(digit not in b"01234567" for digit in digits):
            raise DamagedFileError(
                f"{source.name}: the entry {name[:50]!r} of the tar file has no size"
            )
        size = int(digits, 8)
        if header[156:157] in (b"0", b"\0"):
            found[name.removeprefix("./")] = Cursor(source.read(position + _TAR_BLOCK, size))
        position += _TAR_BLOCK + -(-size // _TAR_BLOCK) * _TAR_BLOCK
    return found


def load_tar(source: Source, place: Placing, encoding: str) -> Any:
    """The state in a tar file: storages, tensors that look into them, and a pickle stream."""
    members = tar_members(source)
    for name in ("storages", "tensors", "pickle"):
        if name not in members:
            raise DamagedFileError(f"{source.name}: a tar file without {name!r} is no checkpoint")
    objects = _tar_storages(members["storages"], place, encoding)
    _tar_tensors(members["tensors"], objects, encoding)

    def persistent(identity: Any, where: str) -> Any:
        if type(identity) is tuple and len(identity) == 4:  # a module's class, with its source
            return identity[0]
        if type(identity) is bytes and identity.isdigit():
            identity = int(identity)
        if type(identity) is str and identity.isdecimal():
            identity = int(identity)
        if type(identity) is not int or identity not in objects:
            raise UnpicklingError("a persistent id of a tar file names a tensor or a storage")
        return objects[identity]

    return Machine(members["pickle"], persistent, encoding).run()


class _Entry(Machine):
    """Reads what a tar file says of a storage or a tensor, where the class of it stands as a name."""

    def check(self, result: Any) -> None:
        """Names may be left."""


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise DamagedFileError("a number in the tar file is no number")
    return value


def _tar_storages(cursor: Cursor, place: Placing, encoding: str) -> dict[int, Any]:
    objects: dict[int, Any] = {}
    for _ in range(_number(Machine(cursor).run())):
        entry = _Entry(cursor, None, encoding).run()
        if type(entry) is not tuple or len(entry) != 3 or type(entry[2]) is not StorageType:
            raise DamagedFileError("a storage in the tar file has no key, location and type")
        (count,) = struct.unpack("<q", cursor.take(8))
        memory = np.frombuffer(bytearray(cursor.take(_number(count) * entry[2].itemsize)), UINT8)
        storage = make_storage(entry[2], memory)
        objects[_number(entry[0])] = place(storage, str(entry[1]))
    views = Machine(cursor, None, encoding).run()
    for view in views if type(views) is list else ():
        if type(view) is not tuple or len(view) != 4 or view[1] not in objects:
            raise DamagedFileError("a view of a storage in the tar file is damaged")
        key, root, offset, count = (_number(n) for n in view)
        whole = objects[root]
        if offset + count > whole.size():
            raise DamagedFileError("a view of a storage in the tar file reaches outside of it")
        objects[key] = whole[offset : offset + count]
    return objects


def _tar_tensors(cursor: Cursor, objects: dict[int, Any], encoding: str) -> None:
    for _ in range(_number(Machine(cursor).run())):
        entry = _Entry(cursor, None, encoding).run()
        if type(entry) is not tuple or len(entry) != 3 or entry[1] not in objects:
            raise DamagedFileError("a tensor in the tar file has no key, storage and type")
        (ndim, _) = struct.unpack("<ii", cursor.take(8))
        if not 0 <= ndim <= 64:
            raise DamagedFileError(f"a tensor in the tar file has {ndim} dimensions")
        size, stride = (struct.unpack(f"<{ndim}q", cursor.take(8 * ndim)) for _ in range(2))
        (offset,) = struct.unpack("<q", cursor.take(8))
        storage = objects[entry[1]]
        objects[_number(entry[0])] = make_tensor(
            storage, storage.dtype, offset, size, stride, False
        )
