"""Views of a tensor: other shapes, orders of dimensions, parts. Bodies answer with the steps to the view."""

from __future__ import annotations

from typing import Any

from rushlight.core import shapes
from rushlight.ops.declare import Array, op
from rushlight.ops.operands import sequence
from rushlight.primitives import structural as s
from rushlight.primitives.views import Steps
from rushlight.primitives.interpreter import slot


def check_viewable(x: Array, shape: tuple[int, ...]) -> None:
    """RuntimeError where this memory can't be seen in another shape without a copy."""
    if slot.recorder is None and not x.flags.c_contiguous:
        try:
            x.reshape(shape, copy=False)
        except ValueError:
            raise RuntimeError(
                f"view size is not compatible with input tensor's size and stride: shape {list(x.shape)} can't be seen "
                f"as {list(shape)} without a copy (at least one dimension spans across two contiguous subspaces). "
                "Use .reshape(...) instead."
            ) from None


@op(view=True, method=True, function=False)
def view(input: Array, *size: Any) -> Steps:
    """The same elements in another shape; one size may be -1. Also `view(dtype)`: the same bytes as another type.

    Raises RuntimeError where the shape does not fit the number of elements or the memory.
    """
    shape = shapes.inferred(sequence(size), input.size)
    check_viewable(input, shape)
    return ((s.reshape, {"shape": shape}),)


@op(view=True, method=True)
def transpose(input: Array, dim0: int, dim1: int) -> Steps:
    """Dimensions `dim0` and `dim1` exchanged."""
    a, b = shapes.dimension(dim0, input.ndim), shapes.dimension(dim1, input.ndim)
    axes = list(range(input.ndim))
    if axes:
        axes[a], axes[b] = axes[b], axes[a]
    return ((s.permute, {"axes": tuple(axes)}),)
