"""From the text of a graph back to the graph: bug reports, golden tests and comparisons of programs are text.

graph(
  %0: float32[64,784] "x",
  %1: float32[10,784] "net.fc.weight"
)
  %2: float32[64,10] = contract(%0, %1; axes_a=(1,), axes_b=(1,))  # net.fc (Linear) at train.py:12
  return %2

`str(graph)` prints it (graph.py); the words of the grammar are in grammar.py.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from rushlight.compiler.grammar import (
    arguments,
    parts_of,
    read_origin,
    read_type,
    read_value,
    unquoted,
)
from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.primitives.primitive import PRIMITIVES

_INPUT = re.compile(r'\s*(%\d+): (\w+\[[\d,]*\])(?: ("(?:[^"\\]|\\.)*"))?,?')
_EQUATION = re.compile(r"\s*((?:%\d+: \S+(?:, )?)+) = (\w+)\((.*)")
_RESULT = re.compile(r"(%\d+): (\w+\[[\d,]*\])")


def parse(text: str) -> Graph:
    """The graph whose text this is. ValueError, with the line, for text that is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or lines[0].strip() != "graph(":
        raise ValueError("the text of a graph begins with the line 'graph('")
    values: dict[str, Var] = {}
    inputs: list[Var] = []
    place = 1
    while place < len(lines) and lines[place].strip() != ")":
        found = _INPUT.fullmatch(lines[place])
        if found is None:
            raise ValueError(f"not an input: {lines[place].strip()!r}")
        name, kind, label = found.groups()
        values[name] = Var(read_type(kind), name=unquoted(label) if label else "")
        inputs.append(values[name])
        place += 1
    if place == len(lines) or not lines[-1].strip().startswith("return"):
        raise ValueError("the text of a graph ends with 'return'")
    equations: list[Equation] = []
    for line in lines[place + 1 : -1]:
        try:
            names, equation = _read(line, values)
        except ValueError as error:
            raise ValueError(f"{error}, in {line.strip()!r}") from None
        equations.append(equation)
        values.update(zip(names, equation.outputs, strict=True))
    results = re.findall(r"%\d+", lines[-1])
    return Graph(inputs, equations, [_known(values, name) for name in results])


def _known(values: dict[str, Var], name: str) -> Var:
    if name not in values:
        raise ValueError(f"{name} is used before it is made")
    return values[name]


def _read(line: str, values: dict[str, Var]) -> tuple[list[str], Equation]:
    found = _EQUATION.fullmatch(line)
    if found is None:
        raise ValueError("not an equation")
    results, primitive, rest = found.groups()
    if primitive not in PRIMITIVES:
        raise ValueError(f"there is no primitive {primitive!r}")
    given, params, comment = parts_of(rest)
    if not (params or given).endswith(")"):
        raise ValueError("the call is not closed")
    if params:
        params = params[:-1]
    else:
        given = given[:-1]
    operands: list[Any] = []
    for node in arguments(re.sub(r"%(\d+)", r"v\1", given))[0]:
        variable = isinstance(node, ast.Name)
        operands.append(_known(values, f"%{node.id[1:]}") if variable else read_value(node))  # type: ignore[attr-defined]
    made = _RESULT.findall(results)
    keywords = {str(k.arg): read_value(k.value) for k in arguments(params)[1]}
    equation = Equation(
        PRIMITIVES[primitive], operands, keywords, [read_type(kind) for _, kind in made], *read_origin(comment)
    )  # fmt: skip
    return [name for name, _ in made], equation
