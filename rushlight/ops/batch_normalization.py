"""Batch and instance normalization, with the running statistics that evaluation uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.autograd.modes import no_grad
from rushlight.core import shapes
from rushlight.core.dtypes import FLOAT32, FLOAT64
from rushlight.ops.arithmetic import addcmul
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.normalization import (
    Axes,
    affine,
    beside_channels,
    cast_like,
    check_channels,
    printed_size,
    standardized,
    standardized_gradient,
    standardized_gradient_bias,
)
from rushlight.ops.operands import promote, to
from rushlight.ops.pointwise import rsqrt
from rushlight.ops.record import check_writable
from rushlight.ops.reduction import mean
from rushlight.ops.shape import to_shape
from rushlight.primitives import elementwise as p
from rushlight.primitives.interpreter import slot
from rushlight.primitives.structural import reshape
from rushlight.tensor.storage import write
from rushlight.tensor.tensor import Tensor, wrap


@op(module="nn.functional", composite=True, aliases=("batch_norm",))
def batch_norm(
    input: Array, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any
    = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Array:  # fmt: skip
    """Each channel (dimension 1) to mean 0 and variance 1, then `weight` and `bias` (Ioffe and Szegedy, 2015).

    In training by the batch's statistics, which also move the running ones (the variance with n - 1); else by these.
    """
    shape = tuple(input.shape)
    if len(shape) < 2:
        if not shapes.size_of(shape):
            return input * 1
        raise RuntimeError(
            "batch_norm: expected an input of at least 2 dimensions, (batch, channels, ...), but "
            f"got shape {list(shape)}"
        )
    channels, rank = shape[1], len(shape)
    check_channels(
        "batch_norm",
        channels,
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
    )
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError(
                "batch_norm: running_mean and running_var must be given in evaluation mode"
            )
        scale = rsqrt(running_var + eps)
        scale = scale if weight is None else scale * weight
        shift = -running_mean * scale if bias is None else bias - running_mean * scale
        return cast_like(
            addcmul(beside_channels(shift, rank), input, beside_channels(scale, rank)), input
        )
    axes = (0, *range(2, rank))
    count = shapes.size_of(shape[a] for a in axes)
    if count == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {printed_size(shape)}"
        )
    if count and type(momentum) is float and _are_plain(running_mean, running_var):
        result, mean, variance = batch_standardized(
            input, weight, bias, running_mean, running_var, *_rates(momentum, running_mean._array.dtype),
            axes, eps, count / (count - 1), True,
        )  # fmt: skip
        _overwrite(running_mean, mean)
        _overwrite(running_var, variance)
        return result
    result, center, scale = standardized(input, weight, bias, axes, eps, True)
    running = [r for r in (running_mean, running_var) if r is not None]
    if count and running:
        mean, variance = moved_statistics(
            running[0], running[-1], center, scale, eps, count / (count - 1), momentum
        )
        if running_mean is not None:
            _overwrite(running_mean, mean)
        if running_var is not None:
            _overwrite(running_var, variance)
    return result


@op(function=False, differentiable=False)
def moved(input: Array, found: Array, momentum: Operand) -> Array:
    """(1 - momentum) * input + momentum * found."""
    kept, new = promote(p.mul(*promote(input, 1 - momentum)), p.mul(*promote(found, momentum)))
    return to(p.add(kept, new), input.dtype)


@moved.samples
def moved_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3), make(3), 0.1)


@op(function=False, differentiable=False)
def moved_statistics(
    mean: Array,
    variance: Array,
    center: Array,
    scale: Array,
    eps: float,
    ratio: float,
    momentum: Operand,
) -> Any:
    """Running statistics after a batch of which `standardized` has found the mean and 1 / sqrt(variance + eps).

    `ratio` is n / (n - 1): the running variance is that of the population.
    """
    squared = p.div(1, p.mul(scale, scale))
    spread = p.mul(p.sub(*promote(squared, float(eps))), promote(scale, ratio)[1])
    return (
        moved.op.body(mean, reshape(center, shape=mean.shape), momentum),
        moved.op.body(variance, reshape(spread, shape=variance.shape), momentum),
    )


@moved_statistics.samples
def moved_statistics_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3), make(3), make(1, 3, 1), make(1, 3, 1, low=0.5, high=2), 1e-5, 1.5, 0.1)


@op(
    function=False,
    outputs=("result", "mean", "variance", "center", "scale"),
    kept=2,
    node="NativeBatchNormBackward0",
    undefined_grads=True,
)
def batch_standardized(
    input: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    stays: Array,
    comes: Array,
    axes: Axes,
    eps: float,
    ratio: float,
    per_channel: bool,
) -> Any:
    """`standardized` and `moved_statistics` in one; `stays` and `comes` are 1 - momentum and momentum."""
    result, center, scale = standardized.op.body(input, weight, bias, axes, eps, per_channel)
    squared = p.div(1, p.mul(scale, scale))
    spread = p.mul(p.sub(*promote(squared, float(eps))), promote(scale, ratio)[1])
    moving = []
    for old, found in ((running_mean, center), (running_var, spread)):
        new = to(reshape(found, shape=old.shape), old.dtype)
        moving.append(p.add(p.mul(old, stays), p.mul(new, comes)))
    return result, *moving, center, scale


@batch_standardized.gradient("input", "weight")
def batch_standardized_gradient(
    grads: Any,
    input: Array,
    weight: Array | None,
    center: Array,
    scale: Array,
    axes: Axes,
    per_channel: bool,
    needs: Any,
) -> tuple[Any, Any]:
    grads = (grads[0], grads[3], grads[4])
    return standardized_gradient(grads, input, weight, center, scale, axes, per_channel, needs)


batch_standardized.gradient("bias")(standardized_gradient_bias)


def _are_plain(running_mean: Any, running_var: Any) -> bool:
    """Whether running statistics are tensors that exist now and have one dtype, as those of modules."""
    if not isinstance(running_mean, Tensor) or not isinstance(running_var, Tensor):
        return False
    one, other = running_mean._array.dtype, running_var._array.dtype
    return slot.recorder is None and one == other and (one is FLOAT32 or one is FLOAT64)


_known_rates: dict[Any, tuple[Any, Any]] = {}


def _rates(momentum: float, dtype: Any) -> tuple[Any, Any]:
    """1 - momentum and momentum as tensors: a kernel reads them, so that a schedule makes no new ones."""
    found = _known_rates.get((momentum, dtype))
    if found is None:
        if len(_known_rates) >= 64:
            _known_rates.clear()
        found = wrap(np.array(1 - momentum, dtype)), wrap(np.array(momentum, dtype))
        _known_rates[momentum, dtype] = found
    return found


def _overwrite(running: Any, found: Any) -> None:
    check_writable(running, "batch_norm", False)
    write(running, found._array, "batch_norm")


@batch_norm.samples
def batch_norm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 2, 4), None, None, make(2), make(2), True)
    yield Sample(make(3, 2), None, None, training=True)
    yield Bad(
        make(1, 2),
        None,
        None,
        training=True,
        raises=ValueError,
        says="more than 1 value per channel",
    )
    yield Bad(
        make(3, 2), make(3), make(3), raises=RuntimeError, says="should contain 2 elements not 3"
    )


@op(module="nn.functional", composite=True, aliases=("instance_norm",))
def instance_norm(
    input: Array, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Array:  # fmt: skip
    """Each channel of each sample to mean 0 and variance 1 (Ulyanov and others, 2016)."""
    shape = tuple(input.shape)
    rank, channels = len(shape), shape[1]
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    axes = tuple(range(2, rank))
    count = shapes.size_of(shape[2:])
    if count == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {printed_size(shape)}"
        )
    standard, center, scale = standardized(input, None, None, axes, eps)
    if running_mean is not None:
        with no_grad():
            along = mean(to_shape(center, (shape[0], channels)), 0)
            _overwrite(running_mean, moved(running_mean, along, momentum))
            spread = mean(to_shape(1 / (scale * scale) - eps, (shape[0], channels)), 0)
            spread = spread * (count / (count - 1))
            _overwrite(running_var, moved(running_var, spread, momentum))
    return affine(standard, beside_channels(weight, rank), beside_channels(bias, rank))


@instance_norm.samples
def instance_norm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 2, 4))
    yield Sample(make(3, 2, 4), None, None, make(2), make(2))
