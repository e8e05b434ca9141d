"""torch.nn.functional: what layers compute, as functions. Every op declared for "nn.functional" is here."""

from __future__ import annotations

from typing import Any

from rushlight.nn.attention_forward import (
    multi_head_attention_forward as multi_head_attention_forward,
)
from rushlight.ops.public import namespace

globals().update(namespace("nn.functional"))

__all__ = sorted({*namespace("nn.functional"), "multi_head_attention_forward"})  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Types for checkers; and the error for a function that does not exist."""
    raise AttributeError(f"module 'rushlight.nn.functional' has no attribute '{name}'")
