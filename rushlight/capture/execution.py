"""How a traced graph is run: as a native program, or by the primitives' references where llvmlite is not installed."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from rushlight.compiler.graph import Graph, evaluate
from rushlight.core.floating import quiet, restore


def make_executable(graph: Graph, writable: list[tuple[int, int]]) -> Any:
    """The graph as a native program; without llvmlite one that runs the primitives' references."""
    if not _native():
        return Interpreted(graph, writable)
    from rushlight.compiler.executable import Executable

    return Executable(graph, writable)


@functools.cache
def _native() -> bool:
    """Whether native programs can be made; where they cannot, that is said, once a process."""
    try:
        import llvmlite.binding  # noqa: F401 - only whether it is there
    except (ImportError, OSError) as error:
        warnings.warn(
            f"compiled functions run on NumPy alone, about as fast as eager ones: {error}. "
            "`pip install llvmlite` makes them native.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


class Interpreted:
    """A graph run by the primitives' NumPy references."""

    def __init__(self, graph: Graph, writable: list[tuple[int, int]]) -> None:
        from rushlight.compiler.passes import optimize

        self.title, self.shared = "", False
        self.graph, self._writable = optimize(graph), dict(writable)
        self.inputs: list[Any] = [None] * len(self.graph.inputs)
        self.last: list[Any] = [None] * len(self.graph.outputs)

    def bind(self, number: int, array: Any) -> None:
        """As `Executable.bind`."""
        self.inputs[number] = array

    def run(self, inputs: list[Any]) -> list[Any]:
        """As `Executable.run`."""
        self.inputs[:] = inputs
        return self.call()

    def call(self, again: frozenset[int] = frozenset()) -> list[Any]:
        """As `Executable.call`."""
        token = quiet()
        try:
            # Values may look into inputs that are written below.
            results = [np.array(value) for value in evaluate(self.graph, self.inputs)]
        finally:
            restore(token)
        for number, value in enumerate(results):
            if number in self._writable:
                into = self.inputs[self._writable[number]]
            elif number in again:
                into = self.last[number]
            else:
                self.last[number] = value
                continue
            np.copyto(into, value)
            results[number] = into
        return results
