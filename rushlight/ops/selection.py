"""Choosing elementwise: `where`, and the gate that the gradients of clipped functions share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core.dtypes import BOOL, UINT8
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.operands import promote
from rushlight.primitives import elementwise as p
from rushlight.primitives.structural import cast, select


@op(function=False, node="WhereBackward0")
def choose(condition: Array, input: Operand, other: Operand) -> Array:
    """`input` where the condition holds, else `other`."""
    if condition.dtype != BOOL:
        if condition.dtype != UINT8:
            raise RuntimeError(
                f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
            )
        condition = cast(condition, dtype=BOOL)
    a, b = promote(input, other)
    return select(condition, a, b)


@choose.gradient("input")
def choose_gradient_input(grad: Array, condition: Array) -> Array:
    return choose(condition, grad, 0)


@choose.gradient("other")
def choose_gradient_other(grad: Array, condition: Array) -> Array:
    return choose(condition, 0, grad)


@op(function=False)
def gate(grad: Array, input: Array, low: Any, high: Any, closed: bool = False) -> Array:
    """`grad` where low < input < high (`closed`: where low <= input <= high), else 0; a None bound is no bound."""
    above, below = (p.greater_equal, p.less_equal) if closed else (p.greater, p.less)
    inside = None
    if low is not None:
        inside = above(input, low)
    if high is not None:
        under = below(input, high)
        inside = under if inside is None else p.logical_and(inside, under)
    return grad if inside is None else select(inside, grad, 0)


@gate.gradient("grad")
def gate_gradient(grad: Array, input: Array, low: Any, high: Any, closed: bool) -> Array:
    return gate(grad, input, low, high, closed)


@gate.gradient("input")
def gate_gradient_input(grad: Array) -> Array:
    return grad * 0


@gate.samples
def _gate_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.distinct(3, 4), -0.1, 0.2)


@choose.samples
def _choose_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.bools(3, 4), make(3, 4), make(4))
    yield Sample(make.bools(4), make(3, 1), 2.0)
    yield Sample(make.bools(()), 1.0, make(2))
    yield Bad(make(3), make(3), make(3), raises=RuntimeError, says="boolean")
