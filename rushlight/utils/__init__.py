"""torch.utils: data loading, checkpointing, DLPack and counting of operations. See README.md."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rushlight.utils import checkpoint as checkpoint
from rushlight.utils import data as data
from rushlight.utils import dlpack as dlpack

if TYPE_CHECKING:
    from rushlight.utils import flop_counter as flop_counter

__all__ = ["checkpoint", "data", "dlpack", "flop_counter"]


def __getattr__(name: str) -> Any:
    """What looks into the compiler's rooms is loaded when it is asked for: a loader's worker must be there soon."""
    if name == "flop_counter":
        return importlib.import_module("rushlight.utils.flop_counter")
    raise AttributeError(f"module 'rushlight.utils' has no attribute '{name}'")
