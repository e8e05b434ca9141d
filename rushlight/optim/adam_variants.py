"""Variants of Adam: NAdam with Nesterov's momentum, RAdam with a rectified start."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.optim.optimizer import (
    Optimizer,
    check_betas,
    check_range,
    count_step,
    descend,
    new_step,
    rate_of,
    real_views,
    zeros_like,
)
from rushlight.primitives.interpreter import slot
from rushlight.tensor.tensor import Tensor, wrap


def _decayed(param: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
    """Applies the weight decay, to the parameter itself or to the gradient."""
    decay = group["weight_decay"]
    if decay == 0:
        return grad
    if group["decoupled_weight_decay"]:
        param.mul_(1 - rate_of(group) * decay)
        return grad
    return grad.add(param, alpha=decay)


class NAdam(Optimizer):
    """Adam that looks ahead by Nesterov's momentum, with a momentum that grows over the first steps.

    Source: Dozat, "Incorporating Nesterov Momentum into Adam", 2016.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("learning rate", lr)
        check_range("epsilon value", eps)
        check_betas(betas)
        check_range("weight_decay value", weight_decay)
        check_range("momentum_decay value", momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
                "capturable": capturable, "differentiable": differentiable,
            },
        )  # fmt: skip

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Step count, the product of momenta so far, and the two means."""
        return {
            "step": new_step(), "mu_product": wrap(np.ones((), np.float32)),
            "exp_avg": zeros_like(param), "exp_avg_sq": zeros_like(param),
        }  # fmt: skip

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        beta1, beta2 = group["betas"]
        lr, decay = rate_of(group), group["momentum_decay"]
        step = count_step(state)
        grad = _decayed(param, grad, group)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        if param.is_complex():
            param, grad, mean, square = real_views(param, grad, mean, square)
        now = beta1 * (1 - 0.5 * 0.96 ** (step * decay))
        following = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * decay))
        product = state["mu_product"]
        product.mul_(now.to(product.dtype) if isinstance(now, Tensor) else now)
        so_far = product.double() if slot.recorder is not None else float(product._array)
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        root = (square / (1 - beta2**step)).sqrt() + group["eps"]
        descend(param, grad / root, lr * (1 - now) / (1 - so_far))
        descend(param, mean / root, lr * following / (1 - so_far * following))


class RAdam(Optimizer):
    """Adam that steps without its denominator until the variance of that is known well enough.

    Source: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("learning rate", lr)
        check_range("epsilon value", eps)
        check_betas(betas)
        check_range("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                "foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )  # fmt: skip

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Step count and the two means."""
        return {"step": new_step(), "exp_avg": zeros_like(param), "exp_avg_sq": zeros_like(param)}

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        beta1, beta2 = group["betas"]
        step = count_step(state)
        grad = _decayed(param, grad, group)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        if param.is_complex():
            param, grad, mean, square = real_views(param, grad, mean, square)
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        correction2 = 1 - beta2**step
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / correction2
        plain = mean / (1 - beta1**step)
        if slot.recorder is not None:  # both ways, since the count is not known while tracing
            over = length.clamp(min=5.0)
            rectified = _rectified(plain, square, over, longest, correction2, group["eps"])
            descend(param, rectified.where(length > 5.0, plain), rate_of(group))
        elif length > 5.0:
            rectified = _rectified(plain, square, length, longest, correction2, group["eps"])
            descend(param, rectified, rate_of(group))
        else:
            descend(param, plain, rate_of(group))


def _rectified(
    mean: Tensor, square: Tensor, length: Any, longest: float, correction2: Any, eps: float
) -> Tensor:
    """The step with its denominator, scaled by the rectification term."""
    term = ((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)) ** 0.5
    return mean * (correction2**0.5 * term) / (square.sqrt() + eps)
