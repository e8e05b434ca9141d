"""The text of a graph: printed for people, tests and bug reports, and read back to the same graph.

graph(%0: float32[64,784] "x", %1: float32[10,784] "weight")
  %2: float32[64,10] = contract(%0, %1; axes_a=(1,), axes_b=(1,))  # fc train.py:12
  return %2
"""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.core import dtypes
from rushlight.primitives.primitive import PRIMITIVES, Aval

_DTYPE = re.compile(r"(\w+)\[([\d,]*)\]")
_INPUT = re.compile(r'%(\d+): (\w+\[[\d,]*\])(?: "((?:[^"\\]|\\.)*)")?')
_LINE = re.compile(r"^\s*(%[^=]*) = (\w+)\((.*)\)(?:  # (.*))?$")


def _type(aval: Aval) -> str:
    return f"{aval.dtype.name}[{','.join(map(str, aval.shape))}]"


def _read_type(text: str) -> Aval:
    found = _DTYPE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no type: expected something like float32[64,10]")
    name, sizes = found.groups()
    return Aval(tuple(int(n) for n in sizes.split(",") if n), _dtype(name))


def _dtype(name: str) -> np.dtype[Any]:
    return getattr(dtypes, name).numpy if hasattr(dtypes, name) else np.dtype(name)


def _value(value: Any) -> str:
    if isinstance(value, np.dtype):
        return f"dtype({value.name!r})"
    if isinstance(value, tuple):
        inside = ", ".join(map(_value, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, np.generic):
        return _value(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return f"float({str(value)!r})"
    return repr(value)


def _read_value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        given = ast.literal_eval(node.args[0])
        return _dtype(given) if node.func.id == "dtype" else float(given)
    if isinstance(node, ast.Tuple):
        return tuple(_read_value(n) for n in node.elts)
    return ast.literal_eval(node)


def to_text(graph: Graph) -> str:
    """The graph as text."""
    names: dict[Var, str] = {}

    def name(var: Var) -> str:
        return names.setdefault(var, f"%{len(names)}")

    inputs = ", ".join(
        f"{name(v)}: {_type(v.aval)}" + (f' "{_escaped(v.name)}"' if v.name else "")
        for v in graph.inputs
    )
    lines = [f"graph({inputs})"]
    for equation in graph.equations:
        results = ", ".join(f"{name(o)}: {_type(o.aval)}" for o in equation.outputs)
        given = ", ".join(name(o) if isinstance(o, Var) else _value(o) for o in equation.operands)
        params = ", ".join(f"{k}={_value(v)}" for k, v in equation.params.items())
        comment = " ".join(part for part in (equation.scope, equation.site) if part)
        lines.append(
            f"  {results} = {equation.primitive.name}({given}{'; ' + params if params else ''})"
            + (f"  # {comment}" if comment else "")
        )
    lines.append("  return " + ", ".join(name(o) for o in graph.outputs))
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def parse(text: str) -> Graph:
    """The graph that `to_text` printed. ValueError for text that is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or not lines[0].startswith("graph("):
        raise ValueError("the text of a graph begins with 'graph('")
    values: dict[str, Var] = {}
    inputs = []
    for number, kind, label in _INPUT.findall(lines[0]):
        var = Var(_read_type(kind), name=label.replace('\\"', '"').replace("\\\\", "\\"))
        values[f"%{number}"] = var
        inputs.append(var)
    equations: list[Equation] = []
    for line in lines[1:-1]:
        found = _LINE.match(line)
        if found is None:
            raise ValueError(f"not an equation: {line.strip()!r}")
        results, primitive, inside, comment = found.groups()
        if primitive not in PRIMITIVES:
            raise ValueError(f"there is no primitive {primitive!r}")
        given, _, params = inside.partition("; ") if "; " in inside else (inside, "", "")
        if not given.strip().startswith("%") and "=" in given:
            given, params = "", given
        outputs = re.findall(r"(%\d+): (\w+\[[\d,]*\])", results)
        operands: list[Any] = []
        renamed = re.sub(r"%(\d+)", r"v\1", given)
        for node in ast.parse(f"f({renamed})", mode="eval").body.args:  # type: ignore[attr-defined]
            if isinstance(node, ast.Name) and node.id[1:].isdigit():
                operands.append(values[f"%{node.id[1:]}"])
            else:
                operands.append(_read_value(node))
        keywords = ast.parse(f"f({params})", mode="eval").body.keywords  # type: ignore[attr-defined]
        scope, _, site = (comment or "").rpartition(" ")
        equation = Equation(
            PRIMITIVES[primitive], operands, {k.arg: _read_value(k.value) for k in keywords},
            [_read_type(kind) for _, kind in outputs], scope, site,
        )  # fmt: skip
        equations.append(equation)
        values.update(zip((n for n, _ in outputs), equation.outputs, strict=True))
    last = lines[-1].strip()
    if not last.startswith("return"):
        raise ValueError("the text of a graph ends with 'return'")
    return Graph(inputs, equations, [values[n] for n in re.findall(r"%\d+", last)])
