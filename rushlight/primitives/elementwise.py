"""Elementwise primitives: one result element for each element of the broadcast operands.

The reference of most is one NumPy ufunc, so the call is kept as short as Python allows: these run thousands of
times in a training step on small arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.core import shapes
from rushlight.core.dtypes import BOOL, FLOATING, HALF, real_of
from rushlight.primitives.interpreter import slot
from rushlight.primitives.primitive import PRIMITIVES, Aval, Primitive, attach, dtype_of, shape_of

ndarray = np.ndarray
asarray = np.asarray


def _same(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype


def _boolean(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return BOOL


def elementwise(
    name: str,
    arity: int,
    reference: Callable[..., Any],
    result: Callable[[np.dtype[Any]], np.dtype[Any]] = _same,
) -> Callable[..., Any]:
    """Declares an elementwise primitive of one or two operands.

    `reference` is called as (x) or (a, b): a NumPy ufunc, or a function written like one. `result` maps the
    operands' dtype to the result's.
    """
    this = PRIMITIVES[name] = Primitive(name, (), 1, checked=False)
    this.elementwise = True
    this.reference = this.run = reference

    def rule(*operands: Any) -> Aval:
        return Aval(shapes.broadcast(*map(shape_of, operands)), result(dtype_of(*operands)))

    this.rule = rule

    if arity == 1:

        def call(x: Any) -> Any:
            if slot.recorder is not None:
                return slot.recorder.record(this, (x,), {})
            out = this.run(x)
            return out if type(out) is ndarray else asarray(out)

        return attach(call, this)

    def call2(a: Any, b: Any) -> Any:
        if slot.recorder is not None:
            return slot.recorder.record(this, (a, b), {})
        try:
            out = this.run(a, b)
        except (ValueError, TypeError):
            rule(a, b)
            raise
        return out if type(out) is ndarray else asarray(out)

    return attach(call2, this)


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reference for functions that NumPy lacks for 16-bit floats: computed in float32, rounded once."""

    def wide(*operands: Any) -> Any:
        dtype = dtype_of(*operands)
        if dtype not in HALF:
            return function(*operands)
        out = function(*(o.astype(np.float32) if hasattr(o, "dtype") else o for o in operands))
        return out.astype(dtype) if out.dtype == np.float32 else out

    return wide


# -- arithmetic
add = elementwise("add", 2, np.add)
sub = elementwise("sub", 2, np.subtract)
mul = elementwise("mul", 2, np.multiply)
div = elementwise("div", 2, np.true_divide)
neg = elementwise("neg", 1, np.negative)
absolute = elementwise("absolute", 1, np.absolute, real_of)
maximum = elementwise("maximum", 2, np.maximum)
minimum = elementwise("minimum", 2, np.minimum)
fmax = elementwise("fmax", 2, np.fmax)
fmin = elementwise("fmin", 2, np.fmin)
reciprocal = elementwise("reciprocal", 1, np.reciprocal)
square = elementwise("square", 1, np.square)


def _sign(x: Any) -> Any:
    if x.dtype == BOOL:
        return x.copy()
    if x.dtype.kind == "c":
        size = np.absolute(x)
        return np.where(size == 0, x.dtype.type(0), x / np.where(size == 0, 1, size)).astype(
            x.dtype
        )
    # torch answers 0 for NaN
    return np.where(np.isnan(x), x.dtype.type(0), np.sign(x)) if x.dtype in FLOATING else np.sign(x)


def _floor_divide(a: Any, b: Any) -> Any:
    dtype = dtype_of(a, b)
    if dtype.kind in "iu":
        if np.any(np.asarray(b) == 0):
            raise RuntimeError("ZeroDivisionError: integer division by zero")
        return np.floor_divide(a, b)
    # The quotient of NumPy's floor_divide, but infinities where torch has them.
    out = np.floor_divide(a, b)
    over_zero = np.asarray(b) == 0
    return np.where(over_zero, np.true_divide(a, b), out) if over_zero.any() else out


def _checked_divisor(function: Callable[..., Any]) -> Callable[..., Any]:
    def checked(a: Any, b: Any) -> Any:
        if dtype_of(a, b).kind in "iu" and np.any(np.asarray(b) == 0):
            raise RuntimeError("ZeroDivisionError: integer division or remainder by zero")
        return function(a, b)

    return checked


def _power(a: Any, b: Any) -> Any:
    dtype = dtype_of(a, b)
    if dtype.kind in "iu" and np.any(np.asarray(b) < 0):
        # Only 1 and -1 have integer inverses; all others round to zero.
        odd = np.asarray(b) % 2 != 0
        inverse = np.where(
            np.asarray(a) == 1, 1, np.where(np.asarray(a) == -1, np.where(odd, -1, 1), 0)
        )
        return np.where(np.asarray(b) < 0, inverse, np.power(a, np.maximum(b, 0))).astype(dtype)
    return np.power(a, b)


sign = elementwise("sign", 1, _sign)
floor_divide = elementwise("floor_divide", 2, _floor_divide)
remainder = elementwise("remainder", 2, _checked_divisor(np.remainder))
fmod = elementwise("fmod", 2, _checked_divisor(np.fmod))
power = elementwise("power", 2, in_float32(_power))
gcd = elementwise("gcd", 2, np.gcd)
lcm = elementwise("lcm", 2, np.lcm)
hypot = elementwise("hypot", 2, in_float32(np.hypot))
copysign = elementwise("copysign", 2, np.copysign)
nextafter = elementwise("nextafter", 2, np.nextafter)
signbit = elementwise("signbit", 1, np.signbit, _boolean)

# -- comparison
equal = elementwise("equal", 2, np.equal, _boolean)
not_equal = elementwise("not_equal", 2, np.not_equal, _boolean)
less = elementwise("less", 2, np.less, _boolean)
less_equal = elementwise("less_equal", 2, np.less_equal, _boolean)
greater = elementwise("greater", 2, np.greater, _boolean)
greater_equal = elementwise("greater_equal", 2, np.greater_equal, _boolean)
is_nan = elementwise("is_nan", 1, np.isnan, _boolean)
is_inf = elementwise("is_inf", 1, np.isinf, _boolean)
is_finite = elementwise("is_finite", 1, np.isfinite, _boolean)

# -- logic and bits
logical_and = elementwise("logical_and", 2, np.logical_and, _boolean)
logical_or = elementwise("logical_or", 2, np.logical_or, _boolean)
logical_xor = elementwise("logical_xor", 2, np.logical_xor, _boolean)
logical_not = elementwise("logical_not", 1, np.logical_not, _boolean)
bit_and = elementwise("bit_and", 2, np.bitwise_and)
bit_or = elementwise("bit_or", 2, np.bitwise_or)
bit_xor = elementwise("bit_xor", 2, np.bitwise_xor)
bit_not = elementwise("bit_not", 1, np.invert)
shift_left = elementwise("shift_left", 2, np.left_shift)
shift_right = elementwise("shift_right", 2, np.right_shift)

# -- exponential family
exp = elementwise("exp", 1, np.exp)
exp2 = elementwise("exp2", 1, in_float32(np.exp2))
expm1 = elementwise("expm1", 1, np.expm1)
log = elementwise("log", 1, np.log)
log2 = elementwise("log2", 1, in_float32(np.log2))
log10 = elementwise("log10", 1, np.log10)
log1p = elementwise("log1p", 1, np.log1p)
sqrt = elementwise("sqrt", 1, np.sqrt)


def _logistic(x: Any) -> Any:
    if x.dtype.kind == "c":
        return 1 / (1 + np.exp(-x))
    out = np.asarray(np.negative(x))
    np.exp(out, out=out)  # overflows to inf for very negative x: 1 / inf is the right 0
    out += 1
    return np.reciprocal(out, out=out)


logistic = elementwise("logistic", 1, in_float32(_logistic))


def _log1p_exp(x: Any) -> Any:
    """log(1 + e^x) without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.absolute(x)))


softplus = elementwise("softplus", 1, in_float32(_log1p_exp))
logaddexp = elementwise("logaddexp", 2, in_float32(np.logaddexp))
logaddexp2 = elementwise("logaddexp2", 2, in_float32(np.logaddexp2))

# -- trigonometry
sin = elementwise("sin", 1, np.sin)
cos = elementwise("cos", 1, np.cos)
tan = elementwise("tan", 1, in_float32(np.tan))
asin = elementwise("asin", 1, in_float32(np.arcsin))
acos = elementwise("acos", 1, in_float32(np.arccos))
atan = elementwise("atan", 1, in_float32(np.arctan))
atan2 = elementwise("atan2", 2, in_float32(np.arctan2))
sinh = elementwise("sinh", 1, in_float32(np.sinh))
cosh = elementwise("cosh", 1, in_float32(np.cosh))
tanh = elementwise("tanh", 1, np.tanh)
asinh = elementwise("asinh", 1, in_float32(np.arcsinh))
acosh = elementwise("acosh", 1, in_float32(np.arccosh))
atanh = elementwise("atanh", 1, in_float32(np.arctanh))

# -- rounding
ceil = elementwise("ceil", 1, np.ceil)
floor = elementwise("floor", 1, np.floor)
trunc = elementwise("trunc", 1, np.trunc)
round_even = elementwise("round_even", 1, np.rint)

# -- complex numbers
conj = elementwise("conj", 1, np.conjugate)
angle = elementwise(
    "angle",
    1,
    in_float32(lambda x: np.where(np.isnan(x), x.real, np.angle(x)).astype(real_of(x.dtype))),
    real_of,
)
