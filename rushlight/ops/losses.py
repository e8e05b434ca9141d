"""Losses with class targets and of probabilities: cross entropy, nll, binary cross entropy, divergences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core.dtypes import FLOATING
from rushlight.core.sites import warn_user
from rushlight.ops.activations import logsigmoid
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import promote
from rushlight.ops.pointwise import exp, log
from rushlight.ops.pointwise_pairs import xlogy
from rushlight.ops.reduction import mean, sum
from rushlight.ops.selection import choose
from rushlight.ops.shape import expand, to_shape, unsqueeze
from rushlight.ops.softmax import log_softmax
from rushlight.primitives import elementwise as p
from rushlight.primitives import scores
from rushlight.primitives import structural as s
from rushlight.primitives.checks import within


def reduced(loss: Any, reduction: str) -> Any:
    """The losses as they are ("none"), their mean or their sum."""
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum(loss)
    if reduction == "none":
        return loss
    raise ValueError(
        f"{reduction} is not a valid value for reduction: it may be 'none', 'mean' or 'sum'"
    )


def chosen_reduction(size_average: Any, reduce: Any, reduction: str) -> str:
    """`reduction`, or what the two older arguments say, with a warning."""
    if size_average is None and reduce is None:
        return reduction
    average = size_average is None or size_average
    found = "none" if reduce is not None and not reduce else "mean" if average else "sum"
    warn_user(
        f"size_average and reduce args will be deprecated, please use reduction='{found}' instead."
    )
    return found


def is_floating(x: Any) -> bool:
    """Whether a tensor or array has a real floating dtype."""
    return bool(getattr(x.dtype, "is_floating_point", x.dtype in FLOATING))


# -- class targets ------------------------------------------------------------------------------------------


@op(function=False, node="NllLossBackward0")
def nll_values(input: Array, target: Array, weight: Array | None, ignore_index: int) -> Array:
    """-weight[t] * input[n, t] for each target t, 0 for ignored ones: (N, C, ...) and (N, ...) to (N, ...)."""
    found = scores.class_scores(input, target, ignore=ignore_index)
    if weight is not None:
        found = p.mul(found, scores.class_weights(weight, target, ignore=ignore_index))
    return p.neg(found)


@nll_values.gradient("input")
def nll_values_gradient(
    grad: Array, input_shape: Any, target: Array, weight: Any, ignore_index: int
) -> Array:
    return nll_places(grad, target, weight, input_shape[1], ignore_index)


@op(function=False)
def nll_places(
    input: Array, target: Array, weight: Array | None, classes: int, ignore_index: int
) -> Array:
    """The adjoint of `nll_values`."""
    if weight is not None:
        input = p.mul(input, scores.class_weights(weight, target, ignore=ignore_index))
    return scores.class_places(p.neg(input), target, classes=classes, ignore=ignore_index)


@nll_places.gradient("input")
def nll_places_gradient(grad: Array, target: Array, weight: Any, ignore_index: int) -> Array:
    return nll_values(grad, target, weight, ignore_index)


@op(function=False, differentiable=False)
def target_weights(target: Array, weight: Array | None, like: Array, ignore_index: int) -> Array:
    """The weight of each target, 0 for ignored ones."""
    if weight is None:
        return s.cast(p.not_equal(target, ignore_index), dtype=like.dtype)
    return scores.class_weights(weight, target, ignore=ignore_index)


@nll_values.samples
def nll_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.ints(3, high=4), None, -100)


@nll_places.samples
def nll_places_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3), make.ints(3, high=4), None, 4, -100)


@target_weights.samples
def target_weights_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(3, high=4), None, make(3), 1)


def _check_classes(name: str, input: Any, target: Any, weight: Any) -> None:
    shape, tshape = tuple(input.shape), tuple(target.shape)
    if getattr(target.dtype, "name", "") not in ("int64", "uint8"):
        raise RuntimeError(
            f"{name}: expected scalar type Long but found {target.dtype}: expected target dtype to be Long or Byte, "
            "as class targets are indices; convert them with .long()"
        )
    if len(shape) < 1:
        raise RuntimeError(f"{name}: input must have at least one dimension, the classes")
    classes = shape[0] if len(shape) == 1 else shape[1]
    wanted = () if len(shape) == 1 else (shape[0], *shape[2:])
    if tshape != wanted:
        if len(shape) > 1 and tshape[:1] and tshape[0] != shape[0]:
            raise ValueError(
                f"Expected input batch_size ({shape[0]}) to match target batch_size ({tshape[0]}): "
                f"scores of shape {list(shape)} "
                f"want targets of shape {list(wanted)}, not {list(tshape)}"
            )
        raise RuntimeError(
            f"{name}: scores of shape {list(shape)} ({classes} classes) want targets of shape "
            f"{list(wanted)}, but got {list(tshape)}"
            + (
                "; 0D or 1D target tensor expected, multi-target not supported"
                if len(shape) <= 2
                else ""
            )
        )
    if weight is not None and tuple(weight.shape) != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but "
            f"got weight tensor of shape: {list(weight.shape)}"
        )


def _batched(input: Any, target: Any) -> tuple[Any, Any, bool]:
    if len(input.shape) == 1:
        return unsqueeze(input, 0), unsqueeze(target, 0), True
    return input, target, False


def _weighted(
    losses: Any, target: Any, weight: Any, like: Any, ignore_index: int, reduction: str, one: bool
) -> Any:
    if reduction == "mean":
        return sum(losses) / sum(target_weights(target, weight, like, ignore_index))
    loss = reduced(losses, reduction)
    return to_shape(loss, ()) if one else loss


@op(module="nn.functional", composite=True)
def nll_loss(
    input: Array, target: Array, weight: Any = None, size_average: Any = None, ignore_index: int =
    -100, reduce: Any = None,
    reduction: str = "mean",
) -> Array:  # fmt: skip
    """-log probability of the target classes: `input` (N, C, ...) holds log probabilities, `target` (N, ...) classes.

    The mean is over the weights of the targets; targets equal to `ignore_index` do not count.
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    _check_classes("nll_loss", input, target, weight)
    x, t, one = _batched(input, target)
    losses = nll_values(x, t, weight, ignore_index)
    return _weighted(losses, t, weight, x, ignore_index, reduction, one)


@nll_loss.samples
def nll_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.ints(3, high=4))
    yield Sample(make(3, 4), make.ints(3, high=4), ignore_index=1, reduction="sum")
    yield Sample(make(2, 4, 3), make.ints(2, 3, high=4), reduction="none")
    yield Sample(make(4), make.ints((), high=4))
    yield Bad(make(3, 4), make.ints(2, high=4), raises=ValueError, says="batch_size")
    yield Bad(make(3, 4), make.ints(3, low=9, high=10), raises=IndexError, says="out of bounds")


@op(module="nn.functional", composite=True)
def cross_entropy(
    input: Array, target: Array, weight: Any = None, size_average: Any = None, ignore_index: int =
    -100, reduce: Any = None,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Array:  # fmt: skip
    """-log softmax of the scores (N, C, ...) at the target classes (N, ...), or against target
    probabilities (N, C, ...).

    >>> import rushlight
    >>> rushlight.nn.functional.cross_entropy(rushlight.zeros(1, 2), rushlight.tensor([0]))
    tensor(0.6931)
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    axis = 0 if len(input.shape) == 1 else 1
    if tuple(input.shape) == tuple(target.shape) and len(input.shape):
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing, axis)
    _check_classes("cross_entropy", input, target, weight)
    if reduction == "mean" and axis and not label_smoothing:
        (loss,) = mean_class_loss(input, target, weight, ignore_index)
        return loss
    logp, t, one = _batched(log_softmax(input, axis), target)
    loss = _weighted(
        nll_values(logp, t, weight, ignore_index), t, weight, logp, ignore_index, reduction, one
    )
    if not label_smoothing:
        return loss
    counted = target_weights(t, None, logp, ignore_index)
    spread = logp if weight is None else logp * _along_classes(weight, logp)
    smooth = -sum(spread, 1) * counted
    smooth = _weighted(smooth, t, weight, logp, ignore_index, reduction, one)
    share = label_smoothing / tuple(logp.shape)[1]
    return loss * (1 - label_smoothing) + smooth * share


@op(
    function=False,
    fused=True,
    outputs=("loss", "logp", "count"),
    kept=2,
    undefined_grads=True,
    node="NllLossBackward0",
)
def mean_class_loss(input: Array, target: Array, weight: Array | None, ignore_index: int) -> Any:
    """Cross entropy's usual case: classes as targets, and the mean over their weights."""
    logp = log_softmax(input, 1)
    losses = nll_values(logp, target, weight, ignore_index)
    count = sum(target_weights(target, weight, logp, ignore_index))
    return sum(losses) / count, logp, count


@mean_class_loss.gradient("input")
def mean_class_loss_gradient(
    grads: Any, target: Array, weight: Any, ignore_index: int, logp: Array, count: Array
) -> Array:
    grad, through, _ = grads
    if grad is not None:
        shape = tuple(logp.shape)
        each = expand(grad / count, (shape[0], *shape[2:]))
        places = nll_places(each, target, weight, shape[1], ignore_index)
        through = places if through is None else places + through
    return through - exp(logp) * sum(through, 1, True)


@mean_class_loss.samples
def mean_class_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.ints(3, high=4), None, 1)
    yield Sample(make(3, 4, 2), make.ints(3, 2, high=4), None, -100)


def _along_classes(weight: Any, x: Any) -> Any:
    return (
        to_shape(weight, (next(iter(weight.shape)), *(1,) * (len(x.shape) - 2)))
        if len(x.shape) > 1
        else weight
    )


def _soft_cross_entropy(
    input: Any, target: Any, weight: Any, reduction: str, smoothing: float, axis: int
) -> Any:
    if not is_floating(target):
        raise RuntimeError(
            "Expected floating point type for target with class probabilities, got "
            f"{getattr(target.dtype, 'name', target.dtype)}: a target of the "
            "scores' shape holds probabilities; class indices have one dimension less"
        )
    logp = log_softmax(input, axis)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / tuple(input.shape)[axis]
    if weight is not None:
        logp = logp * _along_classes(weight, logp)
    losses = -sum(logp * target, axis)
    if reduction == "mean":
        shape = tuple(input.shape)
        count = 1
        for i, n in enumerate(shape):
            count *= 1 if i == axis else n
        return sum(losses) / count
    return reduced(losses, reduction)


@cross_entropy.samples
def cross_entropy_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.ints(3, high=4))
    yield Sample(make(3, 4), make.ints(3, high=4), ignore_index=1, label_smoothing=0.1)
    yield Sample(make(2, 4, 3), make.ints(2, 3, high=4), reduction="none")
    yield Sample(make(4), make.ints((), high=4))
    yield Sample(make(3, 4), make(3, 4, low=0.1, high=0.9), label_smoothing=0.2)
    yield Bad(make(3, 4), make.ints(2, high=4), raises=ValueError, says="batch_size")
    yield Bad(
        make(3, 4),
        make.ints(3, low=9, high=10),
        raises=IndexError,
        says="Target 9 is out of bounds",
    )


# -- probabilities ------------------------------------------------------------------------------------------


def check_same_size(name: str, input: Any, target: Any) -> None:
    """ValueError where target and input differ in shape."""
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(
            f"{name}: Using a target size (torch.Size({list(target.shape)})) that is different to the input "
            f"size (torch.Size({list(input.shape)})) is "
            "deprecated. Please ensure they have the same size."
        )


_NO_PROBABILITIES = (
    "all elements of input should be between 0 and 1: binary_cross_entropy takes probabilities; scores go to "
    "binary_cross_entropy_with_logits"
)


@op(function=False, node="BinaryCrossEntropyBackward0")
def binary_cross_entropy_values(input: Array, target: Array) -> Array:
    """-(y log x + (1 - y) log(1 - x)); logarithms are not below -100."""
    input = within(input, low=0, high=1, message=_NO_PROBABILITIES)
    low = promote(input, -100.0)[1]
    yes = p.maximum(p.log(input), low)
    no = p.maximum(p.log1p(p.neg(input)), low)
    return p.sub(p.mul(p.sub(target, 1), no), p.mul(target, yes))


@binary_cross_entropy_values.gradient("input")
def binary_cross_entropy_gradient(grad: Array, input: Array, target: Array) -> Array:
    both = input * (1 - input)
    return grad * (input - target) / choose(both < 1e-12, 1e-12, both)


@binary_cross_entropy_values.gradient("target")
def binary_cross_entropy_gradient_target(grad: Array, input: Array) -> Array:
    return grad * (log(1 - input) - log(input))


@binary_cross_entropy_values.samples
def binary_cross_entropy_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=0.1, high=0.9), make(3, 4, low=0.1, high=0.9))


@op(module="nn.functional", composite=True)
def binary_cross_entropy(
    input: Array,
    target: Array,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Array:
    """-(y log x + (1 - y) log(1 - x)) of probabilities x in [0, 1] and targets y of the same shape."""
    reduction = chosen_reduction(size_average, reduce, reduction)
    check_same_size("binary_cross_entropy", input, target)
    losses = binary_cross_entropy_values(input, target)
    return reduced(losses if weight is None else losses * weight, reduction)


@binary_cross_entropy.samples
def binary_cross_entropy_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, low=0.1, high=0.9), make(3, 4, low=0.1, high=0.9))
    yield Sample(
        make(3, 4, low=0.1, high=0.9), make(3, 4, low=0.1, high=0.9), make(4), reduction="sum"
    )
    yield Bad(
        make(3, low=0.1, high=0.9), make(4), raises=ValueError, says="different to the input size"
    )
    yield Bad(make(3, low=2, high=3), make(3), raises=RuntimeError, says="between 0 and 1")


@op(module="nn.functional", composite=True)
def binary_cross_entropy_with_logits(
    input: Array, target: Array, weight: Any = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Array:  # fmt: skip
    """`binary_cross_entropy` of sigmoid(input), without overflow; `pos_weight` weighs the positive targets."""
    reduction = chosen_reduction(size_average, reduce, reduction)
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(
            f"Target size (torch.Size({list(target.shape)})) must be the same as input size "
            f"(torch.Size({list(input.shape)}))"
        )
    below = logsigmoid(input)
    if pos_weight is None:
        losses = (1 - target) * input - below
    else:
        losses = (1 - target) * input - ((pos_weight - 1) * target + 1) * below
    return reduced(losses if weight is None else losses * weight, reduction)


@binary_cross_entropy_with_logits.samples
def binary_cross_entropy_with_logits_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4, low=0.1, high=0.9))
    yield Sample(make(3, 4), make(3, 4, low=0.1, high=0.9), make(4), pos_weight=make(4, low=0.5))
    yield Bad(make(3), make(4), raises=ValueError, says="must be the same as input size")


@op(module="nn.functional", composite=True)
def kl_div(
    input: Array,
    target: Array,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Array:
    """Target * (log target - input) for log probabilities `input`; reduction "batchmean" divides
    the sum by the batch.
    """
    if size_average is not None or reduce is not None:
        reduction = chosen_reduction(size_average, reduce, reduction)
    losses = (
        exp(target) * (target - input) if log_target else xlogy(target, target) - target * input
    )
    if reduction == "batchmean":
        return sum(losses) / next(iter(input.shape)) if len(input.shape) else sum(losses)
    if reduction == "mean":
        warn_user(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. "
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
        )
    return reduced(losses, reduction)


@kl_div.samples
def kl_div_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4, low=0.1, high=0.9), reduction="batchmean")
    yield Sample(make(3, 4), make(3, 4), reduction="sum", log_target=True)


@op(module="nn.functional", composite=True)
def poisson_nll_loss(
    input: Array, target: Array, log_input: bool = True, full: bool = False, size_average: Any =
    None, eps: float = 1e-8,
    reduce: Any = None, reduction: str = "mean",
) -> Array:  # fmt: skip
    """-log likelihood of counts `target` under a Poisson distribution whose rate is exp(input), or input."""
    reduction = chosen_reduction(size_average, reduce, reduction)
    losses = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        stirling = target * log(target) - target + 0.5 * log(2 * math.pi * target)
        losses = losses + choose(target > 1, stirling, 0)
    return reduced(losses, reduction)


@poisson_nll_loss.samples
def poisson_nll_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4, low=1.5, high=3))
    yield Sample(make(3, 4, low=0.5), make(3, 4, low=1.5, high=3), False, True)


def _spans_one_dimension(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether the shapes are equal but for one dimension, of size 1 in the first."""
    apart = [n for n, m in zip(shape, wanted) if n != m]
    return len(shape) == len(wanted) and apart == [1]


@op(module="nn.functional", composite=True)
def gaussian_nll_loss(
    input: Array,
    target: Array,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Array:
    """-log likelihood of `target` under normal distributions of mean `input` and variance `var` (at least eps)."""
    from rushlight.ops.comparison import clamp

    if not hasattr(var, "dtype"):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = input * 0 + var
    elif tuple(var.shape) != tuple(input.shape):
        if tuple(input.shape)[:-1] == tuple(var.shape):
            var = unsqueeze(var, -1)
        elif not _spans_one_dimension(tuple(var.shape), tuple(input.shape)):
            raise ValueError(
                f"var is of incorrect size: shape {list(var.shape)} beside an input of shape {list(input.shape)}"
            )
    floor = clamp(var.detach(), min=eps) if hasattr(var, "detach") else var
    variance = var + (floor - (var.detach() if hasattr(var, "detach") else var))
    losses = 0.5 * (log(variance) + (input - target) ** 2 / variance)
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


@gaussian_nll_loss.samples
def gaussian_nll_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4), make(3, 4, low=0.5))
    yield Sample(make(3, 4), make(3, 4), make(3, 1, low=0.5), True, reduction="sum")
