"""Order: sorts, elements by position along an axis, positions by value."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core.dtypes import BOOL, FLOAT32, HALF, INT64
from rushlight.core.shapes import size_of
from rushlight.primitives.primitive import Aval, primitive

Array = Any

sort = primitive("sort", params=("axis", "descending", "stable"), outputs=2)
take_along = primitive("take_along", params=("axis",))
add_along = primitive("add_along", params=("axis", "size"))
searchsorted = primitive("searchsorted", params=("right", "dtype"))


@sort.define_rule
def _(x: Any, *, axis: int, descending: bool, stable: bool) -> tuple[Aval, Aval]:
    return Aval(x.shape, x.dtype), Aval(x.shape, INT64)


@sort.define_reference
def _(xp: Any, x: Array, *, axis: int, descending: bool, stable: bool) -> tuple[Array, Array]:
    keys = (
        x.astype(FLOAT32)
        if x.dtype in HALF
        else x.view(np.uint8)
        if x.dtype == BOOL and x.flags.c_contiguous
        else x
    )
    if descending:  # equal elements keep their order: sort what is reversed, and reverse the result
        last = x.shape[axis] - 1
        order = last - xp.flip(xp.argsort(xp.flip(keys, axis), axis, kind="stable"), axis)
    else:
        order = xp.argsort(keys, axis, kind="stable")
    return xp.take_along_axis(x, order, axis), order.astype(np.int64, copy=False)


@take_along.define_rule
def _(x: Any, places: Any, *, axis: int) -> Aval:
    return Aval(places.shape, x.dtype)


@take_along.define_reference
def _(xp: Any, x: Array, places: Array, *, axis: int) -> Array:
    return xp.take_along_axis(x, places, axis)


@add_along.define_rule
def _(values: Any, places: Any, *, axis: int, size: int) -> Aval:
    return Aval((*values.shape[:axis], size, *values.shape[axis + 1 :]), values.dtype)


@add_along.define_reference
def _(xp: Any, values: Array, places: Array, *, axis: int, size: int) -> Array:
    out = xp.zeros((*values.shape[:axis], size, *values.shape[axis + 1 :]), values.dtype)
    where = list(xp.indices(values.shape, sparse=True))
    where[axis] = places
    xp.add.at(out, tuple(where), values)
    return out


@searchsorted.define_rule
def _(edges: Any, values: Any, *, right: bool, dtype: np.dtype[Any]) -> Aval:
    return Aval(values.shape, dtype)


@searchsorted.define_reference
def _(xp: Any, edges: Array, values: Array, *, right: bool, dtype: np.dtype[Any]) -> Array:
    side = "right" if right else "left"
    if edges.ndim == 1:
        return xp.searchsorted(edges, values, side).astype(dtype, copy=False)
    count = size_of(edges.shape[:-1])
    rows, wanted = edges.reshape(count, edges.shape[-1]), values.reshape(count, values.shape[-1])
    out = xp.empty(wanted.shape, dtype)
    for i, (row, value) in enumerate(zip(rows, wanted, strict=True)):
        out[i] = xp.searchsorted(row, value, side)
    return out.reshape(values.shape)
