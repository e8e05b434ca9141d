"""Hooks: functions that users hang on tensors, nodes and saved tensors."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from rushlight.autograd.handles import RemovableHandle
from rushlight.autograd.node import Node, accumulator_of, saved_tensors_hooks_stack
from rushlight.tensor.tensor import Tensor


def register_hook(self: Tensor, hook: Callable[[Tensor], Any]) -> RemovableHandle:
    """Calls `hook(grad)` whenever the gradient of this tensor is computed; what it returns replaces the gradient.

    Raises RuntimeError if the tensor does not require a gradient.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    node = self.history()
    if node is not None:
        if node.tensor_hooks is None:
            node.tensor_hooks = {}
        return RemovableHandle.add(node.tensor_hooks.setdefault(self._output, {}), hook)
    if self._hooks is None:
        self._hooks = {}
        accumulator_of(self).tensor_hooks = {0: self._hooks}
    return RemovableHandle.add(self._hooks, hook)


def register_post_accumulate_grad_hook(
    self: Tensor, hook: Callable[[Tensor], None]
) -> RemovableHandle:
    """Calls `hook(tensor)` after a gradient was added to this leaf's `.grad`."""
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self.history() is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    if self._post_accumulate_hooks is None:
        self._post_accumulate_hooks = {}
    return RemovableHandle.add(self._post_accumulate_hooks, hook)


def retain_grad(self: Tensor) -> None:
    """Keeps the gradient of this non-leaf in its `.grad`; does nothing for a leaf."""
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    node = self.history()
    if node is None or self._retains_grad:
        return
    self._retains_grad = True
    if node.retained is None:
        node.retained = {}
    node.retained[self._output] = weakref.ref(self)


class saved_tensors_hooks:
    """Inside, every tensor saved for backward is kept as `pack_hook(tensor)` and read by `unpack_hook`.

    With them users move activations to disk, or compress or recompute them.
    """

    def __init__(
        self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]
    ) -> None:
        self._pair = (pack_hook, unpack_hook)

    def __enter__(self) -> None:
        if _forbidden:
            raise RuntimeError(_forbidden[-1])
        saved_tensors_hooks_stack.append(self._pair)

    def __exit__(self, *exc: object) -> None:
        saved_tensors_hooks_stack.pop()


#: Messages of the `disable_saved_tensors_hooks` that are open, innermost last.
_forbidden: list[str] = []


class disable_saved_tensors_hooks:
    """Inside, `saved_tensors_hooks` raises RuntimeError with this message; so it does where one is open already."""

    def __init__(self, error_message: str) -> None:
        self._message = error_message

    def __enter__(self) -> None:
        if saved_tensors_hooks_stack:
            raise RuntimeError(self._message)
        _forbidden.append(self._message)

    def __exit__(self, *exc: object) -> None:
        _forbidden.pop()


class save_on_cpu(saved_tensors_hooks):
    """Keeps what is saved for backward in main memory; it is there already, so copies are made."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda t: t.clone(), lambda t: t)  # type: ignore[attr-defined]


def run_tensor_hooks(
    node: Node, grads: list[Any], create_graph: bool, as_tensor: Any, as_grad: Any
) -> None:
    """Runs the hooks of the node's output tensors on `grads`, in place; keeps the gradients that are retained."""
    if node.tensor_hooks:
        for index, hooks in node.tensor_hooks.items():
            if grads[index] is None:
                continue
            for hook in list(hooks.values()):
                result = hook(as_tensor(grads[index]))
                if result is not None:
                    if not isinstance(result, Tensor):
                        raise TypeError(
                            f"hook '{getattr(hook, '__name__', hook)}' must return None or a Tensor"
                        )
                    shape = node.outputs[index][0]
                    if result._array.shape != shape:
                        raise RuntimeError(
                            f"hook '{getattr(hook, '__name__', hook)}' has changed the size of value: a gradient of "
                            f"shape {list(shape)} became {list(result._array.shape)}"
                        )
                    grads[index] = as_grad(result)
    if node.retained:
        for index, reference in node.retained.items():
            tensor = reference()
            if tensor is not None and grads[index] is not None:
                kept = as_tensor(grads[index])
                tensor._grad = kept if create_graph else kept.clone()  # type: ignore[attr-defined]
