"""Reductions along axes. 16-bit floats are summed in float32 and rounded once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from rushlight.core import shapes
from rushlight.core.dtypes import BOOL, FLOAT32, FLOATING, HALF, INT64, accumulator_of
from rushlight.primitives.primitive import Aval, primitive

if TYPE_CHECKING:
    from rushlight.primitives.primitive import PrimitiveCall

Array = Any


def _reduction(
    name: str, result: Callable[[np.dtype[Any]], np.dtype[Any]], *, of_empty: bool = True
) -> PrimitiveCall:
    """Declares a reduction along `axes` with its rule; its reference follows."""
    declared = primitive(name, params=("axes", "keepdim"), checked=not of_empty)

    @declared.define_rule
    def _(x: Any, *, axes: tuple[int, ...], keepdim: bool) -> Aval:
        if not of_empty and any(x.shape[a] == 0 for a in axes):
            raise RuntimeError(
                f"{name[7:]}: dimension of size 0 has no elements to choose from in shape "
                f"{tuple(x.shape)}"
            )
        return Aval(shapes.reduced(x.shape, axes, keepdim), result(x.dtype))

    return declared


def _same(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype


def _boolean(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return BOOL


reduce_sum = _reduction("reduce_sum", _same)
reduce_prod = _reduction("reduce_prod", _same)
reduce_max = _reduction("reduce_max", _same, of_empty=False)
reduce_min = _reduction("reduce_min", _same, of_empty=False)
reduce_all = _reduction("reduce_all", _boolean)
reduce_any = _reduction("reduce_any", _boolean)
argmax = primitive("argmax", params=("axis",))
argmin = primitive("argmin", params=("axis",))


@reduce_sum.define_reference
def _(xp: Any, x: Array, *, axes: tuple[int, ...], keepdim: bool) -> Array:
    if x.dtype in HALF:
        return xp.add.reduce(x, axes, np.float32, None, keepdim).astype(x.dtype)
    return xp.add.reduce(x, axes, x.dtype, None, keepdim)


@reduce_prod.define_reference
def _(xp: Any, x: Array, *, axes: tuple[int, ...], keepdim: bool) -> Array:
    return xp.multiply.reduce(x, axes, accumulator_of(x.dtype), None, keepdim).astype(
        x.dtype, copy=False
    )


@reduce_max.define_reference
def _(xp: Any, x: Array, *, axes: tuple[int, ...], keepdim: bool) -> Array:
    return xp.maximum.reduce(x, axes, None, None, keepdim)


@reduce_min.define_reference
def _(xp: Any, x: Array, *, axes: tuple[int, ...], keepdim: bool) -> Array:
    return xp.minimum.reduce(x, axes, None, None, keepdim)


@reduce_all.define_reference
def _(xp: Any, x: Array, *, axes: tuple[int, ...], keepdim: bool) -> Array:
    return xp.logical_and.reduce(x != 0 if x.dtype != BOOL else x, axes, None, None, keepdim)


@reduce_any.define_reference
def _(xp: Any, x: Array, *, axes: tuple[int, ...], keepdim: bool) -> Array:
    return xp.logical_or.reduce(x != 0 if x.dtype != BOOL else x, axes, None, None, keepdim)


def _position(x: Any, *, axis: int) -> Aval:
    if x.shape[axis] == 0:
        raise IndexError(
            f"argmax/argmin: expected reduction dim {axis} to have non-zero size, shape "
            f"{tuple(x.shape)}"
        )
    return Aval(shapes.reduced(x.shape, (axis,), False), INT64)


def _wide(x: Array) -> Array:
    return x.astype(FLOAT32) if x.dtype in HALF else x


argmax.define_rule(_position)
argmin.define_rule(_position)


@argmax.define_reference
def _(xp: Any, x: Array, *, axis: int) -> Array:
    return xp.argmax(_wide(x), axis)


@argmin.define_reference
def _(xp: Any, x: Array, *, axis: int) -> Array:
    return xp.argmin(_wide(x), axis)


# -- cumulative ------------------------------------------------------------------------------------

cumulative_sum = primitive("cumulative_sum", params=("axis",))
cumulative_product = primitive("cumulative_product", params=("axis",))
cumulative_max = primitive("cumulative_max", params=("axis",), outputs=2)
cumulative_min = primitive("cumulative_min", params=("axis",), outputs=2)


def _same_shape(x: Any, *, axis: int) -> Aval:
    return Aval(x.shape, x.dtype)


def _with_places(x: Any, *, axis: int) -> tuple[Aval, Aval]:
    return Aval(x.shape, x.dtype), Aval(x.shape, INT64)


cumulative_sum.define_rule(_same_shape)
cumulative_product.define_rule(_same_shape)
cumulative_max.define_rule(_with_places)
cumulative_min.define_rule(_with_places)


@cumulative_sum.define_reference
def _(xp: Any, x: Array, *, axis: int) -> Array:
    return xp.cumsum(x, axis, accumulator_of(x.dtype)).astype(x.dtype, copy=False)


@cumulative_product.define_reference
def _(xp: Any, x: Array, *, axis: int) -> Array:
    return xp.cumprod(x, axis, accumulator_of(x.dtype)).astype(x.dtype, copy=False)


def _running(xp: Any, x: Array, axis: int, extreme: Any, reaches: Any) -> tuple[Array, Array]:
    values = extreme.accumulate(x, axis)
    nan = xp.isnan(x) if x.dtype in FLOATING else False
    shape = [1] * x.ndim
    shape[axis] = -1
    places = xp.arange(x.shape[axis]).reshape(shape)
    # An element is the newest extreme where it equals the running value (NaN stays once it came).
    places = xp.where(reaches(x, values) | nan, places, 0)
    return values, xp.maximum.accumulate(places, axis).astype(np.int64)


@cumulative_max.define_reference
def _(xp: Any, x: Array, *, axis: int) -> tuple[Array, Array]:
    return _running(xp, x, axis, xp.maximum, xp.greater_equal)


@cumulative_min.define_reference
def _(xp: Any, x: Array, *, axis: int) -> tuple[Array, Array]:
    return _running(xp, x, axis, xp.minimum, xp.less_equal)


cumulative_logsumexp = primitive("cumulative_logsumexp", params=("axis",))
decayed_sum = primitive("decayed_sum", params=("axis", "backward"))

cumulative_logsumexp.define_rule(_same_shape)


@cumulative_logsumexp.define_reference
def _(xp: Any, x: Array, *, axis: int) -> Array:
    if x.dtype.kind != "c":
        return xp.logaddexp.accumulate(_wide(x), axis).astype(x.dtype, copy=False)
    out = xp.moveaxis(x.copy(), axis, 0)
    for before, here in pairwise(out):
        top = xp.where(before.real > here.real, before, here)
        # Where all is 0 so far, top is -inf: exp(-inf - -inf) would be NaN.
        there = xp.isfinite(top)
        ends = (xp.exp(xp.where(there, a - top, -xp.inf)) for a in (before, here))
        here[...] = xp.where(there, top + xp.log(sum(ends)), top)
    return xp.moveaxis(out, 0, axis)


@decayed_sum.define_rule
def _(x: Any, decay: Any, *, axis: int, backward: bool) -> Aval:
    return Aval(x.shape, x.dtype)


@decayed_sum.define_reference
def _(xp: Any, x: Array, decay: Array, *, axis: int, backward: bool) -> Array:
    """y[i] = x[i] + decay[i] * y[i - 1]; `backward`: + decay[i] * y[i + 1]."""
    out = x.copy()
    sums, factors = xp.moveaxis(out, axis, 0), xp.moveaxis(decay, axis, 0)
    if backward:
        sums, factors = sums[::-1], factors[::-1]
    for i in range(1, len(sums)):
        sums[i] += factors[i] * sums[i - 1]
    return out
