"""Elements by their position along a dimension: what the gradients of max, sort, median and their kin share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.core.dtypes import COMPLEX, INT64
from rushlight.ops.declare import Array, Sample, op
from rushlight.ops.element_tests import isnan
from rushlight.ops.reduction import kept, spread, sum
from rushlight.ops.reshaping import to_shape
from rushlight.ops.selection import choose
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.reduction import argmax
from rushlight.primitives.sorting import add_along, take_along


@op(function=False, node="GatherBackward0")
def pick(input: Array, places: Array, dim: int) -> Array:
    """The elements at `places` along `dim`."""
    return take_along(input, places, axis=dim)


@pick.gradient("input")
def pick_gradient(grad: Array, places: Array, input_shape: tuple[int, ...], dim: int) -> Array:
    return place(grad, places, dim, input_shape[dim])


@pick.samples
def pick_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.ints(2, 4, high=3), 0)


@op(function=False)
def place(input: Array, places: Array, dim: int, size: int) -> Array:
    """Zeros of `size` along `dim`, with the elements added at `places`."""
    return add_along(input, places, axis=dim, size=size)


@place.gradient("input")
def place_gradient(grad: Array, places: Array, dim: int) -> Array:
    return pick(grad, places, dim)


@place.samples
def place_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 4), make.ints(2, 4, high=3), 0, 3)


def check_ordered(name: str, x: Any) -> None:
    """NotImplementedError for complex numbers."""
    if x.dtype in COMPLEX:
        raise NotImplementedError(
            f"{name}() is not implemented for {x.dtype}: complex numbers have no order; take abs() or real parts"
        )


def back_to_places(
    grad: Array, indices: Array, shape: tuple[int, ...], dim: int, keepdim: bool
) -> Array:
    """The gradient of values that were chosen along `dim` at `indices`."""
    if not shape:
        return to_shape(grad, ())
    d = shapes.dimension(dim, len(shape))
    return place(kept(grad, shape, d, keepdim), kept(indices, shape, d, keepdim), d, shape[d])


def chosen(x: Any, places: Any, axis: int, keepdim: bool) -> tuple[Any, Any]:
    """Values and indices at `places` (reduced along `axis`)."""
    if not x.ndim:
        return s.copy(x), places
    wide = s.reshape(places, shape=shapes.reduced(x.shape, (axis,), True))
    values = take_along(x, wide, axis=axis)
    if keepdim:
        return values, wide
    return s.reshape(values, shape=shapes.reduced(x.shape, (axis,), False)), places


def shared_by_ties(grad: Array, input: Array, out: Array, dim: Any, keepdim: bool) -> Array:
    """The gradient of a value that was chosen by its size: shared evenly by all elements that have it."""
    shape = tuple(input.shape)
    top = spread(out, shape, dim, keepdim)
    reached = (input == top) | (isnan(input) & isnan(top))
    return choose(reached, spread(grad, shape, dim, keepdim) / sum(reached, dim, True), 0)


@op(function=False, differentiable=False)
def one_hot_like(input: Array, dim: int) -> Array:
    """1 at the largest element along `dim`, else 0."""
    axis = dim % input.ndim
    shape = [1] * input.ndim
    shape[axis] = input.shape[axis]
    at = s.reshape(
        argmax(input, axis=axis), shape=(*input.shape[:axis], 1, *input.shape[axis + 1 :])
    )
    places = s.reshape(s.iota(length=input.shape[axis], dtype=INT64), shape=tuple(shape))
    return s.cast(p.equal(places, at), dtype=input.dtype)


@one_hot_like.samples
def one_hot_like_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), 1)
