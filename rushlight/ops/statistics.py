"""Statistics by rank: median, nanmedian, mode, quantile, nanquantile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.core import shapes
from rushlight.core.dtypes import FLOAT32, FLOAT64, FLOATING, INT64, of_numpy
from rushlight.ops.arithmetic import in_dtype, lerp
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.element_tests import isnan
from rushlight.ops.orders import movedim
from rushlight.ops.pointwise import ceil, floor, round
from rushlight.ops.positions import check_ordered, pick, shared_by_ties
from rushlight.ops.reduction import any, sum
from rushlight.ops.reshaping import expand, to_shape
from rushlight.ops.selection import choose
from rushlight.ops.sorting import at_rank, ranked_gradient, sort
from rushlight.ops.triangles import zeros_of
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.reduction import argmax as p_argmax
from rushlight.primitives.reduction import cumulative_max, reduce_sum
from rushlight.primitives.sorting import sort as p_sort
from rushlight.primitives.sorting import take_along

# -- the middle ------------------------------------------------------------------------------------


def _axis(name: str, x: Array, dim: int) -> tuple[int, int]:
    """The axis, and how many elements there are along it; IndexError if none."""
    check_ordered(name, x)
    axis = shapes.dimension(dim, x.ndim)
    size = x.shape[axis] if x.ndim else 1
    if not size:
        raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")
    return axis, size


@op(function=False, outputs=("values", "indices"), result="median", node="MedianBackward1")
def median_along(input: Array, dim: int, keepdim: bool = False) -> Any:
    """`median` along one dimension."""
    axis, size = _axis("median", input, dim)
    values, indices = at_rank(input, axis, (size - 1) // 2, bool(keepdim))
    if input.dtype not in FLOATING or not input.ndim:
        return values, indices
    last, last_at = at_rank(
        input, axis, size - 1, bool(keepdim)
    )  # NaN, if there is one, is the largest
    nan = p.is_nan(last)
    return s.select(nan, last, values), s.select(nan, last_at, indices)


@op(function=False, outputs=("values", "indices"), result="nanmedian", node="NanmedianBackward1")
def nanmedian_along(input: Array, dim: int, keepdim: bool = False) -> Any:
    """`nanmedian` along one dimension."""
    axis, _ = _axis("nanmedian", input, dim)
    if input.dtype not in FLOATING or not input.ndim:
        return median_along.op.body(input, dim, keepdim)
    values, indices = p_sort(input, axis=axis, descending=False, stable=True)
    there = s.cast(p.logical_not(p.is_nan(input)), dtype=INT64)
    count = reduce_sum(there, axes=(axis,), keepdim=True)
    rank = p.floor_divide(p.maximum(p.sub(count, 1), 0), 2)
    shape = shapes.reduced(input.shape, (axis,), bool(keepdim))
    return tuple(s.reshape(take_along(v, rank, axis=axis), shape=shape) for v in (values, indices))


median_along.gradient("input")(ranked_gradient)
nanmedian_along.gradient("input")(ranked_gradient)


def _middle(name: str, along: Any) -> Any:
    def whole(input: Array) -> Array:
        if not input.size:
            return s.full(float("nan"), shape=(), dtype=input.dtype)
        return along.op.body(s.reshape(input, shape=(input.size,)), 0, False)[0]

    whole.__name__ = f"{name}_all"
    whole.__doc__ = f"`{name}` of all elements."
    of_all = op(whole, function=False, node=f"{name.capitalize()}Backward0")

    @of_all.gradient("input")
    def _(grad: Array, input: Array, out: Array) -> Array:
        return shared_by_ties(grad, input, out, None, False)

    def body(input: Array, dim: int | None = None, keepdim: bool = False) -> Any:
        return of_all(input) if dim is None else along(input, dim, keepdim)

    nan = "elements that are NaN do not count" if name.startswith("nan") else "NaN if there is one"
    body.__name__ = name
    body.__doc__ = (
        f"The middle element (the lower of two), of all or along `dim` with its index; {nan}."
    )
    declared = op(body, method=True, composite=True)

    def along_samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 5), 1)
        yield Sample(make.distinct(3, 4), 0, True)
        yield Bad(make(2, 0), 1, raises=IndexError, says="non-zero size")

    @of_all.samples
    def all_samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 5))
        yield Sample(make.distinct(4))

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield from all_samples(make)
        yield from along_samples(make)

    along.samples(along_samples)
    return declared


median = _middle("median", median_along)
nanmedian = _middle("nanmedian", nanmedian_along)


# -- the most frequent -----------------------------------------------------------------------------


@op(method=True, outputs=("values", "indices"))
def mode(input: Array, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent element along `dim` (the smallest of several), and the last place of it.

    >>> import rushlight
    >>> rushlight.mode(rushlight.tensor([2, 1, 2, 1, 0])).values
    tensor(1)
    """
    axis, size = _axis("mode", input, dim)
    if not input.ndim:
        return s.copy(input), s.full(0, shape=(), dtype=INT64)
    values, indices = p_sort(input, axis=axis, descending=False, stable=True)
    starts, stops = [0] * input.ndim, list(input.shape)
    starts[axis], stops[axis] = 1, size - 1
    steps = (1,) * input.ndim
    later = s.slice_(values, starts=tuple(starts), stops=input.shape, steps=steps)
    earlier = s.slice_(values, starts=(0,) * input.ndim, stops=tuple(stops), steps=steps)
    first = s.full(True, shape=shapes.reduced(input.shape, (axis,), True), dtype=np.dtype(bool))
    begins = s.concatenate(first, p.not_equal(later, earlier), axis=axis)
    along = [1] * input.ndim
    along[axis] = size
    place = s.reshape(s.iota(length=size, dtype=INT64), shape=tuple(along))
    # How far each element is from the beginning of its run: the longest run is the one that gets
    # furthest first.
    begin, _ = cumulative_max(s.select(begins, place, 0), axis=axis)
    at = s.reshape(p_argmax(p.sub(place, begin), axis=axis), shape=first.shape)
    shape = shapes.reduced(input.shape, (axis,), bool(keepdim))
    return tuple(s.reshape(take_along(v, at, axis=axis), shape=shape) for v in (values, indices))


mode.gradient("input")(ranked_gradient)


@mode.samples
def mode_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(3, 6, high=3), 1)
    yield Sample(make.ints(3, 6, high=2), 0, True)
    yield Sample(make.distinct(4, 2), 0)
    yield Sample(make(()))
    yield Bad(make(0), raises=IndexError, says="non-zero size")


# -- quantiles -------------------------------------------------------------------------------------


def _shares(q: Any, x: Any, name: str) -> Any:
    """The shares q as a vector in the dtype of x, checked."""
    if not hasattr(q, "dtype"):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        return zeros_of(x, (1,)) + float(q)
    if q.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if q.dtype != x.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    values = getattr(q, "_array", q)
    if isinstance(values, np.ndarray) and not ((values >= 0) & (values <= 1)).all():
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    return to_shape(q, (shapes.size_of(tuple(q.shape)),))


_BETWEEN = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(x: Any, q: Any, dim: Any, keepdim: bool, between: str, name: str) -> Any:
    shape = tuple(x.shape)
    dtype = getattr(x, "_array", x).dtype
    if dtype not in (FLOAT32, FLOAT64):
        raise RuntimeError(
            f"{name}() input tensor must be either float or double dtype, not {of_numpy(dtype)}"
        )
    if not shapes.size_of(shape):
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if between not in _BETWEEN:
        raise RuntimeError(
            f"{name}() interpolation must be one of {', '.join(_BETWEEN)}, but got {between}"
        )
    shares = _shares(q, x, name)
    if dim is None:
        axis, rows = 0, to_shape(x, (shapes.size_of(shape),))
    else:
        axis = shapes.dimension(dim, len(shape))
        rows = movedim(x, axis, -1) if shape else to_shape(x, (1,))
    ordered = sort(rows, -1)[0]
    size = tuple(rows.shape)[-1]
    if name == "nanquantile":
        last = in_dtype(sum(~isnan(rows), -1, True) - 1, dtype)
        rank = shares * choose(last < 0, 0, last)
    else:
        rank = choose(any(isnan(rows), -1, True), size - 1, shares * (size - 1))
    rank = expand(rank, (*tuple(rows.shape)[:-1], shares.shape[0]))
    if between == "nearest":
        rank = round(rank)
    low = ceil(rank) if between == "higher" else floor(rank)
    value = pick(ordered, in_dtype(low, INT64), ordered.ndim - 1)
    if between in ("linear", "midpoint"):
        above = pick(ordered, in_dtype(ceil(rank), INT64), ordered.ndim - 1)
        value = lerp(value, above, rank - low if between == "linear" else 0.5)
    value = movedim(value, -1, 0)
    if keepdim:
        wide = (1,) * len(shape) if dim is None else shapes.reduced(shape, (axis,), True)
        value = to_shape(value, (shares.shape[0], *wide))
    elif not shape:
        value = to_shape(value, (shares.shape[0],))
    return value if hasattr(q, "dtype") and q.ndim else to_shape(value, tuple(value.shape)[1:])


@op(method=True, composite=True)
def quantile(
    input: Array,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Array:
    """The values below which a share q of the elements lies.

    q is a number, or a vector: then there is one result for each, along a new first dimension.

    `interpolation` between two elements: "linear", "lower", "higher", "midpoint" or "nearest".

    >>> import rushlight
    >>> rushlight.quantile(rushlight.tensor([1.0, 2.0, 4.0]), 0.75)
    tensor(3.)
    """
    return _quantile(input, q, dim, keepdim, interpolation, "quantile")


@op(method=True, composite=True)
def nanquantile(
    input: Array,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Array:
    """As `quantile`, of the elements that are not NaN."""
    return _quantile(input, q, dim, keepdim, interpolation, "nanquantile")


def _quantile_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), 0.4)
    yield Sample(make.distinct(3, 4), 0.6, 1, True)
    yield Sample(make.distinct(3, 4), make(2, low=0.1, high=0.15), 0)
    yield Sample(make.distinct(3, 4), 0.3, 0, interpolation="midpoint")
    yield Sample(make(()), 0.3)
    yield Bad(make(3), 1.5, raises=RuntimeError, says="range [0, 1]")
    yield Bad(
        make(3), 0.5, interpolation="up", raises=RuntimeError, says="interpolation must be one of"
    )


quantile.samples(_quantile_samples)
nanquantile.samples(_quantile_samples)
