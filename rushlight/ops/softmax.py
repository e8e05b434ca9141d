"""Softmax and its kin, one primitive each way."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes, shapes
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import to
from rushlight.ops.pointwise import exp
from rushlight.ops.reduction import sum
from rushlight.primitives import elementwise as p
from rushlight.primitives.softmax import log_softmax as p_log_softmax
from rushlight.primitives.softmax import softmax as p_softmax


def _axis(name: str, rank: int, dim: Any) -> int:
    if dim is None:
        warnings.warn(
            f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
            UserWarning,
            stacklevel=4,
        )
        dim = 0 if rank in (0, 1, 3) else 1
    return shapes.dimension(dim, rank)


def _real(name: str, x: Array, dtype: Any) -> Array:
    if isinstance(dtype, dtypes.dtype):
        x = to(x, dtype.numpy)
    if x.dtype not in dtypes.FLOATING:
        raise NotImplementedError(
            f"\"{name}_lastdim_kernel_impl\" not implemented for '{x.dtype}': convert to a floating dtype, or give dtype="
        )
    return x


@op(method=True, aliases=("nn.functional.softmax", "special.softmax"))
def softmax(input: Array, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Array:
    """exp(x) / sum(exp(x)) along `dim`; computed in `dtype` if one is given.

    >>> import rushlight
    >>> rushlight.softmax(rushlight.tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
    """
    x = _real("softmax", input, dtype if dtype is not None else _stacklevel)
    return p_softmax(x, axis=_axis("softmax", x.ndim, dim))


@softmax.gradient("input")
def softmax_gradient(grad: Array, out: Array, dim: Any) -> Array:
    axis = _axis("softmax", out.ndim, 0 if dim is None and out.ndim in (0, 1, 3) else 1 if dim is None else dim)
    inner = grad * out
    return inner - out * sum(inner, axis, True)


@op(method=True, aliases=("nn.functional.log_softmax", "special.log_softmax"))
def log_softmax(input: Array, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Array:
    """log(softmax(x)) along `dim`, without overflow or loss of digits."""
    x = _real("log_softmax", input, dtype if dtype is not None else _stacklevel)
    return p_log_softmax(x, axis=_axis("log_softmax", x.ndim, dim))


@log_softmax.gradient("input")
def log_softmax_gradient(grad: Array, out: Array, dim: Any) -> Array:
    axis = _axis("log_softmax", out.ndim, 0 if dim is None and out.ndim in (0, 1, 3) else 1 if dim is None else dim)
    return grad - exp(out) * sum(grad, axis, True)


@op(module="nn.functional")
def softmin(input: Array, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Array:
    """softmax(-x) along `dim`."""
    x = p.neg(_real("softmin", input, dtype))
    return p_softmax(x, axis=_axis("softmin", x.ndim, dim))


@softmin.gradient("input")
def softmin_gradient(grad: Array, out: Array, dim: Any) -> Array:
    return -softmax_gradient(grad, out, dim)


def _samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 1)
    yield Sample(make(2, 3, 4), 0)
    yield Sample(make(()), 0)
    yield Sample(make(0, 3), 1)
    yield Bad(make.ints(3), 0, raises=NotImplementedError, says="not implemented for")
    yield Bad(make(3), 1, raises=IndexError, says="out of range")


for _call in (softmax, log_softmax, softmin):
    _call.samples(_samples)
