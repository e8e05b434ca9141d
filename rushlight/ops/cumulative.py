"""Running sums and products, differences, and the trapezoid rule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes, shapes
from rushlight.core.dtypes import BOOL, INTEGRAL
from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import cat, copied
from rushlight.ops.operands import to, to_float
from rushlight.ops.parts import narrow
from rushlight.ops.pointwise import exp
from rushlight.ops.reduction import sum
from rushlight.ops.selection import choose
from rushlight.primitives import structural as s
from rushlight.primitives.reduction import (
    cumulative_logsumexp,
    cumulative_product,
    cumulative_sum,
    decayed_sum,
)


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
    return cumulative_logsumexp(x, axis=axis) if x.ndim and x.size else s.copy(x)


@logcumsumexp.gradient("input")
def logcumsumexp_gradient(grad: Array, input: Array, out: Array, dim: int) -> Array:
    """The sum of grad[i] * exp(input[j] - out[i]) over all i >= j, by steps that never exceed 1.

    exp(input[j] - out[i]) is exp(input[j] - out[j]) times all exp(out[k] - out[k+1]), j <= k < i.
    """
    if not input.ndim or not shapes.size_of(tuple(input.shape)):
        return grad
    axis = shapes.dimension(dim, input.ndim)
    size = tuple(input.shape)[axis]
    later, earlier = narrow(out, axis, 1, size - 1), narrow(out, axis, 0, size - 1)
    steps = cat([_ratio(earlier, later), narrow(out, axis, size - 1, 1) * 0], axis)
    return weighted_sum(grad, conjugate(steps), axis, True) * conjugate(_ratio(input, out))


def _ratio(a: Array, b: Array) -> Array:
    """exp(a - b), and 0 where a is the logarithm of 0 (b may be, too)."""
    return choose(a == -math.inf, 0, exp(a - b))


@op(function=False)
def weighted_sum(input: Array, decay: Array, dim: int, backward: bool) -> Array:
    """The running sum y[i] = input[i] + decay[i] * y[i - 1].

    `backward`: from the end, with y[i + 1].
    """
    return decayed_sum(input, to(decay, input.dtype), axis=dim, backward=backward)


@weighted_sum.gradient("input")
def weighted_sum_gradient_input(grad: Array, decay: Array, dim: int, backward: bool) -> Array:
    return weighted_sum(grad, conjugate(_moved(decay, dim, not backward)), dim, not backward)


@weighted_sum.gradient("decay")
def weighted_sum_gradient_decay(
    grad: Array, decay: Array, out: Array, dim: int, backward: bool
) -> Array:
    arrived = weighted_sum(grad, conjugate(_moved(decay, dim, not backward)), dim, not backward)
    return arrived * conjugate(_moved(out, dim, backward))


def _moved(x: Array, dim: int, to_front: bool) -> Array:
    """Each element where its neighbour was, and 0 at the end that gets free."""
    size = tuple(x.shape)[dim]
    rest = narrow(x, dim, 1 if to_front else 0, size - 1)
    free = narrow(x, dim, 0, 1) * 0
    return cat([rest, free] if to_front else [free, rest], dim)


@weighted_sum.samples
def weighted_sum_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4, low=0.2, high=1), 1, True)
    yield Sample(make(3, 4), make(3, 4, low=0.2, high=1), 0, False)


logcumsumexp.samples(_samples())


@op(method=True, composite=True)
def diff(input: Array, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Array:
    """Differences of neighbours along `dim`, n times over.

    `prepend` and `append` are joined to the ends before.

    >>> import rushlight
    >>> rushlight.diff(rushlight.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    axis = shapes.dimension(dim, input.ndim)
    if n == 0:
        return copied(input)
    parts = [x for x in (prepend, input, append) if x is not None]
    x = cat(parts, dim) if len(parts) > 1 else input
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


def _areas(y: Array, x: Any, dx: Any, axis: int) -> Array:
    """The area below each pair of neighbours."""
    size = tuple(y.shape)[axis]
    total = narrow(y, axis, 1, size - 1) + narrow(y, axis, 0, size - 1)
    if x is None:
        return total * (dx / 2)
    if x.ndim == 1 and y.ndim > 1:
        (given,) = tuple(x.shape)
        if given != size:
            raise RuntimeError(
                f"trapezoid: There must be one `x` value for each sample point: {given} for {size}"
            )
        x = x.reshape([-1 if a == axis else 1 for a in range(y.ndim)])
    # x may have fewer dimensions than y: its dimensions are y's last ones.
    return total * diff(x, 1, axis - y.ndim) / 2


@op(composite=True, aliases=("trapz",))
def trapezoid(y: Array, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Array:
    """The integral of samples y along `dim` by the trapezoid rule, at points x or `dx` apart.

    >>> import rushlight
    >>> rushlight.trapezoid(rushlight.tensor([1.0, 2.0, 4.0]))
    tensor(4.5000)
    """
    axis = shapes.dimension(dim, y.ndim)
    if tuple(y.shape)[axis] == 0:
        return sum(y, axis)
    return sum(_areas(y, x, dx, axis), axis)


@op(composite=True)
def cumulative_trapezoid(y: Array, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Array:
    """The integral of samples y from the first to each of the others, by the trapezoid rule."""
    axis = shapes.dimension(dim, y.ndim)
    return cumsum(_areas(y, x, dx, axis), axis)


def _trapezoid_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3, 4), make(4))
    yield Sample(make(3, 4), make(3, 1), dim=0)
    yield Sample(make(3, 4), dx=0.5, dim=0)
    yield Bad(make(3, 4), make(3), raises=RuntimeError, says="one `x` value for each sample point")


trapezoid.samples(_trapezoid_samples)
cumulative_trapezoid.samples(_trapezoid_samples)
