"""The order in which elements lie in memory, for the ops that have `memory_format`.

Arrays under a trace have no order: there everything counts as contiguous.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.primitives import structural as s
from rushlight.primitives.creation import contiguous_copy
from rushlight.primitives.views import inverse_order
from rushlight.tensor.tensor import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    memory_format,
    preserve_format,
)

Array = Any

_CHANNELS_LAST = {channels_last: 4, channels_last_3d: 5}


def memory_order(x: Array, wanted: Any) -> tuple[int, ...] | None:
    """The dimensions of `x` from slowest to fastest in memory, as `wanted` asks; None for their own
    order.

    Raises TypeError for what is no memory format, RuntimeError where the format does not suit the
    dimensions.
    """
    if wanted is None or wanted is preserve_format:
        return _present_order(x)
    if wanted is contiguous_format:
        return None
    if not isinstance(wanted, memory_format):
        raise TypeError(
            f"argument 'memory_format' must be torch.memory_format, not {type(wanted).__name__}"
        )
    rank = _CHANNELS_LAST[wanted]
    if x.ndim != rank:
        raise RuntimeError(
            f"required rank {rank} tensor to use {wanted!r} format, not one of shape "
            f"{list(x.shape)}"
        )
    return (0, *range(2, rank), 1)


def _present_order(x: Array) -> tuple[int, ...] | None:
    """The dimensions by falling strides; None where that is their own order, and for expanded
    arrays.
    """
    if not isinstance(x, np.ndarray) or x.flags.c_contiguous or 0 in x.strides:
        return None
    order = tuple(sorted(range(x.ndim), key=lambda i: -x.strides[i]))
    return None if order == tuple(range(x.ndim)) else order


def filled(x: Array, value: Any, dtype: Any, wanted: Any) -> Array:
    """A new array of the shape of `x`, in the memory order of `x` or the wanted one."""
    dtype = x.dtype if dtype is None else dtype
    order = memory_order(x, wanted)
    if order is None:
        return s.full(value, shape=x.shape, dtype=dtype)
    out = s.full(value, shape=tuple(x.shape[i] for i in order), dtype=dtype)
    return s.permute(out, axes=inverse_order(order))


def copied(x: Array, wanted: Any) -> Array:
    """A copy of `x` in the wanted memory order."""
    if wanted is None or wanted is preserve_format:
        return contiguous_copy(x) if isinstance(x, np.ndarray) and 0 in x.strides else s.copy(x)
    order = memory_order(x, wanted)
    if order is None:
        return contiguous_copy(x)
    return s.permute(copied(s.permute(x, axes=order), contiguous_format), axes=inverse_order(order))
