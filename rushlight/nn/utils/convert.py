"""Parameters as one vector and back; convolution weights in another memory order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from rushlight.nn.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from rushlight.nn.module import Module
from rushlight.ops import public
from rushlight.tensor.tensor import Tensor

M = TypeVar("M", bound=Module)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of the parameters, one after the other, as one vector."""
    return public.cat([p.reshape(-1) for p in parameters])  # type: ignore[attr-defined, no-any-return]


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Gives the parameters the vector's elements, in the order of `parameters_to_vector`; they share its memory.

    TypeError for what is no tensor.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    flat: Any = vec
    start = 0
    for p in parameters:
        count = p.numel()
        p.data = flat[start : start + count].view(p.shape).data
        start += count


def _convert(module: Any, kinds: tuple[type, ...], memory_format: Any) -> None:
    if isinstance(module, kinds):
        weight: Any = module.weight  # type: ignore[attr-defined]
        weight.data = weight.detach().clone().contiguous(memory_format=memory_format)
    for child in module.children():
        _convert(child, kinds, memory_format)


def convert_conv2d_weight_memory_format(module: M, memory_format: Any) -> M:
    """Puts the weights of all 2-d convolutions below into that memory format, such as channels_last."""
    _convert(module, (Conv2d, ConvTranspose2d), memory_format)
    return module


def convert_conv3d_weight_memory_format(module: M, memory_format: Any) -> M:
    """Puts the weights of all 3-d convolutions below into that memory format, such as channels_last_3d."""
    _convert(module, (Conv3d, ConvTranspose3d), memory_format)
    return module


__all__ = [
    "convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format", "parameters_to_vector",
    "vector_to_parameters",
]  # fmt: skip
