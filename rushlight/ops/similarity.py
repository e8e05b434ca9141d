"""How far rows of two tensors lie apart: cosine_similarity, pairwise_distance, cdist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.ops.comparison import clamp
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.norms import vector_norm
from rushlight.ops.reduction import sum
from rushlight.ops.shape import (
    expand,
    unsqueeze,
)

# -- distances ----------------------------------------------------------------------------------------------


@op(module="nn.functional", composite=True)
def cosine_similarity(x1: Array, x2: Array, dim: int = 1, eps: float = 1e-8) -> Array:
    """x1 . x2 / (|x1| |x2|) along `dim`; norms are not below eps."""
    shape = shapes.broadcast(tuple(x1.shape), tuple(x2.shape))
    axis = shapes.dimension(dim, len(shape))
    a, b = expand(x1, shape), expand(x2, shape)
    return sum(
        a
        / clamp(vector_norm(a, 2, axis, True), eps)
        * (b / clamp(vector_norm(b, 2, axis, True), eps)),
        axis,
    )


@op(module="nn.functional", composite=True)
def pairwise_distance(
    x1: Array, x2: Array, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Array:
    """The norm of x1 - x2 + eps along the last dimension."""
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)


def _pair_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4))
    yield Sample(make(3, 4), make(1, 4))


cosine_similarity.samples(_pair_samples)
pairwise_distance.samples(_pair_samples)


@op(composite=True)
def cdist(x1: Array, x2: Array, p: float = 2.0, compute_mode: Any = None) -> Array:
    """Norms of the differences of all rows of x1 (..., n, m) and of x2 (..., k, m): (..., n, k)."""
    if len(x1.shape) < 2 or len(x2.shape) < 2 or tuple(x1.shape)[-1] != tuple(x2.shape)[-1]:
        raise RuntimeError(
            f"cdist: X1 and X2 must have the same number of columns. X1: {list(x1.shape)} X2: {list(x2.shape)}"
        )
    return vector_norm(unsqueeze(x1, -2) - unsqueeze(x2, -3), p, -1)


@cdist.samples
def cdist_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(2, 4))
    yield Sample(make(2, 3, 4), make(2, 4), 1.0)
    yield Bad(make(3, 4), make(2, 3), raises=RuntimeError, says="same number of columns")
