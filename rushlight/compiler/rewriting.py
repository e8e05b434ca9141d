"""How passes rewrite a graph: equation by equation, into a new one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.primitives.primitive import Aval

Emit = Callable[[Equation], tuple[Var, ...]]
Rewrite = Callable[[Equation, Emit], "tuple[Var, ...] | None"]


def again(
    equation: Equation, operands: Sequence[Any], params: dict[str, Any] | None = None, aval: Aval | None = None
) -> Equation:  # fmt: skip
    """The equation on other operands; `aval` is that of its one result, if it changes."""
    return Equation(
        equation.primitive, operands, equation.params if params is None else params,
        [o.aval for o in equation.outputs] if aval is None else [aval], equation.scope, equation.site,
    )  # fmt: skip


def rewrite(graph: Graph, replace: Rewrite) -> Graph:
    """A graph in which each equation is what `replace` gives for it.

    `replace(equation, emit)` sees the equation on its new operands. It gives None to keep it, or the Vars that stand
    for its outputs; `emit(equation)` adds an equation and gives its outputs.
    """
    values: dict[Var, Var] = {v: v for v in graph.inputs}
    equations: list[Equation] = []

    def emit(equation: Equation) -> tuple[Var, ...]:
        equations.append(equation)
        return equation.outputs

    for equation in graph.equations:
        operands = tuple(values[o] if isinstance(o, Var) else o for o in equation.operands)
        same = all(a is b for a, b in zip(operands, equation.operands, strict=True))
        renewed = equation if same else again(equation, operands)
        given = replace(renewed, emit)
        values.update(zip(equation.outputs, emit(renewed) if given is None else given, strict=True))
    return Graph(graph.inputs, equations, [values[o] for o in graph.outputs])
