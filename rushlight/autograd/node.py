"""Nodes of the tape. A node knows how to turn the gradients of its outputs into those of its inputs.

Nodes are numbered as they are made, and every edge leads from a younger node to an older one; so the engine
needs no search of the graph to know an order: it always takes the youngest node that has work.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from rushlight.core.dtypes import INEXACT, of_numpy
from rushlight.core.sites import Site, describe
from rushlight.tensor.storage import Version, version_of, write
from rushlight.tensor.tensor import Tensor, wrap

if TYPE_CHECKING:
    from rushlight.core.shapes import Shape

next_number = itertools.count().__next__

#: (node, which of its outputs), or None where no gradient is wanted.
Edge: TypeAlias = "tuple[Node, int] | None"


class Node:
    """One recorded call. Subclasses say how gradients pass through it."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "edges",
        "number",
        "outputs",
        "released",
        "scope",
        "site",
    )

    edges: tuple[Edge, ...]
    number: int
    outputs: Any  # (shape, dtype) of each output
    site: Site | None
    scope: Any
    released: bool

    # Few nodes have these: they lie in the instance's dict, which is made when the first one is set.
    tensor_hooks: dict[int, dict[int, Any]] | None = None  # output index -> hooks on that tensor
    retained: dict[int, weakref.ref[Tensor]] | None = None  # outputs whose .grad is wanted
    pre_hooks: dict[int, Any] | None = None
    post_hooks: dict[int, Any] | None = None
    metadata_: dict[Any, Any] | None = None

    def __init__(self, edges: tuple[Edge, ...]) -> None:
        self.edges = edges
        self.number = next_number()
        self.outputs = ()
        self.site = None
        self.scope = None
        self.released = False

    def name(self) -> str:
        """The node's name, as it prints in `grad_fn=<...>`."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"cannot pickle a node of the graph ({self.name()}): a graph lives in one process. Store tensors, as "
            "detach() gives them"
        )

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dict for the user's notes."""
        if self.metadata_ is None:
            self.metadata_ = {}
        return self.metadata_

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """The nodes that gradients go to next, each with the number of its output."""
        return tuple((None, 0) if edge is None else edge for edge in self.edges)

    def apply(self, grads: list[Any], create_graph: bool) -> Sequence[Any]:
        """Gradients of the inputs, one for each edge (None where there is none).

        `grads` holds one for each output: arrays, or tensors with `create_graph`; None where none arrived.
        """
        raise NotImplementedError

    def describe(self, key: list[Any], arrays: list[Any]) -> bool:
        """Adds what the node's gradients follow from, besides those that arrive, to a key and to a list of arrays.

        False where that cannot be said, or something that was saved is not what it was.
        """
        return False

    def kernel(self, grads: list[Any]) -> tuple[Any, list[Any]]:
        """A native call that gives what `apply` gives, bit for bit, or None; and the arrays that it is given."""
        return None, []

    def release(self) -> None:
        """Lets go of what was saved for backward and sets `released`. A node that saves nothing may run again."""

    def where(self) -> str:
        """'line train.py:31, in conv1 (Conv2d)' for messages."""
        text = describe(self.site)
        path = scope_path(self.scope)
        return f"{text}, in {path}" if path else text

    def register_hook(self, hook: Any) -> Any:
        """Calls `hook(grad_inputs, grad_outputs)` after this node has run; it may return new grad_inputs."""
        from rushlight.autograd.handles import RemovableHandle

        if self.post_hooks is None:
            self.post_hooks = {}
        return RemovableHandle.add(self.post_hooks, hook)

    def register_prehook(self, hook: Any) -> Any:
        """Calls `hook(grad_outputs)` before this node runs; it may return new grad_outputs."""
        from rushlight.autograd.handles import RemovableHandle

        if self.pre_hooks is None:
            self.pre_hooks = {}
        return RemovableHandle.add(self.pre_hooks, hook)


def scope_path(scope: Any) -> str:
    """The path of the innermost module of a scope, as 'net.blocks.0.fc1 (Linear)'; '' outside modules."""
    if scope is None:
        return ""
    innermost = scope[0]
    parts: list[str] = []
    while scope is not None:
        module, outer = scope
        if outer is None:
            parts.append(type(module).__name__)
        else:
            parts.append(
                next((p for p, m in outer[0].named_modules() if m is module), type(module).__name__)
            )
        scope = outer
    path = ".".join(reversed(parts))
    return path if len(parts) == 1 else f"{path} ({type(innermost).__name__})"


class AccumulateGrad(Node):
    """The end of the tape at a leaf: adds what arrives to the leaf's `.grad`."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor) -> None:
        super().__init__(())
        self.variable = variable
        self.outputs = ((variable._array.shape, variable._array.dtype),)

    def describe(self, key: list[Any], arrays: list[Any]) -> bool:
        """A leaf is told by the gradient that it takes; hooks must see each one as it comes."""
        key.append(AccumulateGrad)
        return not self.variable._post_accumulate_hooks

    def apply(self, grads: list[Any], create_graph: bool) -> Sequence[Any]:
        """Accumulates; a leaf has no inputs to hand gradients to."""
        accumulate_into(self.variable, grads[0], create_graph)
        hooks = self.variable._post_accumulate_hooks
        if hooks:
            for hook in list(hooks.values()):
                hook(self.variable)
        return ()


def accumulate_into(variable: Tensor, grad: Any, create_graph: bool) -> None:
    """`variable.grad += grad`. Without a graph the existing gradient is changed in its memory, as PyTorch does."""
    from rushlight.autograd.slots import slots
    from rushlight.primitives.elementwise import add
    from rushlight.primitives.structural import copy

    have = variable._grad
    if create_graph:
        variable._grad = grad if have is None else slots.add(have, grad)
    elif have is None:
        # The array may be shared: with another leaf, a saved value, or the caller of backward.
        variable._grad = wrap(grad if is_unshared(grad) else copy(grad))
    elif have._requires_grad:
        variable._grad = wrap(add(have._array, grad))
    else:
        write(have, add(have._array, grad), "gradient accumulation")


def is_unshared(array: Any) -> bool:
    """Whether an array surely belongs to nobody else, so that it may become a `.grad` without a copy."""
    import sys

    count = getattr(sys, "getrefcount", None)
    if count is None or getattr(array, "base", array) is not None:
        return False
    # The engine's list, its local, three frames of arguments and getrefcount's own: measured by `_calibrate`.
    return bool(count(array) <= unshared_count)


#: References that an array has here when nobody outside the engine holds it; set by the engine at import.
unshared_count = 0


def accumulator_of(variable: Tensor) -> Node:
    """The one AccumulateGrad node of a leaf, kept alive by the graphs that lead to it."""
    found = variable._accumulator
    node = None if found is None else found()
    if node is None:
        array = variable._array
        node = object.__new__(
            AccumulateGrad
        )  # thousands a second: without the way through __init__
        node.edges, node.number, node.released = (), next_number(), False
        node.site = node.scope = None
        node.variable, node.outputs = variable, ((array.shape, array.dtype),)
        if variable._hooks:
            node.tensor_hooks = {0: variable._hooks}
        variable._accumulator = weakref.ref(node)
    return node


def edge_of(tensor: Tensor) -> Edge:
    """Where the gradient of this tensor goes; None if it needs none."""
    node = tensor.history()
    if node is not None:
        return (node, tensor._output)
    if tensor._requires_grad:
        return (accumulator_of(tensor), 0)
    return None


class Saved:
    """A tensor kept for backward, with the version that its memory had when it was saved."""

    __slots__ = ("count", "dtype", "hooked", "node", "output", "shape", "tensor", "version")

    def __init__(self, tensor: Tensor, node: Node | None, output: int = -1) -> None:
        self.shape, self.dtype = tensor._array.shape, tensor._array.dtype
        self.version: Version = version_of(tensor)
        self.count = self.version.count
        self.output = (
            output  # >= 0: an output of `node` itself, kept without its history (no cycle)
        )
        self.node = None if output < 0 or node is None else weakref.ref(node)
        hooks = saved_tensors_hooks_stack
        if hooks:
            pack, unpack = hooks[-1]
            self.hooked: Any = (unpack, pack(tensor if output < 0 else alias_of(tensor)))
            self.tensor: Any = None
        else:
            self.hooked = None
            self.tensor = tensor if output < 0 else alias_of(tensor)

    def changed(self) -> bool:
        """Whether the memory was written since."""
        return self.hooked is None and self.version.count != self.count

    def unpack(self) -> Tensor:
        """The tensor as it was; with its history, also if it is an output."""
        if self.hooked is not None:
            unpack, packed = self.hooked
            tensor = unpack(packed)
            if not isinstance(tensor, Tensor):
                raise TypeError("Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                                f"{type(tensor).__name__}")  # fmt: skip
        else:
            tensor = self.tensor
        if self.output >= 0:
            node = self.node() if self.node is not None else None
            if node is not None and tensor._array.dtype in INEXACT:
                tensor = alias_of(tensor)
                tensor._grad_fn, tensor._output, tensor._requires_grad = node, self.output, True
        return tensor  # type: ignore[no-any-return]


def overwritten(node: Node, whose: str, array: Any, version: Version, count: int) -> str:
    """What is said where something that `node` saved was written since: both lines, and what to do."""
    return (
        "one of the variables needed for gradient computation has been modified by an inplace operation: a "
        f"{of_numpy(array.dtype)} tensor of shape {list(array.shape)}, {whose} (recorded at {node.where()}), is at "
        f"version {version.count}; expected version {count} instead. It was overwritten by {version.operation} at "
        f"{describe(version.site)}: use the form without the underscore there, or clone() the tensor first."
    )


saved_tensors_hooks_stack: list[tuple[Any, Any]] = []


def alias_of(tensor: Tensor) -> Tensor:
    """The same array without history."""
    from rushlight.tensor.tensor import alias

    return alias(tensor)


def output_avals(tensors: Sequence[Tensor]) -> tuple[tuple[Shape, Any], ...]:
    """(shape, dtype) of each."""
    return tuple((t._array.shape, t._array.dtype) for t in tensors)
