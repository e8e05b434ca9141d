"""Short-time Fourier transforms, and the windows that frames are multiplied with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.core.dtypes import FLOATING
from rushlight.ops.complex_numbers import is_complex_dtype, view_as_complex, view_as_real
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.fourier import fft, ifft, irfft, rfft
from rushlight.ops.linear_algebra import plain
from rushlight.ops.linear_algebra_cholesky import ones_on_diagonal
from rushlight.ops.resampling import fold, pad
from rushlight.ops.shape import expand, matrix_transpose, narrow, reshape, select, unfold, unsqueeze
from rushlight.primitives import elementwise as p
from rushlight.primitives import special
from rushlight.primitives import structural as s

# -- windows ----------------------------------------------------------------------------------------------


def _turns(length: int, periodic: bool, dtype: Any, name: str) -> tuple[Any, Any]:
    """How far each element of a window is along it, from 0 to 1, and the dtype; None for windows of one element."""
    dtype = dtype or dtypes.get_default_dtype().numpy
    if dtype not in FLOATING:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype.name}")
    if length < 0:
        raise RuntimeError(
            f"{name} requires non-negative window_length, got window_length={length}"
        )
    if length <= 1:
        return None, dtype
    wide = dtype if dtype.itemsize > 2 else dtypes.FLOAT32
    places = s.iota(length=length, dtype=wide)
    return p.div(places, float(length if periodic else length - 1)), dtype


def _cosines(length: int, periodic: bool, dtype: Any, name: str, weights: tuple[float, ...]) -> Any:
    """weights[0] - weights[1] cos(2 pi t) + weights[2] cos(4 pi t) ..."""
    at, dtype = _turns(length, periodic, dtype, name)
    if at is None:
        return s.full(1, shape=(length,), dtype=dtype)
    total: Any = p.add(p.mul(at, 0.0), weights[0])
    for k, w in enumerate(weights[1:], 1):
        total = p.add(total, p.mul(p.cos(p.mul(at, 2 * math.pi * k)), (-1.0) ** k * w))
    return s.cast(total, dtype=dtype)


@op(factory=True, differentiable=False)
def hann_window(window_length: int, periodic: bool = True, *, dtype: Any = None) -> Array:
    """Hann's window: (1 - cos(2 pi n / N)) / 2. Periodic windows leave out the last zero: N is their length.

    >>> import rushlight
    >>> rushlight.hann_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return _cosines(window_length, periodic, dtype, "hann_window", (0.5, 0.5))


@op(factory=True, differentiable=False)
def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype: Any = None,
) -> Array:
    """Hamming's window: alpha - beta cos(2 pi n / N)."""
    return _cosines(window_length, periodic, dtype, "hamming_window", (alpha, beta))


@op(factory=True, differentiable=False)
def blackman_window(window_length: int, periodic: bool = True, *, dtype: Any = None) -> Array:
    """Blackman's window: 0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N)."""
    return _cosines(window_length, periodic, dtype, "blackman_window", (0.42, 0.5, 0.08))


@op(factory=True, differentiable=False)
def bartlett_window(window_length: int, periodic: bool = True, *, dtype: Any = None) -> Array:
    """Bartlett's window: a triangle from 0 to 1 and back.

    >>> import rushlight
    >>> rushlight.bartlett_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    at, dtype = _turns(window_length, periodic, dtype, "bartlett_window")
    if at is None:
        return s.full(1, shape=(window_length,), dtype=dtype)
    return s.cast(p.sub(1.0, p.absolute(p.sub(p.mul(at, 2.0), 1.0))), dtype=dtype)


@op(factory=True, differentiable=False)
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None
) -> Array:
    """Kaiser's window: i0(beta sqrt(1 - (2 n / N - 1)^2)) / i0(beta)."""
    at, dtype = _turns(window_length, periodic, dtype, "kaiser_window")
    if at is None:
        return s.full(1, shape=(window_length,), dtype=dtype)
    from_middle = p.sub(p.mul(at, 2.0), 1.0)
    inside = p.sqrt(p.maximum(p.sub(1.0, p.mul(from_middle, from_middle)), 0.0))
    top = special.i0(s.full(float(beta), shape=(), dtype=at.dtype))
    return s.cast(p.div(special.i0(p.mul(inside, float(beta))), top), dtype=dtype)


def _window_samples(make: Any) -> Iterator[Any]:
    yield Sample(8)
    yield Sample(7, False)
    yield Sample(1)
    yield Sample(0)
    yield Sample(5, dtype=dtypes.float64)
    yield Bad(-1, raises=RuntimeError, says="non-negative window_length")
    yield Bad(4, dtype=dtypes.int64, raises=RuntimeError, says="floating point")


for _call in (hann_window, hamming_window, blackman_window, bartlett_window, kaiser_window):
    _call.samples(_window_samples)


# -- transforms -------------------------------------------------------------------------------------------


def _window(x: Any, window: Any, n_fft: int, win_length: int, name: str) -> Any:
    """The window in the middle of n_fft elements; ones if there is none."""
    if not 0 < win_length <= n_fft:
        raise RuntimeError(
            f"{name}: expected 0 < win_length <= n_fft, but got win_length={win_length}"
        )
    if window is not None and tuple(window.shape) != (win_length,):
        raise RuntimeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={win_length}, but got window with size "
            f"{list(window.shape)}"
        )
    if window is None:
        if win_length == n_fft:
            return None
        window = reshape(expand(ones_on_diagonal(x, 1, 1), win_length, 1), (win_length,))
    left = (n_fft - win_length) // 2
    return pad(window, (left, n_fft - win_length - left)) if win_length < n_fft else window


@op(method=True, composite=True)
def stft(
    input: Array,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Array | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
) -> Array:
    """Fourier transforms of frames of `n_fft` elements, `hop_length` (n_fft // 4) apart: (T,) or (B, T) give
    (frequencies, frames), with the batch before.

    Frames are multiplied with `window`, of size win_length (n_fft). With center=True the signal is
    padded by n_fft // 2 at both ends, in pad_mode. Of real signals one half of each spectrum is kept
    unless onesided=False. normalized=True divides by the root of n_fft. return_complex=False gives
    pairs of real numbers; for real signals the choice must be made.

    >>> import rushlight
    >>> signal = rushlight.ones(8)
    >>> rushlight.stft(signal, 4, window=rushlight.ones(4), return_complex=True).shape
    torch.Size([3, 9])
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    if plain(input.dtype).kind not in "fc":
        raise RuntimeError(
            f"stft: expected a tensor of floating point or complex values, not {input.dtype}"
        )
    if input.ndim not in (1, 2):
        raise RuntimeError(f"stft: expected a 1D or 2D tensor, but got {input.ndim}D")
    hard = is_complex_dtype(input.dtype) or (window is not None and is_complex_dtype(window.dtype))
    if return_complex is None:
        if not hard:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
        return_complex = True
    onesided = not hard if onesided is None else onesided
    x = input if input.ndim == 2 else unsqueeze(input, 0)
    if center:
        half = n_fft // 2
        x = reshape(pad(unsqueeze(x, 1), (half, half), pad_mode), (x.shape[0], -1))
    length = x.shape[1]
    if not 0 < n_fft <= length:
        raise RuntimeError(f"stft: expected 0 < n_fft <= {length}, but got n_fft={n_fft}")
    if hop <= 0:
        raise RuntimeError(f"stft: expected hop_length > 0, but got hop_length={hop}")
    shape = _window(x, window, n_fft, width, "stft")
    frames = unfold(x, -1, n_fft, hop)
    if shape is not None:
        frames = frames * shape
    if onesided and is_complex_dtype(frames.dtype):
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    norm = "ortho" if normalized else None
    out = rfft(frames, norm=norm) if onesided else fft(frames, norm=norm)
    out = matrix_transpose(out)
    out = out if input.ndim == 2 else select(out, 0, 0)
    return out if return_complex else view_as_real(out)


@op(method=True, composite=True, traceable=False)
def istft(
    input: Array,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Array | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Array:
    """The inverse of stft(): the signal whose transform is nearest to `input` (D. Griffin and J. Lim, Signal
    estimation from modified short-time Fourier transform, 1984), cut or padded to `length`.

    Raises RuntimeError where the windows together leave out elements.
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    if not is_complex_dtype(input.dtype):
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    if input.ndim not in (2, 3) or not math.prod(tuple(input.shape)):
        raise RuntimeError(
            f"istft expected a tensor with 2 or 3 dimensions and elements, but got {list(input.shape)}"
        )
    x = input if input.ndim == 3 else unsqueeze(input, 0)
    rows, count = x.shape[-2:]
    onesided = rows != n_fft if onesided is None else onesided
    if rows != (n_fft // 2 + 1 if onesided else n_fft):
        raise RuntimeError(
            f"istft expected the frequency dimension (2nd to the last) of the input tensor to match n_fft "
            f"{'/ 2 + 1 ' if onesided else ''}when onesided={onesided}, but got {rows} for n_fft={n_fft}"
        )
    if not 0 < hop <= width:
        raise RuntimeError(f"istft expected 0 < hop_length <= win_length, but got hop_length={hop}")
    if return_complex and onesided:
        raise RuntimeError(
            "cannot have onesided output if window or input is complex; use onesided=False"
        )
    norm = "ortho" if normalized else None
    frames = matrix_transpose(x)
    if return_complex:
        frames = ifft(frames, norm=norm)
    else:  # of a whole spectrum one half is read
        frames = irfft(narrow(frames, -1, 0, n_fft // 2 + 1), n_fft, norm=norm)
    shape = _window(frames, window, n_fft, width, "istft")
    if shape is None:
        shape = reshape(expand(ones_on_diagonal(frames, 1, 1), n_fft, 1), (n_fft,))
    total = n_fft + hop * (count - 1)
    signal = _overlapped(frames * shape, total, hop)
    squares = expand(reshape(shape * shape, (1, 1, n_fft)), 1, count, n_fft)
    weights = _overlapped(squares, total, hop)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - start
    stop = min(end, total)
    signal, weights = (
        narrow(signal, -1, start, stop - start),
        narrow(weights, -1, start, stop - start),
    )
    lowest = abs(weights.detach()._array).min(initial=math.inf)
    if lowest < 1e-11:
        raise RuntimeError(f"window overlap add min: {lowest}: some elements are in no window")
    out = signal / weights
    if end > total:
        out = pad(out, (0, end - total))
    return out if input.ndim == 3 else select(out, 0, 0)


def _overlapped(frames: Any, total: int, hop: int) -> Any:
    """Frames (B, count, n) added where they lie, into (B, total)."""
    if is_complex_dtype(frames.dtype):
        parts = view_as_real(frames)
        real, imag = (_overlapped(select(parts, -1, i), total, hop) for i in (0, 1))
        from rushlight.ops.joining import stack

        return view_as_complex(stack([real, imag], -1))
    size = frames.shape[-1]
    out = fold(matrix_transpose(frames), (1, total), (1, size), stride=(1, hop))
    return reshape(out, (frames.shape[0], total))


@stft.samples
def stft_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(12), 4, return_complex=True)
    yield Sample(make(2, 12), 4, 2, 3, make(3, low=0.5), normalized=True, return_complex=True)
    yield Sample(make(12), 4, 3, center=False, onesided=False, return_complex=False)
    yield Sample(make(12, dtype=dtypes.complex128), 4, 3)
    yield Bad(make(12), 4, raises=RuntimeError, says="return_complex")
    yield Bad(make(12), 40, center=False, return_complex=True, raises=RuntimeError, says="n_fft")
    yield Bad(make(2, 2, 2), 2, return_complex=True, raises=RuntimeError, says="1D or 2D")


@istft.samples
def istft_samples(make: Any) -> Iterator[Any]:
    complex128 = dtypes.complex128
    yield Sample(make(3, 5, dtype=complex128), 4)
    yield Sample(make(2, 3, 5, dtype=complex128), 4, 2, 4, make(4, low=0.5), length=7)
    yield Sample(make(4, 5, dtype=complex128), 4, 2, center=False, onesided=False)
    window = make(3, dtype=complex128)
    yield Sample(make(4, 5, dtype=complex128), 4, 1, 3, window, onesided=False, return_complex=True)
    yield Sample(
        make(4, 5, dtype=complex128), 4, 2, onesided=False, return_complex=True, normalized=True
    )
    yield Bad(make(3, 5), 4, raises=RuntimeError, says="complex-valued")
    yield Bad(
        make(4, 5, dtype=complex128),
        8,
        onesided=True,
        raises=RuntimeError,
        says="frequency dimension",
    )
