"""Linear and bilinear layers as ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.ops.complex_numbers import conjugate, is_complex_dtype
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.reduction import sum
from rushlight.ops.shape import (
    to_shape,
    transpose,
    unsqueeze,
)
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.contraction import contract

# -- layers -------------------------------------------------------------------------------------------------


@op(module="nn.functional", node="AddmmBackward0")
def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """`input @ weight.T + bias`: input (..., in_features), weight (out_features, in_features).

    >>> import rushlight
    >>> rushlight.nn.functional.linear(
    ...     rushlight.ones(1, 2), rushlight.ones(3, 2), rushlight.ones(3)
    ... )
    tensor([[3., 3., 3.]])
    """
    if weight.ndim not in (1, 2):
        raise RuntimeError(
            f"linear(): weight must have one or two dimensions, not shape {list(weight.shape)}"
        )
    if not input.ndim or input.shape[-1] != weight.shape[-1]:
        rows, columns = (
            (shapes.size_of(input.shape[:-1]), input.shape[-1]) if input.ndim else (1, 1)
        )
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{columns} and "
            f"{weight.shape[-1]}x{weight.shape[0]}): an input of "
            f"shape {list(input.shape)} has {columns} features in its last dimension, the weight of shape "
            f"{list(weight.shape)} takes {weight.shape[-1]}"
        )
    if input.dtype != weight.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {_upper(input.dtype)} and {_upper(weight.dtype)}"
        )
    out = contract(
        input, weight, axes_a=(input.ndim - 1,), axes_b=(weight.ndim - 1,), batch_a=(), batch_b=()
    )
    if bias is None:
        return out
    if not shapes.can_broadcast(bias.shape, out.shape):
        raise RuntimeError(
            f"linear(): a bias of shape {list(bias.shape)} does not fit outputs of shape {list(out.shape)}"
        )
    return p.add(out, bias)


def _upper(dtype: Any) -> str:
    from rushlight.ops.record import type_name

    return type_name(dtype)


@linear.gradient("input")
def linear_gradient_input(grad: Array, weight: Array) -> Array:
    if weight.ndim == 1:
        return unsqueeze(grad, -1) * conjugate(weight)
    return fold_product(grad, conjugate(weight))


@op(function=False, node="MmBackward0")
def fold_product(input: Array, other: Array) -> Array:
    """(..., n) by (n, m): (..., m)."""
    return contract(input, other, axes_a=(input.ndim - 1,), axes_b=(0,), batch_a=(), batch_b=())


@fold_product.gradient("input")
def fold_product_gradient_input(grad: Array, other: Array) -> Array:
    return linear(grad, conjugate(other))


@fold_product.gradient("other")
def fold_product_gradient_other(grad: Array, input: Array) -> Array:
    return sum_outer(conjugate(input), grad)


@op(function=False, node="MmBackward0")
def sum_outer(input: Array, other: Array) -> Array:
    """(..., n) by (..., m), summed over all dimensions but the last: (n, m)."""
    lead = tuple(range(input.ndim - 1))
    if len(lead) > 1:
        rows = shapes.size_of(input.shape[:-1])
        input = s.reshape(input, shape=(rows, input.shape[-1]))
        other = s.reshape(other, shape=(rows, other.shape[-1]))
        lead = (0,)
    return contract(input, other, axes_a=lead, axes_b=lead, batch_a=(), batch_b=())


@sum_outer.gradient("input")
def sum_outer_gradient_input(grad: Array, other: Array) -> Array:
    return (
        linear(other, conjugate(grad))
        if not is_complex_dtype(grad.dtype)
        else conjugate(linear(conjugate(other), conjugate(grad)))
    )


@sum_outer.gradient("other")
def sum_outer_gradient_other(grad: Array, input: Array) -> Array:
    return fold_product(conjugate(input), grad)


@linear.gradient("weight")
def linear_gradient_weight(grad: Array, input: Array, weight_shape: Any) -> Array:
    if len(weight_shape) == 1:
        return unsqueeze(grad, -1) * conjugate(input)
    return sum_outer(grad, conjugate(input))


@linear.gradient("bias")
def linear_gradient_bias(grad: Array) -> Array:
    return grad


@linear.samples
def linear_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(4, 3), make(4))
    yield Sample(make(2, 3), make(4, 3))
    yield Sample(make(2, 2, 3), make(4, 3), make(4))
    yield Sample(make(3), make(4, 3), make(4))
    yield Bad(
        make(2, 5), make(4, 3), raises=RuntimeError, says="cannot be multiplied (2x5 and 3x4)"
    )


@fold_product.samples
def fold_product_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 5, 3), make(3, 4))


@sum_outer.samples
def sum_outer_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 5, 3), make(2, 5, 4))
    yield Sample(make(5, 3), make(5, 4))


@op(module="nn.functional", composite=True)
def bilinear(input1: Array, input2: Array, weight: Array, bias: Any = None) -> Array:
    """x1^T W_k x2 + b_k for each output k: inputs (..., n) and (..., m), weight (k, n, m)."""
    if tuple(input1.shape)[:-1] != tuple(input2.shape)[:-1]:
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: shapes {list(input1.shape)} and {list(input2.shape)}"
        )
    k, n, m = tuple(weight.shape)
    if tuple(input1.shape)[-1] != n or tuple(input2.shape)[-1] != m:
        raise RuntimeError(
            f"bilinear(): inputs have {tuple(input1.shape)[-1]} and {tuple(input2.shape)[-1]} features, "
            f"the weight takes {n} and {m}"
        )
    lead = tuple(input1.shape)[:-1]
    left = fold_product(input1, to_shape(transpose(weight, 0, 1), (n, k * m)))
    product = to_shape(left, (*lead, k, m)) * unsqueeze(input2, -2)
    out = sum(product, -1)
    return out if bias is None else out + bias


@bilinear.samples
def bilinear_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(2, 4), make(5, 3, 4), make(5))
    yield Sample(make(3), make(4), make(5, 3, 4))
    yield Bad(make(2, 3), make(3, 4), make(5, 3, 4), raises=RuntimeError, says="batch dimensions")
