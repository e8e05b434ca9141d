"""Discrete Fourier transforms of arrays, along several axes; NumPy's transforms (PocketFFT) do the work.

    fourier(x, sizes, axes, inverse, scale)     complex -> complex
    fourier_real(x, axes, scale)                real -> complex, the last axis halved
    fourier_to_real(x, size, axes, scale)       complex -> real of `size` in the last axis: the inverse, unscaled
                                                but for `scale`

Sizes are those of the operand: padding and cutting are done before. `scale` multiplies the plain sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core.dtypes import complex_of, real_of
from rushlight.primitives.primitive import Aval, primitive

fourier = primitive("fourier", params=("axes", "inverse", "scale"))
fourier_real = primitive("fourier_real", params=("axes", "scale"))
fourier_to_real = primitive("fourier_to_real", params=("size", "axes", "scale"))


def _scaled(x: Any, scale: float, dtype: Any) -> Any:
    if scale != 1.0:
        x = x * scale
    return x.astype(dtype, copy=False)


@fourier.define_rule
def _(x: Any, *, axes: tuple[int, ...], inverse: bool, scale: float) -> Aval:
    return Aval(tuple(x.shape), x.dtype)


@fourier.define_reference
def _(xp: Any, x: Any, *, axes: tuple[int, ...], inverse: bool, scale: float) -> Any:
    out = x
    if x.size:
        for axis in axes:  # norm="forward" and "backward" leave the plain sum of each direction
            out = (
                np.fft.ifft(out, axis=axis, norm="forward")
                if inverse
                else np.fft.fft(out, axis=axis)
            )
    return _scaled(out.copy() if out is x else out, scale, x.dtype)


@fourier_real.define_rule
def _(x: Any, *, axes: tuple[int, ...], scale: float) -> Aval:
    shape = list(x.shape)
    shape[axes[-1]] = shape[axes[-1]] // 2 + 1
    return Aval(tuple(shape), complex_of(x.dtype))


@fourier_real.define_reference
def _(xp: Any, x: Any, *, axes: tuple[int, ...], scale: float) -> Any:
    if not x.size:
        shape = list(x.shape)
        shape[axes[-1]] = shape[axes[-1]] // 2 + 1
        return np.zeros(shape, complex_of(x.dtype))
    out = np.fft.rfft(x, axis=axes[-1])
    for axis in axes[:-1]:
        out = np.fft.fft(out, axis=axis)
    return _scaled(out, scale, complex_of(x.dtype))


@fourier_to_real.define_rule
def _(x: Any, *, size: int, axes: tuple[int, ...], scale: float) -> Aval:
    shape = list(x.shape)
    shape[axes[-1]] = size
    return Aval(tuple(shape), real_of(x.dtype))


@fourier_to_real.define_reference
def _(xp: Any, x: Any, *, size: int, axes: tuple[int, ...], scale: float) -> Any:
    if not x.size:
        shape = list(x.shape)
        shape[axes[-1]] = size
        return np.zeros(shape, real_of(x.dtype))
    for axis in axes[:-1]:
        x = np.fft.ifft(x, axis=axis, norm="forward")
    return _scaled(np.fft.irfft(x, size, axis=axes[-1], norm="forward"), scale, real_of(x.dtype))
