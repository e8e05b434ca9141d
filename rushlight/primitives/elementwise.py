"""Elementwise primitives: one result element for each element of the broadcast operands.

The reference of most is one NumPy ufunc, so the call is kept as short as Python allows: these run thousands of
times in a training step on small arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.core import shapes
from rushlight.core.dtypes import BOOL, HALF, real_of
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

# -- comparison
equal = elementwise("equal", 2, np.equal, _boolean)
not_equal = elementwise("not_equal", 2, np.not_equal, _boolean)
less = elementwise("less", 2, np.less, _boolean)
less_equal = elementwise("less_equal", 2, np.less_equal, _boolean)
greater = elementwise("greater", 2, np.greater, _boolean)
greater_equal = elementwise("greater_equal", 2, np.greater_equal, _boolean)

# -- exponential family
exp = elementwise("exp", 1, np.exp)
log = elementwise("log", 1, np.log)
sqrt = elementwise("sqrt", 1, np.sqrt)
tanh = elementwise("tanh", 1, np.tanh)
