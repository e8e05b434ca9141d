"""`Graph`: a program as primitive calls in order, each value assigned once.

The text of a graph is an interface: `print(graph)` shows a type on every value, the module's path and the user's line
at the end of each equation, and `parse` (text.py) reads the same graph back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rushlight.compiler.grammar import origin_text, quoted, type_text, value_text
from rushlight.primitives.primitive import Aval, Primitive


class Var:
    """A value of the graph: an input, or one result of an equation."""

    __slots__ = ("aval", "equation", "name", "output")

    def __init__(
        self, aval: Aval, equation: Equation | None = None, output: int = 0, name: str = ""
    ) -> None:
        self.aval = aval
        self.equation = equation  # None for an input
        self.output = output
        self.name = name  # of an input: where it comes from, for people

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return self.aval.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's dtype of the elements."""
        return self.aval.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.aval.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        n = 1
        for d in self.aval.shape:
            n *= d
        return n

    def __repr__(self) -> str:
        return f"<{self.aval}{' ' + self.name if self.name else ''}>"


class Equation:
    """One call of a primitive. Operands are Vars, or Python numbers that take the dtype of the Vars beside them."""

    __slots__ = ("operands", "outputs", "params", "primitive", "scope", "site")

    def __init__(
        self,
        primitive: Primitive,
        operands: Sequence[Any],
        params: dict[str, Any],
        avals: Sequence[Aval],
        scope: str = "",
        site: str = "",
    ) -> None:
        self.primitive = primitive
        self.operands = tuple(operands)
        self.params = params
        self.outputs = tuple(Var(a, self, i) for i, a in enumerate(avals))
        self.scope = scope  # the module's path
        self.site = site  # the user's line

    def __repr__(self) -> str:
        return f"<{self.primitive.name} -> {', '.join(repr(o.aval) for o in self.outputs)}>"


class Graph:
    """Inputs, equations in an order in which they can run, outputs (Vars; an input may be one)."""

    def __init__(
        self, inputs: Sequence[Var], equations: Sequence[Equation], outputs: Sequence[Var]
    ) -> None:
        self.inputs = list(inputs)
        self.equations = list(equations)
        self.outputs = list(outputs)

    def __str__(self) -> str:
        names: dict[Var, str] = {}

        def name(var: Var) -> str:
            return names.setdefault(var, f"%{len(names)}")

        lines = [
            f"  {name(v)}: {type_text(v.aval)}" + (f" {quoted(v.name)}" if v.name else "") + ","
            for v in self.inputs
        ]
        if lines:
            lines[-1] = lines[-1].removesuffix(",")
        lines = ["graph(", *lines, ")"]
        for equation in self.equations:
            results = ", ".join(f"{name(o)}: {type_text(o.aval)}" for o in equation.outputs)
            operands = ", ".join(
                name(o) if isinstance(o, Var) else value_text(o) for o in equation.operands
            )
            params = ", ".join(f"{k}={value_text(v)}" for k, v in equation.params.items())
            call = f"{equation.primitive.name}({operands}{'; ' + params if params else ''})"
            origin = origin_text(equation.scope, equation.site)
            lines.append(f"  {results} = {call}" + (f"  # {origin}" if origin else ""))
        lines.append("  return " + ", ".join(map(name, self.outputs)))
        return "\n".join(lines)

    __repr__ = __str__

    def renewed(self) -> Graph:
        """The same graph on Vars of its own: what its inputs were in another graph is forgotten."""
        values: dict[Var, Var] = {v: Var(v.aval, name=v.name) for v in self.inputs}
        equations = []
        for old in self.equations:
            operands = [values[o] if isinstance(o, Var) else o for o in old.operands]
            avals = [o.aval for o in old.outputs]
            new = Equation(old.primitive, operands, old.params, avals, old.scope, old.site)
            equations.append(new)
            values.update(zip(old.outputs, new.outputs, strict=True))
        return Graph([values[v] for v in self.inputs], equations, [values[v] for v in self.outputs])

    def svg(self) -> str:
        """The graph as a picture: SVG text, light or dark as its reader prefers."""
        from rushlight.compiler.picture import svg

        return svg(self)

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return self.svg()


def evaluate(graph: Graph, arrays: Iterable[Any]) -> list[Any]:
    """Runs a graph by the primitives' references, one after the other; values are freed after their last use."""
    values: dict[Var, Any] = dict(zip(graph.inputs, arrays, strict=True))
    last: dict[Var, int] = {}
    for i, equation in enumerate(graph.equations):
        for operand in equation.operands:
            if isinstance(operand, Var):
                last[operand] = i
    kept = set(graph.outputs)
    for i, equation in enumerate(graph.equations):
        operands = tuple(values[o] if isinstance(o, Var) else o for o in equation.operands)
        result = equation.primitive.evaluate(operands, equation.params)
        results = result if isinstance(result, tuple) else (result,)
        values.update(zip(equation.outputs, results, strict=True))
        for operand in equation.operands:
            if isinstance(operand, Var) and last[operand] == i and operand not in kept:
                values.pop(operand, None)
    return [values[o] for o in graph.outputs]
