"""How a list of samples becomes a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from rushlight.core.dtypes import float64
from rushlight.ops.public import stack
from rushlight.tensor.exchange import as_tensor, tensor
from rushlight.tensor.tensor import Tensor


def default_convert(data: Any) -> Any:
    """NumPy arrays and numbers inside a sample as tensors; all else as it is.

    >>> import numpy
    >>> from rushlight.utils.data import default_convert
    >>> default_convert({"x": numpy.arange(2), "name": "a"})
    {'x': tensor([0, 1]), 'name': 'a'}
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, np.ndarray):
        return data if data.dtype.kind in "SUO" else as_tensor(data)
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


def collate(batch: Any, *, collate_fn_map: Mapping[Any, Callable[..., Any]] | None = None) -> Any:
    """`default_collate` by a table of one's own: type (or tuple of types) -> `f(batch, collate_fn_map=...)`.

    The type of the first sample is looked up itself, then by isinstance in the table's order; mappings,
    named tuples and sequences that are not in it are taken apart.
    """
    first = batch[0]
    table = collate_fn_map or {}
    found = table.get(type(first))
    if found is None:
        found = next((f for kinds, f in table.items() if isinstance(first, kinds)), None)
    if found is not None:
        return found(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, Mapping):
        joined = {
            key: collate([sample[key] for sample in batch], collate_fn_map=collate_fn_map)
            for key in first
        }
        return _like_mapping(first, joined)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        fields = zip(*batch, strict=True)
        return type(first)(*(collate(column, collate_fn_map=collate_fn_map) for column in fields))
    if isinstance(first, Sequence):
        lengths = sorted({len(sample) for sample in batch})
        if len(lengths) > 1:
            raise RuntimeError(
                f"each element in list of batch should be of equal size: there are samples of {lengths} elements; a "
                "collate_fn of your own may pad them"
            )
        columns = [
            collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch, strict=True)
        ]
        return columns if isinstance(first, tuple) else _like_sequence(first, columns)
    raise TypeError(_unfit(type(first)))


def default_collate(batch: Any) -> Any:
    """Samples stacked along a new first dimension: tensors, arrays and numbers, inside dicts, tuples and lists.

    Strings stay lists of strings. Raises RuntimeError where samples differ in length or shape, TypeError for a type
    that can't be batched. Types of one's own can be added to `default_collate_fn_map`.

    >>> from rushlight.utils.data import default_collate
    >>> default_collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.], dtype=torch.float64)]
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


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
    return stack(list(samples))


def _tensors(batch: Sequence[Tensor], *, collate_fn_map: Any = None) -> Any:
    return _stacked(batch)


def _arrays(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    if batch[0].dtype.kind in "SUO":
        raise TypeError(_unfit(batch[0].dtype))
    return collate([as_tensor(b) for b in batch], collate_fn_map=collate_fn_map)


def _numpy_scalars(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return as_tensor(np.asarray(batch))


def _floats(batch: Sequence[float], *, collate_fn_map: Any = None) -> Any:
    return tensor(batch, dtype=float64)


def _integers(batch: Sequence[int], *, collate_fn_map: Any = None) -> Any:
    return tensor(batch)


def _unchanged(batch: Any, *, collate_fn_map: Any = None) -> Any:
    return batch


#: What `default_collate` does with each type; a program may add its own.
default_collate_fn_map: dict[Any, Callable[..., Any]] = {
    Tensor: _tensors,
    np.ndarray: _arrays,
    (np.bool_, np.number, np.object_): _numpy_scalars,
    float: _floats,
    int: _integers,
    str: _unchanged,
    bytes: _unchanged,
}


def stacks_plainly() -> bool:
    """Whether the table still stacks tensors in the default way (a program may have changed it)."""
    return default_collate_fn_map.get(Tensor) is _tensors


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
