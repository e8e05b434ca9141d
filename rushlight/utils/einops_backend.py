"""What einops asks of a library: its functions (rearrange, reduce, repeat, einsum, pack, unpack) then work on Tensor.

Loaded right after einops is (`rushlight/root.py`); einops finds the class among those that derive from AbstractBackend.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from einops._backends import AbstractBackend

from rushlight.ops.contractions import einsum
from rushlight.ops.joining import cat, stack
from rushlight.ops.spacing import arange
from rushlight.tensor.exchange import from_numpy
from rushlight.tensor.tensor import Tensor


class RushlightBackend(AbstractBackend):  # type: ignore[misc] # einops has no types
    """einops on rushlight's tensors."""

    framework_name = "rushlight"

    def is_appropriate_type(self, tensor: Any) -> bool:
        """Whether it is one of ours."""
        return isinstance(tensor, Tensor)

    def from_numpy(self, x: Any) -> Any:
        """A tensor that looks at the array."""
        return from_numpy(x)

    def to_numpy(self, x: Any) -> Any:
        """The tensor's array."""
        return x.detach().numpy()

    def arange(self, start: int, stop: int) -> Any:
        """Integers in a row."""
        return arange(start, stop)

    def transpose(self, x: Any, axes: Sequence[int]) -> Any:
        """The axes in another order."""
        return x.permute(axes)

    def reduce(self, x: Any, operation: str, reduced_axes: Sequence[int]) -> Any:
        """One of einops' reductions over some axes."""
        if operation in ("min", "max"):
            return getattr(x, "a" + operation)(dim=tuple(reduced_axes))
        if operation in ("sum", "mean"):
            return getattr(x, operation)(dim=tuple(reduced_axes))
        if operation not in ("any", "all", "prod"):
            raise NotImplementedError(f"Unknown reduction {operation}")
        for axis in sorted(reduced_axes, reverse=True):
            x = getattr(x, operation)(dim=axis)
        return x

    def stack_on_zeroth_dimension(self, tensors: list[Any]) -> Any:
        """The tensors along a new first axis."""
        return stack(tensors)

    def concat(self, tensors: Sequence[Any], axis: int) -> Any:
        """The tensors one behind the other."""
        return cat(tensors, dim=axis)

    def add_axis(self, x: Any, new_position: int) -> Any:
        """An axis of one element."""
        return x.unsqueeze(new_position)

    def add_axes(self, x: Any, n_axes: int, pos2len: dict[int, int]) -> Any:
        """Axes along which everything is repeated, without a copy."""
        lengths = [-1] * n_axes
        for position, length in pos2len.items():
            x = x.unsqueeze(position)
            lengths[position] = length
        return x.expand(lengths)

    def tile(self, x: Any, repeats: Sequence[int]) -> Any:
        """The tensor, so many times along each axis."""
        return x.repeat(repeats)

    def is_float_type(self, x: Any) -> bool:
        """Whether it has a mean."""
        return bool(x.is_floating_point() or x.is_complex())

    def einsum(self, pattern: str, *x: Any) -> Any:
        """A product of tensors, as the pattern says."""
        return einsum(pattern, *x)

    def layers(self) -> ModuleType:
        """Where the layers are."""
        from rushlight.utils import einops

        return einops
