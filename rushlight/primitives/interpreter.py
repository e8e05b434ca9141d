"""The one point that every primitive call passes: it runs now, or it is recorded.

A room above fills `slot.recorder` for its thread with an object that has

    record(primitive, operands, params) -> value | tuple of values
    write(tensor, value)                      # see tensor/storage.py

and empties it when done. While it is None, calls run at once on NumPy arrays.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol


class Recorder(Protocol):
    """What a trace offers while it is being made."""

    def record(self, primitive: Any, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Notes the call and returns abstract values with shape, dtype, ndim and size."""
        ...


class _Slot(threading.local):
    recorder: Recorder | None = None


slot = _Slot()


class recording:
    """Context manager: calls in this thread are handed to `recorder` instead of being run; with None they are run."""

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder

    def __enter__(self) -> Recorder | None:
        self._before = slot.recorder
        slot.recorder = self._recorder
        return self._recorder

    def __exit__(self, *exc: object) -> None:
        slot.recorder = self._before
