"""Tensors made from a shape: filled with one number, counting, or spaced; and their `_like` and `new_` forms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.core.dtypes import BOOL, COMPLEX, FLOAT64, INT64, INTEGRAL
from rushlight.ops import record
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.layouts import filled
from rushlight.ops.operands import fitting, sequence, to
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s


def _shape(size: tuple[Any, ...], caller: str) -> tuple[int, ...]:
    shape = sequence(size)
    for n in shape:
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {caller} was given {list(shape)}")
    return shape


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
    return _constant(fill_value, _shape((size,), "full"), dtype)


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
def full_like(input: Array, fill_value: Operand, *, dtype: Any = None, memory_format: Any = None) -> Array:
    """`fill_value` everywhere, with the shape, dtype and memory order of `input`."""
    dtype = input.dtype if dtype is None else dtype
    value = to(fill_value, dtype) if hasattr(fill_value, "dtype") else fitting(fill_value, dtype)
    return filled(input, value, dtype, memory_format)


@full_like.samples
def full_like_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 2)
    yield Sample(make(()), 1.5)
    yield Sample(make(2), 3, dtype=dtypes.int64)
    yield Bad(make.ints(2), 2**70, raises=RuntimeError, says="without overflow")


# -- Tensor.new_* -------------------------------------------------------------------------------------------


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
    return _constant(fill_value, _shape((size,), "new_full"), _kept(input, dtype))


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


record.slots.zeros = zeros


# -- counting -----------------------------------------------------------------------------------------------


def _plain(value: Any, name: str) -> Any:
    """A Python number; 0-d arrays give theirs."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, (int, float, complex)):
        return value
    raise TypeError(f"argument '{name}' must be Number, not {type(value).__name__}")


@op(factory=True, differentiable=False)
def arange(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None) -> Array:
    """Numbers from `start` (0 if one argument is given) up to but without `end`, `step` apart.

    Integers give int64, otherwise the default dtype. Raises RuntimeError for a step of zero and for bounds that the
    step leads away from.

    >>> import rushlight
    >>> rushlight.arange(1, 2.5, 0.5)
    tensor([1.0000, 1.5000, 2.0000])
    """
    if end is None:
        start, end = 0, start
    start, end, step = _plain(start, "start"), _plain(end, "end"), _plain(step, "step")
    if dtype is None:
        whole = all(isinstance(v, int) for v in (start, end, step))
        dtype = INT64 if whole else dtypes.get_default_dtype().numpy
    if dtype in INTEGRAL:
        start, end, step = int(start), int(end), int(step)
    length = _count(start, end, step)
    if dtype in INTEGRAL:
        numbers = s.iota(length=length, dtype=INT64)
    else:
        numbers = s.iota(length=length, dtype=FLOAT64)
    if step != 1:
        numbers = p.mul(numbers, step)
    if start != 0:
        numbers = p.add(numbers, start)
    return to(numbers, dtype)


def _count(start: Any, end: Any, step: Any) -> int:
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError(
            f"upper bound and lower bound inconsistent with step sign: {step} leads from {start} away from {end}"
        )
    if all(isinstance(v, int) for v in (start, end, step)):
        return -(-(end - start) // step)
    return math.ceil((end - start) / step)


@arange.samples
def arange_samples(make: Any) -> Iterator[Any]:
    yield Sample(5)
    yield Sample(1, 10, 3)
    yield Sample(5, 0, -2)
    yield Sample(0, 1, 0.1)
    yield Sample(3, dtype=dtypes.float16)
    yield Sample(2, 2)
    yield Bad(0, 3, 0, raises=RuntimeError, says="step must be nonzero")
    yield Bad(0, 3, -1, raises=RuntimeError, says="inconsistent with step sign")


