"""Normalizations: batch, layer, group, instance, rms, local response, and vectors of length 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.autograd.modes import state
from rushlight.core import shapes
from rushlight.core.dtypes import FLOAT32, FLOAT64, HALF
from rushlight.ops.arithmetic import addcmul, in_dtype
from rushlight.ops.comparison import clamp
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.norms import vector_norm
from rushlight.ops.operands import promote, to
from rushlight.ops.pointwise import rsqrt
from rushlight.ops.pooling import avg_pool2d
from rushlight.ops.reduction import mean, sum
from rushlight.ops.replaying import replayed
from rushlight.ops.resampling import padded
from rushlight.ops.shape import expand, to_shape
from rushlight.primitives import elementwise as p
from rushlight.primitives import normalization as rows
from rushlight.primitives.reduction import reduce_sum
from rushlight.primitives.structural import reshape

Axes = tuple[int, ...]


@op(
    function=False,
    outputs=("result", "center", "scale"),
    node="NativeBatchNormBackward0",
    undefined_grads=True,
)
def standardized(
    input: Array,
    weight: Array | None,
    bias: Array | None,
    axes: Axes,
    eps: float,
    per_channel: bool = False,
) -> Any:
    """(x - mean) / sqrt(variance + eps) over `axes`, times `weight` and plus `bias`; with the mean and
    1 / sqrt(variance + eps), which keep their dims.

    Weight and bias have the dims of `axes`, or `per_channel` the one dim that `axes` leave out.
    """
    dtype = input.dtype
    x = to(input, FLOAT32) if dtype in HALF else input
    count = float(shapes.size_of(x.shape[a] for a in axes))
    center = p.div(*promote(reduce_sum(x, axes=axes, keepdim=True), count))
    apart = p.sub(x, center)
    spread = p.div(*promote(reduce_sum(p.mul(apart, apart), axes=axes, keepdim=True), count))
    scale = p.div(1, p.sqrt(p.add(spread, promote(spread, float(eps))[1])))
    result = p.mul(apart, scale)
    if weight is not None:
        result = p.mul(result, to(_beside(weight, x.ndim, per_channel), x.dtype))
    if bias is not None:
        result = p.add(result, to(_beside(bias, x.ndim, per_channel), x.dtype))
    return to(result, dtype), center, scale


def _beside(x: Any, rank: int, per_channel: bool) -> Any:
    """An array of one dim for each channel as it broadcasts beside inputs of this rank."""
    return reshape(x, shape=(*x.shape, *(1,) * (rank - 2))) if per_channel else x


def _rest(shape: Any, axes: Axes, per_channel: bool) -> Axes:
    """The axes along which weight and bias are the same for all elements."""
    return axes if per_channel else tuple(i for i in range(len(shape)) if i not in axes)


@standardized.gradient("input", "weight")
def standardized_gradient(
    grads: Any,
    input: Array,
    weight: Array | None,
    center: Array,
    scale: Array,
    axes: Axes,
    per_channel: bool,
    needs: Any,
) -> tuple[Any, Any]:
    """The gradient through the mean and the variance; those of the mean and the scale themselves are added."""
    grad, center_grad, scale_grad = grads
    shape = tuple(input.shape)
    count = shapes.size_of(shape[a] for a in axes)
    standard = (input - center) * scale
    parts, weight_grad = [], None
    if grad is not None:
        if needs[1]:
            rest = _rest(shape, axes, per_channel)
            weight_grad = sum(grad * standard, rest) if rest else grad * standard
        if weight is not None:
            wide = (*tuple(weight.shape), *(1,) * (len(shape) - 2))
            grad = grad * (to_shape(weight, wide) if per_channel else weight)
        if needs[0]:
            along = sum(grad, axes, True) / count
            across = sum(grad * standard, axes, True) / count
            parts.append(scale * (grad - along - standard * across))
    if center_grad is not None:
        parts.append(expand(center_grad / count, shape))
    if scale_grad is not None:
        parts.append(scale_grad * scale * scale * standard / -count)
    total = parts[0] if parts else None
    for part in parts[1:]:
        total = total + part
    return total, weight_grad


@standardized.gradient("bias")
def standardized_gradient_bias(
    grads: Any, input_shape: Any, axes: Axes, per_channel: bool
) -> Array | None:
    grad = grads[0]
    rest = _rest(input_shape, axes, per_channel)
    return sum(grad, rest) if grad is not None and rest else grad


@standardized.samples
def standardized_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4, 2), None, None, (0, 2), 1e-5)
    yield Sample(make(3, 4), None, None, (1,), 1e-3)
    yield Sample(make(3, 4, 2), make(4), make(4), (0, 2), 1e-5, True)
    yield Sample(make(3, 4, 2), make(4, 2), make(4, 2), (1, 2), 1e-5)
    yield Sample(make(4, 2), make(4, 2), None, (0, 1), 1e-5)


@op(
    function=False,
    outputs=("result", "center", "scale"),
    kept=2,
    node="NativeLayerNormBackward0",
    undefined_grads=True,
)
def standard_rows(input: Array, weight: Array, bias: Array, eps: float) -> Any:
    """`standardized` over the dims of weight and bias, the last ones, in one pass over the rows."""
    count = shapes.size_of(weight.shape)
    flat = _as_rows(input, count)
    result, center, scale = rows.normalize_rows(
        flat, _as_line(weight), _as_line(bias), eps=float(eps)
    )
    return _shaped(result, input.shape), center, scale


def _as_rows(x: Any, count: int) -> Any:
    shape = (shapes.size_of(x.shape) // count, count)
    return x if tuple(x.shape) == shape else reshape(x, shape=shape)


def _as_line(x: Any) -> Any:
    return x if x.ndim == 1 else reshape(x, shape=(shapes.size_of(x.shape),))


def _shaped(x: Any, shape: Any) -> Any:
    return x if tuple(x.shape) == tuple(shape) else reshape(x, shape=tuple(shape))


@standard_rows.gradient("input", "weight", "bias")
def standard_rows_gradient(
    grads: Any, input: Array, weight: Array, bias: Array, center: Array, scale: Array, eps: float, needs: Any
) -> tuple[Any, Any, Any]:  # fmt: skip
    if not state.bare:
        axes = tuple(range(input.ndim - weight.ndim, input.ndim))
        return replayed(  # type: ignore[return-value]
            lambda x, w, b: standardized(x, w, b, axes, eps)[:1], (input, weight, bias), needs, grads[:1]
        )  # fmt: skip
    count = shapes.size_of(weight.shape)
    found = rows.normalize_rows_adjoint(
        _as_rows(grads[0], count), _as_rows(input, count), _as_line(weight), center, scale
    )
    return tuple(  # type: ignore[return-value]
        _shaped(g, shape) if need else None
        for g, shape, need in zip(
            found, (input.shape, weight.shape, bias.shape), needs, strict=True
        )
    )


@standard_rows.samples
def standard_rows_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 8), make(8), make(8), 1e-5)
    yield Sample(make(2, 3, 2, 5), make(2, 5), make(2, 5), 1e-3)


#: Shorter rows are better done side by side.
SHORTEST_ROW = 8


def _suits_rows(input: Any, weight: Any, bias: Any) -> bool:
    """Whether rows should be normalized one by one: they are long enough, and all is of one dtype."""
    if weight is None or bias is None or not shapes.size_of(tuple(input.shape)):
        return False
    found = [getattr(x.dtype, "numpy", x.dtype) for x in (input, weight, bias)]
    alike = found[0] == found[1] == found[2] and found[0] in (FLOAT32, FLOAT64)
    return alike and shapes.size_of(tuple(weight.shape)) >= SHORTEST_ROW


def affine(x: Any, weight: Any, bias: Any) -> Any:
    if weight is not None and bias is not None:
        return addcmul(bias, x, weight)
    if weight is not None:
        return x * weight
    return x if bias is None else x + bias


def beside_channels(x: Any, rank: int) -> Any:
    return None if x is None else to_shape(x, (next(iter(x.shape)), *(1,) * (rank - 2)))


def check_channels(name: str, channels: int, **given: Any) -> None:
    for what, x in given.items():
        if x is not None and tuple(x.shape) != (channels,):
            raise RuntimeError(
                f"{name}: {what} should contain {channels} elements not "
                f"{shapes.size_of(tuple(x.shape))}: the input has {channels} channels"
            )


def printed_size(shape: Any) -> str:
    return f"torch.Size({list(shape)})"


def cast_like(x: Any, like: Any) -> Any:
    if x.dtype == like.dtype:
        return x

    return in_dtype(x, getattr(like.dtype, "numpy", like.dtype))


def _last_axes(name: str, input: Any, normalized_shape: Any, **given: Any) -> Axes:
    wanted = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not wanted:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
            "element, but got normalized_shape = []"
        )
    shape = tuple(input.shape)
    if shape[len(shape) - len(wanted) :] != wanted or len(shape) < len(wanted):
        raise RuntimeError(
            f"Given normalized_shape={list(wanted)}, expected input with shape [*, "
            f"{', '.join(map(str, wanted))}], but got input of size{list(shape)}"
        )
    for what, x in given.items():
        if x is not None and tuple(x.shape) != wanted:
            raise RuntimeError(
                f"Expected {what} to be of same shape as normalized_shape, but got {what} of shape "
                f"{list(x.shape)} and normalized_shape = {list(wanted)}"
            )
    return tuple(range(len(shape) - len(wanted), len(shape)))


@op(module="nn.functional", composite=True, aliases=("layer_norm",))
def layer_norm(
    input: Array, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Array:
    """The last dimensions, of `normalized_shape`, to mean 0 and variance 1, then `weight` and
    `bias` (Ba and others, 2016).
    """
    axes = _last_axes("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    if _suits_rows(input, weight, bias):
        return standard_rows(input, weight, bias, float(eps))[0]
    return standardized(input, weight, bias, axes, eps)[0]


@layer_norm.samples
def layer_norm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), (4,), make(4), make(4))
    yield Sample(make(2, 3, 4), (3, 4))
    yield Bad(make(3, 4), (3,), raises=RuntimeError, says="expected input with shape [*, 3]")


@op(module="nn.functional", composite=True, aliases=("rms_norm",))
def rms_norm(
    input: Array, normalized_shape: Any, weight: Any = None, eps: float | None = None
) -> Array:
    """X / sqrt(mean(x^2) + eps) over the last dimensions, then `weight` (Zhang and Sennrich, 2019)."""
    axes = _last_axes("rms_norm", input, normalized_shape, weight=weight)
    if eps is None:
        from rushlight.core.dtypes import finfo, of_numpy

        eps = finfo(of_numpy(getattr(input.dtype, "numpy", input.dtype))).eps
    out = input * rsqrt(mean(input * input, axes, True) + eps)
    return out if weight is None else out * weight


@rms_norm.samples
def rms_norm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), (4,), make(4))
    yield Sample(make(2, 3, 4), (3, 4), eps=1e-3)


@op(module="nn.functional", composite=True, aliases=("group_norm",))
def group_norm(
    input: Array, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Array:
    """Each group of channels of each sample to mean 0 and variance 1, then `weight` and `bias` (Wu and He, 2018)."""
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {len(shape)}"
        )
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if shape[1] % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(shape)} and num_groups={num_groups}"
        )
    check_channels("group_norm", shape[1], weight=weight, bias=bias)
    grouped = to_shape(input, (shape[0], num_groups, shapes.size_of(shape[1:]) // num_groups))
    standard = to_shape(standardized(grouped, None, None, (2,), eps)[0], shape)
    return affine(standard, beside_channels(weight, len(shape)), beside_channels(bias, len(shape)))


@group_norm.samples
def group_norm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 4, 3), 2, make(4), make(4))
    yield Sample(make(2, 4), 2)
    yield Bad(make(2, 3), 2, raises=RuntimeError, says="divisible by num_groups")


@op(module="nn.functional", composite=True)
def local_response_norm(
    input: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """X / (k + alpha * mean of squares of `size` neighbouring channels)^beta (Krizhevsky and others, 2012)."""
    shape = tuple(input.shape)
    if len(shape) < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality                          input (got {len(shape)} dimensions)"
        )
    squares = to_shape(input * input, (shape[0], 1, shape[1], shapes.size_of(shape[2:])))
    squares = padded(squares, (0, 0, size // 2, 0), (0, 0, (size - 1) // 2, 0), 0)
    average = to_shape(avg_pool2d(squares, (size, 1), 1), shape)
    return input / (average * alpha + k) ** beta


@local_response_norm.samples
def local_response_norm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 4, 3), 3)
    yield Bad(make(2, 4), 3, raises=ValueError, says="3D or higher")


@op(module="nn.functional", composite=True)
def normalize(
    input: Array, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None
) -> Array:
    """Vectors along `dim` divided by their norm (at least eps)."""
    result = input / expand(clamp(vector_norm(input, p, dim, True), eps), tuple(input.shape))
    return result if out is None else out.copy_(result)


@normalize.samples
def normalize_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3, 4), 1, 0)
