"""Discrete Fourier transforms: rushlight.fft.

What do the many functions come down to?
    Three ops: complex to complex, real to half of a spectrum, half of a spectrum to real. What is padded or cut,
    and what the sum is multiplied with, is settled before. A transform is linear: its gradient is the transform in
    the other direction, without conjugates to care for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.core.dtypes import HALF, INEXACT, complex_of
from rushlight.core.shapes import dimension
from rushlight.ops.arithmetic import in_dtype
from rushlight.ops.complex_numbers import conjugate, is_complex_dtype, real
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import cat
from rushlight.ops.linear_algebra import plain
from rushlight.ops.record import type_name
from rushlight.ops.resampling import padded
from rushlight.ops.shape import narrow
from rushlight.ops.turning import roll
from rushlight.primitives import elementwise as e
from rushlight.primitives import fourier as p
from rushlight.primitives import structural as s

# -- the three --------------------------------------------------------------------------------------------


@op(function=False, node="FftC2CBackward0")
def transform(input: Array, axes: tuple[int, ...], inverse: bool, scale: float) -> Array:
    """The transform of complex numbers."""
    return p.fourier(input, axes=axes, inverse=inverse, scale=scale)


@transform.gradient("input")
def transform_gradient(grad: Array, axes: Any, inverse: bool, scale: float) -> Array:
    return transform(grad, axes, not inverse, scale)


@op(function=False, node="FftR2CBackward0")
def half_spectrum(input: Array, axes: tuple[int, ...], scale: float) -> Array:
    """The transform of real numbers: of its last axis the half that tells all."""
    return p.fourier_real(input, axes=axes, scale=scale)


@half_spectrum.gradient("input")
def half_spectrum_gradient(grad: Array, input_shape: Any, axes: Any, scale: float) -> Array:
    whole = resized(grad, axes[-1], input_shape[axes[-1]])
    return real(transform(whole, axes, True, scale))


@op(function=False, node="FftC2RBackward0")
def from_half(input: Array, size: int, axes: tuple[int, ...], scale: float) -> Array:
    """The inverse of `half_spectrum`: `size` real numbers along the last axis."""
    return p.fourier_to_real(input, size=size, axes=axes, scale=scale)


@from_half.gradient("input")
def from_half_gradient(grad: Array, size: int, axes: Any, scale: float) -> Array:
    out, last = half_spectrum(grad, axes, scale), axes[-1]
    twice = (size - 1) // 2  # all but the first, and the middle of an even size, stand for two
    if not twice:
        return out
    parts = [narrow(out, last, 0, 1), narrow(out, last, 1, twice) * 2]
    if size % 2 == 0:
        parts.append(narrow(out, last, twice + 1, 1))
    return cat(parts, last)


@transform.samples
def transform_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, dtype=dtypes.complex128), (1,), False, 1.0)
    yield Sample(make(2, 3, dtype=dtypes.complex128), (0, 1), True, 0.5)


@half_spectrum.samples
def half_spectrum_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 5), (1,), 1.0)
    yield Sample(make(3, 4), (1, 0), 0.5)


@from_half.samples
def from_half_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, dtype=dtypes.complex128), 5, (1,), 1.0)
    yield Sample(make(3, 4, dtype=dtypes.complex128), 4, (1, 0), 0.5)
    yield Sample(make(2, dtype=dtypes.complex128), 2, (0,), 0.5)


def resized(x: Any, axis: int, size: int) -> Any:
    """`x` with zeros appended along an axis, or cut, so that it has `size` elements there."""
    have = x.shape[axis]
    if have == size:
        return x
    if have > size:
        return narrow(x, axis, 0, size)
    after = [0] * x.ndim
    after[axis] = size - have
    return padded(x, [0] * x.ndim, after, 0)


# -- arguments --------------------------------------------------------------------------------------------


def _scale(norm: Any, count: int, inverse: bool) -> float:
    """What the plain sum is multiplied with."""
    if norm not in (None, "backward", "ortho", "forward"):
        raise RuntimeError(
            f'Invalid normalization mode: "{norm}"; it may be "backward", "ortho" or "forward"'
        )
    if norm == "ortho":
        return 1.0 / math.sqrt(count)
    return 1.0 / count if (norm == "forward") != inverse else 1.0


def _promoted(x: Any, wants_complex: bool, real_only: str = "") -> Any:
    dtype = plain(x.dtype)
    if real_only and is_complex_dtype(x.dtype):
        raise RuntimeError(f"{real_only} expects a real input tensor, but got {type_name(dtype)}")
    if dtype in HALF:
        raise RuntimeError(f"Unsupported dtype {type_name(dtype)}; use float32")
    if dtype not in INEXACT:
        dtype = dtypes.get_default_dtype().numpy
    if wants_complex:
        dtype = complex_of(dtype)
    return x if plain(x.dtype) == dtype else in_dtype(x, dtype)


def _axes_and_sizes(
    x: Any, sizes: Any, dim: Any, halved: bool = False
) -> tuple[tuple[int, ...], list[int]]:
    """The axes to transform and their sizes; `halved`: the last size is that of the real result."""
    if isinstance(sizes, int):
        sizes = (sizes,)
    if isinstance(dim, int):
        dim = (dim,)
    if dim is not None:
        if not x.ndim and dim:
            raise IndexError(f"Dimension specified as {dim[0]} but tensor has no dimensions")
        axes = tuple(dimension(d, x.ndim) for d in dim)
        if len(set(axes)) != len(axes):
            raise RuntimeError("FFT dims must be unique")
        if sizes is not None and len(sizes) != len(axes):
            raise RuntimeError(
                f"When given, dim and shape arguments must have the same length, not {len(axes)} and {len(sizes)}"
            )
    elif sizes is not None:
        if len(sizes) > x.ndim:
            raise RuntimeError(
                f"Got shape with {len(sizes)} values but input tensor only has {x.ndim} dimensions."
            )
        axes = tuple(range(x.ndim - len(sizes), x.ndim))
    else:
        axes = tuple(range(x.ndim))
    given = [None] * len(axes) if sizes is None else [None if n == -1 else n for n in sizes]
    counts = [x.shape[a] if n is None else n for a, n in zip(axes, given, strict=True)]
    if halved and counts and given[-1] is None:
        counts[-1] = 2 * (counts[-1] - 1)
    for n in counts:
        if n < 1:
            raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return axes, counts


def _complex(x: Any, sizes: Any, dim: Any, norm: Any, inverse: bool) -> Any:
    axes, counts = _axes_and_sizes(x, sizes, dim)
    x = _promoted(x, True)
    for axis, n in zip(axes, counts, strict=True):
        x = resized(x, axis, n)
    return transform(x, axes, inverse, _scale(norm, math.prod(counts), inverse))


def _to_half(x: Any, sizes: Any, dim: Any, norm: Any, name: str, inverse: bool) -> Any:
    x = _promoted(x, False, name)
    axes, counts = _axes_and_sizes(x, sizes, dim)
    if not axes:
        raise RuntimeError(f"{name} must transform at least one axis")
    for axis, n in zip(axes, counts, strict=True):
        x = resized(x, axis, n)
    out = half_spectrum(x, axes, _scale(norm, math.prod(counts), inverse))
    return conjugate(out) if inverse else out


def _from_half(x: Any, sizes: Any, dim: Any, norm: Any, name: str, inverse: bool) -> Any:
    axes, counts = _axes_and_sizes(x, sizes, dim, halved=True)
    if not axes:
        raise RuntimeError(f"{name} must transform at least one axis")
    x = _promoted(x, True)
    for axis, n in zip(axes[:-1], counts, strict=False):
        x = resized(x, axis, n)
    x = resized(x, axes[-1], counts[-1] // 2 + 1)
    scale = _scale(norm, math.prod(counts), inverse)
    return from_half(x if inverse else conjugate(x), counts[-1], axes, scale)


# -- one axis ---------------------------------------------------------------------------------------------


@op(module="fft", composite=True)
def fft(input: Array, n: int | None = None, dim: int = -1, norm: str | None = None) -> Array:
    """The discrete Fourier transform along `dim`: sum over j of x[j] exp(-2 pi i jk / n).

    The input is padded with zeros or cut to `n` first. `norm` says what is multiplied with 1/n: the
    inverse transform ("backward", also None), this one ("forward"), or both with its root ("ortho").

    >>> import rushlight
    >>> rushlight.fft.fft(rushlight.tensor([1.0, 0.0, -1.0, 0.0]))
    tensor([0.+0.j, 2.+0.j, 0.+0.j, 2.+0.j])
    """
    return _complex(input, None if n is None else (n,), (dim,), norm, False)


@op(module="fft", composite=True)
def ifft(input: Array, n: int | None = None, dim: int = -1, norm: str | None = None) -> Array:
    """The inverse of fft().

    >>> import rushlight
    >>> rushlight.fft.ifft(rushlight.tensor([0.0, 2.0, 0.0, 2.0]))
    tensor([ 1.+0.j,  0.+0.j, -1.+0.j,  0.+0.j])
    """
    return _complex(input, None if n is None else (n,), (dim,), norm, True)


@op(module="fft", composite=True)
def rfft(input: Array, n: int | None = None, dim: int = -1, norm: str | None = None) -> Array:
    """fft() of real numbers: the first n // 2 + 1 elements, of which the others are conjugates.

    >>> import rushlight
    >>> rushlight.fft.rfft(rushlight.tensor([1.0, 0.0, -1.0, 0.0]))
    tensor([0.+0.j, 2.+0.j, 0.+0.j])
    """
    return _to_half(input, None if n is None else (n,), (dim,), norm, "rfft", False)


@op(module="fft", composite=True)
def irfft(input: Array, n: int | None = None, dim: int = -1, norm: str | None = None) -> Array:
    """The inverse of rfft(): `n` real numbers; without `n`, 2 * (size - 1).

    >>> import rushlight
    >>> rushlight.fft.irfft(rushlight.tensor([0.0, 2.0, 0.0]))
    tensor([ 1.,  0., -1.,  0.])
    """
    return _from_half(input, None if n is None else (n,), (dim,), norm, "irfft", True)


@op(module="fft", composite=True)
def hfft(input: Array, n: int | None = None, dim: int = -1, norm: str | None = None) -> Array:
    """fft() of a signal that is Hermitian, of which the input is one half: `n` real numbers."""
    return _from_half(input, None if n is None else (n,), (dim,), norm, "hfft", False)


@op(module="fft", composite=True)
def ihfft(input: Array, n: int | None = None, dim: int = -1, norm: str | None = None) -> Array:
    """The inverse of hfft(): ifft() of real numbers, the first n // 2 + 1 elements."""
    return _to_half(input, None if n is None else (n,), (dim,), norm, "ihfft", True)


def _one_axis_samples(call: Any, complex_too: bool, real_too: bool) -> Any:
    def samples(make: Any) -> Iterator[Any]:
        for dtype in [dtypes.complex128] * complex_too + [None] * real_too:
            yield Sample(make(4, dtype=dtype))
            yield Sample(make(2, 5, dtype=dtype), 3, 1, "ortho")
            yield Sample(make(3, 2, dtype=dtype), 6, 0, "forward")
        yield Sample(make.ints(2, 4), norm="backward")
        yield Bad(make(3), 0, raises=RuntimeError, says="Invalid number of data points (0)")
        yield Bad(make(3), norm="half", raises=RuntimeError, says="normalization mode")
        yield Bad(make(()), raises=IndexError, says="Dimension")
        if not complex_too:
            yield Bad(make(3, dtype=dtypes.complex128), raises=RuntimeError, says="expects a real")

    call.samples(samples)
    return samples


for _call, _complex_too, _real_too in (
    (fft, True, True), (ifft, True, True), (rfft, False, True), (irfft, True, True), (hfft, True, True),
    (ihfft, False, True),
):  # fmt: skip
    _one_axis_samples(_call, _complex_too, _real_too)


# -- several axes -----------------------------------------------------------------------------------------


@op(module="fft", composite=True)
def fftn(input: Array, s: Any = None, dim: Any = None, norm: str | None = None) -> Array:
    """fft() along several dimensions: `dim`, or the last len(s), or all; `s` are their sizes.

    >>> import rushlight
    >>> rushlight.fft.fftn(rushlight.ones(2, 2))
    tensor([[4.+0.j, 0.+0.j],
            [0.+0.j, 0.+0.j]])
    """
    return _complex(input, s, dim, norm, False)


@op(module="fft", composite=True)
def ifftn(input: Array, s: Any = None, dim: Any = None, norm: str | None = None) -> Array:
    """The inverse of fftn()."""
    return _complex(input, s, dim, norm, True)


@op(module="fft", composite=True)
def rfftn(input: Array, s: Any = None, dim: Any = None, norm: str | None = None) -> Array:
    """fftn() of real numbers; of the last dimension the first n // 2 + 1 elements."""
    return _to_half(input, s, dim, norm, "rfftn", False)


@op(module="fft", composite=True)
def irfftn(input: Array, s: Any = None, dim: Any = None, norm: str | None = None) -> Array:
    """The inverse of rfftn()."""
    return _from_half(input, s, dim, norm, "irfftn", True)


@op(module="fft", composite=True)
def hfftn(input: Array, s: Any = None, dim: Any = None, norm: str | None = None) -> Array:
    """fftn() of a signal that is Hermitian, of which the input is one half: real numbers."""
    return _from_half(input, s, dim, norm, "hfftn", False)


@op(module="fft", composite=True)
def ihfftn(input: Array, s: Any = None, dim: Any = None, norm: str | None = None) -> Array:
    """The inverse of hfftn()."""
    return _to_half(input, s, dim, norm, "ihfftn", True)


@op(module="fft", composite=True)
def fft2(input: Array, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Array:
    """fftn() along two dimensions."""
    return _complex(input, s, dim, norm, False)


@op(module="fft", composite=True)
def ifft2(input: Array, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Array:
    """The inverse of fft2()."""
    return _complex(input, s, dim, norm, True)


@op(module="fft", composite=True)
def rfft2(input: Array, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Array:
    """rfftn() along two dimensions."""
    return _to_half(input, s, dim, norm, "rfft2", False)


@op(module="fft", composite=True)
def irfft2(input: Array, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Array:
    """The inverse of rfft2()."""
    return _from_half(input, s, dim, norm, "irfft2", True)


@op(module="fft", composite=True)
def hfft2(input: Array, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Array:
    """hfftn() along two dimensions."""
    return _from_half(input, s, dim, norm, "hfft2", False)


@op(module="fft", composite=True)
def ihfft2(input: Array, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Array:
    """The inverse of hfft2()."""
    return _to_half(input, s, dim, norm, "ihfft2", True)


def _several_axes_samples(call: Any, dtype: Any) -> None:
    @call.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make(3, 4, dtype=dtype))
        yield Sample(make(2, 3, 5, dtype=dtype), (4, 3), (0, 2), "ortho")
        yield Sample(make(2, 3, dtype=dtype), (-1, 4), norm="forward")
        yield Bad(make(2, 3), (0, 2), raises=RuntimeError, says="data points (0)")
        yield Bad(make(2, 3), dim=(0, 0), raises=RuntimeError, says="must be unique")
        yield Bad(make(2, 3), (2,), (0, 1), raises=RuntimeError, says="same length")


for _call in (fftn, ifftn, irfftn, hfftn, fft2, ifft2, irfft2, hfft2):
    _several_axes_samples(_call, dtypes.complex128)
for _call in (rfftn, ihfftn, rfft2, ihfft2):
    _several_axes_samples(_call, None)


# -- frequencies ------------------------------------------------------------------------------------------


def _frequencies(places: Any, n: int, d: float, dtype: Any) -> Array:
    dtype = dtype or dtypes.get_default_dtype().numpy
    if dtype not in INEXACT:
        raise RuntimeError(f"fftfreq requires a floating point or complex dtype, not {dtype.name}")
    return e.mul(
        s.cast(places, dtype=dtype), s.full(1.0 / (n * d) if n else 0.0, shape=(), dtype=dtype)
    )


@op(module="fft", factory=True, differentiable=False)
def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None) -> Array:
    """The frequencies that the elements of fft() of size `n` belong to, for samples `d` apart.

    >>> import rushlight
    >>> rushlight.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    places = s.iota(length=n, dtype=dtypes.INT64)
    behind = e.greater_equal(places, (n + 1) // 2)
    return _frequencies(s.select(behind, e.sub(places, n), places), n, d, dtype)


@op(module="fft", factory=True, differentiable=False)
def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None) -> Array:
    """The frequencies that the elements of rfft() of size `n` belong to, for samples `d` apart.

    >>> import rushlight
    >>> rushlight.fft.rfftfreq(4)
    tensor([0.0000, 0.2500, 0.5000])
    """
    return _frequencies(s.iota(length=n // 2 + 1, dtype=dtypes.INT64), n, d, dtype)


def _frequency_samples(make: Any) -> Iterator[Any]:
    yield Sample(5)
    yield Sample(4, 0.1)
    yield Sample(1, dtype=dtypes.float64)
    yield Bad(4, dtype=dtypes.int64, raises=RuntimeError, says="floating point")


fftfreq.samples(_frequency_samples)
rfftfreq.samples(_frequency_samples)


def _shifted(x: Any, dim: Any, back: bool) -> Any:
    if dim is None:
        axes = tuple(range(x.ndim))
    else:
        axes = tuple(dimension(d, x.ndim) for d in ((dim,) if isinstance(dim, int) else dim))
    return roll(x, tuple((x.shape[a] + back) // 2 for a in axes), axes)


@op(module="fft", composite=True)
def fftshift(input: Array, dim: Any = None) -> Array:
    """Moves the element of frequency zero from the beginning to the middle, along all dimensions or `dim`.

    >>> import rushlight
    >>> rushlight.fft.fftshift(rushlight.arange(5))
    tensor([3, 4, 0, 1, 2])
    """
    return _shifted(input, dim, False)


@op(module="fft", composite=True)
def ifftshift(input: Array, dim: Any = None) -> Array:
    """The inverse of fftshift().

    >>> import rushlight
    >>> rushlight.fft.ifftshift(rushlight.arange(5))
    tensor([2, 3, 4, 0, 1])
    """
    return _shifted(input, dim, True)


def _shift_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5))
    yield Sample(make(2, 3, 4), (0, -1))
    yield Sample(make(3, 4), 1)
    yield Bad(make(3), 2, raises=IndexError, says="out of range")


fftshift.samples(_shift_samples)
ifftshift.samples(_shift_samples)
