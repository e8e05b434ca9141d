"""Functions of real numbers on vectors, written with a builder: exp, log, tanh, erf, logistic and their kin.

Each works on float32 and float64 of any lanes, without branches, and follows IEEE 754 for NaN, infinities, zeros and
subnormal numbers. Errors are a few units in the last place. Functions that no training step spends its time in call
the C library, lane by lane.

Methods: Cody and Waite's reduction to |r| <= ln(2)/2 and a polynomial for exp; log(m) = 2 atanh((m-1)/(m+1)) for m
in [sqrt(1/2), sqrt(2)); erf as a ratio of polynomials with the least greatest relative error (1.9e-8; rounded, it is
within 7 units in the last place); the normal distribution as its density times a polynomial in 1 / (1 + p |x|), as
Abramowitz and Stegun's 26.2.17 (the error is 1.3e-7, and 5e-6 of the result far below 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rushlight.loops.builder import BYTES, F32, F64, I32, I64, Builder, Value

_LN2_HIGH = {F32: 0.693145751953125, F64: 6.93147180369123816490e-01}
_LN2_LOW = {F32: 1.42860682030941723212e-06, F64: 1.90821492927058770002e-10}
_MANTISSA = {F32: 23, F64: 52}
_BIAS = {F32: 127, F64: 1023}
_INTEGER = {F32: I32, F64: I64}
#: Beyond these exp is 0 or infinity.
_EXP_RANGE = {F32: (-104.0, 89.0), F64: (-746.0, 710.0)}

#: Below these e^x is subnormal, and taken for 0 where it is added to 1.
_LOWEST = {F32: -88.0, F64: -709.0}
#: (e^r - 1 - r) / r^2 for |r| <= ln(2)/2: least of all errors (1.4e-8 of e^r - 1), and Taylor's series.
_GROWTH = {
    F32: (0.5000000062086638, 0.16666542793730788, 0.041666281401964794, 0.008366610614088348, 0.0013946496749685558),
    F64: tuple(1.0 / math.factorial(k) for k in range(2, 14)),
}  # fmt: skip

#: erf(x) / x = P(x^2) / Q(x^2) up to 3.92, from where on float32's erf is 1: P, then Q.
_ERF_ABOVE = (
    1.1283791463150608, 0.19039485988637825, 0.0527469948829439, 0.0037650702961777947, 0.00028486248023110525,
    2.0500707213553787e-06,
)  # fmt: skip
_ERF_BELOW = (
    1.0, 0.5020657950548308, 0.11410414083836191, 0.014968122478168401, 0.0011623884173839276,
    3.809048742496484e-05,
)  # fmt: skip

#: Of the normal distribution below 0: p, and the polynomial, which is multiplied with e^(-x^2 / 2).
_NORMAL_STEP = 0.35
_NORMAL = (
    0.0, 0.1397615082260443, 0.1370592927186667, 0.14226760026008364, 0.010986563899792686, 0.20856739141094147,
    -0.18287172277757469, 0.044229397852297715,
)  # fmt: skip


def polynomial(b: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """c0 + c1 x + c2 x^2 + ..., by Horner's rule."""
    total = b.const(coefficients[-1], x.kind, x.lanes)
    for c in reversed(coefficients[:-1]):
        total = b.fma(total, x, b.const(c, x.kind, x.lanes))
    return total


def _taylor(first: int, last: int) -> list[float]:
    return [1.0 / math.factorial(k) for k in range(first, last + 1)]


def _power_of_two(b: Builder, n: Value, kind: str) -> Value:
    """2^n as a float, for integers within the exponent's range."""
    biased = n + b.const(_BIAS[kind], n.kind, n.lanes)
    return b.bitcast(b.binary("shl", biased, b.const(_MANTISSA[kind], n.kind, n.lanes)), kind)


def _nan_as(b: Builder, x: Value, result: Value) -> Value:
    """The result, but x where x is NaN."""
    return b.select(b.compare("uno", x, x), x, result)


def _reduced(b: Builder, x: Value, bias: int = 0) -> tuple[Value, Value]:
    """X = n ln 2 + r: (r, n + bias as an integer); x must lie within exp's range.

    Added to a large number, x / ln 2 is rounded to a whole one, which then stands in the lowest bits.
    """
    shift = b.const(1.5 * 2.0 ** _MANTISSA[x.kind] + bias, x.kind, x.lanes)
    shifted = b.fma(x, b.const(math.log2(math.e), x.kind, x.lanes), shift)
    n = shifted - shift
    r = b.fma(n, b.const(-_LN2_HIGH[x.kind], x.kind, x.lanes), x)
    r = b.fma(n, b.const(-_LN2_LOW[x.kind], x.kind, x.lanes), r)
    return r, b.bitcast(shifted, _INTEGER[x.kind])


def _grown(b: Builder, r: Value) -> Value:
    """e^r - 1 for |r| <= ln(2)/2, exact to the last places near 0."""
    square, c = r * r, _GROWTH[r.kind]
    pairs = [polynomial(b, r, c[i : i + 2]) for i in range(0, len(c), 2)]
    total = pairs.pop()
    while pairs:
        total = b.fma(total, square, pairs.pop())
    return b.fma(square, total, r)


def _fallen(b: Builder, x: Value) -> tuple[Value, Value]:
    """e^x = s + s q for x <= 0: (s, q). What would be subnormal is 0; NaN gives NaN."""
    lowest = _LOWEST[x.kind]
    x = b.select(b.compare("lt", x, lowest), lowest, x)
    r, n = _reduced(b, x, _BIAS[x.kind])
    power = b.binary("shl", n, b.const(_MANTISSA[x.kind], n.kind, n.lanes))
    return b.bitcast(power, x.kind), _grown(b, r)


def _clamped(b: Builder, x: Value, low: float, high: float) -> Value:
    """X kept in [low, high]; NaN becomes high (and is put back by the caller)."""
    x = b.select(b.compare("lt", x, high), x, high)
    return b.select(b.compare("gt", x, low), x, low)


def exp(b: Builder, x: Value) -> Value:
    """e^x."""
    inside = _clamped(b, x, *_EXP_RANGE[x.kind])
    r, n = _reduced(b, inside)
    width = b.const(8 * BYTES[n.kind] - _MANTISSA[x.kind], n.kind, n.lanes)
    n = b.binary("ashr", b.binary("shl", n, width), width)  # its lowest bits alone
    value = _grown(b, r) + 1.0
    half = b.binary(
        "ashr", n, b.const(1, n.kind, n.lanes)
    )  # in two steps: 2^n itself may be subnormal
    value = value * _power_of_two(b, half, x.kind) * _power_of_two(b, n - half, x.kind)
    return _nan_as(b, x, value)


def exp_down(b: Builder, x: Value) -> Value:
    """e^x for x <= 0 (or NaN), in fewer steps; what would be subnormal is 0."""
    s, q = _fallen(b, x)
    return b.fma(s, q, s)


def expm1(b: Builder, x: Value) -> Value:
    """e^x - 1, exact to the last places near 0."""
    small = x * polynomial(b, x, _taylor(1, 10 if x.kind == F32 else 18))
    return b.select(b.compare("lt", b.absolute(x), 0.5), small, exp(b, x) - 1.0)


def _split(b: Builder, x: Value) -> tuple[Value, Value]:
    """X = m 2^e for positive finite x: (m in [sqrt(1/2), sqrt(2)), e as a float)."""
    kind, integer = x.kind, _INTEGER[x.kind]
    tiny = b.compare("lt", x, 2.0 ** (1 - _BIAS[kind]))
    shift = _MANTISSA[kind] + 1
    x = b.select(tiny, x * 2.0**shift, x)
    bits = b.bitcast(x, integer)
    # Counting exponents from sqrt(1/2) puts m around 1.
    origin = int.from_bytes(_bits_of(math.sqrt(0.5), kind), "little")
    width = _MANTISSA[kind]
    offset = bits - b.const(origin, integer, x.lanes)
    exponent = b.binary("ashr", offset, b.const(width, integer, x.lanes))
    m = b.bitcast(bits - b.binary("shl", exponent, b.const(width, integer, x.lanes)), kind)
    e = b.convert(exponent, kind)
    return m, b.select(tiny, e - float(shift), e)


def _bits_of(value: float, kind: str) -> bytes:
    import struct

    return struct.pack("<f" if kind == F32 else "<d", value)


def _log_mantissa(b: Builder, m: Value) -> Value:
    """log(m) for m around 1."""
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    terms = 5 if m.kind == F32 else 12
    tail = polynomial(b, z, [2.0 / (2 * k + 1) for k in range(1, terms + 1)])
    # 2s = f - s f: keeps f's own digits
    return f - s * (f - z * tail)


def log(b: Builder, x: Value) -> Value:
    """The natural logarithm."""
    m, e = _split(b, x)
    low = b.fma(e, b.const(_LN2_LOW[x.kind], x.kind, x.lanes), _log_mantissa(b, m))
    value = b.fma(e, b.const(_LN2_HIGH[x.kind], x.kind, x.lanes), low)
    value = b.select(b.compare("eq", x, float("inf")), x, value)
    value = b.select(b.compare("eq", x, 0.0), float("-inf"), value)
    value = b.select(b.compare("lt", x, 0.0), float("nan"), value)
    return _nan_as(b, x, value)


def log1p(b: Builder, x: Value) -> Value:
    """log(1 + x), exact to the last places near 0."""
    u = x + 1.0
    lost = x - (u - 1.0)  # what rounding 1 + x dropped
    value = log(b, u) + lost / u
    value = b.select(b.compare("eq", b.absolute(x), float("inf")), log(b, x), value)
    value = b.select(b.compare("eq", x, -1.0), float("-inf"), value)
    return b.select(b.compare("eq", u, 1.0), x, value)


def tanh_ratio(b: Builder, x: Value) -> tuple[Value, Value]:
    """tanh(x) as (numerator, denominator), the denominator between 1 and 2: -(e^-2|x| - 1) / (e^-2|x| + 1)."""
    size = b.absolute(x)
    s, q = _fallen(b, size * -2.0)
    less = b.fma(s, q, s - 1.0)  # keeps q's own digits where s is 1
    return b.intrinsic("copysign", less, x), less + 2.0


def logistic_ratio(b: Builder, x: Value) -> tuple[Value, Value]:
    """1 / (1 + e^-x) as (numerator, denominator), the denominator between 1 and 2."""
    s, q = _fallen(b, -b.absolute(x))
    e = b.fma(s, q, s)
    return b.select(b.compare("lt", x, 0.0), e, 1.0), e + 1.0


def quotients(
    b: Builder, first: tuple[Value, Value], second: tuple[Value, Value]
) -> tuple[Value, Value]:
    """Two ratios whose denominators lie between 1 and 2, by one division."""
    (above, below), (over, under) = first, second
    inverse = 1.0 / (below * under)
    return above * (inverse * under), over * (inverse * below)


def tanh(b: Builder, x: Value) -> Value:
    """The hyperbolic tangent."""
    above, below = tanh_ratio(b, x)
    return above / below


def logistic(b: Builder, x: Value) -> Value:
    """1 / (1 + e^-x)."""
    above, below = logistic_ratio(b, x)
    return above / below


def softplus(b: Builder, x: Value) -> Value:
    """log(1 + e^x) without overflow."""
    positive = b.select(b.compare("gt", x, 0.0), x, 0.0)
    return _nan_as(b, x, positive + log1p(b, exp(b, -b.absolute(x))))


def erf(b: Builder, x: Value) -> Value:
    """The error function."""
    if x.kind == F64:
        return library(b, "erf", x)
    inside = _clamped(b, x, -3.92, 3.92)
    square = inside * inside
    value = inside * polynomial(b, square, _ERF_ABOVE) / polynomial(b, square, _ERF_BELOW)
    one = b.intrinsic("copysign", b.const(1.0, x.kind, x.lanes), x)
    near = b.compare("lt", b.absolute(x), 3.92)
    return _nan_as(b, x, b.select(near, _clamped(b, value, -1.0, 1.0), one))


def _bell(b: Builder, x: Value) -> Value:
    """e^(-x^2 / 2)."""
    return exp_down(b, x * x * -0.5)


def normal_density(b: Builder, x: Value) -> Value:
    """The density of the normal distribution with mean 0 and variance 1."""
    return _bell(b, x) * (1 / math.sqrt(2 * math.pi))


def normal_distribution(b: Builder, x: Value) -> Value:
    """How much of that distribution lies below x."""
    if x.kind == F64:
        return library(b, "erfc", x * -math.sqrt(0.5)) * 0.5
    t = 1.0 / b.fma(
        b.absolute(x), b.const(_NORMAL_STEP, x.kind, x.lanes), b.const(1, x.kind, x.lanes)
    )
    below = _bell(b, x) * polynomial(b, t, _NORMAL)
    return b.select(b.compare("lt", x, 0.0), below, 1.0 - below)


def library(b: Builder, name: str, *operands: Value) -> Value:
    """A function of the C library, lane by lane."""
    first = operands[0]
    symbol = name + "f" if first.kind == F32 else name
    types = ", ".join(first.kind for _ in operands)
    b.declared[symbol] = f"{first.kind} @{symbol}({types})"
    result: Value | None = None
    for lane in range(first.lanes):
        given = [b.extract(o, lane) if o.lanes > 1 else o for o in operands]
        text = ", ".join(f"{g.kind} {g.text}" for g in given)
        one = b.emit(f"call {first.kind} @{symbol}({text})", first.kind)
        if first.lanes == 1:
            return one
        result = b.insert(
            Value(b, "poison", first.kind, first.lanes) if result is None else result, one, lane
        )
    assert result is not None  # noqa: S101 - vectors have lanes
    return result
