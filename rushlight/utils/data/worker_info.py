"""What a worker process knows about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WorkerInfo:
    """What `get_worker_info()` tells in a worker: `id`, `num_workers`, `seed`, and its copy of the `dataset`."""

    id: int
    num_workers: int
    seed: int
    dataset: Any
    rng: Any = None
    worker_method: str | None = "multiprocessing"


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker of a DataLoader what it is; None in any other process."""
    return _info


def set_worker_info(info: WorkerInfo) -> None:
    """This process is that worker."""
    global _info  # noqa: PLW0603 (one per process, for the user's dataset to ask)
    _info = info


__all__ = ["WorkerInfo", "get_worker_info"]
