"""Schedules made of schedules: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from rushlight.optim.lr_scheduler.base import LRScheduler, group_values, set_value
from rushlight.optim.lr_scheduler.plateau import ReduceLROnPlateau
from rushlight.optim.optimizer import Optimizer


class _Combined(LRScheduler):
    """What schedules of schedules share: the checks, and state dicts that hold the parts'."""

    _schedulers: Sequence[LRScheduler]

    def _check(self, schedulers: Sequence[Any], optimizer: Any) -> None:
        name = type(self).__name__
        for i, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer"):
                raise TypeError(
                    f"{name} at index {i} should have `optimizer` as its attribute, but {type(scheduler).__name__} "
                    "has none"
                )
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(
                    f"{name} does not support `ReduceLROnPlateau` scheduler, whose step() needs a measure, but got one "
                    f"at index {i}: step it apart"
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError(
                    f"{name} expects all schedulers to belong to the same optimizer, but the "
                    f"{type(scheduler).__name__} at index {i} belongs to another"
                )

    def state_dict(self) -> dict[str, Any]:
        """As LRScheduler's, with a list of the parts' state dicts."""
        state = super().state_dict()
        state["_schedulers"] = [scheduler.state_dict() for scheduler in self._schedulers]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` gave."""
        schedulers = self._schedulers
        super().load_state_dict(state_dict)
        self._schedulers = schedulers
        for scheduler, state in zip(schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


def _undo_first_steps(scheduler: Any) -> None:
    """Takes back the count of the steps that schedules did when they were made."""
    if hasattr(scheduler, "_schedulers"):
        for part in scheduler._schedulers:
            _undo_first_steps(part)
    elif hasattr(scheduler, "last_epoch"):
        scheduler.last_epoch -= 1


class SequentialLR(_Combined):
    """One schedule until the first of the epochs `milestones`, the next one until the second, and so on.

    Each part starts at its own epoch 0. ValueError if there is no part, one too many or too few milestones, or parts
    of different optimizers.

    >>> import rushlight
    >>> from rushlight.optim.lr_scheduler import ConstantLR, ExponentialLR, SequentialLR
    >>> optimizer = rushlight.optim.SGD([rushlight.zeros(1, requires_grad=True)], lr=1.0)
    >>> warm_up = ConstantLR(optimizer, factor=0.5, total_iters=2)
    >>> scheduler = SequentialLR(
    ...     optimizer, [warm_up, ExponentialLR(optimizer, gamma=0.5)], milestones=[2]
    ... )
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates += scheduler.get_last_lr()
    ...     optimizer.step()
    ...     scheduler.step()
    >>> rates
    [0.5, 0.5, 1.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        if len(schedulers) < 1:
            raise ValueError(
                f"{type(self).__name__} expects at least one scheduler, but got no scheduler."
            )
        self._check(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than the number of "
                f"milestone points, but got {len(schedulers)} schedulers and {len(milestones)} milestones"
            )
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        # The parts have all done their first step on the one optimizer: back, and only the first part's again.
        for group in optimizer.param_groups:
            set_value(group, "lr", group["initial_lr"])
        _undo_first_steps(self)
        first = schedulers[bisect_right(milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def _initial_step(self) -> None:
        """As part of another SequentialLR: the parts step again before the optimizer does, and rightly so."""
        optimizer: Any = self.optimizer
        called = getattr(optimizer, "_opt_called", False)
        optimizer._opt_called = True
        try:
            super()._initial_step()
        finally:
            optimizer._opt_called = called

    def step(self) -> None:  # type: ignore[override]
        """Sets the rates of the next epoch."""
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Combined):
    """Several schedules at once: each changes the rates that the one before it has set.

    ValueError if there is no part, or parts of different optimizers.
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        if len(schedulers) < 1:
            raise ValueError(
                f"{type(self).__name__} expects at least one scheduler to be chained, but got no scheduler."
            )
        if optimizer is None:
            optimizer = getattr(schedulers[0], "optimizer", None)
        self._check(schedulers, optimizer)
        self._schedulers = schedulers
        self.optimizer = schedulers[0].optimizer
        self._last_lr = group_values(self.optimizer, "lr")

    def step(self) -> None:  # type: ignore[override]
        """Steps every part."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = group_values(self.optimizer, "lr")
