"""Optimizers that see a parameter as a matrix: Adafactor keeps row and column means, Muon makes steps orthogonal."""

from __future__ import annotations

import math
from typing import Any

from rushlight.core.dtypes import finfo
from rushlight.ops.products import addmm
from rushlight.optim.optimizer import (
    Optimizer,
    check_range,
    count_step,
    new_step,
    rate_of,
    zeros_like,
)
from rushlight.tensor.tensor import Tensor


def _real_only(optimizer: Optimizer, param: Tensor) -> None:
    if param.is_complex():
        raise RuntimeError(f"{type(optimizer).__name__} does not support complex parameters")


def _root_mean_square(x: Any) -> Any:
    """The root of the mean of squares, a scalar."""
    return x.norm() / x.numel() ** 0.5


class Adafactor(Optimizer):
    """Adam's second moment kept as a row's and a column's means, so that a matrix costs memory of its two sides only.

    The rate is relative to the parameter's size, at most `lr` and falling with the root of the step; steps are clipped
    to a root mean square of `d`. `eps` is (eps1, eps2): floor of the moments (None: the dtype's epsilon) and of the
    parameter's size. RuntimeError for complex parameters.
    Source: Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", ICML 2018.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_range("learning rate", lr)
        for rule, fine in (
            (f"beta2_decay should be <= 0 but is: {beta2_decay}", beta2_decay <= 0.0),
            (f"epsilon1 should be >= 0 but is: {eps[0]}", eps[0] is None or eps[0] >= 0.0),
            (f"epsilon2 should be >= 0 but is: {eps[1]}", eps[1] >= 0.0),
            (f"Clipping threshold d should be >= 1 but is: {d}", d >= 1.0),
            (f"weight_decay should be >= 0 but is: {weight_decay}", weight_decay >= 0.0),
        ):
            if not fine:
                raise ValueError(rule)
        super().__init__(
            params,
            {
                "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay,
                "foreach": foreach, "maximize": maximize,
            },
        )  # fmt: skip

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Step count, and the means of rows and columns, or of a vector's elements."""
        _real_only(self, param)
        state = {"step": new_step()}
        if param.ndim > 1:
            *outer, rows, columns = param.shape
            state["row_var"] = param.new_zeros((*outer, rows, 1))
            state["col_var"] = param.new_zeros((*outer, 1, columns))
        else:
            state["variance"] = zeros_like(param)
        return state

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        least, smallest = group["eps"]
        least = finfo(param.dtype).eps if least is None else least
        step, lr = count_step(state), rate_of(group)
        if isinstance(step, Tensor):
            step = step.to(param.dtype)
        weight, rate = step ** group["beta2_decay"], 1 / step**0.5
        if isinstance(rate, Tensor):
            rate = rate.minimum(lr) if isinstance(lr, Tensor) else rate.clamp(max=lr)
        else:
            rate = min(lr, rate)
        size = _root_mean_square(param).clamp(min=smallest)
        if group["weight_decay"] != 0:
            param.mul_(1 - lr * group["weight_decay"])
        square = grad * grad
        if grad.ndim > 1:
            rows, columns = state["row_var"], state["col_var"]
            rows.lerp_(square.mean(-1, True), weight)
            columns.lerp_(square.mean(-2, True), weight)
            variance = (rows @ columns) / rows.mean(-2, True).clamp(min=least)
        else:
            variance = state["variance"].lerp_(square, weight)
        step_taken = grad * variance.clamp(min=least * least).rsqrt()
        clip = (_root_mean_square(step_taken) / group["d"]).clamp(min=1.0)
        param.sub_(step_taken * (size * rate / clip))


class Muon(Optimizer):
    """Momentum whose step is made orthogonal by a few Newton-Schulz iterations; for matrices of hidden layers.

    Arguments: `ns_coefficients` and `ns_steps` of the iteration, which runs in bfloat16; `adjust_lr_fn`, "original"
    (rate times sqrt(max(1, rows / columns)); also for None) or "match_rms_adamw" (rate times 0.2 sqrt(max(rows,
    columns))). ValueError for parameters that are no matrices, RuntimeError for complex ones.
    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_range("learning rate", lr)
        for name, value in (("momentum", momentum), ("weight decay", weight_decay)):
            if value < 0.0:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(
                f"Adjust learning rate function {adjust_lr_fn} is not supported: 'original' and 'match_rms_adamw' are"
            )
        if len(ns_coefficients) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        if ns_steps >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        super().__init__(
            params,
            {
                "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
                "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
            },
        )  # fmt: skip

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As Optimizer's. ValueError for parameters that are no matrices."""
        super().add_param_group(param_group)
        for param in self.param_groups[-1]["params"]:
            if param.ndim != 2:
                self.param_groups.pop()
                raise ValueError(
                    f"Muon only supports 2D parameters whereas we found a parameter with size: {param.size()}"
                )

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The mean gradient."""
        _real_only(self, param)
        return {"momentum_buffer": zeros_like(param)}

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """One step of one parameter."""
        momentum, lr = group["momentum"], rate_of(group)
        mean = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        direction = grad.lerp(mean, momentum) if group["nesterov"] else mean
        step = _orthogonal(direction, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = param.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        else:
            ratio = math.sqrt(max(1, rows / columns))
        param.mul_(1 - lr * group["weight_decay"])
        param.sub_(step.to(param.dtype) * (lr * ratio))


def _orthogonal(
    matrix: Any, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Any:
    """The nearly orthogonal matrix of the same singular vectors, by the quintic Newton-Schulz iteration."""
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16()
    x = x.t() if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.t()
        x = addmm(x, addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.t() if tall else x
