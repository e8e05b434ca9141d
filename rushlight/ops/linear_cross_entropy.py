"""Cross entropy of scores that a linear map makes: one call for the last layer and its loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.ops.contractions import tensordot
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.losses import cross_entropy, is_floating


@op(module="nn.functional", composite=True)
def linear_cross_entropy(
    input: Array,
    linear_weight: Array,
    target: Array,
    *,
    linear_bias: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Array:
    """`cross_entropy` of the scores `input @ linear_weight.T + linear_bias`.

    `input` is (N, in_features) or (in_features), `linear_weight` (C, ..., in_features), the target as
    `cross_entropy` takes it. `ignore_index` is for targets that are classes. `options` say how PyTorch saves memory;
    they change no number, and here the scores are computed at once.

    >>> import rushlight
    >>> scores = rushlight.zeros(2, 3)
    >>> rushlight.nn.functional.linear_cross_entropy(
    ...     rushlight.ones(1, 3), scores, rushlight.tensor([0])
    ... )
    tensor(0.6931)
    """
    if ignore_index is not None and is_floating(target):
        raise RuntimeError(
            "linear_cross_entropy: ignore_index is for a target of classes; this one has probabilities"
        )
    if tuple(input.shape)[-1:] != tuple(linear_weight.shape)[-1:]:
        raise RuntimeError(
            f"linear_cross_entropy: the input {list(input.shape)} and linear_weight {list(linear_weight.shape)} must "
            "have the same last dimension"
        )
    last = len(linear_weight.shape) - 1
    scores = tensordot(input, linear_weight, ([len(input.shape) - 1], [last]))
    if linear_bias is not None:
        scores = scores + linear_bias
    return cross_entropy(
        scores,
        target,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


@linear_cross_entropy.samples
def linear_cross_entropy_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(5, 4), make.ints(3, high=5))
    yield Sample(make(3, 4), make(5, 2, 4), make.ints(3, 2, high=5), reduction="none")
    yield Sample(make(4), make(5, 4), make.ints((), high=5), linear_bias=make(5))
    yield Bad(
        make(3, 4), make(5, 3), make.ints(3, high=5), raises=RuntimeError, says="last dimension"
    )
