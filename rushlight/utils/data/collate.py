"""How a list of samples becomes a batch."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.ops import public
from rushlight.primitives.interpreter import slot
from rushlight.tensor.exchange import as_tensor, from_numpy, tensor
from rushlight.tensor.tensor import Tensor, wrap
from rushlight.utils.data.rows import stacked

#: A type of samples, or several -> what makes a batch of them: `function(samples, collate_fn_map=...)`.
CollateFunctions = dict[type | tuple[type, ...], Callable[..., Any]]


def default_convert(data: Any) -> Any:
    """NumPy arrays and numbers inside a sample as tensors; all else as it is.

    >>> import numpy
    >>> from rushlight.utils.data import default_convert
    >>> default_convert({"x": numpy.ones(2), "name": "one"})
    {'x': tensor([1., 1.], dtype=torch.float64), 'name': 'one'}
    """
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


def collate(batch: Any, *, collate_fn_map: CollateFunctions | None = None) -> Any:
    """A batch of samples: containers are gone through, and `collate_fn_map` says what is made of what is in them.

    A sample's own type is looked up first, then the first entry of which it is an instance. Raises RuntimeError where
    samples differ in length, TypeError for a type that is no container and not in the map.
    """
    first = batch[0]
    if collate_fn_map is not None:
        kind = type(first)
        if kind in collate_fn_map:
            return collate_fn_map[kind](batch, collate_fn_map=collate_fn_map)
        for kinds, function in collate_fn_map.items():
            if isinstance(first, kinds):
                return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, Mapping):
        joined = {
            key: collate([sample[key] for sample in batch], collate_fn_map=collate_fn_map)
            for key in first
        }
        return _like_mapping(first, joined)
    if not isinstance(first, Sequence):
        raise TypeError(_unfit(type(first)))
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*_columns(batch, collate_fn_map))
    lengths = set(map(len, batch))
    if len(lengths) > 1:
        raise RuntimeError(
            f"each element in list of batch should be of equal size: there are samples of {sorted(lengths)} elements; "
            "a collate_fn of your own may pad them"
        )
    columns = _columns(batch, collate_fn_map)
    return columns if isinstance(first, tuple) else _like_sequence(first, columns)


def _columns(batch: Any, functions: CollateFunctions | None) -> list[Any]:
    return [collate(column, collate_fn_map=functions) for column in zip(*batch, strict=False)]


def _unfit(kind: Any) -> str:
    return (
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found "
        f"{kind}. Give the DataLoader a collate_fn that says what to do with these."
    )


# -- what is made of the elements ------------------------------------------------------------------


def collate_tensor_fn(
    batch: Sequence[Tensor], *, collate_fn_map: CollateFunctions | None = None
) -> Tensor:
    """The tensors along a new first dimension; RuntimeError where their shapes differ."""
    plain = [
        sample._array
        for sample in batch
        if type(sample) is Tensor and not sample._requires_grad and sample._grad_fn is None
    ]
    if len(plain) == len(batch) and slot.recorder is None:
        rows = stacked(plain)
        if rows is not None:
            return wrap(rows)
    shapes = {tuple(sample.shape) for sample in batch}
    if len(shapes) > 1:
        at = next(i for i, sample in enumerate(batch) if sample.shape != batch[0].shape)
        raise RuntimeError(
            f"stack expects each tensor to be equal size, but got {list(batch[0].shape)} at entry 0 and "
            f"{list(batch[at].shape)} at entry {at}: the samples of a batch must have one shape; resize or pad them "
            "in the dataset, or give the DataLoader a collate_fn"
        )
    return public.stack(list(batch))  # type: ignore[no-any-return]


def collate_numpy_array_fn(
    batch: Sequence[Any], *, collate_fn_map: CollateFunctions | None = None
) -> Any:
    """The arrays along a new first dimension, as a tensor; TypeError for arrays of objects or text."""
    dtype = batch[0].dtype
    if dtype.kind in "SUO":
        raise TypeError(_unfit(dtype))
    if dtype in dtypes._OF_NUMPY and all(isinstance(sample, np.ndarray) for sample in batch):
        rows = stacked(batch)
        if rows is not None:
            return wrap(rows)
    return collate([as_tensor(sample) for sample in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(
    batch: Sequence[Any], *, collate_fn_map: CollateFunctions | None = None
) -> Tensor:
    """NumPy's numbers as a tensor."""
    return as_tensor(np.array(batch) if len(set(map(type, batch))) == 1 else list(batch))


def collate_float_fn(
    batch: Sequence[float], *, collate_fn_map: CollateFunctions | None = None
) -> Tensor:
    """Floats as a tensor of float64."""
    if set(map(type, batch)) == {float}:
        return wrap(np.array(batch))
    return tensor(batch, dtype=dtypes.float64)


def collate_int_fn(
    batch: Sequence[int], *, collate_fn_map: CollateFunctions | None = None
) -> Tensor:
    """Ints (and bools) as a tensor."""
    if set(map(type, batch)) == {int}:
        with contextlib.suppress(OverflowError):
            return wrap(np.array(batch, np.int64))
    return tensor(batch)


def collate_str_fn(batch: Any, *, collate_fn_map: CollateFunctions | None = None) -> Any:
    """Text stays as it is."""
    return batch


#: What `default_collate` does with each type; entries may be added.
default_collate_fn_map: CollateFunctions = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_collate(batch: Any) -> Any:
    """Samples stacked along a new first dimension: tensors, arrays and numbers, inside dicts, tuples and lists.

    Raises RuntimeError where samples differ in length or shape, TypeError for a type that can't be batched (see
    `default_collate_fn_map`).

    >>> from rushlight.utils.data import default_collate
    >>> default_collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.], dtype=torch.float64)]
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


# -- containers of the user's own classes ----------------------------------------------------------


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


__all__ = [
    "collate", "collate_float_fn", "collate_int_fn", "collate_numpy_array_fn", "collate_numpy_scalar_fn",
    "collate_str_fn", "collate_tensor_fn", "default_collate", "default_collate_fn_map", "default_convert",
]  # fmt: skip
