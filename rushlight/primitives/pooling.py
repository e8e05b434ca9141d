"""Reductions of windows in any number of dimensions, and their adjoints.

    max_windows(x)            values, and the place of each in its window
    pick_windows(x, places)   the elements at given places of the windows
    place_windows(g, places)  its adjoint
    sum_windows(x)            sums
    spread_windows(g)         its adjoint

Windows have `size`, lie `stride` apart, and reach over `before` and `after` elements that are not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.core.dtypes import FLOAT32, FLOATING, HALF, INT64, UINT8
from rushlight.primitives.convolution import output_size
from rushlight.primitives.primitive import Aval, primitive

Array = Any
Sizes = tuple[int, ...]

_WHERE = ("size", "stride", "before", "after", "dilation")
max_windows = primitive("max_windows", params=_WHERE, outputs=2)
pick_windows = primitive("pick_windows", params=_WHERE)
place_windows = primitive("place_windows", params=(*_WHERE, "shape"))
sum_windows = primitive("sum_windows", params=_WHERE)
spread_windows = primitive("spread_windows", params=(*_WHERE, "shape"))


def _counts(
    shape: Sizes, size: Sizes, stride: Sizes, before: Sizes, after: Sizes, dilation: Sizes
) -> Sizes:
    rank = len(size)
    places = output_size(shape[len(shape) - rank :], size, stride, before, after, dilation)
    if min(places) < 1:
        raise RuntimeError(
            f"windows of size {list(size)} do not fit an input of size "
            f"{list(shape[len(shape) - rank :])}: the output size is too small"
        )
    return (*shape[: len(shape) - rank], *places)


def _place_dtype(size: Sizes) -> np.dtype[Any]:
    return UINT8 if math.prod(size) <= 256 else INT64


@max_windows.define_rule
def _(x: Any, **where: Any) -> tuple[Aval, Aval]:
    shape = _counts(x.shape, **where)
    return Aval(shape, x.dtype), Aval(shape, _place_dtype(where["size"]))


@pick_windows.define_rule
def _(x: Any, places: Any, **where: Any) -> Aval:
    return Aval(places.shape, x.dtype)


@sum_windows.define_rule
def _(x: Any, **where: Any) -> Aval:
    return Aval(_counts(x.shape, **where), x.dtype)


@place_windows.define_rule
def _(grad: Any, places: Any, *, shape: Sizes, **where: Any) -> Aval:
    return Aval(shape, grad.dtype)


@spread_windows.define_rule
def _(grad: Any, *, shape: Sizes, **where: Any) -> Aval:
    return Aval(shape, grad.dtype)


def _framed(x: Array, value: Any, before: Sizes, after: Sizes) -> Array:
    """The input with a border of `value`."""
    if not any(before) and not any(after):
        return x
    lead = x.ndim - len(before)
    shape = (*x.shape[:lead], *(b + n + a for b, n, a in zip(before, x.shape[lead:], after)))
    out = np.full(shape, value, x.dtype)
    inner: Any = (..., *(slice(b, b + n) for b, n in zip(before, x.shape[lead:])))
    out[inner] = x
    return out


def _cuts(size: Sizes, stride: Sizes, dilation: Sizes, places: Sizes) -> Iterator[tuple[Any, ...]]:
    """For each place in the window, the slices of the framed input that lie there."""
    for offset in np.ndindex(*size):
        yield (
            ...,
            *(
                slice(k * d, k * d + (p - 1) * s + 1, s)
                for k, d, p, s in zip(offset, dilation, places, stride)
            ),
        )


def _lowest(dtype: np.dtype[Any]) -> Any:
    if dtype in FLOATING:
        return -np.inf
    return np.iinfo(dtype).min if dtype.kind in "iu" else False


@max_windows.define_reference
def _(
    xp: Any, x: Array, *, size: Sizes, stride: Sizes, before: Sizes, after: Sizes, dilation: Sizes
) -> Any:
    dtype = x.dtype
    if dtype in HALF:
        x = x.astype(FLOAT32)
    shape = _counts(x.shape, size, stride, before, after, dilation)
    x = _framed(x, _lowest(x.dtype), before, after)
    best: Any = None
    places: Any = None
    nan = x.dtype in FLOATING and bool(np.isnan(np.min(x, initial=0)))
    for k, cut in enumerate(_cuts(size, stride, dilation, shape[len(shape) - len(size) :])):
        part = x[cut]
        if best is None:
            best, places = part.copy(), np.zeros(shape, _place_dtype(size))
            continue
        better = part > best
        if nan:
            better |= np.isnan(part)
        places[better] = k
        np.maximum(best, part, out=best)
    return best.astype(dtype, copy=False), places


@pick_windows.define_reference
def _(
    xp: Any,
    x: Array,
    places: Array,
    *,
    size: Sizes,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
) -> Any:
    x = _framed(x, 0, before, after)
    out = np.zeros(places.shape, x.dtype)
    for k, cut in enumerate(_cuts(size, stride, dilation, places.shape[places.ndim - len(size) :])):
        np.copyto(out, x[cut], where=places == k)
    return out


@place_windows.define_reference
def _(
    xp: Any,
    grad: Array,
    places: Array,
    *,
    size: Sizes,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
    shape: Sizes,
) -> Any:
    out, inside = _frame(shape, before, after, grad.dtype)
    apart = all(s >= d * (k - 1) + 1 for s, d, k in zip(stride, dilation, size))
    zero = grad.dtype.type(0)
    for k, cut in enumerate(_cuts(size, stride, dilation, grad.shape[grad.ndim - len(size) :])):
        here = np.where(places == k, grad, zero)
        if apart:
            out[cut] = here
        else:
            out[cut] += here
    return out[inside].astype(grad.dtype, copy=False)


def _frame(shape: Sizes, before: Sizes, after: Sizes, dtype: np.dtype[Any]) -> tuple[Array, Any]:
    """Zeros for the framed input, and where the input lies in it."""
    lead = len(shape) - len(before)
    framed = (*shape[:lead], *(b + n + a for b, n, a in zip(before, shape[lead:], after)))
    wide = FLOAT32 if dtype in HALF else dtype
    return np.zeros(framed, wide), (..., *(slice(b, b + n) for b, n in zip(before, shape[lead:])))


@sum_windows.define_reference
def _(
    xp: Any, x: Array, *, size: Sizes, stride: Sizes, before: Sizes, after: Sizes, dilation: Sizes
) -> Any:
    dtype = x.dtype
    shape = _counts(x.shape, size, stride, before, after, dilation)
    x = _framed(x, 0, before, after)
    out = np.zeros(shape, FLOAT32 if dtype in HALF else dtype)
    for cut in _cuts(size, stride, dilation, shape[len(shape) - len(size) :]):
        out += x[cut]
    return out.astype(dtype, copy=False)


@spread_windows.define_reference
def _(
    xp: Any,
    grad: Array,
    *,
    size: Sizes,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
    shape: Sizes,
) -> Any:
    out, inside = _frame(shape, before, after, grad.dtype)
    for cut in _cuts(size, stride, dilation, grad.shape[grad.ndim - len(size) :]):
        out[cut] += grad
    return out[inside].astype(grad.dtype, copy=False)
