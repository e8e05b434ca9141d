"""Nested Python data as arrays: shapes judged level by level, dtypes inferred, numbers checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.core.dtypes import BFLOAT16, BOOL, COMPLEX, INT64
from rushlight.core.floating import quiet, restore
from rushlight.tensor.promotion import promote_dtypes
from rushlight.tensor.tensor import Tensor
from rushlight.tensor.values import values

ndarray = np.ndarray

_NUMBERS = frozenset((bool, int, float, complex))


def _shape_of(data: Any) -> tuple[int, ...]:
    """The shape that nested data has, judged by the first item of each level."""
    shape: list[int] = []
    while True:
        if isinstance(data, ndarray):
            return (*shape, *data.shape)
        if isinstance(data, (str, bytes)) or not _is_sequence(data):
            if isinstance(data, str) and shape:
                raise ValueError(f"too many dimensions 'str': {data!r} is no number")
            return tuple(shape)
        shape.append(len(data))
        if len(shape) > 64:
            raise ValueError("too many dimensions: a tensor has at most 64")
        if not len(data):
            return tuple(shape)
        data = data[0]


def _is_sequence(data: Any) -> bool:
    if isinstance(data, (list, tuple, range)):
        return True
    if isinstance(data, (Tensor, np.generic)) or hasattr(data, "keys"):
        return False
    return hasattr(data, "__getitem__") and hasattr(data, "__len__")


def _gather(
    data: Any, shape: tuple[int, ...], depth: int, leaves: list[Any], kinds: set[type]
) -> None:
    """Appends the leaves of nested data in order, and their types; errors where levels do not match
    `shape`.
    """
    if depth == len(shape):
        if isinstance(data, (list, tuple)):
            raise TypeError(
                f"'{type(data).__name__}' object cannot be interpreted as a number: the first "
                f"items of this level are numbers (dim {depth}), so all must be"
            )
        leaves.append(data)
        kinds.add(type(data))
        return
    if not _is_sequence(data) or isinstance(data, str):
        if isinstance(data, str):
            raise TypeError("new(): invalid data type 'str'")
        raise TypeError(
            f"not a sequence: found {type(data).__name__} at dim {depth}, where items of length "
            f"{shape[depth]} are"
        )
    if len(data) != shape[depth]:
        raise ValueError(
            f"expected sequence of length {shape[depth]} at dim {depth} (got {len(data)})"
        )
    if depth + 1 == len(shape) and isinstance(data, (list, tuple)):
        inner = set(map(type, data))
        if inner <= _NUMBERS:
            leaves.extend(data)
            kinds |= inner
            return
    for part in data:
        _gather(part, shape, depth + 1, leaves, kinds)


def _leaf_dtype(leaf: Any) -> Any:
    """The dtype that one leaf asks for; TypeError or RuntimeError for what is no number."""
    kind = type(leaf)
    if isinstance(leaf, (Tensor, ndarray)):
        return leaf._array.dtype if isinstance(leaf, Tensor) else dtypes.of_numpy(leaf.dtype).numpy
    if isinstance(leaf, np.generic):
        return dtypes.of_numpy(leaf.dtype).numpy
    return _kind_dtype(kind, leaf)


def _kind_dtype(kind: type, leaf: Any = None) -> Any:
    if issubclass(kind, bool):
        return BOOL
    if issubclass(kind, int):
        return INT64
    if issubclass(kind, float):
        return dtypes.get_default_dtype().numpy
    if issubclass(kind, complex):
        return dtypes.get_default_dtype().to_complex().numpy
    if issubclass(kind, str):
        raise TypeError("new(): invalid data type 'str'")
    if hasattr(kind, "__index__"):
        return INT64
    if hasattr(kind, "__float__"):
        return dtypes.get_default_dtype().numpy
    raise RuntimeError(f"Could not infer dtype of {kind.__name__}")


def _inferred(leaves: list[Any], kinds: set[type]) -> Any:
    found: Any = None
    wanted = (_kind_dtype(k) for k in kinds) if kinds <= _NUMBERS else map(_leaf_dtype, leaves)
    for dtype in wanted:
        found = dtype if found is None or found is dtype else promote_dtypes(found, dtype)
    return dtypes.get_default_dtype().numpy if found is None else found


def check_range(numbers: Any, target: np.dtype[Any]) -> None:
    """RuntimeError where a number does not fit the integer dtype; negatives may wrap in an unsigned
    one.
    """
    limits = np.iinfo(target)
    low = -int(limits.max) if target.kind == "u" else int(limits.min)
    for number in numbers:
        if isinstance(number, complex):
            if number.imag != 0:
                raise RuntimeError(
                    f"value cannot be converted to type {target.name} without overflow: {number} "
                    "is complex"
                )
            number = number.real
        if not math.isfinite(number) or not low <= int(number) <= int(limits.max):
            raise RuntimeError(
                f"value cannot be converted to type {target.name} without overflow: {number!r} is "
                f"not in [{int(limits.min)}, {int(limits.max)}]"
            )


def number_array(leaves: list[Any], target: np.dtype[Any]) -> Any:
    """A 1-d array of plain Python numbers in `target`, with torch's errors for those that do not
    fit.
    """
    if target.kind in "iu":
        for leaf in leaves:
            if isinstance(leaf, complex):
                raise TypeError(f"{leaf!r} is complex: it can't be stored as {target.name}")
        try:
            array = np.array([int(v) for v in leaves], np.int64)
        except (OverflowError, ValueError):
            if target.name == "uint64":
                check_range(leaves, target)
                return np.array([int(v) % 2**64 for v in leaves], np.uint64)
            if any(isinstance(v, int) and abs(v) >= 2**63 for v in leaves):
                raise ValueError(
                    "Overflow when unpacking long long: an int of the data needs more than 64 bits"
                ) from None
            check_range(leaves, target)
            raise
        if target is not INT64:
            limits = np.iinfo(target)
            low = -int(limits.max) if target.kind == "u" else int(limits.min)
            if array.size and (int(array.min()) < low or int(array.max()) > int(limits.max)):
                check_range(leaves, target)
        return array.astype(target)
    if target == BOOL:
        return np.array([bool(v) for v in leaves], BOOL)
    if target not in COMPLEX and any(type(v) is complex for v in leaves):
        raise TypeError(
            "must be real number, not complex: complex data needs a complex dtype, not "
            f"{target.name}"
        )
    return np.array(leaves, np.complex128 if target in COMPLEX else np.float64).astype(target)


def array_of(data: Any, target: Any = None) -> Any:
    """A new array of nested sequences, numbers, arrays and tensors, in `target` or the dtype they
    suggest.
    """
    shape = _shape_of(data)
    leaves: list[Any] = []
    kinds: set[type] = set()
    _gather(data, shape, 0, leaves, kinds)
    dtype = _inferred(leaves, kinds) if target is None or not kinds <= _NUMBERS else target
    if target is not None:
        dtype = target
    if not kinds <= _NUMBERS:
        leaves = [_python_number(leaf) for leaf in leaves]
    token = quiet()
    try:
        return number_array(leaves, dtype).reshape(shape)
    finally:
        restore(token)


def _python_number(leaf: Any) -> Any:
    if type(leaf) in _NUMBERS:
        return leaf
    if isinstance(leaf, Tensor):
        if leaf._array.size != 1:
            raise ValueError(
                "only one element tensors can be converted to Python scalars, not one of shape "
                f"{list(leaf.shape)}"
            )
        return (
            values(leaf, "tensor()").reshape(()).tolist()
            if leaf._array.dtype != BFLOAT16
            else float(leaf._array.reshape(()))
        )
    if isinstance(leaf, np.generic):
        return leaf.item() if leaf.dtype != BFLOAT16 else float(leaf)
    if isinstance(leaf, ndarray):
        return leaf.item()
    return leaf.__index__() if hasattr(leaf, "__index__") else float(leaf)
