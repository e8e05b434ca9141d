"""Gradients of a convolution whose result was max pooled: most of what they would multiply is nought.

    convolve_input_placed(grad, places, weight) = convolve_input(place_windows(grad, places), weight)
    convolve_weight_placed(x, grad, places)     = convolve_weight(x, place_windows(grad, places))

Windows lie side by side, so that each holds one number at the place that was chosen: a quarter of the work for windows
of two by two. Steps of the convolution are 1, it has one group, pictures are two-dimensional. `window` is the size of
the pooling's windows, `shape` that of the convolution's whole result. Products with the noughts between are left out:
an infinite weight or pixel makes a NaN only where it meets a gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.primitives import convolution, pooling
from rushlight.primitives.primitive import Aval, primitive

Array = Any
Sizes = tuple[int, ...]

_WHERE = ("before", "after", "window", "shape", "size")
convolve_input_placed = primitive("convolve_input_placed", params=_WHERE)
convolve_weight_placed = primitive("convolve_weight_placed", params=_WHERE)


@convolve_input_placed.define_rule
def _(grad: Any, places: Any, weight: Any, *, size: Sizes, **where: Any) -> Aval:
    return Aval((grad.shape[0], weight.shape[1], *size), grad.dtype)


@convolve_weight_placed.define_rule
def _(x: Any, grad: Any, places: Any, *, size: Sizes, **where: Any) -> Aval:
    return Aval((grad.shape[1], x.shape[1], *size), grad.dtype)


def _whole(grad: Array, places: Array, window: Sizes, shape: Sizes) -> Array:
    """The gradient of the convolution's whole result."""
    return pooling.place_windows.primitive.reference(
        np, grad, places, size=window, stride=window, before=(0, 0), after=(0, 0), dilation=(1, 1),
        shape=(*grad.shape[:2], *shape),
    )  # fmt: skip


def _convolution(before: Sizes, after: Sizes, size: Sizes) -> dict[str, Any]:
    """The parameters of the convolution's own gradients."""
    return {
        "stride": (1, 1), "before": before, "after": after, "dilation": (1, 1), "groups": 1, "size": size,
    }  # fmt: skip


@convolve_input_placed.define_reference
def _(
    xp: Any, grad: Array, places: Array, weight: Array, *, before: Sizes, after: Sizes, window: Sizes, shape: Sizes,
    size: Sizes,
) -> Array:  # fmt: skip
    whole = _whole(grad, places, window, shape)
    return convolution.convolve_input.primitive.reference(
        xp, whole, weight, **_convolution(before, after, size)
    )


@convolve_weight_placed.define_reference
def _(
    xp: Any, x: Array, grad: Array, places: Array, *, before: Sizes, after: Sizes, window: Sizes, shape: Sizes,
    size: Sizes,
) -> Array:  # fmt: skip
    whole = _whole(grad, places, window, shape)
    return convolution.convolve_weight.primitive.reference(
        xp, x, whole, **_convolution(before, after, size)
    )
