"""The thread pool: Python threads that stay in native code, claim chunks of work, and park when there is none."""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from rushlight.compiler import driver
from rushlight.compiler.objects import load


class Pool:
    """The shared words, the workers, and the native functions."""

    def __init__(self) -> None:
        self.library = load(driver.driver_text(), ("run", "worker", "wake"))
        block = np.zeros(driver.WORDS + 8, np.int64)
        start = -block.ctypes.data % 64 // 8
        self._block = block
        self.words = block[start : start + driver.WORDS]
        self.context = self.words.ctypes.data
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        self.run = ctypes.CFUNCTYPE(
            integer, pointer, pointer, integer, pointer, integer, pointer, pointer, pointer
        )(self.library.address("run"))
        self._worker = ctypes.CFUNCTYPE(None, pointer)(self.library.address("worker"))
        self._wake = ctypes.CFUNCTYPE(None, pointer)(self.library.address("wake"))
        self.threads: list[threading.Thread] = []
        self.words[driver.CHUNK] = 1
        self.words[driver.FLUSH] = 1
        self.resize(threads_wanted())

    def resize(self, count: int) -> None:
        """Starts workers until `count` threads, the caller's among them, can share work."""
        if len(self.threads) > count - 1:
            self.stop()
        while len(self.threads) < count - 1:
            thread = threading.Thread(
                target=self._worker, args=(self.context,), daemon=True, name="rushlight worker"
            )
            thread.start()
            self.threads.append(thread)
        self.words[driver.THREADS] = count

    def stop(self) -> None:
        """Ends all workers."""
        self.words[driver.THREADS] = 1
        self.words[driver.STOP] = 1
        for thread in self.threads:
            while thread.is_alive():
                self._wake(self.context)
                thread.join(0.001)
        self.threads.clear()
        self.words[driver.STOP] = 0


_pool: Pool | None = None
_wanted: int | None = None
_flush = True
_lock = threading.Lock()


def pool() -> Pool:
    """The process's pool, started when first asked for."""
    global _pool  # noqa: PLW0603 - one pool a process
    if _pool is None:
        with _lock:
            if _pool is None:
                made = Pool()
                made.words[driver.FLUSH] = int(_flush)
                _pool = made
    return _pool


def _forget() -> None:
    """In a forked child the workers are gone: the next program starts new ones."""
    global _pool, _lock  # noqa: PLW0603
    _lock = threading.Lock()
    if _pool is not None:
        _retired.append(_pool)  # its code and words must outlive whatever still points at them
    _pool = None


_retired: list[Any] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@atexit.register
def _end() -> None:
    if _pool is not None:
        _pool.stop()


# -- how many ------------------------------------------------------------------------------------------------


def available_cpus() -> int:
    """Processors that this process may use: its affinity, cut to the cgroup's quota."""
    count = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = cgroup_quota()
    return max(1, min(count, count if quota is None else max(1, int(quota))))


def cgroup_quota(root: str = "/sys/fs/cgroup", process: str = "/proc/self/cgroup") -> float | None:
    """Processors' worth of time that cgroups (version 2, then 1) grant; None if they set no limit."""
    try:
        lines = Path(process).read_text().splitlines()
    except OSError:
        return None
    found: list[float] = []
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if not controllers:
            base = Path(root)
            names = [p for p in path.strip("/").split("/") if p]
            for i in range(len(names) + 1):
                _read_limit(base.joinpath(*names[:i]) / "cpu.max", found)
        elif "cpu" in controllers.split(","):
            for folder in (Path(root) / "cpu" / path.strip("/"), Path(root) / "cpu"):
                try:
                    quota = int((folder / "cpu.cfs_quota_us").read_text())
                    period = int((folder / "cpu.cfs_period_us").read_text())
                except (OSError, ValueError):
                    continue
                if quota > 0 and period > 0:
                    found.append(quota / period)
    return min(found, default=None)


def _read_limit(path: Path, found: list[float]) -> None:
    try:
        quota, period = path.read_text().split()[:2]
    except (OSError, ValueError):
        return
    if quota != "max" and int(period) > 0:
        found.append(int(quota) / int(period))


def threads_wanted() -> int:
    """The number of threads that programs use."""
    return available_cpus() if _wanted is None else _wanted


def set_threads(count: int) -> None:
    """Sets the number of threads that programs use from now on."""
    global _wanted  # noqa: PLW0603
    _wanted = count
    if _pool is not None:
        _pool.resize(count)


def set_flush(flush: bool) -> None:
    """Whether subnormal numbers count as zero inside of programs."""
    global _flush  # noqa: PLW0603
    _flush = flush
    if _pool is not None:
        _pool.words[driver.FLUSH] = int(flush)
