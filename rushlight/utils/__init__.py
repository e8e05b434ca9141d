"""torch.utils: loading data and recomputing activations. See README.md."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["checkpoint", "data"]


def __getattr__(name: str) -> Any:
    """Both rooms are loaded when they are first used."""
    if name in __all__:
        return importlib.import_module("rushlight.utils." + name)
    raise AttributeError(f"module 'rushlight.utils' has no attribute '{name}'")
