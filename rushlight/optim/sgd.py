"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from typing import Any

from rushlight.optim.optimizer import Optimizer, check_range, copy_of, descend, rate_of
from rushlight.tensor.tensor import Tensor


class SGD(Optimizer):
    """Steps against the gradient, optionally with momentum, dampening and Nesterov's look-ahead.

    With g the gradient (plus `weight_decay` times the parameter): v = momentum * v + (1 - dampening) * g, v = g at the
    first step; then p = p - lr * v, or with `nesterov` p - lr * (g + momentum * v).
    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.

    >>> import rushlight
    >>> p = rushlight.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = rushlight.optim.SGD([p], lr=0.5)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p
    tensor([0., 0.], requires_grad=True)
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_range("learning rate", lr)
        check_range("momentum value", momentum)
        check_range("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                "nesterov": nesterov, "maximize": maximize, "foreach": foreach, "differentiable": differentiable,
                "fused": fused,
            },
        )  # fmt: skip

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        if group["weight_decay"] != 0:
            grad = grad.add(param, alpha=group["weight_decay"])
        momentum = group["momentum"]
        if momentum != 0:
            velocity = state.get("momentum_buffer")
            if velocity is None:
                velocity = state["momentum_buffer"] = copy_of(grad)
            else:
                velocity.mul_(momentum).add_(grad, alpha=1 - group["dampening"])
            grad = grad.add(velocity, alpha=momentum) if group["nesterov"] else velocity
        descend(param, grad, rate_of(group))
