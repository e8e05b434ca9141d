"""The tape for those who look into it: nodes, edges, and hooks on several gradients at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rushlight.autograd.engine import backward, reached, running
from rushlight.autograd.handles import RemovableHandle
from rushlight.autograd.hooks import (
    disable_saved_tensors_hooks,
    save_on_cpu,
    saved_tensors_hooks,
)
from rushlight.autograd.node import Node, edge_of
from rushlight.tensor.storage import note_write
from rushlight.tensor.tensor import Tensor

__all__ = [
    "GradientEdge",
    "Node",
    "backward",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]  # fmt: skip


class GradientEdge(NamedTuple):
    """A node and which of its outputs: where a gradient enters."""

    node: Node
    output_nr: int


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The edge that the tensor's gradient takes. RuntimeError if it requires none."""
    edge = edge_of(tensor)
    if edge is None:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require gradients"
        )
    return GradientEdge(*edge)


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Notes that the tensor's memory was written by other means, so that stale gradients are refused."""
    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        if t._is_inference:
            raise RuntimeError("Inference tensors do not track version counter.")
        note_write(t, "increment_version")


class _Handles(RemovableHandle):
    """Removes several hooks as one."""

    def __init__(self, handles: list[Any]) -> None:
        super().__init__({})
        self._handles = handles

    def remove(self) -> None:
        """Takes all hooks off."""
        for handle in self._handles:
            handle.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[..., Any], *, mode: str = "all"
) -> RemovableHandle:
    """Calls `fn(gradients)` once per backward when all the gradients that it computes are there (None for tensors
    that took no part); with mode "any", `fn(grad)` at the first.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    lock = threading.Lock()
    seen: dict[str, Any] = {"token": None, "grads": [], "left": 0}

    def arrived(index: int) -> Callable[[Tensor], None]:
        def hook(grad: Tensor) -> None:
            with lock:
                first = seen["token"] is not running.token
                if first:
                    nodes = reached()
                    edges = [edge_of(t) for t in tensors]
                    left = sum(edge is not None and edge[0] in nodes for edge in edges)
                    seen.update(token=running.token, grads=[None] * len(tensors), left=left)
                seen["grads"][index] = grad
                seen["left"] -= 1
                complete, grads = seen["left"] == 0, list(seen["grads"])
                if complete:
                    seen["grads"] = [None] * len(tensors)
            if mode == "any":
                if first:
                    fn(grad)
            elif complete:
                fn(grads)

        return hook

    return _Handles([t.register_hook(arrived(i)) for i, t in enumerate(tensors)])  # type: ignore[attr-defined]
