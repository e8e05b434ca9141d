"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

from rushlight.optim.optimizer import (
    Optimizer,
    check_betas,
    check_range,
    count_step,
    new_step,
    rate_of,
    real_views,
    zeros_like,
)
from rushlight.tensor.tensor import Tensor


class Adam(Optimizer):
    """Steps by the mean of recent gradients over the root of the mean of their squares, both corrected for their start.

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, p = p - lr * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps).
    With `amsgrad` the largest v so far is used (Reddi et al., ICLR 2018). With `decoupled_weight_decay` the parameter
    itself shrinks instead of the decay being added to the gradient.
    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_range("learning rate", lr)
        check_range("epsilon value", eps)
        check_betas(betas)
        check_range("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
                "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
                "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
            },
        )  # fmt: skip

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Step count, the two means, and with amsgrad the largest second."""
        state = {"step": new_step(), "exp_avg": zeros_like(param), "exp_avg_sq": zeros_like(param)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_like(param)
        return state

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        beta1, beta2 = group["betas"]
        lr = rate_of(group)
        step = count_step(state)
        if group["weight_decay"] != 0:
            if group["decoupled_weight_decay"]:
                param.mul_(1 - lr * group["weight_decay"])
            else:
                grad = grad.add(param, alpha=group["weight_decay"])
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        largest = state.get("max_exp_avg_sq") if group["amsgrad"] else None
        if param.is_complex():
            param, grad, mean, square, largest = real_views(param, grad, mean, square, largest)
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        if largest is not None:
            before = largest.clone() if group["differentiable"] else largest  # the tape keeps it
            square = largest.copy_(before.maximum(square))
        # The corrections are numbers: scaled into eps and the rate, they cost no pass over the elements.
        correction = (1 - beta2**step) ** 0.5
        root = square.sqrt() + group["eps"] * correction
        rate = lr * correction / (1 - beta1**step)
        if isinstance(rate, Tensor):
            param.sub_(mean / root * rate)
        else:
            param.addcdiv_(mean, root, value=-rate)


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters themselves. Source: Loshchilov and Hutter, ICLR 2019."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip
