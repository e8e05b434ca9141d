"""Every family of ops; importing this file declares them all. Their order is free: families import what they use."""

from __future__ import annotations

from rushlight.ops import (
    arithmetic,
    comparison,
    complex_numbers,
    conversion,
    creation,
    joining,
    links,
    convolution,
    activations,
    products,
    softmax,
    extremes,
    cumulative,
    pointwise,
    reduction,
    selection,
    shape,
    spacing,
)

__all__ = [
    "arithmetic",
    "comparison",
    "complex_numbers",
    "conversion",
    "creation",
    "joining",
    "links",
    "convolution",
    "activations",
    "products",
    "softmax",
    "extremes",
    "cumulative",
    "pointwise",
    "reduction",
    "selection",
    "shape",
    "spacing",
]
