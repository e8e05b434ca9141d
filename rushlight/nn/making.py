"""How layers make their tensors, and read sizes that may be one number for all dimensions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.core.memory import aligned
from rushlight.nn.parameter import Parameter
from rushlight.tensor.device import check_available
from rushlight.tensor.tensor import Tensor, wrap


def empty(*shape: int, device: Any = None, dtype: Any = None) -> Tensor:
    """A tensor whose values are not set, in the default dtype unless told."""
    check_available(device)
    return wrap(aligned(shape, (dtype or dtypes.get_default_dtype()).numpy))


def zeros(*shape: int, device: Any = None, dtype: Any = None) -> Tensor:
    """A tensor of zeros."""
    check_available(device)
    array = aligned(shape, (dtype or dtypes.get_default_dtype()).numpy)
    array[...] = 0
    return wrap(array)


def ones(*shape: int, device: Any = None, dtype: Any = None) -> Tensor:
    """A tensor of ones."""
    check_available(device)
    return wrap(np.ones(shape, (dtype or dtypes.get_default_dtype()).numpy))


def parameter(*shape: int, device: Any = None, dtype: Any = None) -> Parameter:
    """A parameter whose values are not set; ints and bools can't be parameters (RuntimeError)."""
    made: Parameter = Parameter(empty(*shape, device=device, dtype=dtype))
    return made


def repeated(value: Any, count: int) -> tuple[Any, ...]:
    """`value` for each of `count` dimensions; a sequence stays what it is."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(value)
    return (value,) * count
