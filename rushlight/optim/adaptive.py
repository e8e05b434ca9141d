"""Optimizers that give every element a rate of its own from past gradients: Adagrad, RMSprop, Adadelta, Adamax."""

from __future__ import annotations

from typing import Any

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
from rushlight.tensor.tensor import Tensor


def _decayed(param: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
    """The gradient with the L2 penalty's added."""
    decay = group["weight_decay"]
    return grad.add(param, alpha=decay) if decay != 0 else grad


class Adagrad(Optimizer):
    """Divides each element's step by the root of the sum of its squared gradients so far.

    Source: Duchi et al., "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 2011.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_range("learning rate", lr)
        check_range("lr_decay value", lr_decay)
        check_range("weight_decay value", weight_decay)
        check_range("initial_accumulator_value value", initial_accumulator_value)
        check_range("epsilon value", eps)
        super().__init__(
            params,
            {
                "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
                "differentiable": differentiable, "fused": fused,
            },
        )  # fmt: skip
        for group in self.param_groups:  # PyTorch's Adagrad has its state from the start
            for param in group["params"]:
                self.state[param].update(self.new_state(param, group))

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Step count and the sum of squares."""
        start = group["initial_accumulator_value"]
        value = complex(start, start) if param.is_complex() else start
        return {"step": new_step(), "sum": zeros_like(param).fill_(value)}

    def share_memory(self) -> None:
        """Moves the state to memory that processes share."""
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["sum"].share_memory_()

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        step = count_step(state)
        grad = _decayed(param, grad, group)
        rate = rate_of(group) / (1 + (step - 1) * group["lr_decay"])
        total = state["sum"]
        if param.is_complex():  # the two parts are separate numbers to it
            param, grad, total = real_views(param, grad, total)
        total.add_(grad * grad)
        descend(param, grad / (total.sqrt() + group["eps"]), rate)


class RMSprop(Optimizer):
    """Divides the gradient by the root of a running mean of its square.

    With `centered` the mean's square is subtracted first (Graves, "Generating Sequences With
    Recurrent Neural Networks",
    2013). Source: Tieleman and Hinton, Coursera lecture 6.5, 2012.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("learning rate", lr)
        check_range("epsilon value", eps)
        check_range("momentum value", momentum)
        check_range("weight_decay value", weight_decay)
        check_range("alpha value", alpha)
        super().__init__(
            params,
            {
                "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
                "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
                "differentiable": differentiable,
            },
        )  # fmt: skip

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Step count, the running mean of squares, and what momentum and centering need."""
        state = {"step": new_step(), "square_avg": zeros_like(param)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros_like(param)
        if group["centered"]:
            state["grad_avg"] = zeros_like(param)
        return state

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        count_step(state)
        grad = _decayed(param, grad, group)
        square, alpha = state["square_avg"], group["alpha"]
        mean: Any = state.get("grad_avg")
        velocity: Any = state.get("momentum_buffer")
        if param.is_complex():
            param, grad, square, mean, velocity = real_views(param, grad, square, mean, velocity)
        square.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
        spread = square
        if group["centered"]:
            mean.lerp_(grad, 1 - alpha)
            spread = square - mean * mean
        scaled = grad / (spread.sqrt() + group["eps"])
        if group["momentum"] > 0:
            scaled = velocity.mul_(group["momentum"]).add_(scaled)
        descend(param, scaled, rate_of(group))


class Adadelta(Optimizer):
    """Scales the gradient by the ratio of running roots: of past steps over past gradients.

    Source: Zeiler, "ADADELTA: An Adaptive Learning Rate Method", arXiv 1212.5701.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("learning rate", lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_range("epsilon value", eps)
        check_range("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
            },
        )  # fmt: skip

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Step count and the running means of squared gradients and squared steps."""
        return {"step": new_step(), "square_avg": zeros_like(param), "acc_delta": zeros_like(param)}

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        count_step(state)
        grad = _decayed(param, grad, group)
        rho, eps = group["rho"], group["eps"]
        square, steps = state["square_avg"], state["acc_delta"]
        if param.is_complex():
            param, grad, square, steps = real_views(param, grad, square, steps)
        square.mul_(rho).addcmul_(grad, grad, value=1 - rho)
        delta = ((steps + eps) / (square + eps)).sqrt_() * grad
        steps.mul_(rho).addcmul_(delta, delta, value=1 - rho)
        descend(param, delta, rate_of(group))


class Adamax(Optimizer):
    """Adam with the largest recent gradient in the place of the root of the mean square.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, section 7.1.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_range("learning rate", lr)
        check_range("epsilon value", eps)
        check_betas(betas)
        check_range("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
                "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
            },
        )  # fmt: skip

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Step count, the mean gradient, and the decaying maximum."""
        return {"step": new_step(), "exp_avg": zeros_like(param), "exp_inf": zeros_like(param)}

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        beta1, beta2 = group["betas"]
        step = count_step(state)
        grad = _decayed(param, grad, group)
        mean, largest = state["exp_avg"], state["exp_inf"]
        if param.is_complex():
            param, grad, mean, largest = real_views(param, grad, mean, largest)
        mean.lerp_(grad, 1 - beta1)
        largest.copy_((largest * beta2).maximum(grad.abs().add_(group["eps"])))
        descend(param, mean / largest, rate_of(group) / (1 - beta1**step))
