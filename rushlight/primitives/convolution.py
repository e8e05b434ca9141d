"""Convolution in any number of dimensions, and its two gradients. The three are each other's adjoints.

    convolve(x, weight)              x (N, C, *S), weight (O, C / groups, *K)      -> (N, O, *P)
    convolve_input(grad, weight)     grad (N, O, *P)                               -> (N, C, *S)
    convolve_weight(x, grad)                                                       -> (O, C / groups, *K)

The reference lays the windows of a few images side by side (a slab that fits the second-level cache) and
multiplies matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from rushlight.core.dtypes import BOOL, FLOAT32, HALF
from rushlight.primitives.primitive import Aval, dtype_of, primitive

Array = Any
Sizes = tuple[int, ...]

SLAB_BYTES = 1 << 20

_WHERE = ("stride", "before", "after", "dilation", "groups")
convolve = primitive("convolve", params=_WHERE)
convolve_input = primitive("convolve_input", params=(*_WHERE, "size"))
convolve_weight = primitive("convolve_weight", params=(*_WHERE, "size"))


def output_size(
    size: Sizes, kernel: Sizes, stride: Sizes, before: Sizes, after: Sizes, dilation: Sizes
) -> Sizes:
    """How many windows fit along each dimension."""
    return tuple(
        (n + b + a - d * (k - 1) - 1) // s + 1
        for n, k, s, b, a, d in zip(size, kernel, stride, before, after, dilation, strict=True)
    )


@convolve.define_rule
def _(
    x: Any, weight: Any, *, stride: Sizes, before: Sizes, after: Sizes, dilation: Sizes, groups: int
) -> Aval:
    size = output_size(x.shape[2:], weight.shape[2:], stride, before, after, dilation)
    if min(size, default=1) < 1 and 0 not in x.shape[2:]:
        padded = " x ".join(str(n + b + a) for n, b, a in zip(x.shape[2:], before, after))
        reach = " x ".join(str(d * (k - 1) + 1) for k, d in zip(weight.shape[2:], dilation))
        raise RuntimeError(
            f"Calculated padded input size per channel: ({padded}). Kernel size: ({reach}). Kernel "
            "size can't be greater than "
            "actual input size"
        )
    return Aval((x.shape[0], weight.shape[0], *size), dtype_of(x, weight))


@convolve_input.define_rule
def _(grad: Any, weight: Any, *, size: Sizes, groups: int, **where: Any) -> Aval:
    return Aval((grad.shape[0], weight.shape[1] * groups, *size), dtype_of(grad, weight))


@convolve_weight.define_rule
def _(x: Any, grad: Any, *, size: Sizes, groups: int, **where: Any) -> Aval:
    return Aval((grad.shape[1], x.shape[1] // groups, *size), dtype_of(x, grad))


# -- the reference ------------------------------------------------------------------------------------------


def _computed(array: Array) -> Array:
    return array.astype(FLOAT32) if array.dtype in HALF or array.dtype == BOOL else array


def _padded(x: Array, before: Sizes, after: Sizes) -> Array:
    if not any(before) and not any(after):
        return x
    shape = (*x.shape[:2], *(b + n + a for b, n, a in zip(before, x.shape[2:], after)))
    out = np.zeros(shape, x.dtype)
    inner = (slice(None), slice(None), *(slice(b, b + n) for b, n in zip(before, x.shape[2:])))
    out[inner] = x
    return out


def _windows(x: Array, kernel: Sizes, places: Sizes, stride: Sizes, dilation: Sizes) -> Array:
    """A view (N, C, *K, *P) of padded images: element k of the window at p."""
    steps = x.strides[2:]
    return as_strided(
        x,
        (*x.shape[:2], *kernel, *places),
        (
            *x.strides[:2],
            *(n * d for n, d in zip(steps, dilation)),
            *(n * s for n, s in zip(steps, stride)),
        ),
    )


def _slabs(windows: Array, rank: int, groups: int) -> Iterator[tuple[slice, Array]]:
    """Windows of a few images at a time as matrices (n, groups, C K / groups, P)."""
    count, channels = windows.shape[:2]
    rows = channels // groups * math.prod(windows.shape[2 : 2 + rank])
    columns = math.prod(windows.shape[2 + rank :])
    each = max(1, rows * groups * columns * windows.itemsize)
    step = max(1, min(count, SLAB_BYTES // each))
    if math.prod(windows.shape[2 : 2 + rank]) == 1 and windows.flags.c_contiguous:
        yield slice(0, count), windows.reshape(count, groups, rows, columns)
        return
    slab = np.empty((step, *windows.shape[1:]), windows.dtype)
    for start in range(0, count, step):
        part = windows[start : start + step]
        used = slab[: part.shape[0]]
        np.copyto(used, part)
        yield (
            slice(start, start + part.shape[0]),
            used.reshape(part.shape[0], groups, rows, columns),
        )


@convolve.define_reference
def _(
    xp: Any,
    x: Array,
    weight: Array,
    *,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    dtype = x.dtype
    x, weight = _computed(x), _computed(weight)
    kernel = weight.shape[2:]
    places = output_size(x.shape[2:], kernel, stride, before, after, dilation)
    channels = weight.shape[0]
    out = np.empty((x.shape[0], groups, channels // groups, math.prod(places)), x.dtype)
    matrix = weight.reshape(groups, channels // groups, -1)
    if matrix.shape[-1] == 0 or not out.size:
        out[...] = 0
    else:
        windows = _windows(_padded(x, before, after), kernel, places, stride, dilation)
        for images, columns in _slabs(windows, len(kernel), groups):
            np.matmul(matrix, columns, out=out[images])
    return out.reshape(x.shape[0], channels, *places).astype(dtype, copy=False)


@convolve_weight.define_reference
def _(
    xp: Any,
    x: Array,
    grad: Array,
    *,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
    groups: int,
    size: Sizes,
) -> Array:
    dtype = x.dtype
    x, grad = _computed(x), _computed(grad)
    channels, places = grad.shape[1], grad.shape[2:]
    rows = x.shape[1] // groups * math.prod(size)
    total = np.zeros((groups, channels // groups, rows), x.dtype)
    if x.size and grad.size:
        windows = _windows(_padded(x, before, after), size, places, stride, dilation)
        flat = grad.reshape(grad.shape[0], groups, channels // groups, -1)
        for images, columns in _slabs(windows, len(size), groups):
            total += np.matmul(flat[images], columns.swapaxes(-1, -2)).sum(0)
    return total.reshape(channels, x.shape[1] // groups, *size).astype(dtype, copy=False)


@convolve_input.define_reference
def _(
    xp: Any,
    grad: Array,
    weight: Array,
    *,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
    groups: int,
    size: Sizes,
) -> Array:
    dtype = grad.dtype
    grad, weight = _computed(grad), _computed(weight)
    kernel, places = weight.shape[2:], grad.shape[2:]
    inner = weight.shape[1]
    shape = tuple(b + n + a for b, n, a in zip(before, size, after))
    both = (slice(None), slice(None))
    out = np.zeros((grad.shape[0], groups * inner, *shape), grad.dtype)
    if grad.size and weight.size:
        matrix = weight.reshape(groups, weight.shape[0] // groups, -1).swapaxes(-1, -2)
        flat = grad.reshape(grad.shape[0], groups, weight.shape[0] // groups, -1)
        each = max(1, groups * matrix.shape[1] * flat.shape[-1] * grad.itemsize)
        step = max(1, SLAB_BYTES // each)
        for start in range(0, grad.shape[0], step):
            columns = np.matmul(matrix, flat[start : start + step])
            columns = columns.reshape(-1, groups * inner, *kernel, *places)
            target = out[start : start + step]
            for offset in np.ndindex(*kernel):
                where = tuple(
                    slice(k * d, k * d + (p - 1) * s + 1, s)
                    for k, d, p, s in zip(offset, dilation, places, stride)
                )
                to, taken = (*both, *where), (*both, *offset)
                target[to] += columns[taken]
    inner = (*both, *(slice(b, b + n) for b, n in zip(before, size)))
    return out[inner].astype(dtype, copy=False)
