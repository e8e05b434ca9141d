"""The iterator of a loader with worker processes: who is given which batch, and in which order they come back."""

from __future__ import annotations

import itertools
from typing import Any

from rushlight.core.watch import seen_as
from rushlight.utils.data.crew import Crew
from rushlight.utils.data.messages import Ended, Failure, Restart
from rushlight.utils.data.sampler import fresh_seed
from rushlight.utils.data.worker import Job


class ParallelIterator:
    """One pass over a loader by its workers (or several, where they are kept)."""

    def __init__(self, loader: Any) -> None:
        if not loader.prefetch_factor:
            raise AssertionError(
                "prefetch_factor must be greater than 0 for workers to be given anything"
            )
        self._loader = loader
        self._begin_pass()
        seed = fresh_seed(loader.generator)
        self._begin_pass()  # PyTorch asks the sampler once more: one that draws at once draws again
        job = Job(
            loader.dataset, loader.batch_sampler is not None, loader.collate_fn, loader.drop_last, seed,
            loader.worker_init_fn, loader.num_workers,
        )  # fmt: skip
        self._crew = Crew(loader.context, job)
        self._prefetch()

    @property
    def closed(self) -> bool:
        """Whether the workers have ended."""
        return self._crew.closed

    def _begin_pass(self) -> None:
        count = self._loader.num_workers
        self._indices = iter(self._loader.index_sampler)
        self._sent = 0  # batches given to workers
        self._wanted = 0  # the next batch to hand out
        self._waiting: dict[int, tuple[int, Any]] = {}  # batches that came before their turn
        self._owner: dict[int, int] = {}  # batch -> worker, of those that are under way
        self._active = [True] * count
        self._load = [0] * count  # batches that each has under way or waiting
        self._turn = itertools.cycle(range(count))
        self._given = 0
        self._promised = self._loader._length

    def _prefetch(self) -> None:
        self._most = self._loader.prefetch_factor * self._loader.num_workers
        for _ in range(self._most):
            self._send()

    def restart(self) -> None:
        """Begins the next pass with the same workers."""
        while self._owner:  # a pass that was left early: its batches are thrown away
            number, _ = self._crew.receive(self._loader.timeout)
            self._owner.pop(number, None)
        self._begin_pass()
        for worker in range(self._loader.num_workers):
            self._crew.send(worker, worker, Restart())
        for _ in range(self._loader.num_workers):
            self._crew.receive(self._loader.timeout)
        self._prefetch()

    def _send(self) -> None:
        """Gives the next indices to a worker that has samples left."""
        if not any(self._active):
            return
        try:
            indices = next(self._indices)
        except StopIteration:
            return
        worker = self._next_worker()
        self._crew.send(worker, self._sent, indices)
        self._owner[self._sent] = worker
        self._load[worker] += 1
        self._sent += 1

    def _next_worker(self) -> int:
        """Each in its turn; where order does not matter, one with more batches under way than others is passed over."""
        share = self._most // sum(self._active)
        for _ in self._active:
            worker = next(w for w in self._turn if self._active[w])
            if self._loader.in_order or self._load[worker] < share:
                break
        return worker

    def __iter__(self) -> ParallelIterator:
        return self

    def __len__(self) -> int:
        return len(self._loader.index_sampler)

    @seen_as(lambda self: "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__")
    def __next__(self) -> Any:
        worker, data = self._next_answer()
        self._load[worker] -= 1
        self._send()
        if isinstance(data, Failure):
            data.reraise()
        self._given += 1
        self._loader.warn_if_too_long(self._given, self._promised)
        return data

    def _next_answer(self) -> tuple[int, Any]:
        """The batch whose turn it is, and its worker; StopIteration when there is none."""
        in_order = self._loader.in_order
        while self._owner or self._waiting:
            number = self._wanted if in_order else next(iter(self._waiting), -1)
            if number in self._waiting:
                self._wanted += 1
                return self._waiting.pop(number)
            if in_order and number not in self._owner:
                self._wanted += 1  # of a worker that had no more samples
            else:
                self._hear()
        if not self._loader.persistent_workers:
            self._crew.close()
        raise StopIteration

    def _hear(self) -> None:
        """Takes in what the next worker says."""
        number, data = self._crew.receive(self._loader.timeout)
        worker = self._owner.pop(number)
        if not isinstance(data, Ended):
            self._waiting[number] = worker, data
            return
        self._active[worker] = False
        if not self._loader.persistent_workers and worker not in self._owner.values():
            self._crew.workers[worker].dismiss()  # it has answered all it was sent
        self._send()

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")

    def __del__(self) -> None:
        if hasattr(self, "_crew"):
            self._crew.close()


__all__ = ["ParallelIterator"]
