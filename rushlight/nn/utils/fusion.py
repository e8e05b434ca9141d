"""Folding a batch normalisation in evaluation into the convolution or linear layer before it."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from rushlight.nn.module import Module
from rushlight.nn.parameter import Parameter
from rushlight.ops import public
from rushlight.tensor.tensor import Tensor

C = TypeVar("C", bound=Module)


def _fused(
    weight: Any, bias: Any, mean: Any, var: Any, eps: float, gamma: Any, beta: Any, shape: list[int]
) -> tuple[Parameter, Parameter]:
    gamma = public.ones_like(mean) if gamma is None else gamma
    beta = public.zeros_like(mean) if beta is None else beta
    start = public.zeros_like(mean) if bias is None else bias
    scale = gamma * (var + eps).rsqrt()
    fused = (weight * scale.reshape(shape)).to(weight.dtype)
    shift = ((start - mean) * scale + beta).to(weight.dtype)
    wanted = weight.requires_grad if bias is None else bias.requires_grad
    return Parameter(fused.detach(), weight.requires_grad), Parameter(shift.detach(), wanted)


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the convolution that does both: y = (conv(x) - mean) / sqrt(var + eps) * w + b."""
    shape = [1] * conv_w.dim()
    shape[1 if transpose else 0] = -1
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, shape)


def fuse_conv_bn_eval(conv: C, bn: Module, transpose: bool = False) -> C:
    """A copy of `conv` that does what `conv` and then `bn` do; AssertionError unless both are in evaluation.

    >>> import rushlight
    >>> from rushlight import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    >>> nn.utils.fuse_conv_bn_eval(net[0], net[1])
    Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
    """
    _check_eval(conv, bn)
    fused: Any = copy.deepcopy(conv)
    norm: Any = bn
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight,
        fused.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
        transpose,
    )
    return fused  # type: ignore[no-any-return]


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the linear layer that does both."""
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, [-1, 1])


def fuse_linear_bn_eval(linear: C, bn: Module) -> C:
    """A copy of `linear` that does what `linear` and then `bn` do; AssertionError unless both are in evaluation."""
    _check_eval(linear, bn)
    fused: Any = copy.deepcopy(linear)
    norm: Any = bn
    if norm.num_features not in (fused.out_features, 1):
        raise AssertionError(
            f"To fuse, linear.out_features == bn.num_features or bn.num_features == 1, but these are "
            f"{fused.out_features} and {norm.num_features}"
        )
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight,
        fused.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    return fused  # type: ignore[no-any-return]


def _check_eval(layer: Module, bn: Any) -> None:
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("Expected bn.running_mean and bn.running_var to not be None")


__all__ = [
    "fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights",
]  # fmt: skip
