"""Running sums and products, differences, and the trapezoid rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes, shapes
from rushlight.core.dtypes import BOOL, INTEGRAL
from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import to, to_float
from rushlight.ops.pointwise import exp
from rushlight.ops.selection import choose
from rushlight.ops.shape import narrow
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.reduction import cumulative_max, cumulative_product, cumulative_sum


def _prepared(input: Array, dim: int, dtype: Any) -> tuple[Array, int]:
    if dtype is not None:
        input = to(input, dtypes.to_numpy(dtype))
    elif input.dtype in INTEGRAL:
        input = to(input, dtypes.INT64)
    return input, shapes.dimension(dim, input.ndim)


def _samples(low: float = -2) -> Any:
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make(3, 4, low=low), 1)
        yield Sample(make(2, 3, 4, low=low), 0)
        yield Sample(make((), low=low), 0)
        yield Bad(make(3), 1, raises=IndexError, says="out of range")

    return samples


@op(method=True, inplace=True)
def cumsum(input: Array, dim: int, *, dtype: Any = None) -> Array:
    """The sum so far along `dim`; integers and bools in int64.

    >>> import rushlight
    >>> rushlight.cumsum(rushlight.tensor([1, 2, 3]), 0)
    tensor([1, 3, 6])
    """
    x, axis = _prepared(input, dim, dtype)
    return cumulative_sum(x, axis=axis) if x.ndim else s.copy(x)


@cumsum.gradient("input")
def cumsum_gradient(grad: Array, dim: int) -> Array:
    return sum_from_end(grad, dim)


@op(function=False)
def sum_from_end(input: Array, dim: int) -> Array:
    """The sum from each element to the end along `dim`."""
    if not input.ndim:
        return s.copy(input)
    axis = shapes.dimension(dim, input.ndim)
    return s.flip(cumulative_sum(s.flip(input, axes=(axis,)), axis=axis), axes=(axis,))


@sum_from_end.gradient("input")
def sum_from_end_gradient(grad: Array, dim: int) -> Array:
    return cumsum(grad, dim)


sum_from_end.samples(_samples())


cumsum.samples(_samples())


@op(method=True, inplace=True)
def cumprod(input: Array, dim: int, *, dtype: Any = None) -> Array:
    """The product so far along `dim`; integers and bools in int64."""
    x, axis = _prepared(input, dim, dtype)
    return cumulative_product(x, axis=axis) if x.ndim else s.copy(x)


@cumprod.gradient("input")
def cumprod_gradient(grad: Array, input: Array, out: Array, dim: int) -> Array:
    """Before the first zero by division; at it, the products that skip it; after it nothing."""
    zero = input == 0
    first = zero & (cumsum(zero, dim) == 1)
    plain = sum_from_end(grad * conjugate(out), dim) / conjugate(choose(zero, 1, input))
    skipped = cumprod(choose(first, 1, input), dim)
    return choose(zero, choose(first, sum_from_end(grad * conjugate(skipped), dim), 0), plain)


cumprod.samples(_samples(0.5))


@op(method=True)
def logcumsumexp(input: Array, dim: int) -> Array:
    """log(cumsum(exp(input))) without overflow."""
    x = to_float(input)
    axis = shapes.dimension(dim, x.ndim)
    if not x.ndim or not x.size:
        return s.copy(x)
    top, _ = cumulative_max(x, axis=axis)
    highest = s.slice_(
        top,
        starts=tuple(n - 1 if a == axis else 0 for a, n in enumerate(x.shape)),
        stops=x.shape,
        steps=(1,) * x.ndim,
    )
    highest = s.select(p.is_finite(highest), highest, 0)
    return p.add(p.log(cumulative_sum(p.exp(p.sub(x, highest)), axis=axis)), highest)


@logcumsumexp.gradient("input")
def logcumsumexp_gradient(grad: Array, input: Array, out: Array, dim: int) -> Array:
    return sum_from_end(grad * exp(-out), dim) * exp(input)


logcumsumexp.samples(_samples())


@op(method=True, composite=True)
def diff(input: Array, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Array:
    """Differences of neighbours along `dim`, n times over."""
    from rushlight.ops.joining import cat

    if not len(tuple(input.shape)):
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    parts = [x for x in (prepend, input, append) if x is not None]
    x = cat(parts, dim) if len(parts) > 1 else input
    axis = shapes.dimension(dim, x.ndim)
    for _ in range(n):
        size = tuple(x.shape)[axis]
        if size < 2:
            return narrow(x, axis, 0, 0)
        later, earlier = narrow(x, axis, 1, size - 1), narrow(x, axis, 0, size - 1)
        is_bool = getattr(x.dtype, "name", "") == "bool" or x.dtype == BOOL
        x = later ^ earlier if is_bool else later - earlier
    return x


@diff.samples
def diff_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3, 4), 2, 0)
    yield Sample(make(3, 4), 1, 1, make(3, 1))
    yield Bad(make(()), raises=RuntimeError, says="at least one-dimensional")


@op(composite=True, aliases=("trapz",))
def trapezoid(y: Array, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Array:
    """The integral of samples y along `dim` by the trapezoid rule, at points x or `dx` apart."""
    axis = shapes.dimension(dim, y.ndim)
    size = tuple(y.shape)[axis]
    if size == 0:
        return y.sum(axis)
    total = narrow(y, axis, 1, size - 1) + narrow(y, axis, 0, size - 1)
    if x is None:
        return (total * (dx / 2)).sum(axis)
    step = diff(x, 1, axis if x.ndim == y.ndim else -1)
    if x.ndim == 1 and y.ndim > 1:
        step = step.reshape([-1 if a == axis else 1 for a in range(y.ndim)])
    return (total * step).sum(axis) / 2


@trapezoid.samples
def trapezoid_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3, 4), make(4))
    yield Sample(make(3, 4), dx=0.5, dim=0)
