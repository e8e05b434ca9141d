"""Complex numbers: conjugates, parts, angles, and their views as pairs of real numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core.dtypes import COMPLEX, FLOATING, complex_of, real_of
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import to_float
from rushlight.ops.selection import choose
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.views import Steps


def is_complex_dtype(dtype: Any) -> bool:
    """Whether a dtype, rushlight's or NumPy's, is complex."""
    return bool(getattr(dtype, "is_complex", dtype in COMPLEX))


@op(method=True, aliases=("conj_physical",))
def conj(input: Array) -> Array:
    """The complex conjugate of each element; real elements as they are."""
    return p.conj(input) if input.dtype in COMPLEX else s.copy(input)


@conj.gradient("input")
def conj_gradient(grad: Array) -> Array:
    return conj(grad) if is_complex_dtype(grad.dtype) else grad


def conjugate(x: Any) -> Any:
    """The complex conjugate, for gradients: real values pass through."""
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        return x.conjugate() if isinstance(x, complex) else x
    return conj(x) if is_complex_dtype(dtype) else x


def _complex_samples(make: Any) -> Iterator[Any]:
    import rushlight

    yield Sample(make(3, 4, dtype=rushlight.complex128))
    yield Sample(make((), dtype=rushlight.complex128))


@conj.samples
def conj_samples(make: Any) -> Iterator[Any]:
    yield from _complex_samples(make)
    yield Sample(make(3))


@op(method=True, composite=True)
def resolve_conj(input: Array) -> Array:
    """The tensor itself: conjugates are computed at once."""
    return input


resolve_conj.samples(_complex_samples)


@op(method=True, composite=True)
def resolve_neg(input: Array) -> Array:
    """The tensor itself: negatives are computed at once."""
    return input


resolve_neg.samples(_complex_samples)


@op(view=True, method=False, function=False, node="RealBackward0")
def real_view(input: Array) -> Steps:
    """The real parts, in the tensor's memory."""
    return ((s.real_part, {}),)


@op(view=True, method=False, function=False, node="ImagBackward0")
def imag_view(input: Array) -> Steps:
    """The imaginary parts, in the tensor's memory."""
    return ((s.imag_part, {}),)


@op(composite=True, property="real")
def real(input: Array) -> Array:
    """The real parts, a view; of a real tensor, the tensor itself."""
    return real_view(input) if is_complex_dtype(input.dtype) else input


real.samples(_complex_samples)


@op(composite=True, property="imag")
def imag(input: Array) -> Array:
    """The imaginary parts, a view. Raises RuntimeError for real tensors."""
    if not is_complex_dtype(input.dtype):
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return imag_view(input)


@imag.samples
def imag_samples(make: Any) -> Iterator[Any]:
    yield from _complex_samples(make)
    yield Bad(make(3), raises=RuntimeError, says="non-complex")


@op(view=True, node="ViewAsRealBackward0")
def view_as_real(input: Array) -> Steps:
    """A complex tensor as pairs (real, imaginary) in a new last dimension of size 2; a view."""
    if input.dtype not in COMPLEX:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    shape = (*input.shape, 1)
    return ((s.reshape, {"shape": shape}), (s.bitcast, {"dtype": real_of(input.dtype)}))


@view_as_real.samples
def view_as_real_samples(make: Any) -> Iterator[Any]:
    yield from _complex_samples(make)
    yield Bad(make(3), raises=RuntimeError, says="complex")


@op(view=True, node="ViewAsComplexBackward0")
def view_as_complex(input: Array) -> Steps:
    """Pairs in the last dimension, of size 2, as complex numbers; a view."""
    if input.dtype not in FLOATING or input.dtype.itemsize == 2:
        raise RuntimeError(
            f"view_as_complex is only supported for float and double tensors, but got a tensor of {input.dtype}"
        )
    if not input.ndim or input.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    return (
        (s.bitcast, {"dtype": complex_of(input.dtype)}),
        (s.reshape, {"shape": input.shape[:-1]}),
    )


@view_as_complex.samples
def view_as_complex_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 2))
    yield Bad(make(3), raises=RuntimeError, says="size 2")


@op(method=True)
def angle(input: Array) -> Array:
    """The argument of each element in radians; 0 or pi for real ones."""
    return p.angle(to_float(input))


@angle.gradient("input")
def angle_gradient(grad: Array, input: Array) -> Array:
    if not is_complex_dtype(input.dtype):
        return grad * 0
    square = abs(input) * abs(input)
    return grad * (input * 1j) / choose(square == 0, 1, square)


@angle.samples
def angle_samples(make: Any) -> Iterator[Any]:
    yield from _complex_samples(make)
    yield Sample(make(3, low=0.5))
