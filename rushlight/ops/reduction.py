"""Reductions: sum, mean, ..."""

from __future__ import annotations

from typing import Any

from rushlight.core import dtypes, shapes
from rushlight.core.dtypes import INTEGRAL
from rushlight.ops import links
from rushlight.ops.declare import Array, op
from rushlight.ops.operands import to
from rushlight.primitives import structural as s
from rushlight.primitives.reduction import reduce_sum


def spread(grad: Array, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Array:
    """The gradient of a reduction along `dim`, back in the input's shape."""
    axes = shapes.dimensions(dim, len(shape))
    kept = shapes.reduced(shape, axes, True)
    return links.show_steps(grad, ((s.reshape, {"shape": kept}), (s.expand, {"shape": shape})))


@op(method=True)
def sum(input: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The sum of all elements, or along `dim`; integers and bools are summed in int64.

    >>> import rushlight
    >>> rushlight.sum(rushlight.tensor([[1, 2], [3, 4]]), 0)
    tensor([4, 6])
    """
    if dtype is not None:
        input = to(input, dtypes.to_numpy(dtype))
    elif input.dtype in INTEGRAL:
        input = to(input, dtypes.INT64)
    if isinstance(dim, (tuple, list)) and not dim:
        dim = None
    return reduce_sum(input, axes=shapes.dimensions(dim, input.ndim), keepdim=bool(keepdim))


@sum.gradient("input")
def sum_gradient(grad: Array, input_shape: tuple[int, ...], dim: Any, keepdim: bool) -> Array:
    return spread(grad, input_shape, dim, keepdim)
