"""Losses that compare vectors: mse, l1, huber, margins, triplets, ctc."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.core.sites import warn_user
from rushlight.ops.activations import logsigmoid, relu
from rushlight.ops.comparison import clamp, minimum
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import stack
from rushlight.ops.losses import chosen_reduction, nll_values, reduced, target_weights
from rushlight.ops.pointwise import abs, sqrt
from rushlight.ops.reduction import sum
from rushlight.ops.selection import choose
from rushlight.ops.shape import to_shape, unsqueeze
from rushlight.ops.similarity import pairwise_distance


def _warn_broadcast(input: Any, target: Any) -> None:
    if tuple(input.shape) != tuple(target.shape):
        shapes.broadcast(tuple(input.shape), tuple(target.shape))
        warn_user(
            f"Using a target size ({_size(target)}) that is different to the input size "
            f"({_size(input)}). This will likely lead to "
            "incorrect results due to broadcasting. Please ensure they have the same size."
        )


def _size(x: Any) -> str:
    return f"torch.Size({list(x.shape)})"


def _plain(name: str, compute: Any, says: str) -> Any:
    """A loss of the difference of two tensors of one shape."""

    def body(
        input: Array,
        target: Array,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        weight: Any = None,
    ) -> Array:
        chosen = chosen_reduction(size_average, reduce, reduction)
        _warn_broadcast(input, target)
        losses = compute(input - target)
        return reduced(losses if weight is None else losses * weight, chosen)

    body.__name__, body.__doc__ = name, says
    declared = op(body, composite=True, module="nn.functional")

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make(3, 4), make(3, 4, low=3, high=5))
        yield Sample(make(3, 4), make(3, 4, low=3, high=5), reduction="sum")
        yield Sample(make(()), make((), low=3, high=5), reduction="none")
        yield Bad(make(3), make(4), raises=RuntimeError, says="must match")
        yield Bad(make(3), make(3), reduction="some", raises=ValueError, says="not a valid value")

    return declared


def _squared(x: Any) -> Any:
    return x * x


mse_loss = _plain(
    "mse_loss",
    _squared,
    "(input - target)^2. A target that only broadcasts warns, with the line of the call.",
)
l1_loss = _plain(
    "l1_loss",
    abs,
    "|input - target|. A target that only broadcasts warns, with the line of the call.",
)


@op(module="nn.functional", composite=True)
def smooth_l1_loss(
    input: Array,
    target: Array,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Array:
    """|d| - beta / 2 for differences beyond beta, d^2 / (2 beta) within (Girshick, 2015)."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    reduction = chosen_reduction(size_average, reduce, reduction)
    _warn_broadcast(input, target)
    difference = input - target
    size = abs(difference)
    if beta == 0:
        return reduced(size, reduction)
    return reduced(
        choose(size < beta, difference * difference * (0.5 / beta), size - 0.5 * beta), reduction
    )


@op(module="nn.functional", composite=True)
def huber_loss(
    input: Array, target: Array, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Array:
    """d^2 / 2 for differences within delta, delta (|d| - delta / 2) beyond (Huber, 1964)."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    _warn_broadcast(input, target)
    difference = input - target
    size = abs(difference)
    losses = choose(size < delta, difference * difference * 0.5, (size - 0.5 * delta) * delta)
    return reduced(losses if weight is None else losses * weight, reduction)


@smooth_l1_loss.samples
def smooth_l1_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4, low=3, high=5))
    yield Sample(
        make(3, 4, low=-0.2, high=0.2), make(3, 4, low=-0.2, high=0.2), reduction="sum", beta=0.7
    )
    yield Bad(make(3), make(3), beta=-1, raises=RuntimeError, says="negative values for beta")


@huber_loss.samples
def huber_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4, low=3, high=5))
    yield Sample(make(3, 4, low=-0.2, high=0.2), make(3, 4, low=-0.2, high=0.2), "sum", 0.7)
    yield Bad(make(3), make(3), delta=0, raises=RuntimeError, says="non-positive")


# -- margins ------------------------------------------------------------------------------------------------


@op(module="nn.functional", composite=True)
def soft_margin_loss(
    input: Array,
    target: Array,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Array:
    """log(1 + exp(-target * input)) for targets 1 and -1."""
    return reduced(-logsigmoid(target * input), chosen_reduction(size_average, reduce, reduction))


@op(module="nn.functional", composite=True)
def hinge_embedding_loss(
    input: Array,
    target: Array,
    margin: float = 1.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Array:
    """`input` where the target is 1, max(0, margin - input) where it is -1."""
    losses = choose(target == 1, input, 0) + choose(target == -1, relu(margin - input), 0)
    outside = (target != 1) & (target != -1)
    losses = choose(outside, input + relu(margin - input), losses)
    return reduced(losses, chosen_reduction(size_average, reduce, reduction))


@op(module="nn.functional", composite=True)
def margin_ranking_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Array:  # fmt: skip
    """max(0, -target * (input1 - input2) + margin) for targets 1 and -1."""
    if len({len(input1.shape), len(input2.shape), len(target.shape)}) > 1:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {tuple(input1.shape)}, input2: {tuple(input2.shape)}, target: {tuple(target.shape)} "
        )
    return reduced(
        relu(-target * (input1 - input2) + margin),
        chosen_reduction(size_average, reduce, reduction),
    )


@op(module="nn.functional", composite=True)
def cosine_embedding_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Array:  # fmt: skip
    """1 - cos(input1, input2) where the target is 1, max(0, cos - margin) where it is -1."""
    if len(target.shape) + 1 != len(input1.shape) or len(target.shape) + 1 != len(input2.shape):
        raise RuntimeError(
            f"{len(target.shape)}D target tensor expects {len(target.shape) + 1}D input tensors, "
            f"but found inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    eps = 1e-12
    cosine = sum(input1 * input2, -1) / sqrt(
        (sum(input1 * input1, -1) + eps) * (sum(input2 * input2, -1) + eps)
    )
    losses = choose(target == 1, 1 - cosine, 0) + choose(target == -1, relu(cosine - margin), 0)
    return reduced(losses, chosen_reduction(size_average, reduce, reduction))


@op(module="nn.functional", composite=True)
def multilabel_soft_margin_loss(
    input: Array,
    target: Array,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Array:
    """The mean over classes of binary cross entropies of sigmoid(input)."""
    losses = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    losses = losses if weight is None else losses * weight
    classes = tuple(input.shape)[-1] if len(input.shape) else 1
    return reduced(sum(losses, -1) / classes, chosen_reduction(size_average, reduce, reduction))


@op(module="nn.functional", composite=True)
def multi_margin_loss(
    input: Array, target: Array, p: int = 1, margin: float = 1.0, weight: Any = None, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Array:  # fmt: skip
    """The mean over other classes i of max(0, margin - x[target] + x[i])^p."""
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and len(weight.shape) != 1:
        raise ValueError("weight must be one-dimensional")
    single = len(input.shape) < 2
    x = to_shape(input, (1, shapes.size_of(tuple(input.shape)))) if single else input
    t = to_shape(target, (1,)) if single else target
    right = -nll_values(x, t, None, -100)
    apart = relu(margin - unsqueeze(right, 1) + x)
    apart = apart if p == 1 else apart * apart
    own = builtins.max(margin, 0.0) ** p
    losses = sum(apart, 1) - own
    if weight is not None:
        losses = losses * target_weights(t, weight, x, -100)
    losses = losses / tuple(x.shape)[1]
    found = reduced(losses, chosen_reduction(size_average, reduce, reduction))
    return to_shape(found, ()) if single else found


@op(module="nn.functional", composite=True, traceable=False)
def multilabel_margin_loss(
    input: Array,
    target: Array,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Array:
    """The mean over pairs (listed class j, other class i) of max(0, 1 - x[j] + x[i]); -1 ends each list of classes."""
    if tuple(input.shape) != tuple(target.shape):
        raise RuntimeError(
            f"multilabel_margin_loss: inconsistent target size: {list(target.shape)} for input of "
            f"size: {list(input.shape)}"
        )
    single = len(input.shape) < 2
    x = to_shape(input, (1, max(1, shapes.size_of(tuple(input.shape))))) if single else input
    rows = to_shape(target, tuple(x.shape)).tolist()
    classes = tuple(x.shape)[1]
    losses = []
    for i, listed in enumerate(rows):
        wanted = listed[: listed.index(-1)] if -1 in listed else listed
        row = x[i]
        others = [k for k in range(classes) if k not in wanted]
        total = sum(row) * 0
        for j in wanted:
            for k in others:
                total = total + relu(1 - row[j] + row[k])
        losses.append(total / classes)
    found = stack(losses)
    found = to_shape(found, ()) if single else found
    return reduced(found, chosen_reduction(size_average, reduce, reduction))


def _signs(make: Any, *shape: int) -> Any:
    return make.ints(*shape, high=2) * 2 - 1


@soft_margin_loss.samples
def soft_margin_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), _signs(make, 3, 4))


@hinge_embedding_loss.samples
def hinge_embedding_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), _signs(make, 3, 4), 0.7)


@margin_ranking_loss.samples
def margin_ranking_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3), make(3), _signs(make, 3), 0.3)
    yield Bad(make(3), make(3, 1), make(3), raises=RuntimeError, says="same dimension")


@cosine_embedding_loss.samples
def cosine_embedding_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4), _signs(make, 3), 0.1)
    yield Bad(make(3), make(3), make(3), raises=RuntimeError, says="target tensor expects")


@multilabel_soft_margin_loss.samples
def multilabel_soft_margin_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4, low=0.1, high=0.9), make(4))


@multi_margin_loss.samples
def multi_margin_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.ints(3, high=4))
    yield Sample(make(3, 4), make.ints(3, high=4), 2, 0.8, reduction="sum")


@multilabel_margin_loss.samples
def multilabel_margin_loss_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make.ints(2, 3, high=3))


# -- triplets -----------------------------------------------------------------------------------------------


@op(module="nn.functional", composite=True)
def triplet_margin_loss(
    anchor: Array, positive: Array, negative: Array, margin: float = 1.0, p: float = 2, eps: float
    = 1e-6, swap: bool = False,
    size_average: Any = None, reduce: Any = None, reduction: str = "mean",
) -> Array:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) (Balntas and others, 2016)."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduced(clamp(margin + near - far, 0), chosen_reduction(size_average, reduce, reduction))


@op(module="nn.functional", composite=True)
def triplet_margin_with_distance_loss(
    anchor: Array, positive: Array, negative: Array, *, distance_function: Any = None, margin:
    float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Array:  # fmt: skip
    """`triplet_margin_loss` with a distance of one's own."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduced(clamp(margin + near - far, 0), reduction)


def _triplets(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4), make(3, 4))
    yield Sample(make(3, 4), make(3, 4), make(3, 4), margin=0.7, swap=True, reduction="sum")
    yield Bad(
        make(3, 4), make(3, 4), make(3, 4), margin=0, raises=ValueError, says="greater than 0"
    )


triplet_margin_loss.samples(_triplets)
triplet_margin_with_distance_loss.samples(_triplets)
