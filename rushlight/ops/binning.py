"""Counting in bins (histc, histogram, bincount) and finding bins (bucketize, searchsorted)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.core import dtypes, shapes
from rushlight.core.dtypes import BOOL, FLOAT32, FLOAT64, FLOATING, INT64, INTEGRAL
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.operands import promote
from rushlight.ops.record import named_result, type_name
from rushlight.primitives.sorting import searchsorted as p_searchsorted
from rushlight.primitives.sorting import take_along
from rushlight.primitives.structural import full
from rushlight.tensor.tensor import wrap

_INT32 = np.dtype(np.int32)

# -- bins of equal or given widths -----------------------------------------------------------------


def _span(name: str, x: Array, low: float, high: float, room: float) -> tuple[float, float]:
    """The ends of a range: those given; where they are equal, those of the data.

    Where these are equal, too, `room` is made on both sides.
    """
    if low == high and x.size:
        low, high = float(x.min()), float(x.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise RuntimeError(f"torch.{name}: range of [{low}, {high}] is not finite")
    return (low - room, high + room) if low == high else (low, high)


@op(method=True, differentiable=False, traceable=False)
def histc(input: Array, bins: int = 100, min: float = 0, max: float = 0) -> Array:
    """How many elements lie in each of `bins` equal parts of [min, max].

    Those outside are not counted.

    With min = max the smallest and the largest element are the ends. Raises NotImplementedError for
    integers, RuntimeError for a range that is empty or not finite.

    >>> import rushlight
    >>> rushlight.histc(rushlight.tensor([1.0, 2.0, 1.0]), bins=4, min=0, max=3)
    tensor([0., 2., 1., 0.])
    """
    if input.dtype not in FLOATING:
        raise NotImplementedError(
            f"\"histogram_cpu\" not implemented for '{type_name(input.dtype)}'"
        )
    if bins <= 0:
        raise RuntimeError(f"torch.histc(): bins must be > 0, but got {bins}")
    low, high = _span("histc", input, float(min), float(max), 1.0)
    if low > high:
        raise RuntimeError(
            f"torch.histc: max must be larger than min, but they are {high} and {low}"
        )
    x = input[(input >= low) & (input <= high)]
    one = x.dtype.type
    part = ((x - one(low)) * one(bins) / (one(high) - one(low))).astype(np.int64)
    return np.bincount(np.minimum(part, bins - 1), minlength=bins).astype(input.dtype)


@histc.samples
def histc_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(20), 5)
    yield Sample(make(4, 5), 3, -1, 1)
    yield Sample(make(0), 3)
    yield Bad(make(3), 3, 2, 1, raises=RuntimeError, says="max must be larger")
    yield Bad(make.ints(3), raises=NotImplementedError, says="not implemented for")


def _edges(name: str, x: Array, bins: Any, low_high: Any, d: int) -> Array:
    """The edges of the bins of one dimension, given as such or by their number and range."""
    if isinstance(bins, np.ndarray):
        if bins.ndim != 1 or not bins.size:
            raise RuntimeError(
                f"torch.{name}(): bins tensor of dimension {d} must be 1-d with elements, not "
                f"{bins.shape}"
            )
        if bins.dtype != x.dtype:
            raise RuntimeError(
                f"torch.{name}(): input tensor and bins tensors should have the same dtype, but "
                "got input with dtype "
                f"{dtypes.of_numpy(x.dtype)} and bins for dimension {d} with dtype "
                f"{dtypes.of_numpy(bins.dtype)}"
            )
        return bins
    if bins <= 0:
        raise RuntimeError(f"torch.{name}(): bins must be > 0, but got {bins} for dimension {d}")
    if low_high is None:
        low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 1.0)
    else:
        low, high = map(float, low_high)
    if not np.isfinite(low) or not np.isfinite(high):
        raise RuntimeError(f"torch.{name}: dimension {d}'s range [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError(
            f"torch.{name}: min should not exceed max, but got min {low} max {high} for dimension "
            f"{d}"
        )
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1).astype(x.dtype)


def _count(points: Array, edges: list[Array], weight: Array | None, density: bool) -> Array:
    """The weight of the points (one a row) in each box between edges.

    The last box of each dimension is closed.
    """
    sizes = tuple(len(e) - 1 for e in edges)
    inside = np.ones(len(points), bool)
    flat = np.zeros(len(points), np.int64)
    for column, e, size in zip(points.T, edges, sizes):
        inside &= (column >= e[0]) & (column <= e[-1])
        flat = flat * size + np.clip(np.searchsorted(e, column, "right") - 1, 0, max(size - 1, 0))
    weights = None if weight is None else weight.reshape(-1)[inside].astype(FLOAT64)
    hist = np.bincount(flat[inside], weights, shapes.size_of(sizes))[
        : shapes.size_of(sizes)
    ].reshape(sizes)
    if density:
        hist = hist / hist.sum()
        for axis, e in enumerate(edges):
            hist = hist / np.diff(e).reshape([-1 if a == axis else 1 for a in range(len(edges))])
    return hist.astype(points.dtype)


def _check_points(name: str, x: Array, weight: Array | None, shape: tuple[int, ...]) -> None:
    if x.dtype not in (FLOAT32, FLOAT64):
        raise NotImplementedError(f"\"{name}\" not implemented for '{type_name(x.dtype)}'")
    if weight is not None and weight.shape != shape:
        raise RuntimeError(
            f"torch.{name}(): if weight tensor is provided it should have the same shape as the "
            "input tensor excluding "
            f"its innermost dimension: {list(shape)}, but got {list(weight.shape)}"
        )
    if weight is not None and weight.dtype != x.dtype:
        raise RuntimeError(
            f"torch.{name}(): if weight tensor is provided, its dtype must be the input's, "
            f"{x.dtype}"
        )


@op(method=True, differentiable=False, traceable=False, outputs=("hist", "bin_edges"))
def histogram(
    input: Array, bins: Operand, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """The weight of the elements in bins, and the edges of these.

    A number of equal ones, or those between given edges.

    >>> import rushlight
    >>> rushlight.histogram(rushlight.tensor([1.0, 2.0, 1.0]), bins=4, range=(0.0, 3.0)).hist
    tensor([0., 2., 1., 0.])
    """
    weight = getattr(weight, "_array", weight)
    _check_points("histogram", input, weight, input.shape)
    edges = _edges("histogram", input, bins, range, 0)
    return _count(input.reshape(-1, 1), [edges], weight, density), edges.copy()


@histogram.samples
def histogram_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4, 5), 3)
    yield Sample(make(20), 3, range=(-1.0, 1.0), density=True)
    yield Sample(make(20), make.tensor([-1.0, 0.0, 0.5, 1.5], make.dtype), weight=make(20))
    yield Bad(make(3), 0, raises=RuntimeError, says="bins must be > 0")
    yield Bad(make.ints(3), 2, raises=NotImplementedError, says="not implemented for")


@op(differentiable=False, traceable=False, composite=True)
def histogramdd(
    input: Array, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """The weight of points (..., D) in boxes of D dimensions, and the edges, a vector each.

    `bins` is a number, or for each dimension a number or a vector of edges; `range` the 2 * D ends
    in a row.
    """
    points = input._array
    weight = getattr(weight, "_array", weight)
    if points.ndim < 2:
        raise RuntimeError(
            "torch.histogramdd(): input tensor should have at least 2 dimensions, but got "
            f"{points.ndim}"
        )
    _check_points("histogramdd", points, weight, points.shape[:-1])
    count = points.shape[-1]
    given = [bins] * count if isinstance(bins, int) else list(bins)
    if len(given) != count:
        raise RuntimeError(
            "histogramdd: The size of bins must be equal to the innermost dimension of the input: "
            f"{len(given)} for {count}"
        )
    if range is not None and len(range) != 2 * count:
        raise RuntimeError(
            f"torch.histogramdd(): for a {count}-dimensional histogram range should have "
            f"{2 * count} elements"
        )
    points = points.reshape(-1, count)
    edges = [
        _edges(
            "histogramdd",
            points[:, d],
            getattr(b, "_array", b),
            None if range is None else range[2 * d : 2 * d + 2],
            d,
        )
        for d, b in enumerate(given)
    ]
    hist = wrap(_count(points, edges, weight, density))
    return named_result(histogramdd.op)(hist, tuple(wrap(e.copy()) for e in edges))


histogramdd.op.outputs = ("hist", "bin_edges")


@histogramdd.samples
def histogramdd_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(20, 2), [3, 4])
    yield Sample(make(5, 4, 2), 3, weight=make(5, 4), density=True)
    yield Sample(make(20, 2), 2, range=(-1.0, 1.0, -2.0, 0.0))
    yield Bad(make(3), 2, raises=RuntimeError, says="at least 2 dimensions")


@op(method=True, differentiable=False, traceable=False)
def bincount(input: Array, weights: Array | None = None, minlength: int = 0) -> Array:
    """How often each number 0, 1, 2, ... occurs (or the sum of the weights where it does).

    Raises RuntimeError for negative numbers or more than one dimension.

    >>> import rushlight
    >>> rushlight.bincount(rushlight.tensor([1, 3, 1]))
    tensor([0, 2, 0, 1])
    """
    if input.dtype not in INTEGRAL or input.dtype == BOOL:
        raise NotImplementedError(
            f"\"bincount_cpu\" not implemented for '{type_name(input.dtype)}'"
        )
    if input.ndim != 1 or (input.size and input.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, not {minlength}")
    if weights is None:
        return np.bincount(input, minlength=minlength).astype(np.int64, copy=False)
    if weights.shape != input.shape:
        raise RuntimeError(
            f"weights should be 1-d and have the same length as input: {list(weights.shape)} for "
            f"{list(input.shape)}"
        )
    total = np.bincount(input, weights.astype(FLOAT64), minlength)
    return total.astype(FLOAT32) if weights.dtype == FLOAT32 else total


@bincount.samples
def bincount_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(9, high=4))
    yield Sample(make.ints(9, high=4), make(9), 6)
    yield Sample(make.ints(0), None, 3)
    yield Bad(make.ints(2, 2), raises=RuntimeError, says="1-d non-negative")
    yield Bad(make(2), raises=NotImplementedError, says="not implemented for")


# -- places in an order ----------------------------------------------------------------------------


def _places(edges: Array, values: Any, right: bool, out_int32: bool) -> Array:
    edges, values = promote(edges, values)
    if not hasattr(values, "dtype"):
        values = full(values, shape=(), dtype=edges.dtype)
    return p_searchsorted(edges, values, right=bool(right), dtype=_INT32 if out_int32 else INT64)


@op(differentiable=False)
def bucketize(
    input: Operand, boundaries: Array, *, out_int32: bool = False, right: bool = False
) -> Array:
    """For each element the index of the first boundary that is not smaller.

    `right`: of the first that is larger.

    >>> import rushlight
    >>> rushlight.bucketize(rushlight.tensor([3, 6, 9]), rushlight.tensor([1, 3, 5, 7]))
    tensor([1, 3, 4])
    """
    if boundaries.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return _places(boundaries, input, right, out_int32)


@bucketize.samples
def bucketize_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.tensor([-1.0, 0.0, 1.0], make.dtype))
    yield Sample(
        make.ints(5, high=4), make.tensor([1, 2, 3], dtypes.int64), right=True, out_int32=True
    )
    yield Sample(0.5, make.tensor([-1.0, 0.0, 1.0], make.dtype))
    yield Bad(make(3), make(2, 2), raises=RuntimeError, says="must be 1 dimension")


@op(differentiable=False)
def searchsorted(
    sorted_sequence: Array, input: Operand, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Any = None,
) -> Array:  # fmt: skip
    """Where each value would keep the order if it were inserted.

    Before equal ones, or (`right`) after them.

    The order runs along the last dimension; the others must be those of the values. `sorter` are
    the indices that put an unsorted sequence in order.

    >>> import rushlight
    >>> rushlight.searchsorted(rushlight.tensor([1, 3, 5]), rushlight.tensor([3, 4]))
    tensor([1, 2])
    """
    edges = sorted_sequence
    if side not in (None, "left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if right and side == "left":
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left "
            "while right was True"
        )
    shape = tuple(getattr(input, "shape", ()))
    if edges.ndim != 1 and not shape:
        raise RuntimeError(
            "torch.searchsorted(): input value can be a scalar only when boundaries tensor "
            "dimension is 1, but we got "
            f"boundaries tensor dim({edges.ndim})"
        )
    if edges.ndim != 1 and tuple(edges.shape[:-1]) != shape[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            "dimensions of boundaries "
            "tensor and input value tensor must match, but we got boundaries tensor "
            f"{list(edges.shape)} and input "
            f"value tensor {list(shape)}"
        )
    if sorter is not None:
        sorter = getattr(sorter, "_array", sorter)
        if tuple(sorter.shape) != tuple(edges.shape):
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got "
                "boundary tensor "
                f"{list(edges.shape)} and sorter tensor {list(sorter.shape)}"
            )
        if sorter.dtype != INT64:
            raise RuntimeError(
                "torch.searchsorted(): sorter must be a tensor of long dtype but got "
                f"{sorter.dtype}"
            )
        if (
            isinstance(sorter, np.ndarray)
            and sorter.size
            and not 0 <= sorter.min() <= sorter.max() < edges.shape[-1]
        ):
            raise RuntimeError("torch.searchsorted(): sorter index out of range")
        edges = take_along(edges, sorter, axis=edges.ndim - 1)
    return _places(edges, input, right or side == "right", out_int32)


@searchsorted.samples
def searchsorted_samples(make: Any) -> Iterator[Any]:
    edges = make.tensor([-1.0, 0.0, 1.0], make.dtype)
    yield Sample(edges, make(3, 4))
    yield Sample(edges, 0.5, right=True)
    yield Sample(
        make.tensor([[0.0, 1.0], [-1.0, 0.0]], make.dtype), make(2, 3), side="right", out_int32=True
    )
    yield Sample(
        make.tensor([3.0, 1.0], make.dtype), make(3), sorter=make.tensor([1, 0], dtypes.int64)
    )
    yield Bad(make(2, 3), make(3, 3), raises=RuntimeError, says="must match")
    yield Bad(edges, make(2), side="up", raises=RuntimeError, says="side can only be")
