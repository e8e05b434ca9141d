"""Passes around max pooling: its gradient is nought but at the places that were chosen, and much follows from that."""

from __future__ import annotations

from typing import Any

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.rewriting import Emit, again, rewrite
from rushlight.primitives.lowerings.elementwise import LOWERED

#: How many equations a mask may take.
MOST_STEPS = 4


def _is_zero(operand: Any) -> bool:
    return not isinstance(operand, Var) and operand == 0


def mask_before_placing(graph: Graph) -> Graph:
    """A mask that depends on a pooled value alone is applied before gradients are placed, not after.

    Where nothing is placed both give 0, and elsewhere the value is the one that the pooling chose:
    select(mask(x), place(g), 0) = place(select(mask(pool(x)), g, 0)). What is large is then never read again.
    """

    def replace(equation: Equation, emit: Emit) -> tuple[Var, ...] | None:
        if equation.primitive.name != "select" or not _is_zero(equation.operands[2]):
            return None
        mask, placed, zero = equation.operands
        placing = placed.equation if isinstance(placed, Var) else None
        if placing is None or placing.primitive.name != "place_windows":
            return None
        grad, places = placing.operands
        pooling = places.equation if isinstance(places, Var) else None
        if (
            pooling is None
            or pooling.primitive.name != "max_windows"
            or pooling.operands[0].shape != placed.shape
        ):
            return None
        if any(pooling.params[k] != placing.params[k] for k in pooling.params):
            return None
        chosen = _on(mask, pooling.operands[0], pooling.outputs[0], emit)
        if chosen is None:
            return None
        masked = emit(again(equation, (chosen, grad, zero), aval=grad.aval))[0]
        return emit(again(placing, (masked, places)))

    return rewrite(graph, replace)


def _on(var: Any, source: Var, pooled: Var, emit: Emit, steps: int = MOST_STEPS) -> Var | None:
    """An elementwise value of `source`, computed for what was pooled from it; None if it needs anything else."""
    if var is source:
        return pooled
    equation = var.equation if isinstance(var, Var) else None
    if equation is None or not steps or equation.primitive.name not in LOWERED:
        return None
    operands: list[Any] = []
    for operand in equation.operands:
        new = (
            operand
            if not isinstance(operand, Var)
            else _on(operand, source, pooled, emit, steps - 1)
        )
        if new is None:
            return None
        operands.append(new)
    aval = type(pooled.aval)(pooled.shape, equation.outputs[0].dtype)
    return emit(again(equation, operands, aval=aval))[0]


def sum_before_placing(graph: Graph) -> Graph:
    """The sum of what is placed is the sum of what there is to place: no place lies outside if none lies before."""

    def replace(equation: Equation, emit: Emit) -> tuple[Var, ...] | None:
        if equation.primitive.name != "reduce_sum":
            return None
        placed = equation.operands[0]
        placing = placed.equation if isinstance(placed, Var) else None
        if (
            placing is None
            or placing.primitive.name != "place_windows"
            or any(placing.params["before"])
        ):
            return None
        rank = len(placing.params["size"])
        if not set(equation.params["axes"]) >= set(range(placed.ndim - rank, placed.ndim)):
            return None
        return emit(again(equation, (placing.operands[0],)))

    return rewrite(graph, replace)
