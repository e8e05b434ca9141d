"""Tensors for the samples that ops declare: `make(2, 3)`, `make.ints(4)`, `make.bools(2)`, `make.distinct(5)`."""

from __future__ import annotations

from typing import Any

import numpy as np

import rushlight


class Make:
    """Makes the tensors of one op's samples, the same ones for the same seed.

    `dtype` is the floating type of those that a sample does not fix; `requires_grad` applies to all floating
    and complex ones; with `noncontiguous` the elements lie apart in memory.
    """

    def __init__(
        self,
        dtype: Any = None,
        requires_grad: bool = False,
        noncontiguous: bool = False,
        seed: int = 0,
    ) -> None:
        self.dtype = dtype or rushlight.float64
        self.requires_grad = requires_grad
        self.noncontiguous = noncontiguous
        self.random = np.random.default_rng(seed)

    def __call__(
        self,
        *shape: Any,
        dtype: Any = None,
        low: float = -2,
        high: float = 2,
        kind: str = "uniform",
    ) -> Any:
        """Uniform elements between `low` and `high`; `kind="distinct"` keeps them apart."""
        size = _shape(shape)
        if kind == "distinct":
            return self.distinct(*size, dtype=dtype)
        dtype = dtype or self.dtype
        if not (dtype.is_floating_point or dtype.is_complex):
            if dtype is rushlight.bool:
                return self.bools(*size)
            return self.ints(
                *size,
                low=max(int(low), 0) if not dtype.is_signed else int(low),
                high=int(high),
                dtype=dtype,
            )
        values = self.random.uniform(low, high, size)
        if dtype.is_complex:
            values = values + 1j * self.random.uniform(low, high, size)
        return self.tensor(values, dtype)

    def ints(self, *shape: Any, low: int = 0, high: int = 10, dtype: Any = None) -> Any:
        """Integers in [low, high)."""
        return self.tensor(
            self.random.integers(low, max(high, low + 1), _shape(shape)), dtype or rushlight.int64
        )

    def bools(self, *shape: Any) -> Any:
        """Truth values, half and half."""
        return self.tensor(self.random.integers(0, 2, _shape(shape)), rushlight.bool)

    def distinct(self, *shape: Any, dtype: Any = None) -> Any:
        """Elements that differ by at least 0.05, so that maxima and orders are stable under small steps."""
        size = _shape(shape)
        count = int(np.prod(size, dtype=int))
        values = self.random.permutation(count).reshape(size) * 0.1 - count * 0.05 + 0.03
        return self.tensor(values, dtype or self.dtype)

    def tensor(self, values: Any, dtype: Any) -> Any:
        """The values as a tensor of this maker's kind."""
        array = np.asarray(values).astype(dtype.numpy)
        if self.noncontiguous and array.ndim:
            apart = np.zeros((*array.shape[:-1], array.shape[-1] * 2), array.dtype)
            apart[..., ::2] = array
            array = apart[..., ::2]
        made = rushlight.Tensor.__new__(rushlight.Tensor)
        made._array = array
        if self.requires_grad and (dtype.is_floating_point or dtype.is_complex):
            made.requires_grad_()
        return made


def _shape(shape: tuple[Any, ...]) -> tuple[int, ...]:
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        return tuple(shape[0])
    return shape


def tensors_in(value: Any) -> list[Any]:
    """All tensors in arguments or results: nested tuples, lists and dicts included, in order."""
    if isinstance(value, rushlight.Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [t for item in value for t in tensors_in(item)]
    if isinstance(value, dict):
        return [t for item in value.values() for t in tensors_in(item)]
    return []


def replaced(value: Any, change: Any) -> Any:
    """The same structure with every tensor replaced by `change(tensor)`."""
    if isinstance(value, rushlight.Tensor):
        return change(value)
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(replaced(item, change) for item in value)
    if isinstance(value, dict):
        return {key: replaced(item, change) for key, item in value.items()}
    return value
