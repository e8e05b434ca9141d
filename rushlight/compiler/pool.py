"""The thread pool: native threads that claim chunks of work, and park when there is none (see driver.py)."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from rushlight.compiler import driver
from rushlight.compiler.available import available_processors
from rushlight.compiler.objects import Library, load
from rushlight.compiler.platforms import Platform
from rushlight.compiler.processor import llvm
from rushlight.compiler.workers import Worker

#: How long a thread with nothing to do turns before it sleeps.
SPIN_NS = 50_000
_CACHE_LINE = 64


class Pool:
    """The words that threads share, the workers, and the native functions."""

    def __init__(self, count: int, flush: bool, library: Library) -> None:
        self.library = library
        spare = _CACHE_LINE // 8
        block = np.zeros(driver.WORDS + spare, np.int64)
        start = -block.ctypes.data % _CACHE_LINE // 8
        self.words = block[start : start + driver.WORDS]
        self.context: int = self.words.ctypes.data
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        #: Where `run` begins, for native callers.
        self.address: int = library.address("run")
        #: run(context, program, slots, clock): all of them addresses, the last may be None.
        self.run = ctypes.CFUNCTYPE(integer, pointer, pointer, pointer, pointer)(self.address)
        self._nudge = ctypes.CFUNCTYPE(None, pointer)(library.address("nudge"))
        self._rouse = ctypes.CFUNCTYPE(None, pointer, ctypes.c_int32)(library.address("rouse"))
        self._workers: list[Worker] = []
        self.words[driver.FLUSH] = int(flush)
        self.words[driver.THREADS] = 1
        self.start(count)

    def start(self, count: int) -> None:
        """Starts or ends workers, until `count` threads, the caller's among them, share the work."""
        if len(self._workers) > count - 1:
            self.stop()
        # Where threads outnumber processors, one that turns holds up one that works.
        crowded = count > available_processors()
        self.words[driver.SPIN] = 0 if crowded else int(SPIN_NS * ticks_per_nanosecond())
        with contextlib.suppress(OSError, RuntimeError):  # fewer will have to do
            while len(self._workers) < count - 1:
                name = f"rushlight-{len(self._workers) + 1}"
                self._workers.append(Worker(self.library.address("worker"), self.context, name))
        self.words[driver.THREADS] = len(self._workers) + 1

    def nudge(self) -> None:
        """Says that there will be work soon: parked workers wake while the caller still prepares it."""
        self._nudge(self.context)

    def stop(self) -> None:
        """Ends all workers; programs that are running go on alone."""
        self.words[driver.THREADS] = 1
        self.words[driver.STOP] = 1
        while self._workers:
            self._workers.pop().join(lambda: self._rouse(self.context, 1 << 30))
        self.words[driver.STOP] = 0


class _State:
    """What this process has set, and its pool once one was asked for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pool: Pool | None = None
        self.wanted: int | None = None
        self.flush = True
        self.ended = False
        #: Pools of processes from which this one was forked: what runs may still point at their words.
        self.retired: list[Pool] = []


_state = _State()


def pool() -> Pool:
    """The process's pool, started when first asked for."""
    return _state.pool or _start()


def nudge() -> None:
    """Wakes the workers of the process's pool, if there is one: a program that is shared will run in a moment."""
    if _state.pool is not None:
        _state.pool.nudge()


def _start() -> Pool:
    with _state.lock:
        if _state.pool is None:
            library = _state.retired[-1].library if _state.retired else native()
            count = 1 if _state.ended else threads_wanted()
            _state.pool = Pool(count, _state.flush, library)
        return _state.pool


_native: Library | None = None


def native() -> Library:
    """The driver's machine code, for this process."""
    global _native  # noqa: PLW0603 - made when first asked for
    if _native is None:
        if sys.platform == "win32":
            functions = ctypes.WinDLL("api-ms-win-core-synch-l1-2-0.dll")
            for name in ("WaitOnAddress", "WakeByAddressAll"):
                address = ctypes.cast(getattr(functions, name), ctypes.c_void_p).value
                llvm().add_symbol(name, address)
        _native = load(driver.driver_text(Platform.here()))
    return _native


_rate: float | None = None


def ticks_per_nanosecond() -> float:
    """The rate of the clock that the driver reads, measured once against the system's."""
    global _rate  # noqa: PLW0603 - measured when first asked for
    if _rate is None:
        clock = ctypes.CFUNCTYPE(ctypes.c_int64)(native().address("clock"))
        started, first = _read_together(clock)
        while time.perf_counter_ns() - started < 300_000:
            pass
        ended, last = _read_together(clock)
        _rate = (last - first) / (ended - started)
    return _rate


def _read_together(clock: Callable[[], int]) -> tuple[int, int]:
    """Nanoseconds and ticks of one moment: of some readings, the one that took least."""
    readings = []
    for _ in range(5):
        before = time.perf_counter_ns()
        ticks = clock()
        after = time.perf_counter_ns()
        readings.append((after - before, (before + after) // 2, ticks))
    _, nanoseconds, ticks = min(readings)
    return nanoseconds, ticks


# -- forks and the end ---------------------------------------------------------------------------------------


def _before_fork() -> None:
    """Workers end before a fork, so that the child is copied from a process without threads of ours."""
    _state.lock.acquire()
    if _state.pool is not None:
        _state.pool.stop()


def _after_fork_in_parent() -> None:
    try:
        if _state.pool is not None and not _state.ended:
            _state.pool.start(threads_wanted())
    finally:
        _state.lock.release()


def _after_fork_in_child() -> None:
    """The next program starts workers of the child's own."""
    _state.lock = threading.Lock()
    if _state.pool is not None:
        _state.retired.append(_state.pool)
    _state.pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


@atexit.register
def _end() -> None:
    """Workers end before the interpreter does; what runs later, or still, runs alone."""
    with _state.lock:
        _state.ended = True
        if _state.pool is not None:
            _state.pool.stop()


# -- settings ------------------------------------------------------------------------------------------------


def threads_wanted() -> int:
    """The number of threads that programs use."""
    return available_processors() if _state.wanted is None else _state.wanted


def set_threads(count: int) -> None:
    """Sets the number of threads that programs use from now on."""
    _set(lambda: setattr(_state, "wanted", count), lambda found: found.start(count))


def set_flush(flush: bool) -> None:
    """Whether subnormal numbers count as zero inside of programs."""

    def tell(found: Pool) -> None:
        found.words[driver.FLUSH] = int(flush)

    _set(lambda: setattr(_state, "flush", flush), tell)


def _set(note: Callable[[], None], tell: Callable[[Pool], None]) -> None:
    with _state.lock:
        note()
        if _state.pool is not None and not _state.ended:
            tell(_state.pool)
