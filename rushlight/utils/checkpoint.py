"""Gradient checkpointing: activations inside a function are not kept but computed again in backward.

Source: Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory cost", arXiv 1604.06174.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from rushlight.autograd import Function, backward, enable_grad, no_grad
from rushlight.autograd.graph import saved_tensors_hooks
from rushlight.autograd.node import AccumulateGrad, edge_of
from rushlight.core.sites import warn_user
from rushlight.random.generator import get_rng_state, set_rng_state
from rushlight.tensor.tensor import Tensor, alias


class CheckpointError(RuntimeError):
    """The second run of a checkpointed function was not like the first."""


class _Restored:
    """The random state of the first run while the function runs again; afterwards what it was before."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def __enter__(self) -> None:
        if self._state is not None:
            self._now = get_rng_state()
            set_rng_state(self._state)

    def __exit__(self, *_: object) -> None:
        if self._state is not None:
            set_rng_state(self._now)


class _Checkpoint(Function):
    """The form that runs the function under no_grad and again, with a tape, in backward."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        ctx.function = function
        ctx.random_state = get_rng_state() if preserve else None
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.rest = [None if isinstance(a, Tensor) else a for a in args]
        ctx.save_for_backward(*(a for a in args if isinstance(a, Tensor)))
        with no_grad():
            return function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        args = list(ctx.rest)
        for place, saved in zip(ctx.places, ctx.saved_tensors, strict=True):
            args[place] = saved.detach().requires_grad_(saved.requires_grad)
        with _Restored(ctx.random_state), enable_grad():
            outputs = ctx.function(*args)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        pairs = [
            (output, grad)
            for output, grad in zip(outputs, grads, strict=True)
            if isinstance(output, Tensor) and output.requires_grad
        ]
        if not pairs:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        backward([o for o, _ in pairs], [g for _, g in pairs])
        return (None, None, *(a.grad if isinstance(a, Tensor) else None for a in args))


def _placed(tensor: Tensor, edge: Any) -> Tensor:
    """The same elements, with this edge as their history."""
    placed = alias(tensor)
    placed._requires_grad = True
    node, placed._output = edge
    if isinstance(node, AccumulateGrad):
        placed._accumulator = weakref.ref(node)
    else:
        placed._grad_fn = node
    return placed


def _check_unwritten(args: tuple[Any, ...], versions: list[int]) -> None:
    """RuntimeError where an argument's memory was written since the first run: the second would differ."""
    now = [a._version for a in args if isinstance(a, Tensor)]
    if now != versions:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: an "
            f"argument of a checkpointed function is at version {now}; expected version {versions} instead"
        )


class _Recomputation:
    """What one checkpointed call would have saved for backward: counted in the first run, filled by the second."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self.run = run
        self.shapes: list[tuple[Any, Any]] = []
        self.values: list[Any] | None = None
        self.left = 0

    def pack(self, tensor: Tensor) -> tuple[int, Any]:
        """In the first run: only a number is kept, and where the tensor's gradient goes."""
        self.shapes.append((tuple(tensor.shape), tensor.dtype))
        return len(self.shapes) - 1, edge_of(tensor)

    def unpack(self, packed: tuple[int, Any]) -> Tensor:
        """In backward: the tensor of that number, after a second run if there was none yet.

        It has the place in the graph that the first run gave it, so that backward can be differentiated.
        """
        number, edge = packed
        if self.values is None:
            self._recompute()
        assert_values = self.values
        if assert_values is None or number >= len(assert_values):
            raise CheckpointError(
                "checkpoint: A different number of tensors was saved during the original forward and recomputation: "
                f"{len(self.shapes)} and {len(assert_values or [])}"
            )
        found = assert_values[number]
        self.left -= 1
        if not self.left:  # all are out: a second backward computes them again
            self.values = None
        return found if edge is None else _placed(found, edge)

    def _recompute(self) -> None:
        values: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            # The engine may hand out the result of a node: only its values are wanted here.
            values.append(tensor.detach())
            return tensor

        with saved_tensors_hooks(keep, lambda kept: kept):
            self.run()
        found = [(tuple(v.shape), v.dtype) for v in values]
        if len(found) != len(self.shapes):
            raise CheckpointError(
                "checkpoint: A different number of tensors was saved during the original forward and recomputation: "
                f"{len(self.shapes)} and {len(found)}. The function must do the same on both runs."
            )
        for i, (first, second) in enumerate(zip(self.shapes, found, strict=True)):
            if first != second:
                raise CheckpointError(
                    "checkpoint: Recomputed values for the following tensors have different metadata than during the "
                    f"forward pass: tensor {i} had {first}, has {second} now"
                )
        self.values, self.left = values, len(values)


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True,
    context_fn: Callable[[], tuple[Any, Any]] | None = None, determinism_check: str = "default",
    debug: bool = False, early_stop: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """`function(*args, **kwargs)`, whose inner activations are computed again in backward instead of being kept.

    `use_reentrant=False` (recommended) keeps the tape of the first run without its tensors; `True` runs the function
    without a tape at first, and then wants an input that requires a gradient. `preserve_rng_state` gives the second
    run the random numbers of the first. Raises CheckpointError, a RuntimeError, where the runs differ.

    >>> import rushlight
    >>> from rushlight.utils.checkpoint import checkpoint
    >>> x = rushlight.ones(2, requires_grad=True)
    >>> checkpoint(rushlight.exp, x, use_reentrant=False).sum().backward()
    >>> x.grad
    tensor([2.7183, 2.7183])
    """
    if use_reentrant is None:
        warn_user(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. use_reentrant=False is "
            "recommended, but if you need to preserve the current default behavior, you can pass use_reentrant=True."
        )
        use_reentrant = True
    if use_reentrant:
        if kwargs:
            raise ValueError(f"Unexpected keyword arguments: {','.join(kwargs)}")
        if context_fn is not None:
            raise ValueError("Passing `context_fn` is only supported when use_reentrant=False.")
        if not any(isinstance(a, Tensor) and a.requires_grad for a in args):
            warn_user("None of the inputs have requires_grad=True. Gradients will be None")
        return _Checkpoint.apply(function, preserve_rng_state, *args)
    first, second = context_fn() if context_fn is not None else (None, None)
    state = get_rng_state() if preserve_rng_state else None

    versions = [a._version for a in args if isinstance(a, Tensor)]

    def again() -> None:
        _check_unwritten(args, versions)
        with _Restored(state), enable_grad():
            if second is None:
                function(*args, **kwargs)
            else:
                with second:
                    function(*args, **kwargs)

    recomputation = _Recomputation(again)
    with saved_tensors_hooks(recomputation.pack, recomputation.unpack):
        if first is None:
            return function(*args, **kwargs)
        with first:
            return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """A Sequential (or a list of functions) in `segments` parts, each but the last checkpointed."""
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if use_reentrant is None:
        warn_user(
            "torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed explicitly."
        )
        use_reentrant = True
    children = getattr(functions, "children", None)
    parts = list(children() if children is not None else functions)
    size = len(parts) // segments

    def run(part: Iterable[Callable[[Any], Any]]) -> Callable[[Any], Any]:
        def forward(value: Any) -> Any:
            for function in part:
                value = function(value)
            return value

        return forward

    end = -1
    for start in range(0, size * (segments - 1), size):
        end = start + size - 1
        input = checkpoint(
            run(parts[start : end + 1]),
            input,
            use_reentrant=use_reentrant,
            preserve_rng_state=preserve,
        )
    return run(parts[end + 1 :])(input)


__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential"]
