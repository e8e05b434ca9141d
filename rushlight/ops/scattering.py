"""scatter, scatter_reduce and index_put: elements written to given places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core.dtypes import INT64, INTEGRAL
from rushlight.core.shapes import dimension
from rushlight.ops.arithmetic import in_dtype
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.gathering import check_index, gather, padded_to, scatter_add, zeros_shaped
from rushlight.ops.indexing import index_arguments, index_written
from rushlight.ops.operands import number, to
from rushlight.ops.selection import choose
from rushlight.primitives import elementwise as p
from rushlight.primitives import gather as g
from rushlight.primitives import structural as s
from rushlight.tensor.tensor import wrap


@op(method=True, inplace=True)
def scatter(
    input: Array,
    dim: int,
    index: Array,
    src: Operand = None,
    *,
    value: Any = None,
    reduce: Any = None,
) -> Array:
    """A copy with `src` (a tensor or a number) at `index` along one dimension; `reduce` may be "add" or "multiply"."""
    axis = dimension(dim, input.ndim)
    source = value if src is None else src
    if source is None:
        raise TypeError("scatter() missing required argument: 'src' or 'value'")
    check_index("scatter", input, index, axis, source if hasattr(source, "ndim") else None)
    if reduce not in (None, "add", "multiply"):
        raise RuntimeError(f"reduce argument must be either add or multiply, but got {reduce!r}")
    if hasattr(source, "dtype"):
        if source.dtype != input.dtype:
            raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    else:
        source = s.full(number(source, input.dtype), shape=index.shape, dtype=input.dtype)
    return g.scatter_along(
        input, to(index, INT64), source, axis=axis, how=reduce or "set", keep=True
    )


@scatter.gradient("input")
def scatter_gradient_input(grad: Array, dim: int, index: Array, reduce: Any) -> Array:
    if reduce == "add":
        return grad
    if reduce is not None:
        raise NotImplementedError(
            "the derivative of scatter with reduce='multiply' is not implemented; use scatter_reduce"
        )
    return scatter(grad, dim, index, 0)


@scatter.gradient("src")
def scatter_gradient_src(grad: Array, dim: int, index: Array, src_shape: Any) -> Array:
    return padded_to(gather(grad, dim, index), tuple(src_shape))


@scatter.samples
def scatter_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 1, make.ints(3, 1, high=4), make(3, 1))
    yield Sample(make(3, 4), 0, make.ints(1, 4, high=3), 1.5)
    yield Bad(make(3, 4), 0, make(1, 4), 1.0, raises=RuntimeError, says="for index")


@op(method=True, inplace=True)
def scatter_reduce(
    input: Array, dim: int, index: Array, src: Array, reduce: str, *, include_self: bool = True
) -> Array:
    """A copy in which the elements of `src` that go to one place are reduced: "sum", "prod", "mean", "amax", "amin"."""
    axis = dimension(dim, input.ndim)
    check_index("scatter_reduce", input, index, axis, src)
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    where_ = to(index, INT64)
    if reduce != "mean":
        return g.scatter_along(input, where_, src, axis=axis, how=reduce, keep=include_self)
    total = g.scatter_along(input, where_, src, axis=axis, how="sum", keep=include_self)
    return _divided(total, _hits(input, where_, axis, include_self))


def _hits(input: Any, index: Any, axis: int, include_self: bool) -> Any:
    """How many elements each place is the mean of (1 where none came)."""
    start = s.full(1 if include_self else 0, shape=input.shape, dtype=input.dtype)
    ones = s.full(1, shape=index.shape, dtype=input.dtype)
    counts = g.scatter_along(start, index, ones, axis=axis, how="sum", keep=True)
    return p.maximum(counts, s.full(1, shape=(), dtype=input.dtype))


def _divided(total: Any, counts: Any) -> Any:
    return p.floor_divide(total, counts) if total.dtype in INTEGRAL else p.div(total, counts)


@op(function=False, differentiable=False)
def scatter_hits(input: Array, dim: int, index: Array, include_self: bool) -> Array:
    """The counts that `scatter_reduce` divides by for "mean"."""
    return _hits(input, to(index, INT64), dimension(dim, input.ndim), include_self)


@scatter_hits.samples
def scatter_hits_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 0, make.ints(2, 4, high=3), True)


def _reached(input: Any, dim: int, index: Any) -> Any:
    """1 where no element came, 0 where one did."""
    return scatter(input * 0 + 1, dim, index, 0)


@scatter_reduce.gradient("input")
def scatter_reduce_gradient_input(
    grad: Array,
    input: Array,
    out: Array,
    dim: int,
    index: Array,
    src: Array,
    reduce: str,
    include_self: bool,
) -> Array:
    if reduce == "sum":
        mine = grad
    elif reduce == "mean":
        mine = grad / scatter_hits(input, dim, index, include_self)
    elif reduce == "prod":
        mine = grad * scatter_reduce(input * 0 + 1, dim, index, src, "prod", include_self=True)
    else:
        mine = _shared(grad, input, out, dim, index, src)[0]
    return mine if include_self else grad * _reached(input, dim, index)


def _shared(grad: Any, input: Any, out: Any, dim: int, index: Any, src: Any) -> tuple[Any, Any]:
    """The gradient of a largest or smallest element, split evenly among those that reach it."""
    own = choose(input == out, 1.0, 0.0)
    theirs = choose(src == padded_to(gather(out, dim, index), tuple(src.shape)), 1.0, 0.0)
    dtype = getattr(grad.dtype, "numpy", grad.dtype)
    own, theirs = in_dtype(own, dtype), in_dtype(theirs, dtype)
    ties = scatter_add(own, dim, index, theirs)
    each = grad / choose(ties == 0, 1, ties)
    return each * own, padded_to(gather(each, dim, index), tuple(src.shape)) * theirs


@scatter_reduce.gradient("src")
def scatter_reduce_gradient_src(
    grad: Array,
    input: Array,
    out: Array,
    dim: int,
    index: Array,
    src: Array,
    reduce: str,
    include_self: bool,
) -> Array:
    shape = tuple(src.shape)
    if reduce == "sum":
        return padded_to(gather(grad, dim, index), shape)
    if reduce == "mean":
        return padded_to(
            gather(grad / scatter_hits(input, dim, index, include_self), dim, index), shape
        )
    if reduce == "prod":
        zero = src == 0
        zeros = in_dtype(choose(zero, 1.0, 0.0), getattr(grad.dtype, "numpy", grad.dtype))
        others = choose(zero, 1, src)
        count = scatter_reduce(
            zeros_shaped(grad, tuple(input.shape)), dim, index, zeros, "sum", include_self=True
        )
        product = scatter_reduce(input, dim, index, others, "prod", include_self=include_self)
        full, without = gather(grad * out, dim, index), gather(grad * product, dim, index)
        alone = zero & (padded_to(gather(count, dim, index), shape) == 1)
        return choose(
            alone, padded_to(without, shape), choose(zero, 0, padded_to(full, shape) / others)
        )
    return _shared(grad, input, out, dim, index, src)[1]


@scatter_reduce.samples
def scatter_reduce_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 0, make.ints(2, 4, high=3), make(2, 4), "sum")
    yield Sample(make(3, 4), 0, make.ints(2, 4, high=3), make(2, 4), "mean", include_self=False)
    yield Sample(make(3, 4, low=0.5), 0, make.ints(2, 4, high=3), make(2, 4, low=0.5), "prod")
    yield Sample(make.distinct(3, 4), 0, make.ints(2, 4, high=3), make(2, 4, low=3, high=4), "amax")


# -- everywhere ---------------------------------------------------------------------------------------------


@op(method=True, inplace=True, composite=True)
def index_put(input: Array, indices: Any, values: Array, accumulate: bool = False) -> Array:
    """A copy with `values` at `indices` (a tuple of index tensors, as in `x[indices] = values`), or added there."""
    x, arrays, axes, front = index_arguments(input, indices)
    if values.dtype != x.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input.dtype} for "
            f"the destination and {values.dtype} for the source."
        )
    return index_written(x, values, [wrap(a) for a in arrays], axes, front, accumulate)


@index_put.samples
def index_put_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), (make.ints(2, high=3),), make(2, 4), True)
    yield Sample(make(3, 4), (make.ints(1, high=3), make.ints(1, high=4)), make(1))
