"""ctc_loss: the loss for labels that come in an order, but at unknown times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core.dtypes import FLOATING, INT64
from rushlight.ops.arithmetic import in_dtype
from rushlight.ops.comparison import clamp
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.linear_algebra import plain
from rushlight.ops.losses import reduced
from rushlight.ops.operands import to
from rushlight.ops.record import type_name
from rushlight.ops.selection import choose
from rushlight.ops.shape import select, unsqueeze
from rushlight.primitives import structural as s
from rushlight.primitives.alignments import ctc, ctc_adjoint
from rushlight.primitives.checks import within


@op(function=False, node="CtcLossBackward0")
def ctc_values(
    log_probs: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    blank: int,
    zero_infinity: bool,
) -> Array:
    """Each sequence's loss: inf where its labels have no alignment with its inputs."""
    whole = [to(x, INT64) for x in (targets, input_lengths, target_lengths)]
    return ctc(log_probs, *whole, blank=blank)


@ctc_values.gradient("log_probs")
def ctc_values_gradient(
    grad: Array,
    log_probs: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    blank: int,
    zero_infinity: bool,
) -> Array:
    return ctc_pulled_back(
        grad, log_probs, targets, input_lengths, target_lengths, blank, zero_infinity
    )


@op(function=False)
def ctc_pulled_back(
    grad: Array,
    log_probs: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    blank: int,
    zero_infinity: bool,
) -> Array:
    """The gradient of ctc_values; it has none itself, as in PyTorch."""
    whole = [to(x, INT64) for x in (targets, input_lengths, target_lengths)]
    return ctc_adjoint(grad, log_probs, *whole, blank=blank, zero_infinity=zero_infinity)


@ctc_pulled_back.gradient("grad", "log_probs")
def ctc_pulled_back_gradient() -> Any:
    raise NotImplementedError("the derivative for '_ctc_loss_backward' is not implemented")


@op(function=False, differentiable=False)
def lengths_of(like: Array, values: tuple[int, ...]) -> Array:
    """Lengths that were given as numbers."""
    return s.constant(values=values, shape=(len(values),), dtype=INT64)


@lengths_of.samples
def lengths_of_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(1), (2, 3))


def _lengths(values: Any, like: Any, name: str) -> Any:
    if hasattr(values, "dtype"):
        if plain(values.dtype).kind not in "iu":
            raise RuntimeError(f"{name} must be integral, not {values.dtype}")
        return values if values.ndim else unsqueeze(values, 0)
    return lengths_of(like, tuple(int(v) for v in values))


@op(function=False, differentiable=False)
def checked_lengths(input: Array, name: str, count: int, highest: Any = None) -> Array:
    """The lengths of `count` sequences; RuntimeError where there are others, or one not in [0, highest]."""
    if input.shape[0] != count:
        raise RuntimeError(
            f"{name} must be of size batch_size: {count} sequences, but {input.shape[0]} lengths"
        )
    least = f"Expected {name} to have value at least 0, but got {{value}}"
    most = f"Expected {name} to have value at most {highest}, but got value {{value}}"
    input = within(input, low=0, high=None, message=least)
    return input if highest is None else within(input, low=None, high=highest, message=most)


@checked_lengths.samples
def checked_lengths_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(3, high=5), "lengths", 3, 4)
    yield Bad(make.ints(3, low=5, high=9), "lengths", 3, 4, raises=RuntimeError, says="at most 4")


@op(module="nn.functional", composite=True)
def ctc_loss(
    log_probs: Array,
    targets: Array,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Array:
    """Connectionist temporal classification (A. Graves et al., 2006): minus the logarithm of the sum, over all ways
    to stretch the targets (with blanks between) to the inputs' length, of their probabilities.

    `log_probs` is (T, N, C), or (T, C) of one sequence: logarithms of probabilities, as log_softmax()
    makes them; the gradient takes that for granted. `targets` is (N, S), or all targets one after
    another; lengths are tensors or tuples of N integers. "mean" divides each loss by its target's
    length first. With zero_infinity=True, a sequence too short for its target counts 0.

    >>> import rushlight
    >>> uniform = rushlight.zeros(3, 1, 2) - 0.6931472
    >>> rushlight.nn.functional.ctc_loss(uniform, rushlight.tensor([[1]]), (3,), (1,))
    tensor(0.2877)
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if plain(log_probs.dtype) not in FLOATING:
        raise RuntimeError(
            f"\"ctc_loss_cpu\" not implemented for '{type_name(plain(log_probs.dtype))}': log_probs are logarithms"
        )
    if log_probs.ndim not in (2, 3):
        raise RuntimeError(
            f"log_probs must have shape (T, N, C) or (T, C), not {list(log_probs.shape)}"
        )
    single = log_probs.ndim == 2
    if single:
        log_probs = unsqueeze(log_probs, 1)
        targets = unsqueeze(targets, 0) if targets.ndim == 1 else targets
    steps, count, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise RuntimeError(f"blank must be in label range: {blank} is not in [0, {classes})")
    inputs = _lengths(input_lengths, log_probs, "input_lengths")
    lengths = _lengths(target_lengths, log_probs, "target_lengths")
    inputs = checked_lengths(inputs, "input_lengths", count, steps)
    longest = targets.shape[1] if targets.ndim == 2 else None
    lengths = checked_lengths(lengths, "target_lengths", count, longest)
    losses = ctc_values(log_probs, targets, inputs, lengths, blank, bool(zero_infinity))
    if zero_infinity:
        losses = choose(losses == float("inf"), 0.0, losses)
    if reduction == "mean":
        losses = losses / in_dtype(clamp(lengths, 1), plain(losses.dtype))
    if single and reduction == "none":
        return select(losses, 0, 0)
    return reduced(losses, reduction)


def _sequences(make: Any) -> Iterator[Any]:
    from rushlight.ops.softmax import log_softmax

    def scores(*shape: int) -> Any:
        return log_softmax(make(*shape), -1)

    targets = make.ints(2, 3, low=1, high=4)
    yield Sample(scores(6, 2, 4), targets, (6, 5), (3, 2))
    yield Sample(scores(6, 2, 4), make.ints(5, low=1, high=4), (6, 6), (3, 2), 0, "sum")
    yield Sample(scores(5, 4), make.ints(2, low=0, high=3), (5,), (2,), 3, "none")
    yield Sample(
        scores(3, 1, 4), make.tensor([[1, 1, 1]], targets.dtype), (3,), (3,), 0, "mean", True
    )
    yield Bad(
        make(6, 2, 4),
        targets,
        (6,),
        (3, 2),
        raises=RuntimeError,
        says="input_lengths must be of size",
    )
    yield Bad(make(6, 2, 4), targets, (7, 6), (3, 2), raises=RuntimeError, says="at most 6")
    yield Bad(
        make(6, 2, 4),
        targets,
        (6, 6),
        (3, 2),
        4,
        raises=RuntimeError,
        says="blank must be in label range",
    )


ctc_loss.samples(_sequences)
