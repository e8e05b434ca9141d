"""The one door through which ops ask for random numbers.

Eager, the stream's function runs at once. While a trace is made, the recorder in the primitives' slot is asked:

    recorder.draw(stream, generator, arguments) -> abstract value
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.primitives.interpreter import slot
from rushlight.random.generator import Generator, default_generator


def draw(stream: Callable[..., Any], generator: Generator | None, *arguments: Any) -> Any:
    """What a function of streams.py gives for this generator (the default one for None)."""
    source = default_generator if generator is None else generator
    if not isinstance(source, Generator):
        raise TypeError(f"argument 'generator' must be a Generator, not {type(source).__name__}")
    if slot.recorder is not None:
        return slot.recorder.draw(stream, source, arguments)  # type: ignore[attr-defined]
    return stream(source, *arguments)
