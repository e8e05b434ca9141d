"""The tape: nodes of recorded ops, and what they keep for their gradient formulas.

A node of the tape is made for every recorded op, thousands in a training step, and the garbage collector walks over
each of the containers that stay alive. So a node holds as few as it can: its edges, and one flat tuple of what the
formulas read. Where in that tuple each formula finds what it reads is the same for every call of an op with the same
inputs wanted; it is worked out once, as a `Recipe`.

What the tuple holds: for a saved input, the tensor and the count of its version counter; for a saved output, its
array (the tensor itself would be a cycle), the version counter and the count; for all else, the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from rushlight.autograd.modes import state
from rushlight.autograd.node import (
    Edge,
    Node,
    Saved,
    accumulator_of,
    next_number,
    overwritten,
    saved_tensors_hooks_stack,
)
from rushlight.autograd.repeated import plain
from rushlight.backends.native import NUMPY, SMALL, call_of, run
from rushlight.core.dtypes import FLOAT32, INEXACT
from rushlight.core.sites import _PACKAGE
from rushlight.primitives import structural
from rushlight.primitives.interpreter import slot
from rushlight.primitives.views import sum_to
from rushlight.tensor.storage import version_of
from rushlight.tensor.tensor import Tensor, wrap

if TYPE_CHECKING:
    from rushlight.ops.declare import Op

ndarray = np.ndarray


class Formula:
    """A gradient formula: which inputs it serves, and what it reads, by name."""

    __slots__ = ("function", "names", "plan", "targets")

    GRAD, GRADS, NEEDS, OUTPUT, INPUT, STATIC, SHAPE = range(7)

    def __init__(self, this: Op, function: Callable[..., Any], targets: tuple[int, ...]) -> None:
        self.function = function
        self.targets = targets
        self.names = function.__code__.co_varnames[: function.__code__.co_argcount]
        inputs = {this.names[i]: i for i, _ in this.tensors}
        plan: list[tuple[int, Any]] = []
        for name in self.names:
            if name == "grad":
                plan.append((self.GRAD, None))
            elif name == "grads":
                plan.append((self.GRADS, None))
            elif name == "needs":
                plan.append((self.NEEDS, targets))
            elif name == "out":
                plan.append((self.OUTPUT, 0))
            elif name in this.outputs:
                plan.append((self.OUTPUT, this.outputs.index(name)))
            elif name in inputs:
                plan.append((self.INPUT, inputs[name]))
            elif name in this.names or name in this.keywords or name == this.variadic:
                plan.append((self.STATIC, name))
            elif name.endswith("_shape") and name[:-6] in inputs:
                plan.append((self.SHAPE, inputs[name[:-6]]))
            else:
                raise TypeError(
                    f"the gradient of {this.name} reads {name!r}, which {this.name} does not have"
                )
        self.plan = tuple(plan)


class _Slots:
    """Ops that this file needs in recorded gradients; the families that declare them fill these in."""

    sum_to: Any = None  # (tensor, shape)
    cast: Any = None  # (tensor, numpy dtype)
    view_adjoint: Any = None  # (grad, steps, shape, dtype)
    copy_slices: Any = None  # (base, value, steps)
    zeros: Any = None  # (shape, numpy dtype)
    copy_to: Any = None  # Tensor.copy_
    find_op: Any = None  # (qualified name)
    function: Any = None  # (qualified name): what users call


slots = _Slots()


def fit(grad: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array gradient as the input needs it: summed over broadcast dimensions, in the input's dtype."""
    if grad.__class__ is not ndarray and slot.recorder is None:
        grad = np.asarray(grad)
    if grad.shape != shape:
        grad = sum_to(grad, shape)
    if grad.dtype != dtype:
        grad = structural.cast(grad, dtype=dtype)
    return grad


def fit_tensor(grad: Any, shape: tuple[int, ...], dtype: Any) -> Tensor:
    """As `fit`, for a gradient that is itself being recorded."""
    if not isinstance(grad, Tensor):
        grad = wrap(np.asarray(grad, dtype))
    if grad._array.shape != shape:
        grad = slots.sum_to(grad, shape)
    if grad._array.dtype != dtype:
        grad = slots.cast(grad, dtype)
    return grad  # type: ignore[no-any-return]


def _some_large(arguments: list[list[Any]], edges: Sequence[Edge]) -> bool:
    """Whether something that a node reads or gives is large: then a native kernel may be worth asking for."""
    for given in arguments:
        for value in given:
            if value.__class__ is ndarray and value.size >= SMALL:
                return True
    for edge in edges:
        if edge is not None and prod(edge[0].outputs[edge[1]][0]) >= SMALL:
            return True
    return False


def fitted_gradients(recipe: Recipe, wanted: tuple[Any, ...], *arguments: Any) -> list[Any]:
    """The gradients of a node's inputs as they need them: `wanted` has the (shape, dtype) of each, or None.

    `arguments` are those of the recipe's formulas, one after the other.
    """
    results: list[Any] = [None] * len(wanted)
    start = 0
    for _, function, targets, reads in recipe.calls:
        found = function(*arguments[start : start + len(reads)])
        start += len(reads)
        for target, grad in zip(targets, (found,) if len(targets) == 1 else found, strict=True):
            want = wanted[recipe.positions[target]]
            if grad is not None and want is not None:
                results[recipe.positions[target]] = fit(grad, *want)
    return results


_NOTHING: dict[str, Any] = {}


class Recipe:
    """What an op keeps when certain of its inputs want gradients, and where its formulas find what they read."""

    __slots__ = ("after", "before", "calls", "keeps", "kept", "positions", "size")

    def __init__(self, this: Op, mask: int) -> None:
        self.positions = this.positions
        wanted: list[Formula] = []
        for bit, (i, _) in enumerate(this.tensors):
            if mask >> bit & 1:
                formula = this.covered.get(i)
                if formula is None:
                    raise NotImplementedError(
                        f"the derivative of {this.name} with respect to '{this.names[i]}' is not implemented: call it "
                        f"on {this.names[i]}.detach() if no gradient should flow there"
                    )
                if formula not in wanted:
                    wanted.append(formula)
        read = dict.fromkeys(step for formula in wanted for step in formula.plan)
        #: Where in the tuple each thing lies; outputs, which come into being last, lie at its end.
        places: dict[tuple[int, Any], int] = {}
        before: list[tuple[Any, ...]] = []
        at = 0
        for kind, what in read:
            if kind == Formula.INPUT:
                before.append((kind, what, this.defaults.get(this.names[what])))
            elif kind == Formula.SHAPE:
                before.append((kind, what, None))
            elif kind == Formula.STATIC:
                index = this.names.index(what) if what in this.names else -1
                rest = len(this.names) if what == this.variadic else -1
                before.append((kind, what, this.defaults.get(what), index, rest))
            else:
                continue
            places[kind, what] = at
            at += 2 if kind == Formula.INPUT else 1
        after = [what for kind, what in read if kind == Formula.OUTPUT]
        for what in after:
            places[Formula.OUTPUT, what] = at
            at += 3
        self.before, self.after, self.size = tuple(before), tuple(after), at
        #: (kind, place) of all that is saved.
        self.kept = tuple((kind, at) for (kind, _), at in places.items())
        self.keeps = bool(after) or any(step[0] == Formula.INPUT for step in before)
        self.calls = tuple(
            (
                f,
                f.function,
                f.targets,
                tuple((kind, places.get((kind, what), 0), what) for kind, what in f.plan),
            )
            for f in wanted
        )


_INFERENCE = (
    "{}: Inference tensors cannot be saved for backward: argument '{}' was made under inference_mode(). Work on its "
    "clone(), or make it under no_grad() instead."
)


def recipe_of(this: Op, mask: int) -> Recipe:
    """The recipe for the inputs whose bits are set."""
    found = this.recipes.get(mask)
    if found is None:
        found = this.recipes[mask] = Recipe(this, mask)
    return found


class OpNode(Node):
    """A recorded call of an op: its recipe, and what its formulas will read."""

    __slots__ = ("op", "recipe", "saved")

    op: Op
    recipe: Recipe
    saved: tuple[Any, ...]

    #: For an op that takes a list of tensors: where the edges of each parameter start, and how many they are.
    starts: dict[int, tuple[int, int]] | None = None

    def name(self) -> str:
        """Torch's name of the node, such as AddBackward0."""
        name = self.op.node_name
        return name if isinstance(name, str) else name(self)  # type: ignore[no-any-return]

    def apply(self, grads: list[Any], create_graph: bool) -> Sequence[Any]:
        edges = self.edges
        results: list[Any] = [None] * len(edges)
        if len(grads) > 1 and not self.op.undefined_grads:
            grads = self._materialized(grads, create_graph)
        fitted = fit_tensor if create_graph else fit
        positions = self.op.positions
        calls = self.recipe.calls
        arguments = [
            [
                grads[0] if kind == 0 else self._read(kind, at, what, grads, create_graph)
                for kind, at, what in reads
            ]
            for _, _, _, reads in calls
        ]
        if (
            not create_graph
            and self.starts is None
            and (self.op.fused or _some_large(arguments, edges))
        ):
            found = self._native(arguments)
            if found is not NUMPY:
                return found  # type: ignore[no-any-return]
        for (_, function, targets, _), given in zip(calls, arguments):
            if create_graph:
                found = function(*given)
            else:
                before, state.bare = state.bare, True
                try:
                    found = function(*given)
                finally:
                    state.bare = before
            if len(targets) == 1:
                found = (found,)
            for target, grad in zip(targets, found, strict=True):
                if grad is None:
                    continue
                if self.starts is not None:
                    start, count = self.starts[target]
                    if type(grad) in (list, tuple):
                        for k in range(count):
                            edge = edges[start + k]
                            if edge is not None and grad[k] is not None:
                                results[start + k] = fitted(grad[k], *edge[0].outputs[edge[1]])
                        continue
                else:
                    start = positions[target]
                edge = edges[start]
                if edge is not None:
                    results[start] = fitted(grad, *edge[0].outputs[edge[1]])
        return results

    def _native(self, arguments: list[list[Any]]) -> Any:
        """All gradients of the node by one native kernel; or NUMPY."""
        wanted = tuple([None if e is None else e[0].outputs[e[1]] for e in self.edges])
        given = [self.recipe, wanted]
        for some in arguments:
            given += some
        before, state.bare = state.bare, True
        try:
            return run(fitted_gradients, given, _NOTHING)
        finally:
            state.bare = before

    def describe(self, key: list[Any], arrays: list[Any]) -> bool:
        recipe, saved = self.recipe, self.saved
        if self.released:
            return False
        key += (recipe, self.starts is None)
        if self.starts is not None:
            key.append(tuple(self.starts.values()))
        for kind, at in recipe.kept:
            value = saved[at]
            if kind == Formula.INPUT:
                if isinstance(value, Tensor):
                    version = value._version_counter
                    if version is not None and version.count != saved[at + 1]:
                        return False
                    arrays.append(value._array)
                elif type(value) is tuple:
                    key.append(len(value))
                    for tensor, count in zip(value, saved[at + 1], strict=True):
                        if not isinstance(tensor, Tensor) or tensor._version != count:
                            return False
                        arrays.append(tensor._array)
                else:
                    key.append(plain(value))
            elif kind == Formula.OUTPUT:
                if type(value) is Saved or saved[at + 1].count != saved[at + 2]:
                    return False
                arrays.append(value)
            else:
                key.append(plain(value))
        return True

    def kernel(self, grads: list[Any]) -> tuple[Any, list[Any]]:
        if self.starts is not None or (len(grads) > 1 and not self.op.undefined_grads):
            return None, []
        wanted = tuple([None if e is None else e[0].outputs[e[1]] for e in self.edges])
        given = [self.recipe, wanted]
        for _, _, _, reads in self.recipe.calls:
            given += [self._read(kind, at, what, grads, False) for kind, at, what in reads]
        call, operands = call_of(fitted_gradients, given)
        if call is None:
            from rushlight.backends.exact import exact_call

            call, operands = exact_call(fitted_gradients, given)
        return call, operands

    def _materialized(self, grads: list[Any], create_graph: bool) -> list[Any]:
        """Zeros for outputs that no gradient reached."""
        full = []
        for grad, (shape, dtype) in zip(grads, self.outputs, strict=True):
            if grad is None and dtype in INEXACT:
                grad = structural.full(0, shape=shape, dtype=dtype)
                grad = wrap(grad) if create_graph else grad
            full.append(grad)
        return full

    def _read(self, kind: int, at: int, what: Any, grads: list[Any], create_graph: bool) -> Any:
        """One argument of a formula: from the gradients, or from what was saved."""
        if kind == Formula.GRAD:
            return grads[0]
        if kind == Formula.GRADS:
            return tuple(grads)
        if kind == Formula.NEEDS:
            return self._needs(what)
        saved = self.saved
        value = saved[at]
        if kind == Formula.INPUT:
            if type(value) is tuple:
                return [
                    self._unpacked(v, v._version_counter if isinstance(v, Tensor) else None, n, -1, create_graph)
                    for v, n in zip(value, saved[at + 1], strict=True)
                ]  # fmt: skip
            if not isinstance(value, Tensor):
                return (
                    self._unpacked(value, None, 0, -1, create_graph)
                    if type(value) is Saved
                    else value
                )
            version = value._version_counter
            if version is not None and version.count != saved[at + 1]:
                raise RuntimeError(self._overwritten(value._array, version, saved[at + 1], -1))
            return value if create_graph else value._array
        if kind == Formula.OUTPUT:
            return self._unpacked(value, saved[at + 1], saved[at + 2], what, create_graph)
        return value

    def _unpacked(self, value: Any, version: Any, count: int, output: int, tensor: bool) -> Any:
        """A saved tensor, checked: as a tensor with its history, or as its array."""
        if type(value) is Saved:
            value = value.unpack()
            if output >= 0:
                value, version = value._array, value._version_counter
            else:
                return value if tensor else value._array
        elif version is not None and version.count != count:
            array = value._array if isinstance(value, Tensor) else value
            raise RuntimeError(self._overwritten(array, version, count, output))
        if isinstance(value, Tensor):
            return value if tensor else value._array
        if not tensor:
            return value
        result = wrap(value)
        result._version_counter = version
        if value.dtype in INEXACT:
            result._grad_fn, result._output, result._requires_grad = self, output, True
        return result

    def _needs(self, targets: tuple[int, ...]) -> tuple[Any, ...]:
        """Of each input that a formula serves, whether its gradient is wanted."""
        return tuple(self._needed(target) for target in targets)

    def _needed(self, target: int) -> Any:
        """Whether this input's gradient is wanted; for a list, one answer for each of its tensors."""
        if self.starts is None:
            return self.edges[self.op.positions[target]] is not None
        start, count = self.starts[target]
        wanted = tuple(edge is not None for edge in self.edges[start : start + count])
        return wanted if dict(self.op.tensors)[target] == 3 else wanted[0]

    def _overwritten(self, array: Any, version: Any, count: int, output: int) -> str:
        whose = f"output {output} of {self.name()}" if output >= 0 else f"an input of {self.name()}"
        return overwritten(self, whose, array, version, count)

    def release(self) -> None:
        if self.recipe.keeps:
            self.released = True
            self.saved = ()

    def __getattr__(self, name: str) -> Any:
        """What was saved, under torch's names: `_saved_self`, `_saved_result`, `_saved_<parameter>`."""
        if name.startswith("_saved_"):
            if self.released:
                raise RuntimeError(
                    f"{self.name()}: what was saved for backward has been freed already"
                )
            wanted = {"self": "input", "result": "out"}.get(name[7:], name[7:])
            for formula, _, _, reads in self.recipe.calls:
                for known, (kind, at, what) in zip(formula.names, reads, strict=True):
                    if known == wanted and kind > Formula.GRADS:
                        return self._read(kind, at, what, [], True)
        raise AttributeError(f"'{self.op.node_name}' object has no attribute '{name}'")


def begin(
    this: Op,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    frame: FrameType | None,
    written: Tensor | None = None,
) -> tuple[OpNode, list[Any]]:
    """A node with its edges, and what it saves of its inputs; `attach` completes both with the outputs.

    `written` is the tensor that the op is about to change: where a formula reads it, a copy is kept.
    """
    edges: list[Edge] = []
    mask, bit, count = 0, 1, len(args)
    starts: dict[int, tuple[int, int]] | None = {} if this.takes_list else None
    for i, kind in this.tensors:
        value = args[i] if i < count else None
        group = (value,) if kind != 3 else () if value is None else value
        if starts is not None:
            starts[i] = (len(edges), len(group))  # type: ignore[arg-type]
        for item in group:  # type: ignore[union-attr]
            edge: Edge = None
            if isinstance(item, Tensor):
                source = item._grad_fn if item._base is None else item.history()
                if source is not None:
                    edge = (source, item._output)
                    mask |= bit
                elif item._requires_grad:
                    edge = (accumulator_of(item), 0)
                    mask |= bit
            edges.append(edge)
        bit <<= 1
    recipe = this.recipes.get(mask) or recipe_of(this, mask)
    saved: list[Any] = []
    for step in recipe.before:
        kind, what = step[0], step[1]
        if kind == Formula.INPUT:
            value = args[what] if what < count else step[2]
            if value is written and written is not None:
                value = before_writing(written, edges[this.positions[what]])
            if isinstance(value, Tensor):
                if value._is_inference:
                    raise RuntimeError(_INFERENCE.format(this.name, this.names[what]))
                version = value._version_counter
                if saved_tensors_hooks_stack:
                    value = Saved(value, None)
                saved += (value, 0 if version is None else version.count)
            elif type(value) is list or type(value) is tuple:
                tensors = [v for v in value if isinstance(v, Tensor)]
                counts = tuple(v._version for v in tensors)
                if saved_tensors_hooks_stack:
                    tensors = [Saved(v, None) for v in tensors]  # type: ignore[misc]
                saved += (tuple(tensors), counts)
            else:
                saved += (value, 0)
        elif kind == Formula.STATIC:
            _, _, default, index, rest = step
            if index >= 0:
                saved.append(args[index] if index < count else default)
            elif rest >= 0:
                saved.append(tuple(args[rest:]))
            else:
                saved.append(kwargs.get(what, default))
        else:
            saved.append(_shape_of(args[what] if what < count else None))
    node = object.__new__(OpNode)  # made after its edges: what they lead to must be older
    node.edges = tuple(edges)
    node.number = next_number()
    node.op, node.recipe, node.released = this, recipe, False
    if starts is not None:
        node.starts = starts
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    node.site = None if frame is None else (frame.f_code, frame.f_lasti)
    node.scope = state.scope
    return node, saved


def before_writing(tensor: Tensor, edge: Edge) -> Tensor:
    """A copy of a tensor that is about to be written, with the history that it has now."""
    kept = wrap(structural.copy(tensor._array))
    if edge is not None:
        kept._grad_fn, kept._output, kept._requires_grad = edge[0], edge[1], True
    return kept


def _shape_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value._array.shape
    return [v._array.shape for v in value] if isinstance(value, (list, tuple)) else ()


def attach(node: OpNode, saved: list[Any], tensors: Sequence[Tensor]) -> None:
    """Makes `tensors` the outputs of `node`, and saves those that its formulas read."""
    for at in node.recipe.after:
        output = tensors[at]
        version = version_of(output)
        kept = Saved(output, node, at) if saved_tensors_hooks_stack else output._array
        saved += (kept, version, version.count)
    node.saved = tuple(saved)
    if len(tensors) == 1:
        (only,) = tensors
        array = only._array
        dtype = array.dtype
        node.outputs = ((array.shape, dtype),)
        if dtype is FLOAT32 or dtype in INEXACT:
            only._grad_fn, only._requires_grad = node, True
            if only._output:
                only._output = 0
        return
    node.outputs = tuple((t._array.shape, t._array.dtype) for t in tensors)
    for i, t in enumerate(tensors):
        if t._array.dtype in INEXACT:
            t._grad_fn, t._output, t._requires_grad = node, i, True


def record(
    this: Op,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    tensors: Sequence[Tensor],
    frame: FrameType | None,
) -> None:
    """Puts a call on the tape."""
    node, saved = begin(this, args, kwargs, frame)
    attach(node, saved, tensors)
