"""IDX, the file format of MNIST and its kin: a magic number, the dimensions, then the elements,
big-endian.

    offset 0   two zero bytes, one for the type of the elements, one for the number of dimensions
    offset 4   each dimension as a 32-bit unsigned number
    then       the elements, the last dimension running fastest

Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", section
"File formats".
"""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CODES = {np.dtype(name).newbyteorder("="): code for code, name in _TYPES.items()}
_GZIP = b"\x1f\x8b"
_MOST_BYTES = 1 << 36  # 64 GiB: more than this in a header is a damaged header


class IdxError(ValueError):
    """A file that is not the IDX file it should be: the message names the file and what is wrong
    with it.
    """


def read_idx(path: str | os.PathLike[str], *, ndim: int | None = None, dtype: Any = None) -> Any:
    """The array in an IDX file, plain or gzip-ed (told by its first bytes, not by its name).

    ndim, dtype: what the file must hold, where the caller knows. Returns a NumPy array in the
    machine's byte order. Raises FileNotFoundError, and IdxError for a file that is truncated, too
    long, damaged or of another kind.

    >>> import numpy as np, os, tempfile
    >>> from rushlight.datasets.idx import read_idx, write_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_idx(os.path.join(folder, "labels.gz"), np.array([3, 1, 4], np.uint8))
    ...     read_idx(os.path.join(folder, "labels.gz"), ndim=1)
    array([3, 1, 4], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        array = read_idx_stream(stream, str(path))
        if _read(stream, 1, str(path)):
            raise IdxError(f"{path}: more bytes follow than its header announces ({array.shape})")
    if ndim is not None and array.ndim != ndim:
        kind = {1: "labels", 3: "pictures"}.get(ndim, f"{ndim} dimensions")
        raise IdxError(
            f"{path}: expected {kind} ({ndim} dimensions), "
            f"but it holds an array of shape {array.shape}"
        )
    if dtype is not None and array.dtype != np.dtype(dtype):
        raise IdxError(
            f"{path}: expected elements of type {np.dtype(dtype)}, but it holds {array.dtype}"
        )
    return array


def read_idx_stream(stream: BinaryIO, name: str) -> Any:
    """The next IDX array of an open binary stream; `name` stands in the messages of errors."""
    head = _exactly(stream, 4, name, "the magic number")
    if head[:2] != b"\0\0" or head[2] not in _TYPES:
        raise IdxError(f"{name}: not an IDX file (it begins with the bytes {head.hex(' ')})")
    dims = np.frombuffer(_exactly(stream, 4 * head[3], name, "the dimensions"), ">u4")
    shape = tuple(int(n) for n in dims)
    dtype = np.dtype(_TYPES[head[2]])
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > _MOST_BYTES:
        raise IdxError(f"{name}: the header is damaged: it announces an array of shape {shape}")
    data = _exactly(stream, nbytes, name, f"an array of shape {shape}")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(
        dtype.newbyteorder("=")
    )  # a copy of its own: writable, in the machine's byte order


def write_idx(path: str | os.PathLike[str], array: Any) -> None:
    """Writes an array as an IDX file, gzip-ed if the name ends in .gz (with no time stamp: same
    array, same bytes).

    Raises TypeError for a dtype that IDX has no code for (it has uint8, int8, int16, int32,
    float32, float64).
    """
    from rushlight.core.files import write_whole

    data = idx_bytes(array)
    if str(path).endswith(".gz"):
        packed = io.BytesIO()
        with gzip.GzipFile(
            filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0
        ) as stream:
            stream.write(data)
        data = packed.getvalue()
    write_whole(path, data)


def idx_bytes(array: Any) -> bytes:
    """An array as the bytes of an IDX file."""
    array = np.asarray(array)
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        raise TypeError(
            f"IDX holds uint8, int8, int16, int32, float32 and float64, not {array.dtype}"
        )
    head = bytes((0, 0, code, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return head + np.ascontiguousarray(array, np.dtype(_TYPES[code])).tobytes()


def _read(stream: BinaryIO, size: int, name: str) -> bytes:
    """Up to `size` bytes, with gzip's several ways to complain turned into one."""
    try:
        return stream.read(size)
    except EOFError:
        raise IdxError(f"{name}: truncated: the gzip stream ends early") from None
    except (gzip.BadGzipFile, zlib.error) as problem:
        raise IdxError(f"{name}: damaged: {problem}") from None


def _exactly(stream: BinaryIO, size: int, name: str, what: str) -> bytes:
    """`size` bytes, in pieces (a lying header must not allocate what the file does not have)."""
    pieces = []
    missing = size
    while missing:
        piece = _read(stream, min(missing, 1 << 24), name)
        if not piece:
            raise IdxError(
                f"{name}: truncated: {what} needs {size} bytes, {size - missing} are there"
            )
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
