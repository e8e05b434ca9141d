"""torch.special: special functions of mathematics, elementwise. Every op declared for "special" is here."""

from __future__ import annotations

from typing import Any

from rushlight.ops.public import namespace

globals().update(namespace("special"))

__all__ = sorted(namespace("special"))  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Types for checkers; and the error for a function that does not exist."""
    raise AttributeError(f"module 'rushlight.special' has no attribute '{name}'")
