"""Views in a program: equations that only look at memory differently cost nothing, where strides can say it."""

from __future__ import annotations

from typing import Any

from rushlight.compiler.graph import Equation
from rushlight.loops.arrays import Array

#: Primitives that may be answered by another look into their operand's memory.
VIEWS = frozenset(
    {"reshape", "permute", "expand", "slice", "diagonal", "windows", "bitcast", "strided"}
)


def look(source: Array, equation: Equation) -> Array | None:
    """The equation's result as a look into its operand's memory; None where it has to be copied."""
    name, params = equation.primitive.name, equation.params
    shape = equation.outputs[0].shape
    if name == "reshape":
        return source.reshape(shape)
    if name == "permute":
        return source.permute(params["axes"])
    if name == "expand":
        return source.expand(shape)
    if name == "slice":
        return source.slice(params["starts"], params["stops"], params["steps"])
    if name == "diagonal":
        return _diagonal(source, shape, **params)
    if name == "windows":
        axis, strides = params["axis"], source.strides
        return source.look(
            shape,
            (*strides[:axis], strides[axis] * params["step"], *strides[axis + 1 :], strides[axis]),
        )
    if name == "bitcast" and equation.outputs[0].dtype.itemsize == source.dtype.itemsize:
        return Array(source.memory, equation.outputs[0].dtype, shape, source.strides, source.offset)
    return None


def _diagonal(source: Array, shape: Any, *, offset: int, axis1: int, axis2: int) -> Array:
    rest = [s for i, s in enumerate(source.strides) if i not in (axis1, axis2)]
    start = offset * source.strides[axis2] if offset >= 0 else -offset * source.strides[axis1]
    step = source.strides[axis1] + source.strides[axis2]
    return source.look(shape, (*rest, step), start if shape[-1] else 0)
