"""Optimizers beside the great families: ASGD averages the way, Rprop looks at signs alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.optim.optimizer import (
    Optimizer,
    check_range,
    count_step,
    descend,
    new_step,
    rate_of,
    real_views,
    store,
    zeros_like,
)
from rushlight.primitives.interpreter import slot
from rushlight.tensor.tensor import Tensor, wrap


def _scalar(value: Any) -> Tensor:
    """A number of the state: a float32 scalar, as PyTorch's checkpoints hold it."""
    return wrap(np.array(value, np.float32))


def _value(tensor: Tensor) -> Any:
    """What a scalar of the state holds: as a number, or under a trace as a float64 tensor."""
    return tensor.double() if slot.recorder is not None else float(tensor._array)


class ASGD(Optimizer):
    """Gradient descent that also keeps the mean of the parameters along its way, in the state's `ax`.

    p = p (1 - lambd * eta) - eta * g with eta = lr / (1 + lambd * lr * t) ** alpha; the mean starts at step `t0`.
    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM 1992.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_range("learning rate", lr)
        check_range("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
                "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
            },
        )  # fmt: skip

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Step count, the rate of now, the mean's weight for the next parameters, and the mean."""
        lr = group["lr"]
        return {
            "step": new_step(), "eta": _scalar(lr.item() if isinstance(lr, Tensor) else lr),
            "mu": _scalar(1.0), "ax": zeros_like(param),
        }  # fmt: skip

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        mean = state["ax"]
        if param.is_complex():
            param, grad, mean = real_views(param, grad, mean)
        step = count_step(state)
        if group["weight_decay"] != 0:
            grad = grad.add(param, alpha=group["weight_decay"])
        eta, weight = _value(state["eta"]), _value(state["mu"])
        param.mul_(1 - group["lambd"] * eta)
        descend(param, grad, eta)
        if isinstance(weight, Tensor) or weight != 1:
            mean.add_((param - mean) * weight)
        else:
            mean.copy_(param)
        lr = rate_of(group)
        store(state["eta"], lr / (1 + group["lambd"] * lr * step) ** group["alpha"])
        since = step - group["t0"]
        since = since.clamp(min=1) if isinstance(since, Tensor) else max(1, since)
        store(state["mu"], 1 / since)


class Rprop(Optimizer):
    """Steps by a size of each element's own, which grows while the gradient keeps its sign and shrinks when it turns.

    Arguments: `etas`, the factors by which sizes shrink and grow; `step_sizes`, their bounds. ValueError unless
    0 < etas[0] < 1 < etas[1]. Meant for gradients of all data. Source: Riedmiller and Braun, "A direct adaptive method
    for faster backpropagation learning: the RPROP algorithm", ICNN 1993.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("learning rate", lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(
                f"Invalid eta values: {etas[0]}, {etas[1]}: the first must lie between 0 and 1, the second above 1"
            )
        super().__init__(
            params,
            {
                "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
                "differentiable": differentiable, "capturable": capturable,
            },
        )  # fmt: skip

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Step count, the last gradient and the sizes, which start as the learning rate."""
        lr = group["lr"].item() if isinstance(group["lr"], Tensor) else group["lr"]
        size = zeros_like(param).fill_(complex(lr, lr) if param.is_complex() else lr)
        return {"step": new_step(), "prev": zeros_like(param), "step_size": size}

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        shrink, grow = group["etas"]
        count_step(state)
        last, size = state["prev"], state["step_size"]
        if param.is_complex():
            param, grad, last, size = real_views(param, grad, last, size)
        agreement = (grad * last).sign()
        turned = agreement < 0
        factor = agreement.masked_fill(agreement == 0, 1)
        factor = factor.masked_fill(agreement > 0, grow).masked_fill(turned, shrink)
        size.copy_((size * factor).clamp(*group["step_sizes"]))
        grad = grad.masked_fill(turned, 0)  # after a turn one step is left out
        param.sub_(grad.sign() * size)
        last.copy_(grad)
