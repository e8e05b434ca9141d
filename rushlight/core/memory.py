"""Arrays whose memory begins at a cache line: vectors of kernels then do not lie across two lines."""

from __future__ import annotations

import math
from ctypes import addressof, c_char
from typing import Any

import numpy as np

#: Arrays from this size on are aligned.
ALIGNED_BYTES = 1 << 12
#: Bytes of a cache line.
LINE = 64


class Block(np.ndarray[Any, Any]):
    """Bytes that an aligned array lies in.

    Arrays that look into an array refer to the first of its bases that is of another class: here to the array itself,
    so that references to it tell whether anybody looks into it.
    """


def aligned(shape: tuple[int, ...], dtype: Any) -> Any:
    """A new array, values not set, whose elements begin at a cache line if it is large enough for that to count."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < ALIGNED_BYTES:
        return np.empty(shape, dtype)
    block = Block(size + LINE, np.uint8)
    return np.ndarray(shape, dtype, block, -address_of(block) % LINE)


def aligned_copy(array: Any) -> Any:
    """A copy of an array; aligned if its elements lie in the order of their indices."""
    if not array.flags.c_contiguous:
        return array.copy("K")
    made = aligned(array.shape, array.dtype)
    made[...] = array
    return made


def address_of(array: Any) -> int:
    """Where the elements of a contiguous array begin."""
    try:
        return addressof(c_char.from_buffer(array))  # three times as fast as asking NumPy
    except (TypeError, ValueError):  # read-only, empty, or of a dtype that buffers do not know
        found: int = array.__array_interface__["data"][0]
        return found
