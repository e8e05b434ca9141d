"""torch.fft: discrete Fourier transforms. Every op declared for "fft" is here."""

from __future__ import annotations

from typing import Any

from rushlight.ops.public import namespace

globals().update(namespace("fft"))

__all__ = sorted(namespace("fft"))  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Types for checkers; and the error for a function that does not exist."""
    raise AttributeError(f"module 'rushlight.fft' has no attribute '{name}'")
