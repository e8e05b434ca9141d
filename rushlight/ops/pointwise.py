"""Functions of one element: exponentials, trigonometry, rounding, special functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from rushlight.core.dtypes import BOOL, COMPLEX, INTEGRAL
from rushlight.ops.complex_numbers import conjugate, is_complex_dtype
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.element_tests import isfinite
from rushlight.ops.operands import promote, to_float
from rushlight.ops.sampling import unary_samples
from rushlight.ops.selection import choose
from rushlight.primitives import elementwise as p
from rushlight.primitives import special
from rushlight.primitives.structural import copy, full, select


def _smooth(
    name: str,
    compute: Callable[[Any], Any],
    says: str,
    low: float = -2,
    high: float = 2,
    **options: Any,
) -> Any:
    """Declares a differentiable function of one tensor: `name(input)`, in floating point."""

    def body(input: Array) -> Array:
        return compute(to_float(input))

    body.__name__, body.__doc__ = name, says
    declared = op(
        body, method=options.pop("method", True), inplace=options.pop("inplace", True), **options
    )
    declared.samples(unary_samples(low, high))
    return declared


exp = _smooth("exp", p.exp, "e to the power of each element.", aliases=())
exp2 = _smooth("exp2", p.exp2, "2 to the power of each element.", aliases=("special.exp2",))
expm1 = _smooth("expm1", p.expm1, "exp(x) - 1, exact near 0.", aliases=("special.expm1",))
log = _smooth("log", p.log, "The natural logarithm of each element.", 0.3)
log2 = _smooth("log2", p.log2, "The logarithm to base 2.", 0.3)
log10 = _smooth("log10", p.log10, "The logarithm to base 10.", 0.3)
log1p = _smooth(
    "log1p",
    p.log1p,
    "log(1 + x), exact near 0.",
    -0.6,
    node="Log1PBackward0",
    aliases=("special.log1p",),
)
sqrt = _smooth("sqrt", p.sqrt, "The square root of each element.", 0.3)
rsqrt = _smooth("rsqrt", lambda x: p.div(1, p.sqrt(x)), "1 / sqrt(x).", 0.3)
sin = _smooth("sin", p.sin, "The sine of each element, in radians.")
cos = _smooth("cos", p.cos, "The cosine of each element, in radians.")
tan = _smooth("tan", p.tan, "The tangent of each element, in radians.", -1, 1)
asin = _smooth("asin", p.asin, "The angle whose sine is x.", -0.8, 0.8, aliases=("arcsin",))
acos = _smooth("acos", p.acos, "The angle whose cosine is x.", -0.8, 0.8, aliases=("arccos",))
atan = _smooth("atan", p.atan, "The angle whose tangent is x.", aliases=("arctan",))
sinh = _smooth("sinh", p.sinh, "The hyperbolic sine.")
cosh = _smooth("cosh", p.cosh, "The hyperbolic cosine.")
tanh = _smooth("tanh", p.tanh, "The hyperbolic tangent.", aliases=("nn.functional.tanh",))
asinh = _smooth("asinh", p.asinh, "The inverse of sinh.", aliases=("arcsinh",))
acosh = _smooth("acosh", p.acosh, "The inverse of cosh.", 1.3, 3, aliases=("arccosh",))
atanh = _smooth("atanh", p.atanh, "The inverse of tanh.", -0.8, 0.8, aliases=("arctanh",))
sigmoid = _smooth(
    "sigmoid", p.logistic, "1 / (1 + exp(-x)).", aliases=("nn.functional.sigmoid", "special.expit")
)
erf = _smooth("erf", special.erf, "The error function.", aliases=("special.erf",))
erfc = _smooth(
    "erfc", special.erfc, "1 - erf(x), exact where erf is near 1.", aliases=("special.erfc",)
)
erfinv = _smooth(
    "erfinv",
    special.erfinv,
    "The inverse of erf on (-1, 1).",
    -0.8,
    0.8,
    aliases=("special.erfinv",),
)
lgamma = _smooth(
    "lgamma", special.lgamma, "The logarithm of |gamma(x)|.", 0.5, 4, aliases=("special.gammaln",)
)
digamma = _smooth(
    "digamma",
    special.digamma,
    "The derivative of lgamma.",
    0.5,
    4,
    aliases=("special.digamma", "special.psi"),
)
i0 = _smooth(
    "i0",
    special.i0,
    "The modified Bessel function of the first kind, order 0.",
    aliases=("special.i0",),
)
i0e = _smooth(
    "i0e", special.i0e, "exp(-|x|) i0(x).", 0.3, module="special", method=False, inplace=False
)
i1 = _smooth(
    "i1",
    special.i1,
    "The modified Bessel function of the first kind, order 1.",
    0.3,
    module="special",
    method=False,
    inplace=False,
)
i1e = _smooth(
    "i1e", special.i1e, "exp(-|x|) i1(x).", 0.3, module="special", method=False, inplace=False
)


@exp.gradient("input")
def _(grad: Array, out: Array) -> Array:
    return grad * conjugate(out)


@exp2.gradient("input")
def _(grad: Array, out: Array) -> Array:
    return grad * conjugate(out * math.log(2))


@expm1.gradient("input")
def _(grad: Array, out: Array) -> Array:
    return grad * conjugate(out + 1)


@log.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad / conjugate(input)


@log2.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad / conjugate(input * math.log(2))


@log10.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad / conjugate(input * math.log(10))


@log1p.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad / conjugate(input + 1)


@sqrt.gradient("input")
def _(grad: Array, out: Array) -> Array:
    return grad / conjugate(2 * out)


@rsqrt.gradient("input")
def _(grad: Array, out: Array) -> Array:
    return grad * conjugate(-0.5 * out * out * out)


@sin.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad * conjugate(cos(input))


@cos.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return -grad * conjugate(sin(input))


@tan.gradient("input")
def _(grad: Array, out: Array) -> Array:
    return grad * conjugate(1 + out * out)


@asin.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad * conjugate(rsqrt(1 - input * input))


@acos.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return -grad * conjugate(rsqrt(1 - input * input))


@atan.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad / conjugate(1 + input * input)


@sinh.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad * conjugate(cosh(input))


@cosh.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad * conjugate(sinh(input))


@tanh.gradient("input")
def _(grad: Array, out: Array) -> Array:
    return grad * conjugate(1 - out * out)


@asinh.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad * conjugate(rsqrt(input * input + 1))


@acosh.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad * conjugate(rsqrt(input - 1) * rsqrt(input + 1))


@atanh.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad / conjugate(1 - input * input)


@sigmoid.gradient("input")
def _(grad: Array, out: Array) -> Array:
    return grad * conjugate(out * (1 - out))


_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)


@erf.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad * (_TWO_OVER_ROOT_PI * exp(-(input * input)))


@erfc.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad * (-_TWO_OVER_ROOT_PI * exp(-(input * input)))


@erfinv.gradient("input")
def _(grad: Array, out: Array) -> Array:
    return grad * (exp(out * out) / _TWO_OVER_ROOT_PI)


@lgamma.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad * digamma(input)


@digamma.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad * _polygamma(1, input)


@i0.gradient("input")
def _(grad: Array, input: Array) -> Array:
    return grad * i1(input)


@i0e.gradient("input")
def _(grad: Array, input: Array, out: Array) -> Array:
    return grad * (i1e(input) - sgn(input) * out)


@i1.gradient("input")
def _(grad: Array, input: Array, out: Array) -> Array:
    near = abs(input) < 1e-8
    return grad * choose(near, 0.5, i0(input) - out / choose(near, 1, input))


@i1e.gradient("input")
def _(grad: Array, input: Array, out: Array) -> Array:
    near = abs(input) < 1e-8
    return grad * choose(near, 0.5, i0e(input) - out * (sgn(input) + 1 / choose(near, 1, input)))


# -- size and sign ------------------------------------------------------------------------------------------


@op(method=True, inplace=True, aliases=("absolute",), operators=("__abs__",))
def abs(input: Array) -> Array:
    """The absolute value of each element; of complex ones a real tensor.

    >>> import rushlight
    >>> rushlight.abs(rushlight.tensor([-1, 2]))
    tensor([1, 2])
    """
    return copy(input) if input.dtype == BOOL else p.absolute(input)


@abs.gradient("input")
def abs_gradient(grad: Array, input: Array) -> Array:
    return grad * sgn(input)


@abs.samples
def abs_samples(make: Any) -> Iterator[Any]:
    import rushlight

    yield Sample(make.distinct(3, 4))
    yield Sample(make((), low=0.5))
    yield Sample(make(3, dtype=rushlight.complex128))


@op(method=True, inplace=True)
def sgn(input: Array) -> Array:
    """-1, 0 or 1 by the sign of each element; of complex ones x / |x|, and 0 for 0."""
    return p.sign(input)


@sgn.gradient("input")
def sgn_gradient(grad: Array, input: Array, out: Array) -> Array:
    if not is_complex_dtype(input.dtype):
        return grad * 0
    size = abs(input)
    zero = size == 0
    turned = (conjugate(grad) * out * out - grad) * -0.5
    return choose(zero, 0, turned / choose(zero, 1, size))


sgn.samples(abs_samples)


@op(method=True, inplace=True)
def sign(input: Array) -> Array:
    """-1, 0 or 1 by the sign of each element. Raises RuntimeError for complex tensors."""
    if input.dtype in COMPLEX:
        raise RuntimeError(
            "Unlike NumPy, rushlight.sign is not intended to support complex numbers. Please use rushlight.sgn instead."
        )
    return p.sign(input)


sign.gradient("input")(lambda grad: grad * 0)


@sign.samples
def sign_samples(make: Any) -> Iterator[Any]:
    import rushlight

    yield Sample(make.distinct(3, 4))
    yield Bad(make(3, dtype=rushlight.complex128), raises=RuntimeError, says="sgn")


# -- rounding -----------------------------------------------------------------------------------------------


def _rounding(name: str, compute: Callable[[Any], Any], says: str, **options: Any) -> Any:
    def body(input: Array) -> Array:
        if input.dtype in COMPLEX:
            raise RuntimeError(f"{name} is not supported for complex inputs")
        if input.dtype == BOOL:
            raise RuntimeError(f"\"{name}\" not implemented for 'Bool'")
        return copy(input) if input.dtype in INTEGRAL else compute(input)

    body.__name__, body.__doc__ = name, says
    declared = op(body, method=True, inplace=True, **options)
    declared.gradient("input")(lambda grad: grad * 0)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make.distinct(3, 4))
        yield Sample(make((), low=0.1, high=0.4))
        yield Sample(make.ints(3))
        yield Bad("text", raises=TypeError, says="must be Tensor")

    return declared


ceil = _rounding("ceil", p.ceil, "The smallest whole number that is not below each element.")
floor = _rounding("floor", p.floor, "The largest whole number that is not above each element.")
trunc = _rounding("trunc", p.trunc, "Each element without its fractional part.", aliases=("fix",))


@op(method=True, inplace=True, aliases=("special.round",))
def round(input: Array, *, decimals: int = 0) -> Array:
    """Each element rounded to the nearest, halves to even; with `decimals`, to that many digits after the point."""
    if input.dtype in INTEGRAL:
        return copy(input)
    if decimals == 0:
        return p.round_even(input)
    scale = 10.0 ** (-decimals if decimals < 0 else decimals)
    if decimals < 0:
        return p.mul(p.round_even(p.div(*promote(input, scale))), promote(input, scale)[1])
    return p.div(p.round_even(p.mul(*promote(input, scale))), promote(input, scale)[1])


round.gradient("input")(lambda grad: grad * 0)


@round.samples
def round_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.distinct(3, 4))
    yield Sample(make(3, low=1.213, high=1.2135), decimals=2)
    yield Sample(make(3, low=1213.2, high=1213.4), decimals=-1)


@op(method=True, inplace=True)
def frac(input: Array) -> Array:
    """The fractional part of each element, with its sign."""
    return p.sub(input, p.trunc(input))


frac.gradient("input")(lambda grad: grad)
frac.samples(unary_samples(0.1, 0.9))


@op(method=True, inplace=True)
def deg2rad(input: Array) -> Array:
    """Degrees as radians."""
    return p.mul(*promote(to_float(input), math.pi / 180))


deg2rad.gradient("input")(lambda grad: grad * (math.pi / 180))
deg2rad.samples(unary_samples())


@op(method=True, inplace=True)
def rad2deg(input: Array) -> Array:
    """Radians as degrees."""
    return p.mul(*promote(to_float(input), 180 / math.pi))


rad2deg.gradient("input")(lambda grad: grad * (180 / math.pi))
rad2deg.samples(unary_samples())


@op(method=True, inplace=True, aliases=("special.sinc",))
def sinc(input: Array) -> Array:
    """sin(pi x) / (pi x), and 1 at 0."""
    x = p.mul(*promote(to_float(input), math.pi))
    zero = p.equal(x, 0)
    safe = select(zero, 1, x)
    return select(zero, 1, p.div(p.sin(safe), safe))


@sinc.gradient("input")
def sinc_gradient(grad: Array, input: Array) -> Array:
    x = input * math.pi
    zero = x == 0
    safe = choose(zero, 1, x)
    return grad * conjugate(
        choose(zero, 0, math.pi * (safe * cos(safe) - sin(safe)) / (safe * safe))
    )


sinc.samples(unary_samples())


@op(method=True, inplace=True, aliases=("special.logit",))
def logit(input: Array, eps: float | None = None) -> Array:
    """log(x / (1 - x)); with `eps`, x is first clamped to [eps, 1 - eps]."""
    x = to_float(input)
    if eps is not None:
        x = p.minimum(p.maximum(x, promote(x, eps)[1]), promote(x, 1 - eps)[1])
    return p.log(p.div(x, p.sub(1, x)))


@logit.gradient("input")
def logit_gradient(grad: Array, input: Array, eps: Any) -> Array:
    slope = grad / (input * (1 - input))
    if eps is None:
        return slope
    return choose((input < eps) | (input > 1 - eps), 0, slope)


@logit.samples
def logit_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=0.1, high=0.9))
    yield Sample(make(3, low=0.3, high=0.6), 0.2)


def _polygamma(n: int, x: Any) -> Any:
    return polygamma(n, x)


@op(aliases=("special.polygamma",))
def polygamma(n: int, input: Array) -> Array:
    """The derivative of order n of digamma (n = 0: digamma itself)."""
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    x = to_float(input)
    if n == 0:
        return special.digamma(x)
    scale = (-1.0) ** (n + 1) * math.factorial(n)
    order = full(n + 1.0, shape=(), dtype=x.dtype)
    return p.mul(special.zeta(order, x), promote(x, scale)[1])


@polygamma.gradient("input")
def polygamma_gradient(grad: Array, n: int, input: Array) -> Array:
    return grad * polygamma(n + 1, input)


@polygamma.samples
def polygamma_samples(make: Any) -> Iterator[Any]:
    yield Sample(1, make(3, low=0.6, high=4))
    yield Sample(2, make(3, low=0.6, high=4))
    yield Bad(-1, make(3), raises=RuntimeError, says="negative n")


@op(method=True, inplace=True)
def nan_to_num(
    input: Array, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Array:
    """NaN replaced by `nan` (0), infinities by `posinf` and `neginf` (the dtype's largest and smallest numbers)."""
    if input.dtype in INTEGRAL:
        return copy(input)
    if input.dtype in COMPLEX:
        from rushlight.primitives.structural import imag_part, real_part
        from rushlight.primitives.views import make_complex

        return make_complex(
            _replaced(real_part(input), nan, posinf, neginf),
            _replaced(imag_part(input), nan, posinf, neginf),
        )
    return _replaced(input, nan, posinf, neginf)


def _replaced(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    from rushlight.core.dtypes import finfo, of_numpy

    limits = finfo(of_numpy(x.dtype))

    def number(value):
        return full(float(value), shape=(), dtype=x.dtype)

    x = select(p.is_nan(x), number(0 if nan is None else nan), x)
    x = select(p.equal(x, math.inf), number(limits.max if posinf is None else posinf), x)
    return select(p.equal(x, -math.inf), number(limits.min if neginf is None else neginf), x)


@nan_to_num.gradient("input")
def nan_to_num_gradient(grad: Array, input: Array) -> Array:
    return choose(isfinite(input), grad, 0)


nan_to_num.samples(unary_samples())
