"""Largest, smallest, middle and in order: max, argmax, median, sort, topk, quantile, cumulative extremes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.core.dtypes import COMPLEX, FLOATING, INT64
from rushlight.ops.comparison import maximum, minimum
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.pointwise import isnan
from rushlight.ops.reduction import axes_of, kept, spread, sum
from rushlight.ops.selection import choose
from rushlight.ops.shape import narrow, to_shape
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.reduction import argmax as p_argmax
from rushlight.primitives.reduction import argmin as p_argmin
from rushlight.primitives.reduction import cumulative_max, cumulative_min, reduce_max, reduce_min
from rushlight.primitives.sorting import add_along, take_along
from rushlight.primitives.sorting import sort as p_sort

# -- elements by position -----------------------------------------------------------------------------------


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


def _ordered(name: str, x: Any) -> None:
    if x.dtype in COMPLEX:
        raise RuntimeError(f"{name}: complex numbers have no order; take abs() or real parts")


def _back(grad: Array, indices: Array, shape: tuple[int, ...], dim: int, keepdim: bool) -> Array:
    """The gradient of values that were chosen along `dim` at `indices`."""
    if not shape:
        return to_shape(grad, ())
    d = shapes.dimension(dim, len(shape))
    return place(kept(grad, shape, d, keepdim), kept(indices, shape, d, keepdim), d, shape[d])


def _chosen(x: Any, places: Any, axis: int, keepdim: bool) -> tuple[Any, Any]:
    """Values and indices at `places` (reduced along `axis`)."""
    if not x.ndim:
        return s.copy(x), places
    wide = s.reshape(places, shape=shapes.reduced(x.shape, (axis,), True))
    values = take_along(x, wide, axis=axis)
    if keepdim:
        return values, wide
    return s.reshape(values, shape=shapes.reduced(x.shape, (axis,), False)), places


# -- max and min --------------------------------------------------------------------------------------------


def _with_index(name: str, position: Any) -> Any:
    def body(input: Array, dim: int, keepdim: bool = False) -> Any:
        _ordered(name, input)
        axis = shapes.dimension(dim, input.ndim)
        if input.ndim and input.shape[axis] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")
        if not input.ndim:
            return s.copy(input), s.full(0, shape=(), dtype=INT64)
        return _chosen(input, position(input, axis=axis), axis, bool(keepdim))

    body.__name__ = name
    body.__doc__ = f"`{name}` along one dimension: values and indices."
    declared = op(body, name=f"{name}_along", outputs=("values", "indices"), function=False, node=f"{name.capitalize()}Backward0")

    @declared.gradient("input")
    def _(grad: Array, indices: Array, input_shape: tuple[int, ...], dim: int, keepdim: bool) -> Array:
        return _back(grad, indices, input_shape, dim, keepdim)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4), 1)
        yield Sample(make.distinct(3, 4), 0, True)
        yield Bad(make(3, 0), 1, raises=IndexError, says="non-zero size")

    return declared


max_along = _with_index("max", p_argmax)
min_along = _with_index("min", p_argmin)


def _extreme(name: str, compute: Any) -> Any:
    def body(input: Array, dim: Any = (), keepdim: bool = False) -> Array:
        _ordered(name, input)
        return compute(input, axes=axes_of(dim, input.ndim), keepdim=bool(keepdim))

    body.__name__ = name
    body.__doc__ = f"The {'largest' if 'max' in name else 'smallest'} element of all, or along `dim`; ties share the gradient."
    declared = op(body, method=True)

    @declared.gradient("input")
    def _(grad: Array, input: Array, out: Array, dim: Any, keepdim: bool) -> Array:
        shape = tuple(input.shape)
        top = spread(out, shape, dim, keepdim)
        reached = (input == top) | (isnan(input) & isnan(top))
        ties = sum(reached, dim, True)
        return choose(reached, spread(grad, shape, dim, keepdim) / ties, 0)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4))
        yield Sample(make.distinct(3, 4), 1)
        yield Sample(make.distinct(2, 3, 4), (0, 2), True)
        yield Bad(make(3, 0), 1, raises=RuntimeError, says="size 0")

    return declared


amax = _extreme("amax", reduce_max)
amin = _extreme("amin", reduce_min)


def _max_like(name: str, along: Any, whole: Any, pairwise: Any) -> Any:
    def body(input: Array, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            if not shapes.size_of(tuple(input.shape)):
                raise RuntimeError(
                    f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument."
                )
            return whole(input)
        if hasattr(dim, "dtype") and dim.__class__ is not int:
            return pairwise(input, dim)
        return along(input, dim, keepdim)

    body.__name__ = name
    body.__doc__ = (
        f"`{name}(input)`: the {'largest' if name == 'max' else 'smallest'} element; `{name}(input, dim)`: values and indices along a dimension; "
        f"`{name}(input, other)`: `{'maximum' if name == 'max' else 'minimum'}` of two tensors."
    )
    declared = op(body, method=True, composite=True)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4))
        yield Sample(make.distinct(3, 4), 1)
        yield Sample(make.distinct(3, 4), 0, True)
        yield Sample(make(3, 4), make(4, low=3, high=4))
        yield Bad(make(0), raises=RuntimeError, says="numel() == 0")

    return declared


max = _max_like("max", max_along, amax, maximum)
min = _max_like("min", min_along, amin, minimum)


@op(method=True, composite=True, outputs=("min", "max"))
def aminmax(input: Array, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the largest element, of all or along `dim`."""
    from rushlight.ops.record import named_result

    which = () if dim is None else dim
    return named_result(aminmax.op)(amin(input, which, keepdim), amax(input, which, keepdim))


@aminmax.samples
def aminmax_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make.distinct(3, 4), dim=1, keepdim=True)


def _position(name: str, compute: Any) -> Any:
    def body(input: Array, dim: int | None = None, keepdim: bool = False) -> Array:
        _ordered(name, input)
        if dim is None:
            if not input.size:
                raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
            at = compute(s.reshape(input, shape=(input.size,)), axis=0)
            return s.reshape(at, shape=(1,) * input.ndim) if keepdim else at
        axis = shapes.dimension(dim, input.ndim)
        if not input.ndim:
            return s.full(0, shape=(), dtype=INT64)
        at = compute(input, axis=axis)
        return s.reshape(at, shape=shapes.reduced(input.shape, (axis,), True)) if keepdim else at

    body.__name__ = name
    body.__doc__ = f"The index of the {'largest' if name == 'argmax' else 'smallest'} element: of all flattened, or along `dim`."
    declared = op(body, method=True, differentiable=False)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4))
        yield Sample(make.distinct(3, 4), 1)
        yield Sample(make.distinct(3, 4), 0, True)
        yield Bad(make(0), raises=IndexError, says="numel() == 0")

    return declared


argmax = _position("argmax", p_argmax)
argmin = _position("argmin", p_argmin)


# -- order --------------------------------------------------------------------------------------------------


@op(method=True, outputs=("values", "indices"))
def sort(input: Array, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The elements in order along `dim`, and where they were. Equal ones keep their order; NaN is the largest."""
    _ordered("sort", input)
    axis = shapes.dimension(dim, input.ndim)
    if not input.ndim:
        return s.copy(input), s.full(0, shape=(), dtype=INT64)
    return p_sort(input, axis=axis, descending=bool(descending), stable=True)


@sort.gradient("input")
def sort_gradient(grad: Array, indices: Array, input_shape: tuple[int, ...], dim: int) -> Array:
    return _back(grad, indices, input_shape, dim, True)


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
    _ordered("topk", input)
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
    return _back(grad, indices, input_shape, dim, True)


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
    if not 1 <= k <= size:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {axis}")
    return _at_rank(input, axis, k - 1, bool(keepdim))


def _at_rank(x: Any, axis: int, rank: int, keepdim: bool) -> tuple[Any, Any]:
    if not x.ndim:
        return s.copy(x), s.full(0, shape=(), dtype=INT64)
    values, indices = p_sort(x, axis=axis, descending=False, stable=True)
    starts = tuple(rank if a == axis else 0 for a in range(x.ndim))
    stops = tuple(rank + 1 if a == axis else n for a, n in enumerate(x.shape))
    window = {"starts": starts, "stops": stops, "steps": (1,) * x.ndim}
    shape = shapes.reduced(x.shape, (axis,), keepdim)
    return tuple(s.copy(s.reshape(s.slice_(v, **window), shape=shape)) for v in (values, indices))  # type: ignore[return-value]


def _ranked_gradient(grad: Array, indices: Array, input_shape: tuple[int, ...], dim: int, keepdim: bool) -> Array:
    return _back(grad, indices, input_shape, dim, keepdim)


kthvalue.gradient("input")(_ranked_gradient)


@kthvalue.samples
def kthvalue_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), 2)
    yield Sample(make.distinct(3, 4), 2, 0, True)
    yield Bad(make(3), 4, raises=RuntimeError, says="k out of range")


@op(function=False, outputs=("values", "indices"), node="MedianBackward1")
def median_along(input: Array, dim: int, keepdim: bool = False) -> Any:
    """`median` along one dimension."""
    axis = shapes.dimension(dim, input.ndim)
    size = input.shape[axis] if input.ndim else 1
    if not size:
        raise IndexError(f"median(): Expected reduction dim {axis} to have non-zero size.")
    values, indices = _at_rank(input, axis, (size - 1) // 2, bool(keepdim))
    if input.dtype not in FLOATING or not input.ndim:
        return values, indices
    last, last_at = _at_rank(input, axis, size - 1, bool(keepdim))  # NaN, if there is one, is the largest
    nan = p.is_nan(last)
    return s.select(nan, last, values), s.select(nan, last_at, indices)


median_along.gradient("input")(_ranked_gradient)


@median_along.samples
def median_along_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 5), 1)
    yield Sample(make.distinct(3, 4), 0, True)


@op(method=True, composite=True)
def median(input: Array, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element (the lower of two), of all or along `dim` with its index; NaN if there is one."""
    if dim is None:
        return median_along(to_shape(input, (shapes.size_of(tuple(input.shape)),)), 0)[0]
    return median_along(input, dim, keepdim)


@median.samples
def median_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 5))
    yield Sample(make.distinct(3, 4), 1)


def _quantile(x: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, name: str) -> Any:
    shape = tuple(x.shape)
    if not hasattr(q, "dtype"):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        quantiles: Any = [q]
    else:
        if q.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        if q.dtype != x.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
        quantiles = q.reshape(-1).tolist()
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if dim is None:
        x, axis = to_shape(x, (shapes.size_of(shape),)), 0
    else:
        axis = shapes.dimension(dim, len(shape))
    ordered = sort(x, axis)[0]
    size = tuple(x.shape)[axis] if x.ndim else 1
    results = []
    for at in quantiles:
        rank = at * (size - 1)
        low, high = int(rank), -int(-rank // 1)
        if interpolation == "nearest":
            low = high = round(rank)
        elif interpolation == "lower":
            high = low
        elif interpolation == "higher":
            low = high
        below, above = (narrow(ordered, axis, i, 1) if x.ndim else ordered for i in (low, high))
        weight = 0.5 if interpolation == "midpoint" and low != high else rank - low
        value = below + (above - below) * weight if low != high else below
        last = narrow(ordered, axis, size - 1, 1) if x.ndim else ordered
        value = choose(isnan(last), last, value)
        wide = (1,) * len(shape) if dim is None else shapes.reduced(shape, (axis,), True)
        results.append(to_shape(value, wide if keepdim else () if dim is None else shapes.reduced(shape, (axis,), False)))
    if not hasattr(q, "dtype") or q.ndim == 0:
        return results[0]
    from rushlight.ops.joining import stack

    return stack(results)


@op(method=True, composite=True, traceable=False)
def quantile(input: Array, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") -> Array:
    """The values below which a share q of the elements lies; q is a number or a vector of numbers in [0, 1]."""
    return _quantile(input, q, dim, keepdim, interpolation, "quantile")


@quantile.samples
def quantile_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4), 0.4)
    yield Sample(make.distinct(3, 4), 0.6, 1, True)
    yield Sample(make.distinct(3, 4), 0.3, 0, interpolation="midpoint")
    yield Bad(make(3), 1.5, raises=RuntimeError, says="range [0, 1]")


# -- running extremes ---------------------------------------------------------------------------------------


def _running(name: str, compute: Any) -> Any:
    def body(input: Array, dim: int) -> Any:
        _ordered(name, input)
        axis = shapes.dimension(dim, input.ndim)
        if not input.ndim or not input.size:
            return s.copy(input), s.full(0, shape=input.shape, dtype=INT64)
        return compute(input, axis=axis)

    body.__name__ = name
    body.__doc__ = f"The {'largest' if name == 'cummax' else 'smallest'} element so far along `dim`, and where it is."
    declared = op(body, method=True, outputs=("values", "indices"))

    @declared.gradient("input")
    def _(grad: Array, indices: Array, input_shape: tuple[int, ...], dim: int) -> Array:
        return _back(grad, indices, input_shape, dim, True)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4), 1)
        yield Sample(make.distinct(5), 0)
        yield Bad(make(3), 1, raises=IndexError, says="out of range")

    return declared


cummax = _running("cummax", cumulative_max)
cummin = _running("cummin", cumulative_min)
