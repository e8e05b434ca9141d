"""A worker process of a loader: it is sent lists of indices, and answers with batches of samples."""

from __future__ import annotations

import os
import pickle
import queue
import random
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from rushlight.backends.heap import keep_freed_memory
from rushlight.compiler.available import limit_processors
from rushlight.random.generator import manual_seed
from rushlight.utils.data.dataset import IterableDataset
from rushlight.utils.data.fetch import fetcher_of
from rushlight.utils.data.messages import Ended, Failure, Restart, packed
from rushlight.utils.data.shared import Outbox, SharedFile
from rushlight.utils.data.worker_info import WorkerInfo, set_worker_info


class Job(NamedTuple):
    """What all workers of a loader are told when they begin."""

    dataset: Any
    batched: bool
    collate: Callable[[Any], Any]
    drop_last: bool
    base_seed: int
    init: Callable[[int], Any] | None
    num_workers: int


def seed_all(base_seed: int, worker_id: int) -> int:
    """Seeds every generator of the process for this worker: rushlight's, Python's and NumPy's."""
    seed = base_seed + worker_id
    random.seed(seed)
    manual_seed(seed)
    words = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    np.random.seed(np.random.SeedSequence(words).generate_state(4))  # noqa: NPY002 (users' datasets draw from it)
    return seed


class _Orders:
    """Messages of the parent, read by a thread of their own: the parent never waits for a busy worker to read.

    It also ends the process at once, whatever that is doing, when the parent is gone: nobody wants its batches.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.stopped = False
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv_bytes()
            except (EOFError, OSError):
                os._exit(1)
            if not message:
                self.stopped = True
            self._messages.put(message)

    def next(self) -> Any:
        """The next one; None when there is nothing more to do."""
        message = self._messages.get()
        return None if self.stopped else pickle.loads(message)


def run_worker(
    job: Job, worker_id: int, orders: Connection, answers: Connection, file: SharedFile | None
) -> None:
    """What a worker process runs until it is told to stop, or its parent is gone."""
    try:
        _work(job, worker_id, _Orders(orders), answers, _outbox(file))
    except (KeyboardInterrupt, BrokenPipeError):
        # The parent shows an interrupt itself, and hears of nothing more when it is gone: a worker goes quietly.
        pass


def _outbox(file: SharedFile | None) -> Outbox | None:
    try:
        return None if file is None else Outbox(file)
    except OSError:  # a limit on address space: batches travel in messages
        return None


def _work(
    job: Job, worker_id: int, orders: _Orders, answers: Connection, outbox: Outbox | None
) -> None:
    where = f"in DataLoader worker process {worker_id}"
    seed = seed_all(job.base_seed, worker_id)
    set_worker_info(WorkerInfo(worker_id, job.num_workers, seed, job.dataset))
    _settle()
    fetch = _begun(job, worker_id, where, init=True)
    while (order := orders.next()) is not None:
        number, indices, freed = order
        if outbox is not None:
            outbox.take_back(freed)
        if isinstance(indices, Restart):
            fetch = _begun(job, worker_id, where, init=False)
            data: Any = indices
        else:
            data = fetch(indices)
        try:
            answer = packed(number, data, outbox)
        except Exception as error:  # said here, or nobody would ever hear of this batch
            answer = packed(number, Failure(error, f"{where}, pickling a batch"), None)
        answers.send_bytes(answer)
        del order, indices, data, answer


def _settle() -> None:
    """One thread for compiled programs, as there are as many workers as the user wants; freed memory is kept."""
    limit_processors(1)
    pool = sys.modules.get("rushlight.compiler.pool")
    if pool is not None:
        pool.set_threads(1)
    keep_freed_memory()


def _begun(job: Job, worker_id: int, where: str, init: bool) -> Callable[[Any], Any]:
    """A pass of the dataset begins: what gives the batch for some indices, or the Failure, or Ended."""
    try:
        if init and job.init is not None:
            job.init(worker_id)
        fetcher = fetcher_of(job.dataset, job.batched, job.collate, job.drop_last)
    except Exception as error:
        failure = Failure(error, where)
        return lambda indices: failure
    iterable = isinstance(job.dataset, IterableDataset)

    def fetch(indices: Any) -> Any:
        try:
            return fetcher.fetch(indices)
        except Exception as error:
            if iterable and isinstance(error, StopIteration):
                return Ended()
            return Failure(error, where)

    return fetch


__all__ = ["Job", "run_worker", "seed_all"]
