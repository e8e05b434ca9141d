"""Operating-system threads that run native code and never enter Python.

The interpreter does not know of them: they hold no lock of its, take no signals, and need no farewell when it ends.
Where there are no POSIX threads, Python's own serve, inside of native code all their life.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Worker:
    """A thread that calls a native function of one pointer."""

    def __init__(self, function: int, argument: int, name: str) -> None:
        self._thread = ctypes.c_void_p()
        self._python: threading.Thread | None = None
        library = _posix()
        if library is None:
            call = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(function)
            self._python = threading.Thread(target=call, args=(argument,), daemon=True, name=name)
            self._python.start()
            return
        with _no_signals():
            failed = library.pthread_create(
                ctypes.byref(self._thread),
                None,
                ctypes.c_void_p(function),
                ctypes.c_void_p(argument),
            )
        if failed:
            raise OSError(failed, "no thread could be started")
        if sys.platform.startswith("linux"):
            library.pthread_setname_np(self._thread, name.encode()[:15])

    def join(self, nudge: Callable[[], Any]) -> None:
        """Waits until the thread has ended; `nudge` wakes it."""
        nudge()
        if self._python is None:
            _posix().pthread_join(self._thread, None)
            return
        while self._python.is_alive():
            self._python.join(0.001)
            nudge()


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    """A thread started in here takes no signals: they stay with Python's threads."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _posix() -> Any:
    """The C library with POSIX threads; None on Windows."""
    if sys.platform == "win32" or not hasattr(signal, "pthread_sigmask"):
        return None
    return ctypes.CDLL(None)
