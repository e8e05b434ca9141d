"""How a list of samples becomes a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from rushlight.core.dtypes import float64
from rushlight.ops import public
from rushlight.tensor.exchange import as_tensor, from_numpy, tensor
from rushlight.tensor.tensor import Tensor


def default_convert(data: Any) -> Any:
    """NumPy arrays and numbers inside a sample as tensors; all else as it is."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, np.ndarray):
        return data if data.dtype.kind in "SUO" else from_numpy(data)
    if isinstance(data, np.generic) and data.dtype.kind not in "SUO":
        return as_tensor(data)
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(d) for d in data))
    if isinstance(data, tuple):
        return [default_convert(d) for d in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [default_convert(d) for d in data])
    return data


def default_collate(batch: Any) -> Any:
    """Samples stacked along a new first dimension: tensors, arrays and numbers, inside dicts, tuples and lists.

    Raises RuntimeError where samples differ in length or shape, TypeError for a type that can't be batched.

    >>> from rushlight.utils.data import default_collate
    >>> default_collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.], dtype=torch.float64)]
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return _stacked(batch)
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SUO":
            raise TypeError(_unfit(first.dtype))
        return _stacked([as_tensor(b) for b in batch])
    if isinstance(first, np.generic) and first.dtype.kind not in "SUO":
        return as_tensor(np.asarray(batch))
    if isinstance(first, float):
        return tensor(batch, dtype=float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        joined = {key: default_collate([sample[key] for sample in batch]) for key in first}
        return _like_mapping(first, joined)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(column) for column in zip(*batch, strict=True)))
    if isinstance(first, Sequence):
        lengths = sorted({len(sample) for sample in batch})
        if len(lengths) > 1:
            raise RuntimeError(
                f"each element in list of batch should be of equal size: there are samples of {lengths} elements; a "
                "collate_fn of your own may pad them"
            )
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        return columns if isinstance(first, tuple) else _like_sequence(first, columns)
    raise TypeError(_unfit(type(first)))


def _unfit(kind: Any) -> str:
    return (
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found "
        f"{kind}. Give the DataLoader a collate_fn that says what to do with these."
    )


def _stacked(samples: Sequence[Tensor]) -> Any:
    shapes = {tuple(sample.shape) for sample in samples}
    if len(shapes) > 1:
        at = next(i for i, sample in enumerate(samples) if sample.shape != samples[0].shape)
        raise RuntimeError(
            f"stack expects each tensor to be equal size, but got {list(samples[0].shape)} at entry 0 and "
            f"{list(samples[at].shape)} at entry {at}: the samples of a batch must have one shape; resize or pad them "
            "in the dataset, or give the DataLoader a collate_fn"
        )
    return public.stack(list(samples))


def _like(original: Any, kind: type, fill: Callable[[Any], None], plain: Any) -> Any:
    """A copy of a container of the user's own class, filled; plain where the class does not allow it."""
    if type(original) in (dict, list):
        return plain
    try:
        if isinstance(original, kind):
            clone = copy.copy(original)
            fill(clone)
            return clone
        return type(original)(plain)  # type: ignore[call-arg]
    except TypeError:
        return plain


def _like_mapping(original: Any, joined: dict[Any, Any]) -> Any:
    return _like(original, MutableMapping, lambda clone: clone.update(joined), joined)


def _like_sequence(original: Any, columns: list[Any]) -> Any:
    def fill(clone: Any) -> None:
        for i, column in enumerate(columns):
            clone[i] = column

    return _like(original, MutableSequence, fill, columns)


__all__ = ["default_collate", "default_convert"]
