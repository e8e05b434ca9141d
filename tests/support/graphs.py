"""Graphs for tests: traced without being compiled, compared, and kept as golden files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rushlight.capture import execution, program
from rushlight.capture.api import Compiled
from rushlight.compiler.graph import Graph, Var

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs run by their references: a graph is wanted, and no machine code."""
    monkeypatch.setattr(program, "make_executable", execution.Interpreted)


def traced(function: Callable[..., Any], *args: Any, calls: int = 1) -> Graph:
    """The graph of a function's last call (a step with an optimizer is traced in its second)."""
    compiled = Compiled(function)
    for _ in range(calls):
        compiled(*args)
    graph: Graph = compiled.graph
    return graph


def assert_same_graph(a: Graph, b: Graph) -> None:
    """The same inputs, equations, parameters, operands (with their types), origins and outputs."""
    numbers: dict[Var, int] = {}
    others: dict[Var, int] = {}

    def operand(value: Any, known: dict[Var, int]) -> Any:
        if isinstance(value, Var):
            return ("value", known[value])
        return (type(value), repr(value))

    def shape_of(graph: Graph, known: dict[Var, int]) -> list[Any]:
        for v in graph.inputs:
            known[v] = len(known)
        found: list[Any] = [[(v.aval, v.name) for v in graph.inputs]]
        for e in graph.equations:
            operands = [operand(o, known) for o in e.operands]
            for o in e.outputs:
                known[o] = len(known)
            params = e.primitive.record(e.params)
            found.append(
                (e.primitive.name, operands, params, [o.aval for o in e.outputs], e.scope, e.site)
            )
        return [*found, [known[o] for o in graph.outputs]]

    for x, y in zip(shape_of(a, numbers), shape_of(b, others), strict=True):
        assert x == y


def check_golden(name: str, text: str, renew: bool) -> None:
    """The text is what the golden file holds; with --renew-golden it becomes that."""
    path = GOLDEN / f"{name}.txt"
    if renew:
        path.write_text(text + "\n")
    assert path.exists(), f"{path} is not there: run pytest with --renew-golden"
    assert text + "\n" == path.read_text(), "run pytest with --renew-golden if this is meant"
