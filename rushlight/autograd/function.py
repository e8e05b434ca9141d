"""`Function`: a user's own forward and backward as one node of the tape."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.autograd.modes import state
from rushlight.autograd.node import Node, Saved, edge_of, overwritten
from rushlight.autograd.slots import slots
from rushlight.core import shapes
from rushlight.core.dtypes import INEXACT
from rushlight.core.sites import user_site
from rushlight.core.watch import FUNCTION, observed_as, watch
from rushlight.primitives import structural
from rushlight.primitives.interpreter import slot
from rushlight.tensor.storage import version_of
from rushlight.tensor.tensor import Tensor, alias, wrap


class FunctionCtx:
    """What `forward` hands to `backward`: saved tensors, marks, and any attribute the user sets."""

    needs_input_grad: tuple[bool, ...] = ()
    _to_save: tuple[Any, ...] = ()
    _saved: list[Any] | None = None
    _dirty: tuple[Tensor, ...] = ()
    _non_differentiable: tuple[Tensor, ...] = ()
    _materialize_grads: bool = True
    _node: Any = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors (inputs, outputs or others) for backward, where `saved_tensors` gives them back."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {tensors.index(t)} is of type "
                    f"{type(t).__name__}: keep other things as attributes of ctx"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Accepted for forward-mode formulas (`jvp`), which rushlight does not run."""
        self._for_forward = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept. RuntimeError once backward has freed it."""
        if self._saved is None:
            if self._node is not None and self._node.released:
                raise RuntimeError(
                    "Trying to backward through the graph a second time (or directly access saved tensors after they "
                    "have already been freed). Specify retain_graph=True if you need to backward through the graph a "
                    "second time."
                )
            return self._to_save
        found: list[Any] = []
        for saved in self._saved:
            if saved is None:
                found.append(None)
                continue
            if saved.changed():
                whose = f"which {self._node.name()} saved"
                raise RuntimeError(
                    overwritten(self._node, whose, saved.tensor._array, saved.version, saved.count)
                )
            found.append(saved.unpack())
        return tuple(found)

    saved_variables = saved_tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Says that forward changed these inputs in place; they must be among its outputs."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Says that no gradient flows through these outputs."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether gradients that did not arrive are handed to backward as zeros (the default) or as None."""
        self._materialize_grads = value


class FunctionNode(Node):
    """The node of one call of a user's Function."""

    __slots__ = ("ctx", "expected", "function", "positions")

    def __init__(self, function: type[Function], ctx: FunctionCtx, args: Sequence[Any]) -> None:
        self.positions = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        super().__init__(tuple(edge_of(args[i]) for i in self.positions))
        self.function, self.ctx = function, ctx
        self.expected = [(args[i]._array.shape, args[i]._array.dtype) for i in self.positions]

    def name(self) -> str:
        """The Function's name with Backward, as it prints in `grad_fn=<...>`."""
        return self.function.__name__ + "Backward"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.ctx, name)

    def apply(self, grads: list[Any], create_graph: bool) -> Sequence[Any]:
        given: list[Tensor | None] = []
        for grad, (shape, dtype) in zip(grads, self.outputs, strict=True):
            if grad is None:
                if self.ctx._materialize_grads:
                    given.append(wrap(structural.full(0, shape=shape, dtype=dtype)))
                else:
                    given.append(None)
            else:
                given.append(grad if create_graph else wrap(grad))
        found = self.function.backward(self.ctx, *given)
        returned = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        count = len(self.ctx.needs_input_grad)
        if len(returned) > count and all(r is None for r in returned[count:]):
            returned = returned[:count]
        if len(returned) != count:
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected {count}, one for each "
                f"argument of forward, got {len(returned)})"
            )
        for i, r in enumerate(returned):
            if r is not None and i not in self.positions:
                raise RuntimeError(
                    f"function {self.name()} returned a gradient different from None at position {i + 1}, but the "
                    "corresponding forward input was not a Variable"
                )
        return [
            None if returned[i] is None else self._checked(returned[i], k, i, create_graph)
            for k, i in enumerate(self.positions)
        ]

    def _checked(self, grad: Any, k: int, position: int, create_graph: bool) -> Any:
        if not isinstance(grad, Tensor):
            raise TypeError(
                f"function {self.name()} must return Tensors or None as gradients, but position {position + 1} is of "
                f"type {type(grad).__name__}"
            )
        shape, dtype = self.expected[k]
        if grad._array.shape != shape and not shapes.can_broadcast(shape, grad._array.shape):
            raise RuntimeError(
                f"Function {self.name()} returned an invalid gradient at index {position} - got "
                f"{list(grad._array.shape)} but expected shape compatible with {list(shape)}"
            )
        return (
            slots.fit_tensor(grad, shape, dtype)
            if create_graph
            else slots.fit(grad._array, shape, dtype)
        )

    def release(self) -> None:
        """Lets go of the saved tensors."""
        if self.ctx._saved:
            self.ctx._saved = None
            self.ctx._to_save = ()
            self.released = True


class Function:
    """Base of the user's own differentiable functions: write `forward` and `backward`, call `apply`.

    >>> import rushlight
    >>> class Cube(rushlight.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (x,) = ctx.saved_tensors
    ...         return grad * 3 * x * x
    >>> x = rushlight.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should "
            "invoke them on the class itself: use the apply() method"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated: use apply()"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the outputs: `forward(ctx, *args)`, or `forward(*args)` with `setup_context`."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Fills `ctx`, where forward is written without it."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Turns gradients of the outputs into one for each argument of forward (None for those without)."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs forward and records the call."""
        if watch.on and slot.recorder is None:
            return observed_as(FUNCTION, cls.__name__, (), cls._apply, *args, **kwargs)
        return cls._apply(*args, **kwargs)

    @classmethod
    def _apply(cls, *args: Any, **kwargs: Any) -> Any:
        separate = cls.setup_context is not Function.setup_context
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        tracked = state.grad_enabled and any(ctx.needs_input_grad)
        node = None
        if tracked:
            node = FunctionNode(cls, ctx, args)
            node.site, node.scope = user_site(), state.scope
            ctx._node = node
        before, state.grad_enabled = state.grad_enabled, False
        try:
            if separate:
                output = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, output)
            else:
                output = cls.forward(ctx, *args, **kwargs)
        finally:
            state.grad_enabled = before
        single = not isinstance(output, tuple)
        outputs = [_as_output(o, args, ctx, tracked) for o in ((output,) if single else output)]
        if node is not None:
            _attach(cls, node, ctx, outputs, (output,) if single else output)
        return outputs[0] if single else tuple(outputs)


def _as_output(output: Any, args: Sequence[Any], ctx: FunctionCtx, tracked: bool) -> Any:
    """An input returned as it is becomes a tensor of its own, unless it was marked dirty."""
    if not isinstance(output, Tensor) or any(output is d for d in ctx._dirty):
        return output
    if any(output is a for a in args) or output._requires_grad:
        fresh = alias(output)
        if tracked:
            return fresh
        fresh._requires_grad, fresh._grad_fn, fresh._output = (
            output._requires_grad,
            output._grad_fn,
            output._output,
        )
        return fresh
    return output


def _attach(
    cls: type, node: FunctionNode, ctx: FunctionCtx, outputs: list[Any], originals: Sequence[Any]
) -> None:
    for dirty in ctx._dirty:
        if not any(dirty is o for o in outputs):
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as output."
            )
        if dirty._requires_grad and dirty.history() is None:
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation."
            )
    tensors = [o for o in outputs if isinstance(o, Tensor)]
    node.outputs = tuple(
        (o._array.shape, o._array.dtype) if isinstance(o, Tensor) else ((), INEXACT)
        for o in outputs
    )
    for i, output in enumerate(outputs):
        if not isinstance(output, Tensor) or output._array.dtype not in INEXACT:
            continue
        if any(originals[i] is n for n in ctx._non_differentiable):
            continue
        if any(output is d for d in ctx._dirty) and output._base is not None:
            base, edge = output._base, edge_of(output._base)
            written = alias(output)
            written._grad_fn, written._output, written._requires_grad = node, i, True
            slots.rewrite_base(base, edge, written, output._steps, None)
            output.history()
            continue
        output._grad_fn, output._output, output._requires_grad = node, i, True
        output._generation += 1
    ctx._saved = []
    for saved in ctx._to_save:
        if saved is None:
            ctx._saved.append(None)
            continue
        at = next(
            (
                i
                for i, o in enumerate(outputs)
                if o is saved or (originals[i] is saved and o in tensors)
            ),
            -1,
        )
        version_of(saved)
        ctx._saved.append(Saved(saved, node, at if any(saved is o for o in originals) else -1))


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a `backward` that is not itself made of differentiable ops: differentiating it again is an error."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        again = state.grad_enabled and any(isinstance(g, Tensor) and g.requires_grad for g in grads)
        before, state.grad_enabled = state.grad_enabled, False
        try:
            found = backward(ctx, *grads)
        finally:
            state.grad_enabled = before
        if not again:
            return found
        results = found if isinstance(found, tuple) else (found,)
        refused = tuple(_refusing(r, grads) if isinstance(r, Tensor) else r for r in results)
        return refused if isinstance(found, tuple) else refused[0]

    return wrapper


class _Refusal(Node):
    """Stands where a second derivative was declared not to exist."""

    __slots__ = ()

    def apply(self, grads: list[Any], create_graph: bool) -> Sequence[Any]:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


def _refusing(result: Tensor, grads: Sequence[Any]) -> Tensor:
    fresh = alias(result)
    node = _Refusal(tuple(edge_of(g) for g in grads if isinstance(g, Tensor)))
    node.outputs = ((result._array.shape, result._array.dtype),)
    fresh._grad_fn, fresh._requires_grad = node, True
    return fresh
