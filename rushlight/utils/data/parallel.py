"""The iterator of a loader with worker processes: who is given which batch, and in which order they come back."""

from __future__ import annotations

import itertools
import os
import pickle
import queue
import signal
import time
from multiprocessing.connection import wait
from typing import Any

from rushlight.core.watch import seen_as
from rushlight.utils.data.dataset import IterableDataset
from rushlight.utils.data.sampler import fresh_seed
from rushlight.utils.data.worker import CHECK_EVERY_S, Ended, Failure, Restart, run_worker


class ParallelIterator:
    """One pass over a loader by its workers (or several, where they are kept)."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self._iterable = isinstance(loader.dataset, IterableDataset)
        context = loader.context()
        self._results = context.Queue()
        self._stop = context.Event()
        self._tasks: list[Any] = []
        self._workers: list[Any] = []
        self._shut = False
        self._pid = os.getpid()
        self._begin_pass()
        self._seed = fresh_seed(loader.generator)
        self._begin_pass()  # PyTorch asks the sampler once more: one that draws at once draws again
        try:
            for i in range(loader.num_workers):
                tasks = context.Queue()
                tasks.cancel_join_thread()
                worker = context.Process(
                    target=run_worker,
                    args=(
                        loader.dataset, tasks, self._results, self._stop, loader.batch_sampler is not None,
                        loader.collate_fn, loader.drop_last, self._seed, loader.worker_init_fn, i, loader.num_workers,
                    ),
                    daemon=True,
                )  # fmt: skip
                worker.start()
                self._tasks.append(tasks)
                self._workers.append(worker)
        except BaseException:
            self.shut_down()
            raise
        self._prefetch()

    def _begin_pass(self) -> None:
        self._indices = iter(self.loader.index_sampler)
        self._sent = 0  # batches given to workers
        self._wanted = 0  # the next batch to hand out
        self._waiting: dict[int, Any] = {}  # batches that came before their turn
        self._owner: dict[int, int] = {}  # batch -> worker, of those that are under way
        self._active = [True] * self.loader.num_workers
        self._turn = itertools.cycle(range(self.loader.num_workers))
        self._given = 0
        self._promised = self.loader._length

    def _prefetch(self) -> None:
        for _ in range(self.loader.prefetch_factor * self.loader.num_workers):
            self._send()

    def restart(self) -> None:
        """Begins the next pass with the same workers."""
        while self._owner:  # a pass that was left early: its batches are thrown away
            number, _ = self._receive()
            self._owner.pop(number, None)
        self._begin_pass()
        for tasks in self._tasks:
            tasks.put(Restart())
        missing = len(self._tasks)
        while missing:
            answer, _ = self._receive()
            missing -= isinstance(answer, Restart)
        self._prefetch()

    def _send(self) -> None:
        """Gives the next indices to the next worker that has samples left."""
        if not any(self._active):
            return
        try:
            indices = next(self._indices)
        except StopIteration:
            return
        worker = next(w for w in self._turn if self._active[w])
        self._tasks[worker].put((self._sent, indices))
        self._owner[self._sent] = worker
        self._sent += 1

    def __iter__(self) -> ParallelIterator:
        return self

    def __len__(self) -> int:
        return len(self.loader.index_sampler)

    @seen_as(lambda self: "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__")
    def __next__(self) -> Any:
        while True:
            if self.loader.in_order:
                while self._wanted < self._sent and not (
                    self._wanted in self._owner or self._wanted in self._waiting
                ):
                    self._wanted += 1  # of a worker that had no more samples
                done = self._wanted >= self._sent
            else:
                done = not self._owner and not self._waiting
            if done:
                if not self.loader.persistent_workers:
                    self.shut_down()
                raise StopIteration
            number = self._wanted if self.loader.in_order else next(iter(self._waiting), -1)
            if number in self._waiting:
                data = self._waiting.pop(number)
            else:
                number, data = self._receive()
                owner = self._owner.pop(number)
                if isinstance(data, Ended):
                    self._active[owner] = False
                    if not self.loader.persistent_workers:
                        self._tasks[owner].put(None)
                    self._send()
                    continue
                if self.loader.in_order and number != self._wanted:
                    self._waiting[number] = data
                    continue
            self._wanted += 1
            self._send()
            if isinstance(data, Failure):
                data.reraise()
            self._given += 1
            self.loader.warn_if_too_long(self._given, self._promised)
            return data

    def _receive(self) -> tuple[Any, Any]:
        """The next answer of any worker; RuntimeError where one died or the timeout passed."""
        timeout = self.loader.timeout
        began = time.monotonic()
        while True:
            left = timeout - (time.monotonic() - began) if timeout else CHECK_EVERY_S
            patience = max(0.0, min(left, CHECK_EVERY_S))
            watched = [w.sentinel for w, a in zip(self._workers, self._active, strict=True) if a]
            reader = self._results._reader
            if reader not in wait([reader, *watched], patience):
                patience = (
                    0.05  # a worker has ended, or time is up: only what is there already counts
                )
            try:
                return pickle.loads(self._results.get(timeout=patience))  # type: ignore[no-any-return]
            except queue.Empty:
                dead = [w for w, a in zip(self._workers, self._alive(), strict=True) if not a]
                if dead:
                    pids = ", ".join(str(w.pid) for w in dead)
                    how = _ending(dead[0])
                    self.shut_down()
                    raise RuntimeError(
                        f"DataLoader worker (pid(s) {pids}) exited unexpectedly: {how}; num_workers=0 shows errors "
                        "directly"
                    ) from None
                if timeout and time.monotonic() - began >= timeout:
                    raise RuntimeError(f"DataLoader timed out after {timeout} seconds") from None

    def _alive(self) -> list[bool]:
        ended = [not active for active in self._active]
        return [w.is_alive() or e for w, e in zip(self._workers, ended, strict=True)]

    def shut_down(self) -> None:
        """Ends the workers; a second call does nothing."""
        if self._shut:
            return
        self._shut = True
        self._stop.set()
        for tasks in self._tasks:
            try:
                tasks.put(None)
            except ValueError:  # closed already
                continue
        deadline = time.monotonic() + CHECK_EVERY_S
        for worker in self._workers:
            worker.join(timeout=max(0.0, deadline - time.monotonic()))
        for worker in self._workers:
            if worker.is_alive():
                worker.terminate()
                worker.join(timeout=1.0)
            if worker.is_alive():
                worker.kill()
                worker.join()
        for each in (*self._tasks, self._results):
            each.cancel_join_thread()
            each.close()

    def __del__(self) -> None:
        if hasattr(self, "_pid") and self._pid == os.getpid():  # not in a forked child's copy
            self.shut_down()


def _ending(worker: Any) -> str:
    """How a process that is over has ended."""
    code = worker.exitcode
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"killed by signal {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


__all__ = ["ParallelIterator"]
