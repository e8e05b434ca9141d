"""Elements by integer indices along several axes at once: read, written, and added to.

take(x, *indices)            axes: the axis that each index array is for; the broadcast indices stand in place of
                             those axes (`front`: before all others)
put(x, values, *indices)     a copy of x with values there
put_add(x, values, *indices) a copy of x with values added there, repeated places counted
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core.dtypes import BOOL, FLOAT32, HALF, INT64
from rushlight.core.shapes import broadcast
from rushlight.core.traced import needs_values
from rushlight.primitives.primitive import Aval, primitive

Array = Any

take = primitive("take", params=("axes", "front"))
put = primitive("put", params=("axes", "front"))
put_add = primitive("put_add", params=("axes", "front"))
scatter_along = primitive("scatter_along", params=("axis", "how", "keep"))
nonzero = primitive("nonzero")
take_masked = primitive("take_masked")
put_masked = primitive("put_masked")


def _shape(x: Any, indices: Any, axes: tuple[int, ...], front: bool) -> tuple[int, ...]:
    found = broadcast(*(i.shape for i in indices))
    rest = [n for a, n in enumerate(x.shape) if a not in axes]
    if front:
        return (*found, *rest)
    return (*x.shape[: axes[0]], *found, *rest[axes[0] :])


@take.define_rule
def _(x: Any, *indices: Any, axes: tuple[int, ...], front: bool) -> Aval:
    return Aval(_shape(x, indices, axes, front), x.dtype)


@put.define_rule
def _(x: Any, values: Any, *indices: Any, axes: tuple[int, ...], front: bool) -> Aval:
    return Aval(x.shape, x.dtype)


put_add.define_rule(put.primitive.rule)


def _place(
    x: Array, indices: tuple[Array, ...], axes: tuple[int, ...], front: bool
) -> tuple[Any, ...]:
    """NumPy's index for these arrays. IndexError for one that is out of range."""
    for index, axis in zip(indices, axes):
        size = x.shape[axis]
        if index.size and (index.min() < -size or index.max() >= size):
            bad = index[(index < -size) | (index >= size)].flat[0]
            raise IndexError(f"index {bad} is out of bounds for dimension {axis} with size {size}")
    where: list[Any] = [slice(None)] * x.ndim
    for index, axis in zip(indices, axes):
        where[axis] = index
    return tuple(where)


def _moved(x: Array, axes: tuple[int, ...], front: bool) -> tuple[Array, tuple[int, ...]]:
    """With `front`, the indexed axes first, so that NumPy too puts the result there."""
    if not front:
        return x, axes
    order = (*axes, *(a for a in range(x.ndim) if a not in axes))
    return x.transpose(order), tuple(range(len(axes)))


@take.define_reference
def _(xp: Any, x: Array, *indices: Array, axes: tuple[int, ...], front: bool) -> Array:
    where = _place(x, indices, axes, front)
    if len(axes) == 1:
        return (
            xp.take(x, indices[0], axes[0]) if not front else xp.moveaxis(x, axes[0], 0)[indices[0]]
        )
    if not front:
        return x[where]
    moved, at = _moved(x, axes, front)
    return moved[_place(moved, indices, at, False)]


@put.define_reference
def _(
    xp: Any, x: Array, values: Array, *indices: Array, axes: tuple[int, ...], front: bool
) -> Array:
    _place(x, indices, axes, front)
    out = x.copy()
    moved, at = _moved(out, axes, front)
    moved[_place(moved, indices, at, False)] = values
    return out


@put_add.define_reference
def _(
    xp: Any, x: Array, values: Array, *indices: Array, axes: tuple[int, ...], front: bool
) -> Array:
    _place(x, indices, axes, front)
    out = x.astype(FLOAT32) if x.dtype in HALF else x.copy()
    shape = _shape(x, indices, axes, front)
    values = xp.broadcast_to(values, shape)
    if len(axes) == 1 and (axes[0] == 0) and x.ndim > 1:
        _add_rows(xp, out, values, indices[0])
    else:
        moved, at = _moved(out, axes, front)
        xp.add.at(moved, _place(moved, indices, at, False), values)
    return out.astype(x.dtype, copy=False)


def _add_rows(xp: Any, out: Array, values: Array, index: Array) -> None:
    """Adds rows at repeated places: sorted by place, then one sum for each. The gradient of an embedding."""
    rows = values.reshape(-1, int(np.prod(out.shape[1:], dtype=int)))
    flat = index.reshape(-1) % out.shape[0] if out.shape[0] else index.reshape(-1)
    if not flat.size or not rows.size:
        return
    order = xp.argsort(flat, kind="stable")
    ordered = flat[order]
    starts = xp.flatnonzero(xp.concatenate(([True], ordered[1:] != ordered[:-1])))
    sums = xp.add.reduceat(rows[order], starts, 0)
    out.reshape(out.shape[0], -1)[ordered[starts]] += sums


gather_along = primitive("gather_along", params=("axis",))


@gather_along.define_rule
def _(x: Any, index: Any, *, axis: int) -> Aval:
    return Aval(index.shape, x.dtype)


@gather_along.define_reference
def _(xp: Any, x: Array, index: Array, *, axis: int) -> Array:
    size = x.shape[axis]
    if index.size and (index.min() < 0 or index.max() >= size):
        bad = index[(index < 0) | (index >= size)].flat[0]
        raise RuntimeError(f"index {bad} is out of bounds for dimension {axis} with size {size}")
    return xp.take_along_axis(x, index, axis)


# -- along one axis -----------------------------------------------------------------------------------------


@scatter_along.define_rule
def _(x: Any, index: Any, values: Any, *, axis: int, how: str, keep: bool) -> Aval:
    return Aval(x.shape, x.dtype)


_UFUNCS = {
    "add": np.add,
    "sum": np.add,
    "multiply": np.multiply,
    "prod": np.multiply,
    "amax": np.maximum,
    "amin": np.minimum,
}


def _start(how: str, dtype: np.dtype[Any]) -> Any:
    """The element with which a reduction that leaves out the old value begins."""
    if how in ("add", "sum", "count"):
        return 0
    if how in ("multiply", "prod"):
        return 1
    if dtype == BOOL:
        return how == "amin"
    if dtype.kind in "iu":
        return np.iinfo(dtype).min if how == "amax" else np.iinfo(dtype).max
    return -np.inf if how == "amax" else np.inf


@scatter_along.define_reference
def _(xp: Any, x: Array, index: Array, values: Array, *, axis: int, how: str, keep: bool) -> Array:
    if not index.size:
        return x.copy()
    size = x.shape[axis] if x.ndim else 1
    if index.min() < 0 or index.max() >= size:
        bad = index[(index < 0) | (index >= size)].flat[0]
        raise RuntimeError(f"index {bad} is out of bounds for dimension {axis} with size {size}")
    if not x.ndim:
        x, index, values = x.reshape(1), index.reshape(1), xp.asarray(values).reshape(-1)
        return _scattered(xp, x, index, values, 0, how, keep).reshape(())
    return _scattered(xp, x, index, values, axis, how, keep)


def _scattered(
    xp: Any, x: Array, index: Array, values: Array, axis: int, how: str, keep: bool
) -> Array:
    out = x.astype(FLOAT32) if x.dtype in HALF else x.copy()
    where = list(xp.indices(index.shape, sparse=True))
    where[axis] = index
    place = tuple(where)
    values = xp.asarray(values)
    if values.shape != index.shape and values.ndim == index.ndim:
        values = values[tuple(slice(0, n) for n in index.shape)]
    if how == "set":
        out[place] = values
    else:
        if not keep:
            out[place] = _start(how, out.dtype)
        _UFUNCS[how].at(out, place, values)
    return out.astype(x.dtype, copy=False)


# -- masks: results whose shape depends on values -----------------------------------------------------------


@nonzero.define_rule
def _(x: Any) -> Aval:
    return Aval((int(np.count_nonzero(_values(x))), x.ndim), INT64)


def _values(x: Any) -> Array:
    if not isinstance(x, np.ndarray):
        raise needs_values("They decide the shape of a result.")
    return x


@nonzero.define_reference
def _(xp: Any, x: Array) -> Array:
    return xp.argwhere(x).astype(np.int64, copy=False)


@take_masked.define_rule
def _(x: Any, mask: Any) -> Aval:
    return Aval((int(np.count_nonzero(_values(mask))), *x.shape[mask.ndim :]), x.dtype)


@take_masked.define_reference
def _(xp: Any, x: Array, mask: Array) -> Array:
    return x[mask]


@put_masked.define_rule
def _(x: Any, values: Any, mask: Any) -> Aval:
    return Aval(x.shape, x.dtype)


@put_masked.define_reference
def _(xp: Any, x: Array, values: Array, mask: Array) -> Array:
    out = x.copy()
    out[mask] = values
    return out
