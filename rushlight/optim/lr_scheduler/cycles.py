"""Schedules that raise and lower the rate, and the momentum against it: CyclicLR, OneCycleLR."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rushlight.optim.lr_scheduler.base import (
    LRScheduler,
    Rates,
    check_optimizer,
    function_state,
    per_group,
    set_value,
)
from rushlight.optim.optimizer import Optimizer


def _has_betas(optimizer: Optimizer) -> bool:
    """Whether momentum is the first of the betas. ValueError if the optimizer has no momentum at all."""
    if "betas" in optimizer.defaults:
        return True
    if "momentum" not in optimizer.defaults:
        raise ValueError(
            "optimizer must support momentum or beta1 with `cycle_momentum` option enabled, but "
            f"{type(optimizer).__name__} has neither: pass cycle_momentum=False"
        )
    return False


def _set_momentum(group: dict[str, Any], value: Any, betas: bool) -> None:
    if betas:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def _start_momenta(optimizer: Optimizer, highs: Rates, lows: Rates, betas: bool) -> None:
    """The cycle begins with the highest momentum; the groups keep both ends."""
    for group, high, low in zip(optimizer.param_groups, highs, lows, strict=True):
        _set_momentum(group, high, betas)
        group["max_momentum"] = high
        group["base_momentum"] = low


def _triangular(x: float) -> float:
    return 1.0


def _triangular2(x: float) -> float:
    return 1 / 2.0 ** (x - 1)


class CyclicLR(LRScheduler):
    """The rate goes up and down between `base_lr` and `max_lr` in straight lines, and momentum the other way.

    Arguments: `step_size_up` and `step_size_down`, the steps of the two halves of a cycle (down as up, if not given);
    `mode`, "triangular" (all cycles equal), "triangular2" (each half as high as the one before) or "exp_range" (height
    times `gamma` ** step), or `scale_fn`, a function of the cycle's or the step's number by `scale_mode` ("cycle",
    "iterations"). Source: Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.

    >>> import rushlight
    >>> optimizer = rushlight.optim.SGD(
    ...     [rushlight.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9
    ... )
    >>> scheduler = rushlight.optim.lr_scheduler.CyclicLR(optimizer, 0.25, 1.25, step_size_up=2)
    >>> rates = []
    >>> for step in range(5):
    ...     rates += scheduler.get_last_lr()
    ...     optimizer.step()
    ...     scheduler.step()
    >>> rates
    [0.25, 0.75, 1.25, 0.75, 0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        lows = per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, lows, strict=True):
                set_value(group, "lr", low)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(
                f"mode is invalid and scale_fn is None: {mode!r} is none of 'triangular', 'triangular2', 'exp_range'"
            )
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = _has_betas(optimizer)
            self.base_momentums = per_group("base_momentum", optimizer, base_momentum)
            self.max_momentums = per_group("max_momentum", optimizer, max_momentum)
            if last_epoch == -1:
                _start_momenta(optimizer, self.max_momentums, self.base_momentums, self.use_beta1)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lows

    def scale_fn(self, x: float) -> float:
        """The height of a cycle, by its number or the step's."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "exp_range":
            return self.gamma**x
        return _triangular2(x) if self.mode == "triangular2" else _triangular(x)

    def get_lr(self) -> Rates:
        """The rates for `self.last_epoch`; sets the momenta too."""
        self._warn_outside_step()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        if x <= self.step_ratio:
            part = x / self.step_ratio
        else:
            part = (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            ends = zip(self.base_momentums, self.max_momentums, strict=True)
            for group, (low, high) in zip(self.optimizer.param_groups, ends, strict=True):
                _set_momentum(group, high - (high - low) * part * scale, self.use_beta1)
        return [
            low + (high - low) * part * scale
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """As LRScheduler's; of a `scale_fn` that is a callable object its attributes are kept."""
        state = super().state_dict()
        custom = self._scale_fn_custom
        state["_scale_fn_custom"] = None if custom is None else function_state(custom)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` gave; a `scale_fn` stays the one given to the constructor."""
        custom = self._scale_fn_custom
        super().load_state_dict(state_dict)
        self._scale_fn_custom = custom
        attributes = state_dict["_scale_fn_custom"]
        if attributes is not None:
            vars(custom).update(attributes)


def _by_cosine(start: Any, end: Any, part: float) -> Any:
    return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)


def _by_line(start: Any, end: Any, part: float) -> Any:
    return (end - start) * part + start


def _phase(end_step: float, rates: tuple[str, str], momenta: tuple[str, str]) -> dict[str, Any]:
    """A part of one cycle: its last step, and the names of the ends of rate and momentum."""
    return {
        "end_step": end_step,
        "start_lr": rates[0],
        "end_lr": rates[1],
        "start_momentum": momenta[0],
        "end_momentum": momenta[1],
    }


def _phases(steps: int, rising: float, three: bool) -> list[dict[str, Any]]:
    """Up and down again; with `three`, down as fast as up and then on to the least rate."""
    falling, growing = ("max_momentum", "base_momentum"), ("base_momentum", "max_momentum")
    up = _phase(float(rising * steps) - 1, ("initial_lr", "max_lr"), falling)
    if not three:
        return [up, _phase(steps - 1, ("max_lr", "min_lr"), growing)]
    return [
        up,
        _phase(float(2 * rising * steps) - 2, ("max_lr", "initial_lr"), growing),
        _phase(steps - 1, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum")),
    ]


class OneCycleLR(LRScheduler):
    """One rise of the rate to `max_lr` and one fall far below its start; to be stepped after every batch.

    Arguments: `total_steps`, or `epochs` and `steps_per_epoch`; `pct_start`, the part of the steps that rise;
    `anneal_strategy`, "cos" or "linear"; the start is `max_lr / div_factor` and the end the start divided by
    `final_div_factor`; `three_phase` falls to the start as fast as it rose, and then to the end; with
    `cycle_momentum` momentum (or the first of the betas) goes the other way between `max_momentum` and
    `base_momentum`. ValueError for what is out of range, and for a step after the last.
    Source: Smith and Topin, "Super-Convergence", arXiv 1708.07120.

    >>> import rushlight
    >>> optimizer = rushlight.optim.SGD(
    ...     [rushlight.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9
    ... )
    >>> scheduler = rushlight.optim.lr_scheduler.OneCycleLR(
    ...     optimizer, max_lr=1.0, total_steps=5, pct_start=0.6, anneal_strategy="linear"
    ... )
    >>> rates = []
    >>> for step in range(5):
    ...     rates += scheduler.get_last_lr()
    ...     if step < 4:
    ...         optimizer.step()
    ...         scheduler.step()
    >>> [round(rate, 4) for rate in rates]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
        given = (
            {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
            if total_steps is None
            else {"total_steps": total_steps}
        )
        self.total_steps = 1
        for name, count in given.items():
            if not isinstance(count, int) or count <= 0:
                raise ValueError(f"Expected positive integer {name}, but got {count}")
            self.total_steps *= count
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        highs = per_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, high in zip(optimizer.param_groups, highs, strict=True):
                group["initial_lr"] = high / div_factor
                group["max_lr"] = high
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = _has_betas(optimizer)
            most = per_group("max_momentum", optimizer, max_momentum)
            least = per_group("base_momentum", optimizer, base_momentum)
            if last_epoch == -1:
                _start_momenta(optimizer, most, least, self.use_beta1)
        super().__init__(optimizer, last_epoch)

    def _where(self) -> tuple[dict[str, Any], float]:
        """The phase that `last_epoch` lies in, and the part of it that is done."""
        begin = 0.0
        *early, last = self._schedule_phases
        for phase in early:
            if self.last_epoch <= phase["end_step"]:
                break
            begin = phase["end_step"]
        else:
            phase = last
        return phase, (self.last_epoch - begin) / (phase["end_step"] - begin)

    def get_lr(self) -> Rates:
        """The rates for `self.last_epoch`; sets the momenta too. ValueError after the last step."""
        self._warn_outside_step()
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"Tried to step {self.last_epoch} times. The specified number of total steps is {self.total_steps}"
            )
        phase, part = self._where()
        between = _by_cosine if self._anneal_func_type == "cos" else _by_line
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(between(group[phase["start_lr"]], group[phase["end_lr"]], part))
            if self.cycle_momentum:
                start, end = group[phase["start_momentum"]], group[phase["end_momentum"]]
                _set_momentum(group, between(start, end, part), self.use_beta1)
        return rates
