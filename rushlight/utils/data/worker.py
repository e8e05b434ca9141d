"""A worker process of a loader: it reads batches of indices from a queue and answers with batches of samples."""

from __future__ import annotations

import os
import pickle
import queue
import random
import traceback
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from rushlight.random.generator import manual_seed
from rushlight.utils.data.fetch import fetcher_of

#: Seconds after which a waiting process looks whether the other one is still alive.
CHECK_EVERY_S = 5.0


class WorkerInfo:
    """What `get_worker_info()` tells in a worker: `id`, `num_workers`, `seed`, and its copy of the `dataset`."""

    def __init__(self, id: int, num_workers: int, seed: int, dataset: Any) -> None:
        self.id = id
        self.num_workers = num_workers
        self.seed = seed
        self.dataset = dataset

    def __repr__(self) -> str:
        return f"WorkerInfo(id={self.id}, num_workers={self.num_workers}, seed={self.seed}, dataset={self.dataset})"


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker of a DataLoader what it is; None in any other process."""
    return _info


class Restart:
    """Asks a worker that is kept for another epoch to begin anew; its random numbers go on."""


class Ended:
    """A worker's word that its copy of an IterableDataset has no more samples."""

    def __init__(self, worker_id: int) -> None:
        self.worker_id = worker_id


class Failure:
    """An exception of a worker on its way to the parent: its type, and its traceback as text."""

    def __init__(self, error: BaseException, where: str) -> None:
        self.kind: Any = type(error)
        self.name = type(error).__name__
        try:
            pickle.dumps(self.kind)
        except Exception:  # a class made inside a function: only its name can travel
            self.kind = RuntimeError
        self.where = where
        self.text = "".join(traceback.format_exception(type(error), error, error.__traceback__))

    def reraise(self) -> None:
        """Raises an exception of the same type, with the worker's traceback in its message."""
        message = f"Caught {self.name} {self.where}.\nOriginal {self.text}"
        if self.kind is KeyError:
            raise _KeyErrorText(message)
        try:
            error = self.kind(message)
        except Exception:  # its constructor wants more than a message
            raise RuntimeError(message) from None
        raise error


class _KeyErrorText(KeyError):
    """A KeyError whose text keeps its line breaks."""

    def __str__(self) -> str:
        return str(self.args[0])


def seed_all(base_seed: int, worker_id: int) -> int:
    """Seeds every generator of the process for this worker: rushlight's, Python's and NumPy's."""
    seed = base_seed + worker_id
    random.seed(seed)
    manual_seed(seed)
    words = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    np.random.seed(np.random.SeedSequence(words).generate_state(4))  # noqa: NPY002 (users' datasets draw from it)
    return seed


def run_worker(
    dataset: Any,
    tasks: Any,
    results: Any,
    stop: Any,
    batched: bool,
    collate: Callable[[Any], Any],
    drop_last: bool,
    base_seed: int,
    init: Callable[[int], Any] | None,
    worker_id: int,
    num_workers: int,
) -> None:
    """What a worker process runs until it is told None, or its parent is gone."""
    global _info  # noqa: PLW0603 (one per process, for the user's dataset to ask)
    parent = os.getppid()
    failure: Failure | None = None
    fetcher: Any = None
    where = f"in DataLoader worker process {worker_id}"
    _info = WorkerInfo(worker_id, num_workers, seed_all(base_seed, worker_id), dataset)
    try:
        if init is not None:
            init(worker_id)
        fetcher = fetcher_of(dataset, batched, collate, drop_last)
    except Exception as error:
        failure = Failure(error, where)
    try:
        while os.getppid() == parent:
            try:
                task = tasks.get(timeout=CHECK_EVERY_S)
            except queue.Empty:
                continue
            if task is None or stop.is_set():
                break
            if isinstance(task, Restart):
                fetcher = fetcher_of(dataset, batched, collate, drop_last)
                results.put(bytes(ForkingPickler.dumps((task, None))))
                continue
            number, indices = task
            if failure is not None:
                data: Any = failure
                failure = None
            else:
                data = _fetched(fetcher, indices, worker_id, where)
            try:
                answer = bytes(ForkingPickler.dumps((number, data), 5))
            except Exception as error:  # said here, or nobody would ever hear of this batch
                lost = Failure(error, f"{where}, pickling a batch")
                answer = bytes(ForkingPickler.dumps((number, lost)))
            results.put(answer)
            del task, indices, data, answer
    except KeyboardInterrupt:
        # The parent process shows it; a worker goes quietly.
        stop.set()
    if stop.is_set():
        results.cancel_join_thread()
        results.close()


def _fetched(fetcher: Any, indices: Any, worker_id: int, where: str) -> Any:
    try:
        return fetcher.fetch(indices)
    except StopIteration:
        return Ended(worker_id)
    except Exception as error:
        return Failure(error, where)


__all__ = ["Ended", "Failure", "Restart", "WorkerInfo", "get_worker_info", "run_worker"]
