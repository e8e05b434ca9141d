"""`DataLoader`: batches of a dataset, in the caller's process or by workers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypeVar

from rushlight.compiler.available import available_processors
from rushlight.core.sites import warn_user
from rushlight.core.watch import seen_as
from rushlight.random.generator import Generator
from rushlight.utils.data.collate import default_collate, default_convert
from rushlight.utils.data.dataset import Dataset, IterableDataset
from rushlight.utils.data.fetch import fetcher_of
from rushlight.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    fresh_seed,
)
from rushlight.utils.data.worker_info import get_worker_info

T_co = TypeVar("T_co", covariant=True)

#: Set once, in __init__; a loader whose sampler is made cannot change them.
_FIXED = frozenset(
    ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
)


class _Endless(Sampler[None]):
    """The index sampler of a dataset without indices."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader(Generic[T_co]):
    """Iterates a dataset in batches.

    `shuffle` reads it in a random order, for a seed PyTorch's; or a `sampler` gives the indices, or a
    `batch_sampler` whole lists of them. `batch_size=None` gives single samples. `num_workers` processes read ahead,
    `prefetch_factor` batches each. `collate_fn` makes a batch of a list of samples. Raises ValueError for arguments
    that exclude each other.

    >>> import rushlight
    >>> from rushlight.utils.data import DataLoader, TensorDataset
    >>> data = TensorDataset(rushlight.arange(5))
    >>> [batch.tolist() for (batch,) in DataLoader(data, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    dataset: Any
    batch_size: int | None
    sampler: Any
    batch_sampler: Any

    def __init__(
        self, dataset: Dataset[T_co], batch_size: int | None = 1, shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None, num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None, pin_memory: bool = False, drop_last: bool = False,
        timeout: float = 0, worker_init_fn: Callable[[int], Any] | None = None, multiprocessing_context: Any = None,
        generator: Generator | None = None, *, prefetch_factor: int | None = None, persistent_workers: bool = False,
        pin_memory_device: str = "", in_order: bool = True,
    ) -> None:  # fmt: skip
        self._check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        if isinstance(dataset, IterableDataset):
            self._check_iterable(shuffle, sampler, batch_sampler)
        else:
            shuffle = bool(shuffle)
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )
        if sampler is None:
            if isinstance(dataset, IterableDataset):
                sampler = _Endless()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]
            else:
                sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]
        if pin_memory:
            warn_user(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be "
                "used."
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self._kept: Any = None  # the iterator whose workers are kept
        self._length: int | None = (
            None  # an IterableDataset's own word about its length, if it has one
        )
        self._initialized = True
        self.check_worker_number_rationality()

    @staticmethod
    def _check_workers(count: int, timeout: float, ahead: int | None, persistent: bool) -> None:
        if count < 0:
            raise ValueError(
                "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing."
            )
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if not count and ahead is not None:
            raise ValueError(
                "prefetch_factor option could only be specified in multiprocessing. let num_workers > 0 to enable "
                "multiprocessing, otherwise set prefetch_factor to None."
            )
        if ahead is not None and ahead < 0:
            raise ValueError("prefetch_factor option should be non-negative")
        if persistent and not count:
            raise ValueError("persistent_workers option needs num_workers > 0")

    @staticmethod
    def _check_iterable(shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
        if shuffle not in (False, None):
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle={shuffle}"
            )
        for name, given in (("sampler", sampler), ("batch_sampler", batch_sampler)):
            if given is not None:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={given}"
                )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and "_initialized" in self.__dict__:
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        super().__setattr__(name, value)

    @property
    def index_sampler(self) -> Any:
        """What gives the indices of each batch (or sample)."""
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    @property
    def multiprocessing_context(self) -> Any:
        """How workers are started: a context of `multiprocessing`, or None for its default."""
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, wanted: Any) -> None:
        if wanted is not None and not self.num_workers:
            raise ValueError(
                "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
                f"num_workers={self.num_workers}"
            )
        if isinstance(wanted, str):
            methods = multiprocessing.get_all_start_methods()
            if wanted not in methods:
                raise ValueError(
                    f"multiprocessing_context option should specify a valid start method in {methods!r}, but got "
                    f"multiprocessing_context={wanted!r}"
                )
            wanted = multiprocessing.get_context(wanted)
        elif wanted is not None and not isinstance(wanted, BaseContext):
            raise TypeError(
                "multiprocessing_context option should be a valid context object or a string specifying the start "
                f"method, but got multiprocessing_context={wanted}"
            )
        self._context = wanted

    @property
    def context(self) -> Any:
        """What starts the workers: the context given, or the default of `multiprocessing`."""
        return self._context or multiprocessing.get_context()

    def __iter__(self) -> Iterator[Any]:
        if not self.num_workers:
            if self.timeout:
                raise AssertionError("timeout is for workers: without them it must be 0")
            return self._batches()
        from rushlight.utils.data.parallel import ParallelIterator

        if not self.persistent_workers:
            return ParallelIterator(self)
        if self._kept is None or self._kept.closed:
            self._kept = ParallelIterator(self)
        else:
            self._kept.restart()
        return self._kept  # type: ignore[no-any-return]

    def _batches(self) -> Iterator[Any]:
        """One pass in this process. The draw of a seed, which nobody uses, keeps the random numbers PyTorch's."""
        indices = iter(self.index_sampler)
        fresh_seed(self.generator)
        fetcher = fetcher_of(
            self.dataset, self.batch_sampler is not None, self.collate_fn, self.drop_last
        )
        return _SingleIterator(self, indices, fetcher)

    def warn_if_too_long(self, given: int, promised: int | None) -> None:
        """A warning where an IterableDataset gives more than its length had promised when the pass began."""
        if promised is not None and given > promised:
            hint = (
                " For multiprocessing data-loading, this could be caused by not properly configuring the "
                "IterableDataset replica at each worker: split the samples by get_worker_info()."
            )
            warn_user(
                f"Length of IterableDataset {self.dataset} was reported to be {promised} (when accessing "
                f"len(dataloader)), but {given} samples have been fetched."
                + (hint if self.num_workers else "")
            )

    def check_worker_number_rationality(self) -> None:
        """A warning where there are more workers than processors that this process may use."""
        if self.num_workers and self.num_workers > (usable := available_processors()):
            warn_user(
                f"This DataLoader will create {self.num_workers} worker processes in total. Our suggested max number "
                f"of worker in current system is {usable}, which is smaller than what this DataLoader is going to "
                "create. Workers beyond it wait for each other"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def __len__(self) -> int:
        if isinstance(self.dataset, IterableDataset):
            count = self._length = len(self.dataset)  # type: ignore[arg-type]
            if self.batch_size is not None:
                count = count // self.batch_size if self.drop_last else -(-count // self.batch_size)
            return count
        return len(self.index_sampler)


class _SingleIterator:
    """One pass in the caller's process."""

    def __init__(self, loader: DataLoader, indices: Iterator[Any], fetcher: Any) -> None:
        self._loader = loader
        self._indices = indices
        self._fetch = fetcher.fetch
        self._given = 0
        self._promised = loader._length

    def __iter__(self) -> _SingleIterator:
        return self

    def __len__(self) -> int:
        return len(self._loader.index_sampler)

    @seen_as(lambda self: "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__")
    def __next__(self) -> Any:
        data = self._fetch(next(self._indices))
        self._given += 1
        if self._promised is not None:
            self._loader.warn_if_too_long(self._given, self._promised)
        return data


__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]
