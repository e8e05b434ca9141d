"""In order: sort, argsort, msort, topk, kthvalue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.core.dtypes import INT64
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.positions import back_to_places, check_ordered
from rushlight.primitives import structural as s
from rushlight.primitives.sorting import sort as p_sort


@op(method=True, outputs=("values", "indices"))
def sort(input: Array, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The elements in order along `dim`, and where they were.

    Equal ones keep their order; NaN is the largest.
    """
    check_ordered("sort", input)
    axis = shapes.dimension(dim, input.ndim)
    if not input.ndim:
        return s.copy(input), s.full(0, shape=(), dtype=INT64)
    return p_sort(input, axis=axis, descending=bool(descending), stable=True)


@sort.gradient("input")
def sort_gradient(grad: Array, indices: Array, input_shape: tuple[int, ...], dim: int) -> Array:
    return back_to_places(grad, indices, input_shape, dim, True)


@sort.samples
def sort_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make.distinct(3, 4), 0, True)
    yield Sample(make(()))
    yield Bad(make(3), 1, raises=IndexError, says="out of range")


@op(method=True, differentiable=False)
def argsort(input: Array, dim: int = -1, descending: bool = False, stable: bool = False) -> Array:
    """The indices that put the elements in order along `dim`."""
    return sort.op.body(input, dim, descending, stable)[1]


argsort.samples(sort_samples)


@op(method=True, composite=True)
def msort(input: Array) -> Array:
    """The elements in order along the first dimension."""
    return sort(input, 0)[0]


@msort.samples
def msort_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))


@op(method=True, outputs=("values", "indices"))
def topk(input: Array, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (or smallest) elements along `dim`, in order, and where they were."""
    check_ordered("topk", input)
    axis = shapes.dimension(dim, input.ndim)
    size = input.shape[axis] if input.ndim else 1
    if not 0 <= k <= size:
        raise RuntimeError(f"selected index k out of range: {k} of {size} elements")
    if not input.ndim:
        return s.copy(input), s.full(0, shape=(), dtype=INT64)
    values, indices = p_sort(input, axis=axis, descending=bool(largest), stable=True)
    stops = (*input.shape[:axis], k, *input.shape[axis + 1 :])
    window = {"starts": (0,) * input.ndim, "stops": stops, "steps": (1,) * input.ndim}
    return s.copy(s.slice_(values, **window)), s.copy(s.slice_(indices, **window))


@topk.gradient("input")
def topk_gradient(grad: Array, indices: Array, input_shape: tuple[int, ...], dim: int) -> Array:
    return back_to_places(grad, indices, input_shape, dim, True)


@topk.samples
def topk_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), 2)
    yield Sample(make.distinct(3, 4), 2, 0, False)
    yield Bad(make(3), 4, raises=RuntimeError, says="k out of range")


@op(method=True, outputs=("values", "indices"))
def kthvalue(input: Array, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest element along `dim` (k from 1), and where it was."""
    axis = shapes.dimension(dim, input.ndim)
    size = input.shape[axis] if input.ndim else 1
    if not size:
        raise IndexError(f"kthvalue(): Expected reduction dim {axis} to have non-zero size.")
    if not 1 <= k <= size:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {axis}")
    return at_rank(input, axis, k - 1, bool(keepdim))


def at_rank(x: Any, axis: int, rank: int, keepdim: bool) -> tuple[Any, Any]:
    """The element of a rank (from 0) in the order along an axis, and where it is."""
    if not x.ndim:
        return s.copy(x), s.full(0, shape=(), dtype=INT64)
    values, indices = p_sort(x, axis=axis, descending=False, stable=True)
    starts = tuple(rank if a == axis else 0 for a in range(x.ndim))
    stops = tuple(rank + 1 if a == axis else n for a, n in enumerate(x.shape))
    window = {"starts": starts, "stops": stops, "steps": (1,) * x.ndim}
    shape = shapes.reduced(x.shape, (axis,), keepdim)
    return tuple(s.copy(s.reshape(s.slice_(v, **window), shape=shape)) for v in (values, indices))  # type: ignore[return-value]


def ranked_gradient(
    grad: Array, indices: Array, input_shape: tuple[int, ...], dim: int, keepdim: bool
) -> Array:
    """The gradient of values chosen along `dim`, as `kthvalue` and `median` choose them."""
    return back_to_places(grad, indices, input_shape, dim, keepdim)


kthvalue.gradient("input")(ranked_gradient)


@kthvalue.samples
def kthvalue_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), 2)
    yield Sample(make.distinct(3, 4), 2, 0, True)
    yield Bad(make(3), 4, raises=RuntimeError, says="k out of range")
