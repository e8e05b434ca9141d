"""Loaders whose workers, or whose own process, are killed: what is said, how soon, and what is left behind.

    python tools/kill_loader_workers.py [--times 200] [--batches 100000] [--rows worker,process,kept]

Three rows, each for fork, spawn and forkserver in turn: a worker is killed (-9) at some moment of an endless pass, and
the loader must raise RuntimeError within 5 s; the loader's process is killed, and its workers must be gone within 5 s;
so many batches are kept in a list while a process may have 256 open files. After each row no name may be left in
/dev/shm, and no file open. Exits 1 where anything of this does not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import rushlight
from rushlight.utils.data import DataLoader, Dataset, Sampler

#: Most of the time the cheapest, as spawned processes import the library first.
METHODS = ("fork", "fork", "spawn", "fork", "fork", "forkserver")
LIMIT_S, HANGS_S = 5.0, 60.0
OPEN_FILES = 256
#: Elements of a sample: batches of four have 16 KB, and travel in shared memory.
ELEMENTS = 1024


class Numbers(Dataset[Any]):
    """Samples that are large enough for shared memory."""

    def __getitem__(self, index: int) -> Any:
        return rushlight.full((ELEMENTS,), float(index % 1000))

    def __len__(self) -> int:
        return 1 << 40


class Endless(Sampler[int]):
    """0, 1, 2, and so on, for ever."""

    def __iter__(self) -> Iterator[int]:
        index = 0
        while True:
            yield index
            index += 1


def endless(method: str) -> Any:
    """An iterator over batches that never end, by two workers."""
    return iter(
        DataLoader(
            Numbers(), 4, sampler=Endless(), num_workers=2, multiprocessing_context=method
        )
    )  # fmt: skip


def pids_of(batches: Any) -> list[int]:
    """The processes of its workers."""
    return [worker.process.pid for worker in batches._crew.workers]


def left_behind() -> tuple[set[str], int]:
    """Names in /dev/shm, and how many files this process has open."""
    return set(os.listdir("/dev/shm")), len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def kill_worker(method: str) -> float:
    """Kills a worker while batches come; the seconds until the error."""
    batches = endless(method)
    next(batches)
    killed = []

    def kill() -> None:
        killed.append(time.perf_counter())
        os.kill(random.choice(pids_of(batches)), signal.SIGKILL)

    threading.Timer(random.uniform(0, 0.05), kill).start()
    try:
        for batch in batches:
            if time.perf_counter() - (killed or [time.perf_counter()])[0] > HANGS_S:
                raise AssertionError(f"no error, but {batch}")
    except RuntimeError as error:
        if "killed by signal SIGKILL" not in str(error):
            raise
    return time.perf_counter() - killed[0]


def kill_parent(method: str) -> float:
    """Kills a process that reads batches; the seconds until its workers are gone."""
    victim = subprocess.Popen(
        [sys.executable, __file__, "--victim", method], stdout=subprocess.PIPE, text=True
    )
    if victim.stdout is None:
        raise AssertionError("a pipe was asked for")
    with victim.stdout:
        workers = [int(pid) for pid in victim.stdout.readline().split()]
    time.sleep(random.uniform(0, 0.05))
    victim.kill()
    killed = time.perf_counter()
    victim.wait()
    while any(map(alive, workers)):
        time.sleep(0.002)
        if time.perf_counter() - killed > HANGS_S:
            for pid in filter(alive, workers):
                os.kill(pid, signal.SIGKILL)
            break
    return time.perf_counter() - killed


def keep(count: int) -> None:
    """Keeps batches while few files may be open, and looks at all of them at the end."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    batches = endless("fork")
    kept = [next(batches) for _ in range(count)]
    for number, batch in enumerate(kept):
        first = 4 * number
        if batch[:, -1].tolist() != [float(i % 1000) for i in range(first, first + 4)]:
            raise AssertionError(f"batch {number} has changed")
    if not kept[0].is_shared():
        raise AssertionError("batches do not lie in shared memory")


def row(name: str, times: int, one: Any) -> bool:
    """Runs one of the rows, prints its counts."""
    names, files = left_behind()
    seconds = [one(METHODS[i % len(METHODS)]) for i in range(times)]
    names_now, files_now = left_behind()
    late = sum(s > LIMIT_S for s in seconds)
    left = ", ".join(sorted(names_now - names)) or "none"
    good = not late and names_now <= names and files_now <= files + 2  # forkserver's own two
    print(
        f"{name}: {times} times, {late} later than {LIMIT_S:g} s, slowest {max(seconds):.3f} s, "
        f"names left in /dev/shm: {left}, open files {files} before and {files_now} after",
        flush=True,
    )
    return good


def kept(count: int) -> bool:
    """The last row, in a process of its own."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, "--keep", str(count)], check=False)
    print(
        f"{count} batches of {16 * ELEMENTS >> 10} KB kept with {OPEN_FILES} open files: "
        f"{'held' if not done.returncode else 'FAILED'}, {time.perf_counter() - started:.1f} s"
    )
    return not done.returncode


def main() -> int:
    """Prints the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--batches", type=int, default=100_000)
    parser.add_argument("--rows", default="worker,process,kept")
    parser.add_argument("--victim", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.victim:
        batches = endless(options.victim)
        next(batches)
        print(*pids_of(batches), flush=True)
        ends = time.perf_counter() + 60  # should nobody kill it
        while time.perf_counter() < ends:
            next(batches)
        return 1
    if options.keep is not None:
        keep(options.keep)
        return 0
    good = True
    if "worker" in options.rows:
        good &= row("a worker killed", options.times, kill_worker)
    if "process" in options.rows:
        good &= row("its process killed", options.times, kill_parent)
    if "kept" in options.rows:
        good &= kept(options.batches)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
