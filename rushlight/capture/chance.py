"""Random numbers of a program: what its function asked of generators, in order, done again before every call.

An action is (input, function, generator, arguments): `arrays[input] = function(generator, *arguments)`, or just the
call where the input is -1. Shapes of draws are fixed by a trace, so all of them can be drawn before the program runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.random.generator import Generator
from rushlight.tensor.tensor import Tensor, wrap

Action = tuple[int, Callable[..., Any], Generator, tuple[Any, ...]]

#: Where a trace draws to learn shapes: no stream that anybody sees.
_scratch = Generator()


class Chance:
    """The actions of one trace."""

    def __init__(self, new_input: Callable[[Any, str], tuple[int, Any]]) -> None:
        #: Makes a graph's input for an array that an action gives: (its number, the abstract array).
        self._new_input = new_input
        self.actions: list[Action] = []
        self._states: dict[int, tuple[Tensor, list[Any]]] = {}  # by id of what stands for a state

    def draw(self, stream: Any, generator: Generator, arguments: tuple[Any, ...]) -> Any:
        """What a stream gives, at every call."""
        number, value = self._new_input(stream(_scratch, *arguments), stream.__name__)
        self.actions.append((number, stream, generator, arguments))
        return value

    def reseed(self, generator: Generator, seed: int) -> None:
        """`manual_seed` at every call."""
        self.actions.append((-1, Generator.manual_seed, generator, (seed,)))

    def state(self, generator: Generator, like: Any) -> Tensor:
        """The state that a generator has at this point of every call."""
        held: list[Any] = [None]
        number, value = self._new_input(like, "random state")
        self.actions.append((number, _note_state, generator, (held,)))
        tensor = wrap(value)
        self._states[id(tensor)] = (tensor, held)
        return tensor

    def restore(self, generator: Generator, state: Tensor) -> bool:
        """`set_state` at every call, to a state that `state` gave; False for any other tensor."""
        known = self._states.get(id(state))
        if known is None:
            return False
        self.actions.append((-1, _go_back, generator, (known[1],)))
        return True


def _note_state(generator: Generator, held: list[Any]) -> Any:
    held[0] = generator.get_state()
    return held[0]._array


def _go_back(generator: Generator, held: list[Any]) -> None:
    generator.set_state(held[0])
