"""The memory for what native programs keep between their kernels: one block a thread, as large as the largest need."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

_PAGE = 4096


class _Arena(threading.local):
    """This thread's block."""

    def __init__(self) -> None:
        self._size = 0
        self._address = 0
        self._block: Any = None

    def reserve(self, size: int) -> int:
        """The address of at least `size` bytes, which hold until the next reservation."""
        if size > self._size:
            self._block = np.empty(size + _PAGE, np.uint8)
            start: int = self._block.ctypes.data
            self._address = start + -start % _PAGE
            self._size = size
        return self._address


arena = _Arena()
