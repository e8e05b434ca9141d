"""Softmax and its logarithm along an axis, shifted by the largest element: nothing overflows."""

from __future__ import annotations

from typing import Any

from rushlight.core.dtypes import FLOAT32, HALF
from rushlight.primitives.primitive import Aval, primitive

Array = Any

softmax = primitive("softmax", params=("axis",))
log_softmax = primitive("log_softmax", params=("axis",))


def _same(x: Any, *, axis: int) -> Aval:
    return Aval(x.shape, x.dtype)


softmax.define_rule(_same)
log_softmax.define_rule(_same)


def _shifted(xp: Any, x: Array, axis: int) -> Array:
    if x.dtype in HALF:
        x = x.astype(FLOAT32)
    return x - xp.maximum.reduce(x, axis, None, None, True, initial=-xp.inf)


@softmax.define_reference
def _(xp: Any, x: Array, *, axis: int) -> Array:
    if not x.ndim:
        return xp.ones_like(x)
    out = _shifted(xp, x, axis)
    xp.exp(out, out=out)
    out /= xp.add.reduce(out, axis, None, None, True)
    return out.astype(x.dtype, copy=False)


@log_softmax.define_reference
def _(xp: Any, x: Array, *, axis: int) -> Array:
    if not x.ndim:
        return xp.zeros_like(x)
    out = _shifted(xp, x, axis)
    total = xp.add.reduce(xp.exp(out), axis, None, None, True)
    out -= xp.log(total, out=total)
    return out.astype(x.dtype, copy=False)
