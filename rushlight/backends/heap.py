"""Memory that a large array leaves is kept for the next one.

glibc hands a large array's memory back to the system as soon as it is free; the next one's pages are then cleared and
mapped again as they are first touched, which takes several times longer than computing them. A training step frees and
makes the same arrays over and over. So the process keeps what it has freed, up to a bound.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
from typing import Any

#: Arrays up to this size come from the heap (glibc takes no larger value), of which so many free bytes are kept.
FROM_HEAP, KEPT = 32 << 20, 512 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@functools.cache
def _glibc() -> Any:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


@functools.cache
def keep_freed_memory() -> None:
    """Tells glibc so, once a process; elsewhere nothing is changed."""
    with contextlib.suppress(OSError, AttributeError):
        if _glibc() is not None:
            _glibc().mallopt(_M_MMAP_THRESHOLD, FROM_HEAP)
            _glibc().mallopt(_M_TRIM_THRESHOLD, KEPT)


def give_back() -> None:
    """Hands what was kept to the system: eager steps are over, a program has memory of its own."""
    with contextlib.suppress(OSError, AttributeError):
        if _glibc() is not None:
            _glibc().malloc_trim(0)
