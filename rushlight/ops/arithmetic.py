"""The four signs and their kin: add, sub, mul, div, powers, bounds, and what is written in them."""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator
from typing import Any

from rushlight.core.dtypes import BOOL, COMPLEX, COMPLEX128, FLOAT64, INTEGRAL
from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.operands import promote, promote_all, promote_to_float, to_float
from rushlight.ops.pointwise import log
from rushlight.ops.sampling import binary_samples, unary_samples
from rushlight.ops.selection import choose
from rushlight.primitives import elementwise as p
from rushlight.primitives.structural import cast


def _scaled(other: Any, alpha: Any) -> Any:
    if alpha == 1:
        return other
    dtype = getattr(other, "dtype", None)
    if dtype is None:
        return other * alpha
    if dtype in INTEGRAL and isinstance(alpha, float):
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    a, b = promote(other, alpha)
    return p.mul(a, b)


def _is_bool(x: Any) -> bool:
    return isinstance(x, bool) or getattr(x, "dtype", None) == BOOL


# -- sums and differences -----------------------------------------------------------------------------------


@op(method=True, inplace=True, operators=("__add__", "__radd__", "__iadd__"))
def add(input: Operand, other: Operand, *, alpha: float = 1) -> Array:
    """Elementwise `input + alpha * other`, broadcast and promoted.

    >>> import rushlight
    >>> rushlight.add(rushlight.tensor([1.0, 2.0]), 10, alpha=2)
    tensor([21., 22.])
    """
    a, b = promote(input, other if alpha == 1 else _scaled(other, alpha))
    return p.add(a, b)


@add.gradient("input")
def add_gradient_input(grad: Array) -> Array:
    return grad


@add.gradient("other")
def add_gradient_other(grad: Array, alpha: Any) -> Array:
    return grad if alpha == 1 else grad * alpha


add.samples(binary_samples())


@op(method=True, inplace=True, operators=("__sub__", "__isub__"), aliases=("subtract",))
def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Array:
    """Elementwise `input - alpha * other`, broadcast and promoted.

    Raises RuntimeError for bool tensors: use `^` or `logical_xor` there.
    """
    if _is_bool(input) or _is_bool(other):
        if _is_bool(input) and _is_bool(other):
            raise RuntimeError(
                "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
                "`logical_xor()` operator instead."
            )
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a "
            "mask, use the `~` or `logical_not()` operator instead."
        )
    a, b = promote(input, _scaled(other, alpha))
    return p.sub(a, b)


sub.gradient("input")(add_gradient_input)


@sub.gradient("other")
def sub_gradient_other(grad: Array, alpha: Any) -> Array:
    return -grad if alpha == 1 else grad * -alpha


sub.samples(binary_samples())


@op(operators=("__rsub__",), node="RsubBackward1")
def rsub(input: Array, other: Operand, *, alpha: float = 1) -> Array:
    """Elementwise `other - alpha * input`."""
    return sub.op.body(other, _scaled(input, alpha))


@rsub.gradient("input")
def rsub_gradient_input(grad: Array, alpha: Any) -> Array:
    return grad * -alpha


rsub.gradient("other")(add_gradient_input)
rsub.samples(binary_samples())


@op(method=True, inplace=True, aliases=("negative",), operators=("__neg__",))
def neg(input: Array) -> Array:
    """Elementwise `-input`. Raises RuntimeError for bool tensors."""
    if input.dtype == BOOL:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead."
        )
    return p.neg(input)


@neg.gradient("input")
def neg_gradient(grad: Array) -> Array:
    return -grad


neg.samples(unary_samples())


@op(method=True, composite=True, operators=("__pos__",))
def positive(input: Array) -> Array:
    """The tensor itself. Raises RuntimeError for bool tensors."""
    if _is_bool(input) or getattr(input.dtype, "name", "") == "bool":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


positive.samples(unary_samples())


# -- products and quotients ---------------------------------------------------------------------------------


@op(method=True, inplace=True, operators=("__mul__", "__rmul__", "__imul__"), aliases=("multiply",))
def mul(input: Operand, other: Operand) -> Array:
    """Elementwise product, broadcast and promoted."""
    a, b = promote(input, other)
    return p.mul(a, b)


@mul.gradient("input")
def mul_gradient_input(grad: Array, other: Any) -> Array:
    return grad * conjugate(other)


@mul.gradient("other")
def mul_gradient_other(grad: Array, input: Any) -> Array:
    return grad * conjugate(input)


mul.samples(binary_samples())


@op(method=True, inplace=True, operators=("__truediv__", "__itruediv__"), aliases=("divide",))
def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Array:
    """Elementwise quotient: in floating point, or rounded ("trunc" towards zero, "floor" down) in the inputs' dtype.

    >>> import rushlight
    >>> rushlight.div(rushlight.tensor([-7, 7]), 2, rounding_mode="floor")
    tensor([-4,  3])
    """
    if rounding_mode is None:
        a, b = promote_to_float(input, other)
        return p.div(a, b)
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    a, b = promote(input, other)
    if getattr(a, "dtype", None) == BOOL or getattr(b, "dtype", None) == BOOL:
        raise RuntimeError("div with a rounding_mode is not implemented for 'Bool'")
    if rounding_mode == "floor":
        return p.floor_divide(a, b)
    dtype = getattr(a, "dtype", None) or b.dtype
    if dtype in INTEGRAL:
        below = p.floor_divide(a, b)
        rest = p.remainder(a, b)
        up = p.logical_and(p.less(below, 0), p.not_equal(rest, 0))
        return p.add(below, cast(up, dtype=dtype))
    return p.trunc(p.div(a, b))


@div.gradient("input")
def div_gradient_input(grad: Array, other: Any, rounding_mode: Any) -> Array:
    return grad * 0 if rounding_mode else grad / conjugate(other)


@div.gradient("other")
def div_gradient_other(grad: Array, input: Any, other: Array, rounding_mode: Any) -> Array:
    return grad * 0 if rounding_mode else -grad * conjugate((input / other) / other)


@div.samples
def div_samples(make: Any) -> Iterator[Any]:
    yield from binary_samples(0.5, 2)(make)
    yield Sample(make(3, low=4, high=4.5), make(3, low=1.6, high=1.9), rounding_mode="floor")
    yield Sample(make(3, low=4, high=4.5), make(3, low=-1.9, high=-1.6), rounding_mode="trunc")
    yield Bad(make(3), 2, rounding_mode="up", raises=RuntimeError, says="rounding_mode")


@op(method=True, inplace=True, composite=True)
def true_divide(input: Operand, other: Operand) -> Array:
    """Elementwise quotient in floating point; the same as `div`."""
    return div(input, other)


true_divide.samples(binary_samples(0.5, 2))


@op(operators=("__rtruediv__", "__rdiv__"), function=False, composite=True)
def rdiv(input: Array, other: Operand) -> Array:
    """Elementwise `other / input`."""
    return mul(reciprocal(input), other) if not hasattr(other, "dtype") else div(other, input)


rdiv.samples(binary_samples(0.5, 2))


@op(method=True, inplace=True, operators=("__floordiv__", "__ifloordiv__"))
def floor_divide(input: Operand, other: Operand) -> Array:
    """Elementwise quotient rounded down; integers stay integers."""
    return div.op.body(input, other, rounding_mode="floor")


floor_divide.gradient("input")(lambda grad: grad * 0)
floor_divide.gradient("other")(lambda grad: grad * 0)


@floor_divide.samples
def floor_divide_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=4, high=4.5), make(4, low=1.6, high=1.9))
    yield Sample(make.ints(3, low=-9), 4)
    yield Bad(make.ints(3), 0, raises=RuntimeError, says="ZeroDivisionError")


@op(function=False, operators=("__rfloordiv__",), composite=True)
def rfloordiv(input: Array, other: Operand) -> Array:
    """Elementwise `other // input`."""
    return floor_divide(other, input)


@rfloordiv.samples
def rfloordiv_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, low=1.6, high=1.9), 4.2)


@op(method=True, inplace=True, operators=("__mod__", "__imod__"))
def remainder(input: Operand, other: Operand) -> Array:
    """Elementwise remainder with the sign of the divisor, as Python's `%`."""
    a, b = promote(input, other)
    return p.remainder(a, b)


remainder.gradient("input")(add_gradient_input)


@remainder.gradient("other")
def remainder_gradient_other(grad: Array, input: Any, other: Any) -> Array:
    return -grad * div(input, other, rounding_mode="floor")


@op(method=True, inplace=True)
def fmod(input: Operand, other: Operand) -> Array:
    """Elementwise remainder with the sign of the dividend, as C's fmod."""
    a, b = promote(input, other)
    return p.fmod(a, b)


fmod.gradient("input")(add_gradient_input)


@fmod.gradient("other")
def fmod_gradient_other(grad: Array, input: Any, other: Any) -> Array:
    return -grad * div(input, other, rounding_mode="trunc")


def _remainder_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=4, high=4.5), make(3, 4, low=1.6, high=1.9))
    yield Sample(make(3, low=-4.5, high=-4), 1.7)
    yield Sample(make.ints(3, low=-9), 4)
    yield Bad(make.ints(3), 0, raises=RuntimeError, says="ZeroDivisionError")


remainder.samples(_remainder_samples)
fmod.samples(_remainder_samples)


@op(function=False, operators=("__rmod__",), composite=True)
def rmod(input: Array, other: Operand) -> Array:
    """Elementwise `other % input`."""
    return remainder(other, input)


rmod.samples(rfloordiv_samples)


@op(method=True, inplace=True)
def reciprocal(input: Array) -> Array:
    """Elementwise 1 / input."""
    return p.div(1, to_float(input))


@reciprocal.gradient("input")
def reciprocal_gradient(grad: Array, out: Array) -> Array:
    return -grad * conjugate(out * out)


reciprocal.samples(unary_samples(0.5, 2))


# -- powers -------------------------------------------------------------------------------------------------


@op(method=True, inplace=True, operators=("__pow__", "__ipow__"))
def pow(input: Operand, exponent: Operand) -> Array:
    """Elementwise `input` to the power of `exponent`, broadcast and promoted.

    Raises RuntimeError for integers to a negative integer number.
    """
    a, b = promote(input, exponent)
    if not hasattr(exponent, "dtype"):
        if exponent == 2 and a.dtype != BOOL:
            return p.mul(a, a)
        if exponent == 0.5 and a.dtype not in INTEGRAL:
            return p.sqrt(a)
        if a.dtype in INTEGRAL and isinstance(exponent, int) and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
    return p.power(a, b)


@pow.gradient("input")
def pow_gradient_input(grad: Array, input: Any, exponent: Any) -> Array:
    if not hasattr(exponent, "dtype"):
        if exponent == 0:
            return grad * 0
        if exponent == 1:
            return grad
        return grad * conjugate(exponent * (input if exponent == 2 else pow(input, exponent - 1)))
    slope = exponent * pow(input, exponent - 1)
    return grad * conjugate(choose(exponent == 0, 0, slope))


@pow.gradient("exponent")
def pow_gradient_exponent(grad: Array, input: Any, exponent: Array, out: Array) -> Array:
    if not hasattr(input, "dtype"):
        if input == 0:
            return grad * choose(exponent >= 0, 0, out)
        value = cmath.log(input) if isinstance(input, complex) or input < 0 else math.log(input)
        return grad * conjugate(
            out
            * (value if not isinstance(value, complex) or isinstance(input, complex) else math.nan)
        )
    zero = input == 0
    slope = out * log(choose(zero, 1, input))
    if getattr(exponent.dtype, "is_complex", exponent.dtype in COMPLEX):
        return grad * conjugate(slope)
    return grad * conjugate(choose(zero, choose(exponent >= 0, 0.0, -math.inf), slope))


@pow.samples
def pow_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=0.5), make(3, 4))
    yield Sample(make(3, 1, low=0.5), make(4))
    yield Sample(make(3, 4), 2)
    yield Sample(make(3, 4), 3)
    yield Sample(make(3, 4, low=0.5), 0.5)
    yield Sample(make(3, 4, low=0.5), -1.5)
    yield Sample(make(()), 0)
    yield Sample(1.7, make(3))
    yield Sample(make.ints(4), 3)
    yield Bad(make.ints(3), -1, raises=RuntimeError, says="negative integer powers")


@op(function=False, operators=("__rpow__",), composite=True)
def rpow(input: Array, other: Operand) -> Array:
    """Elementwise `other` to the power of `input`."""
    return pow(other, input)


@rpow.samples
def rpow_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3), 1.7)


@op(function=False, node="ToCopyBackward0")
def in_dtype(input: Array, dtype: Any) -> Array:
    """The elements in another NumPy dtype; the gradient comes back in the input's."""
    return cast(input, dtype=dtype)


in_dtype.gradient("input")(lambda grad: grad)


@in_dtype.samples
def in_dtype_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3), FLOAT64)


@op(method=True, inplace=True, composite=True)
def float_power(input: Operand, exponent: Operand) -> Array:
    """Elementwise power computed in float64 (complex128 where an operand is complex)."""

    def wide(x: Any) -> Any:
        if not hasattr(x, "dtype"):
            return complex(x) if isinstance(x, complex) else float(x)
        complex_input = getattr(x.dtype, "is_complex", x.dtype in COMPLEX)
        return in_dtype(x, COMPLEX128 if complex_input else FLOAT64)

    return pow(wide(input), wide(exponent))


@float_power.samples
def float_power_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=0.5), make(4))
    yield Sample(make.ints(3, low=1), 2)


@op(method=True, inplace=True)
def square(input: Array) -> Array:
    """Elementwise input * input."""
    return p.mul(input, input)


@square.gradient("input")
def square_gradient(grad: Array, input: Array) -> Array:
    return grad * conjugate(2 * input)


square.samples(unary_samples())


# -- three operands -----------------------------------------------------------------------------------------


@op(method=True, inplace=True)
def addcmul(input: Array, tensor1: Array, tensor2: Array, *, value: float = 1) -> Array:
    """Elementwise `input + value * tensor1 * tensor2`."""
    a, b, c = promote_all(input, tensor1, tensor2)
    product = p.mul(b, c)
    return p.add(a, product if value == 1 else p.mul(*promote(product, value)))


addcmul.gradient("input")(add_gradient_input)


@addcmul.gradient("tensor1")
def addcmul_gradient_first(grad: Array, tensor2: Array, value: Any) -> Array:
    return grad * conjugate(tensor2 * value)


@addcmul.gradient("tensor2")
def addcmul_gradient_second(grad: Array, tensor1: Array, value: Any) -> Array:
    return grad * conjugate(tensor1 * value)


@op(method=True, inplace=True)
def addcdiv(input: Array, tensor1: Array, tensor2: Array, *, value: float = 1) -> Array:
    """Elementwise `input + value * tensor1 / tensor2`. Raises RuntimeError for integers."""
    if tensor1.dtype in INTEGRAL and tensor2.dtype in INTEGRAL:
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported: write (input + value * trunc(tensor1 / tensor2)) or "
            "convert to a floating dtype first."
        )
    a, b, c = promote_all(input, tensor1, tensor2)
    quotient = p.div(b, c)
    return p.add(a, quotient if value == 1 else p.mul(*promote(quotient, value)))


addcdiv.gradient("input")(add_gradient_input)


@addcdiv.gradient("tensor1")
def addcdiv_gradient_first(grad: Array, tensor2: Array, value: Any) -> Array:
    return grad * conjugate(value / tensor2)


@addcdiv.gradient("tensor2")
def addcdiv_gradient_second(grad: Array, tensor1: Array, tensor2: Array, value: Any) -> Array:
    return -grad * conjugate(value * tensor1 / (tensor2 * tensor2))


def _ternary_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4), make(3, 4, low=0.5))
    yield Sample(make(3, 4), make(4), make(3, 1, low=0.5), value=0.3)
    yield Sample(make(()), make(()), make((), low=0.5))
    yield Bad(make(3), make(4), make(3), raises=RuntimeError, says="must match the size")


addcmul.samples(_ternary_samples)
addcdiv.samples(_ternary_samples)


@op(method=True, inplace=True, node="LerpBackward0")
def lerp(input: Array, end: Array, weight: Operand) -> Array:
    """Elementwise `input + weight * (end - input)`; the weight is a tensor or a number."""
    if input.dtype != end.dtype:
        raise RuntimeError(f"expected dtype {input.dtype} for `end` but got dtype {end.dtype}")
    step = p.sub(end, input)
    return p.add(input, p.mul(*promote(step, weight)))


@lerp.gradient("input")
def lerp_gradient_input(grad: Array, weight: Any) -> Array:
    return grad * conjugate(1 - weight)


@lerp.gradient("end")
def lerp_gradient_end(grad: Array, weight: Any) -> Array:
    return grad * conjugate(weight)


@lerp.gradient("weight")
def lerp_gradient_weight(grad: Array, input: Array, end: Array) -> Array:
    return grad * conjugate(end - input)


@lerp.samples
def lerp_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4), 0.4)
    yield Sample(make(3, 4), make(4), make(3, 1))
    yield Sample(make(()), make(()), 0.7)
