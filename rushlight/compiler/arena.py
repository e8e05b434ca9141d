"""The memory for what programs keep between their kernels: one piece a thread, for all programs that it runs.

Two programs of one thread never run at the same time, and a program reads nothing from the arena that it has not
written in the same call: so they share, and what one leaves in the caches serves the next.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

PAGE = 4096


class Arena(threading.local):
    """This thread's piece; it grows to the largest need."""

    def __init__(self) -> None:
        self.release()

    def reserve(self, size: int) -> int:
        """The address of at least `size` bytes, at the beginning of a page. What they hold is lost when it grows."""
        if size > self.bytes.size:
            self.release()
            block = np.empty(size + PAGE, np.uint8)
            start = -block.ctypes.data % PAGE
            #: The bytes, as an array.
            self.bytes: np.ndarray[Any, Any] = block[start : start + size]
            self.address: int = self.bytes.ctypes.data
        return self.address

    def release(self) -> None:
        """Gives the memory back."""
        self.bytes = np.empty(0, np.uint8)
        self.address = 0


#: For compiled functions. Eager calls have another: one may be made while a program is being run.
arena = Arena()
