"""torch.linalg: decompositions, solvers, norms of matrices. Every op declared for "linalg" is here."""

from __future__ import annotations

from typing import Any

from rushlight.ops.public import namespace
from rushlight.primitives.linalg import LinAlgError as LinAlgError

globals().update(namespace("linalg"))

__all__ = sorted([*namespace("linalg"), "LinAlgError"])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Types for checkers; and the error for a function that does not exist."""
    raise AttributeError(f"module 'rushlight.linalg' has no attribute '{name}'")
