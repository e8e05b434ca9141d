"""The one door through which ops ask for random numbers.

Eager, the stream's function runs at once. While a trace is made, the recorder in the primitives' slot is asked:

    recorder.draw(stream, generator, arguments) -> abstract value
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.backends import native
from rushlight.primitives.interpreter import slot
from rushlight.random.generator import Generator, default_generator
from rushlight.random.streams import Elementwise


def draw(
    stream: Callable[..., Any] | Elementwise, generator: Generator | None, *arguments: Any
) -> Any:
    """What a stream of streams.py gives for this generator (the default one for None).

    The arguments of most streams are shape and dtype, and those of their distribution.
    """
    if isinstance(stream, Elementwise):
        shape, *rest = arguments
        words = draw(stream.words, generator, shape)
        if words.size >= native.SMALL:
            numbers = native.run(stream.numbers, (words, *rest), {})
            if numbers is not native.NUMPY:
                return numbers
        return stream.numbers(words, *rest)
    source = default_generator if generator is None else generator
    if not isinstance(source, Generator):
        raise TypeError(f"argument 'generator' must be a Generator, not {type(source).__name__}")
    if slot.recorder is not None:
        return slot.recorder.draw(stream, source, arguments)  # type: ignore[attr-defined]
    return stream(source, *arguments)
