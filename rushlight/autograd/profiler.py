"""torch.autograd.profiler, the older way to profile: `profile`, `record_function`, and the lists they give.

The room `rushlight.profiler` stands above this one and does the work; it is loaded when one of its names is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rushlight.profiler.legacy import (
        EventList,
        FunctionEvent,
        FunctionEventAvg,
        kineto_available,
        profile,
        record_function,
    )

__all__ = [
    "EventList", "FunctionEvent", "FunctionEventAvg", "kineto_available", "profile", "record_function",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """The names of the room above, which this room must not import."""
    if name not in __all__:
        raise AttributeError(f"module 'rushlight.autograd.profiler' has no attribute '{name}'")
    found = globals()[name] = getattr(importlib.import_module("rushlight.profiler.legacy"), name)
    return found
