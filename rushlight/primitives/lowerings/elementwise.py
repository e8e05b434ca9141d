"""Elementwise primitives as expressions on values in registers; the compiler writes the loops around them.

`LOWERED[name](b, operands, dtype, result)` takes values of one kind, that of `dtype`, and gives one of the kind of
`result`. 16-bit floats are computed in float32 and rounded once. A primitive that is not in the table runs by its
reference: complex numbers always; gcd, lcm, zeta, Bessel functions and the like.
"""

from __future__ import annotations

import math as numbers
from collections.abc import Callable
from typing import Any

from rushlight.loops import math
from rushlight.loops.arrays import KINDS
from rushlight.loops.builder import (
    BF16,
    BYTES,
    F16,
    F32,
    F64,
    FLOATS,
    I1,
    I8,
    I32,
    I64,
    Builder,
    Value,
)

Lowered = Callable[[Builder, "tuple[Value, ...]", Any, Any], Value]
LOWERED: dict[str, Lowered] = {}

#: Primitives whose lowering needs the divisor to be a number: an integer division by zero has to raise.
CHECKED_DIVISORS = frozenset({"floor_divide", "remainder", "fmod"})

#: Primitives that ops hand floating point numbers only.
OF_FLOATS = frozenset(
    {"reciprocal", "div", "power", "hypot", "copysign", "signbit", "logaddexp", "atan2"}
)


def _wide(function: Lowered) -> Lowered:
    """16-bit floats through float32."""

    def wide(b: Builder, operands: tuple[Value, ...], dtype: Any, result: Any) -> Value:
        if operands[0].kind not in (F16, BF16):
            return function(b, operands, dtype, result)
        value = function(
            b,
            tuple(b.convert(o, F32) if o.kind in (F16, BF16) else o for o in operands),
            dtype,
            result,
        )
        kind = KINDS[result.name]
        return b.convert(value, kind) if value.kind == F32 and kind in (F16, BF16) else value

    return wide


def _declare(name: str, function: Lowered) -> None:
    LOWERED[name] = _wide(function)


def _same_lanes(b: Builder, values: tuple[Value, ...]) -> tuple[Value, ...]:
    lanes = max(v.lanes for v in values)
    return tuple(b.splat(v, lanes) for v in values)


# -- arithmetic ----------------------------------------------------------------------------------------------


def _arithmetic(word: str, of_bools: str) -> Lowered:
    def lowered(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
        return b.binary(of_bools if v[0].kind == I1 else word, v[0], v[1])

    return lowered


for _name, _bools in (("add", "or"), ("sub", "xor"), ("mul", "and")):
    _declare(_name, _arithmetic(_name, _bools))


def _divide(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    kind = KINDS[result.name]
    kind = F32 if kind in (F16, BF16) else kind
    a, c = (b.convert(x, kind, dtype.kind != "u") for x in v)
    return b.binary("div", a, c)


_declare("div", _divide)
_declare("neg", lambda b, v, d, r: -v[0])


def _absolute(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    return v[0] if dtype.kind in "ub" else b.absolute(v[0])


_declare("absolute", _absolute)
_declare("square", lambda b, v, d, r: v[0] & v[0] if v[0].kind == I1 else v[0] * v[0])


def _reciprocal(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    return b.binary("div", b.like(1.0, v[0]), v[0])


_declare("reciprocal", _reciprocal)


def _extreme(word: str) -> Lowered:
    def lowered(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
        a, c = _same_lanes(b, v)
        if a.kind == I1:
            return a | c if word == "max" else a & c
        if dtype.kind == "u":
            return b.intrinsic("u" + word, a, c)
        if a.kind not in FLOATS:
            return b.intrinsic("s" + word, a, c)
        if c.text.startswith("splat") or c.number is not None:  # a constant is no NaN
            better = b.compare("gt" if word == "max" else "lt", a, c)
            return b.select(b.compare("uno", a, a) | better, a, c)
        return b.maximum(a, c) if word == "max" else b.minimum(a, c)

    return lowered


_declare("maximum", _extreme("max"))
_declare("minimum", _extreme("min"))


def _known_extreme(word: str) -> Lowered:
    plain = _extreme(word)

    def lowered(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
        a, c = _same_lanes(b, v)
        if a.kind not in FLOATS:
            return plain(b, (a, c), dtype, result)
        better = b.select(b.compare("ge" if word == "max" else "le", a, c), a, c)
        better = b.select(b.compare("uno", c, c), a, better)
        return b.select(b.compare("uno", a, a), c, better)

    return lowered


_declare("fmax", _known_extreme("max"))
_declare("fmin", _known_extreme("min"))


def _sign(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    x = v[0]
    if x.kind == I1:
        return x
    if dtype.kind == "u":
        return b.convert(b.compare("ne", x, 0), x.kind)
    one, zero = b.const(1, x.kind, x.lanes), b.const(0, x.kind, x.lanes)
    minus = b.const(-1, x.kind, x.lanes)
    return b.select(b.compare("gt", x, zero), one, b.select(b.compare("lt", x, zero), minus, zero))


_declare("sign", _sign)


def may_raise(name: str, dtype: Any, divisor: Any) -> bool:
    """Whether integers have to be looked at (or are no matter for a kernel): then the reference does it."""
    if name in OF_FLOATS:
        return bool(dtype.kind in "iub")
    return (
        name in CHECKED_DIVISORS
        and dtype.kind in "iub"
        and (not isinstance(divisor, int) or divisor in (0, -1))
    )


def _floor_divide(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    a, c = _same_lanes(b, v)
    if a.kind in FLOATS:
        remainder = _float_remainder(b, a, c)
        quotient = b.round("rint", (a - remainder) / c)
        zero = b.intrinsic("copysign", b.const(0.0, a.kind, a.lanes), a / c)
        quotient = b.select(b.compare("eq", quotient, 0.0), zero, quotient)
        return b.select(b.compare("eq", c, 0.0), a / c, quotient)
    if dtype.kind == "u":
        return b.binary("udiv", a, c)
    quotient, rest = b.binary("div", a, c), b.binary("rem", a, c)
    zero_i = b.const(0, a.kind, a.lanes)
    below = b.compare("ne", rest, zero_i) & b.compare("lt", rest ^ c, zero_i)
    return b.select(below, quotient - b.const(1, a.kind, a.lanes), quotient)


def _float_remainder(b: Builder, a: Value, c: Value) -> Value:
    rest = math.library(b, "fmod", a, c)
    wrong = b.compare("ne", rest, 0.0) & b.compare(
        "lt", b.intrinsic("copysign", b.like(1.0, a), rest) * c, 0.0
    )
    value = b.select(wrong, rest + c, rest)
    return b.select(b.compare("eq", rest, 0.0), b.intrinsic("copysign", b.like(0.0, a), c), value)


def _remainder(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    a, c = _same_lanes(b, v)
    if a.kind in FLOATS:
        return _float_remainder(b, a, c)
    if dtype.kind == "u":
        return b.binary("urem", a, c)
    rest = b.binary("rem", a, c)
    zero = b.const(0, a.kind, a.lanes)
    wrong = b.compare("ne", rest, zero) & b.compare("lt", rest ^ c, zero)
    return b.select(wrong, rest + c, rest)


def _fmod(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    a, c = _same_lanes(b, v)
    if a.kind in FLOATS:
        return math.library(b, "fmod", a, c)
    return b.binary("urem" if dtype.kind == "u" else "rem", a, c)


_declare("floor_divide", _floor_divide)
_declare("remainder", _remainder)
_declare("fmod", _fmod)


def _power(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    a, c = _same_lanes(b, v)
    exponent = v[1].number
    if exponent in (2, 3) and v[1].lanes == 1:
        return a * a if exponent == 2 else a * a * a
    return math.library(b, "pow", a, c)


_declare("power", _power)
_declare("hypot", lambda b, v, d, r: math.library(b, "hypot", *_same_lanes(b, v)))
_declare("copysign", lambda b, v, d, r: b.intrinsic("copysign", *_same_lanes(b, v)))


def _signbit(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    x = v[0]
    integer = {4: I32, 8: I64}[BYTES[x.kind]]
    return b.compare("lt", b.bitcast(x, integer), b.const(0, integer, x.lanes))


_declare("signbit", _signbit)

# -- comparisons, logic, bits ----------------------------------------------------------------------------------


def _comparison(word: str) -> Lowered:
    def lowered(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
        if v[0].kind in FLOATS or word in ("eq", "ne"):
            return b.compare(word, *v)
        return b.compare("u" + word if dtype.kind in "ub" else word, *v)

    return lowered


for _name, _word in {
    "equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge",
}.items():  # fmt: skip
    _declare(_name, _comparison(_word))


def _truth(b: Builder, x: Value) -> Value:
    return b.convert(x, I1)


def _logic(word: str) -> Lowered:
    return lambda b, v, d, r: b.binary(word, *(_truth(b, x) for x in _same_lanes(b, v)))


_declare("logical_and", _logic("and"))
_declare("logical_or", _logic("or"))
_declare("logical_xor", _logic("xor"))
_declare("logical_not", lambda b, v, d, r: b.logical_not(_truth(b, v[0])))
_declare("bit_and", lambda b, v, d, r: v[0] & v[1])
_declare("bit_or", lambda b, v, d, r: v[0] | v[1])
_declare("bit_xor", lambda b, v, d, r: v[0] ^ v[1])
_declare(
    "bit_not",
    lambda b, v, d, r: v[0] ^ b.const(True if v[0].kind == I1 else -1, v[0].kind, v[0].lanes),
)


def _shift(word: str) -> Lowered:
    def lowered(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
        x, n = _same_lanes(b, v)
        bits = BYTES[x.kind] * 8
        inside = b.compare("ult", n, b.const(bits, x.kind, x.lanes))
        safe = b.select(inside, n, b.const(0, x.kind, x.lanes))
        right = "lshr" if dtype.kind == "u" else "ashr"
        shifted = b.binary("shl" if word == "left" else right, x, safe)
        beyond = b.const(0, x.kind, x.lanes)
        if word == "right" and dtype.kind != "u":
            beyond = b.binary("ashr", x, b.const(bits - 1, x.kind, x.lanes))
        return b.select(inside, shifted, beyond)

    return lowered


_declare("shift_left", _shift("left"))
_declare("shift_right", _shift("right"))
_declare(
    "is_nan",
    lambda b, v, d, r: b.compare("uno", v[0], v[0]) if v[0].kind in FLOATS else _never(b, v[0]),
)


def _never(b: Builder, x: Value, answer: bool = False) -> Value:
    return b.const(answer, I1, x.lanes)


def _is_inf(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    if v[0].kind not in FLOATS:
        return _never(b, v[0])
    return b.compare("eq", b.absolute(v[0]), float("inf"))


def _is_finite(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    if v[0].kind not in FLOATS:
        return _never(b, v[0], True)
    return b.compare("lt", b.absolute(v[0]), float("inf"))


_declare("is_inf", _is_inf)
_declare("is_finite", _is_finite)

# -- functions -------------------------------------------------------------------------------------------------


def _of_floats(function: Callable[[Builder, Value], Value]) -> Lowered:
    def lowered(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
        kind = KINDS[result.name]
        kind = F32 if kind in (F16, BF16) else kind
        return function(b, b.convert(v[0], kind, dtype.kind != "u"))

    return lowered


def _library(name: str) -> Callable[[Builder, Value], Value]:
    return lambda b, x: math.library(b, name, x)


for _name, _function in {
    "exp": math.exp, "expm1": math.expm1, "log": math.log, "log1p": math.log1p, "tanh": math.tanh,
    "logistic": math.logistic, "softplus": math.softplus, "erf": math.erf,
    "normal_density": math.normal_density, "normal_distribution": math.normal_distribution,
    "sqrt": lambda b, x: b.sqrt(x),
    "exp2": _library("exp2"), "log2": _library("log2"), "log10": _library("log10"), "sin": _library("sin"),
    "cos": _library("cos"), "tan": _library("tan"), "asin": _library("asin"), "acos": _library("acos"),
    "atan": _library("atan"), "sinh": _library("sinh"), "cosh": _library("cosh"), "asinh": _library("asinh"),
    "acosh": _library("acosh"), "atanh": _library("atanh"), "erfc": _library("erfc"),
}.items():  # fmt: skip
    _declare(_name, _of_floats(_function))
_declare("atan2", lambda b, v, d, r: math.library(b, "atan2", *_same_lanes(b, v)))


def _log_add(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    a, c = _same_lanes(b, v)
    top = b.maximum(a, c)
    apart = b.absolute(a - c)
    value = top + math.log1p(b, math.exp(b, -apart))
    return b.select(b.compare("eq", a, c), a + numbers.log(2), value)


_declare("logaddexp", _log_add)


def _rounding(how: str) -> Lowered:
    return lambda b, v, d, r: b.round(how, v[0]) if v[0].kind in FLOATS else v[0]


for _name, _how in {
    "ceil": "ceil",
    "floor": "floor",
    "trunc": "trunc",
    "round_even": "rint",
}.items():
    _declare(_name, _rounding(_how))

# -- choice and casts --------------------------------------------------------------------------------------------


def _select(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    kind = KINDS[result.name]
    condition, first, second = v
    first, second = (b.convert(x, kind) if x.kind != kind else x for x in (first, second))
    condition, first, second = _same_lanes(b, (condition, first, second))
    return b.select(condition, first, second)


LOWERED["select"] = _select


def _cast(b: Builder, v: tuple[Value, ...], dtype: Any, result: Any) -> Value:
    x, kind = v[0], KINDS[result.name]
    if dtype == result or x.kind == kind:
        return x
    if x.kind in (F16, BF16):
        x = b.convert(x, F32)
        if kind == F32:
            return x
    if kind in (F16, BF16) and x.kind not in FLOATS:
        return b.convert(b.convert(x, F32, dtype.kind != "u"), kind)
    if x.kind in FLOATS and kind not in FLOATS and kind != I1:
        return _truncated(b, x, kind, result.kind == "u")
    return b.convert(x, kind, dtype.kind != "u")


def _truncated(b: Builder, x: Value, kind: str, unsigned: bool) -> Value:
    """A float as an integer; numbers beyond the range give the pattern that processors (and NumPy) give."""
    middle = I64 if kind == I64 or (kind == I32 and unsigned) else I32
    limit = 2.0 ** (BYTES[middle] * 8 - 1)
    if unsigned and kind == I64:
        high = b.compare("ge", x, limit)
        shifted = b.select(high, x - limit, x)
        value = _within(b, shifted, middle, limit)
        return b.select(high, value ^ b.const(-(1 << 63), I64, x.lanes), value)
    value = _within(b, x, middle, limit)
    return b.convert(value, kind)


def _within(b: Builder, x: Value, kind: str, limit: float) -> Value:
    inside = b.compare("ge", x, -limit) & b.compare("lt", x, limit)
    value = b.convert(b.select(inside, x, 0.0), kind)
    return b.select(inside, value, b.const(-int(limit), kind, x.lanes))


LOWERED["cast"] = _cast

__all__ = ["F64", "I8", "LOWERED"]
