"""Joining and repeating: cat, stack and their kin, repeat, tile, repeat_interleave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.autograd.slots import slots
from rushlight.core import shapes
from rushlight.core.dtypes import INT64
from rushlight.core.shapes import dimension
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import promote_all, sequence
from rushlight.ops.parts import narrow, select
from rushlight.ops.reshaping import atleast_1d, atleast_2d, atleast_3d, expand, to_shape
from rushlight.primitives import structural as s
from rushlight.primitives.sorting import add_along, take_along
from rushlight.primitives.structural import concatenate, constant

# -- cat and stack ---------------------------------------------------------------------------------


@op(aliases=("concat", "concatenate"))
def cat(tensors: list[Array], dim: int = 0) -> Array:
    """The tensors one after the other along `dim`; all other sizes must be equal.

    Empty 1-d tensors are passed over.

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
    operands = [
        x for x, old in zip(operands, tensors, strict=True) if old.shape != (0,)
    ] or operands[:1]
    return concatenate(*operands, axis=dimension(dim, full[0].ndim))


@cat.gradient("tensors")
def cat_gradient(grad: Array, tensors_shape: Any, dim: int) -> Any:
    axis = dimension(dim, grad.ndim)
    start = 0
    parts: list[Any] = []
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
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                f"{list(x.shape)} at entry {i}"
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


def _stacked(
    name: str, prepare: Any, axis_of: Any, says: str, aliases: tuple[str, ...] = ()
) -> Any:
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


hstack = _stacked(
    "hstack", atleast_1d, lambda x: 0 if x.ndim == 1 else 1, "Side by side: along columns."
)
vstack = _stacked(
    "vstack", atleast_2d, lambda x: 0, "One below the other: along rows.", ("row_stack",)
)
dstack = _stacked(
    "dstack", atleast_3d, lambda x: 2, "One behind the other: along the third dimension."
)
column_stack = _stacked(
    "column_stack",
    lambda x: x if x.ndim >= 2 else to_shape(x, (shapes.size_of(tuple(x.shape)), 1)),
    lambda x: 1,
    "Vectors as columns of a matrix.",
)


# -- repetition ------------------------------------------------------------------------------------


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
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor"
        )
    if min(counts, default=0) < 0:
        raise RuntimeError(
            f"Trying to create tensor with negative dimension: repeat counts {list(counts)}"
        )
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
def repeat_interleave(
    input: Array, repeats: Any, dim: int | None = None, *, output_size: int | None = None
) -> Array:
    """Each element `repeats` times (a number, or one for each element along `dim`).

    Flattened where `dim` is None.
    """
    x = input if dim is not None else to_shape(input, (shapes.size_of(tuple(input.shape)),))
    axis = dimension(0 if dim is None else dim, x.ndim)
    size = tuple(x.shape)[axis] if x.ndim else 1
    counts = repeats.reshape(-1).tolist() if hasattr(repeats, "dtype") else [int(repeats)]
    if min(counts, default=0) < 0:
        raise RuntimeError("repeats can not be negative")
    counts = counts * size if len(counts) == 1 else counts
    if len(counts) != size:
        raise RuntimeError(
            f"repeats must be 0-dim or 1-dim tensor of the size of dim {axis} ({size}), but has "
            f"{len(counts)} elements"
        )
    places = [i for i, n in enumerate(counts) for _ in range(n)]
    if output_size is not None and output_size != len(places):
        raise RuntimeError(
            f"repeat_interleave: output_size {output_size} is not the sum of repeats, {len(places)}"
        )
    return take_listed(to_shape(x, (1,)) if not x.ndim else x, tuple(places), axis)


@op(function=False, node="RepeatInterleaveBackward0")
def take_listed(input: Array, places: tuple[int, ...], dim: int) -> Array:
    """The parts at listed places along `dim`."""
    shape = [1] * input.ndim
    shape[dim] = len(places)
    return take_along(input, _listed(places, tuple(shape), input.shape, dim), axis=dim)


def _listed(
    places: tuple[int, ...], shape: tuple[int, ...], full: tuple[int, ...], dim: int
) -> Any:
    at = constant(values=places, shape=shape, dtype=INT64)
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
