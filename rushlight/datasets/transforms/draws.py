"""The random numbers of transforms: one at a time from rushlight's generator, as torchvision draws.

The same seed therefore gives the same crops, flips and angles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rushlight


def chance() -> float:
    """One draw of [0, 1)."""
    return float(rushlight.rand(1).item())


def uniform(low: float, high: float) -> float:
    """One draw of [low, high), in float32."""
    return float(rushlight.empty(1).uniform_(low, high).item())


def below(count: int) -> int:
    """One of 0 .. count - 1."""
    return int(rushlight.randint(0, count, size=(1,)).item())


def order(count: int) -> list[int]:
    """0 .. count - 1 in random order."""
    return [int(i) for i in rushlight.randperm(count).tolist()]


def normal(shape: Sequence[int]) -> Any:
    """A tensor of standard normal numbers."""
    return rushlight.empty(tuple(shape)).normal_()
