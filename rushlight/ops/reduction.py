"""Reductions that weigh all elements alike: sum, mean, prod, var, std, all, any, count_nonzero."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes, shapes
from rushlight.core.dtypes import BOOL, COMPLEX, FLOAT32, FLOATING, HALF, INEXACT, INTEGRAL, UINT8
from rushlight.core.sites import warn_user
from rushlight.ops import links
from rushlight.ops import record as recording
from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.element_tests import isnan
from rushlight.ops.operands import promote, sequence, to
from rushlight.ops.reshaping import to_shape
from rushlight.ops.selection import choose
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.reduction import reduce_all, reduce_any, reduce_prod, reduce_sum


def spread(grad: Array, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Array:
    """The gradient of a reduction along `dim`, back in the input's shape."""
    axes = axes_of(dim, len(shape))
    kept = shapes.reduced(shape, axes, True)
    return links.show_steps(grad, ((s.reshape, {"shape": kept}), (s.expand, {"shape": shape})))


def kept(x: Array, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Array:
    """A reduction's result with its reduced dimensions as size 1."""
    if keepdim:
        return x
    return links.show_steps(
        x, ((s.reshape, {"shape": shapes.reduced(shape, axes_of(dim, len(shape)), True)}),)
    )


def axes_of(dim: Any, rank: int) -> tuple[int, ...]:
    """The axes of a reduction; None and an empty list are all."""
    if isinstance(dim, (tuple, list)) and not dim:
        dim = None
    return shapes.dimensions(dim, rank)


def count_along(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """How many elements each result of a reduction is made of."""
    return shapes.size_of(shape[a] for a in axes)


def widened(x: Array) -> Array:
    """16-bit floats in float32, in which they are summed; others as they are."""
    return s.cast(x, dtype=FLOAT32) if x.dtype in HALF else x


def _numbered(name: str) -> Any:
    """The names of nodes as in torch: Sum0 for all elements, Sum1 along a dimension."""
    return lambda node: f"{name}Backward{int(node._saved_dim is not None)}"


def _as_dtype(input: Array, dtype: Any) -> Array:
    """Summed in `dtype`, or in int64 if it is an integer or bool."""
    if dtype is not None:
        return to(input, dtypes.to_numpy(dtype))
    return to(input, dtypes.INT64) if input.dtype in INTEGRAL else input


def _samples(low: float = -2, high: float = 2) -> Any:
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make(3, 4, low=low, high=high))
        yield Sample(make(2, 3, 4, low=low, high=high), 1)
        yield Sample(make(2, 3, 4, low=low, high=high), (0, -1), True)
        yield Sample(make((), low=low, high=high))
        yield Bad(make(3, 4), 2, raises=IndexError, says="out of range")

    return samples


@op(method=True, node=_numbered("Sum"))
def sum(input: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The sum of all elements, or along `dim`; integers and bools are summed in int64.

    >>> import rushlight
    >>> rushlight.sum(rushlight.tensor([[1, 2], [3, 4]]), 0)
    tensor([4, 6])
    """
    x = _as_dtype(input, dtype)
    return reduce_sum(x, axes=axes_of(dim, x.ndim), keepdim=bool(keepdim))


@sum.gradient("input")
def sum_gradient(grad: Array, input_shape: tuple[int, ...], dim: Any, keepdim: bool) -> Array:
    return spread(grad, input_shape, dim, keepdim)


@sum.samples
def sum_samples(make: Any) -> Iterator[Any]:
    yield from _samples()(make)
    yield Sample(make(0, 3), 0)
    yield Sample(make.ints(3, 4), 1)


@op(method=True)
def nansum(input: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The sum with NaN counted as 0."""
    x = _as_dtype(input, dtype)
    if x.dtype in COMPLEX:
        raise RuntimeError(
            f"nansum on CPU does not support complex inputs: got {dtypes.of_numpy(x.dtype)}"
        )
    if x.dtype in FLOATING:
        x = s.select(p.is_nan(x), 0, x)
    return reduce_sum(x, axes=axes_of(dim, x.ndim), keepdim=bool(keepdim))


@nansum.gradient("input")
def nansum_gradient(grad: Array, input: Array, dim: Any, keepdim: bool) -> Array:
    return choose(isnan(input), 0, spread(grad, tuple(input.shape), dim, keepdim))


nansum.samples(_samples())


@op(method=True, node=_numbered("Mean"))
def mean(input: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The mean of all elements, or along `dim`.

    Raises RuntimeError for integers unless `dtype` says otherwise.
    """
    if dtype is not None:
        input = to(input, dtypes.to_numpy(dtype))
    if input.dtype not in INEXACT:
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or "
            "complex dtype. Got: "
            f"{recording.type_name(input.dtype)}. Call .float() first, or give dtype="
        )
    axes = axes_of(dim, input.ndim)
    total = reduce_sum(widened(input), axes=axes, keepdim=bool(keepdim))
    return to(p.div(*promote(total, float(count_along(input.shape, axes)))), input.dtype)


@mean.gradient("input")
def mean_gradient(grad: Array, input_shape: tuple[int, ...], dim: Any, keepdim: bool) -> Array:
    count = count_along(input_shape, axes_of(dim, len(input_shape)))
    return spread(grad / count if count else grad, input_shape, dim, keepdim)


@mean.samples
def mean_samples(make: Any) -> Iterator[Any]:
    yield from _samples()(make)
    yield Bad(make.ints(3), raises=RuntimeError, says="could not infer output dtype")


@op(method=True, composite=True)
def nanmean(input: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The mean of the elements that are not NaN. Raises RuntimeError for integers."""
    array: Any = getattr(input, "_array", input)
    if array.dtype not in INEXACT:
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got "
            f"{input.dtype}"
        )
    there = sum(choose(isnan(input), 0, 1), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / there


nanmean.samples(_samples())


@op(method=True)
def prod(
    input: Array, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Array:
    """The product of all elements, or along one dimension; integers and bools in int64."""
    if isinstance(dim, (tuple, list)):
        raise TypeError(
            f"prod(): argument 'dim' must be int, not {type(dim).__name__}: multiply along one at "
            "a time"
        )
    x = _as_dtype(input, dtype)
    return reduce_prod(x, axes=shapes.dimensions(dim, x.ndim), keepdim=bool(keepdim))


@prod.gradient("input")
def prod_gradient(grad: Array, input: Array, dim: Any, keepdim: bool) -> Array:
    """The product of all other elements.

    It comes by division where no element is zero, else only the one zero has a slope.
    """
    shape = tuple(input.shape)
    zero = input == 0
    safe = choose(zero, 1, input)
    others = spread(prod(safe, dim, keepdim), shape, dim, keepdim) / safe
    zeros = spread(sum(zero, dim, keepdim), shape, dim, keepdim)
    slope = choose(zeros == 0, others, choose((zeros == 1) & zero, others, 0))
    return spread(grad, shape, dim, keepdim) * conjugate(slope)


@prod.samples
def prod_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=0.5))
    yield Sample(make(2, 3, 4, low=0.5), 1)
    yield Sample(make(2, 3, low=0.5), -1, True)
    yield Sample(make.ints(3, 4), 1)
    yield Bad(make(3, 4), 2, raises=IndexError, says="out of range")


# -- spread about the mean -------------------------------------------------------------------------


def _freedom(unbiased: Any, correction: Any) -> float:
    if correction is not None:
        return correction  # type: ignore[no-any-return]
    return 1 if unbiased is None or unbiased else 0


def _dim_or_flag(dim: Any, unbiased: Any) -> tuple[Any, Any]:
    """`var(x, False)` means unbiased=False."""
    return (None, dim) if isinstance(dim, bool) else (dim, unbiased)


def _variance(input: Array, dim: Any, correction: float, keepdim: bool, name: str) -> Array:
    """In float32 at least, by the distances from the mean.

    No digits are lost where the mean is large.
    """
    if input.dtype not in INEXACT:
        raise RuntimeError("std and var only support floating point and complex dtypes")
    axes = axes_of(dim, input.ndim)
    count = count_along(input.shape, axes)
    freedom = float(count - correction)
    if freedom <= 0:
        warn_user(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the "
            "reduction factor (input "
            f"numel divided by output numel): here {count} elements, correction {correction}."
        )
        freedom = 0.0
    x = widened(input)
    apart = p.sub(x, p.div(*promote(reduce_sum(x, axes=axes, keepdim=True), float(count))))
    if x.dtype in COMPLEX:
        apart = p.absolute(apart)
    return p.div(*promote(reduce_sum(p.mul(apart, apart), axes=axes, keepdim=keepdim), freedom))


def _rounded(x: Array, input: Array) -> Array:
    return to(x, input.dtype) if input.dtype in HALF else x


@op(function=False, node="VarBackward0")
def variance(input: Array, dim: Any, correction: float, keepdim: bool) -> Array:
    """The mean square distance from the mean, with n - correction in place of n."""
    return _rounded(_variance(input, dim, correction, keepdim, "var"), input)


@variance.gradient("input")
def variance_gradient(
    grad: Array, input: Array, dim: Any, correction: float, keepdim: bool
) -> Array:
    shape = tuple(input.shape)
    freedom = max(0.0, count_along(shape, axes_of(dim, len(shape))) - correction)
    scale = 2 / freedom if freedom else math.nan
    return spread(grad, shape, dim, keepdim) * ((input - mean(input, dim, True)) * scale)


@variance.samples
def variance_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), None, 1, False)
    yield Sample(make(3, 4), 1, 0, True)


@op(function=False, node="StdBackward0")
def deviation(input: Array, dim: Any, correction: float, keepdim: bool) -> Array:
    """The square root of `variance`."""
    return _rounded(p.sqrt(_variance(input, dim, correction, keepdim, "std")), input)


@deviation.gradient("input")
def deviation_gradient(
    grad: Array, input: Array, out: Array, dim: Any, correction: float, keepdim: bool
) -> Array:
    zero = out == 0
    slope = choose(zero, 0, grad / (2 * choose(zero, 1, out)))
    return variance_gradient(slope, input, dim, correction, keepdim)


deviation.samples(variance_samples)


@op(method=True, composite=True)
def var(
    input: Array,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Array:
    """The variance of all elements, or along `dim`: square distances over n - correction (or 1)."""
    dim, unbiased = _dim_or_flag(dim, unbiased)
    return variance(input, dim, _freedom(unbiased, correction), keepdim)


@op(method=True, composite=True)
def std(
    input: Array,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Array:
    """The standard deviation of all elements, or along `dim`, with n - correction (default 1)."""
    dim, unbiased = _dim_or_flag(dim, unbiased)
    return deviation(input, dim, _freedom(unbiased, correction), keepdim)


@op(composite=True)
def var_mean(
    input: Array,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Any:
    """The variance and the mean."""
    dim, unbiased = _dim_or_flag(dim, unbiased)
    return variance(input, dim, _freedom(unbiased, correction), keepdim), mean(input, dim, keepdim)


@op(composite=True)
def std_mean(
    input: Array,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Any:
    """The standard deviation and the mean."""
    dim, unbiased = _dim_or_flag(dim, unbiased)
    return deviation(input, dim, _freedom(unbiased, correction), keepdim), mean(input, dim, keepdim)


def _spread_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3, 4), 1)
    yield Sample(make(2, 3, 4), (0, 2), keepdim=True, correction=0)
    yield Sample(make(3, 4), False)
    yield Bad(make.ints(3), raises=RuntimeError, says="floating point")


for _call in (var, std, var_mean, std_mean):
    _call.samples(_spread_samples)


@op(method=True, composite=True, function=False)
def sum_to_size(input: Array, *size: Any) -> Array:
    """Sums the dimensions in which a tensor of shape `size` would be stretched to the input's."""
    wanted = sequence(size)
    if not shapes.can_broadcast(wanted, tuple(input.shape)):
        raise RuntimeError(f"size {list(wanted)} is not expandable to size {list(input.shape)}.")
    shape = tuple(input.shape)
    extra = len(shape) - len(wanted)
    axes = tuple(i for i, n in enumerate(shape) if i < extra or (wanted[i - extra] == 1 and n != 1))
    return to_shape(sum(input, axes), wanted) if axes or wanted != shape else input


@sum_to_size.samples
def sum_to_size_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 1, 3)
    yield Sample(make(2, 3, 4), (3, 1))
    yield Bad(make(3), 2, raises=RuntimeError, says="not expandable")


# -- truth -----------------------------------------------------------------------------------------


def _truth(name: str, compute: Any, says: str) -> Any:
    def body(input: Array, dim: Any = None, keepdim: bool = False) -> Array:
        out = compute(input, axes=shapes.dimensions(dim, input.ndim), keepdim=bool(keepdim))
        return to(out, UINT8) if input.dtype == UINT8 else out

    body.__name__, body.__doc__ = name, says
    declared = op(body, method=True, differentiable=False)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.bools(3, 4))
        yield Sample(make.bools(3, 4), 1)
        yield Sample(make(0, 4), 0)
        yield Sample(make(3, 4), (0, 1), True)

    return declared


all = _truth("all", reduce_all, "Whether no element is zero, over all or along `dim`.")
any = _truth("any", reduce_any, "Whether one element is not zero, over all or along `dim`.")


@op(method=True, differentiable=False)
def count_nonzero(input: Array, dim: Any = None) -> Array:
    """How many elements are not zero."""
    there = p.not_equal(input, 0) if input.dtype != BOOL else input
    return reduce_sum(
        s.cast(there, dtype=dtypes.INT64), axes=axes_of(dim, input.ndim), keepdim=False
    )


@count_nonzero.samples
def count_nonzero_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(3, 4, high=2))
    yield Sample(make.ints(3, 4, high=2), 1)
