"""How many operations the call of an op, or a node of backward, asks for: counted in the graph of what it computes.

An op's body and its gradient formulas compute by primitives; traced on the shapes alone they give a graph, and
`compiler.flops` has the number of each primitive. So no op has a formula of its own, and a backward is counted by what
it does. What was counted for a signature is remembered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.autograd.modes import state
from rushlight.autograd.node import Saved
from rushlight.backends.tracing import Traced
from rushlight.compiler.flops import total_flops
from rushlight.compiler.values import Abstract
from rushlight.core import dtypes
from rushlight.core.shapes import size_of
from rushlight.ops.tape import Formula, OpNode, Recipe
from rushlight.tensor.tensor import Tensor

#: Signatures that are remembered.
MOST = 4096
_known: dict[Any, int] = {}


class Call:
    """A call that can be counted later: the function, and its arguments with shapes in the place of arrays."""

    __slots__ = ("args", "dtype", "function", "kwargs")

    def __init__(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.dtype = dtypes.get_default_dtype()

    @property
    def first_size(self) -> int:
        """The elements of its first argument."""
        first = self.args[0] if self.args else None
        return size_of(first.shape) if type(first) is _Outline else 1

    def flops(self) -> int:
        """The count; 0 for what cannot be traced without values."""
        key = (
            self.function, self.dtype, tuple(map(_key, self.args)),
            tuple((name, _key(value)) for name, value in self.kwargs.items()),
        )  # fmt: skip
        found = _known.get(key)
        if found is None:
            if len(_known) >= MOST:
                _known.clear()
            found = _known[key] = self._count()
        return found

    def _count(self) -> int:
        before, state.bare = state.bare, True
        try:
            traced = Traced(_computed, [self.function, *map(_array, self.args)], self.kwargs)
        except Exception:  # it reads values, draws numbers, or will raise by itself
            return 0
        finally:
            state.bare = before
        return total_flops(traced.graph.equations)


class _Outline:
    """What is kept of an array."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Any, dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype


def _computed(function: Any, *args: Any, **kwargs: Any) -> tuple[Abstract, ...]:
    """All that a function computes, whatever it is wrapped in."""
    found: list[Abstract] = []
    stack = [function(*args, **kwargs)]
    while stack:
        value = stack.pop()
        if isinstance(value, Abstract):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            stack += value
    return tuple(found)


def _key(value: Any) -> Any:
    if type(value) is _Outline:
        return value.shape, value.dtype
    if type(value) in (list, tuple):
        return type(value), tuple(map(_key, value))
    try:
        hash(value)
    except TypeError:
        return type(value), repr(value)
    return type(value), value


def _shaped(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value._array
    if isinstance(value, (np.ndarray, Saved)):
        return _Outline(value.shape, value.dtype)
    if type(value) in (list, tuple):
        return type(value)(map(_shaped, value))
    return value


def _array(value: Any) -> Any:
    """An array of that shape which takes no memory."""
    if type(value) is _Outline:
        return np.broadcast_to(np.zeros((), value.dtype), value.shape)
    if type(value) in (list, tuple):
        return type(value)(map(_array, value))
    return value


def call_of(function: Any, args: Any, kwargs: dict[str, Any]) -> Call | None:
    """The call of an op's public function; None where it does not compute by itself (views, composites)."""
    op = function.op
    if op.composite or op.view:
        return None
    try:
        bound, rest = op.bind(args, {k: v for k, v in kwargs.items() if k != "out"})
    except TypeError:  # the call itself will say why
        return None
    return Call(op.body, [_shaped(a) for a in bound], {k: _shaped(v) for k, v in rest.items()})


def node_call(node: Any, grads: list[Any]) -> Call | None:
    """A node of backward, given the gradients of its outputs; None where nothing can be said of it."""
    if not isinstance(node, OpNode) or node.released or any(isinstance(g, Tensor) for g in grads):
        return None  # of these: under create_graph the ops of the formulas are seen one by one
    if len(grads) > 1:
        grads = [
            _Outline(*aval) if grad is None else grad
            for grad, aval in zip(grads, node.outputs, strict=True)
        ]
    read = [
        _read(node, kind, at, what, grads)
        for _, _, _, reads in node.recipe.calls
        for kind, at, what in reads
    ]
    return Call(_gradients, [node.recipe, *map(_shaped, read)], {})


def _read(node: OpNode, kind: int, at: int, what: Any, grads: list[Any]) -> Any:
    """What a formula reads; of what was saved only the shape is looked at."""
    if kind == Formula.GRAD:
        return grads[0]
    if kind == Formula.GRADS:
        return tuple(grads)
    return node._needs(what) if kind == Formula.NEEDS else node.saved[at]


def _gradients(recipe: Recipe, *arguments: Any) -> list[Any]:
    """What the formulas of a node compute."""
    found: list[Any] = []
    start = 0
    for _, function, _, reads in recipe.calls:
        found.append(function(*arguments[start : start + len(reads)]))
        start += len(reads)
    return found


__all__ = ["Call", "call_of", "node_call"]
