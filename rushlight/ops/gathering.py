"""gather, scatter and their kin; masks; embeddings; one-hot."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from rushlight.autograd.modes import no_grad
from rushlight.core import shapes
from rushlight.core.dtypes import BOOL, INT64, INTEGRAL, UINT8
from rushlight.core.shapes import dimension
from rushlight.ops.arithmetic import in_dtype
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.indexing import index_arguments, index_written, indexed
from rushlight.ops.joining import stack
from rushlight.ops.norms import vector_norm
from rushlight.ops.operands import number, promote, to
from rushlight.ops.reduction import mean, sum
from rushlight.ops.selection import choose
from rushlight.ops.shape import expand, to_shape, unsqueeze
from rushlight.primitives import elementwise as p
from rushlight.primitives import gather as g
from rushlight.primitives import structural as s
from rushlight.primitives.checks import within
from rushlight.primitives.sorting import take_along
from rushlight.tensor.tensor import wrap

# -- where --------------------------------------------------------------------------------------------------


@op(composite=True)
def where(condition: Array, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`; with the condition alone, `nonzero(as_tuple=True)`.

    >>> import rushlight
    >>> rushlight.where(rushlight.tensor([True, False]), 1.0, 0.0)
    tensor([1., 0.])
    """
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    if input is None or other is None:
        raise TypeError("where() needs both `input` and `other`, or neither")
    return choose(condition, input, other)


@op(method=True, name="where", module="Tensor", function=False, composite=True)
def where_method(input: Array, condition: Array, other: Any) -> Any:
    """The tensor's elements where the condition holds, else `other`."""
    return choose(condition, input, other)


@where.samples
def where_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.bools(3, 4), make(3, 4), make(4))
    yield Sample(make.bools(3), make(3), 2.0)
    yield Bad(make.bools(3), make(3), raises=TypeError, says="both")


@where_method.samples
def where_method_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.bools(3, 4), make(4))


# -- along one dimension ------------------------------------------------------------------------------------


def _rank(x: Any) -> int:
    return int(getattr(x, "ndim", 0))


def _check_index(name: str, x: Any, index: Any, axis: int, source: Any = None) -> None:
    if index.size and (index.dtype not in INTEGRAL or index.dtype in (BOOL, UINT8)):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    if not index.size:
        return
    rank = max(1, x.ndim)
    if max(1, index.ndim) != rank:
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as "
            f"{'input' if source is None else 'self'} tensor: {index.ndim} and {x.ndim}"
        )
    for d in range(index.ndim):
        if index.ndim and x.ndim and d != axis and index.shape[d] > x.shape[d]:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(index.shape)} to be no "
                f"larger than self {list(x.shape)} apart from dimension {axis}"
            )
        if source is not None and _rank(source) and index.shape[d] > source.shape[d]:
            raise RuntimeError(
                f"Expected index {list(index.shape)} to be no larger than self {list(x.shape)} "
                f"apart from dimension {axis} and to be no larger size than src {list(source.shape)}"
            )


def _cropped(x: Any, index: Any, axis: int) -> Any:
    """The part of x that an index can reach in the other dimensions."""
    stops = tuple(
        n if d == axis else min(m, n) for d, (n, m) in enumerate(zip(x.shape, index.shape))
    )
    if stops == tuple(x.shape):
        return x
    return s.slice_(x, starts=(0,) * x.ndim, stops=stops, steps=(1,) * x.ndim)


@op(method=True)
def gather(input: Array, dim: int, index: Array, *, sparse_grad: bool = False) -> Array:
    """out[i][j] = input[index[i][j]][j] for dim 0, and so on: elements by index along one dimension.

    >>> import rushlight
    >>> rushlight.gather(rushlight.tensor([[1, 2], [3, 4]]), 1, rushlight.tensor([[0, 0], [1, 0]]))
    tensor([[1, 1],
            [4, 3]])
    """
    axis = dimension(dim, input.ndim)
    _check_index("gather", input, index, axis)
    index = to(index, INT64)
    if not index.size:
        return s.full(0, shape=index.shape, dtype=input.dtype)
    if not input.ndim or not index.ndim:
        flat = take_along(
            s.reshape(input, shape=(input.size,)), s.reshape(index, shape=(index.size,)), axis=0
        )
        return s.reshape(flat, shape=index.shape)
    return g_take(input, index, axis)


def g_take(x: Any, index: Any, axis: int) -> Any:
    """`take_along` with the range of the index checked."""
    return g.gather_along(_cropped(x, index, axis), index, axis=axis)


@gather.gradient("input")
def gather_gradient(grad: Array, input_shape: Any, dim: int, index: Array) -> Array:
    return scatter_add(_zeros(grad, tuple(input_shape)), dim, index, grad)


@op(function=False, differentiable=False)
def zeros_shaped(like: Array, shape: tuple[int, ...]) -> Array:
    """Zeros of a shape in the dtype of `like`."""
    return s.full(0, shape=shape, dtype=like.dtype)


def _zeros(like: Any, shape: tuple[int, ...]) -> Any:
    return zeros_shaped(like, shape)


@zeros_shaped.samples
def zeros_shaped_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2), (3, 4))


@gather.samples
def gather_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 0, make.ints(2, 4, high=3))
    yield Sample(make(3, 4), 1, make.ints(2, 3, high=4))
    yield Sample(make(()), 0, make.ints((), high=1))
    yield Bad(
        make(3, 4), 0, make.ints(2, high=3), raises=RuntimeError, says="same number of dimensions"
    )
    yield Bad(make(3), 0, make.ints(2, low=7, high=8), raises=RuntimeError, says="out of bounds")


@op(method=True, inplace=True)
def scatter_add(input: Array, dim: int, index: Array, src: Array) -> Array:
    """A copy with `src` added at `index` along one dimension."""
    axis = dimension(dim, input.ndim)
    _check_index("scatter_add", input, index, axis, src)
    if input.dtype != src.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    return g.scatter_along(input, to(index, INT64), src, axis=axis, how="add", keep=True)


@scatter_add.gradient("input")
def scatter_add_gradient_input(grad: Array) -> Array:
    return grad


@scatter_add.gradient("src")
def scatter_add_gradient_src(grad: Array, dim: int, index: Array, src_shape: Any) -> Array:
    return _padded_to(gather(grad, dim, index), tuple(src_shape))


def _padded_to(x: Any, shape: tuple[int, ...]) -> Any:
    if tuple(x.shape) == shape:
        return x
    return extended_to(x, shape)


@op(function=False)
def extended_to(input: Array, shape: tuple[int, ...]) -> Array:
    """Zeros after the last elements, up to a shape."""
    after = tuple(n - m for n, m in zip(shape, input.shape))
    return s.pad(input, 0, before=(0,) * input.ndim, after=after)


@extended_to.gradient("input")
def extended_to_gradient(grad: Array, input_shape: Any) -> Array:
    return cropped_to(grad, tuple(input_shape))


@op(function=False)
def cropped_to(input: Array, shape: tuple[int, ...]) -> Array:
    """The first elements, up to a shape."""
    return s.copy(s.slice_(input, starts=(0,) * input.ndim, stops=shape, steps=(1,) * input.ndim))


@cropped_to.gradient("input")
def cropped_to_gradient(grad: Array, input_shape: Any) -> Array:
    return extended_to(grad, tuple(input_shape))


@extended_to.samples
def extended_to_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), (3, 3))


@cropped_to.samples
def cropped_to_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 3), (2, 3))


@scatter_add.samples
def scatter_add_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 0, make.ints(2, 4, high=3), make(2, 4))
    yield Sample(make(3, 4), 1, make.ints(2, 3, high=4), make(3, 4))


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
    _check_index("scatter", input, index, axis, source if hasattr(source, "ndim") else None)
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
    return _padded_to(gather(grad, dim, index), tuple(src_shape))


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
    _check_index("scatter_reduce", input, index, axis, src)
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
    theirs = choose(src == _padded_to(gather(out, dim, index), tuple(src.shape)), 1.0, 0.0)
    dtype = getattr(grad.dtype, "numpy", grad.dtype)
    own, theirs = in_dtype(own, dtype), in_dtype(theirs, dtype)
    ties = scatter_add(own, dim, index, theirs)
    each = grad / choose(ties == 0, 1, ties)
    return each * own, _padded_to(gather(each, dim, index), tuple(src.shape)) * theirs


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
        return _padded_to(gather(grad, dim, index), shape)
    if reduce == "mean":
        return _padded_to(
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
        alone = zero & (_padded_to(gather(count, dim, index), shape) == 1)
        return choose(
            alone, _padded_to(without, shape), choose(zero, 0, _padded_to(full, shape) / others)
        )
    return _shared(grad, input, out, dim, index, src)[1]


@scatter_reduce.samples
def scatter_reduce_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 0, make.ints(2, 4, high=3), make(2, 4), "sum")
    yield Sample(make(3, 4), 0, make.ints(2, 4, high=3), make(2, 4), "mean", include_self=False)
    yield Sample(make(3, 4, low=0.5), 0, make.ints(2, 4, high=3), make(2, 4, low=0.5), "prod")
    yield Sample(make.distinct(3, 4), 0, make.ints(2, 4, high=3), make(2, 4, low=3, high=4), "amax")


@op(method=True)
def index_select(input: Array, dim: int, index: Array) -> Array:
    """The parts at the listed indices along `dim`."""
    axis = dimension(dim, input.ndim)
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if index.dtype not in INTEGRAL:
        raise RuntimeError("index_select(): Expected dtype int32 or int64 for index")
    places = s.reshape(to(index, INT64), shape=(index.size,))
    if not input.ndim:
        return s.reshape(
            g.take(s.reshape(input, shape=(1,)), places, axes=(0,), front=False), shape=()
        )
    return g.take(input, places, axes=(axis,), front=False)


@index_select.gradient("input")
def index_select_gradient(grad: Array, input_shape: Any, dim: int, index: Array) -> Array:
    return index_add(_zeros(grad, tuple(input_shape)), dim, index, grad)


def _rows(name: str, input: Any, dim: int, index: Any, source: Any) -> tuple[int, Any]:
    axis = dimension(dim, input.ndim)
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got dim: {index.ndim}")
    if source.dtype != input.dtype:
        raise RuntimeError(
            f"{name}(): self ({input.dtype}) and source ({source.dtype}) must have the same scalar type"
        )
    count = source.shape[axis] if source.ndim else 1
    if count != index.size:
        raise (IndexError if name == "index_copy" else RuntimeError)(
            f"{name}(): Number of indices ({index.size}) should be equal to source.size(dim): ({count})"
        )
    return axis, s.reshape(to(index, INT64), shape=(index.size,))


@op(method=True, inplace=True)
def index_add(input: Array, dim: int, index: Array, source: Array, *, alpha: float = 1) -> Array:
    """A copy with `alpha * source` added at the listed indices along `dim`."""
    axis, places = _rows("index_add", input, dim, index, source)
    values = source if alpha == 1 else p.mul(*promote(source, alpha))
    if not input.ndim:
        return p.add(input, s.reshape(values, shape=()))
    return g.put_add(input, values, places, axes=(axis,), front=False)


index_add.gradient("input")(lambda grad: grad)


@index_add.gradient("source")
def index_add_gradient_source(
    grad: Array, dim: int, index: Array, alpha: Any, source_shape: Any
) -> Array:
    out = to_shape(index_select(grad, dim, index), tuple(source_shape))
    return out if alpha == 1 else out * alpha


@op(method=True, inplace=True)
def index_copy(input: Array, dim: int, index: Array, source: Array) -> Array:
    """A copy with `source` at the listed indices along `dim`."""
    axis, places = _rows("index_copy", input, dim, index, source)
    if not input.ndim:
        return s.reshape(source, shape=())
    return g.put(input, source, places, axes=(axis,), front=False)


@index_copy.gradient("input")
def index_copy_gradient_input(grad: Array, dim: int, index: Array) -> Array:
    return index_fill(grad, dim, index, 0)


@index_copy.gradient("source")
def index_copy_gradient_source(grad: Array, dim: int, index: Array, source_shape: Any) -> Array:
    return to_shape(index_select(grad, dim, index), tuple(source_shape))


@op(method=True, inplace=True)
def index_fill(input: Array, dim: int, index: Array, value: Operand) -> Array:
    """A copy with one value at the listed indices along `dim`."""
    axis = dimension(dim, input.ndim)
    if index.dtype not in INTEGRAL or index.dtype == BOOL:
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    if hasattr(value, "dtype"):
        if value.ndim:
            raise RuntimeError(
                "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        filled = to(value, input.dtype)
    else:
        filled = s.full(number(value, input.dtype), shape=(), dtype=input.dtype)
    if not input.ndim:
        return s.copy(filled)
    return g.put(
        input, filled, s.reshape(to(index, INT64), shape=(index.size,)), axes=(axis,), front=False
    )


@index_fill.gradient("input")
def index_fill_gradient_input(grad: Array, dim: int, index: Array) -> Array:
    return index_fill(grad, dim, index, 0)


@index_fill.gradient("value")
def index_fill_gradient_value(grad: Array, dim: int, index: Array) -> Array:
    here = index_fill(zeros_shaped(grad, tuple(grad.shape)), dim, index, 1)
    return sum(grad * here)  # an index that occurs twice counts once


@index_select.samples
def index_select_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 0, make.ints(2, high=3))
    yield Sample(make(3, 4), -1, make.ints(5, high=4))
    yield Bad(make(3, 4), 0, make.ints(2, low=5, high=6), raises=IndexError, says="out of bounds")


@index_add.samples
def index_add_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 0, make.ints(2, high=3), make(2, 4))
    yield Sample(make(3, 4), 1, make.ints(5, high=4), make(3, 5), alpha=0.5)


@index_copy.samples
def index_copy_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 0, make.ints(1, high=3), make(1, 4))
    yield Bad(
        make(3, 4), 0, make.ints(2, high=3), make(1, 4), raises=IndexError, says="Number of indices"
    )


@index_fill.samples
def index_fill_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 0, make.ints(2, high=3), 1.5)
    yield Sample(make(3, 4), 1, make.ints(2, high=3), make(()))


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


@op(method=True, composite=True)
def take(input: Array, index: Array) -> Array:
    """Elements by their index into the flattened tensor, in the shape of `index`."""
    if index.dtype != INT64 and getattr(index.dtype, "name", "") != "int64":
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype}")
    flat = to_shape(input, (shapes.size_of(tuple(input.shape)),))
    return indexed(flat, [index], (0,), False)


@op(function=False, differentiable=False)
def from_end(index: Array, size: int) -> Array:
    """Indices with the negative ones counted from the end."""
    index = to(index, INT64)
    return s.select(p.less(index, 0), p.add(index, size), index)


@from_end.samples
def from_end_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(4, low=-3, high=3), 3)


@op(method=True, composite=True)
def take_along_dim(input: Array, indices: Array, dim: int | None = None) -> Array:
    """`gather` with broadcasting; of the flattened tensors where `dim` is None."""
    if dim is None:
        flat = to_shape(input, (shapes.size_of(tuple(input.shape)),))
        return gather(flat, 0, to_shape(indices, (shapes.size_of(tuple(indices.shape)),)))
    if len(input.shape) != len(indices.shape):
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {len(input.shape)} dimensions for input, and {len(indices.shape)} dimensions for indices"
        )
    axis = dimension(dim, len(input.shape))
    indices = from_end(indices, tuple(input.shape)[axis])

    def cut(shape, n):
        return tuple(n if i == axis else m for i, m in enumerate(shape))

    common = shapes.broadcast(cut(tuple(input.shape), 1), cut(tuple(indices.shape), 1))
    x = expand(input, cut(common, tuple(input.shape)[axis]))
    return gather(x, axis, expand(indices, cut(common, tuple(indices.shape)[axis])))


@take.samples
def take_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.ints(2, 2, high=12))


@take_along_dim.samples
def take_along_dim_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.ints(3, 2, high=4), 1)
    yield Sample(make(3, 4), make.ints(1, 2, high=4), 1)
    yield Sample(make(3, 4), make.ints(5, high=12))


# -- masks --------------------------------------------------------------------------------------------------


def _mask(name: str, mask: Any) -> Any:
    if mask.dtype == UINT8:
        return s.cast(mask, dtype=BOOL)
    if mask.dtype != BOOL:
        raise RuntimeError(
            f"{name} only supports boolean masks, but got mask with dtype {mask.dtype}"
        )
    return mask


@op(method=True, inplace=True)
def masked_fill(input: Array, mask: Array, value: Operand) -> Array:
    """A copy with one value where the mask holds."""
    condition = _mask("masked_fill_", mask)
    if hasattr(value, "dtype"):
        if value.ndim:
            raise RuntimeError(
                "masked_fill only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        filled = to(value, input.dtype)
    else:
        if input.dtype in INTEGRAL and isinstance(value, float) and value != int(value):
            raise RuntimeError("value cannot be converted to type int64_t without overflow")
        filled = s.full(number(value, input.dtype), shape=(), dtype=input.dtype)
    return s.select(condition, filled, input)


@masked_fill.gradient("input")
def masked_fill_gradient_input(grad: Array, mask: Array) -> Array:
    return masked_fill(grad, mask, 0)


@masked_fill.gradient("value")
def masked_fill_gradient_value(grad: Array, mask: Array) -> Array:
    return sum(choose(mask, grad, 0))


@masked_fill.samples
def masked_fill_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.bools(3, 4), 1.5)
    yield Sample(make(3, 4), make.bools(4), make(()))
    yield Bad(make(3), make(3), 1.0, raises=RuntimeError, says="boolean masks")


@op(method=True, composite=True, traceable=False)
def masked_select(input: Array, mask: Array) -> Array:
    """The elements where the mask holds, in one dimension."""
    if getattr(mask.dtype, "name", "") != "bool":
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = shapes.broadcast(tuple(input.shape), tuple(mask.shape))
    picked = expand(input, shape)[expand(mask, shape)]
    return to_shape(picked, (shapes.size_of(tuple(picked.shape)),))


@op(method=True, inplace=True, composite=True, traceable=False)
def masked_scatter(input: Array, mask: Array, source: Array) -> Array:
    """A copy with the elements of `source`, in order, where the mask holds."""
    if source.dtype != input.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}"
        )
    shape = shapes.broadcast(tuple(input.shape), tuple(mask.shape))
    x, m = expand(input, shape), expand(mask, shape)
    places = nonzero(to_shape(m, (shapes.size_of(shape),)))
    count = next(iter(places.shape))
    flat = to_shape(source, (shapes.size_of(tuple(source.shape)),))
    if count > next(iter(flat.shape)):
        raise RuntimeError(
            f"masked_scatter: expected self to have at least {count} elements in source, but it "
            f"has {next(iter(flat.shape))}"
        )
    rows = to_shape(x, (shapes.size_of(shape),))
    written = index_written(rows, flat[:count], [to_shape(places, (count,))], (0,), False, False)
    return to_shape(written, shape)


@masked_select.samples
def masked_select_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.bools(3, 4))
    yield Sample(make(3, 4), make.bools(4))


@masked_scatter.samples
def masked_scatter_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.bools(3, 4), make(12))


@op(method=True, composite=True, traceable=False, differentiable=False)
def nonzero(input: Array, *, as_tuple: bool = False) -> Any:
    """The indices of all elements that are not zero: a row for each, or with `as_tuple` one tensor a dimension."""
    found = nonzero_rows(input)
    if not as_tuple:
        return found
    if not len(input.shape):
        return (nonzero_rows(unsqueeze(input, 0))[:, 0],)
    return tuple(found[:, i] for i in range(len(input.shape)))


@op(function=False, differentiable=False, traceable=False)
def nonzero_rows(input: Array) -> Array:
    """The indices of the elements that are not zero, a row for each."""
    return g.nonzero(input)


@op(method=True, composite=True, traceable=False, differentiable=False)
def argwhere(input: Array) -> Array:
    """The indices of all elements that are not zero, a row for each."""
    return nonzero_rows(input)


def _nonzero_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(3, 4, high=2))
    yield Sample(make.ints((), high=2))


for _call in (nonzero, nonzero_rows, argwhere):
    _call.samples(_nonzero_samples)


# -- embeddings ---------------------------------------------------------------------------------------------


@op(function=False, node="EmbeddingBackward0")
def embedding_rows(
    weight: Array, input: Array, padding_idx: int, scale_grad_by_freq: bool
) -> Array:
    """The rows of `weight` at the indices `input`."""
    if input.dtype not in INTEGRAL or input.dtype == BOOL:
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got {input.dtype} instead (while checking arguments for embedding)"
        )
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    try:
        return g.take(weight, to(input, INT64), axes=(0,), front=False)
    except IndexError as error:
        raise IndexError(
            f"index out of range in self: {error}; the embedding has {weight.shape[0]} rows"
        ) from None


@embedding_rows.gradient("weight")
def embedding_rows_gradient(
    grad: Array, weight_shape: Any, input: Array, padding_idx: int, scale_grad_by_freq: bool
) -> Array:
    return embedding_sums(grad, input, weight_shape[0], padding_idx, scale_grad_by_freq)


@op(function=False)
def embedding_sums(
    grad: Array, input: Array, rows: int, padding_idx: int, scale_grad_by_freq: bool
) -> Array:
    """The gradients of all uses of each row, added (divided by their number if asked); none for the padding row."""
    places = to(input, INT64)
    width = grad.shape[-1]
    zero = s.full(0, shape=(rows, width), dtype=grad.dtype)
    if padding_idx >= 0:
        keep = s.reshape(p.not_equal(places, padding_idx), shape=(*places.shape, 1))
        grad = s.select(keep, grad, s.full(0, shape=(), dtype=grad.dtype))
    if scale_grad_by_freq:
        ones = s.full(1, shape=places.shape, dtype=grad.dtype)
        counts = g.put_add(
            s.full(0, shape=(rows,), dtype=grad.dtype), ones, places, axes=(0,), front=False
        )
        grad = p.div(
            grad,
            s.reshape(g.take(counts, places, axes=(0,), front=False), shape=(*places.shape, 1)),
        )
    return g.put_add(zero, grad, places, axes=(0,), front=False)


@embedding_sums.gradient("grad")
def embedding_sums_gradient(
    grad: Array, input: Array, padding_idx: int, scale_grad_by_freq: bool
) -> Array:
    if scale_grad_by_freq or padding_idx >= 0:
        raise NotImplementedError(
            "the second derivative of embedding with padding_idx or scale_grad_by_freq is not implemented"
        )
    return embedding_rows(grad, input, padding_idx, scale_grad_by_freq)


@embedding_rows.samples
def embedding_rows_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5, 3), make.ints(2, 4, high=5), -1, False)


@embedding_sums.samples
def embedding_sums_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4, 3), make.ints(4, high=5), 5, -1, False)


def _renormed(weight: Any, index: Any, max_norm: float, norm_type: float) -> None:
    """Rows in use with a norm above `max_norm` are scaled down to it, in place."""
    with no_grad():
        for row in sorted(set(index.reshape(-1).tolist())):
            part = weight[row]
            size = vector_norm(part, norm_type).item()
            if size > max_norm:
                part.mul_(max_norm / (size + 1e-7))


@op(module="nn.functional", composite=True)
def embedding(
    input: Array, weight: Array, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Array:  # fmt: skip
    """The rows of `weight` (rows, width) at the indices `input` (...): (..., width). `padding_idx` gets no gradient."""
    rows = next(iter(weight.shape))
    padding = -1
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding = padding_idx + rows if padding_idx < 0 else padding_idx
    if sparse:
        raise NotImplementedError(
            "embedding: sparse gradients are not built; leave out sparse=True"
        )
    if max_norm is not None:
        _renormed(weight, input, max_norm, norm_type)
    return embedding_rows(weight, input, padding, scale_grad_by_freq)


@embedding.samples
def embedding_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(2, 3, high=5), make(5, 4))
    yield Sample(make.ints(4, high=5), make(5, 4))
    yield Bad(make(3), make(5, 4), raises=RuntimeError, says="scalar types")
    yield Bad(make.ints(3, low=7, high=8), make(5, 4), raises=IndexError, says="out of range")


@op(module="nn.functional", composite=True, traceable=False)
def embedding_bag(
    input: Array, weight: Array, offsets: Any = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Array:  # fmt: skip
    """The sum, mean or largest of the rows of each bag of indices: bags are rows of `input`, or start at `offsets`."""
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode has to be one of sum, mean or max, got {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            f"for mode='sum' (got mode='{mode}')."
        )
    if len(input.shape) == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                "of fixed length sequences."
            )
        count, length = tuple(input.shape)
        starts = [i * length for i in range(count + 1)]
        weights = (
            None if per_sample_weights is None else to_shape(per_sample_weights, (count * length,))
        )
    elif len(input.shape) == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        starts = offsets.tolist()
        if not include_last_offset:
            starts = [*starts, next(iter(input.shape))]
        weights = per_sample_weights
    else:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {len(input.shape)}"
        )
    rows = next(iter(weight.shape))
    padding = None if padding_idx is None else padding_idx % rows
    flat = to_shape(input, (shapes.size_of(tuple(input.shape)),))
    if max_norm is not None:
        _renormed(weight, flat, max_norm, norm_type)
    found = embedding_rows(weight, flat, -1 if padding is None else padding, scale_grad_by_freq)
    if weights is not None:
        found = found * unsqueeze(weights, 1)
    listed = flat.tolist()
    bags = []
    for start, stop in itertools.pairwise(starts):
        used = [i for i in range(start, stop) if listed[i] != padding]
        if not used:
            bags.append(sum(weight[:1], 0) * 0)
            continue
        bag = found[start:stop] if len(used) == stop - start else found[used]
        bags.append(
            sum(bag, 0) if mode == "sum" else mean(bag, 0) if mode == "mean" else bag.max(0)[0]
        )
    return stack(bags)


@embedding_bag.samples
def embedding_bag_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(2, 3, high=5), make(5, 4))
    yield Sample(make.ints(2, 3, high=5), make(5, 4), mode="sum", per_sample_weights=make(2, 3))
    yield Bad(
        make.ints(2, 3, high=5), make(5, 4), mode="some", raises=ValueError, says="mode has to be"
    )


@op(function=False, differentiable=False)
def classes_below(input: Array, num_classes: int) -> Array:
    """The classes as they are; RuntimeError where one is not in [0, num_classes)."""
    input = within(input, low=0, high=None, message="Class values must be non-negative.")
    below = num_classes - 1
    return within(
        input, low=None, high=below, message="Class values must be smaller than num_classes."
    )


@classes_below.samples
def classes_below_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(2, 3, high=4), 4)
    yield Bad(make.ints(3, low=-3, high=-1), 4, raises=RuntimeError, says="non-negative")


@op(module="nn.functional", composite=True, traceable=False, differentiable=False)
def one_hot(tensor: Array, num_classes: int = -1) -> Array:
    """Classes as rows with a one: (...) in int64 to (..., num_classes), the largest class + 1 where that is -1."""
    if getattr(tensor.dtype, "name", "") != "int64":
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if not shapes.size_of(tuple(tensor.shape)):
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return zeros_shaped(tensor, (*tuple(tensor.shape), num_classes))
    if num_classes == -1:
        num_classes = int(tensor.max()) + 1
    tensor = classes_below(tensor, num_classes)
    return scatter(
        zeros_shaped(tensor, (*tuple(tensor.shape), num_classes)), -1, unsqueeze(tensor, -1), 1
    )


@one_hot.samples
def one_hot_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(2, 3, high=4), 4)
    yield Sample(make.ints(3, high=4))
    yield Bad(make.ints(3, low=5, high=6), 4, raises=RuntimeError, says="smaller than num_classes")
