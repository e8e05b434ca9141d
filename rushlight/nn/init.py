"""torch.nn.init: fills tensors with starting values; the same seed gives PyTorch's values.

All work in place, outside of autograd, and return the tensor they were given.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from rushlight.autograd.modes import no_grad
from rushlight.ops import public
from rushlight.tensor.tensor import Tensor, wrap

T = TypeVar("T", bound=Any)

_LINEAR = frozenset(
    (
        "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid",
    )
)  # fmt: skip


class _Switch:
    """Whether the functions here do anything: `nn.utils.skip_init` turns them off for a while."""

    off = False


switch = _Switch()


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance of activations constant through a nonlinearity.

    `param` is the slope of 'leaky_relu' (0.01 unless given). ValueError for a name that is not known.

    >>> from rushlight.nn import init
    >>> init.calculate_gain("relu")
    1.4142135623730951
    """
    if nonlinearity in _LINEAR:
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if param is None:
            slope = 0.01
        elif isinstance(param, (int, float)) and not isinstance(param, bool):
            slope = param
        else:
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0, generator: Any = None) -> T:
    """Values drawn evenly from [a, b)."""
    if switch.off:
        return tensor
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)  # type: ignore[no-any-return]


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> T:
    """Values drawn from the normal distribution of that mean and standard deviation."""
    if switch.off:
        return tensor
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)  # type: ignore[no-any-return]


def trunc_normal_(
    tensor: T,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> T:
    """Values drawn from a normal distribution cut off at `a` and `b`, by inverting its distribution function."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=2,
        )
    if switch.off:
        return tensor

    def cumulative(x: float) -> float:
        return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0

    low, high = cumulative((a - mean) / std), cumulative((b - mean) / std)
    with no_grad():
        tensor.uniform_(2 * low - 1, 2 * high - 1, generator=generator)
        tensor.erfinv_().mul_(std * math.sqrt(2.0)).add_(mean).clamp_(min=a, max=b)
    return tensor


def constant_(tensor: T, val: float) -> T:
    """The same value everywhere."""
    if switch.off:
        return tensor
    with no_grad():
        return tensor.fill_(val)  # type: ignore[no-any-return]


def ones_(tensor: T) -> T:
    """Ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: T) -> T:
    """Zeros."""
    return constant_(tensor, 0.0)


def _put(tensor: T, values: Any) -> T:
    """Writes a NumPy array's values into the tensor."""
    if not switch.off:
        with no_grad():
            tensor.copy_(wrap(values))
    return tensor


def eye_(tensor: T) -> T:
    """The identity matrix; ValueError unless there are two dimensions."""
    if tensor.ndimension() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return _put(tensor, np.eye(*tensor.shape, dtype=np.float32))


def dirac_(tensor: T, groups: int = 1) -> T:
    """The kernel of a convolution that hands on as many channels as it can, in each of `groups` groups.

    `tensor`: a weight of 3, 4 or 5 dimensions; ValueError for others, or where groups do not divide the outputs.
    """
    shape = tuple(tensor.shape)
    if len(shape) not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if shape[0] % groups != 0:
        raise ValueError("dim 0 must be divisible by groups")
    per_group = shape[0] // groups
    values = np.zeros(shape, np.float32)
    middle = tuple(n // 2 for n in shape[2:])
    for g in range(groups):
        for d in range(min(per_group, shape[1])):
            place = (g * per_group + d, d, *middle)
            values[place] = 1
    return _put(tensor, values)


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs an output of this weight reads, and how many outputs read an input."""
    if tensor.dim() < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions: "
            f"this one has shape {list(tensor.shape)}"
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fans = _calculate_fan_in_and_fan_out(tensor)
    return fans[0] if mode == "fan_in" else fans[1]


def xavier_uniform_(tensor: T, gain: float = 1.0, generator: Any = None) -> T:
    """Even values with variance 2 gain^2 / (fan_in + fan_out). Source: Glorot and Bengio, AISTATS 2010."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    bound = math.sqrt(3.0) * (gain * math.sqrt(2.0 / float(fan_in + fan_out)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: T, gain: float = 1.0, generator: Any = None) -> T:
    """Normal values with variance 2 gain^2 / (fan_in + fan_out). Source: Glorot and Bengio, AISTATS 2010."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float | None:
    """The standard deviation for that nonlinearity; None, with a warning, for a tensor without elements."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return None
    return calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))


def kaiming_uniform_(
    tensor: T,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> T:
    """Even values with variance gain^2 / fan. Source: He et al., "Delving deep into rectifiers", ICCV 2015."""
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    if std is None:
        return tensor
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: T,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> T:
    """Normal values with variance gain^2 / fan. Source: He et al., "Delving deep into rectifiers", ICCV 2015."""
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    return tensor if std is None else normal_(tensor, 0.0, std, generator)


def orthogonal_(tensor: T, gain: float = 1, generator: Any = None) -> T:
    """Orthonormal rows (or columns, whichever are fewer) times `gain`; dimensions after the first count as one.

    Source: Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", 2013.
    """
    if tensor.ndimension() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0 or switch.off:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    drawn = wrap(np.empty((rows, columns), tensor._array.dtype))
    drawn.normal_(0, 1, generator=generator)  # type: ignore[attr-defined]
    matrix = drawn._array.T if rows < columns else drawn._array
    q, r = np.linalg.qr(matrix)
    q *= np.sign(np.diagonal(r))  # makes the distribution uniform: Mezzadri, arXiv math-ph/0609050
    if rows < columns:
        q = q.T
    return _put(tensor, np.multiply(q, q.dtype.type(gain)).reshape(tuple(tensor.shape)))


def sparse_(tensor: T, sparsity: float, std: float = 0.01, generator: Any = None) -> T:
    """Normal values, of which a `sparsity` part of every column is zero. Source: Martens, ICML 2010."""
    if tensor.ndimension() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    if switch.off:
        return tensor
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with no_grad():
        tensor.normal_(0, std, generator=generator)
        values = tensor._array.copy()
        for column in range(columns):
            values[public.randperm(rows)._array[:zeros], column] = 0
        tensor.copy_(wrap(values))
    return tensor


def _deprecated(function: Callable[..., Any]) -> Callable[..., Any]:
    """The old name of an initialiser, without the underscore: it warns, and does the same."""
    new = function.__name__
    old = new[:-1]

    def renamed(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.",
            FutureWarning,
            stacklevel=2,
        )
        return function(*args, **kwargs)

    renamed.__name__ = renamed.__qualname__ = old
    renamed.__doc__ = f"The old name of `{new}`."
    return renamed


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)

__all__ = [
    "calculate_gain", "constant", "constant_", "dirac", "dirac_", "eye", "eye_", "kaiming_normal", "kaiming_normal_",
    "kaiming_uniform", "kaiming_uniform_", "normal", "normal_", "ones_", "orthogonal", "orthogonal_", "sparse",
    "sparse_", "trunc_normal_", "uniform", "uniform_", "xavier_normal", "xavier_normal_", "xavier_uniform",
    "xavier_uniform_", "zeros_",
]  # fmt: skip
