"""Tests of elements: isnan, isinf, signbit and their kin."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rushlight.core.dtypes import BOOL, COMPLEX, INTEGRAL
from rushlight.ops.declare import Array, op
from rushlight.ops.sampling import unary_samples
from rushlight.primitives import elementwise as p
from rushlight.primitives.structural import full

# -- tests of elements --------------------------------------------------------------------------------------


def _test(name: str, compute: Callable[[Any], Any], says: str, method: bool = True) -> Any:
    def body(input: Array) -> Array:
        return compute(input)

    body.__name__, body.__doc__ = name, says
    declared = op(body, method=method, differentiable=False)
    declared.samples(unary_samples())
    return declared


def _nothing(x: Any) -> Any:
    return full(0, shape=x.shape, dtype=BOOL)


def _everything(x: Any) -> Any:
    return full(1, shape=x.shape, dtype=BOOL)


isnan = _test(
    "isnan",
    lambda x: _nothing(x) if x.dtype in INTEGRAL else p.is_nan(x),
    "Whether each element is NaN.",
)
isinf = _test(
    "isinf",
    lambda x: _nothing(x) if x.dtype in INTEGRAL else p.is_inf(x),
    "Whether each element is infinite.",
)
isfinite = _test(
    "isfinite",
    lambda x: _everything(x) if x.dtype in INTEGRAL else p.is_finite(x),
    "Whether each element is finite.",
)
isposinf = _test(
    "isposinf",
    lambda x: _nothing(x) if x.dtype in INTEGRAL else p.equal(x, math.inf),
    "Whether each element is +inf.",
)
isneginf = _test(
    "isneginf",
    lambda x: _nothing(x) if x.dtype in INTEGRAL else p.equal(x, -math.inf),
    "Whether each element is -inf.",
)
isreal = _test(
    "isreal",
    lambda x: p.equal(_imaginary(x), 0) if x.dtype in COMPLEX else _everything(x),
    "Whether each element is real.",
)
signbit = _test(
    "signbit",
    lambda x: (
        _nothing(x) if x.dtype == BOOL else p.less(x, 0) if x.dtype in INTEGRAL else p.signbit(x)
    ),
    "Whether each element's sign is set: -0.0 has it.",
)


def _imaginary(x: Any) -> Any:
    from rushlight.primitives.structural import imag_part

    return imag_part(x)
