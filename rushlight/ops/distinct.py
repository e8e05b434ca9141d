"""What differs: unique and unique_consecutive.

The shapes of their results depend on the elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.core import shapes
from rushlight.core.dtypes import FLOAT32, HALF, INT64
from rushlight.ops.declare import Array, Bad, Sample, op


def _rows(x: Array, dim: int, name: str) -> tuple[Array, int]:
    """The parts along `dim` as rows of a matrix."""
    axis = shapes.dimension(dim, x.ndim)
    if not x.ndim:
        return x.reshape(1, 1), 0
    if 0 in x.shape[:axis] + x.shape[axis + 1 :]:
        raise RuntimeError(
            f"{name}: There are 0 sized dimensions, and they aren't selected, so unique cannot be "
            "applied: shape "
            f"{list(x.shape)}, dim {axis}"
        )
    moved = np.moveaxis(x, axis, 0)
    width = shapes.size_of(moved.shape[1:])
    return moved.reshape(len(moved), width), axis


def _begins(rows: Array) -> Array:
    """Where a row differs from the one before it."""
    begins = np.ones(len(rows), bool)
    begins[1:] = (rows[1:] != rows[:-1]).any(1)
    return begins


def _answer(x: Array, kept: Array, inverse: Any, counts: Any, wanted: tuple[bool, bool]) -> Any:
    if not any(wanted):
        return kept
    found = [kept]
    if wanted[0]:
        found.append(inverse.astype(INT64))
    if wanted[1]:
        found.append(counts.astype(INT64))
    return tuple(found)


def _parts(x: Array, rows: Array, places: Array, axis: int, dim: Any) -> Array:
    """The parts of x at `places`: elements of the flat x, or its parts along the axis."""
    if dim is None or not x.ndim:
        return rows[places, 0].reshape(-1)
    return np.take(x, places, axis)


def _prepared(x: Array, dim: Any, name: str) -> tuple[Array, int]:
    return (x.reshape(-1, 1), 0) if dim is None else _rows(x, dim, name)


def _counts(begins: Array) -> Array:
    return np.diff(np.append(np.flatnonzero(begins), len(begins)))


@op(method=True, differentiable=False, traceable=False)
def unique(
    input: Array,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements in order (or the different parts along `dim`).

    `return_inverse` adds where each element of the input is among them, `return_counts` how often
    each occurs.
    NaN differs from everything, itself too. Raises RuntimeError for empty parts.

    >>> import rushlight
    >>> rushlight.unique(rushlight.tensor([3, 1, 3]), return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    rows, axis = _prepared(input, dim, "unique")
    keys = rows.astype(FLOAT32) if rows.dtype in HALF else rows
    if dim is None:
        order = np.argsort(keys[:, 0], kind="stable")
    else:
        order = np.lexsort(keys.T[::-1]) if len(keys) else np.zeros(0, INT64)
    begins = _begins(keys[order])
    inverse = np.empty(len(rows), INT64)
    inverse[order] = np.cumsum(begins) - 1
    kept = _parts(input, rows, order[begins], axis, dim)
    if dim is None:
        inverse = inverse.reshape(input.shape)
    return _answer(input, kept, inverse, _counts(begins), (return_inverse, return_counts))


@op(method=True, differentiable=False, traceable=False)
def unique_consecutive(
    input: Array, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements (or the parts along `dim`) that differ from the one before.

    >>> import rushlight
    >>> rushlight.unique_consecutive(rushlight.tensor([1, 1, 2, 1]))
    tensor([1, 2, 1])
    """
    rows, axis = _prepared(input, dim, "unique_consecutive")
    begins = _begins(rows)
    inverse = np.cumsum(begins) - 1
    kept = _parts(input, rows, np.flatnonzero(begins), axis, dim)
    if dim is None:
        inverse = inverse.reshape(input.shape)
    return _answer(input, kept, inverse, _counts(begins), (return_inverse, return_counts))


def _unique_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(3, 4, high=3))
    yield Sample(make.ints(8, high=3), return_inverse=True, return_counts=True)
    yield Sample(make.ints(5, 2, high=2), return_inverse=True, return_counts=True, dim=0)
    yield Sample(make.ints(2, 5, high=2), return_counts=True, dim=1)
    yield Sample(make.bools(6))
    yield Sample(make(()))
    yield Sample(make(0, 2), dim=0)
    yield Bad(make(2, 0), dim=0, raises=RuntimeError, says="0 sized dimensions")


unique.samples(_unique_samples)
unique_consecutive.samples(_unique_samples)
