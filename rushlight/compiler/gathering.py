"""Passes around rows that are gathered from a table (embeddings): products of the table's few rows, not of the many.

With `take` for gathering and S = put_add(0, d, ids), the sum of the rows of d for each row of the table:

    take(table, ids) @ w              is   take(table @ w, ids)
    d^T @ take(table, ids)            is   S^T @ table            the gradient of w
    put_add(0, d @ w^T, ids)          is   S @ w^T                the gradient of the table
    take(table, ids) + bias           is   take(table + bias, ids)
    the sum of all rows of d          is   that of S, if there is one

All gradients share S. What is gathered later keeps its bits; gradients are added up in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.rewriting import Emit, again, rewrite
from rushlight.core.dtypes import FLOAT32, FLOAT64
from rushlight.core.shapes import size_of
from rushlight.primitives.contraction import contract
from rushlight.primitives.gather import put_add
from rushlight.primitives.primitive import Aval
from rushlight.primitives.structural import full

#: A row of the table must be gathered so many times on average.
REPEATS = 2


class Rows(NamedTuple):
    """A value that is made of rows: of the views between it and `source`, the innermost comes first."""

    source: Var
    views: tuple[Equation, ...]


def _rows(var: Any) -> Rows | None:
    """The value behind views that keep the last dimension as it is."""
    views: list[Equation] = []
    while isinstance(var, Var):
        equation = var.equation
        name = "" if equation is None else equation.primitive.name
        if equation is None or name not in ("permute", "reshape"):
            return Rows(var, tuple(reversed(views)))
        source = equation.operands[0]
        if not source.ndim or not var.ndim or source.shape[-1] != var.shape[-1]:
            return Rows(var, tuple(reversed(views)))
        if name == "permute" and equation.params["axes"][-1] != var.ndim - 1:
            return Rows(var, tuple(reversed(views)))
        views.append(equation)
        var = source
    return None


def _seen(value: Var, views: Iterable[Equation], emit: Emit) -> Var:
    """Other rows through the same views."""
    for view in views:
        shape = (*view.outputs[0].shape[:-1], value.shape[-1])
        params = {"shape": shape} if view.primitive.name == "reshape" else view.params
        (value,) = emit(again(view, (value,), params, Aval(shape, value.dtype)))
    return value


def _unseen(value: Var, views: Sequence[Equation], emit: Emit) -> Var:
    """Rows that lie as the result of the views does, brought back to how their source lies."""
    for view in reversed(views):
        shape = (*view.operands[0].shape[:-1], value.shape[-1])
        params: dict[str, Any] = {"shape": shape}
        if view.primitive.name == "permute":
            axes = view.params["axes"]
            params = {"axes": tuple(axes.index(d) for d in range(len(axes)))}
        (value,) = emit(again(view, (value,), params, Aval(shape, value.dtype)))
    return value


def _gathered(var: Any) -> tuple[Equation, tuple[Equation, ...]] | None:
    """The `take` of rows behind a value, and the views in between, where there are many more rows than in the table."""
    rows = _rows(var)
    taking = None if rows is None else rows.source.equation
    if rows is None or taking is None or taking.primitive.name != "take":
        return None
    table, *indices = taking.operands
    return (taking, rows.views) if _suits(table, indices, taking.params) else None


def _suits(table: Var, indices: Sequence[Any], params: dict[str, Any]) -> bool:
    return (
        len(indices) == 1
        and params["axes"] == (0,)
        and table.ndim == 2
        and table.dtype in (FLOAT32, FLOAT64)
        and table.shape[0] * REPEATS <= size_of(indices[0].shape)
    )


def _product(like: Equation, a: Var, b: Var, axis_a: int, axis_b: int, emit: Emit) -> Var:
    """A product of two matrices."""
    params = {"axes_a": (axis_a,), "axes_b": (axis_b,), "batch_a": (), "batch_b": ()}
    aval = Aval((a.shape[1 - axis_a], b.shape[1 - axis_b]), a.dtype)
    return emit(Equation(contract.primitive, (a, b), params, [aval], like.scope, like.site))[0]


def _sums(like: Equation, count: int, rows: Var, ids: Any, emit: Emit, sums: dict[Var, Var]) -> Var:
    """S: for each of `count` rows of the table, the sum of the rows that belong to it."""
    aval = Aval((count, rows.shape[-1]), rows.dtype)
    params: dict[str, Any] = {"shape": aval.shape, "dtype": aval.dtype}
    (zeros,) = emit(Equation(full.primitive, (0,), params, [aval], like.scope, like.site))
    params = {"axes": (0,), "front": False}
    operands = (zeros, rows, ids)
    (each,) = emit(Equation(put_add.primitive, operands, params, [aval], like.scope, like.site))
    behind = _rows(rows)
    if behind is not None:
        sums[behind.source] = each
    return each


def multiply_before_gathering(graph: Graph) -> Graph:
    """Products with gathered rows, and with their gradients, become products with the table; see the module's head."""
    sums: dict[Var, Var] = {}

    def replace(equation: Equation, emit: Emit) -> tuple[Var, ...] | None:
        name = equation.primitive.name
        if name == "contract" and not equation.params["batch_a"]:
            return _of_rows(equation, emit) or _over_rows(equation, emit, sums)
        if name == "add":
            return _with_bias(equation, emit)
        if name == "reduce_sum":
            return _summed(equation, emit, sums)
        return _placed(equation, emit, sums) if name == "put_add" else None

    return rewrite(graph, replace)


def _of_rows(equation: Equation, emit: Emit) -> tuple[Var, ...] | None:
    """take(table) @ w."""
    a, w = equation.operands
    found = _gathered(a)
    if found is None or w.ndim != 2 or equation.params["axes_a"] != (a.ndim - 1,):
        return None
    taking, views = found
    table, ids = taking.operands
    small = _product(equation, table, w, 1, equation.params["axes_b"][0], emit)
    aval = Aval((*ids.shape, small.shape[1]), small.dtype)
    (rows,) = emit(again(taking, (small, ids), aval=aval))
    return (_seen(rows, views, emit),)


def _with_bias(equation: Equation, emit: Emit) -> tuple[Var, ...] | None:
    """take(table) + bias, where the table was computed."""
    rows, bias = equation.operands
    found = _gathered(rows)
    if found is None or not isinstance(bias, Var) or bias.shape != rows.shape[-1:]:
        return None
    taking, views = found
    table, ids = taking.operands
    if table.equation is None:
        return None
    (moved,) = emit(again(equation, (table, bias), aval=table.aval))
    return (_seen(emit(again(taking, (moved, ids)))[0], views, emit),)


def _summed(equation: Equation, emit: Emit, sums: dict[Var, Var]) -> tuple[Var, ...] | None:
    """The sum of rows whose sums for each row of a table are there."""
    (var,) = equation.operands
    rows = _rows(var)
    if rows is None or rows.source not in sums or equation.params["keepdim"]:
        return None
    if tuple(sorted(equation.params["axes"])) != tuple(range(var.ndim - 1)):
        return None
    return emit(again(equation, (sums[rows.source],), {**equation.params, "axes": (0,)}))


def _over_rows(equation: Equation, emit: Emit, sums: dict[Var, Var]) -> tuple[Var, ...] | None:
    """d^T @ take(table), or the other way round."""
    a, b = equation.operands
    lead = tuple(range(a.ndim - 1))
    if a.ndim != b.ndim or not equation.params["axes_a"] == equation.params["axes_b"] == lead:
        return None
    for gathered, d in ((b, a), (a, b)):
        found = _gathered(gathered)
        if found is None:
            continue
        taking, views = found
        table, ids = taking.operands
        each = _sums(equation, table.shape[0], _unseen(d, views, emit), ids, emit, sums)
        left, right = (each, table) if gathered is b else (table, each)
        return (_product(equation, left, right, 0, 0, emit),)
    return None


def _placed(equation: Equation, emit: Emit, sums: dict[Var, Var]) -> tuple[Var, ...] | None:
    """put_add(0, d @ w, ids)."""
    base, values, *indices = equation.operands
    zeros = base.equation
    rows = _rows(values)
    if rows is None or zeros is None or not _suits(base, indices, equation.params):
        return None
    made = rows.source.equation
    if zeros.primitive.name != "full" or zeros.operands[0] != 0 or made is None:
        return None
    if made.primitive.name != "contract" or made.params["batch_a"]:
        return None
    d, w = made.operands
    if w.ndim != 2 or made.params["axes_a"] != (d.ndim - 1,):
        return None
    if tuple(values.shape) != (*indices[0].shape, base.shape[1]):
        return None
    each = _sums(equation, base.shape[0], _seen(d, rows.views, emit), indices[0], emit, sums)
    return (_product(equation, each, w, 1, made.params["axes_b"][0], emit),)


__all__ = ["multiply_before_gathering"]
