"""Datasets: what a loader reads samples from, and datasets made of others."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from rushlight.core.sites import warn_user
from rushlight.ops import public
from rushlight.primitives.interpreter import slot
from rushlight.random.generator import Generator
from rushlight.tensor.tensor import Tensor, wrap
from rushlight.utils.data.rows import taken

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Samples by index: write `__getitem__`, and `__len__` for samplers and loaders.

    `__getitems__(indices)`, where written, gives a whole batch's samples as a list at once.

    >>> from rushlight.utils.data import Dataset
    >>> class Squares(Dataset):
    ...     def __getitem__(self, index):
    ...         return index**2
    ...
    ...     def __len__(self):
    ...         return 4
    >>> len(Squares() + Squares())
    8
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """Samples in the order in which they come: write `__iter__`. With workers, each iterates a copy of it."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError("Subclasses of IterableDataset should implement __iter__.")

    def __add__(self, other: Dataset[Any]) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Rows of tensors that have the same first size: sample i is `tuple(t[i] for t in tensors)`.

    >>> import rushlight
    >>> from rushlight.utils.data import TensorDataset
    >>> TensorDataset(rushlight.arange(3), rushlight.arange(3) * 10)[1]
    (tensor(1), tensor(10))
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor) -> None:
        if any(t.shape[0] != tensors[0].shape[0] for t in tensors):
            raise AssertionError(
                f"Size mismatch between tensors: the first sizes are {[t.shape[0] for t in tensors]}"
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)  # type: ignore[index]

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    def collated(self, indices: list[int]) -> list[Tensor] | None:
        """What `default_collate` makes of these samples, by one indexing of each tensor.

        None where only reading them one by one is sure to give the same, or the same error.
        """
        if slot.recorder is not None or not _whole_numbers(indices):
            return None
        if any(type(t) is not Tensor or t.requires_grad for t in self.tensors):
            return None
        try:
            return [wrap(taken(t._array, indices)) for t in self.tensors]
        except IndexError:
            return None


def _whole_numbers(indices: Sequence[Any]) -> bool:
    return all(kind is int or issubclass(kind, np.integer) for kind in set(map(type, indices)))


class StackDataset(Dataset[Any]):
    """Datasets of equal length side by side: a sample is the tuple (or dict) of their samples."""

    datasets: Any

    def __init__(self, *args: Dataset[Any], **kwargs: Dataset[Any]) -> None:
        if args and kwargs:
            raise ValueError(
                "StackDataset takes datasets as positional arguments (samples are tuples) or as keyword arguments "
                "(samples are dicts), not both"
            )
        if not args and not kwargs:
            raise ValueError("At least one dataset should be passed")
        self.datasets = args or kwargs
        lengths = {len(d) for d in self._parts()}  # type: ignore[arg-type]
        if len(lengths) > 1:
            raise ValueError(f"Size mismatch between datasets: {sorted(lengths)}")
        self._length = lengths.pop()

    def _parts(self) -> Iterable[Dataset[Any]]:
        return self.datasets.values() if isinstance(self.datasets, dict) else self.datasets

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {key: dataset[index] for key, dataset in self.datasets.items()}
        return tuple(dataset[index] for dataset in self.datasets)

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """A batch's samples."""
        columns = [_samples(dataset, indices) for dataset in self._parts()]
        if isinstance(self.datasets, dict):
            return [
                dict(zip(self.datasets, row, strict=True)) for row in zip(*columns, strict=True)
            ]
        return list(zip(*columns, strict=True))

    def collated(self, indices: list[int]) -> Any:
        """The batches of all parts side by side; only asked where `reads_rows` says so."""
        columns = [part.collated(indices) for part in self._parts()]  # type: ignore[attr-defined]
        if any(column is None for column in columns):
            return None
        return (
            dict(zip(self.datasets, columns, strict=True))
            if isinstance(self.datasets, dict)
            else columns
        )

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[Any]):
    """Datasets one after another."""

    datasets: list[Dataset[Any]]
    cumulative_sizes: list[int]

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        for dataset in self.datasets:
            if isinstance(dataset, IterableDataset):
                raise AssertionError(
                    "ConcatDataset does not support IterableDataset: use ChainDataset"
                )
        self.cumulative_sizes = self.cumsum(self.datasets)

    @staticmethod
    def cumsum(sequence: Sequence[Any]) -> list[int]:
        """Where each dataset ends."""
        return list(itertools.accumulate(len(dataset) for dataset in sequence))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        if index < 0:
            if -index > len(self):
                raise ValueError(
                    f"absolute value of index should not exceed dataset length: {index} of {len(self)}"
                )
            index += len(self)
        which = bisect.bisect_right(self.cumulative_sizes, index)
        before = self.cumulative_sizes[which - 1] if which else 0
        return self.datasets[which][index - before]


class ChainDataset(IterableDataset[Any]):
    """IterableDatasets one after another."""

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            _check_iterable(dataset)
            yield from dataset  # type: ignore[misc]

    def __len__(self) -> int:
        total = 0
        for dataset in self.datasets:
            _check_iterable(dataset)
            total += len(dataset)  # type: ignore[arg-type]
        return total


def _check_iterable(dataset: Any) -> None:
    if not isinstance(dataset, IterableDataset):
        raise AssertionError(
            f"ChainDataset only supports IterableDataset, not {type(dataset).__name__}"
        )


class Subset(Dataset[T_co]):
    """The samples of a dataset at the given indices."""

    dataset: Dataset[T_co]
    indices: Sequence[int]

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[int]) -> None:
        kind = type(self)
        if kind.__getitem__ is not Subset.__getitem__ and kind.__getitems__ is Subset.__getitems__:
            raise NotImplementedError(
                f"{kind.__name__} overrides __getitem__ but not __getitems__, which is what a DataLoader calls: write "
                "that too, if only as `return [self[i] for i in indices]`"
            )
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """A batch's samples."""
        return _samples(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)

    def collated(self, indices: list[int]) -> Any:
        """The whole batch by the dataset's own `collated`; only asked where `reads_rows` says so."""
        return self.dataset.collated([self.indices[i] for i in indices])  # type: ignore[attr-defined]


def reads_rows(dataset: Any) -> bool:
    """Whether `collated` of this dataset gives what its samples, read one by one, would.

    It does for a TensorDataset, and for Subsets and StackDatasets of such, unless a subclass has another way to read
    samples.
    """
    kind = type(dataset)
    for ours in (TensorDataset, Subset, StackDataset):
        if isinstance(dataset, ours):
            same = all(
                getattr(kind, name, None) is getattr(ours, name, None)
                for name in ("__getitem__", "__getitems__")
            )
            return same and all(map(reads_rows, _parts_of(dataset)))
    return False


def _parts_of(dataset: Any) -> Iterable[Any]:
    if isinstance(dataset, TensorDataset):
        return ()
    return (dataset.dataset,) if isinstance(dataset, Subset) else dataset._parts()


def _samples(dataset: Any, indices: list[int]) -> list[Any]:
    """A list of samples, by `__getitems__` where a dataset has it."""
    several = getattr(dataset, "__getitems__", None)
    if not callable(several):
        return [dataset[i] for i in indices]
    found = several(indices)
    if len(found) != len(indices):
        raise ValueError(
            "Nested dataset's output size mismatch. Expected "
            f"{len(indices)}, got {len(found)} from {type(dataset).__name__}.__getitems__"
        )
    return list(found)


def random_split(
    dataset: Dataset[T_co], lengths: Sequence[int | float], generator: Generator | None = None
) -> list[Subset[T_co]]:
    """Subsets without overlap, of these lengths, or of these fractions (which sum to 1) of the dataset.

    What rounding of fractions leaves goes to the subsets in turn. Raises ValueError where the lengths do not sum to
    the dataset's.
    """
    total = len(dataset)  # type: ignore[arg-type]
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        sizes = []
        for i, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1: {fraction}")
            sizes.append(math.floor(total * fraction))
        for i in range(total - sum(sizes)):
            sizes[i % len(sizes)] += 1
        lengths = sizes
        for i, length in enumerate(lengths):
            if not length:
                warn_user(
                    f"Length of split at index {i} is 0. This might result in an empty dataset."
                )
    if sum(lengths) != total:
        raise ValueError(
            f"Sum of input lengths does not equal the length of the input dataset! {list(lengths)} sum to "
            f"{sum(lengths)}, the dataset has {total} samples"
        )
    order = public.randperm(total, generator=generator).tolist()
    ends = itertools.accumulate(int(n) for n in lengths)
    return [
        Subset(dataset, order[end - int(n) : end]) for end, n in zip(ends, lengths, strict=True)
    ]


__all__ = [
    "ChainDataset", "ConcatDataset", "Dataset", "IterableDataset", "StackDataset", "Subset", "TensorDataset",
    "random_split",
]  # fmt: skip
