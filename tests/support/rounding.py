"""How far rounding alone moves a result: Monte Carlo arithmetic (Parker, 1997).

Every primitive that computes is made to round up or down by chance. What then changes from run to run is what no
program can be held to: a sum that is zero but for rounding, 1 - tanh(x)^2 where tanh(x) is nearly 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rushlight.backends.settings import settings
from rushlight.primitives.primitive import PRIMITIVES

#: Runs that tell how far results spread, and how many times as far another program's may lie.
RUNS, ROOM = 16, 4.0


@contextmanager
def rounded_by_chance(seed: int) -> Iterator[None]:
    """Inside, the results of references in float32 and float64 are one place off, up, down, or not at all."""
    chance = np.random.default_rng(seed)
    kept = {primitive: primitive.run for primitive in PRIMITIVES.values()}
    native, settings.native = settings.native, False

    def off(result: Any, operands: tuple[Any, ...]) -> Any:
        if not isinstance(result, np.ndarray | np.floating) or result.dtype.char not in "fd":
            return result
        arrays = [o for o in operands if isinstance(o, np.ndarray) and o.dtype == result.dtype]
        if any(np.may_share_memory(result, a) for a in arrays if isinstance(result, np.ndarray)):
            return result  # a view
        # What an operand has too was chosen or moved, not rounded.
        moved = np.isin(result, np.concatenate([a.reshape(-1) for a in arrays] or [np.zeros(1)]))
        still = moved | ~np.isfinite(result) | (result == 0)
        to = np.where(chance.random(result.shape) < 0.5, np.inf, -np.inf).astype(result.dtype)
        return np.where(
            still | (chance.random(result.shape) < 0.3), result, np.nextafter(result, to)
        )

    def rounding(run: Any) -> Any:
        def other(*operands: Any, **params: Any) -> Any:
            result = run(*operands, **params)
            if isinstance(result, tuple):
                return tuple(off(r, operands) for r in result)
            return off(result, operands)

        return other

    try:
        for primitive, run in kept.items():
            primitive.run = rounding(run)
        yield
    finally:
        settings.native = native
        for primitive, run in kept.items():
            primitive.run = run


def explained(found: list[Any], wanted: list[Any], others: list[list[Any]]) -> bool:
    """Whether arrays `found` lie as near to `wanted` as those of the runs that rounded otherwise."""
    for n, (a, b) in enumerate(zip(found, wanted, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        if a.dtype.kind not in "fc":
            if not np.array_equal(a, b):
                return False
            continue
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return False
        with np.errstate(invalid="ignore"):
            spread = max(_largest(other[n] - b) for other in others)
            if _largest(a - b) > ROOM * spread + 1e-12 * _largest(b):
                return False
    return True


def _largest(array: Any) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max(initial=0.0))
