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

    def run(self, inputs: list[Any], outputs: list[Any] | None = None) -> list[Any]:
        """As `Executable.run`."""
        results = evaluate(self.graph, inputs)
        for number, value in enumerate(results):
            if number in self._writable:
                np.copyto(inputs[self._writable[number]], value)
                results[number] = inputs[self._writable[number]]
            else:
                results[number] = np.array(value)
        return results
