"""Triangles and diagonals of matrices, and tensors with one part replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.core.dtypes import INT64
from rushlight.core.shapes import dimension
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import cat, copied
from rushlight.ops.orders import permute
from rushlight.ops.parts import diagonal, select
from rushlight.ops.reshaping import atleast_2d, to_shape
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.views import show, update


def _band(x: Any, diagonal: int, keep_lower: bool) -> Any:
    """Which elements of the last two dimensions lie on one side of a diagonal."""
    if x.ndim < 2:
        raise RuntimeError("tril/triu: input tensor must have at least 2 dimensions")
    rows = s.reshape(s.iota(length=x.shape[-2], dtype=INT64), shape=(x.shape[-2], 1))
    columns = s.iota(length=x.shape[-1], dtype=INT64)
    offset = p.sub(columns, rows)
    return p.less_equal(offset, diagonal) if keep_lower else p.greater_equal(offset, diagonal)


def _zero(x: Any) -> Any:
    return s.full(0, shape=(), dtype=x.dtype)


@op(method=True, inplace=True)
def tril(input: Array, diagonal: int = 0) -> Array:
    """Matrices with zeros above a diagonal."""
    return s.select(_band(input, diagonal, True), input, _zero(input))


@tril.gradient("input")
def tril_gradient(grad: Array, diagonal: int) -> Array:
    return tril(grad, diagonal)


@op(method=True, inplace=True)
def triu(input: Array, diagonal: int = 0) -> Array:
    """Matrices with zeros below a diagonal."""
    return s.select(_band(input, diagonal, False), input, _zero(input))


@triu.gradient("input")
def triu_gradient(grad: Array, diagonal: int) -> Array:
    return triu(grad, diagonal)


def _band_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(2, 3, 3), 1)
    yield Sample(make(3, 4), -1)
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")


tril.samples(_band_samples)
triu.samples(_band_samples)


@op(function=False, node="SelectScatterBackward0")
def written(input: Array, src: Array, steps: Any) -> Array:
    """`input` with `src` where the view looks that `steps` lead to."""
    wanted = tuple(show(input, steps).shape)
    if tuple(src.shape) != wanted:
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(wanted)}"
        )
    return update(input, s.cast(src, dtype=input.dtype) if src.dtype != input.dtype else src, steps)


@written.gradient("input")
def written_gradient_input(grad: Array, src_shape: Any, steps: Any) -> Array:
    return cleared(grad, tuple(src_shape), steps)


@written.gradient("src")
def written_gradient_src(grad: Array, steps: Any) -> Array:
    return shown(grad, steps)


@op(function=False)
def shown(input: Array, steps: Any) -> Array:
    """A copy of the view that `steps` lead to."""
    return s.copy(show(input, steps))


@shown.gradient("input")
def shown_gradient(grad: Array, input_shape: Any, steps: Any) -> Array:
    return written(zeros_of(grad, tuple(input_shape)), grad, steps)


@op(function=False, differentiable=False)
def zeros_of(input: Array, shape: tuple[int, ...]) -> Array:
    """Zeros of a shape in the input's dtype."""
    return s.full(0, shape=shape, dtype=input.dtype)


@op(function=False)
def cleared(input: Array, shape: tuple[int, ...], steps: Any) -> Array:
    """`input` with zeros where the view looks."""
    return update(input, s.full(0, shape=shape, dtype=input.dtype), steps)


@cleared.gradient("input")
def cleared_gradient(grad: Array, shape: Any, steps: Any) -> Array:
    return cleared(grad, shape, steps)


@op(method=True, composite=True)
def select_scatter(input: Array, src: Array, dim: int, index: int) -> Array:
    """A copy in which the part at `index` along `dim` is `src`."""
    return written(input, src, select.op.body(getattr(input, "_array", input), dim, index))


@select_scatter.samples
def select_scatter_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3), 1, 2)
    yield Bad(make(3, 4), make(4), 1, 2, raises=RuntimeError, says="size equal")


@op(method=True, composite=True)
def slice_scatter(
    input: Array, src: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Array:
    """A copy in which the slice [start:end:step] along `dim` is `src`."""
    axis = dimension(dim, input.ndim)
    shape = tuple(input.shape)
    first, last, _ = slice(start, end, step).indices(shape[axis])
    steps = (
        (
            s.slice_,
            {
                "starts": tuple(first if a == axis else 0 for a in range(len(shape))),
                "stops": tuple(max(first, last) if a == axis else n for a, n in enumerate(shape)),
                "steps": tuple(step if a == axis else 1 for a in range(len(shape))),
            },
        ),
    )
    return written(input, src, steps)


@slice_scatter.samples
def slice_scatter_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5, 4), make(2, 4), 0, 1, 5, 2)
    yield Sample(make(5, 4), make(5, 2), 1, -2)


@op(method=True, composite=True)
def diagonal_scatter(
    input: Array, src: Array, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Array:
    """A copy in which a diagonal is `src`."""
    return written(
        input, src, diagonal.op.body(getattr(input, "_array", input), offset, dim1, dim2)
    )


@diagonal_scatter.samples
def diagonal_scatter_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3))
    yield Sample(make(3, 4), make(3), 1)


@op(method=True, composite=True)
def diag_embed(input: Array, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Array:
    """Zeros of two new dimensions whose diagonal is the last dimension of `input`."""
    rank = input.ndim + 1
    a, b = dimension(dim1, rank), dimension(dim2, rank)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = tuple(input.shape)[-1] + abs(offset)
    lead = tuple(input.shape)[:-1]
    square = zeros_of(input, (*lead, size, size))
    filled = diagonal_scatter(square, input, offset, -2, -1)
    order: list[int] = [-1] * rank
    order[a], order[b] = rank - 2, rank - 1
    rest = iter(range(rank - 2))
    return permute(filled, tuple(next(rest) if i < 0 else i for i in order))


@diag_embed.samples
def diag_embed_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3))
    yield Sample(make(2, 3), 1)
    yield Sample(make(2, 3), -1, 0, 2)


@op(method=True, composite=True)
def diag(input: Array, diagonal: int = 0) -> Array:
    """A vector as the diagonal of a matrix; of a matrix its diagonal, copied."""
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return copied(_diagonal(input, diagonal))


def _diagonal(x: Any, offset: int) -> Any:
    return diagonal(x, offset)


@diag.samples
def diag_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3))
    yield Sample(make(3, 4), 1)
    yield Bad(make(2, 2, 2), raises=RuntimeError, says="1D or 2D")


@op(method=True, composite=True)
def diagflat(input: Array, offset: int = 0) -> Array:
    """All elements as the diagonal of a matrix."""
    return diag_embed(to_shape(input, (shapes.size_of(tuple(input.shape)),)), offset)


@diagflat.samples
def diagflat_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 2), 1)


@op(composite=True)
def block_diag(*tensors: Any) -> Array:
    """Matrices along the diagonal of a larger one."""
    items = [atleast_2d(x) for x in tensors]
    if any(x.ndim > 2 for x in items):
        raise RuntimeError("torch.block_diag: Input tensors must have 2 or fewer dimensions.")
    width = sum(tuple(x.shape)[1] for x in items)
    rows, left = [], 0
    for x in items:
        height, own = tuple(x.shape)
        row = cat([zeros_of(x, (height, left)), x, zeros_of(x, (height, width - left - own))], 1)
        rows.append(row)
        left += own
    return cat(rows, 0)


@block_diag.samples
def block_diag_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(2), make(()))
