"""How a traced graph is run: as a native program, or by the primitives' references where llvmlite is not installed."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.compiler.graph import Graph, evaluate


def make_executable(graph: Graph, writable: list[tuple[int, int]]) -> Any:
    """The graph as a native program; without llvmlite one that runs the primitives' references."""
    try:
        from rushlight.compiler.executable import Executable
    except ImportError:
        return Interpreted(graph, writable)
    return Executable(graph, writable)


class Interpreted:
    """A graph run by the primitives' NumPy references."""

    def __init__(self, graph: Graph, writable: list[tuple[int, int]]) -> None:
        from rushlight.compiler.passes import optimize

        self.title = ""
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
        results = evaluate(self.graph, self.inputs)
        for number, value in enumerate(results):
            if number in self._writable:
                source = self.inputs[self._writable[number]]
                np.copyto(source, value)
                results[number] = source
            elif number in again:
                np.copyto(self.last[number], value)
                results[number] = self.last[number]
            else:
                results[number] = self.last[number] = np.array(value)
        return results
