"""Joining and rearranging: cat, stack, repeat, roll, flip, triangles, diagonals, grids."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from rushlight.autograd.engine import slots
from rushlight.core import shapes
from rushlight.core.dtypes import INT64
from rushlight.core.shapes import dimension
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import promote_all, sequence
from rushlight.ops.shape import (
    atleast_1d, atleast_2d, atleast_3d, diagonal, expand, narrow, permute, select, to_shape, transpose,
)  # fmt: skip
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.sorting import add_along, take_along
from rushlight.primitives.structural import concatenate, constant
from rushlight.primitives.views import show, update

# -- cat and stack ------------------------------------------------------------------------------------------


@op(aliases=("concat", "concatenate"))
def cat(tensors: list[Array], dim: int = 0) -> Array:
    """The tensors one after the other along `dim`; all other sizes must be equal. Empty 1-d tensors are passed over.

    >>> import rushlight
    >>> rushlight.cat([rushlight.ones(1, 2), rushlight.zeros(1, 2)])
    tensor([[1., 1.],
            [0., 0.]])
    """
    if not tensors:
        raise ValueError("expected a non-empty list of Tensors")
    full = [x for x in tensors if x.shape != (0,)] or tensors[:1]
    for i, x in enumerate(tensors):
        if not x.ndim:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    operands = promote_all(*tensors) if len(tensors) > 1 else list(tensors)
    operands = [x for x, old in zip(operands, tensors, strict=True) if old.shape != (0,)] or operands[:1]
    return concatenate(*operands, axis=dimension(dim, full[0].ndim))


@cat.gradient("tensors")
def cat_gradient(grad: Array, tensors_shape: Any, dim: int) -> Any:
    axis = dimension(dim, grad.ndim)
    start, parts = 0, []
    for shape in tensors_shape:
        if shape == (0,) and grad.ndim != 1:
            parts.append(None)
            continue
        parts.append(narrow(grad, axis, start, shape[axis]))
        start += shape[axis]
    return parts


@cat.samples
def cat_samples(make: Any) -> Iterator[Any]:
    yield Sample([make(2, 3), make(4, 3)])
    yield Sample([make(2, 3), make(2, 1), make(2, 2)], 1)
    yield Sample([make(2, 3), make(2, 3)], -1)
    yield Sample([make(0), make(2, 3)])
    yield Bad([make(2, 3), make(2, 4)], raises=RuntimeError, says="Sizes of tensors must match")
    yield Bad([], raises=ValueError, says="non-empty")


@op()
def stack(tensors: list[Array], dim: int = 0) -> Array:
    """The tensors, all of one shape, along a new dimension."""
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = tensors[0].shape
    for i, x in enumerate(tensors):
        if x.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and {list(x.shape)} at entry {i}"
            )
    axis = dimension(dim, len(shape) + 1)
    wide = (*shape[:axis], 1, *shape[axis:])
    operands = promote_all(*tensors) if len(tensors) > 1 else list(tensors)
    return concatenate(*(s.reshape(x, shape=wide) for x in operands), axis=axis)


@stack.gradient("tensors")
def stack_gradient(grad: Array, tensors_shape: Any, dim: int) -> Any:
    axis = dimension(dim, grad.ndim)
    return [select(grad, axis, i) for i in range(len(tensors_shape))]


@stack.samples
def stack_samples(make: Any) -> Iterator[Any]:
    yield Sample([make(2, 3), make(2, 3)])
    yield Sample([make(2, 3), make(2, 3)], -1)
    yield Sample([make(()), make(())])
    yield Bad([make(2), make(3)], raises=RuntimeError, says="equal size")


slots.stack = stack


def _stacked(name: str, prepare: Any, axis_of: Any, says: str, aliases: tuple[str, ...] = ()) -> Any:
    def body(tensors: Any) -> Array:
        if not tensors:
            raise RuntimeError(f"{name} expects a non-empty TensorList")
        items = [prepare(x) for x in tensors]
        return cat(items, axis_of(items[0]))

    body.__name__, body.__doc__ = name, says
    declared = op(body, composite=True, aliases=aliases)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample([make(3), make(3)])
        yield Sample([make(2, 3), make(2, 3)])
        yield Bad([], raises=RuntimeError, says="non-empty")

    return declared


hstack = _stacked("hstack", atleast_1d, lambda x: 0 if x.ndim == 1 else 1, "Side by side: along columns.")
vstack = _stacked("vstack", atleast_2d, lambda x: 0, "One below the other: along rows.", ("row_stack",))
dstack = _stacked("dstack", atleast_3d, lambda x: 2, "One behind the other: along the third dimension.")
column_stack = _stacked(
    "column_stack",
    lambda x: x if x.ndim >= 2 else to_shape(x, (shapes.size_of(tuple(x.shape)), 1)),
    lambda x: 1,
    "Vectors as columns of a matrix.",
)


# -- repetition ---------------------------------------------------------------------------------------------


def _tiled(x: Any, counts: tuple[int, ...]) -> Any:
    shape = tuple(x.shape)
    extra = len(counts) - len(shape)
    shape = (1,) * extra + shape
    wide = tuple(n for pair in zip((1,) * len(shape), shape) for n in pair)
    target = tuple(n for pair in zip(counts, shape) for n in pair)
    tall = expand(to_shape(x, wide), target)
    return to_shape(tall, tuple(c * n for c, n in zip(counts, shape)))


@op(method=True, composite=True, function=False)
def repeat(input: Array, *repeats: Any) -> Array:
    """The tensor copied `repeats` times along each dimension; new dimensions are put before."""
    counts = sequence(repeats)
    if len(counts) < input.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if min(counts, default=0) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension: repeat counts {list(counts)}")
    return copied(_tiled(input, counts))


@op(function=False, node="RepeatBackward0")
def copied(input: Array) -> Array:
    """A copy of an expanded view."""
    return s.copy(input)


copied.gradient("input")(lambda grad: grad)


@copied.samples
def copied_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))


@repeat.samples
def repeat_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 2, 1)
    yield Sample(make(3), (2, 2, 2))
    yield Sample(make(()), 3)
    yield Bad(make(2, 3), 2, raises=RuntimeError, says="can not be smaller")


@op(method=True, composite=True)
def tile(input: Array, *dims: Any) -> Array:
    """As `repeat`, but missing counts are 1."""
    counts = sequence(dims)
    return repeat(input, (1,) * (input.ndim - len(counts)) + counts)


@tile.samples
def tile_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), (2,))
    yield Sample(make(2, 3), (2, 1, 2))


@op(method=True, composite=True, traceable=False)
def repeat_interleave(input: Array, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Array:
    """Each element `repeats` times (a number, or one for each element along `dim`); flattened where `dim` is None."""
    x = input if dim is not None else to_shape(input, (shapes.size_of(tuple(input.shape)),))
    axis = dimension(0 if dim is None else dim, x.ndim)
    size = tuple(x.shape)[axis] if x.ndim else 1
    counts = repeats.reshape(-1).tolist() if hasattr(repeats, "dtype") else [int(repeats)]
    if min(counts, default=0) < 0:
        raise RuntimeError("repeats can not be negative")
    counts = counts * size if len(counts) == 1 else counts
    if len(counts) != size:
        raise RuntimeError(
            f"repeats must be 0-dim or 1-dim tensor of the size of dim {axis} ({size}), but has {len(counts)} elements"
        )
    places = [i for i, n in enumerate(counts) for _ in range(n)]
    if output_size is not None and output_size != len(places):
        raise RuntimeError(f"repeat_interleave: output_size {output_size} is not the sum of repeats, {len(places)}")
    return take_listed(to_shape(x, (1,)) if not x.ndim else x, tuple(places), axis)


@op(function=False, node="RepeatInterleaveBackward0")
def take_listed(input: Array, places: tuple[int, ...], dim: int) -> Array:
    """The parts at listed places along `dim`."""
    shape = [1] * input.ndim
    shape[dim] = len(places)
    return take_along(input, _listed(places, tuple(shape), input.shape, dim), axis=dim)


def _listed(places: tuple[int, ...], shape: tuple[int, ...], full: tuple[int, ...], dim: int) -> Any:
    at = constant(values=places, shape=shape)
    return s.expand(at, shape=tuple(len(places) if i == dim else n for i, n in enumerate(full)))


@take_listed.gradient("input")
def take_listed_gradient(grad: Array, input_shape: tuple[int, ...], places: Any, dim: int) -> Array:
    return add_listed(grad, places, dim, input_shape[dim])


@op(function=False)
def add_listed(input: Array, places: tuple[int, ...], dim: int, size: int) -> Array:
    """Zeros of `size` along `dim` with the parts added at listed places."""
    shape = [1] * input.ndim
    shape[dim] = len(places)
    return add_along(input, _listed(places, tuple(shape), input.shape, dim), axis=dim, size=size)


@add_listed.gradient("input")
def add_listed_gradient(grad: Array, places: Any, dim: int) -> Array:
    return take_listed(grad, places, dim)


@take_listed.samples
def take_listed_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 2), (0, 0, 2), 0)


@add_listed.samples
def add_listed_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 2), (0, 0, 2), 0, 4)


@repeat_interleave.samples
def repeat_interleave_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 2)
    yield Sample(make(2, 3), 2, 1)
    yield Sample(make(2, 3), make.ints(3, high=3), 1)
    yield Bad(make(2), -1, raises=RuntimeError, says="negative")


# -- turning ------------------------------------------------------------------------------------------------


@op(method=True)
def flip(input: Array, *dims: Any) -> Array:
    """The order of elements reversed along each of `dims`."""
    axes = tuple(dimension(d, input.ndim) for d in sequence(dims))
    if len(set(axes)) != len(axes):
        raise RuntimeError(f"dim appears multiple times in the list of dims: {list(sequence(dims))}")
    return s.flip(input, axes=axes) if axes and input.ndim else s.copy(input)


@flip.gradient("input")
def flip_gradient(grad: Array, dims: Any) -> Array:
    return flip(grad, *dims)


@flip.samples
def flip_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 0)
    yield Sample(make(2, 3, 4), (0, -1))
    yield Bad(make(2, 3), (0, 0), raises=RuntimeError, says="multiple times")


@op(method=True, composite=True)
def fliplr(input: Array) -> Array:
    """Columns in reversed order."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


@op(method=True, composite=True)
def flipud(input: Array) -> Array:
    """Rows in reversed order."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


def _matrix(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
    yield Bad(make(()), raises=RuntimeError, says="Input must be")


fliplr.samples(_matrix)
flipud.samples(_matrix)


@op(method=True, composite=True)
def rot90(input: Array, k: int = 1, dims: Any = (0, 1)) -> Array:
    """Turned k times by 90 degrees, from the first of `dims` towards the second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    a, b = dimension(dims[0], input.ndim), dimension(dims[1], input.ndim)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}")
    turns = k % 4
    if turns == 1:
        return transpose(flip(input, b), a, b)
    if turns == 2:
        return flip(input, (a, b))
    if turns == 3:
        return transpose(flip(input, a), a, b)
    return copied(input)


@rot90.samples
def rot90_samples(make: Any) -> Iterator[Any]:
    for k in range(4):
        yield Sample(make(2, 3), k)
    yield Bad(make(2, 3), 1, (0, 0), raises=RuntimeError, says="different")


@op(method=True)
def roll(input: Array, shifts: Any, dims: Any = None) -> Array:
    """Elements moved by `shifts` along `dims`; what falls off the end comes back at the start."""
    moves = sequence((shifts,)) if isinstance(shifts, (tuple, list)) else (int(shifts),)
    if dims is None or dims == ():
        if len(moves) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:0")
        flat = s.reshape(input, shape=(input.size,))
        return s.reshape(_rolled(flat, moves[0], 0), shape=input.shape)
    axes = sequence((dims,)) if isinstance(dims, (tuple, list)) else (int(dims),)
    if len(axes) != len(moves):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(axes)}")
    for shift, d in zip(moves, axes, strict=True):
        input = _rolled(input, shift, dimension(d, input.ndim))
    return input


def _rolled(x: Any, shift: int, axis: int) -> Any:
    size = x.shape[axis] if x.ndim else 0
    if not size or not shift % size:
        return s.copy(x)
    cut = size - shift % size
    start, stop = [0] * x.ndim, list(x.shape)
    tail = s.slice_(x, starts=tuple(cut if a == axis else 0 for a in range(x.ndim)), stops=x.shape, steps=(1,) * x.ndim)
    stop[axis] = cut
    head = s.slice_(x, starts=tuple(start), stops=tuple(stop), steps=(1,) * x.ndim)
    return concatenate(tail, head, axis=axis)


@roll.gradient("input")
def roll_gradient(grad: Array, shifts: Any, dims: Any) -> Array:
    back = [-n for n in shifts] if isinstance(shifts, (tuple, list)) else -shifts
    return roll(grad, back, dims)


@roll.samples
def roll_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 2)
    yield Sample(make(2, 3), 1, 1)
    yield Sample(make(2, 3), (1, -4), (0, 1))
    yield Bad(make(2, 3), (1, 2), 0, raises=RuntimeError, says="must align")


# -- triangles and diagonals --------------------------------------------------------------------------------


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
        raise RuntimeError(f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = {list(wanted)}")
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
def slice_scatter(input: Array, src: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Array:
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
def diagonal_scatter(input: Array, src: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    """A copy in which a diagonal is `src`."""
    return written(input, src, diagonal.op.body(getattr(input, "_array", input), offset, dim1, dim2))


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


# -- products of sets ---------------------------------------------------------------------------------------


@op(composite=True)
def meshgrid(*tensors: Any, indexing: str | None = None) -> Any:
    """Vectors expanded to a common grid; `indexing` is "ij" (rows first, the default) or "xy"."""
    items: Sequence[Any] = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    if not items:
        raise ValueError("meshgrid expects a non-empty TensorList")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    if any(x.ndim > 1 for x in items):
        raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {[x.ndim for x in items]}")
    swap = indexing == "xy" and len(items) > 1
    items = list(items)
    if swap:
        items[0], items[1] = items[1], items[0]
    sizes = tuple(shapes.size_of(tuple(x.shape)) for x in items)
    grids = [
        expand(to_shape(x, tuple(n if j == i else 1 for j, n in enumerate(sizes))), sizes) for i, x in enumerate(items)
    ]
    if swap:
        grids = [transpose(g, 0, 1) for g in grids]
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@meshgrid.samples
def meshgrid_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2), make(3))
    yield Sample(make(2), make(3), make(()), indexing="xy")
    yield Bad(make(2), indexing="up", raises=RuntimeError, says="indexing must be")


@op(composite=True)
def cartesian_prod(*tensors: Any) -> Array:
    """All tuples of elements of vectors, one a row."""
    if len(tensors) == 1:
        return tensors[0]
    return stack([to_shape(g, (shapes.size_of(tuple(g.shape)),)) for g in meshgrid(*tensors, indexing="ij")], 1)


@cartesian_prod.samples
def cartesian_prod_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2), make(3))


@op(composite=True)
def combinations(input: Array, r: int = 2, with_replacement: bool = False) -> Array:
    """All choices of r elements of a vector, one a row."""
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(tuple(input.shape)[0]), r))
    if not rows or r == 0:
        return zeros_of(input, (len(rows) if r else 0, r) if r else (0,))
    places = tuple(i for row in rows for i in row)
    return to_shape(take_listed(input, places, 0), (len(rows), r))


@combinations.samples
def combinations_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4))
    yield Sample(make(3), 2, True)


@op(method=True, composite=True)
def kron(input: Array, other: Array) -> Array:
    """Kronecker's product: each element of `input` times all of `other`."""
    rank = max(input.ndim, other.ndim)
    a = (1,) * (rank - input.ndim) + tuple(input.shape)
    b = (1,) * (rank - other.ndim) + tuple(other.shape)
    left = to_shape(input, tuple(n for x in a for n in (x, 1)))
    right = to_shape(other, tuple(n for x in b for n in (1, x)))
    return to_shape(left * right, tuple(x * y for x, y in zip(a, b, strict=True)))


@kron.samples
def kron_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(3, 2))
    yield Sample(make(2), make(3, 2))

