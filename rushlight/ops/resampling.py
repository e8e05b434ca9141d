"""Borders and sizes: pad, interpolate, pixel shuffles, unfold and fold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rushlight.ops import links
from rushlight.ops.convolution import sizes
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import add_listed, take_listed
from rushlight.ops.shape import narrow, permute, select, to_shape, unsqueeze
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.structural import constant
from rushlight.primitives.structural import pad as p_pad

# -- pad ----------------------------------------------------------------------------------------------------


@op(function=False, node="ConstantPadNdBackward0")
def padded(input: Array, before: Sequence[int], after: Sequence[int], value: float) -> Array:
    """A border of `value`; negative sizes cut."""
    low = tuple(max(0, -b) for b in before)
    high = tuple(n - max(0, -a) for n, a in zip(input.shape, after))
    if any(low) or high != tuple(input.shape):
        for d, (start, stop) in enumerate(zip(low, high)):
            if stop < start:
                raise RuntimeError(
                    f"The input size {input.shape[d]}, plus negative padding {before[d]} and "
                    f"{after[d]}, resulted in a negative output "
                    f"size, which is invalid. Check dimension {d} of your input."
                )
        input = s.slice_(input, starts=low, stops=high, steps=(1,) * input.ndim)
    value = value if input.dtype.kind in "fcV" else int(value)
    return p_pad(
        input, value, before=tuple(max(0, b) for b in before), after=tuple(max(0, a) for a in after)
    )


@padded.gradient("input")
def padded_gradient(grad: Array, before: Any, after: Any) -> Array:
    return padded(grad, [-b for b in before], [-a for a in after], 0)


@padded.samples
def padded_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), (1, 0), (0, 2), 0.5)


def _border_indices(mode: str, size: int, before: int, after: int, where: str) -> tuple[int, ...]:
    if mode == "reflect":
        if max(before, after) >= size:
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, "
                f"but got: padding ({before}, {after}) at {where} of size {size}"
            )
        turn = 2 * (size - 1) or 1
        return tuple(
            min(i % turn, turn - i % turn) if size > 1 else 0 for i in range(-before, size + after)
        )
    if mode == "circular":
        if max(before, after) > size:
            raise RuntimeError(
                f"Padding value causes wrapping around more than once: ({before}, {after}) at {where} of size {size}"
            )
        return tuple(i % size for i in range(-before, size + after))
    return tuple(min(max(i, 0), size - 1) for i in range(-before, size + after))


@op(module="nn.functional", composite=True)
def pad(input: Array, pad: Any, mode: str = "constant", value: float | None = None) -> Array:
    """A border around the last dimensions: `pad` is (left, right, top, bottom, ...), from the last dimension on.

    `mode` is "constant" (with `value`, 0), "reflect", "replicate" or "circular"; negative sizes cut.

    >>> import rushlight
    >>> rushlight.nn.functional.pad(rushlight.tensor([1, 2]), (1, 2), value=9)
    tensor([9, 1, 2, 9, 9])
    """
    amounts = [int(n) for n in pad]
    rank = len(input.shape)
    if len(amounts) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(amounts) // 2 > rank:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(amounts)} and input of dimension {rank}"
        )
    count = len(amounts) // 2
    before = [0] * (rank - count) + amounts[::2][::-1]
    after = [0] * (rank - count) + amounts[1::2][::-1]
    if mode == "constant":
        return padded(input, tuple(before), tuple(after), 0 if value is None else value)
    if value not in (None, 0, 0.0):
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if rank not in (count + 1, count + 2):
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now"
        )
    for axis in range(rank - count, rank):
        b, a = before[axis], after[axis]
        if not (b or a):
            continue
        if mode == "circular" and (b < 0 or a < 0):
            input = narrow(
                input, axis, max(0, -b), tuple(input.shape)[axis] + min(0, a) + min(0, b)
            )
            b, a = max(0, b), max(0, a)
        places = _border_indices(mode, tuple(input.shape)[axis], b, a, f"dimension {axis}")
        input = take_listed(input, places, axis)
    return input


@pad.samples
def pad_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), (1, 2))
    yield Sample(make(1, 2, 3), (1, 0, -1, 2), value=0.7)
    yield Sample(make(1, 2, 4), (2, 1), "reflect")
    yield Sample(make(1, 2, 4, 4), (2, 1, 0, 3), "replicate")
    yield Sample(make(1, 2, 4), (2, 1), "circular")
    yield Bad(make(2, 3), (1,), raises=RuntimeError, says="divisible by 2")
    yield Bad(
        make(1, 1, 3), (3, 0), "reflect", raises=RuntimeError, says="less than the corresponding"
    )


# -- interpolate --------------------------------------------------------------------------------------------

Taps = list[tuple[tuple[int, ...], tuple[float, ...] | None]]


def _source(
    i: int, size: int, target: int, align: bool, scale: float | None, cubic: bool = False
) -> float:
    """Where output element i lies between input elements."""
    if align:
        return i * (size - 1) / (target - 1) if target > 1 else 0.0
    ratio = 1 / scale if scale else size / target
    at = (i + 0.5) * ratio - 0.5
    return at if cubic else max(at, 0.0)


def _nearest(size: int, target: int, scale: float | None, exact: bool) -> Taps:
    ratio = 1 / scale if scale else size / target
    shift = 0.5 if exact else 0.0
    return [(tuple(min(math.floor((i + shift) * ratio), size - 1) for i in range(target)), None)]


def _linear(size: int, target: int, align: bool, scale: float | None) -> Taps:
    at = [_source(i, size, target, align, scale) for i in range(target)]
    low = [min(int(x), size - 1) for x in at]
    weight = [x - n for x, n in zip(at, low)]
    return [
        (tuple(low), tuple(1 - w for w in weight)),
        (tuple(min(n + 1, size - 1) for n in low), tuple(weight)),
    ]


def _cubic(size: int, target: int, align: bool, scale: float | None) -> Taps:
    """Keys' cubic with a = -0.75."""
    a = -0.75

    def near(x):
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x):
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    at = [_source(i, size, target, align, scale, True) for i in range(target)]
    low = [math.floor(x) for x in at]
    t = [x - n for x, n in zip(at, low)]
    weights = [
        [far(x + 1) for x in t],
        [near(x) for x in t],
        [near(1 - x) for x in t],
        [far(2 - x) for x in t],
    ]
    return [
        (tuple(min(max(n + k - 1, 0), size - 1) for n in low), tuple(w))
        for k, w in enumerate(weights)
    ]


@op(function=False)
def weighted_taps(input: Array, taps: Any, dim: int) -> Array:
    """The sum over taps of the elements at the tap's places along `dim` times its weights."""
    total = None
    for places, weights in taps:
        part = take_listed.op.body(input, places, dim)
        if weights is not None:
            shape = tuple(len(weights) if i == dim else 1 for i in range(input.ndim))
            part = p.mul(part, constant(values=weights, shape=shape, dtype=input.dtype))
        total = part if total is None else p.add(total, part)
    return total


@weighted_taps.gradient("input")
def weighted_taps_gradient(grad: Array, input_shape: Any, taps: Any, dim: int) -> Array:
    return weighted_taps_adjoint(grad, taps, dim, input_shape[dim])


@op(function=False)
def weighted_taps_adjoint(input: Array, taps: Any, dim: int, size: int) -> Array:
    """The adjoint of `weighted_taps`."""
    total = None
    for places, weights in taps:
        part = input
        if weights is not None:
            shape = tuple(len(weights) if i == dim else 1 for i in range(input.ndim))
            part = p.mul(input, constant(values=weights, shape=shape, dtype=input.dtype))
        part = add_listed.op.body(part, places, dim, size)
        total = part if total is None else p.add(total, part)
    return total


@weighted_taps_adjoint.gradient("input")
def weighted_taps_adjoint_gradient(grad: Array, taps: Any, dim: int) -> Array:
    return weighted_taps(grad, taps, dim)


@weighted_taps.samples
def weighted_taps_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), [((0, 1, 1, 2), (0.5, 1.0, 0.2, 0.1))], 1)


@weighted_taps_adjoint.samples
def weighted_taps_adjoint_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 4), [((0, 1, 1, 2), (0.5, 1.0, 0.2, 0.1))], 1, 3)


_RANKS = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


@op(module="nn.functional", composite=True)
def interpolate(
    input: Array, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Array:  # fmt: skip
    """Another size for the last dimensions of (N, C, ...), given as `size` or as `scale_factor`.

    `mode`: nearest, nearest-exact, linear (1-d), bilinear, bicubic (2-d), trilinear (3-d), area. With `align_corners`
    the corner elements of input and output lie on each other.
    """
    rank = len(input.shape) - 2
    if rank < 1 or rank > 3:
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {rank + 2}D) for the "
            f"modes: nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact (got {mode})"
        )
    if antialias:
        raise NotImplementedError("interpolate: antialias=True is not built yet")
    have = tuple(input.shape)[2:]
    if (size is None) == (scale_factor is None):
        raise ValueError(
            "only one of size or scale_factor should be defined"
            if size is not None
            else "either size or scale_factor should be defined"
        )
    if align_corners is not None and mode in ("nearest", "area", "nearest-exact"):
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    scales: list[float | None] = [None] * rank
    if size is not None:
        target = (
            tuple(int(n) for n in size) if isinstance(size, (tuple, list)) else (int(size),) * rank
        )
        if len(target) != rank:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input "
                f"with spatial dimensions of {list(have)} and output size of {size}"
            )
    else:
        factors = (
            [float(f) for f in scale_factor]
            if isinstance(scale_factor, (tuple, list))
            else [float(scale_factor)] * rank
        )
        if len(factors) != rank:
            raise ValueError(
                "Input and scale_factor must have the same number of spatial dimensions, but got "
                f"{rank} and scale_factor of {scale_factor}"
            )
        target = tuple(math.floor(n * f) for n, f in zip(have, factors, strict=True))
        if not recompute_scale_factor:
            scales = list(factors)
    if min(target) < 1:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input {list(have)} and output {list(target)}"
        )
    if mode == "area":
        from rushlight.ops.pooling import adaptive_avg

        return adaptive_avg(input, target)
    if mode in _RANKS and _RANKS[mode] != rank:
        raise NotImplementedError(
            f"Got {rank + 2}D input, but {mode} mode needs {_RANKS[mode] + 2}D input"
        )
    align = bool(align_corners)
    for axis, (n, m, f) in enumerate(zip(have, target, scales, strict=True), 2):
        if mode in {"nearest", "nearest-exact"}:
            taps = _nearest(n, m, f, mode == "nearest-exact")
        elif mode in ("linear", "bilinear", "trilinear"):
            taps = _linear(n, m, align, f)
        elif mode == "bicubic":
            taps = _cubic(n, m, align, f)
        else:
            raise NotImplementedError(f"Input Error: unknown mode {mode!r}")
        input = weighted_taps(input, taps, axis)
    return input


@interpolate.samples
def interpolate_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(1, 2, 3), 5)
    yield Sample(make(1, 1, 3, 4), (5, 6), mode="bilinear")
    yield Sample(make(1, 1, 3, 4), scale_factor=2, mode="bilinear", align_corners=True)
    yield Sample(make(1, 1, 4, 4), (6, 3), mode="bicubic")
    yield Sample(make(1, 1, 2, 3, 2), scale_factor=1.5, mode="trilinear")
    yield Sample(make(1, 1, 4, 6), (2, 3), mode="area")
    yield Bad(make(1, 2, 3), raises=ValueError, says="either size or scale_factor")


@op(module="nn.functional", composite=True)
def upsample(
    input: Array,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Array:
    """`interpolate` by its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


@upsample.samples
def upsample_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(1, 2, 3), 5)


# -- rearrangements -----------------------------------------------------------------------------------------


@op(aliases=("nn.functional.pixel_shuffle",), composite=True)
def pixel_shuffle(input: Array, upscale_factor: int) -> Array:
    """(..., C r^2, H, W) as (..., C, H r, W r): channels become pixels (Shi and others, 2016)."""
    r, shape = upscale_factor, tuple(input.shape)
    if len(shape) < 3:
        raise RuntimeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {len(shape)} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    if shape[-3] % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={shape[-3]} is not divisible by {r * r}"
        )
    *lead, c, h, w = shape
    n = len(lead)
    x = to_shape(input, (*lead, c // (r * r), r, r, h, w))
    x = permute(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return to_shape(x, (*lead, c // (r * r), h * r, w * r))


@op(aliases=("nn.functional.pixel_unshuffle",), composite=True)
def pixel_unshuffle(input: Array, downscale_factor: int) -> Array:
    """(..., C, H r, W r) as (..., C r^2, H, W): pixels become channels."""
    r, shape = downscale_factor, tuple(input.shape)
    if len(shape) < 3:
        raise RuntimeError(
            f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {len(shape)} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, c, h, w = shape
    if h % r or w % r:
        raise RuntimeError(
            "pixel_unshuffle expects height and width to be divisible by downscale_factor, but "
            f"they are {h} and {w} for {r}"
        )
    n = len(lead)
    x = to_shape(input, (*lead, c, h // r, r, w // r, r))
    x = permute(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return to_shape(x, (*lead, c * r * r, h // r, w // r))


@op(aliases=("nn.functional.channel_shuffle",), composite=True)
def channel_shuffle(input: Array, groups: int) -> Array:
    """Channels of all groups interleaved (Zhang and others, 2017)."""
    shape = tuple(input.shape)
    if len(shape) < 3:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(shape)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    if shape[1] % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {shape[1]} channels and {groups} groups."
        )
    x = to_shape(input, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return to_shape(permute(x, (0, 2, 1, *range(3, len(shape) + 1))), shape)


@pixel_shuffle.samples
def pixel_shuffle_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 8, 2, 3), 2)
    yield Bad(make(1, 3, 2, 2), 2, raises=RuntimeError, says="divisible")


@pixel_unshuffle.samples
def pixel_unshuffle_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 2, 4, 6), 2)


@channel_shuffle.samples
def channel_shuffle_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 6, 3), 3)


def _window_steps(
    shape: tuple[int, ...], kernel: Any, dilation: Any, stride: Any
) -> tuple[Any, ...]:
    """The steps from padded images (N, C, H, W) to their windows (N, C, kh, kw, oh, ow)."""
    steps: list[Any] = []
    for i in (0, 1):
        reach = dilation[i] * (kernel[i] - 1) + 1
        steps.append((s.windows, {"axis": 2 + i, "size": reach, "step": stride[i]}))
    oh, ow = ((shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1))
    rh, rw = (dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1))
    full = (*shape[:2], oh, ow, rh, rw)
    steps.append(
        (
            s.slice_,
            {"starts": (0,) * 6, "stops": full, "steps": (1, 1, 1, 1, dilation[0], dilation[1])},
        )
    )
    steps.append((s.permute, {"axes": (0, 1, 4, 5, 2, 3)}))
    return tuple(steps)


def _fold_arguments(
    name: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> tuple[Any, ...]:
    return tuple(
        sizes(v, 2, name, what)
        for v, what in (
            (kernel_size, "kernel_size"),
            (dilation, "dilation"),
            (padding, "padding"),
            (stride, "stride"),
        )
    )


@op(module="nn.functional", name="unfold", composite=True)
def unfold_images(
    input: Array, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Array:
    """Windows of images (N, C, H, W) as columns: (N, C kh kw, number of windows)."""
    if len(input.shape) == 3:
        return select(
            unfold_images(unsqueeze(input, 0), kernel_size, dilation, padding, stride), 0, 0
        )
    if len(input.shape) != 4:
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(input.shape)}"
        )
    kernel, spacing, border, step = _fold_arguments(
        "unfold", kernel_size, dilation, padding, stride
    )
    x = padded(input, (0, 0, *border), (0, 0, *border), 0) if any(border) else input
    windows = links.show_steps(x, _window_steps(tuple(x.shape), kernel, spacing, step))
    n, c, kh, kw, oh, ow = tuple(windows.shape)
    return to_shape(windows, (n, c * kh * kw, oh * ow))


@op(module="nn.functional", composite=True)
def fold(
    input: Array,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Array:
    """The adjoint of `unfold`: columns added back to images of `output_size`."""
    if len(input.shape) == 2:
        return select(
            fold(unsqueeze(input, 0), output_size, kernel_size, dilation, padding, stride), 0, 0
        )
    kernel, spacing, border, step = _fold_arguments("fold", kernel_size, dilation, padding, stride)
    size = sizes(output_size, 2, "fold", "output_size")
    n, rows, columns = tuple(input.shape)
    area = kernel[0] * kernel[1]
    if rows % area:
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={rows} and kernel_size={kernel}."
        )
    shape = (n, rows // area, size[0] + 2 * border[0], size[1] + 2 * border[1])
    counts = tuple((shape[2 + i] - spacing[i] * (kernel[i] - 1) - 1) // step[i] + 1 for i in (0, 1))
    if counts[0] * counts[1] != columns:
        raise RuntimeError(
            f"Given output_size={size}, expected size of input's dimension 2 to match the "
            f"calculated number of sliding blocks {counts[0]} * {counts[1]} = {counts[0] * counts[1]}, but "
            f"got input.size(2)={columns}."
        )
    windows = to_shape(input, (n, rows // area, *kernel, *counts))
    dtype = getattr(input.dtype, "numpy", input.dtype)
    out = links.view_adjoint(windows, _window_steps(shape, kernel, spacing, step), shape, dtype)
    return (
        padded(out, (0, 0, -border[0], -border[1]), (0, 0, -border[0], -border[1]), 0)
        if any(border)
        else out
    )


@unfold_images.samples
def unfold_images_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 2, 4, 5), (2, 3))
    yield Sample(make(1, 2, 5, 5), 2, 2, 1, 2)


@fold.samples
def fold_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 12, 9), (4, 5), (2, 3))
    yield Sample(make(1, 8, 9), (5, 5), 2, 2, 1, 2)
