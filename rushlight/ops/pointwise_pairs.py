"""Functions of two elements: atan2, hypot, logaddexp, gcd and their kin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core.dtypes import COMPLEX
from rushlight.ops.declare import Array, Operand, Sample, op
from rushlight.ops.operands import promote, promote_to_float
from rushlight.ops.pointwise import exp2, log, sgn, sigmoid
from rushlight.ops.sampling import binary_samples
from rushlight.ops.selection import choose
from rushlight.primitives import elementwise as p
from rushlight.primitives.structural import full, select

# -- two operands -------------------------------------------------------------------------------------------


@op(method=True, inplace=True, aliases=("arctan2",))
def atan2(input: Operand, other: Operand) -> Array:
    """The angle of the point (other, input) in (-pi, pi]."""
    return p.atan2(*promote_to_float(input, other))


@atan2.gradient("input")
def atan2_gradient_input(grad: Array, input: Any, other: Any) -> Array:
    return grad * (other / (input * input + other * other))


@atan2.gradient("other")
def atan2_gradient_other(grad: Array, input: Any, other: Any) -> Array:
    return grad * (-input / (input * input + other * other))


atan2.samples(binary_samples(0.3, 2, numbers=False))


@op(method=True, inplace=True)
def hypot(input: Operand, other: Operand) -> Array:
    """sqrt(input^2 + other^2) without overflow."""
    return p.hypot(*promote(input, other))


@hypot.gradient("input")
def hypot_gradient_input(grad: Array, input: Any, out: Array) -> Array:
    return grad * (input / out)


@hypot.gradient("other")
def hypot_gradient_other(grad: Array, other: Any, out: Array) -> Array:
    return grad * (other / out)


hypot.samples(binary_samples(0.3, 2, numbers=False))


@op(method=True)
def logaddexp(input: Array, other: Array) -> Array:
    """log(exp(input) + exp(other)) without overflow."""
    return p.logaddexp(*promote(input, other))


@logaddexp.gradient("input")
def logaddexp_gradient_input(grad: Array, input: Array, other: Array) -> Array:
    return grad * sigmoid(input - other)


@logaddexp.gradient("other")
def logaddexp_gradient_other(grad: Array, input: Array, other: Array) -> Array:
    return grad * sigmoid(other - input)


@op(method=True)
def logaddexp2(input: Array, other: Array) -> Array:
    """log2(2^input + 2^other) without overflow."""
    return p.logaddexp2(*promote(input, other))


@logaddexp2.gradient("input")
def logaddexp2_gradient_input(grad: Array, input: Array, other: Array) -> Array:
    return grad * sigmoid((input - other) * math.log(2))


@logaddexp2.gradient("other")
def logaddexp2_gradient_other(grad: Array, input: Array, other: Array) -> Array:
    return grad * sigmoid((other - input) * math.log(2))


logaddexp.samples(binary_samples(numbers=False))
logaddexp2.samples(binary_samples(numbers=False))


@op(method=True, inplace=True, aliases=("special.xlogy",))
def xlogy(input: Operand, other: Operand) -> Array:
    """Input * log(other), and 0 where input is 0 (NaN where other is NaN)."""
    a, b = promote_to_float(input, other)
    dtype = getattr(a, "dtype", None) or b.dtype
    a, b = (x if hasattr(x, "dtype") else full(x, shape=(), dtype=dtype) for x in (a, b))
    return select(p.logical_and(p.equal(a, 0), p.logical_not(p.is_nan(b))), 0, p.mul(a, p.log(b)))


@xlogy.gradient("input")
def xlogy_gradient_input(grad: Array, input: Any, other: Any) -> Array:
    if not hasattr(other, "dtype"):
        return grad * choose(
            (input == 0),
            0.0 if other <= 0 else math.log(other),
            math.log(other) if other > 0 else -math.inf,
        )
    return grad * choose((input == 0) & (other <= 0), 0, log(other))


@xlogy.gradient("other")
def xlogy_gradient_other(grad: Array, input: Any, other: Any) -> Array:
    return grad * (input / other)


xlogy.samples(binary_samples(0.3, 2))


@op(method=True, inplace=True)
def copysign(input: Operand, other: Operand) -> Array:
    """The size of `input` with the sign of `other`."""
    return p.copysign(*promote_to_float(input, other))


@copysign.gradient("input")
def copysign_gradient_input(grad: Array, input: Array, out: Array) -> Array:
    return grad * choose(input == 0, 0, sgn(input) * sgn(out))


@copysign.gradient("other")
def copysign_gradient_other(grad: Array) -> Array:
    return grad * 0


copysign.samples(binary_samples(0.3, 2))


@op(method=True, inplace=True)
def nextafter(input: Array, other: Array) -> Array:
    """The next floating point number after `input` towards `other`.

    The gradient goes to `input`, except where the two are equal: there it is 0.
    """
    return p.nextafter(*promote(input, other))


@nextafter.gradient("input", "other")
def nextafter_gradient(grad: Array, input: Array, other: Array) -> tuple[Array, Array]:
    return choose(input == other, 0, grad), grad * 0


nextafter.samples(binary_samples(numbers=False))


@op(method=True, inplace=True)
def ldexp(input: Array, other: Array) -> Array:
    """Input * 2^other."""
    a, b = promote_to_float(input, other)
    return p.mul(a, p.exp2(b))


@ldexp.gradient("input")
def ldexp_gradient_input(grad: Array, other: Array) -> Array:
    return grad * exp2(other)


@ldexp.gradient("other")
def ldexp_gradient_other(grad: Array, out: Array) -> Array:
    return grad * out * math.log(2)


ldexp.samples(binary_samples(numbers=False))


@op(method=True, inplace=True, differentiable=False)
def gcd(input: Array, other: Array) -> Array:
    """The greatest common divisor of integers."""
    return p.gcd(*promote(input, other))


@op(method=True, inplace=True, differentiable=False)
def lcm(input: Array, other: Array) -> Array:
    """The least common multiple of integers."""
    return p.lcm(*promote(input, other))


def _integer_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(3, 4, low=1), make.ints(4, low=1))


gcd.samples(_integer_samples)
lcm.samples(_integer_samples)


@op(method=True, inplace=True, differentiable=False)
def heaviside(input: Array, values: Array) -> Array:
    """0 below zero, 1 above, and `values` at zero."""
    if input.dtype != values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    if input.dtype in COMPLEX:
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    step = select(
        p.greater(input, 0),
        full(1, shape=(), dtype=input.dtype),
        full(0, shape=(), dtype=input.dtype),
    )
    return select(p.equal(input, 0), values, step)


@heaviside.samples
def heaviside_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(4))
