"""Passes: functions graph -> graph that make the program smaller before it is cut into kernels.

Each keeps every result's bits; `PASSES` is their order. A graph is never changed in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.primitives.primitive import PRIMITIVES

#: Primitives whose every call counts, though their operands may be equal.
IMPURE: frozenset[str] = frozenset({"host_draw"})

Pass = Callable[[Graph], Graph]


def rewrite(graph: Graph, replace: Callable[[Equation, tuple[Any, ...]], Any]) -> Graph:
    """A graph in which each equation is what `replace(equation, new operands)` gives.

    It gives None to keep the equation as it is, or the Vars (old or new) that stand for its outputs.
    """
    values: dict[Var, Var] = {v: v for v in graph.inputs}
    equations: list[Equation] = []
    for equation in graph.equations:
        operands = tuple(values[o] if isinstance(o, Var) else o for o in equation.operands)
        given = replace(equation, operands)
        if given is None:
            if all(a is b for a, b in zip(operands, equation.operands, strict=True)):
                again = equation
            else:
                again = Equation(
                    equation.primitive, operands, equation.params, [o.aval for o in equation.outputs],
                    equation.scope, equation.site,
                )  # fmt: skip
            equations.append(again)
            given = again.outputs
        values.update(zip(equation.outputs, given, strict=True))
    return Graph(graph.inputs, equations, [values[o] for o in graph.outputs])


def _is_identity(equation: Equation) -> bool:
    """Whether the equation gives its first operand, element for element."""
    name, params = equation.primitive.name, equation.params
    if name in ("copy", "contiguous_copy"):
        return True
    source = equation.operands[0] if equation.operands else None
    if not isinstance(source, Var) or len(equation.outputs) != 1:
        return False
    result = equation.outputs[0]
    if name in ("reshape", "expand"):
        return source.shape == result.shape
    if name == "permute":
        return tuple(params["axes"]) == tuple(range(source.ndim))
    if name in ("cast", "bitcast"):
        return source.dtype == result.dtype
    if name == "slice":
        return source.shape == result.shape and all(s == 1 for s in params["steps"])
    if name in ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min"):
        return not params["axes"]
    if name == "conj":
        return source.dtype.kind != "c"
    return False


def _merged(equation: Equation, source: Any) -> dict[str, Any] | None:
    """The parameters of one view that does what two of a kind, one after the other, do."""
    if not isinstance(source, Var) or source.equation is None:
        return None
    before = source.equation
    if before.primitive is not equation.primitive:
        return None
    name = equation.primitive.name
    if name in ("reshape", "expand"):
        return equation.params
    if name == "permute":
        first = before.params["axes"]
        return {"axes": tuple(first[a] for a in equation.params["axes"])}
    return None


def simplify(graph: Graph) -> Graph:
    """Equations that change nothing go; a view of a view of the same kind becomes one."""

    def replace(equation: Equation, operands: tuple[Any, ...]) -> Any:
        if _is_identity(equation) and isinstance(operands[0], Var):
            return (operands[0],)
        merged = _merged(equation, operands[0] if operands else None)
        if merged is not None:
            inner = operands[0].equation.operands[0]
            again = Equation(
                equation.primitive, (inner, *operands[1:]), merged, [o.aval for o in equation.outputs],
                equation.scope, equation.site,
            )  # fmt: skip
            if _is_identity(again):
                return (inner,)
            created.append(again)
            return again.outputs
        return None

    created: list[Equation] = []
    values: dict[Var, Var] = {v: v for v in graph.inputs}
    equations: list[Equation] = []
    for equation in graph.equations:
        operands = tuple(values[o] if isinstance(o, Var) else o for o in equation.operands)
        renewed = equation
        if any(a is not b for a, b in zip(operands, equation.operands, strict=True)):
            renewed = Equation(
                equation.primitive, operands, equation.params, [o.aval for o in equation.outputs],
                equation.scope, equation.site,
            )  # fmt: skip
        given = replace(renewed, operands)
        equations += created
        created.clear()
        if given is None:
            equations.append(renewed)
            given = renewed.outputs
        values.update(zip(equation.outputs, given, strict=True))
    return Graph(graph.inputs, equations, [values[o] for o in graph.outputs])


def _key(value: Any) -> Any:
    """An operand as part of a key: numbers by type and value (so that 0.0 is not -0.0, nor 1 True)."""
    return id(value) if isinstance(value, Var) else (type(value), repr(value))


def share(graph: Graph) -> Graph:
    """Common subexpressions: of equal calls of a primitive, the first one stands for all."""
    seen: dict[Any, tuple[Var, ...]] = {}

    def replace(equation: Equation, operands: tuple[Any, ...]) -> Any:
        if equation.primitive.name in IMPURE:
            return None
        key = (
            equation.primitive.name,
            tuple(map(_key, operands)),
            repr(sorted(equation.params.items(), key=lambda item: item[0])),
        )
        found = seen.get(key)
        if found is not None:
            return found
        again = Equation(
            equation.primitive, operands, equation.params, [o.aval for o in equation.outputs],
            equation.scope, equation.site,
        )  # fmt: skip
        seen[key] = again.outputs
        pending.append(again)
        return again.outputs

    pending: list[Equation] = []
    values: dict[Var, Var] = {v: v for v in graph.inputs}
    equations: list[Equation] = []
    for equation in graph.equations:
        operands = tuple(values[o] if isinstance(o, Var) else o for o in equation.operands)
        given = replace(equation, operands)
        equations += pending
        pending.clear()
        if given is None:
            again = Equation(
                equation.primitive, operands, equation.params, [o.aval for o in equation.outputs],
                equation.scope, equation.site,
            )  # fmt: skip
            equations.append(again)
            given = again.outputs
        values.update(zip(equation.outputs, given, strict=True))
    return Graph(graph.inputs, equations, [values[o] for o in graph.outputs])


def drop_dead(graph: Graph) -> Graph:
    """Equations that no output needs go, unless they have an effect."""
    needed = set(graph.outputs)
    kept: list[Equation] = []
    for equation in reversed(graph.equations):
        if equation.primitive.name in IMPURE or any(o in needed for o in equation.outputs):
            kept.append(equation)
            needed.update(o for o in equation.operands if isinstance(o, Var))
    kept.reverse()
    return Graph(graph.inputs, kept, graph.outputs)


PASSES: tuple[Pass, ...] = (drop_dead, simplify, share, drop_dead)


def optimize(graph: Graph, after: Callable[[str, Graph], None] | None = None) -> Graph:
    """All passes in order; `after` is told each one's name and result."""
    for each in PASSES:
        graph = each(graph)
        if after is not None:
            after(each.__name__, graph)
    return graph


__all__ = ["PASSES", "PRIMITIVES", "drop_dead", "optimize", "share", "simplify"]
