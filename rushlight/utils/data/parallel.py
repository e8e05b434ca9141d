"""The iterator of a loader with worker processes: who is given which batch, and in which order they come back."""

from __future__ import annotations

import itertools
import queue
import time
from typing import Any

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
        self._begin_pass()
        self._seed = fresh_seed(loader.generator)
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
            self.loader.warn_if_too_long(self._given)
            return data

    def _receive(self) -> tuple[Any, Any]:
        """The next answer of any worker; RuntimeError where one died or the timeout passed."""
        timeout = self.loader.timeout
        began = time.monotonic()
        while True:
            left = timeout - (time.monotonic() - began) if timeout else CHECK_EVERY_S
            try:
                return self._results.get(timeout=max(0.0, min(left, CHECK_EVERY_S)))  # type: ignore[no-any-return]
            except queue.Empty:
                dead = [
                    str(w.pid) for w, a in zip(self._workers, self._alive(), strict=True) if not a
                ]
                if dead:
                    self.shut_down()
                    raise RuntimeError(
                        f"DataLoader worker (pid(s) {', '.join(dead)}) exited unexpectedly: it was killed (out of "
                        "memory?) or its dataset ended the process; num_workers=0 shows errors directly"
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
        for worker in self._workers:
            worker.join(timeout=CHECK_EVERY_S)
            if worker.is_alive():
                worker.terminate()
                worker.join()
        for each in (*self._tasks, self._results):
            each.cancel_join_thread()
            each.close()

    def __del__(self) -> None:
        if hasattr(self, "_shut"):
            self.shut_down()


__all__ = ["ParallelIterator"]
