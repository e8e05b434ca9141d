"""Kernels whose results have NumPy's bits, so that it makes no difference who runs a call.

They move elements, choose among them, compare them, or round once: IEEE 754 leaves no choice there. Which calls run
natively may then depend on what was called before, which is forbidden to all other kernels (README.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.backends.native import make_call, signature_of
from rushlight.compiler.graph import Graph, Var
from rushlight.core.dtypes import BOOL, FLOAT32, FLOAT64, INTEGRAL

_MOVES = frozenset({
    "reshape", "permute", "expand", "slice", "diagonal", "strided", "slice_update", "diagonal_update", "strided_update",
    "concatenate", "copy", "flip", "pad", "full", "iota", "select", "neg",
})  # fmt: skip
_COMPARES = frozenset({
    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
    "logical_and", "logical_or", "logical_not", "logical_xor",
})  # fmt: skip
_SUMS = frozenset({"add", "sub"})
#: A kernel may round a product and a sum together: only one of the kinds in one graph.
_PRODUCTS = frozenset({"mul"})
_PLAIN = frozenset({BOOL, FLOAT32, FLOAT64, *INTEGRAL})

#: The most calls that are remembered.
MOST = 2048
_known: dict[Any, Any] = {}


def exact_call(function: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The kernel for a function of arrays that has NumPy's bits, or None, and the call's arrays."""
    found = signature_of(function, args, {})
    if found is None:
        return None, []
    signature, operands = found
    try:
        known = signature in _known
    except TypeError:
        return None, []
    if not known:
        if len(_known) >= MOST:
            return None, []
        call = _known[signature] = make_call(function, args, {}, operands, is_exact)
        if call is not None:
            call.exact = True
    return _known[signature], operands


def is_exact(graph: Graph) -> bool:
    """Whether kernels of this graph cannot differ from NumPy."""
    names = {equation.primitive.name for equation in graph.equations}
    if not names <= _MOVES | _COMPARES | _SUMS | _PRODUCTS or (names & _SUMS and names & _PRODUCTS):
        return False
    values = [v for e in graph.equations for v in (*e.operands, *e.outputs) if isinstance(v, Var)]
    return all(v.dtype in _PLAIN for v in values)
