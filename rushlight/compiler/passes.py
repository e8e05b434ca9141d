"""Passes: functions graph -> graph that make the program smaller before it is cut into kernels.

`PASSES` is their order, with what each requires, ensures and keeps. A graph is never changed in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rushlight.compiler.batching import keep_batches_apart
from rushlight.compiler.gathering import multiply_before_gathering
from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.pooling import (
    convolve_what_was_placed,
    mask_before_placing,
    sum_before_placing,
)
from rushlight.compiler.rewriting import Emit, again, rewrite

#: Primitives whose every call counts, though their operands may be equal.
IMPURE: frozenset[str] = frozenset({"host_draw"})

#: Second operands that leave every first one as it is, bit for bit (x + 0 does not: -0 + 0 is 0).
NEUTRAL = {"mul": 1, "div": 1, "sub": 0}


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
    if name in NEUTRAL:
        number = equation.operands[1]
        same = (source.shape, source.dtype) == (result.shape, result.dtype)
        return same and not isinstance(number, Var) and bool(number == NEUTRAL[name])
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

    def replace(equation: Equation, emit: Emit) -> tuple[Var, ...] | None:
        if _is_identity(equation) and isinstance(equation.operands[0], Var):
            return (equation.operands[0],)
        source = equation.operands[0] if equation.operands else None
        merged = _merged(equation, source)
        if merged is None:
            return None
        inner = source.equation.operands[0]  # type: ignore[union-attr]
        renewed = again(equation, (inner, *equation.operands[1:]), merged)
        return (inner,) if _is_identity(renewed) else emit(renewed)

    return rewrite(graph, replace)


def _key(value: Any) -> Any:
    """An operand as part of a key: numbers by type and value (so that 0.0 is not -0.0, nor 1 True)."""
    return id(value) if isinstance(value, Var) else (type(value), repr(value))


def share(graph: Graph) -> Graph:
    """Common subexpressions: of equal calls of a primitive, the first one stands for all."""
    seen: dict[Any, tuple[Var, ...]] = {}

    def replace(equation: Equation, emit: Emit) -> tuple[Var, ...] | None:
        if equation.primitive.name in IMPURE:
            return None
        key = (
            equation.primitive.name,
            tuple(map(_key, equation.operands)),
            tuple(sorted((k, repr(v)) for k, v in equation.params.items())),
        )
        found = seen.get(key)
        if found is None:
            found = seen[key] = emit(equation)
        return found

    return rewrite(graph, replace)


def join_updates(graph: Graph) -> Graph:
    """Slices written one after the other into zeros, until they cover them, are one concatenation."""
    from rushlight.primitives.structural import concatenate

    uses: dict[Var, int] = {}
    for equation in graph.equations:
        for operand in equation.operands:
            if isinstance(operand, Var):
                uses[operand] = uses.get(operand, 0) + 1
    for output in graph.outputs:
        uses[output] = uses.get(output, 0) + 1
    chains: dict[
        Var, list[tuple[Any, Var]]
    ] = {}  # the last value of a chain: (ranges, value) of its slices

    for equation in graph.equations:
        if equation.primitive.name != "slice_update":
            continue
        base, value = equation.operands
        before = base.equation if isinstance(base, Var) else None
        if before is None or not isinstance(value, Var):
            continue
        params = equation.params
        piece = (tuple(zip(params["starts"], params["stops"], params["steps"], strict=True)), value)
        if before.primitive.name == "full":
            chains[equation.outputs[0]] = [piece]
        elif base in chains and uses[base] == 1:
            chains[equation.outputs[0]] = [*chains.pop(base), piece]
    covered = {}
    for last, pieces in chains.items():
        found = _cover(last.shape, pieces)
        if found is not None:
            covered[last] = found
    if not covered:
        return graph
    values: dict[Var, Var] = {v: v for v in graph.inputs}
    equations: list[Equation] = []
    for equation in graph.equations:
        result = equation.outputs[0]
        if result in covered:
            axis, parts = covered[result]
            renewed = Equation(
                concatenate.primitive, [values[p] for p in parts], {"axis": axis}, [result.aval],
                equation.scope, equation.site,
            )  # fmt: skip
        else:
            operands = tuple(values[o] if isinstance(o, Var) else o for o in equation.operands)
            renewed = again(equation, operands)
        equations.append(renewed)
        values.update(zip(equation.outputs, renewed.outputs, strict=True))
    return Graph(graph.inputs, equations, [values[o] for o in graph.outputs])


def _cover(shape: tuple[int, ...], pieces: list[tuple[Any, Var]]) -> tuple[int, list[Var]] | None:
    """The axis along which slices lie side by side and fill the shape, and their values in that order."""
    axes = {
        d for ranges, _ in pieces for d, (a, z, _) in enumerate(ranges) if (a, z) != (0, shape[d])
    }  # fmt: skip
    if len(axes) != 1 or any(step != 1 for ranges, _ in pieces for _, _, step in ranges):
        return None
    axis = axes.pop()
    ordered = sorted(pieces, key=lambda piece: piece[0][axis][0])
    end = 0
    for ranges, _ in ordered:
        if ranges[axis][0] != end or ranges[axis][1] == end:
            return None
        end = ranges[axis][1]
    return (axis, [value for _, value in ordered]) if end == shape[axis] else None


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


def scalars_first(graph: Graph) -> Graph:
    """What is computed from single elements alone (step counts, learning rates) comes first.

    An optimizer's update can then follow its gradient at once, in the same loop.
    """
    early: set[Var] = {v for v in graph.inputs if v.size == 1}
    first: list[Equation] = []
    later: list[Equation] = []
    for equation in graph.equations:
        alone = equation.primitive.name not in IMPURE and all(
            v in early for v in equation.operands if isinstance(v, Var)
        )
        if alone and all(v.size == 1 for v in equation.outputs):
            early.update(equation.outputs)
            first.append(equation)
        else:
            later.append(equation)
    return Graph(graph.inputs, [*first, *later], graph.outputs)


class Pass(NamedTuple):
    """A pass, and what may be relied upon around it."""

    run: Callable[[Graph], Graph]
    #: What it takes for granted, and what holds behind it.
    requires: str
    ensures: str
    #: Whether every element of every result keeps its bits; if not, sums are taken in another order.
    keeps_bits: bool = True

    @property
    def name(self) -> str:
        """For people."""
        return self.run.__name__


PASSES: tuple[Pass, ...] = (
    Pass(drop_dead, "any graph", "every equation is needed, or has an effect"),
    Pass(
        simplify,
        "any graph",
        "no equation gives its operand back; no reshape, expand or permute of its like",
    ),
    Pass(
        keep_batches_apart,
        "views of views are merged",
        "batches of products are not made one and split again",
    ),
    Pass(share, "equal equations read equal operands", "no two pure equations are equal"),
    Pass(
        join_updates,
        "chains of slices written into zeros are used once",
        "those that cover it are concatenations",
    ),
    Pass(
        mask_before_placing,
        "masks are shared",
        "masks of pooled values act before gradients are placed",
    ),
    Pass(
        sum_before_placing,
        "masks act before placing",
        "sums over placed gradients are of what is placed",
        False,
    ),
    Pass(
        convolve_what_was_placed,
        "masks act before placing",
        "gradients through a pooling multiply what it chose",
        False,
    ),
    Pass(
        multiply_before_gathering,
        "any graph",
        "tables are multiplied before rows are gathered, if smaller",
        False,
    ),
    Pass(simplify, "any graph", "as above, of what passes have made"),
    Pass(share, "equal equations read equal operands", "as above, of what passes have made"),
    Pass(scalars_first, "any graph", "what is computed from single elements alone comes first"),
    Pass(drop_dead, "any graph", "every equation is needed, or has an effect"),
)


def optimize(graph: Graph, after: Callable[[str, Graph], None] | None = None) -> Graph:
    """All passes in order; `after` is told each one's name and result."""
    for each in PASSES:
        graph = each.run(graph)
        if after is not None:
            after(each.name, graph)
    return graph
