"""Orthogonal polynomials and the normal distribution's functions, for rushlight.special."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.operands import promote_to_float, to, to_float
from rushlight.ops.pointwise import erfc, log, log1p
from rushlight.ops.selection import choose
from rushlight.primitives import elementwise as p
from rushlight.primitives import special
from rushlight.primitives import structural as s

# -- logarithms that stay finite --------------------------------------------------------------------------


@op(module="special", composite=True)
def xlog1py(input: Operand, other: Operand) -> Array:
    """Input * log(1 + other): 0 where `input` is 0, NaN where `other` is.

    >>> import rushlight
    >>> rushlight.special.xlog1py(rushlight.tensor([0.0, 1.0]), rushlight.tensor([-1.0, 0.0]))
    tensor([0., 0.])
    """
    if not hasattr(input, "dtype") and not hasattr(other, "dtype"):
        raise TypeError("xlog1py(): argument 'input' must be Tensor if 'other' is a number")
    if not hasattr(other, "dtype"):
        factor = math.log1p(other) if other > -1 else -math.inf if other == -1 else math.nan
        return choose(input == 0, 0.0 if other == other else math.nan, input * factor)
    quiet = (input == 0) & (other == other) if hasattr(input, "dtype") else other * 0 + input == 0
    inner = choose(quiet, 0, other)
    return choose(quiet, 0, input * log1p(inner))


@xlog1py.samples
def xlog1py_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(4, low=-0.5))
    yield Sample(make(3), 0.5)
    yield Sample(2.0, make(3, low=-0.5))
    yield Bad(2.0, 3.0, raises=TypeError, says="must be Tensor")


@op(module="special")
def zeta(input: Operand, other: Operand) -> Array:
    """Hurwitz's zeta function: the sum over k of (k + other)^-input.

    >>> import rushlight
    >>> rushlight.special.zeta(rushlight.tensor([2.0]), 1)
    tensor([1.6449])
    """
    a, b = promote_to_float(input, other)
    dtype = (a if hasattr(a, "dtype") else b).dtype
    a, b = (x if hasattr(x, "dtype") else s.full(x, shape=(), dtype=dtype) for x in (a, b))
    return to(special.zeta(to(a, dtypes.FLOAT64), to(b, dtypes.FLOAT64)), dtype)


@zeta.gradient("input")
def zeta_gradient_input() -> Any:
    raise NotImplementedError(
        "the derivative for 'special.zeta' in its first argument is not implemented"
    )


@zeta.gradient("other")
def zeta_gradient_other(grad: Array, input: Any, other: Any) -> Array:
    return grad * -input * zeta(input + 1, other)


@zeta.samples
def zeta_samples(make: Any) -> Iterator[Any]:
    yield Sample(3.0, make(3, 4, low=0.5))
    yield Sample(2.5, make(2, low=0.5))
    yield Sample(make(3, low=1.5, high=4).detach(), make(3, low=0.5, high=4))
    yield Bad("a", make(3), raises=TypeError, says="must be Tensor")


@op(module="special")
def erfcx(input: Array) -> Array:
    """exp(x^2) erfc(x), which neither underflows nor overflows for large x.

    >>> import rushlight
    >>> rushlight.special.erfcx(rushlight.tensor([0.0]))
    tensor([1.])
    """
    return special.erfcx(to_float(input))


@erfcx.gradient("input")
def erfcx_gradient(grad: Array, input: Array, out: Array) -> Array:
    return grad * (2 * input * out - 2 / math.sqrt(math.pi))


@erfcx.samples
def erfcx_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3, low=5, high=40))
    yield Sample(make.ints(3))
    yield Bad("a", raises=TypeError, says="must be Tensor")


@op(module="special", composite=True)
def log_ndtr(input: Array) -> Array:
    """The logarithm of the standard normal distribution function, exact far below 0 too.

    >>> import rushlight
    >>> rushlight.special.log_ndtr(rushlight.tensor([0.0]))
    tensor([-0.6931])
    """
    t = input * math.sqrt(0.5)
    low = input < -1
    inside = choose(low, t, -1.0)
    far = log(erfcx(-inside) / 2) - inside * inside
    return choose(low, far, log1p(erfc(choose(low, 0.0, t)) * -0.5))


@log_ndtr.samples
def log_ndtr_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3, low=-30, high=-5))
    yield Bad("a", raises=TypeError, says="must be Tensor")


# -- polynomials ------------------------------------------------------------------------------------------

#: first(x), and the three terms of the recurrence p[k+1] = (a(k) x + b(k)) p[k] - c(k) p[k-1].
_FAMILIES: dict[str, tuple[Any, Any, Any, Any, str]] = {
    "chebyshev_polynomial_t": (
        lambda x: x,
        lambda k: 2,
        lambda k: 0,
        lambda k: 1,
        "Chebyshev polynomials of the first kind",
    ),
    "chebyshev_polynomial_u": (
        lambda x: 2 * x,
        lambda k: 2,
        lambda k: 0,
        lambda k: 1,
        "Chebyshev polynomials of the second kind",
    ),
    "chebyshev_polynomial_v": (
        lambda x: 2 * x - 1,
        lambda k: 2,
        lambda k: 0,
        lambda k: 1,
        "Chebyshev polynomials of the third kind",
    ),
    "chebyshev_polynomial_w": (
        lambda x: 2 * x + 1,
        lambda k: 2,
        lambda k: 0,
        lambda k: 1,
        "Chebyshev polynomials of the fourth kind",
    ),
    "hermite_polynomial_h": (
        lambda x: 2 * x,
        lambda k: 2,
        lambda k: 0,
        lambda k: 2 * k,
        "Hermite polynomials (of physicists)",
    ),
    "hermite_polynomial_he": (
        lambda x: x,
        lambda k: 1,
        lambda k: 0,
        lambda k: k,
        "Hermite polynomials (of probabilists)",
    ),
    "laguerre_polynomial_l": (
        lambda x: 1 - x,
        lambda k: -1 / (k + 1),
        lambda k: (2 * k + 1) / (k + 1),
        lambda k: k / (k + 1),
        "Laguerre polynomials",
    ),
    "legendre_polynomial_p": (
        lambda x: x,
        lambda k: (2 * k + 1) / (k + 1),
        lambda k: 0,
        lambda k: k / (k + 1),
        "Legendre polynomials",
    ),
}


def _orthogonal(name: str, shifted: bool = False) -> Any:
    first, a, b, c, what = _FAMILIES[name]
    public = "shifted_" + name if shifted else name

    def body(input: Operand, n: Operand) -> Array:
        x, degree = promote_to_float(input, n)
        dtype = (x if hasattr(x, "dtype") else degree).dtype
        if hasattr(degree, "dtype"):
            highest = special_highest(degree)
            degree = p.trunc(degree)
        else:
            highest = int(degree)
        if not hasattr(x, "dtype"):
            x = s.full(x, shape=(), dtype=dtype)
        if shifted:
            x = p.sub(p.mul(x, 2), 1)
        before: Any = p.add(p.mul(x, 0), 1)
        now = to(_applied(first, x), dtype)
        out = _selected(degree, 1, now, _selected(degree, 0, before, p.mul(before, 0)))
        for k in range(1, highest):
            step = p.mul(p.add(p.mul(x, float(a(k))), float(b(k))), now)
            before, now = now, p.sub(step, p.mul(before, float(c(k))))
            out = _selected(degree, k + 1, now, out)
        return out

    body.__name__ = public
    body.__doc__ = (
        f"{what}{' on [0, 1]' if shifted else ''}, of degree `n`; 0 for negative degrees."
    )
    declared = op(body, module="special", differentiable=False, traceable=False)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make(3, 4, low=-1, high=1), 3)
        yield Sample(make(3, low=0, high=1), make.tensor([0, 1, 5], dtypes.int64))
        yield Sample(0.5, make.tensor([2, 4], dtypes.int64))
        yield Bad("a", make(3), raises=TypeError, says="must be Tensor")

    return declared


def special_highest(degree: Any) -> int:
    """The highest degree asked for: its value decides how long the recurrence runs."""
    return int(max(degree.max(initial=0), 0)) if degree.size else 0


def _applied(first: Any, x: Any) -> Any:
    """2 x, x, 1 - x ...: a + b x from its values at 0 and 1."""
    return p.add(p.mul(x, float(first(1) - first(0))), float(first(0)))


def _selected(degree: Any, wanted: int, value: Any, other: Any) -> Any:
    if hasattr(degree, "dtype"):
        return s.select(p.equal(degree, wanted), value, other)
    return value if int(degree) == wanted else other


for _name in tuple(_FAMILIES):
    globals()[_name] = _orthogonal(_name)
    if _name.startswith("chebyshev"):
        globals()["shifted_" + _name] = _orthogonal(_name, True)
