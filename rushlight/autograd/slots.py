"""Where the ops, which stand above the engine, leave the few functions that it calls."""

from __future__ import annotations

from typing import Any


class _Slots:
    """What the engine needs from the ops above it."""

    add: Any = None
    stack: Any = None
    fit: Any = None
    fit_tensor: Any = None
    rewrite_base: Any = None


slots = _Slots()
