"""Pooling: the largest, the mean or the norm of windows, fixed and adaptive, and the undoing of max pooling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

from rushlight.core.dtypes import INT64
from rushlight.ops.activations import relu
from rushlight.ops.convolution import sizes
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.extremes import max_along
from rushlight.ops.gathering import zeros_shaped
from rushlight.ops.joining import cat, stack
from rushlight.ops.pointwise import sign
from rushlight.ops.positions import pick
from rushlight.ops.reduction import mean
from rushlight.ops.scattering import scatter
from rushlight.ops.shape import expand, flatten, narrow, to_shape
from rushlight.ops.spacing import arange
from rushlight.primitives import elementwise as p
from rushlight.primitives import pooling as w
from rushlight.primitives import structural as s

Sizes = tuple[int, ...]


def _geometry(
    name: str,
    rank: int,
    x: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
) -> dict[str, Any]:
    if len(x.shape) not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"{name}() Expected {rank + 1}D or {rank + 2}D input tensor, but got {list(x.shape)}"
        )
    size = sizes(kernel, rank, name, "kernel_size")
    step = size if stride is None or stride in ([], ()) else sizes(stride, rank, name, "stride")
    border, spacing = sizes(padding, rank, name, "padding"), sizes(dilation, rank, name, "dilation")
    if min(size) < 1:
        raise RuntimeError(
            f"kernel size should be greater than zero, but got kernel size {list(size)}"
        )
    if min(step) < 1:
        raise RuntimeError(f"stride should be greater than zero, but got stride {list(step)}")
    if min(spacing) < 1:
        raise RuntimeError(
            f"dilation should be greater than zero, but got dilation {list(spacing)}"
        )
    for b, k, d in zip(border, size, spacing, strict=True):
        if b < 0 or b > (d * (k - 1) + 1) // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={b}, "
                f"kernel_size={k} and dilation={d}"
            )
    after = []
    for n, k, t, b, d in zip(tuple(x.shape)[-rank:], size, step, border, spacing, strict=True):
        reach = d * (k - 1) + 1
        count = (n + 2 * b - reach) // t + 1
        if ceil_mode:
            up = -(-(n + 2 * b - reach) // t) + 1
            count = (
                up - 1 if (up - 1) * t >= n + b else up
            )  # the last window must start inside the input or left border
        if count < 1:
            raise RuntimeError(
                f"Given input size: {list(x.shape)}. Calculated output size: ({count}). Output "
                f"size is too small for {name}"
            )
        after.append(max(b, (count - 1) * t + reach - n - b) if ceil_mode else b)
    return {
        "size": size,
        "stride": step,
        "before": border,
        "after": tuple(after),
        "dilation": spacing,
    }


# -- max ----------------------------------------------------------------------------------------------------


@op(function=False, outputs=("values", "places"), node="MaxPool2DWithIndicesBackward0")
def largest_of_windows(
    input: Array, size: Sizes, stride: Sizes, before: Sizes, after: Sizes, dilation: Sizes
) -> Any:
    """The largest element of each window, and its place there."""
    return w.max_windows(
        input, size=size, stride=stride, before=before, after=after, dilation=dilation
    )


@largest_of_windows.gradient("input")
def largest_of_windows_gradient(
    grad: Array,
    places: Array,
    input_shape: Any,
    size: Any,
    stride: Any,
    before: Any,
    after: Any,
    dilation: Any,
) -> Array:
    return placed(grad, places, size, stride, before, after, dilation, tuple(input_shape))


@op(function=False)
def placed(
    input: Array,
    places: Array,
    size: Sizes,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
    shape: Sizes,
) -> Array:
    """Elements added at their places in windows of zeros of `shape`."""
    return w.place_windows(
        input,
        places,
        size=size,
        stride=stride,
        before=before,
        after=after,
        dilation=dilation,
        shape=shape,
    )


@placed.gradient("input")
def placed_gradient(
    grad: Array, places: Array, size: Any, stride: Any, before: Any, after: Any, dilation: Any
) -> Array:
    return picked(grad, places, size, stride, before, after, dilation)


@op(function=False)
def picked(
    input: Array,
    places: Array,
    size: Sizes,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
) -> Array:
    """The elements at given places of the windows."""
    return w.pick_windows(
        input, places, size=size, stride=stride, before=before, after=after, dilation=dilation
    )


@picked.gradient("input")
def picked_gradient(
    grad: Array,
    places: Array,
    input_shape: Any,
    size: Any,
    stride: Any,
    before: Any,
    after: Any,
    dilation: Any,
) -> Array:
    return placed(grad, places, size, stride, before, after, dilation, tuple(input_shape))


@op(function=False, differentiable=False)
def flat_indices(
    places: Array, shape: Sizes, size: Sizes, stride: Sizes, before: Sizes, dilation: Sizes
) -> Array:
    """Places in windows as indices into each flattened plane."""
    rank = len(size)
    place = s.cast(places, dtype=INT64)
    total = None
    for axis in range(rank):
        inner = math.prod(size[axis + 1 :])
        offset = p.remainder(p.floor_divide(place, inner), size[axis])
        count = places.shape[places.ndim - rank + axis]
        starts = p.sub(p.mul(s.iota(length=count, dtype=INT64), stride[axis]), before[axis])
        starts = s.reshape(starts, shape=(count, *(1,) * (rank - 1 - axis)))
        at = p.mul(
            p.add(p.mul(offset, dilation[axis]), starts),
            math.prod(shape[len(shape) - rank + axis + 1 :]),
        )
        total = at if total is None else p.add(total, at)
    return total


_WINDOW = ((2, 2), (2, 1), (0, 0), (0, 0), (1, 1))


@largest_of_windows.samples
def largest_of_windows_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(1, 2, 4, 5), *_WINDOW)


@placed.samples
def placed_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(1, 2, 2, 4), make.ints(1, 2, 2, 4, high=4), *_WINDOW, (1, 2, 4, 5))


@picked.samples
def picked_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(1, 2, 4, 5), make.ints(1, 2, 2, 4, high=4), *_WINDOW)


def _max_pool(rank: int) -> Any:
    name = f"max_pool{rank}d"

    def body(
        input: Array, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:  # fmt: skip
        g = _geometry(name, rank, input, kernel_size, stride, padding, dilation, ceil_mode)
        values, places = largest_of_windows(input, **g)
        if return_indices:
            return values, flat_indices(
                places, tuple(input.shape), g["size"], g["stride"], g["before"], g["dilation"]
            )
        return values

    body.__name__ = name
    body.__doc__ = f"""The largest element of each window of the last {rank} dimension{"s" * (rank > 1)}.

    `stride` defaults to `kernel_size`; `padding` counts as minus infinity; `return_indices` adds the indices into each
    flattened plane, for `max_unpool{rank}d`.
    """
    declared = op(body, composite=True, module="nn.functional")

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        size = (5, 6, 4)[:rank]
        yield Sample(make.distinct(2, 2, *size), 2)
        yield Sample(make.distinct(2, *size), 3, 2, 1)
        yield Sample(make.distinct(1, 1, *size), 2, 1, 0, 2)
        yield Sample(make.distinct(1, 1, *size), 3, 2, 0, 1, True, True)
        yield Bad(make(1, 1, *size), 2, padding=2, raises=RuntimeError, says="at most half")

    return declared


max_pool1d, max_pool2d, max_pool3d = _max_pool(1), _max_pool(2), _max_pool(3)


def _with_indices(rank: int) -> Any:
    pool = (max_pool1d, max_pool2d, max_pool3d)[rank - 1]

    def body(
        input: Array,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        return pool(input, kernel_size, stride, padding, dilation, ceil_mode, True)

    body.__name__ = f"max_pool{rank}d_with_indices"
    body.__doc__ = f"`max_pool{rank}d` with `return_indices=True`."
    declared = op(body, composite=True, module="nn.functional")
    declared.samples(lambda make: iter([Sample(make.distinct(2, 2, *(5, 6, 4)[:rank]), 2)]))
    return declared


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(
    _with_indices, (1, 2, 3)
)


def _max_unpool(rank: int) -> Any:
    name = f"max_unpool{rank}d"

    def body(
        input: Array,
        indices: Array,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        output_size: Any = None,
    ) -> Array:
        size = sizes(kernel_size, rank, name, "kernel_size")
        step = size if stride is None or stride == [] else sizes(stride, rank, name, "stride")
        border = sizes(padding, rank, name, "padding")
        shape = tuple(input.shape)
        if tuple(indices.shape) != shape:
            raise RuntimeError(
                f"Expected shape of indices to be same as that of the input tensor ({list(shape)}) "
                f"but got indices tensor with shape: {list(indices.shape)}"
            )
        target = tuple(
            (n - 1) * t + k - 2 * b
            for n, t, k, b in zip(shape[-rank:], step, size, border, strict=True)
        )
        if output_size is not None:
            target = tuple(output_size)[-rank:]
        lead, planes = shape[:-rank], math.prod(target)
        flat = to_shape(input, (*lead, math.prod(shape[-rank:])))
        where = to_shape(indices, (*lead, math.prod(shape[-rank:])))
        empty = zeros_shaped(flat, (*lead, planes))
        out = scatter(empty, len(lead), where, flat)  # of several at one place the last stays
        return to_shape(out, (*lead, *target))

    body.__name__ = name
    body.__doc__ = f"The elements back at the indices that `max_pool{rank}d` gave, zeros elsewhere."
    declared = op(body, composite=True, module="nn.functional")

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        shape = (1, 2, *(2,) * rank)
        # Places that differ: of several elements at one place only the last would stay.
        places = to_shape(arange(2**rank), (1, 1, *(2,) * rank))
        yield Sample(make(*shape), expand(places, shape), 2)

    return declared


max_unpool1d, max_unpool2d, max_unpool3d = _max_unpool(1), _max_unpool(2), _max_unpool(3)


# -- mean ---------------------------------------------------------------------------------------------------


@op(function=False, node="AvgPool2DBackward0")
def sum_of_windows(
    input: Array, size: Sizes, stride: Sizes, before: Sizes, after: Sizes, dilation: Sizes
) -> Array:
    """The sum of each window."""
    return w.sum_windows(
        input, size=size, stride=stride, before=before, after=after, dilation=dilation
    )


@sum_of_windows.gradient("input")
def sum_of_windows_gradient(
    grad: Array, input_shape: Any, size: Any, stride: Any, before: Any, after: Any, dilation: Any
) -> Array:
    return spread_over_windows(grad, size, stride, before, after, dilation, tuple(input_shape))


@op(function=False)
def spread_over_windows(
    input: Array,
    size: Sizes,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
    shape: Sizes,
) -> Array:
    """The adjoint of `sum_of_windows`."""
    return w.spread_windows(
        input, size=size, stride=stride, before=before, after=after, dilation=dilation, shape=shape
    )


@spread_over_windows.gradient("input")
def spread_over_windows_gradient(
    grad: Array, size: Any, stride: Any, before: Any, after: Any, dilation: Any
) -> Array:
    return sum_of_windows(grad, size, stride, before, after, dilation)


@sum_of_windows.samples
def sum_of_windows_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(1, 2, 4, 5), *_WINDOW)


@spread_over_windows.samples
def spread_over_windows_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(1, 2, 2, 4), *_WINDOW, (1, 2, 4, 5))


@op(function=False, node="AvgPool2DBackward0")
def divided(input: Array, counts: tuple[tuple[int, ...], ...]) -> Array:
    """Each element divided by the product of its counts along the last dimensions."""
    for axis, listed in enumerate(counts, input.ndim - len(counts)):
        shape = tuple(len(listed) if i == axis else 1 for i in range(input.ndim))
        input = p.div(
            input, s.constant(values=tuple(map(float, listed)), shape=shape, dtype=input.dtype)
        )
    return input


@divided.gradient("input")
def divided_gradient(grad: Array, counts: Any) -> Array:
    return divided(grad, counts)


@divided.samples
def divided_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), ((1, 2, 3),))


def _avg_pool(rank: int) -> Any:
    name = f"avg_pool{rank}d"

    def body(
        input: Array, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Array:  # fmt: skip
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        g = _geometry(name, rank, input, kernel_size, stride, padding, 1, ceil_mode)
        total = sum_of_windows(input, **g)
        if divisor_override is not None:
            return total / divisor_override
        counts = []
        for n, k, t, b, m in zip(
            tuple(input.shape)[-rank:],
            g["size"],
            g["stride"],
            g["before"],
            tuple(total.shape)[-rank:],
            strict=True,
        ):
            edge = n + b if count_include_pad else n
            low = -b if count_include_pad else 0
            counts.append(tuple(min(i * t - b + k, edge) - max(i * t - b, low) for i in range(m)))
        if all(len(set(c)) == 1 for c in counts):
            return total / math.prod(c[0] for c in counts)
        return divided(total, tuple(counts))

    body.__name__ = name
    body.__doc__ = f"The mean of each window of the last {rank} dimension{'s' * (rank > 1)}; padding counts as zeros."
    declared = op(body, composite=True, module="nn.functional")

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        size = (5, 6, 4)[:rank]
        yield Sample(make(2, 2, *size), 2)
        yield Sample(make(2, *size), 3, 2, 1)
        yield Sample(make(1, 1, *size), 3, 2, 1, True, False)
        yield Bad(make(1, 1, *size), 2, padding=2, raises=RuntimeError, says="at most half")

    return declared


avg_pool1d, avg_pool2d, avg_pool3d = _avg_pool(1), _avg_pool(2), _avg_pool(3)


def _lp_pool(rank: int) -> Any:
    average = (avg_pool1d, avg_pool2d, avg_pool3d)[rank - 1]

    def body(
        input: Array,
        norm_type: float,
        kernel_size: Any,
        stride: Any = None,
        ceil_mode: bool = False,
    ) -> Array:
        size = sizes(kernel_size, rank, f"lp_pool{rank}d", "kernel_size")
        out = average(input**norm_type, kernel_size, stride, 0, ceil_mode)
        return (sign(out) * relu(abs(out)) * math.prod(size)) ** (1.0 / norm_type)

    body.__name__ = f"lp_pool{rank}d"
    body.__doc__ = "The norm of order `norm_type` of each window: (sum x^p)^(1/p)."
    declared = op(body, composite=True, module="nn.functional")
    declared.samples(lambda make: iter([Sample(make(1, 2, *(5, 6, 4)[:rank], low=0.3), 2, 2)]))
    return declared


lp_pool1d, lp_pool2d, lp_pool3d = _lp_pool(1), _lp_pool(2), _lp_pool(3)


# -- adaptive -----------------------------------------------------------------------------------------------


def _bounds(size: int, target: int) -> list[tuple[int, int]]:
    return [(i * size // target, -(-(i + 1) * size // target)) for i in range(target)]


def _target(name: str, x: Any, rank: int, output_size: Any) -> Sizes:
    if len(x.shape) not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"{name}(): Expected {rank + 1}D or {rank + 2}D tensor, but got {list(x.shape)}"
        )
    have = tuple(x.shape)[-rank:]
    listed = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * rank
    if len(listed) != rank:
        raise RuntimeError(f"{name}: output_size must be {rank} elements, not {list(listed)}")
    target = tuple(n if m is None else int(m) for n, m in zip(have, listed, strict=True))
    if min(target) < 0:
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received {list(target)}"
        )
    return target


def adaptive_avg(x: Any, target: Sizes) -> Any:
    """Means over the last dimensions, cut into `target` parts of nearly equal size."""
    rank = len(target)
    have = tuple(x.shape)[-rank:]
    first = len(x.shape) - rank
    if all(m == 1 for m in target):
        return mean(x, tuple(range(first, first + rank)), True)
    if all(m and n % m == 0 for n, m in zip(have, target, strict=True)):
        size = tuple(n // m for n, m in zip(have, target, strict=True))
        zero, one = (0,) * rank, (1,) * rank
        return sum_of_windows(x, size, size, zero, zero, one) / math.prod(size)
    for axis, (n, m) in enumerate(zip(have, target, strict=True), first):
        x = (
            cat([mean(narrow(x, axis, a, b - a), axis, True) for a, b in _bounds(n, m)], axis)
            if m
            else narrow(x, axis, 0, 0)
        )
    return x


def _adaptive_avg_pool(rank: int) -> Any:
    name = f"adaptive_avg_pool{rank}d"

    def body(input: Array, output_size: Any) -> Array:
        return adaptive_avg(input, _target(name, input, rank, output_size))

    body.__name__ = name
    body.__doc__ = "Means of windows whose number is `output_size` (None keeps a size), whatever the input's size."
    declared = op(body, composite=True, module="nn.functional")

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        size = (5, 6, 4)[:rank]
        yield Sample(make(2, 2, *size), 1)
        yield Sample(make(2, *size), (2, 3, 4)[:rank])
        yield Bad(make(2), 1, raises=RuntimeError, says="tensor, but got")

    return declared


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = map(_adaptive_avg_pool, (1, 2, 3))


def _adaptive_max(x: Any, target: Sizes) -> tuple[Any, Any]:
    rank = len(target)
    have = tuple(x.shape)[-rank:]
    lead = tuple(x.shape)[:-rank]
    flat = to_shape(x, (*lead, math.prod(have)))
    indices = []

    for box in product(*(_bounds(n, m) for n, m in zip(have, target, strict=True))):
        part = x
        for axis, (a, b) in enumerate(box, len(lead)):
            part = narrow(part, axis, a, b - a)
        at = max_along(flatten(part, len(lead)) if lead else to_shape(part, (-1,)), -1)[1]
        whole = None
        inner = [b - a for a, b in box]
        for axis, (a, _) in enumerate(box):
            offset = (at // math.prod(inner[axis + 1 :])) % inner[axis] + a
            offset = offset * math.prod(have[axis + 1 :])
            whole = offset if whole is None else whole + offset
        indices.append(whole)
    places = stack(indices, -1) if indices else None
    values = pick(flat, places, len(lead))
    return to_shape(values, (*lead, *target)), to_shape(places, (*lead, *target))


def _adaptive_max_pool(rank: int) -> Any:
    name = f"adaptive_max_pool{rank}d"

    def body(input: Array, output_size: Any, return_indices: bool = False) -> Any:
        target = _target(name, input, rank, output_size)
        values, indices = _adaptive_max(input, target)
        return (values, indices) if return_indices else values

    body.__name__ = name
    body.__doc__ = (
        "The largest elements of windows whose number is `output_size`, whatever the input's size."
    )
    declared = op(body, composite=True, module="nn.functional")

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        size = (5, 6, 4)[:rank]
        yield Sample(make.distinct(2, 2, *size), 1)
        yield Sample(make.distinct(2, *size), (2, 3, 4)[:rank], True)

    return declared


adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = map(_adaptive_max_pool, (1, 2, 3))
