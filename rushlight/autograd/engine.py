"""The engine: runs the tape backwards.

Nodes wait in a heap, youngest first. Every edge leads to an older node, so when a node comes up, all gradients
that will ever reach it have arrived; no search of the graph and no recursion, however deep it is.

Without `create_graph`, gradients are bare arrays: formulas then run on arrays, with no tensors made and nothing
recorded. With it they are tensors and every formula is recorded like any other computation.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Sequence
from typing import Any

from rushlight.autograd import node as nodes
from rushlight.autograd.hooks import run_tensor_hooks
from rushlight.autograd.modes import anomaly, state
from rushlight.autograd.node import Edge, Node, edge_of
from rushlight.autograd.repeated import survey
from rushlight.autograd.slots import slots
from rushlight.core.dtypes import COMPLEX, INEXACT
from rushlight.core.floating import quiet, restore
from rushlight.core.watch import NODE, observed_as, watch
from rushlight.primitives import elementwise, structural
from rushlight.primitives.interpreter import slot
from rushlight.tensor.tensor import Tensor, wrap


class _Running(threading.local):
    """The backward that runs in this thread: its roots, and the nodes it is limited to (None: to none)."""

    roots: Sequence[tuple[Node, int, Any]] = ()
    useful: set[Node] | None = None
    #: A new object for each backward, by which hooks tell one from the next.
    token: object = None


running = _Running()


def reached() -> set[Node]:
    """The nodes that the backward of this thread runs or will run."""
    stack = [root for root, _, _ in running.roots]
    found = set(stack)
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and edge[0] not in found:
                if running.useful is None or edge[0] in running.useful:
                    found.add(edge[0])
                    stack.append(edge[0])
    return found


def _identity(value: Any) -> Any:
    return value


def _as_array(tensor: Tensor) -> Any:
    return tensor._array


def run(
    roots: Sequence[tuple[Node, int, Any]],
    *,
    retain_graph: bool,
    create_graph: bool,
    wanted: Sequence[Edge] | None = None,
) -> list[Any]:
    """Propagates the gradients of `roots` and returns those of the `wanted` edges (tensors, or None each).

    `roots` are (node, output, gradient): arrays, or tensors with `create_graph`. With `wanted`, only what leads to
    one of those edges runs, and no leaf gathers anything.
    """
    add = slots.add if create_graph else elementwise.add
    as_tensor, as_grad = (_identity, _identity) if create_graph else (wrap, _as_array)
    useful = None if wanted is None else _leading_to(roots, wanted)
    captured: dict[tuple[Node, int], Any] = {}
    targets: dict[Node, list[int]] = {}
    for edge in wanted or ():
        if edge is not None:
            targets.setdefault(edge[0], []).append(edge[1])

    heap: list[tuple[int, Node]] = []
    pending: dict[Node, list[Any]] = {}

    outer = running.roots, running.useful, running.token
    running.roots, running.token = roots, object()
    running.useful = None if useful is None else useful | targets.keys()
    grad_before, scope_before = state.grad_enabled, state.scope
    traced = (
        slot.recorder is not None
    )  # then what a formula calls is said to belong to its node's module
    is_seen = watch.on and not traced
    state.grad_enabled = create_graph
    token = quiet()
    tape = follower = None
    if wanted is None and not (create_graph or traced or is_seen or anomaly["enabled"]):
        tape = survey(roots)
    try:
        if tape is not None:
            at_leaves = tape.gradients(retain_graph)
            if at_leaves is not None:
                pending, roots = at_leaves, ()
                heap = [(-leaf.number, leaf) for leaf in pending]
                heapq.heapify(heap)
            follower, at_leaves = tape.follower, None
        for root, output, grad in roots:
            grads = pending.setdefault(root, [None] * len(root.outputs))
            if all(g is None for g in grads):
                heapq.heappush(heap, (-root.number, root))
            grads[output] = grad if grads[output] is None else add(grads[output], grad)
        while heap:
            node = heapq.heappop(heap)[1]
            grads = pending.pop(node)
            if node.tensor_hooks or node.retained:
                run_tensor_hooks(node, grads, create_graph, as_tensor, as_grad)
            if node.pre_hooks:
                _run_pre_hooks(node, grads, as_tensor, as_grad)
            if node in targets:
                for output in targets[node]:
                    captured[node, output] = grads[output]
            if useful is not None and node not in useful:
                continue
            if node.released:
                raise RuntimeError(_twice(node))
            if traced:
                state.scope = node.scope
            results: Any = (
                observed_as(NODE, node, grads, node.apply, grads, create_graph)
                if is_seen
                else node.apply(grads, create_graph)
            )
            if node.post_hooks:
                results = _run_post_hooks(node, results, grads, as_tensor, as_grad)
            if follower is not None:
                follower.ran(node, grads, results)
            del grads
            if anomaly["enabled"] and anomaly["check_nan"]:
                _check_nan(node, results, create_graph)
            if not retain_graph:
                node.release()
            for i, edge in enumerate(node.edges):
                if edge is None:
                    continue
                grad = results[i]
                if grad is None or (
                    useful is not None and edge[0] not in useful and edge[0] not in targets
                ):
                    continue
                grads_there = pending.get(edge[0])
                if grads_there is None:
                    target = edge[0]
                    grads_there = pending[target] = [None] * len(target.outputs)
                    heapq.heappush(heap, (-target.number, target))
                output = edge[1]
                have = grads_there[output]
                grads_there[output] = grad if have is None else add(have, grad)
                if follower is not None and have is not None:
                    follower.added(have, grad, grads_there[output])
            grad = results = grads_there = have = None
        if tape is not None:
            tape.finish()
    finally:
        restore(token)
        state.grad_enabled, state.scope = grad_before, scope_before
        running.roots, running.useful, running.token = outer
    found = [None if edge is None else captured.get(edge) for edge in wanted or ()]
    return [None if g is None else as_tensor(g) for g in found]


def _leading_to(roots: Sequence[tuple[Node, int, Any]], wanted: Sequence[Edge]) -> set[Node]:
    """The nodes that must run: those from which some wanted edge can be reached. Iterative."""
    goals = {edge[0] for edge in wanted if edge is not None}
    useful: set[Node] = set()
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(root, False) for root, _, _ in roots]
    while stack:
        node, done = stack.pop()
        if done:
            if any(e is not None and (e[0] in useful or e[0] in goals) for e in node.edges):
                useful.add(node)
            continue
        if node in seen:
            continue
        seen.add(node)
        stack.append((node, True))
        for edge in node.edges:
            if edge is not None and edge[0] not in seen:
                stack.append((edge[0], False))
    return useful


def _run_pre_hooks(node: Node, grads: list[Any], as_tensor: Any, as_grad: Any) -> None:
    for hook in list((node.pre_hooks or {}).values()):
        result = hook(tuple(None if g is None else as_tensor(g) for g in grads))
        if result is not None:
            result = result if isinstance(result, tuple) else (result,)
            grads[:] = [None if g is None else as_grad(g) for g in result]


def _run_post_hooks(
    node: Node, results: Sequence[Any], grads: list[Any], as_tensor: Any, as_grad: Any
) -> Sequence[Any]:
    before = tuple(None if g is None else as_tensor(g) for g in grads)
    for hook in list((node.post_hooks or {}).values()):
        result = hook(tuple(None if g is None else as_tensor(g) for g in results), before)
        if result is not None:
            result = result if isinstance(result, tuple) else (result,)
            results = [None if g is None else as_grad(g) for g in result]
    return results


def _twice(node: Node) -> str:
    return (
        f"Trying to backward through the graph a second time: what {node.name()} (recorded at {node.where()}) had "
        "saved was freed by the first backward. Compute the forward again before each backward; or, if two losses "
        "share this part, add them and call backward once; or specify retain_graph=True in the first call."
    )


def _check_nan(node: Node, results: Sequence[Any], create_graph: bool) -> None:
    for i, grad in enumerate(results):
        if grad is None:
            continue
        array = grad._array if create_graph else grad
        if array.dtype in INEXACT and elementwise.not_equal(array, array).any():
            raise RuntimeError(
                f"Function '{node.name()}' returned nan values in its {i}th output; its forward ran at {node.where()}"
            )


# -- what users call ---------------------------------------------------------------------------------------


def _tensors(value: Any, name: str) -> tuple[Tensor, ...]:
    if isinstance(value, Tensor):
        return (value,)
    result = tuple(value)
    for t in result:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name} must be tensors, not {type(t).__name__}")
    return result


def _roots(
    tensors: tuple[Tensor, ...], grads: Any, create_graph: bool, is_grads_batched: bool = False
) -> list[tuple[Node, int, Any]]:
    """The starting gradients, checked: ones for scalars, else what the user gave."""
    if grads is None:
        given: tuple[Any, ...] = (None,) * len(tensors)
    else:
        given = (grads,) if isinstance(grads, Tensor) else tuple(grads)
    if len(given) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(given)} gradients")
    roots: list[tuple[Node, int, Any]] = []
    for tensor, grad in zip(tensors, given, strict=True):
        edge = edge_of(tensor)
        array = tensor._array
        if grad is None:
            if array.size != 1 and edge is not None:
                raise RuntimeError(
                    "grad can be implicitly created only for scalar outputs, and this one has shape "
                    f"{list(array.shape)}: reduce it to one number, as .sum() or .mean() do, or pass a gradient of "
                    "that shape"
                )
            if array.dtype not in INEXACT and edge is not None:
                raise RuntimeError(
                    f"grad can be computed only for real scalar outputs but got {tensor.dtype}"
                )
            if array.dtype in COMPLEX and edge is not None:
                raise RuntimeError(
                    f"grad can be computed only for real scalar outputs but got {tensor.dtype}"
                )
        elif not isinstance(grad, Tensor):
            raise TypeError(
                f"gradients can be either Tensors or None, but got {type(grad).__name__}"
            )
        elif grad._array.shape != array.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output has a shape of {grad.shape} and output has a shape of {tensor.shape}."
            )
        elif (grad._array.dtype in COMPLEX) != (array.dtype in COMPLEX):
            raise RuntimeError(
                "For complex Tensors, both grad_output and output are required to have the same dtype. "
                f"Mismatch in dtype: grad_output has {grad.dtype} and output has {tensor.dtype}."
            )
        if edge is None:
            raise RuntimeError(
                "element 0 of tensors does not require grad and does not have a grad_fn: nothing that requires a "
                "gradient took part in computing it"
                + ("" if state.grad_enabled else ", or it was computed under no_grad()")
            )
        start: Any
        if grad is None:
            start = structural.full(1, shape=array.shape, dtype=array.dtype)
            start = wrap(start) if create_graph else start
        else:
            start = grad if create_graph else grad._array
        roots.append((edge[0], edge[1], start))
    return roots


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Adds the gradients of `tensors` with respect to all leaves (or only `inputs`) to their `.grad`.

    `grad_tensors` are the gradients to start from; they may be left out for tensors of one element.
    Raises RuntimeError for tensors without a graph, or of several elements without a gradient.
    """
    if grad_variables is not None:
        if grad_tensors is not None:
            raise RuntimeError("pass grad_tensors or grad_variables (its old name), not both")
        grad_tensors = grad_variables
    roots_of = _tensors(tensors, "tensors")
    retain = create_graph if retain_graph is None else retain_graph
    roots = _roots(roots_of, grad_tensors, create_graph)
    if inputs is None:
        run(roots, retain_graph=retain, create_graph=create_graph)
        return
    into = _tensors(inputs, "inputs")
    if not into:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    edges = [edge_of(t) for t in into]
    if any(e is None for e in edges):
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    found = run(roots, retain_graph=retain, create_graph=create_graph, wanted=edges)
    for tensor, grad in zip(into, found, strict=True):
        if grad is not None:
            nodes.accumulate_into(tensor, grad if create_graph else grad._array, create_graph)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; no `.grad` is touched.

    Raises RuntimeError where an input took no part in the graph, unless `allow_unused` (then None), or
    `materialize_grads` (then zeros).

    >>> import rushlight
    >>> x = rushlight.tensor(3.0, requires_grad=True)
    >>> rushlight.autograd.grad(x * x, x)
    (tensor(6.),)
    """
    results_of, into = _tensors(outputs, "outputs"), _tensors(inputs, "inputs")
    if is_grads_batched:
        return _batched_grad(
            results_of, into, grad_outputs, retain_graph, create_graph, allow_unused
        )
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True"
        )
    allow = materialize_grads if allow_unused is None else allow_unused
    retain = create_graph if retain_graph is None else retain_graph
    edges = [edge_of(t) for t in into]
    if any(e is None for e in edges) and not allow:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    roots = _roots(results_of, grad_outputs, create_graph)
    found = run(roots, retain_graph=retain, create_graph=create_graph, wanted=edges)
    for i, g in enumerate(found):
        if g is None:
            if materialize_grads:
                array = into[i]._array
                found[i] = wrap(structural.full(0, shape=array.shape, dtype=array.dtype))
            elif not allow:
                raise RuntimeError(
                    f"One of the differentiated Tensors (number {i}, of shape {list(into[i]._array.shape)}) appears to "
                    "not have been used in the graph. Set allow_unused=True if this is the desired behavior."
                )
    return tuple(found)


def _batched_grad(
    outputs: tuple[Tensor, ...],
    inputs: tuple[Tensor, ...],
    grad_outputs: Any,
    retain_graph: bool | None,
    create_graph: bool,
    allow_unused: bool | None,
) -> tuple[Tensor | None, ...]:
    """One backward for each slice of the first dimension of `grad_outputs`; results are stacked."""
    given = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    count = given[0]._array.shape[0]
    rows = [
        grad(outputs, inputs, [g[i] for g in given], True, create_graph, True, allow_unused)  # type: ignore[index]
        for i in range(count)
    ]
    from rushlight.primitives.structural import concatenate, reshape

    def stacked(column: tuple[Tensor | None, ...]) -> Tensor | None:
        if any(t is None for t in column):
            return None
        if create_graph:
            return slots.stack(list(column))  # type: ignore[no-any-return]
        arrays = [reshape(t._array, shape=(1, *t._array.shape)) for t in column]  # type: ignore[union-attr]
        return wrap(concatenate(*arrays, axis=0))

    result = tuple(stacked(column) for column in zip(*rows, strict=True))
    if not (create_graph if retain_graph is None else retain_graph):
        for root, _, _ in _roots(outputs, [g[0] for g in given], False):  # type: ignore[index]
            root.release()
    return result


def tensor_backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Adds the gradients of this tensor with respect to the leaves of its graph to their `.grad`.

    A tensor of several elements needs `gradient`, of its own shape.
    """
    backward(self, gradient, retain_graph, create_graph, inputs=inputs)


def _calibrate() -> None:
    """Counts the references that the engine itself holds to an array when it reaches a leaf."""
    import sys

    import numpy as np

    count = getattr(sys, "getrefcount", None)
    if count is None:
        return
    seen: list[int] = []
    real = nodes.is_unshared

    def probe(array: Any) -> bool:
        seen.append(count(array))
        return False

    class _Source(Node):
        __slots__ = ()

        def apply(self, grads: list[Any], create_graph: bool) -> Sequence[Any]:
            return (np.ones(1) + 1,)

    leaf = wrap(np.ones(1))
    leaf._requires_grad = True
    source = _Source((edge_of(leaf),))
    source.outputs = (((1,), leaf._array.dtype),)
    nodes.is_unshared = probe
    try:
        run([(source, 0, np.ones(1))], retain_graph=True, create_graph=False)
    finally:
        nodes.is_unshared = real
    nodes.unshared_count = seen[0]


_calibrate()
