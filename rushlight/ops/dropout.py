"""Dropout and its kin: elements or whole channels set to zero at random, the rest scaled up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core.sites import warn_user
from rushlight.ops.arithmetic import addcmul, mul
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import promote
from rushlight.ops.pointwise import log
from rushlight.ops.positions import one_hot_like
from rushlight.ops.softmax import softmax
from rushlight.primitives import elementwise as p
from rushlight.random import streams
from rushlight.random.draws import draw


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


@op(function=False, differentiable=False)
def dropout_mask(like: Array, shape: tuple[int, ...], chance: float, scaled: bool = True) -> Array:
    """A mask that is 0 with the given chance, else 1 (`scaled`: else 1 / (1 - chance))."""
    mask = draw(streams.bernoulli, None, shape, like.dtype, 1 - chance)
    return p.div(*promote(mask, 1 - chance)) if scaled and chance < 1 else mask


@dropout_mask.samples
def dropout_mask_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), (3, 1), 0.5)


def _masked(input: Any, mask: Any, inplace: bool) -> Any:
    return mul.inplace(input, mask) if inplace else mul(input, mask)


def _size(x: Any) -> int:
    return math.prod(tuple(x.shape))


@op(composite=True, aliases=("nn.functional.dropout",))
def dropout(input: Array, p: float = 0.5, training: bool = True, inplace: bool = False) -> Array:
    """In training each element is 0 with chance p, else divided by 1 - p (Hinton and others, 2012)."""
    _check(p)
    if not training or p == 0 or not _size(input):
        return input
    return _masked(input, dropout_mask(input, tuple(input.shape), p), inplace)


def _channels(
    name: str,
    input: Any,
    p: float,
    training: bool,
    inplace: bool,
    ranks: tuple[int, ...],
    batched: int,
) -> Any:
    _check(p)
    shape = tuple(input.shape)
    if len(shape) not in ranks:
        warn_user(
            f"{name}: Received a {len(shape)}-D input to {name}, which is deprecated and will "
            "result in an error in a future release."
        )
    if not training or p == 0 or not _size(input):
        return input
    wide = shape if len(shape) >= batched else (1, *shape)
    mask_shape = (*wide[:2], *(1,) * (len(wide) - 2))
    mask = dropout_mask(input, mask_shape, p)
    if len(shape) < batched:
        mask = mask.reshape(mask_shape[1:])
    return _masked(input, mask, inplace)


@op(module="nn.functional", composite=True)
def dropout1d(input: Array, p: float = 0.5, training: bool = True, inplace: bool = False) -> Array:
    """In training whole channels of (N, C, L) or (C, L) are 0 with chance p."""
    return _channels("dropout1d", input, p, training, inplace, (2, 3), 3)


@op(module="nn.functional", composite=True)
def dropout2d(input: Array, p: float = 0.5, training: bool = True, inplace: bool = False) -> Array:
    """In training whole channels of (N, C, H, W) are 0 with chance p."""
    return _channels("dropout2d", input, p, training, inplace, (3, 4), 2)


@op(module="nn.functional", composite=True)
def dropout3d(input: Array, p: float = 0.5, training: bool = True, inplace: bool = False) -> Array:
    """In training whole channels of (N, C, D, H, W) or (C, D, H, W) are 0 with chance p."""
    return _channels("dropout3d", input, p, training, inplace, (4, 5), 5)


@op(composite=True, aliases=("nn.functional.feature_dropout",))
def feature_dropout(input: Array, p: float, training: bool) -> Array:
    """Whole channels (dimension 1) are 0 with chance p."""
    return _channels("feature_dropout", input, p, training, False, tuple(range(2, 9)), 2)


_ALPHA = (
    1.7580993408473766  # of selu, scale times alpha: what dropped elements become is its negative
)


def _alpha_dropped(
    input: Any, p: float, training: bool, inplace: bool, shape: tuple[int, ...]
) -> Any:
    _check(p)
    if not training or p == 0 or not _size(input):
        return input
    if p == 1:
        return _masked(input, input.detach() * 0, inplace)
    scale = 1 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
    mask = dropout_mask(input, shape, p, False)
    shift = (mask - 1) * (_ALPHA * scale) + _ALPHA * scale * p
    if inplace:
        return mul.inplace(input, mask * scale).add_(shift)
    return addcmul(shift, input, mask * scale)


@op(composite=True, aliases=("nn.functional.alpha_dropout",))
def alpha_dropout(
    input: Array, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Array:
    """Dropout that keeps mean and variance behind selu (Klambauer and others, 2017)."""
    return _alpha_dropped(input, p, training, inplace, tuple(input.shape))


@op(composite=True, aliases=("nn.functional.feature_alpha_dropout",))
def feature_alpha_dropout(
    input: Array, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Array:
    """`alpha_dropout` of whole channels."""
    shape = tuple(input.shape)
    return _alpha_dropped(input, p, training, inplace, (*shape[:2], *(1,) * (len(shape) - 2)))


@dropout.samples
def dropout_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 0.3, True)
    yield Sample(make(3, 4), 0.3, False)
    yield Sample(make(3, 4), 0.0, True)
    yield Bad(make(3), 1.5, True, raises=ValueError, says="between 0 and 1")


alpha_dropout.samples(dropout_samples)


def _image_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4), 0.3, True)
    yield Sample(make(2, 3, 4), 0.3, False)
    yield Bad(make(2, 3, 4), -0.5, True, raises=ValueError, says="between 0 and 1")


for _call in (dropout1d, dropout2d, dropout3d, feature_dropout, feature_alpha_dropout):
    _call.samples(_image_samples)


@op(module="nn.functional", composite=True)
def gumbel_softmax(
    logits: Array, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Array:
    """softmax((logits + Gumbel noise) / tau); `hard` gives one-hot rows with the soft gradient
    (Jang and others, 2016).
    """
    noise = -log(exponential_like(logits))
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    return one_hot_like(soft, dim) - soft.detach() + soft


@op(function=False, differentiable=False)
def exponential_like(like: Array) -> Array:
    """Exponentially distributed numbers in a tensor's shape."""
    return draw(streams.exponential, None, like.shape, like.dtype)


@exponential_like.samples
def exponential_like_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))


@gumbel_softmax.samples
def gumbel_softmax_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3, 4), 0.5)
