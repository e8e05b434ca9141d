"""Gradients of gradients for ops whose own gradient is one primitive: the op is computed again, in smaller ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.autograd import engine
from rushlight.autograd.modes import enable_grad


def replayed(
    smaller: Callable[..., Sequence[Any]],
    inputs: Sequence[Any],
    needs: Sequence[bool],
    grads: Sequence[Any],
) -> tuple[Any, ...]:
    """Gradients that can be differentiated again: of `smaller(*inputs)`, which gives the op's results."""
    with enable_grad():
        apart = [x.clone() if need else x for x, need in zip(inputs, needs, strict=True)]
        results = smaller(*apart)
        wanted = [x for x, need in zip(apart, needs, strict=True) if need]
        found = engine.grad(
            tuple(results), wanted, tuple(grads), create_graph=True, materialize_grads=True
        )
    rest = iter(found)
    return tuple(next(rest) if need else None for need in needs)
