"""Compiled forwards that gradients flow through from outside: a second graph, and the node of the tape that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.autograd import engine
from rushlight.autograd.node import Node, edge_of, overwritten
from rushlight.capture.execution import make_executable
from rushlight.capture.recorder import Recorder
from rushlight.capture.state import Scan
from rushlight.compiler.graph import Graph, Var
from rushlight.compiler.values import Abstract
from rushlight.tensor.storage import version_of
from rushlight.tensor.tensor import Tensor, wrap


class Vjp:
    """The forward graph with what it must keep, and the graph from gradients of results to gradients of the state."""

    def __init__(
        self,
        recorder: Recorder,
        scan: Scan,
        outside: Sequence[tuple[int, Tensor]],
        outputs: list[Abstract],
    ) -> None:
        border = len(recorder.equations)
        roots = []
        self.seeds: list[Var] = []
        for _, tensor in outside:
            edge = edge_of(tensor)
            assert edge is not None  # noqa: S101 - it requires a gradient
            seed = recorder.input(tensor._array.shape, tensor._array.dtype, ("seed",), "gradient")
            self.seeds.append(seed.var)
            roots.append((edge[0], edge[1], seed))
        leaves = [
            (i, edge_of(f.tensor)) for i, f in enumerate(scan.tensors) if f.tensor._requires_grad
        ]
        grads = engine.run(
            roots, retain_graph=False, create_graph=False, wanted=[e for _, e in leaves]
        )
        self.wanted: list[int] = []
        results: list[Var] = []
        for (i, _), grad in zip(leaves, grads, strict=True):
            if grad is not None:
                self.wanted.append(i)
                array = grad._array
                results.append(
                    (array if isinstance(array, Abstract) else recorder.constant(array)).var
                )
        backward = recorder.equations[border:]
        forward = recorder.equations[:border]
        del recorder.equations[border:]
        # What the backward reads beside its seeds: inputs of the forward, and results that the forward must keep.
        seeds = set(self.seeds)
        made = {o for e in backward for o in e.outputs} | seeds
        needed: dict[Var, None] = {}
        for var in [o for e in backward for o in e.operands if isinstance(o, Var)] + results:
            if var not in made:
                needed[var] = None
        for i in reversed(range(len(recorder.inputs))):
            if recorder.inputs[i] in seeds:
                recorder.drop_input(i)
        inputs = {v: i for i, v in enumerate(recorder.inputs)}
        kept = [v for v in needed if v not in inputs]
        #: Inputs that are handed on: (number, whether its array changes from call to call and must be copied).
        self.kept_inputs = [
            (inputs[v], recorder.sources[inputs[v]][0] == "number") for v in needed if v in inputs
        ]
        self.first_kept = len(outputs)
        self.forward = Graph(recorder.inputs, forward, [*(o.var for o in outputs), *kept])
        given = [*(v for v in needed if v in inputs), *kept, *self.seeds]
        self.backward = Graph(given, backward, results).renewed()
        self._executable: Any = None
        #: Tensors of the state whose memory the backward reads again: they must not be written before it.
        self.saved_tensors = [
            recorder.sources[i][1]
            for i, _ in self.kept_inputs
            if recorder.sources[i][0] == "tensor"
        ]

    def attach(
        self,
        results: list[Any],
        arrays: list[Any],
        tensors: list[Any],
        outside: Sequence[tuple[int, Tensor]],
    ) -> list[Any]:
        """The results as tensors that belong to a node which runs the backward graph."""
        saved = [arrays[i].copy() if changes else arrays[i] for i, changes in self.kept_inputs]
        saved += results[self.first_kept :]
        node = CompiledBackward(tuple(edge_of(tensors[i]) for i in self.wanted))
        node.vjp, node.saved = self, saved
        node.versions = [
            (tensors[i], version_of(tensors[i]), version_of(tensors[i]).count)
            for i in self.saved_tensors
        ]
        node.outputs = tuple((results[n].shape, results[n].dtype) for n, _ in outside)
        wrapped = list(results)
        for place, (n, _) in enumerate(outside):
            tensor = wrap(results[n])
            tensor._grad_fn, tensor._output, tensor._requires_grad = node, place, True
            wrapped[n] = tensor
        return wrapped

    def run(self, saved: list[Any], grads: list[Any]) -> list[Any]:
        """Gradients of the wanted tensors."""
        if self._executable is None:
            self._executable = make_executable(self.backward, [])
            self._executable.title = "backward"
        result: list[Any] = self._executable.run([*saved, *grads])
        return result


class CompiledBackward(Node):
    """The node of a compiled forward."""

    __slots__ = ("saved", "versions", "vjp")

    vjp: Vjp
    saved: list[Any]
    versions: list[tuple[Tensor, Any, int]]

    def apply(self, grads: list[Any], create_graph: bool) -> Sequence[Any]:
        """Runs the backward graph."""
        if create_graph:
            raise NotImplementedError(
                "a compiled function's gradient cannot be differentiated again (create_graph=True): compile the "
                "function that takes both gradients, or call the uncompiled one"
            )
        for tensor, version, count in self.versions:
            if version.count != count:
                raise RuntimeError(
                    overwritten(
                        self, "an input of a compiled function", tensor._array, version, count
                    )
                )
        full = [
            np.zeros(shape, dtype) if g is None else np.asarray(g, dtype)
            for g, (shape, dtype) in zip(grads, self.outputs, strict=True)
        ]
        return self.vjp.run(self.saved, full)

    def release(self) -> None:
        """Frees what the forward kept."""
        self.released = True
        self.saved, self.versions = [], []
