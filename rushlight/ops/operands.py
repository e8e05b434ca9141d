"""What bodies of ops do with their operands before they call primitives: promotion, casts, dims, numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.core.dtypes import BFLOAT16, BOOL, FLOATING, INEXACT, INTEGRAL
from rushlight.primitives.structural import cast
from rushlight.tensor.nested import check_range
from rushlight.tensor.promotion import result_dtype

Array = Any

#: Numbers whose values are known; others are hyper-parameters of a program that is being traced.
PLAIN = (int, float, np.generic)


def to(x: Array, dtype: np.dtype[Any]) -> Array:
    """The array in another dtype; itself if it has that dtype."""
    return x if x.dtype is dtype or x.dtype == dtype else cast(x, dtype=dtype)


def number(value: Any, dtype: np.dtype[Any]) -> Any:
    """A Python number as an operand beside arrays of `dtype`: rounded or wrapped into it as torch does."""
    if dtype is BFLOAT16:
        return BFLOAT16.type(value) if isinstance(value, PLAIN) else value
    if dtype in INTEGRAL:
        if dtype == BOOL:
            return bool(value)
        value = int(value)
        bits = dtype.itemsize * 8
        value &= (1 << bits) - 1
        return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value
    return value


_largest: dict[Any, float] = {}


def largest_of(dtype: np.dtype[Any]) -> float:
    """The largest finite number of a floating dtype."""
    found = _largest.get(dtype)
    if found is None:
        found = _largest[dtype] = dtypes.finfo(dtypes.of_numpy(dtype)).max
    return found


def fitting(value: Any, dtype: np.dtype[Any]) -> Any:
    """A Python number that is to fill arrays of `dtype`; RuntimeError where the dtype can't hold it."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise OverflowError(f"int too big to convert: {value} needs more than 64 bits")
    if dtype in INTEGRAL:
        if dtype != BOOL:
            check_range((value,), dtype)
        return number(value, dtype)
    if dtype in FLOATING:
        if isinstance(value, complex):
            if value.imag != 0:
                raise RuntimeError(
                    f"value cannot be converted to type {dtype.name} without overflow: {value} is complex"
                )
            value = value.real
        if abs(value) > largest_of(dtype) and math.isfinite(value):
            raise RuntimeError(
                f"value cannot be converted to type {dtype.name} without overflow: {value} is too large"
            )
    return number(value, dtype)


def convert(x: Any, dtype: np.dtype[Any]) -> Any:
    """An operand, array or number, in `dtype`."""
    if hasattr(x, "dtype"):
        return x if x.dtype is dtype or x.dtype == dtype else cast(x, dtype=dtype)
    return number(x, dtype)


def promote(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands in their common dtype. At least one must be an array; a number stays a number."""
    da, db = getattr(a, "dtype", None), getattr(b, "dtype", None)
    if da is db and da is not None:
        return a, b
    if (
        db is None and type(b) is float and da in INEXACT and da is not BFLOAT16
    ):  # the usual `x * 0.5`
        return a, b
    dtype = result_dtype((a, b))
    if da is None and db is None:
        return np.asarray(a, dtype), np.asarray(b, dtype)
    return convert(a, dtype), convert(b, dtype)


def promote_all(*operands: Any) -> list[Any]:
    """Several operands in their common dtype."""
    dtype = result_dtype(operands)
    return [convert(o, dtype) for o in operands]


def to_float(x: Array) -> Array:
    """Integers and bools in the default floating dtype; others as they are."""
    return x if x.dtype in INEXACT else cast(x, dtype=dtypes.get_default_dtype().numpy)


def promote_to_float(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands in their common floating or complex dtype."""
    dtype = result_dtype((a, b))
    if dtype not in INEXACT:
        dtype = dtypes.get_default_dtype().numpy
    if not hasattr(a, "dtype") and not hasattr(b, "dtype"):
        return np.asarray(a, dtype), np.asarray(b, dtype)
    return convert(a, dtype), convert(b, dtype)


def sequence(values: tuple[Any, ...]) -> tuple[int, ...]:
    """The ints of a variadic argument: `f(2, 3)`, `f((2, 3))` and `f([2, 3])` are the same."""
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        values = tuple(values[0])
    try:
        return tuple(v.__index__() for v in values)
    except AttributeError:
        bad = next(v for v in values if not hasattr(v, "__index__"))
        raise TypeError(
            f"sizes and dimensions must be ints, but found {type(bad).__name__}"
        ) from None
