"""Norms and the logarithm of a sum of exponentials: logsumexp, vector_norm, norm, dist."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.core.dtypes import COMPLEX, HALF, INEXACT, real_of
from rushlight.ops import record as recording
from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import promote, to, to_float
from rushlight.ops.pointwise import abs, exp, sgn
from rushlight.ops.reduction import axes_of, count_along, spread, sum, widened
from rushlight.ops.selection import choose
from rushlight.ops.tape import slots
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.reduction import reduce_max, reduce_min, reduce_sum


@op(method=True, aliases=("special.logsumexp",))
def logsumexp(input: Array, dim: Any, keepdim: bool = False) -> Array:
    """log(sum(exp(input))) along `dim`, shifted so that nothing overflows."""
    x = widened(to_float(input))
    dtype = input.dtype if input.dtype in HALF else x.dtype
    axes = axes_of(dim, x.ndim)
    if count_along(x.shape, axes) == 0:
        return to(p.log(reduce_sum(p.exp(x), axes=axes, keepdim=bool(keepdim))), dtype)
    top = reduce_max(s.real_part(x) if x.dtype in COMPLEX else x, axes=axes, keepdim=True)
    top = to(s.select(p.is_finite(top), top, 0), x.dtype)
    total = p.log(reduce_sum(p.exp(p.sub(x, top)), axes=axes, keepdim=bool(keepdim)))
    return to(p.add(total, s.reshape(top, shape=total.shape)), dtype)


@logsumexp.gradient("input")
def logsumexp_gradient(grad: Array, input: Array, out: Array, dim: Any, keepdim: bool) -> Array:
    shape = tuple(input.shape)
    return spread(grad, shape, dim, keepdim) * conjugate(
        exp(input - spread(out, shape, dim, keepdim))
    )


@logsumexp.samples
def logsumexp_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 1)
    yield Sample(make(2, 3, 4), (0, 2), True)
    yield Sample(make(()), 0)


@op(module="linalg", name="vector_norm", node="LinalgVectorNormBackward0")
def vector_norm(
    x: Array, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Array:
    """The norm of order `ord` of all elements, or along `dim`: (sum |x|^ord)^(1/ord).

    Of order inf it is max |x|, of order -inf min |x|, of order 0 the number of elements that are
    not 0.
    """
    if x.dtype not in INEXACT:
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{recording.type_name(x.dtype)}"
        )
    if dtype is not None:
        x = to(x, dtypes.to_numpy(dtype))
    axes = axes_of(dim, x.ndim)
    if (ord < 0 or ord == math.inf) and not count_along(x.shape, axes):
        where = "an empty tensor" if dim is None else f"dimension {axes}, which is empty,"
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {ord} norm on {where} because the operation "
            "does not have an identity"
        )
    return to(_norm(p.absolute(widened(x)), ord, axes, bool(keepdim)), real_of(x.dtype))


def _norm(size: Array, ord: float, axes: tuple[int, ...], keepdim: bool) -> Array:
    options = {"axes": axes, "keepdim": keepdim}
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
def vector_norm_gradient(
    grad: Array, x: Array, out: Array, ord: float, dim: Any, keepdim: bool
) -> Array:
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
def norm(
    input: Array, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Array:
    """The norm of all elements, or along `dim`: p a number, or "fro" for 2.

    "nuc" is the nuclear norm of matrices.

    >>> import rushlight
    >>> rushlight.norm(rushlight.tensor([3.0, 4.0]))
    tensor(5.)
    """
    if isinstance(p, str) and p != "fro":
        if p != "nuc":
            raise RuntimeError(
                f"linalg.matrix_norm: Order {p} not supported: give a number, 'fro' or 'nuc'."
            )
        axes = (-2, -1) if dim is None else dim
        return slots.function("linalg.matrix_norm")(input, "nuc", axes, keepdim, dtype=dtype)
    return vector_norm(input, 2 if p in ("fro", None) else float(p), dim, keepdim, dtype=dtype)


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
