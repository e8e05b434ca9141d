"""From the indices of a batch to the batch: the same in the main process and in workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.utils.data.collate import default_collate, stacks_plainly
from rushlight.utils.data.dataset import batch_reader


class Job:
    """What is to be read and how. Picklable whenever the user's parts are, for workers that are not forked."""

    def __init__(
        self,
        dataset: Any,
        *,
        iterable: bool,
        batched: bool,
        collate: Callable[[Any], Any],
        drop_last: bool,
    ) -> None:
        self.dataset = dataset
        self.iterable = iterable
        self.batched = batched
        self.collate = collate
        self.drop_last = drop_last

    def fetcher(self) -> Callable[[Any], Any]:
        """A fresh `fetch(indices)`; an iterable dataset begins anew, and StopIteration says that it has ended."""
        if self.iterable:
            return _StreamFetcher(self)
        if not self.batched:
            return self._one
        if callable(getattr(self.dataset, "__getitems__", None)):
            slow = self._several
        else:
            slow = self._one_by_one
        quick = batch_reader(self.dataset) if self.collate is default_collate else None
        return slow if quick is None else _QuickFetcher(quick, slow)

    def _one(self, index: Any) -> Any:
        return self.collate(self.dataset[index])

    def _several(self, indices: Any) -> Any:
        return self.collate(self.dataset.__getitems__(indices))

    def _one_by_one(self, indices: Any) -> Any:
        dataset = self.dataset
        return self.collate([dataset[i] for i in indices])


class _QuickFetcher:
    """Rows of tensors: one indexing of each tensor for the whole batch."""

    def __init__(self, quick: Callable[[list[int]], Any], slow: Callable[[Any], Any]) -> None:
        self._quick, self._slow = quick, slow

    def __call__(self, indices: Any) -> Any:
        if type(indices) is list and indices and stacks_plainly():
            batch = self._quick(indices)
            if batch is not None:
                return batch
        return self._slow(indices)


class _StreamFetcher:
    """The next samples of an iterable dataset: as many as there are indices."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._samples = iter(job.dataset)
        self._ended = False

    def __call__(self, indices: Any) -> Any:
        if self._ended:
            raise StopIteration
        job = self._job
        if not job.batched:
            return job.collate(next(self._samples))
        batch: list[Any] = []
        for _ in indices:
            try:
                batch.append(next(self._samples))
            except StopIteration:
                self._ended = True
                break
        if not batch or (job.drop_last and len(batch) < len(indices)):
            raise StopIteration
        return job.collate(batch)
