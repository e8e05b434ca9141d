"""Special functions, elementwise, in NumPy alone.

Polynomials are fitted once, when a function is first called, to Python's own math.erf and math.erfc at Chebyshev
points; the rest are recurrences to large arguments followed by asymptotic series (Abramowitz and Stegun, chapters
6 and 23). Accurate to a few units in the last place of float64.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from rushlight.core.dtypes import FLOAT32, FLOAT64, HALF
from rushlight.primitives.elementwise import elementwise, in_float32
from rushlight.primitives.primitive import Aval, primitive

Array = Any


def _in_float64(function: Any) -> Any:
    """Computed in float64 and rounded to the operand's dtype."""

    def wide(x: Array) -> Array:
        return function(x.astype(FLOAT64, copy=False)).astype(x.dtype, copy=False)

    return wide


@cache
def _fitted(which: str, degree: int) -> tuple[float, ...]:
    """Coefficients, highest first, of a polynomial in t on [-1, 1] through Chebyshev points."""
    points = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    values = [_TARGETS[which](t) for t in points.tolist()]
    chebyshev = np.polynomial.chebyshev.Chebyshev.fit(points, values, degree, domain=(-1, 1))
    return tuple(chebyshev.convert(kind=np.polynomial.Polynomial).coef[::-1].tolist())


def _erf_core(t: float) -> float:
    x = math.sqrt((t + 1) / 2)
    return math.erf(x) / x if x > 1e-8 else 2 / math.sqrt(math.pi)


_CENTER = 3.0


def _erfc_core(t: float) -> float:
    """erfc(x) exp(x^2) (x + center), where t = (x - center) / (x + center)."""
    x = _CENTER * (1 + t) / (1 - t)
    if x > 24:  # the asymptotic series
        term, total = 1.0, 1.0
        for k in range(1, 12):
            term *= -(2 * k - 1) / (2 * x * x)
            total += term
        return total / (x * math.sqrt(math.pi)) * (x + _CENTER)
    high = math.fsum((x * x,))
    low = float(np.longdouble(x) * np.longdouble(x) - np.longdouble(high))
    return math.erfc(x) * math.exp(high) * (1 + low) * (x + _CENTER)


_TARGETS = {"erf": _erf_core, "erfc": _erfc_core}


def _polynomial(coefficients: tuple[float, ...], t: Array) -> Array:
    out = np.full_like(t, coefficients[0])
    for c in coefficients[1:]:
        out *= t
        out += t.dtype.type(c)
    return out


def _erfc_tail(x: Array) -> Array:
    """erfc(x) for x >= 0.5."""
    with np.errstate(all="ignore"):
        x = np.minimum(x, 30)
        t = (x - _CENTER) / (x + _CENTER)
        scaled = _polynomial(_fitted("erfc", 11 if x.dtype == FLOAT32 else 25), t) / (x + _CENTER)
        high = np.round(x * 256) / 256  # x^2 in two parts, so that exp keeps its digits
        return np.exp(-high * high) * np.exp((high - x) * (high + x)) * scaled


def _erf(x: Array) -> Array:
    size = np.absolute(x)
    near = np.minimum(size, 1)
    out = near * _polynomial(_fitted("erf", 6 if x.dtype == FLOAT32 else 13), 2 * near * near - 1)
    far = size > 1
    if far.any():
        out[far] = 1 - _erfc_tail(size[far])
    return np.copysign(np.where(np.isnan(x), x, out), x)


def _erfc(x: Array) -> Array:
    out = np.asarray(1 - _erf(x))
    far = x > 0.5
    if far.any():
        out[far] = _erfc_tail(x[far])
    return out


def _erfcx(x: Array) -> Array:
    """exp(x^2) erfc(x): the fitted polynomial; 2 exp(x^2) - erfcx(-x) for negative x."""
    with np.errstate(all="ignore"):
        size = np.absolute(x)
        near = np.minimum(size, 1e4)
        t = (near - _CENTER) / (near + _CENTER)
        out = _polynomial(_fitted("erfc", 25), t) / (near + _CENTER)
        small = size < 0.5
        out = np.where(small, np.exp(x * x) * (1 - _erf(size)), out)
        out = np.where(size > 1e4, 1 / (size * math.sqrt(math.pi)), out)
        out = np.where(x < 0, 2 * np.exp(x * x) - out, out)
        return np.where(np.isnan(x), x, out)


def _array(function: Any) -> Any:
    """0-d operands become 1-d inside, so that masks can be assigned to."""

    def shaped(x: Array) -> Array:
        return function(np.atleast_1d(x)).reshape(x.shape)

    return shaped


def _erfinv(y: Array) -> Array:
    """Winitzki's approximation, then Halley's steps (float64)."""
    with np.errstate(all="ignore"):
        a = 0.147
        log = np.log1p(-y * y)
        part = 2 / (np.pi * a) + log / 2
        x = np.copysign(np.sqrt(np.sqrt(part * part - log / a) - part), y)
        for _ in range(3):
            # In the tails the error is measured on erfc, which keeps its digits there.
            error = np.where(
                np.absolute(y) > 0.5,
                np.copysign(1, y) * ((1 - np.absolute(y)) - _erfc(np.absolute(x))),
                _erf(x) - y,
            )
            step = error / (2 / math.sqrt(math.pi) * np.exp(-x * x))
            x = x - step / (1 + x * step)
        x = np.where(np.absolute(y) == 1, np.copysign(np.inf, y), x)
        return np.where(y == 0, y, np.where(np.absolute(y) > 1, np.nan, x))


_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)


def _lgamma(x: Array) -> Array:
    """Stirling's series above 10, the recurrence below, the reflection formula for negative x."""
    with np.errstate(all="ignore"):
        positive = np.where(x < 0.5, 1 - x, x)
        shifted, product = positive, np.ones_like(x)
        for _ in range(10):
            small = shifted < 10
            product = np.where(small, product * shifted, product)
            shifted = np.where(small, shifted + 1, shifted)
        series = sum(
            b / (2 * k * (2 * k - 1) * shifted ** (2 * k - 1)) for k, b in enumerate(_BERNOULLI, 1)
        )
        out = (
            (shifted - 0.5) * np.log(shifted)
            - shifted
            + 0.5 * math.log(2 * math.pi)
            + series
            - np.log(product)
        )
        reflected = np.log(np.pi / np.absolute(np.sin(np.pi * (x - np.floor(x))))) - out
        out = np.where(x < 0.5, np.where(x == np.floor(x), np.inf, reflected), out)
        out = np.where((x == 1) | (x == 2), 0.0, out)
        return np.where(np.isinf(x), np.inf, out)


def _digamma(x: Array) -> Array:
    """The recurrence to 10 and the asymptotic series; the reflection formula for negative x."""
    with np.errstate(all="ignore"):
        positive = np.where(x < 0, 1 - x, x)
        shifted, total = positive, np.zeros_like(x)
        for _ in range(10):
            small = shifted < 10
            total = np.where(small, total - 1 / shifted, total)
            shifted = np.where(small, shifted + 1, shifted)
        series = sum(b / (2 * k * shifted ** (2 * k)) for k, b in enumerate(_BERNOULLI, 1))
        out = total + np.log(shifted) - 0.5 / shifted - series
        out = np.where(x < 0, out - np.pi / np.tan(np.pi * (x - np.floor(x))), out)
        out = np.where((x < 0) & (x == np.floor(x)), np.nan, out)
        return np.where(x == 0, np.copysign(np.inf, -x), np.where(x == np.inf, np.inf, out))


def _zeta(s: Array, q: Array) -> Array:
    """Hurwitz's zeta function for s > 1, by Euler and Maclaurin's summation formula."""
    with np.errstate(all="ignore"):
        s, q = np.broadcast_arrays(s.astype(FLOAT64), q.astype(FLOAT64))
        total, at = np.zeros(q.shape), q.copy()
        for _ in range(12):
            total, at = total + at**-s, at + 1
        total = total + at ** (1 - s) / (s - 1) + 0.5 * at**-s
        factor = s * at ** (-s - 1)
        for k, b in enumerate(_BERNOULLI, 1):
            total = total + b / math.factorial(2 * k) * factor
            factor = factor * (s + 2 * k - 1) * (s + 2 * k) / (at * at)
        whole = q == np.floor(q)
        out = np.where(
            (q <= 0) & whole, np.inf, np.where((q < 0) & (s != np.floor(s)), np.nan, total)
        )
        return np.where(s == 1, np.inf, np.where(s < 1, np.nan, out))


def _zeta_of(s: Array, q: Array) -> Array:
    dtype = s.dtype if hasattr(s, "dtype") else q.dtype
    return _zeta(np.asarray(s), np.asarray(q)).astype(dtype)


def _i0(x: Array) -> Array:
    return np.i0(x).reshape(x.shape)


def _i1(x: Array) -> Array:
    """The power series below 20, Hankel's asymptotic expansion above (Abramowitz and Stegun 9.6.10, 9.7.1)."""
    with np.errstate(all="ignore"):
        size = np.absolute(x)
        return np.copysign(_i1e(size) * np.exp(size), x)


def _i1e(x: Array) -> Array:
    with np.errstate(all="ignore"):
        size = np.absolute(x)
        near = np.minimum(size, 20)
        quarter = near * near / 4
        term = near / 2
        total = term.copy()
        for k in range(1, 60):
            term = term * quarter / (k * (k + 1))
            total = total + term
        far = np.maximum(size, 20)
        term = np.ones_like(far)
        series = np.ones_like(far)
        for k in range(1, 16):
            term = -term * (4 - (2 * k - 1) ** 2) / (k * 8 * far)
            series = series + term
        out = np.where(size < 20, total * np.exp(-near), series / np.sqrt(2 * np.pi * far))
        return np.copysign(np.where(np.isnan(x), x, out), x)


def _normal_density(x: Array) -> Array:
    return np.asarray(np.exp(x * x * x.dtype.type(-0.5)) * x.dtype.type(1 / math.sqrt(2 * math.pi)))


def _normal_distribution(x: Array) -> Array:
    half = x.dtype.type(0.5)
    return np.asarray((_erf(x * x.dtype.type(math.sqrt(0.5))) + 1) * half)


erf = elementwise("erf", 1, in_float32(_array(_erf)))
erfc = elementwise("erfc", 1, _in_float64(_array(_erfc)))
normal_density = elementwise("normal_density", 1, in_float32(_array(_normal_density)))
normal_distribution = elementwise(
    "normal_distribution", 1, in_float32(_array(_normal_distribution))
)
erfcx = elementwise("erfcx", 1, _in_float64(_array(_erfcx)))
erfinv = elementwise("erfinv", 1, _in_float64(_array(_erfinv)))
lgamma = elementwise("lgamma", 1, _in_float64(_lgamma))
digamma = elementwise("digamma", 1, _in_float64(_digamma))
zeta = elementwise("zeta", 2, _zeta_of)
i0 = elementwise("i0", 1, _in_float64(_i0))
i0e = elementwise("i0e", 1, _in_float64(lambda x: _i0(x) * np.exp(-np.absolute(x))))
i1 = elementwise("i1", 1, _in_float64(_i1))
i1e = elementwise("i1e", 1, _in_float64(_i1e))

frexp = primitive("frexp", outputs=2)


@frexp.define_rule
def _(x: Array) -> tuple[Aval, Aval]:
    return Aval(tuple(x.shape), x.dtype), Aval(tuple(x.shape), np.dtype(np.int32))


@frexp.define_reference
def _(xp: Any, x: Array) -> tuple[Array, Array]:
    mantissa, exponent = np.frexp(x.astype(FLOAT32) if x.dtype in HALF else x)
    return np.asarray(mantissa, x.dtype), np.asarray(exponent, np.int32)
