"""gather, index_select, take, and what they are adjoint to: scatter_add, index_add and their kin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.core.dtypes import BOOL, INT64, INTEGRAL, UINT8
from rushlight.core.shapes import dimension
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.indexing import indexed
from rushlight.ops.operands import number, promote, to
from rushlight.ops.reduction import sum
from rushlight.ops.shape import expand, to_shape
from rushlight.primitives import elementwise as p
from rushlight.primitives import gather as g
from rushlight.primitives import structural as s
from rushlight.primitives.sorting import take_along

# -- along one dimension ------------------------------------------------------------------------------------


def _rank(x: Any) -> int:
    return int(getattr(x, "ndim", 0))


def check_index(name: str, x: Any, index: Any, axis: int, source: Any = None) -> None:
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
    check_index("gather", input, index, axis)
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
    check_index("scatter_add", input, index, axis, src)
    if input.dtype != src.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    return g.scatter_along(input, to(index, INT64), src, axis=axis, how="add", keep=True)


@scatter_add.gradient("input")
def scatter_add_gradient_input(grad: Array) -> Array:
    return grad


@scatter_add.gradient("src")
def scatter_add_gradient_src(grad: Array, dim: int, index: Array, src_shape: Any) -> Array:
    return padded_to(gather(grad, dim, index), tuple(src_shape))


def padded_to(x: Any, shape: tuple[int, ...]) -> Any:
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
