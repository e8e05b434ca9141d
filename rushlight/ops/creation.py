"""Tensors made from a shape: filled with one number, counting, or spaced; and their `_like` and
`new_` forms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.core.dtypes import BOOL, FLOAT32, FLOAT64, INT64
from rushlight.ops import record, tape
from rushlight.ops.complex_numbers import imag, real
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.layouts import filled
from rushlight.ops.operands import fitting, sequence, to
from rushlight.ops.pointwise import cos, sin
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.creation import strided_zeros
from rushlight.primitives.views import make_complex


def _shape(size: tuple[Any, ...], caller: str) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence."""
    shape = sequence(size)
    for n in shape:
        if n < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {n}: {caller} was given "
                f"{list(shape)}"
            )
    return shape


def _listed(size: Any, caller: str) -> tuple[int, ...]:
    """Sizes that must be given as one sequence."""
    if not isinstance(size, (tuple, list)):
        raise TypeError(
            f"{caller}(): argument 'size' must be tuple of ints, not {type(size).__name__}"
        )
    return _shape((size,), caller)


def _default(dtype: Any) -> Any:
    return dtypes.get_default_dtype().numpy if dtype is None else dtype


def number_dtype(value: Any) -> Any:
    """The dtype of a tensor filled with a number."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int):
        return INT64
    default = dtypes.get_default_dtype()
    return default.numpy if isinstance(value, float) else default.to_complex().numpy


def _constant(value: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """A number or a 0-d array everywhere."""
    if hasattr(value, "dtype"):
        return s.full(to(value, dtype), shape=shape, dtype=dtype)
    return s.full(fitting(value, dtype), shape=shape, dtype=dtype)


@op(factory=True, differentiable=False)
def zeros(*size: Any, dtype: Any = None) -> Array:
    """A tensor of zeros.

    >>> import rushlight
    >>> rushlight.zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    return s.full(0, shape=_shape(size, "zeros"), dtype=_default(dtype))


@zeros.samples
def zeros_samples(make: Any) -> Iterator[Any]:
    yield Sample(2, 3)
    yield Sample((2, 0))
    yield Sample(())
    yield Sample([3], dtype=dtypes.int32)
    yield Bad(-1, raises=RuntimeError, says="negative dimension")
    yield Bad(2.5, raises=TypeError, says="must be ints")


@op(factory=True, differentiable=False)
def ones(*size: Any, dtype: Any = None) -> Array:
    """A tensor of ones.

    >>> import rushlight
    >>> rushlight.ones(2, dtype=rushlight.int64)
    tensor([1, 1])
    """
    return s.full(1, shape=_shape(size, "ones"), dtype=_default(dtype))


ones.samples(zeros_samples)


@op(factory=True, differentiable=False)
def empty(*size: Any, dtype: Any = None) -> Array:
    """A tensor whose values are not set; they happen to be zeros here, but do not count on that."""
    return s.full(0, shape=_shape(size, "empty"), dtype=_default(dtype))


empty.samples(zeros_samples)


@op(factory=True, differentiable=False)
def full(size: Any, fill_value: Operand, *, dtype: Any = None) -> Array:
    """A tensor with `fill_value` everywhere; without `dtype` it has the number's type.

    Raises RuntimeError where the number does not fit an integer `dtype`.

    >>> import rushlight
    >>> rushlight.full((2, 2), 7)
    tensor([[7, 7],
            [7, 7]])
    """
    if dtype is None:
        dtype = fill_value.dtype if hasattr(fill_value, "dtype") else number_dtype(fill_value)
    return _constant(fill_value, _listed(size, "full"), dtype)


@full.samples
def full_samples(make: Any) -> Iterator[Any]:
    yield Sample((2, 3), 1.5)
    yield Sample((), 3)
    yield Sample((2, 0), True)
    yield Sample([2], 1 + 2j)
    yield Sample((2,), 3, dtype=dtypes.float64)
    yield Bad((2,), 300, dtype=dtypes.uint8, raises=RuntimeError, says="without overflow")


@op(factory=True, differentiable=False)
def zeros_like(input: Array, *, dtype: Any = None, memory_format: Any = None) -> Array:
    """Zeros with the shape, dtype and memory order of `input`."""
    return filled(input, 0, dtype, memory_format)


@op(factory=True, differentiable=False)
def ones_like(input: Array, *, dtype: Any = None, memory_format: Any = None) -> Array:
    """Ones with the shape, dtype and memory order of `input`."""
    return filled(input, 1, dtype, memory_format)


@op(factory=True, differentiable=False)
def empty_like(input: Array, *, dtype: Any = None, memory_format: Any = None) -> Array:
    """A tensor with the shape, dtype and memory order of `input`, whose values are not set."""
    return filled(input, 0, dtype, memory_format)


@zeros_like.samples
@ones_like.samples
@empty_like.samples
def like_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
    yield Sample(make(()))
    yield Sample(make(0, 2), dtype=dtypes.int64)
    yield Bad([1], raises=TypeError, says="argument 'input'")


@op(factory=True, differentiable=False)
def full_like(
    input: Array, fill_value: Operand, *, dtype: Any = None, memory_format: Any = None
) -> Array:
    """`fill_value` everywhere, with the shape, dtype and memory order of `input`."""
    dtype = input.dtype if dtype is None else dtype
    value = to(fill_value, dtype) if hasattr(fill_value, "dtype") else fitting(fill_value, dtype)
    return filled(input, value, dtype, memory_format)


@full_like.samples
def full_like_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 2)
    yield Sample(make(()), 1.5)
    yield Sample(make(2), 3, dtype=dtypes.int64)
    yield Bad(make(2), 2**70, raises=OverflowError, says="too big")


@op(factory=True, differentiable=False)
def scalar_tensor(s: Any, *, dtype: Any = None) -> Array:
    """A 0-d tensor that holds a number; without `dtype` it has the default dtype."""
    return _constant(s, (), _default(dtype))


@scalar_tensor.samples
def scalar_tensor_samples(make: Any) -> Iterator[Any]:
    yield Sample(2)
    yield Sample(2.5, dtype=dtypes.float64)
    yield Bad(1j, raises=RuntimeError, says="without overflow")


@op(factory=True, differentiable=False)
def empty_strided(size: Any, stride: Any, *, dtype: Any = None) -> Array:
    """A tensor with the given strides (in elements), whose values are not set.

    Raises RuntimeError for a negative stride, or where there are more strides than sizes or fewer.

    >>> import rushlight
    >>> rushlight.empty_strided((2, 3), (1, 2)).stride()
    (1, 2)
    """
    return _strided(size, stride, _default(dtype), "empty_strided")


def _strided(size: Any, stride: Any, dtype: Any, caller: str) -> Array:
    shape, strides = _listed(size, caller), sequence((stride,))
    if len(shape) != len(strides):
        raise RuntimeError(
            f"dimensionality of sizes ({len(shape)}) must match dimensionality of strides "
            f"({len(strides)})"
        )
    if min(strides, default=0) < 0:
        raise RuntimeError(f"{caller}: strides must not be negative: {list(strides)}")
    return strided_zeros(shape=shape, strides=strides, dtype=dtype)


@empty_strided.samples
def empty_strided_samples(make: Any) -> Iterator[Any]:
    yield Sample((2, 3), (1, 2))
    yield Sample((), ())
    yield Bad((2, 3), (1,), raises=RuntimeError, says="dimensionality of sizes")


# -- complex numbers of two parts ------------------------------------------------------------------


def _check_parts(a: Array, b: Array) -> None:
    if a.dtype not in (FLOAT32, FLOAT64) or b.dtype not in (FLOAT32, FLOAT64):
        raise RuntimeError(
            "Expected both inputs to be Half, Float or Double tensors but got "
            f"{record.type_name(a.dtype)} and {record.type_name(b.dtype)} (there is no complex "
            "type for Half here)"
        )
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {record.type_name(a.dtype)} but got scalar type "
            f"{record.type_name(b.dtype)} for second argument"
        )


@op
def complex(real: Array, imag: Array) -> Array:
    """The complex numbers with these real and imaginary parts, both float32 or both float64.

    >>> import rushlight
    >>> rushlight.complex(rushlight.tensor([1.0]), rushlight.tensor([2.0]))
    tensor([1.+2.j])
    """
    _check_parts(real, imag)
    return make_complex(real, imag)


@complex.gradient("real")
def complex_gradient_real(grad: Array) -> Array:
    return real(grad)


@complex.gradient("imag")
def complex_gradient_imag(grad: Array) -> Array:
    return imag(grad)


@complex.samples
def complex_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(2, 3))
    yield Sample(make(2, 1), make(3))
    yield Sample(make(()), make(()))
    yield Bad(make.ints(2), make.ints(2), raises=RuntimeError, says="Expected both inputs")


@op
def polar(abs: Array, angle: Array) -> Array:
    """The complex numbers with these sizes and angles (in radians): abs * exp(i * angle).

    >>> import rushlight
    >>> rushlight.polar(rushlight.tensor([2.0]), rushlight.tensor([0.0]))
    tensor([2.+0.j])
    """
    _check_parts(abs, angle)
    return make_complex(p.mul(abs, p.cos(angle)), p.mul(abs, p.sin(angle)))


@polar.gradient("abs")
def polar_gradient_abs(grad: Array, angle: Array) -> Array:
    return real(grad) * cos(angle) + imag(grad) * sin(angle)


@polar.gradient("angle")
def polar_gradient_angle(grad: Array, abs: Array, angle: Array) -> Array:
    return abs * (imag(grad) * cos(angle) - real(grad) * sin(angle))


polar.samples(complex_samples)


# -- Tensor.new_* ----------------------------------------------------------------------------------


def _kept(input: Array, dtype: Any) -> Any:
    return input.dtype if dtype is None else dtype


@op(factory=True, differentiable=False, method=True, function=False)
def new_zeros(input: Array, *size: Any, dtype: Any = None) -> Array:
    """Zeros of another size, with the dtype of this tensor."""
    return s.full(0, shape=_shape(size, "new_zeros"), dtype=_kept(input, dtype))


@op(factory=True, differentiable=False, method=True, function=False)
def new_ones(input: Array, *size: Any, dtype: Any = None) -> Array:
    """Ones of another size, with the dtype of this tensor."""
    return s.full(1, shape=_shape(size, "new_ones"), dtype=_kept(input, dtype))


@op(factory=True, differentiable=False, method=True, function=False)
def new_empty(input: Array, *size: Any, dtype: Any = None) -> Array:
    """A tensor of another size with the dtype of this one, whose values are not set."""
    return s.full(0, shape=_shape(size, "new_empty"), dtype=_kept(input, dtype))


@op(factory=True, differentiable=False, method=True, function=False)
def new_full(input: Array, size: Any, fill_value: Operand, *, dtype: Any = None) -> Array:
    """`fill_value` everywhere in another size, with the dtype of this tensor."""
    return _constant(fill_value, _listed(size, "new_full"), _kept(input, dtype))


@op(factory=True, differentiable=False, method=True, function=False)
def new_empty_strided(input: Array, size: Any, stride: Any, *, dtype: Any = None) -> Array:
    """As `empty_strided`, with the dtype of this tensor."""
    return _strided(size, stride, _kept(input, dtype), "new_empty_strided")


@new_empty_strided.samples
def new_empty_strided_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2), (2, 3), (1, 2))
    yield Sample(make(2), (), (), dtype=dtypes.int64)
    yield Bad(make(2), (2, 3), (1,), raises=RuntimeError, says="dimensionality of sizes")


@new_zeros.samples
@new_ones.samples
@new_empty.samples
def new_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2), 2, 3)
    yield Sample(make(2), (4,))
    yield Sample(make(()), [])
    yield Sample(make(2), 2, dtype=dtypes.int64)
    yield Bad(make(2), (2, -1), raises=RuntimeError, says="negative dimension")


@new_full.samples
def new_full_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2), (2, 3), 1.5)
    yield Sample(make(2), (), 1)
    yield Bad(make(2), (-2,), 1.5, raises=RuntimeError, says="negative dimension")


tape.slots.zeros = zeros
