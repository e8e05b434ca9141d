"""Who am I? Code that runs in a worker of a loader asks `get_worker_info`."""

from __future__ import annotations

from typing import Any


class WorkerInfo:
    """One worker: its `id`, the `num_workers`, its `seed`, and its copy of the `dataset`. Read-only."""

    __slots__ = ("dataset", "id", "num_workers", "seed")

    id: int
    num_workers: int
    seed: int
    dataset: Any

    def __init__(self, id: int, num_workers: int, seed: int, dataset: Any) -> None:
        for name, value in (
            ("id", id),
            ("num_workers", num_workers),
            ("seed", seed),
            ("dataset", dataset),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"cannot assign to field '{name}': a worker's info is read-only")

    def __repr__(self) -> str:
        return (
            f"WorkerInfo(id={self.id}, num_workers={self.num_workers}, seed={self.seed}, "
            f"dataset={self.dataset!r})"
        )


_current: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process of a DataLoader, which one it is; elsewhere None.

    >>> from rushlight.utils.data import get_worker_info
    >>> get_worker_info() is None
    True
    """
    return _current


def set_worker_info(info: WorkerInfo | None) -> None:
    """Said once by a worker at its start."""
    global _current  # noqa: PLW0603  # one worker is one process
    _current = info
