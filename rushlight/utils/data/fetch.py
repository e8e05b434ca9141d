"""How the samples of a batch are read and put together: in the caller's process or in a worker's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from rushlight.utils.data.collate import default_collate
from rushlight.utils.data.dataset import IterableDataset, reads_rows


class MapFetcher:
    """Batches of a dataset with indices; without `batched`, single samples."""

    def __init__(self, dataset: Any, batched: bool, collate: Callable[[Any], Any]) -> None:
        self.dataset = dataset
        self.batched = batched
        self.collate = collate
        # Tensors of rows are indexed once per batch: the same result, many times quicker.
        plain = batched and collate is default_collate
        self.collated = dataset.collated if plain and reads_rows(dataset) else None

    def fetch(self, indices: Any) -> Any:
        """The batch of these indices (or the sample of this index)."""
        if not self.batched:
            return self.collate(self.dataset[indices])
        if self.collated is not None:
            batch = self.collated(indices)
            if batch is not None:
                return batch
        several = getattr(self.dataset, "__getitems__", None)
        if several:
            return self.collate(several(indices))
        return self.collate([self.dataset[i] for i in indices])


class IterableFetcher:
    """Batches of a dataset that gives its samples in order; raises StopIteration at its end."""

    def __init__(
        self, dataset: Any, batched: bool, collate: Callable[[Any], Any], drop_last: bool
    ) -> None:
        self.samples: Iterator[Any] = iter(dataset)
        self.batched = batched
        self.collate = collate
        self.drop_last = drop_last
        self.ended = False

    def fetch(self, indices: Any) -> Any:
        """The next batch, of as many samples as there are indices."""
        if self.ended:
            raise StopIteration
        if not self.batched:
            return self.collate(next(self.samples))
        batch = list(itertools.islice(self.samples, len(indices)))
        self.ended = len(batch) < len(indices)
        if not batch or (self.drop_last and self.ended):
            raise StopIteration
        return self.collate(batch)


def fetcher_of(
    dataset: Any, batched: bool, collate: Callable[[Any], Any], drop_last: bool
) -> MapFetcher | IterableFetcher:
    """The fetcher for a dataset's kind."""
    if isinstance(dataset, IterableDataset):
        return IterableFetcher(dataset, batched, collate, drop_last)
    return MapFetcher(dataset, batched, collate)


__all__ = ["IterableFetcher", "MapFetcher", "fetcher_of"]
