"""einops' layers as modules of rushlight: what `einops.layers.torch` is for PyTorch.

einops' functions need nothing from here: `einops.rearrange(tensor, ...)` works once both libraries are imported.
"""

from __future__ import annotations

from typing import Any

from einops.layers import RearrangeMixin, ReduceMixin
from einops.layers._einmix import _EinmixMixin

from rushlight import nn
from rushlight.ops.contractions import einsum
from rushlight.ops.creation import empty


class Rearrange(RearrangeMixin, nn.Module):  # type: ignore[misc] # einops has no types
    """`einops.rearrange` as a layer.

    >>> import rushlight
    >>> from rushlight.utils.einops import Rearrange
    >>> Rearrange("b c h w -> b (c h w)")(rushlight.zeros(2, 3, 4, 5)).shape
    torch.Size([2, 60])
    """

    def forward(self, input: Any) -> Any:
        """The input's axes in the order that the pattern says."""
        return self._apply_recipe(input)


class Reduce(ReduceMixin, nn.Module):  # type: ignore[misc]
    """`einops.reduce` as a layer: pooling of any kind.

    >>> import rushlight
    >>> from rushlight.utils.einops import Reduce
    >>> Reduce("b c (h 2) (w 2) -> b c h w", "max")(rushlight.zeros(1, 3, 4, 6)).shape
    torch.Size([1, 3, 2, 3])
    """

    def forward(self, input: Any) -> Any:
        """The input reduced over the axes that the pattern drops."""
        return self._apply_recipe(input)


class EinMix(_EinmixMixin, nn.Module):  # type: ignore[misc]
    """A linear layer between any axes, with weights of its own: see einops' documentation.

    >>> import rushlight
    >>> from rushlight.utils.einops import EinMix
    >>> mix = EinMix("t b (head c) -> t b head d", "head c d", "head d", head=2, c=3, d=4)
    >>> mix(rushlight.zeros(5, 1, 6)).shape, mix.weight.shape
    (torch.Size([5, 1, 2, 4]), torch.Size([2, 3, 4]))
    """

    def _create_parameters(
        self,
        weight_shape: list[int],
        weight_bound: float,
        bias_shape: list[int] | None,
        bias_bound: float,
    ) -> None:
        self.weight = nn.Parameter(empty(weight_shape).uniform_(-weight_bound, weight_bound))
        self.bias = (
            None
            if bias_shape is None
            else nn.Parameter(empty(bias_shape).uniform_(-bias_bound, bias_bound))
        )

    def _create_rearrange_layers(
        self,
        pre_reshape_pattern: str | None,
        pre_reshape_lengths: dict[str, int] | None,
        post_reshape_pattern: str | None,
        post_reshape_lengths: dict[str, int] | None,
    ) -> None:
        def layer(pattern: str | None, lengths: dict[str, int] | None) -> Rearrange | None:
            return None if pattern is None else Rearrange(pattern, **(lengths or {}))

        self.pre_rearrange = layer(pre_reshape_pattern, pre_reshape_lengths)
        self.post_rearrange = layer(post_reshape_pattern, post_reshape_lengths)

    def forward(self, input: Any) -> Any:
        """The input mixed by the weight, plus the bias."""
        if self.pre_rearrange is not None:
            input = self.pre_rearrange(input)
        result = einsum(self.einsum_pattern, input, self.weight)
        if self.bias is not None:
            result = result + self.bias
        return result if self.post_rearrange is None else self.post_rearrange(result)


__all__ = ["EinMix", "Rearrange", "Reduce"]
