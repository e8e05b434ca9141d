"""Smaller ops on elements and places: frexp, rrelu, put, index_reduce, cross, unravel_index and kin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.core.dtypes import FLOATING, INT64
from rushlight.core.shapes import dimension, size_of
from rushlight.ops.activations import leaky_relu
from rushlight.ops.arithmetic import in_dtype, mul
from rushlight.ops.contractions import cross as linalg_cross
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.gathering import from_end
from rushlight.ops.linear_algebra import plain
from rushlight.ops.operands import to
from rushlight.ops.pointwise import erfc, exp2, lgamma, log
from rushlight.ops.record import type_name
from rushlight.ops.resampling import pad
from rushlight.ops.scattering import index_put, scatter_reduce
from rushlight.ops.selection import choose
from rushlight.ops.shape import expand, reshape
from rushlight.primitives import elementwise as p
from rushlight.primitives import special
from rushlight.primitives import structural as s
from rushlight.primitives.reduction import cumulative_sum
from rushlight.primitives.sorting import take_along
from rushlight.random import streams
from rushlight.random.draws import draw

# -- elements ---------------------------------------------------------------------------------------------


@op(method=True, outputs=("mantissa", "exponent"))
def frexp(input: Array) -> Any:
    """Mantissa (from 0.5 on, below 1) and whole exponent: input = mantissa * 2^exponent.

    >>> import rushlight
    >>> rushlight.frexp(rushlight.tensor([8.0, 0.75])).exponent
    tensor([4, 0], dtype=torch.int32)
    """
    if input.dtype not in FLOATING:
        raise RuntimeError(
            f"torch.frexp() only supports floating-point dtypes, not {type_name(input.dtype)}"
        )
    return special.frexp(input)


@frexp.gradient("input")
def frexp_gradient(grad: Array, exponent: Array) -> Array:
    return grad / exp2(exponent)


@frexp.samples
def frexp_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(()))
    yield Sample(make(0, 2))
    yield Bad(make.ints(3), raises=RuntimeError, says="floating-point")


@op(function=False, differentiable=False)
def random_slopes(input: Array, lower: float, upper: float) -> Array:
    """For each element that is not positive its own slope in [lower, upper); 1 for the others."""
    count = size_of(input.shape)
    drawn = draw(streams.uniform, None, (count,), dtypes.FLOAT64, lower, upper)
    flat = s.reshape(p.less_equal(input, 0), shape=(count,))
    turn = cumulative_sum(s.cast(flat, dtype=INT64), axis=0)  # the n-th such element has draw n
    drawn = take_along(drawn, p.maximum(p.sub(turn, 1), 0), axis=0) if count else drawn
    slopes = s.select(flat, to(drawn, input.dtype), s.full(1, shape=(), dtype=input.dtype))
    return s.reshape(slopes, shape=tuple(input.shape))


@random_slopes.samples
def random_slopes_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 0.1, 0.3)


@op(module="nn.functional", composite=True)
def rrelu(
    input: Array,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Array:
    """Leaky relu with slopes drawn anew for each element in training (B. Xu et al., 2015); else with their mean.

    >>> import rushlight
    >>> rushlight.nn.functional.rrelu(rushlight.tensor([-4.0, 2.0]), 0.25, 0.75)
    tensor([-2.,  2.])
    """
    if lower > upper:
        raise RuntimeError(
            f"Lower bound should be less than or equal to the upper bound: {lower} > {upper}"
        )
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    slopes = random_slopes(input, float(lower), float(upper))
    return mul.inplace(input, slopes) if inplace else mul(input, slopes)


@rrelu.samples
def rrelu_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make.distinct(3, 4), 0.1, 0.2, True)
    yield Sample(make(0))
    yield Bad(make(3), 0.5, 0.2, raises=RuntimeError, says="Lower bound")


# -- special functions ------------------------------------------------------------------------------------


@op(module="special", composite=True)
def entr(input: Array) -> Array:
    """-x log(x); 0 at 0 and -inf below.

    >>> import rushlight
    >>> rushlight.special.entr(rushlight.tensor([0.0, 1.0, -1.0]))
    tensor([0., -0., -inf])
    """
    positive = input > 0
    inside = choose(positive, input, 1)
    low = choose(input == 0, 0.0, choose(input != input, float("nan"), -math.inf))
    return choose(positive, -(inside * log(inside)), in_dtype(low, plain(log(inside).dtype)))


@entr.samples
def entr_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=0.2))
    yield Sample(make.ints(3))
    yield Bad("a", raises=TypeError, says="must be Tensor")


@op(module="special", composite=True)
def ndtr(input: Array) -> Array:
    """The standard normal distribution function.

    >>> import rushlight
    >>> rushlight.special.ndtr(rushlight.tensor([0.0]))
    tensor([0.5000])
    """
    return erfc(input * -math.sqrt(0.5)) * 0.5


@ndtr.samples
def ndtr_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make.ints(3))
    yield Bad("a", raises=TypeError, says="must be Tensor")


@op(method=True, inplace=True, composite=True, aliases=("special.multigammaln",))
def mvlgamma(input: Array, p: int) -> Array:
    """The logarithm of the multivariate gamma function of dimension p, for elements above (p - 1) / 2.

    >>> import rushlight
    >>> rushlight.mvlgamma(rushlight.tensor([3.0]), 1)
    tensor([0.6931])
    """
    if p < 1:
        raise RuntimeError(f"p has to be greater than or equal to 1, not {p}")
    if plain(input.dtype).kind == "b":
        raise RuntimeError("mvlgamma is not implemented for Bool")
    total = lgamma(input) + p * (p - 1) / 4 * math.log(math.pi)
    for j in range(1, p):
        total = total + lgamma(input - j / 2)
    return total


@mvlgamma.samples
def mvlgamma_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, low=2, high=4), 1)
    yield Sample(make(2, 3, low=2, high=4), 3)
    yield Bad(make(3), 0, raises=RuntimeError, says="greater than or equal to 1")


# -- places -----------------------------------------------------------------------------------------------


@op(name="cross", method=True, composite=True)
def cross(input: Array, other: Array, dim: int | None = None) -> Array:
    """Cross products of vectors of size 3 along `dim`; without it, along the first dimension of size 3.

    >>> import rushlight
    >>> rushlight.cross(rushlight.tensor([1.0, 0.0, 0.0]), rushlight.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    if dim is None:
        sizes = tuple(input.shape)
        if 3 not in sizes:
            raise RuntimeError(f"no dimension of size 3 in input: its shape is {list(sizes)}")
        dim = sizes.index(3)
    if input.ndim != other.ndim:
        raise RuntimeError(
            f"linalg.cross: inputs must have the same number of dimensions, not {input.ndim} and {other.ndim}"
        )
    return linalg_cross(input, other, dim=dim)


@cross.samples
def cross_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3), make(3))
    yield Sample(make(2, 3, 3), make(2, 3, 3))
    yield Sample(make(3, 2), make(3, 2), 0)
    yield Bad(make(2, 4), make(2, 4), raises=RuntimeError, says="no dimension of size 3")


@op(method=True, inplace=True, composite=True)
def put(input: Array, index: Array, source: Array, accumulate: bool = False) -> Array:
    """The input with elements of `source` at places counted in the flattened tensor; accumulate=True adds them.

    >>> import rushlight
    >>> rushlight.put(rushlight.zeros(2, 2), rushlight.tensor([1, 2]), rushlight.tensor([5.0, 6.0]))
    tensor([[0., 5.],
            [6., 0.]])
    """
    if plain(index.dtype) != INT64:
        raise RuntimeError(
            f"put_(): Expected a long tensor for index, but got {type_name(plain(index.dtype))}"
        )
    if input.dtype != source.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got {input.dtype} and {source.dtype}"
        )
    if size_of(index.shape) != size_of(source.shape):
        raise RuntimeError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{size_of(source.shape)}, index.numel() = {size_of(index.shape)}"
        )
    flat = reshape(input, (-1,))
    places = reshape(from_end(index, size_of(input.shape)), (-1,))
    out = index_put(flat, (places,), reshape(source, (-1,)), accumulate)
    return reshape(out, tuple(input.shape))


@put.samples
def put_samples(make: Any) -> Iterator[Any]:
    at = make.tensor([0, 4, -1], dtypes.int64)
    yield Sample(make(2, 3), at, make(3))
    yield Sample(make(2, 3), at, make(3), True)
    yield Bad(make(2, 3), at, make(2), raises=RuntimeError, says="same number of elements")


@op(method=True, inplace=True, composite=True)
def index_reduce(
    input: Array,
    dim: int,
    index: Array,
    source: Array,
    reduce: str,
    *,
    include_self: bool = True,
) -> Array:
    """The input with slices of `source` reduced into those that `index` names along `dim`: "prod", "mean", "amax" or
    "amin". With include_self=False the elements that were there do not count.
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}."
        )
    axis = dimension(dim, input.ndim)
    if index.ndim > 1 or size_of(index.shape) != (source.shape[axis] if source.ndim else 1):
        raise RuntimeError(
            "index_reduce_(): Number of indices should be equal to source.size(dim), but index has shape "
            f"{list(index.shape)} and source {list(source.shape)}"
        )
    if not input.ndim:
        out = index_reduce(
            reshape(input, (1,)),
            0,
            reshape(index, (-1,)),
            reshape(source, (-1,)),
            reduce,
            include_self=include_self,
        )
        return reshape(out, ())
    shape = [1] * source.ndim
    shape[axis] = source.shape[axis]
    where = expand(reshape(index, tuple(shape)), *source.shape)
    return scatter_reduce(input, axis, where, source, reduce, include_self=include_self)


@index_reduce.samples
def index_reduce_samples(make: Any) -> Iterator[Any]:
    at = make.tensor([0, 2, 0], dtypes.int64)
    for how in ("prod", "mean", "amax", "amin"):
        yield Sample(make.distinct(3, 4), 0, at, make(3, 4, low=2, high=3), how)
    yield Sample(make(2, 3), 1, at, make(2, 3), "mean", include_self=False)
    yield Bad(make(3), 0, at, make(3), "sum", raises=RuntimeError, says="Expected reduce")


@op(composite=True)
def constant_pad_nd(input: Array, pad: Any, value: float = 0) -> Array:
    """nn.functional.pad() with a constant.

    >>> import rushlight
    >>> rushlight.constant_pad_nd(rushlight.ones(1), (1, 1))
    tensor([0., 1., 0.])
    """
    return padded_by(input, pad, "constant", value)


padded_by = pad


@constant_pad_nd.samples
def constant_pad_nd_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), (1, 2), 0.5)
    yield Sample(make(2, 3), (0, -1, 1, 0))
    yield Bad(make(3), (1,), raises=RuntimeError, says="")


@op(differentiable=False)
def unravel_index(indices: Array, shape: Any) -> Any:
    """Places in a flattened tensor as places in each dimension of `shape`: one tensor for each.

    >>> import rushlight
    >>> rushlight.unravel_index(rushlight.tensor([5, 1]), (2, 3))
    (tensor([1, 0]), tensor([2, 1]))
    """
    if indices.dtype.kind not in "iu":
        raise ValueError(
            f"expected 'indices' to be integer dtype, but got {type_name(indices.dtype)}"
        )
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if min(sizes, default=0) < 0:
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    out, step = [], size_of(sizes)
    for n in sizes:
        step //= max(n, 1)
        out.append(p.remainder(p.floor_divide(indices, max(step, 1)), max(n, 1)))
    return tuple(out)


@unravel_index.samples
def unravel_index_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(4, high=6), (2, 3))
    yield Sample(make.ints(2, 2, high=24), (2, 3, 4))
    yield Bad(make(2), (2, 3), raises=ValueError, says="integer dtype")
