"""Files as memory."""

from __future__ import annotations

import mmap
from typing import IO


class PrivateMap(mmap.mmap):
    """A file as memory, whose pages are read when they are first touched, and copied when written.

    A class of its own, so that nobody takes it for memory that processes share.
    """


def map_file(stream: IO[bytes]) -> PrivateMap:
    """The whole of an open file as memory, which can be written without changing the file."""
    return PrivateMap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
