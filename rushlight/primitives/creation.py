"""Primitives that make arrays out of nothing but parameters, and copies in a given memory order."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core.shapes import size_of
from rushlight.primitives.primitive import Aval, primitive

contiguous_copy = primitive("contiguous_copy")
triangle_indices = primitive(
    "triangle_indices", params=("rows", "columns", "offset", "upper", "dtype")
)
strided_zeros = primitive("strided_zeros", params=("shape", "strides", "dtype"))


@contiguous_copy.define_rule
def _(x: Any) -> Aval:
    return Aval(x.shape, x.dtype)


@contiguous_copy.define_reference
def _(xp: Any, x: Any) -> Any:
    return x.copy("C")


def triangle_size(rows: int, columns: int, offset: int, upper: bool) -> int:
    """How many places of a matrix lie on or below (above) the diagonal `offset`."""
    below = sum(min(max(r + offset + (0 if upper else 1), 0), columns) for r in range(rows))
    return rows * columns - below if upper else below


@triangle_indices.define_rule
def _(*, rows: int, columns: int, offset: int, upper: bool, dtype: np.dtype[Any]) -> Aval:
    return Aval((2, triangle_size(rows, columns, offset, upper)), dtype)


@triangle_indices.define_reference
def _(xp: Any, *, rows: int, columns: int, offset: int, upper: bool, dtype: np.dtype[Any]) -> Any:
    distance = xp.arange(columns) - xp.arange(rows)[:, None]
    return xp.stack(xp.nonzero(distance >= offset if upper else distance <= offset)).astype(dtype)


@strided_zeros.define_rule
def _(*, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]) -> Aval:
    return Aval(shape, dtype)


@strided_zeros.define_reference
def _(xp: Any, *, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    length = (
        1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if size_of(shape)
        else 0
    )
    memory = xp.zeros(length, dtype)
    return np.lib.stride_tricks.as_strided(
        memory, shape, tuple(step * dtype.itemsize for step in strides)
    )
