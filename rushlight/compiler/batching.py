"""A pass on batched products: several dimensions of a batch stay apart, instead of being made one and split again.

`matmul` of stacks hands one batch dimension to the product. Heads of attention, whose dimensions lie apart from each
other in memory, would have to be copied for that; the product itself walks over any number of dimensions.

    reshape(contract(reshape(q), reshape(k)))       is       contract(q, k)
"""

from __future__ import annotations

from typing import NamedTuple

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.rewriting import Emit, again, rewrite
from rushlight.core.shapes import size_of
from rushlight.primitives.primitive import PRIMITIVES, Aval


class Stack(NamedTuple):
    """An operand of a batched product: `source` has `lead` in place of the batch; then the other axes are permuted."""

    source: Var
    lead: tuple[int, ...]
    order: tuple[int, ...] | None


def _stack(var: object) -> Stack | None:
    """What a batch dimension was made from; None if it was there before."""
    if not isinstance(var, Var) or var.equation is None:
        return None
    equation = var.equation
    source = equation.operands[0] if equation.operands else None
    if not isinstance(source, Var):
        return None
    if equation.primitive.name == "reshape":
        count = source.ndim - var.ndim + 1
        lead = source.shape[: max(count, 0)]
        if count >= 2 and source.shape[count:] == var.shape[1:] and size_of(lead) == var.shape[0]:
            return Stack(source, lead, None)
    elif equation.primitive.name == "permute" and equation.params["axes"][0] == 0:
        inner = _stack(source)
        if inner is not None and inner.order is None:
            return inner._replace(order=tuple(equation.params["axes"]))
    return None


def _apart(var: Var, stack: Stack | None, lead: tuple[int, ...], emit: Emit) -> Var:
    """The operand with `lead` in place of its first dimension."""
    if stack is None or stack.lead != lead:
        shape = (*lead, *var.shape[1:])
        params = {"shape": shape}
        return emit(Equation(PRIMITIVES["reshape"], (var,), params, [Aval(shape, var.dtype)]))[0]
    source, _, order = stack
    if order is None:
        return source
    count = len(lead)
    axes = (*range(count), *(count - 1 + a for a in order[1:]))
    aval = Aval(tuple(source.shape[a] for a in axes), source.dtype)
    return emit(Equation(PRIMITIVES["permute"], (source,), {"axes": axes}, [aval]))[0]


def keep_batches_apart(graph: Graph) -> Graph:
    """Products over one batch dimension that was made from several go over those."""

    def replace(equation: Equation, emit: Emit) -> tuple[Var, ...] | None:
        params = equation.params
        if equation.primitive.name != "contract":
            return None
        if tuple(params["batch_a"]) != (0,) or tuple(params["batch_b"]) != (0,):
            return None
        a, b = equation.operands
        stacks = _stack(a), _stack(b)
        lead = next((s.lead for s in stacks if s is not None), None)
        if lead is None:
            return None
        moved = len(lead) - 1
        renewed = {
            "axes_a": tuple(i + moved for i in params["axes_a"]),
            "axes_b": tuple(i + moved for i in params["axes_b"]),
            "batch_a": tuple(range(moved + 1)),
            "batch_b": tuple(range(moved + 1)),
        }
        result = equation.outputs[0]
        operands = _apart(a, stacks[0], lead, emit), _apart(b, stacks[1], lead, emit)
        aval = Aval((*lead, *result.shape[1:]), result.dtype)
        (whole,) = emit(again(equation, operands, renewed, aval))
        shape = {"shape": result.shape}
        return emit(Equation(PRIMITIVES["reshape"], (whole,), shape, [result.aval]))

    return rewrite(graph, replace)
