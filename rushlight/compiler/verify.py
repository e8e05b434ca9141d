"""`verify`: whether a graph is one. Tests run it after every pass: a broken graph is found where it broke."""

from __future__ import annotations

from typing import Any

from rushlight.compiler.graph import Equation, Graph, Var


class Broken(Exception):
    """What is wrong with a graph, and the equation where it is."""


def verify(graph: Graph) -> None:
    """Raises Broken unless every value is made once, before its use, with the shape and dtype that its rule gives."""
    known: dict[Var, str] = {}
    for number, var in enumerate(graph.inputs):
        if var in known:
            raise Broken(f"input {number} is {known[var]} too")
        if var.equation is not None:
            raise Broken(f"input {number} is made by {var.equation!r}")
        known[var] = f"input {number}"
    for number, equation in enumerate(graph.equations):
        where = f"equation {number}, {equation!r}"
        for place, operand in enumerate(equation.operands):
            if isinstance(operand, Var) and operand not in known:
                raise Broken(f"{where}: operand {place} is not made before it")
        for var in equation.outputs:
            if var in known:
                raise Broken(f"{where}: its result is {known[var]} too")
            if var.equation is not equation:
                raise Broken(f"{where}: its result says that {var.equation!r} makes it")
            known[var] = where
        _verify_rule(equation, where)
    for number, var in enumerate(graph.outputs):
        if var not in known:
            raise Broken(f"output {number} is not made")


def _verify_rule(equation: Equation, where: str) -> None:
    try:
        promised: Any = equation.primitive.rule(*equation.operands, **equation.params)
    except Exception as error:
        raise Broken(f"{where}: its rule refuses the operands: {error}") from error
    avals = promised if isinstance(promised, tuple) else (promised,)
    if len(avals) != len(equation.outputs):
        raise Broken(f"{where}: {len(equation.outputs)} results instead of {len(avals)}")
    for aval, var in zip(avals, equation.outputs, strict=True):
        if (tuple(aval.shape), aval.dtype) != (var.shape, var.dtype):
            raise Broken(f"{where}: its rule gives {aval}, not {var.aval}")
