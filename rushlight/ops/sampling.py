"""Samples that many ops share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rushlight.ops.declare import Bad, Sample

Sampler = Callable[[Any], Iterator[Any]]


def unary_samples(low: float = -2, high: float = 2) -> Sampler:
    """Samples of an elementwise op of one tensor, inside its domain."""

    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make(3, 4, low=low, high=high))
        yield Sample(make(2, 1, 5, low=low, high=high))
        yield Sample(make((), low=low, high=high))
        yield Sample(make(0, 3, low=low, high=high))
        yield Bad("text", raises=TypeError, says="must be Tensor")

    return samples


def binary_samples(low: float = -2, high: float = 2, numbers: bool = True) -> Sampler:
    """Samples of an elementwise op of two operands: equal shapes, broadcast, 0-d, empty, numbers."""

    def samples(make: Any) -> Iterator[Any]:
        def one(*shape: int) -> Any:
            return make(shape, low=low, high=high)

        yield Sample(one(3, 4), one(3, 4))
        yield Sample(one(3, 4), one(4))
        yield Sample(one(2, 1, 3), one(4, 1))
        yield Sample(one(), one(2))
        yield Sample(one(0, 3), one(3))
        if numbers:
            yield Sample(one(3), (low + 3 * high) / 4 + 0.11)
        yield Bad(one(3), one(4), raises=RuntimeError, says="must match the size")
        yield Bad(one(3), "text", raises=TypeError, says="argument 'other'")

    return samples
