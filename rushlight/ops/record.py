"""What the call of an op leaves behind: nodes on the tape, views of a base, written tensors, named results.

declare.py runs the body; this file does the rest. The order of an in-place op matters: everything that can fail
is done before the first element is written.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from rushlight.autograd.modes import state
from rushlight.autograd.node import Edge, Node, edge_of, next_number
from rushlight.autograd.repeated import frozen
from rushlight.core.dtypes import INEXACT, of_numpy
from rushlight.core.sites import _PACKAGE
from rushlight.ops.tape import (
    OpNode,
    attach,
    begin,
    recipe_of,
    slots,
)
from rushlight.primitives import structural
from rushlight.primitives.interpreter import slot
from rushlight.primitives.views import Steps, adjoint, show, update
from rushlight.tensor import tensor as tensor_module
from rushlight.tensor.storage import note_write, version_of, write
from rushlight.tensor.tensor import Tensor, alias, wrap

if TYPE_CHECKING:
    from rushlight.ops.declare import Op

ndarray = np.ndarray


# -- views --------------------------------------------------------------------------------------------------


class ViewNode(Node):
    """A recorded view: its gradient is the adjoint of its steps."""

    __slots__ = ("label", "steps")

    label: str
    steps: Steps

    def name(self) -> str:
        """Torch's name of the node, such as ViewBackward0."""
        return self.label

    def apply(self, grads: list[Any], create_graph: bool) -> Sequence[Any]:
        source, output = self.edges[0]  # type: ignore[misc]
        shape, dtype = source.outputs[output]
        if create_graph:
            return (slots.view_adjoint(grads[0], self.steps, shape, dtype),)
        return (adjoint(grads[0], self.steps, shape, dtype),)

    def describe(self, key: list[Any], arrays: list[Any]) -> bool:
        key += (ViewNode, frozen(self.steps))
        return True

    def kernel(self, grads: list[Any]) -> tuple[Any, list[Any]]:
        from rushlight.backends.exact import exact_call

        source, output = self.edges[0]  # type: ignore[misc]
        return exact_call(_adjoint, (grads[0], frozen(self.steps), *source.outputs[output]))

    def release(self) -> None:
        """A view saves nothing: it may be run again."""


def view_node(label: str, edge: Edge, steps: Steps, array: Any) -> ViewNode:
    """The node of a view that shows `array`."""
    node = object.__new__(ViewNode)
    node.edges = (edge,)
    node.number = next_number()
    node.outputs = ((array.shape, array.dtype),)
    node.label, node.steps, node.released = label, steps, False
    return node


class _ViewsNode(Node):
    """Several views made by one call (split, unbind): their gradients are added in one array."""

    __slots__ = ("chains", "label")

    def __init__(self, label: str, edge: Edge, chains: list[Steps]) -> None:
        super().__init__((edge,))
        self.label, self.chains = label, chains

    def name(self) -> str:
        """Torch's name of the node, such as SplitBackward0."""
        return self.label

    def apply(self, grads: list[Any], create_graph: bool) -> Sequence[Any]:
        source, output = self.edges[0]  # type: ignore[misc]
        shape, dtype = source.outputs[output]
        total: Any = structural.full(0, shape=shape, dtype=dtype)
        total = wrap(total) if create_graph else total
        for grad, steps in zip(grads, self.chains, strict=True):
            if grad is not None:
                total = (
                    slots.copy_slices(total, grad, steps)
                    if create_graph
                    else update(total, grad, steps)
                )
        return (total,)

    def describe(self, key: list[Any], arrays: list[Any]) -> bool:
        key += (_ViewsNode, *map(frozen, self.chains))
        return True

    def kernel(self, grads: list[Any]) -> tuple[Any, list[Any]]:
        from rushlight.backends.exact import exact_call

        source, output = self.edges[0]  # type: ignore[misc]
        chains = tuple(map(frozen, self.chains))
        return exact_call(_adjoints, (grads, chains, *source.outputs[output]))

    def release(self) -> None:
        """Views save nothing: the node may be run again."""


def _adjoint(grad: Any, steps: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The gradient of a ViewNode, of steps that are frozen."""
    return (adjoint(grad, tuple((view, dict(items)) for view, *items in steps), shape, dtype),)


def _adjoints(grads: Any, chains: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The gradient of a _ViewsNode, of steps that are frozen."""
    total = structural.full(0, shape=shape, dtype=dtype)
    for grad, steps in zip(grads, chains, strict=True):
        if grad is not None:
            total = update(total, grad, tuple((view, dict(items)) for view, *items in steps))
    return (total,)


def _place(node: Node, frame: FrameType | None) -> None:
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    node.site = None if frame is None else (frame.f_code, frame.f_lasti)
    node.scope = state.scope


def view_of(source: Tensor, steps: Steps) -> Tensor:
    """The view, related to its base, with no node yet."""
    view = object.__new__(Tensor)
    view._array = show(source._array, steps)
    view._version_counter = version_of(source)
    base = source._base
    if base is None:
        base = source
        view._steps = steps
    else:
        view._steps = source._steps + steps
        view._view_error = source._view_error
    view._base = base
    view._generation = base._generation
    if source._is_inference:
        view._is_inference = True
    if slot.recorder is not None:
        slot.recorder.viewed(view, source, steps)  # type: ignore[attr-defined]
    return view


_NO_GRAD_VIEW = (
    "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Make the view where "
    "it is written, outside no_grad(), or write it inside no_grad() too."
)


def make_view(this: Op, source: Tensor, steps: Steps, frame: FrameType | None) -> Tensor:
    """A tensor that looks into the memory of `source`, with its node if one is wanted."""
    edge = edge_of(source) if source.requires_grad else None
    view = view_of(source, steps)
    if edge is not None:
        if not state.grad_enabled:
            view._view_error = _NO_GRAD_VIEW
        elif view._array.dtype in INEXACT:
            label = this.node_name if isinstance(this.node_name, str) else this.node_name(steps)
            node = view_node(label, edge, steps, view._array)
            _place(node, frame)
            view._grad_fn, view._requires_grad = node, True
    return view


def make_views(
    this: Op, source: Tensor, chains: list[Steps], frame: FrameType | None
) -> tuple[Tensor, ...]:
    """Several views of one tensor, made by one node."""
    edge = edge_of(source) if source.requires_grad else None
    views = tuple(view_of(source, steps) for steps in chains)
    if edge is not None and views and source._array.dtype in INEXACT:
        if state.grad_enabled:
            node = _ViewsNode(this.node_name, edge, chains)
            node.outputs = tuple((v._array.shape, v._array.dtype) for v in views)
            _place(node, frame)
        for i, view in enumerate(views):
            if state.grad_enabled:
                view._grad_fn, view._output, view._requires_grad = node, i, True
            view._view_error = (
                f"Output {i} of {this.node_name} is a view and is being modified inplace. This view is the output "
                "of a function that returns multiple views. Such functions do not allow the output views to be "
                "modified inplace. You should replace the inplace operation by an out-of-place one."
            )
    return views


def renew_view(view: Tensor) -> None:
    """Gives a view whose base was written a node that looks at the base as it is now."""
    base = view._base
    assert base is not None  # noqa: S101 - called for views only
    view._generation = base._generation
    if view._view_error == _NO_GRAD_VIEW or view._array.dtype not in INEXACT:
        return
    edge = edge_of(base)
    if edge is None:
        return
    node = view_node("AsStridedBackward0", edge, view._steps, view._array)
    node.site, node.scope = edge[0].site, edge[0].scope
    view._grad_fn, view._output, view._requires_grad = node, 0, True


tensor_module.install(renew_view=renew_view)


# -- writing ------------------------------------------------------------------------------------------------


def adopt(self: Tensor, view: Tensor, name: str) -> Tensor:
    """Makes `self` the view that was just taken of it: its shape and strides, its place in the graph."""
    if state.grad_enabled and self._requires_grad and self.history() is None:
        raise RuntimeError(
            f"{name}: a leaf Variable that requires grad is being used in an in-place operation. Use the form without "
            "the underscore, or no_grad()."
        )
    if self._base is not None:
        self._steps, self._generation = view._steps, view._generation
    self._array = view._array
    if view._grad_fn is not None:
        self._grad_fn, self._output, self._requires_grad = (
            view._grad_fn,
            view._output,
            view._requires_grad,
        )
    note_write(self, name)
    return self


def check_writable(self: Tensor, name: str, tracked: bool) -> None:
    """RuntimeError where an in-place op on this tensor would be wrong; nothing has been written yet."""
    if not isinstance(self, Tensor):
        raise TypeError(
            f"{name}() changes a tensor: its first argument must be a Tensor, not {type(self).__name__}"
        )
    if state.grad_enabled:
        base = self._base
        if base is not None and base._requires_grad and base._grad_fn is None:
            raise RuntimeError(
                f"{name}: a view of a leaf Variable that requires grad is being used in an in-place operation. Write "
                "under no_grad(), or work on a clone()."
            )
        if self._requires_grad and self.history() is None:
            raise RuntimeError(
                f"{name}: a leaf Variable that requires grad is being used in an in-place operation. Write under "
                "no_grad() (as an optimizer does), or use the form without the underscore."
            )
        if self._view_error is not None and (tracked or (base is not None and base._requires_grad)):
            raise RuntimeError(self._view_error)
    if self._is_inference and not state.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed. You can make a clone to get a "
            "normal tensor before doing inplace update."
        )
    array = self._array
    if 0 in getattr(array, "strides", ()) and array.size > 1:
        if any(s == 0 and n > 1 for s, n in zip(array.strides, array.shape, strict=True)):
            raise RuntimeError(
                "unsupported operation: more than one element of the written-to tensor refers to a single memory "
                "location. Please clone() the tensor before performing the operation."
            )


_TYPE_NAMES = {
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
    "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64", "float16": "Half", "bfloat16": "BFloat16",
    "float32": "Float", "float64": "Double", "complex64": "ComplexFloat", "complex128": "ComplexDouble",
}  # fmt: skip


def type_name(array_dtype: Any) -> str:
    """Torch's word for a dtype in messages: 'Float', 'Long'."""
    return _TYPE_NAMES[of_numpy(array_dtype).name]


def check_cast(source: Any, target: Any) -> None:
    """RuntimeError if results of dtype `source` must not be stored in `target`: float in int, int in bool, ..."""
    if source == target:
        return
    have, want = of_numpy(source), of_numpy(target)
    if have.kind > want.kind:
        raise RuntimeError(
            f"result type {type_name(source)} can't be cast to the desired output type {type_name(target)}"
        )


def check_fits(self: Tensor, result: Any, name: str) -> None:
    """RuntimeError where the result of an in-place op has another shape or an unfitting dtype."""
    shape = self._array.shape
    if result.shape != shape:
        raise RuntimeError(
            f"output with shape {list(shape)} doesn't match the broadcast shape {list(result.shape)}: {name} must "
            "keep the tensor's shape"
        )
    check_cast(result.dtype, self._array.dtype)


def write_result(
    this: Op,
    self: Tensor,
    args: list[Any],
    kwargs: dict[str, Any],
    result: Any,
    name: str,
    tracked: bool,
    frame: FrameType | None,
) -> Tensor:
    """Records an in-place op, writes its result, and gives the tensor (and its base) the new history."""
    if not tracked or not this.differentiable or self._array.dtype not in INEXACT:
        write(self, result, name)
        if tracked and not this.differentiable and self._requires_grad:
            forget_history(self)
        return self
    node, saved = begin(this, args, kwargs, frame, self)
    base = self._base
    base_edge = None if base is None else edge_of(base)
    write(self, result, name)
    if base is None:
        attach(node, saved, (self,))
        self._generation += 1
        return self
    written = alias(self)
    attach(node, saved, (written,))
    rewrite_base(base, base_edge, written, self._steps, frame)
    self.history()
    return self


def rewrite_base(
    base: Tensor, base_edge: Edge, value: Tensor, steps: Steps, frame: FrameType | None
) -> None:
    """The base's history after one of its views was written: CopySlices of the old base and the new value."""
    this = slots.copy_slices.op
    value_edge = edge_of(value)
    node = OpNode((base_edge, value_edge))
    node.op = this
    node.recipe = recipe_of(this, (base_edge is not None) + 2 * (value_edge is not None))
    node.saved = (steps,)  # all that the formulas of copy_slices read
    node.outputs = ((base._array.shape, base._array.dtype),)
    _place(node, frame)
    base._grad_fn, base._output, base._requires_grad = node, 0, True
    base._generation += 1


def forget_history(self: Tensor) -> None:
    """After a write that no gradient passes: the tensor no longer depends on what made it.

    Under no_grad() nothing changes, as in PyTorch: a parameter that is filled there stays a parameter.
    """
    if self._base is None and state.grad_enabled:
        self._grad_fn, self._requires_grad = None, False
        self._generation += 1


def assign(self: Tensor, value: Tensor, name: str) -> Tensor:
    """The in-place form of a composite op: its result is copied into the tensor, gradients included."""
    check_writable(self, name, value.requires_grad)
    check_fits(self, value._array, name)
    return slots.copy_to(self, value)  # type: ignore[no-any-return]


def into_out(this: Op, out: Any, result: Any, tracked: bool) -> Any:
    """Stores results in the caller's `out=` tensor (or tuple of them)."""
    targets = (out,) if isinstance(out, Tensor) else tuple(out)
    results = result if type(result) is tuple else (result,)
    if len(targets) != len(results):
        raise TypeError(
            f"{this.name}(): argument 'out' must hold {len(results)} tensors, not {len(targets)}"
        )
    for target in targets:
        if not isinstance(target, Tensor):
            raise TypeError(
                f"{this.name}(): argument 'out' must be Tensor, not {type(target).__name__}"
            )
        if state.grad_enabled and this.differentiable and (tracked or target.requires_grad):
            raise RuntimeError(
                f"{this.name}(): functions with out=... arguments don't support automatic differentiation, but one "
                "of the arguments requires grad."
            )
    for target, array in zip(targets, results, strict=True):
        check_cast(array.dtype, target._array.dtype)
        check_writable(target, this.name, False)
    for target, array in zip(targets, results, strict=True):
        _resize_output(target, array)
        write(target, array, this.name)
    return out if isinstance(out, Tensor) or not this.outputs else named_result(this)(*targets)


def into_out_tensor(this: Op, out: Any, result: Any) -> Any:
    """As `into_out`, for the tensors that a composite op has computed."""
    if isinstance(result, Tensor):
        return into_out(this, out, result._array, result.requires_grad)
    return into_out(
        this, out, tuple(t._array for t in result), any(t.requires_grad for t in result)
    )


def _resize_output(target: Tensor, array: Any) -> None:
    have = target._array
    if have.shape == array.shape:
        return
    if have.size:
        warnings.warn(
            f"An output with one or more elements was resized since it had shape {list(have.shape)}, which does not "
            f"match the required output shape {list(array.shape)}. Resize it yourself with out.resize_(0) before.",
            UserWarning,
            stacklevel=5,
        )
    target._array = np.empty(array.shape, have.dtype)


# -- several results ----------------------------------------------------------------------------------------

_result_types: dict[str, Any] = {}


def named_result(this: Op) -> Any:
    """The class of an op's results: a tuple whose fields have names, printed as torch's return_types are."""
    found = _result_types.get(this.qualified_name)
    if found is None:
        fields = this.outputs

        def new(cls: Any, *values: Any) -> Any:
            return tuple.__new__(cls, values[0] if len(values) == 1 and len(fields) > 1 else values)

        def text(self: Any) -> str:
            inside = ",\n".join(f"{f}={v!r}" for f, v in zip(fields, self, strict=True))
            return f"torch.return_types.{this.result}(\n{inside})"

        from operator import itemgetter

        members: dict[str, Any] = {f: property(itemgetter(i)) for i, f in enumerate(fields)}
        members |= {
            "__new__": new, "__repr__": text, "__slots__": (), "_fields": fields, "n_fields": len(fields),
            "__module__": "rushlight.return_types",
            "__reduce__": lambda self: (_rebuild, (this.qualified_name, tuple(self))),
        }  # fmt: skip
        found = _result_types[this.qualified_name] = type(this.result, (tuple,), members)
    return found


def _rebuild(name: str, values: tuple[Any, ...]) -> Any:
    return named_result(slots.find_op(name))(*values)
