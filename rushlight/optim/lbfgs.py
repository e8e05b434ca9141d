"""L-BFGS: a quasi-Newton step from the last few steps and changes of gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.autograd.modes import state as modes
from rushlight.ops.joining import cat
from rushlight.optim.line_search import Point, strong_wolfe
from rushlight.optim.optimizer import Optimizer, check_range, real_views
from rushlight.primitives.interpreter import slot
from rushlight.tensor.tensor import Tensor


class LBFGS(Optimizer):
    """Steps along minus the gradient times an approximation of the inverse Hessian, kept as vectors of the last steps.

    `step` needs a closure, which clears the gradients, computes the loss, runs backward and returns the loss; it is
    called up to `max_eval` times. Arguments: `max_iter` and `max_eval` (max_iter * 5 // 4) for one `step`;
    `tolerance_grad` and `tolerance_change`, where it stops; `history_size`, how many steps are kept; `line_search_fn`,
    None (steps of length `lr`) or "strong_wolfe". One group of parameters only: ValueError otherwise. RuntimeError for
    another line search. Source: Liu and Nocedal, "On the limited memory BFGS method", Mathematical Programming 1989.

    >>> import rushlight
    >>> p = rushlight.tensor([3.0, -2.0], requires_grad=True)
    >>> optimizer = rushlight.optim.LBFGS([p], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((p - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure)
    tensor(13., grad_fn=<SumBackward0>)
    >>> p.detach().round(decimals=4)
    tensor([1., 1.])
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_range("learning rate", lr)
        super().__init__(
            params,
            {
                "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )  # fmt: skip

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As Optimizer's, for the first group. ValueError for a second one."""
        if self.param_groups:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Up to `max_iter` quasi-Newton steps; gives the loss before the first."""
        if closure is None:
            raise TypeError(
                "LBFGS.step() missing 1 required positional argument: 'closure', which computes the loss and its "
                "gradients"
            )
        if slot.recorder is not None:
            slot.recorder.give_up("LBFGS.step decides by values how often it calls its closure")  # type: ignore[attr-defined]
        before, modes.grad_enabled = modes.grad_enabled, False
        try:
            return self._iterate(closure)
        finally:
            modes.grad_enabled = before

    def _iterate(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        state = self.state[group["params"][0]]
        lr = float(group["lr"])
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError(
                f"only 'strong_wolfe' is supported as line_search_fn, not {group['line_search_fn']!r}"
            )
        first = _with_grad(closure)
        loss, grad = _number(first), self._flat_grad()
        state["func_evals"] = state.get("func_evals", 0) + 1
        state.setdefault("n_iter", 0)
        if _largest(grad) <= group["tolerance_grad"]:
            return first
        evaluations = 1
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            self._find_direction(state, grad, group["history_size"])
            direction = state["d"]
            last_loss = state["prev_loss"] = loss
            state["prev_flat_grad"] = grad.clone()
            slope = float(grad.dot(direction))
            state["t"] = t = (
                min(1.0, 1.0 / float(grad.abs().sum())) * lr if state["n_iter"] == 1 else lr
            )
            if slope > -group["tolerance_change"]:
                break
            calls = 0
            if group["line_search_fn"] is not None:
                point, calls = strong_wolfe(
                    self._along(closure, direction), Point(0, loss, grad, slope), t, _largest(direction),
                    most=group["max_eval"] - evaluations,
                )  # fmt: skip
                loss, grad, t = point.value, point.gradient, point.t
                state["t"] = t
                self._move(t, direction)
            else:
                self._move(t, direction)
                if iteration != group["max_iter"]:
                    loss, grad, calls = _number(_with_grad(closure)), self._flat_grad(), 1
            evaluations += calls
            state["func_evals"] += calls
            if (
                evaluations >= group["max_eval"]
                or _largest(grad) <= group["tolerance_grad"]
                or _largest(direction * t) <= group["tolerance_change"]
                or abs(loss - last_loss) < group["tolerance_change"]
            ):
                break
        return first

    def _find_direction(self, state: dict[str, Any], grad: Any, history: int) -> None:
        """Puts the next direction into `state["d"]`, by the two loops over the steps kept."""
        if state["n_iter"] == 1:
            state.update(d=-grad, old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return
        changes, steps, inverses = state["old_dirs"], state["old_stps"], state["ro"]
        change, step = grad - state["prev_flat_grad"], state["d"] * state["t"]
        product = change.dot(step)
        if product > 1e-10:
            if len(changes) == history:
                for kept in (changes, steps, inverses):
                    kept.pop(0)
            changes.append(change)
            steps.append(step)
            inverses.append(1.0 / product)
            state["H_diag"] = product / change.dot(change)
        weights = state.setdefault("al", [None] * history)
        direction = -grad
        for i in range(len(changes) - 1, -1, -1):
            weights[i] = steps[i].dot(direction) * inverses[i]
            direction.sub_(changes[i] * weights[i])
        direction = direction * state["H_diag"]
        for i, step in enumerate(steps):
            direction.add_(step * (weights[i] - changes[i].dot(direction) * inverses[i]))
        state["d"] = direction

    def _flat_grad(self) -> Any:
        """All gradients as one vector, zeros where there is none; complex ones as pairs."""
        parts = []
        for param in self.param_groups[0]["params"]:
            part = param.new_zeros(param.shape) if param.grad is None else param.grad.detach()
            parts.append((real_views(part)[0] if part.is_complex() else part).reshape(-1))
        return cat(parts)

    def _move(self, t: float, direction: Any) -> None:
        """Adds `t` times the direction to the parameters."""
        begin = 0
        for param in self.param_groups[0]["params"]:
            target = real_views(param)[0] if param.is_complex() else param
            end = begin + target.numel()
            target.add_(direction[begin:end].reshape(target.shape), alpha=t)
            begin = end

    def _along(self, closure: Callable[[], Any], direction: Any) -> Callable[[float], Point]:
        """The loss along the direction from the parameters of now, which it leaves as they are."""
        params = self.param_groups[0]["params"]
        held = [param.detach().clone() for param in params]

        def evaluate(t: float) -> Point:
            self._move(t, direction)
            loss, grad = _number(_with_grad(closure)), self._flat_grad()
            for param, value in zip(params, held, strict=True):
                param.copy_(value)
            return Point(t, loss, grad, float(grad.dot(direction)))

        return evaluate


def _with_grad(closure: Callable[[], Any]) -> Any:
    """Calls the closure with gradients recorded, inside a step that records none."""
    modes.grad_enabled = True
    try:
        return closure()
    finally:
        modes.grad_enabled = False


def _number(loss: Any) -> float:
    """A loss as a number, be it a tensor or one already."""
    return float(loss.item() if isinstance(loss, Tensor) else loss)


def _largest(vector: Any) -> float:
    """The greatest absolute value."""
    return float(vector.abs().max())
