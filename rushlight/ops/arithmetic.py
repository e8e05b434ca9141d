"""Arithmetic on two operands, and the signs: add, sub, mul, div and what is written in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core.dtypes import BOOL, COMPLEX
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.operands import promote, promote_to_float
from rushlight.primitives import elementwise as p


def _scaled(other: Any, alpha: Any) -> Any:
    if alpha == 1:
        return other
    dtype = getattr(other, "dtype", None)
    if dtype is None:
        return other * alpha
    a, b = promote(other, alpha)
    return p.mul(a, b)


def _binary_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4))
    yield Sample(make(3, 4), make(4))
    yield Sample(make(2, 1, 3), make(4, 1))
    yield Sample(make(()), make(2))
    yield Sample(make(3), 2.5)
    yield Sample(make(0, 3), make(3))
    yield Bad(make(3), make(4), raises=RuntimeError, says="must match the size")
    yield Bad(make(3), "text", raises=TypeError, says="argument 'other'")


@op(method=True, inplace=True, operators=("__add__", "__radd__", "__iadd__"))
def add(input: Operand, other: Operand, *, alpha: float = 1) -> Array:
    """Elementwise `input + alpha * other`, broadcast and promoted.

    >>> import rushlight
    >>> rushlight.add(rushlight.tensor([1.0, 2.0]), 10, alpha=2)
    tensor([21., 22.])
    """
    a, b = promote(input, _scaled(other, alpha))
    return p.add(a, b)


@add.gradient("input")
def add_gradient_input(grad: Array) -> Array:
    return grad


@add.gradient("other")
def add_gradient_other(grad: Array, alpha: Any) -> Array:
    return grad if alpha == 1 else grad * alpha


add.samples(_binary_samples)


@op(method=True, inplace=True, operators=("__sub__", "__isub__"), aliases=("subtract",))
def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Array:
    """Elementwise `input - alpha * other`, broadcast and promoted.

    Raises RuntimeError for bool tensors: use `^` or `logical_xor` there.
    """
    a, b = promote(input, _scaled(other, alpha))
    if getattr(a, "dtype", None) == BOOL or getattr(b, "dtype", None) == BOOL:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` "
            "operator instead."
        )
    return p.sub(a, b)


sub.gradient("input")(add_gradient_input)


@sub.gradient("other")
def sub_gradient_other(grad: Array, alpha: Any) -> Array:
    return -grad if alpha == 1 else grad * -alpha


sub.samples(_binary_samples)


@op(function=False, operators=("__rsub__",), node="RsubBackward1")
def rsub(input: Operand, other: Operand) -> Array:
    """Elementwise `other - input`."""
    return sub.op.body(other, input)


@rsub.gradient("input")
def rsub_gradient_input(grad: Array) -> Array:
    return -grad


rsub.gradient("other")(add_gradient_input)


@op(method=True, inplace=True, operators=("__mul__", "__rmul__", "__imul__"), aliases=("multiply",))
def mul(input: Operand, other: Operand) -> Array:
    """Elementwise product, broadcast and promoted."""
    a, b = promote(input, other)
    return p.mul(a, b)


def conjugate(x: Any) -> Any:
    """The complex conjugate, for gradients: real values pass through."""
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        return x.conjugate() if isinstance(x, complex) else x
    return x.conj() if getattr(dtype, "is_complex", dtype in COMPLEX) else x


@mul.gradient("input")
def mul_gradient_input(grad: Array, other: Any) -> Array:
    return grad * conjugate(other)


@mul.gradient("other")
def mul_gradient_other(grad: Array, input: Any) -> Array:
    return grad * conjugate(input)


mul.samples(_binary_samples)


@op(method=True, inplace=True, aliases=("negative",), operators=("__neg__",))
def neg(input: Array) -> Array:
    """Elementwise `-input`. Raises RuntimeError for bool tensors."""
    if input.dtype == BOOL:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead."
        )
    return p.neg(input)


@neg.gradient("input")
def neg_gradient(grad: Array) -> Array:
    return -grad


@op(method=True, inplace=True)
def exp(input: Array) -> Array:
    """Elementwise e to the power of `input`; integers give the default float."""
    from rushlight.ops.operands import to_float

    return p.exp(to_float(input))


@exp.gradient("input")
def exp_gradient(grad: Array, out: Array) -> Array:
    return grad * conjugate(out)


@op(method=True, inplace=True)
def true_divide(input: Operand, other: Operand) -> Array:
    """Elementwise quotient in floating point."""
    a, b = promote_to_float(input, other)
    return p.div(a, b)


@true_divide.gradient("input")
def true_divide_gradient_input(grad: Array, other: Any) -> Array:
    return grad / conjugate(other)


@true_divide.gradient("other")
def true_divide_gradient_other(grad: Array, input: Any, other: Array) -> Array:
    return -grad * conjugate((input / other) / other)
