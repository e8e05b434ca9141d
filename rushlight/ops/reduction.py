"""Reductions whose gradient spreads over all elements: sum, mean, prod, var, norms, all, any, logsumexp."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes, shapes
from rushlight.core.dtypes import BOOL, COMPLEX, INEXACT, INTEGRAL, UINT8
from rushlight.ops import links
from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import promote, to, to_float
from rushlight.ops.pointwise import abs, exp, isnan, sgn
from rushlight.ops.selection import choose
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.reduction import reduce_all, reduce_any, reduce_max, reduce_min, reduce_prod, reduce_sum


def spread(grad: Array, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Array:
    """The gradient of a reduction along `dim`, back in the input's shape."""
    axes = axes_of(dim, len(shape))
    kept = shapes.reduced(shape, axes, True)
    return links.show_steps(grad, ((s.reshape, {"shape": kept}), (s.expand, {"shape": shape})))


def kept(x: Array, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Array:
    """A reduction's result with its reduced dimensions as size 1."""
    if keepdim:
        return x
    return links.show_steps(x, ((s.reshape, {"shape": shapes.reduced(shape, axes_of(dim, len(shape)), True)}),))


def axes_of(dim: Any, rank: int) -> tuple[int, ...]:
    """The axes of a reduction; None and an empty list are all."""
    if isinstance(dim, (tuple, list)) and not dim:
        dim = None
    return shapes.dimensions(dim, rank)


def _count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return shapes.size_of(shape[a] for a in axes)


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


@op(method=True)
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
    if x.dtype in INEXACT:
        x = s.select(p.is_nan(x), 0, x)
    return reduce_sum(x, axes=axes_of(dim, x.ndim), keepdim=bool(keepdim))


@nansum.gradient("input")
def nansum_gradient(grad: Array, input: Array, dim: Any, keepdim: bool) -> Array:
    return choose(isnan(input), 0, spread(grad, tuple(input.shape), dim, keepdim))


nansum.samples(_samples())


@op(method=True)
def mean(input: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The mean of all elements, or along `dim`. Raises RuntimeError for integers unless `dtype` says otherwise."""
    if dtype is not None:
        input = to(input, dtypes.to_numpy(dtype))
    if input.dtype not in INEXACT:
        raise RuntimeError(
            f"mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: "
            f"{dtypes.of_numpy(input.dtype)}. Call .float() first, or give dtype="
        )
    axes = axes_of(dim, input.ndim)
    total = reduce_sum(input, axes=axes, keepdim=bool(keepdim))
    return p.div(*promote(total, float(_count(input.shape, axes))))


@mean.gradient("input")
def mean_gradient(grad: Array, input_shape: tuple[int, ...], dim: Any, keepdim: bool) -> Array:
    count = _count(input_shape, axes_of(dim, len(input_shape)))
    return spread(grad / count if count else grad, input_shape, dim, keepdim)


@mean.samples
def mean_samples(make: Any) -> Iterator[Any]:
    yield from _samples()(make)
    yield Bad(make.ints(3), raises=RuntimeError, says="could not infer output dtype")


@op(method=True, composite=True)
def nanmean(input: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The mean of the elements that are not NaN."""
    there = sum(choose(isnan(input), 0, 1), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / there


nanmean.samples(_samples())


@op(method=True)
def prod(input: Array, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The product of all elements, or along one dimension; integers and bools in int64."""
    x = _as_dtype(input, dtype)
    return reduce_prod(x, axes=shapes.dimensions(dim, x.ndim), keepdim=bool(keepdim))


@prod.gradient("input")
def prod_gradient(grad: Array, input: Array, dim: Any, keepdim: bool) -> Array:
    """The product of the others: by division where no element is zero, else only the one zero has a slope."""
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


# -- spread about the mean ----------------------------------------------------------------------------------


def _freedom(unbiased: Any, correction: Any) -> float:
    if correction is not None:
        return correction  # type: ignore[no-any-return]
    return 1 if unbiased is None or unbiased else 0


def _dim_or_flag(dim: Any, unbiased: Any) -> tuple[Any, Any]:
    """`var(x, False)` means unbiased=False."""
    return (None, dim) if isinstance(dim, bool) else (dim, unbiased)


@op(function=False, node="VarBackward0")
def variance(input: Array, dim: Any, correction: float, keepdim: bool) -> Array:
    """The mean square distance from the mean, with n - correction in place of n."""
    if input.dtype not in INEXACT:
        raise RuntimeError("std and var only support floating point and complex dtypes")
    axes = axes_of(dim, input.ndim)
    count = _count(input.shape, axes)
    mean_ = p.div(*promote(reduce_sum(input, axes=axes, keepdim=True), float(count)))
    apart = p.sub(input, mean_)
    if input.dtype in COMPLEX:
        apart = p.absolute(apart)
    total = reduce_sum(p.mul(apart, apart), axes=axes, keepdim=keepdim)
    return p.div(*promote(total, float(max(0.0, count - correction))))


@variance.gradient("input")
def variance_gradient(grad: Array, input: Array, dim: Any, correction: float, keepdim: bool) -> Array:
    shape = tuple(input.shape)
    freedom = max(0.0, _count(shape, axes_of(dim, len(shape))) - correction)
    scale = 2 / freedom if freedom else math.nan
    return spread(grad, shape, dim, keepdim) * ((input - mean(input, dim, True)) * scale)


@variance.samples
def variance_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), None, 1, False)
    yield Sample(make(3, 4), 1, 0, True)


@op(function=False, node="StdBackward0")
def deviation(input: Array, dim: Any, correction: float, keepdim: bool) -> Array:
    """The square root of `variance`."""
    return p.sqrt(variance.op.body(input, dim, correction, keepdim))


@deviation.gradient("input")
def deviation_gradient(grad: Array, input: Array, out: Array, dim: Any, correction: float, keepdim: bool) -> Array:
    zero = out == 0
    slope = choose(zero, 0, grad / (2 * choose(zero, 1, out)))
    return variance_gradient(slope, input, dim, correction, keepdim)


deviation.samples(variance_samples)


@op(method=True, composite=True)
def var(input: Array, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Array:
    """The variance of all elements, or along `dim`, with n - correction (default 1) in the denominator."""
    dim, unbiased = _dim_or_flag(dim, unbiased)
    return variance(input, dim, _freedom(unbiased, correction), keepdim)


@op(method=True, composite=True)
def std(input: Array, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Array:
    """The standard deviation of all elements, or along `dim`, with n - correction (default 1)."""
    dim, unbiased = _dim_or_flag(dim, unbiased)
    return deviation(input, dim, _freedom(unbiased, correction), keepdim)


@op(composite=True)
def var_mean(input: Array, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Any:
    """The variance and the mean."""
    dim, unbiased = _dim_or_flag(dim, unbiased)
    return variance(input, dim, _freedom(unbiased, correction), keepdim), mean(input, dim, keepdim)


@op(composite=True)
def std_mean(input: Array, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Any:
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


# -- truth --------------------------------------------------------------------------------------------------


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
    return reduce_sum(s.cast(there, dtype=dtypes.INT64), axes=axes_of(dim, input.ndim), keepdim=False)


@count_nonzero.samples
def count_nonzero_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(3, 4, high=2))
    yield Sample(make.ints(3, 4, high=2), 1)


# -- exponentials and norms ---------------------------------------------------------------------------------


@op(method=True, aliases=("special.logsumexp",))
def logsumexp(input: Array, dim: Any, keepdim: bool = False) -> Array:
    """log(sum(exp(input))) along `dim`, shifted so that nothing overflows."""
    x = to_float(input)
    axes = axes_of(dim, x.ndim)
    if _count(x.shape, axes) == 0:
        return p.log(reduce_sum(p.exp(x), axes=axes, keepdim=bool(keepdim)))
    top = reduce_max(x, axes=axes, keepdim=True) if x.dtype not in COMPLEX else reduce_max(s.real_part(x), axes=axes, keepdim=True)
    top = s.select(p.is_finite(top), top, 0)
    total = p.log(reduce_sum(p.exp(p.sub(x, to(top, x.dtype))), axes=axes, keepdim=bool(keepdim)))
    return p.add(total, to(s.reshape(top, shape=total.shape), x.dtype))


@logsumexp.gradient("input")
def logsumexp_gradient(grad: Array, input: Array, out: Array, dim: Any, keepdim: bool) -> Array:
    shape = tuple(input.shape)
    return spread(grad, shape, dim, keepdim) * conjugate(exp(input - spread(out, shape, dim, keepdim)))


@logsumexp.samples
def logsumexp_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 1)
    yield Sample(make(2, 3, 4), (0, 2), True)
    yield Sample(make(()), 0)


@op(module="linalg", name="vector_norm", node="LinalgVectorNormBackward0")
def vector_norm(x: Array, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The norm of order `ord` of all elements, or along `dim`: (sum |x|^ord)^(1/ord); max for inf, min for -inf."""
    if x.dtype not in INEXACT:
        raise RuntimeError(f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {dtypes.of_numpy(x.dtype)}")
    if dtype is not None:
        x = to(x, dtypes.to_numpy(dtype))
    axes = axes_of(dim, x.ndim)
    size = p.absolute(x)
    options = {"axes": axes, "keepdim": bool(keepdim)}
    if ord == math.inf:
        return reduce_max(size, **options)
    if ord == -math.inf:
        return reduce_min(size, **options)
    if ord == 0:
        return reduce_sum(s.cast(p.not_equal(size, 0), dtype=size.dtype), **options)
    if ord == 1:
        return reduce_sum(size, **options)
    if ord == 2:
        return p.sqrt(reduce_sum(p.mul(size, size), **options))
    total = reduce_sum(p.power(*promote(size, float(ord))), **options)
    return p.power(*promote(total, 1.0 / ord))


@vector_norm.gradient("x")
def vector_norm_gradient(grad: Array, x: Array, out: Array, ord: float, dim: Any, keepdim: bool) -> Array:
    shape = tuple(x.shape)
    grad, norm_ = spread(grad, shape, dim, keepdim), spread(out, shape, dim, keepdim)
    if ord == 0:
        return grad * 0 * x
    if ord == 1:
        return grad * sgn(x)
    zero = norm_ == 0
    safe = choose(zero, 1, norm_)
    if ord == 2:
        return choose(zero, 0, x * (grad / safe))
    if math.isinf(ord):
        reached = abs(x) == norm_
        ties = sum(reached, dim, True)
        return choose(reached, sgn(x) * grad / ties, 0)
    size = abs(x)
    flat = size == 0
    steep = choose(flat, 1, size)
    slope = sgn(x) * steep ** (ord - 1) * safe ** (1 - ord)
    return choose(flat, 0, grad * choose(zero, 0, slope))


@vector_norm.samples
def vector_norm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=0.3))
    yield Sample(make(3, 4, low=0.3), 1, 0)
    yield Sample(make(3, 4, low=0.3), 3, 1, True)
    yield Sample(make.distinct(3, 4), math.inf, 1)
    yield Bad(make.ints(3), raises=RuntimeError, says="floating point or complex")


@op(method=True, composite=True)
def norm(input: Array, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The norm of all elements, or along `dim`: p a number, or "fro" for 2. `linalg.norm` knows more kinds."""
    if p == "nuc":
        raise RuntimeError("norm: the nuclear norm is linalg.matrix_norm(input, 'nuc')")
    order = 2 if p in ("fro", None) else float(p)
    return vector_norm(input, order, dim, keepdim, dtype=dtype)


@norm.samples
def norm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=0.3))
    yield Sample(make(3, 4, low=0.3), 1, 0)
    yield Sample(make(3, 4, low=0.3), "fro", (0, 1), True)


@op(method=True, composite=True)
def dist(input: Array, other: Array, p: float = 2) -> Array:
    """The norm of the difference of two tensors."""
    return vector_norm(input - other, p)


@dist.samples
def dist_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4, low=3, high=4))
    yield Sample(make(3, 4), make(4, low=3, high=4), 3)

