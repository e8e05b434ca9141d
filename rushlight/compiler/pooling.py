"""Passes around max pooling: its gradient is nought but at the places that were chosen, and much follows from that."""

from __future__ import annotations

import math
from typing import Any

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.rewriting import Emit, again, rewrite
from rushlight.compiler.sinks import pools_side_by_side
from rushlight.primitives.lowerings.elementwise import LOWERED
from rushlight.primitives.placed import convolve_input_placed, convolve_weight_placed

#: How many equations a mask may take.
MOST_STEPS = 4
#: Places that a window must have, for leaving out the noughts to be worth it.
LEAST_PLACES = 3
#: Bytes of a picture's gradient that a kernel may keep to itself.
MOST_BYTES = 1 << 19


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


def convolve_what_was_placed(graph: Graph) -> Graph:
    """Gradients of a convolution before a max pooling multiply what there is to place, not what is placed."""

    def replace(equation: Equation, emit: Emit) -> tuple[Var, ...] | None:
        name = equation.primitive.name
        if name not in ("convolve_input", "convolve_weight"):
            return None
        first, second = equation.operands
        source = first if name == "convolve_input" else second
        placing = source.equation if isinstance(source, Var) else None
        if placing is None or placing.primitive.name != "place_windows":
            return None
        if not _leaves_out(equation, placing):
            return None
        grad, places = placing.operands
        params = {
            "before": equation.params["before"], "after": equation.params["after"], "size": equation.params["size"],
            "window": placing.params["size"], "shape": tuple(placing.params["shape"][2:]),
        }  # fmt: skip
        if name == "convolve_input":
            primitive, operands = convolve_input_placed.primitive, (grad, places, second)
        else:
            primitive, operands = convolve_weight_placed.primitive, (first, grad, places)
        avals = [equation.outputs[0].aval]
        return emit(Equation(primitive, operands, params, avals, equation.scope, equation.site))

    return rewrite(graph, replace)


def _leaves_out(gradient: Equation, placing: Equation) -> bool:
    """Whether kernels can leave the noughts between what is placed out, and enough of them to be faster."""
    where, window = gradient.params, placing.params["size"]
    result = gradient.outputs[0]
    picture = where["size"] if gradient.primitive.name == "convolve_input" else (1, 1)
    padded = [n + b + a for n, b, a in zip(picture, where["before"], where["after"], strict=False)]
    return (
        len(window) == 2
        and result.ndim == 4
        and result.dtype.kind == "f"
        and result.dtype.itemsize in (4, 8)
        and where["groups"] == 1
        and set(where["stride"]) == set(where["dilation"]) == {1}
        and pools_side_by_side(placing.params)
        and math.prod(window) >= LEAST_PLACES
        and result.size > 0
        and math.prod(padded) * result.shape[1] * result.dtype.itemsize <= MOST_BYTES
    )
