"""safetensors files: arrays under names behind a JSON header, written in one go, read lazily, checked by sums.

The safetensors library judges every file that is read. Elements come from the mapped file, as the library's NumPy part
does not know bfloat16 in all its versions. It does not write them, as what it writes has no sums and no way to hand it
our file that is whole or not there.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rushlight.core import dtypes
from rushlight.core.files import whole_file
from rushlight.serialization.errors import CheckpointError, DamagedFileError
from rushlight.serialization.mapping import map_file

_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16",
    "F32": "float32", "F64": "float64", "C64": "complex64",
}  # fmt: skip
_NUMPY = {
    name: next(d for d in dtypes.ALL if d.name == ours).numpy for name, ours in _DTYPES.items()
}
_NAMES = {numpy: name for name, numpy in _NUMPY.items()}

_METADATA = "__metadata__"
#: The entry of the metadata that holds all sums, as JSON: {name: eight hexadecimal digits}. The other metadata have one
#: too, under the name that no tensor can have.
SUMS = "rushlight.crc32"
_ALIGNMENT = 8
_LENGTH_BYTES = 8


class Entry(NamedTuple):
    """Where a tensor lies in a file: dtype as the file names it, shape, first and last byte behind the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


# -- sums ------------------------------------------------------------------------------------------


def _bytes_of(array: Any) -> memoryview:
    """The elements in order, as bytes; a copy only of what is not contiguous."""
    flat: Any = np.asarray(array, order="C").reshape(-1).view(np.uint8)
    return memoryview(flat)


def _sum(name: str, dtype: str, shape: Iterable[int], data: memoryview) -> str:
    """The sum that knows a changed bit of the elements, but also of a name, a dtype or a shape.

    CRC-32, as it runs at the speed of a copy: the blake2 and SHA functions take 3 to 5 times as
    long, and guard against forgers only where the sum itself is kept somewhere else.
    """
    about = f"{name}\0{dtype}\0{list(shape)}\0"
    return f"{zlib.crc32(data, zlib.crc32(about.encode())):08x}"


def _sum_of_metadata(metadata: Mapping[str, str]) -> str:
    return f"{zlib.crc32(json.dumps(metadata, sort_keys=True).encode()):08x}"


# -- writing ---------------------------------------------------------------------------------------


def write_tensors(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes arrays to a safetensors file in one step, without a second copy of them in memory.

    Raises CheckpointError, which names the array, for what the format cannot hold; OSError.
    """
    for name, array in arrays.items():
        if name == _METADATA:
            raise CheckpointError(f"a tensor cannot have the name {name!r}: the format uses it")
        if array.dtype not in _NAMES:
            hint = "; save torch.view_as_real of it" if array.dtype.kind == "c" else ""
            raise CheckpointError(
                f"{name} is {array.dtype.name}, which safetensors files do not know{hint}"
            )
    # Wide elements first, so that every tensor is aligned to its own.
    placed = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    sums, header, offset = {}, {}, 0
    for name, array in placed:
        dtype = _NAMES[array.dtype]
        sums[name] = _sum(name, dtype, array.shape, _bytes_of(array))
        end = offset + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    metadata = dict(metadata or {})
    sums[_METADATA] = _sum_of_metadata(metadata)
    described = {_METADATA: {**metadata, SUMS: json.dumps(sums)}, **header}
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with whole_file(path) as stream:
        stream.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for _, array in placed:
            stream.write(_bytes_of(array))


# -- reading ---------------------------------------------------------------------------------------


class TensorFile:
    """A safetensors file, open: names, dtypes and shapes are known; elements are read when asked for.

    Raises FileNotFoundError; DamagedFileError, which names the first tensor that suffered, where it
    is no safetensors file or a damaged one. `metadata` is without the sums.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
            raise DamagedFileError(
                f"{path} is no file, but a pipe or a device"
            )  # and may never end
        with self.path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            _let_library_judge(self.path, stream, size)
            header, self._start = _header(stream)
            self._map: Any = map_file(stream)
        self.metadata: dict[str, str] = header.pop(_METADATA, None) or {}
        self._sums = self._read_sums(self.metadata.pop(SUMS, None))
        self.entries = dict(
            sorted(
                (
                    (name, Entry(e["dtype"], tuple(e["shape"]), *e["data_offsets"]))
                    for name, e in header.items()
                ),
                key=lambda item: item[1].begin,
            )
        )
        self._check_header()

    def _read_sums(self, text: str | None) -> dict[str, Any]:
        """The sums by name; none for a file of somebody else, who wrote none."""
        if text is None:
            return {}
        try:
            sums = json.loads(text)
        except (ValueError, RecursionError):
            sums = None
        if not isinstance(sums, dict):
            raise DamagedFileError(f"{self.path} is damaged: the sums in its header cannot be read")
        return sums

    def _check_header(self) -> None:
        """Holds names and metadata against the sums."""
        if not self._sums:
            return
        if self._sums.pop(_METADATA, None) != _sum_of_metadata(self.metadata):
            raise DamagedFileError(f"{self.path} is damaged: its metadata are not what was written")
        strangers = self.entries.keys() ^ self._sums.keys()
        if strangers:
            raise DamagedFileError(
                f"{self.path} is damaged: its header does not fit its sums at the name {min(strangers)!r}"
            )

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def array(self, name: str, verify: bool = True) -> Any:
        """The elements of a tensor, in the memory that the file is mapped to: a change of them stays in
        this process.

        Raises KeyError; CheckpointError for a dtype that rushlight does not have; DamagedFileError for
        elements that have changed since they were written, if the file has sums (and `verify` is left
        on).
        """
        if self._map is None:
            raise ValueError(f"{self.path} is closed")
        entry = self.entries[name]
        if entry.dtype not in _NUMPY:
            raise CheckpointError(
                f"{self.path}: {name} has a dtype that is not known: {entry.dtype}"
            )
        if verify and name in self._sums:
            data = memoryview(self._map)[self._start + entry.begin : self._start + entry.end]
            with data:
                if _sum(name, entry.dtype, entry.shape, data) != self._sums[name]:
                    raise DamagedFileError(
                        f"{self.path} is damaged: {name} is not what was written (its checksum differs)"
                    )
        dtype = _NUMPY[entry.dtype]
        count = (entry.end - entry.begin) // dtype.itemsize
        if not count:  # NumPy does not look at an empty end of a buffer
            return np.empty(entry.shape, dtype)
        array = np.frombuffer(self._map, dtype, count, self._start + entry.begin)
        return (array if array.flags.aligned else array.copy()).reshape(entry.shape)

    def close(self) -> None:
        """Lets go of the file; the memory of arrays that were read stays as long as they do."""
        self._map = None

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _header(stream: Any) -> tuple[Any, int]:
    """The header, and where the elements begin."""
    stream.seek(0)
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    return json.loads(stream.read(length)), _LENGTH_BYTES + length


def _let_library_judge(path: Path, stream: Any, size: int) -> None:
    """Raises DamagedFileError for whatever the safetensors library would not read."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="numpy"):
            return
    except safetensors.SafetensorError as problem:
        reason = str(problem).removeprefix("Error while deserializing header: ")
    suffered = _first_to_suffer(stream, size)
    raise DamagedFileError(f"{path}: not a whole safetensors file ({suffered or reason})")


def _first_to_suffer(stream: Any, size: int) -> str | None:
    """What is wrong with a file that is none, in words that name a tensor; None where none can be named."""
    stream.seek(0)
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    if not 0 < length <= size - _LENGTH_BYTES:
        return None
    try:
        header = json.loads(stream.read(length))
        header.pop(_METADATA, None)
        entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        there, expected = size - _LENGTH_BYTES - length, 0
        for name, entry in entries:
            begin, end = entry["data_offsets"]
            if begin != expected or end < begin:
                return f"{name} does not begin where the tensor before it ends"
            if end > there:
                whole = entries[-1][1]["data_offsets"][1]
                return f"cut short: {there:,} of {whole:,} bytes of tensors are there, and {name} is not whole"
            expected = end
            if entry["dtype"] in _NUMPY:
                count = _NUMPY[entry["dtype"]].itemsize
                for extent in entry["shape"]:
                    count *= extent
                if count != end - begin:
                    return f"the shape of {name} does not fit its {end - begin:,} bytes"
            else:
                return f"{name} has the dtype {entry['dtype']}"
        if expected < there:
            return f"{there - expected:,} bytes follow the last tensor"
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        pass
    return None
