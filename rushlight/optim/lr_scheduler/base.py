"""`LRScheduler`: counts steps, asks `get_lr` for the new rates and puts them into the optimizer's groups.

A schedule says the next rates in `get_lr`, from the rates of now (`group["lr"]`), so that several schedules can work
on one optimizer; where it can also say them from `last_epoch` alone, it does in `_get_closed_form_lr`.
The attributes bear PyTorch's names: they are what its checkpoints hold.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from rushlight.optim.optimizer import Optimizer
from rushlight.tensor.tensor import Tensor

Rates = list[Any]  # a number or a tensor of one element for every parameter group

EPOCH_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated: call `scheduler.step()` once "
    "after every epoch instead. With an epoch given, the rate comes from the schedule's closed form where it has one."
)


def copied(value: Any) -> Any:
    """The value; of a tensor a copy, since the optimizer's own is changed in place."""
    return value.clone() if isinstance(value, Tensor) else value  # type: ignore[attr-defined]


def group_values(optimizer: Optimizer, key: str) -> list[Any]:
    """What the groups hold under `key`."""
    return [copied(group[key]) for group in optimizer.param_groups]


def set_value(group: dict[str, Any], key: str, value: Any) -> None:
    """Puts `value` into the group; a tensor there stays the same tensor and takes the value."""
    held = group[key]
    if isinstance(held, Tensor):
        held.fill_(value.item() if isinstance(value, Tensor) else value)  # type: ignore[attr-defined]
    else:
        group[key] = value


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for every group: those of a list, or the same for all. ValueError if the list's length is another."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [copied(value) for _ in range(count)]
    if len(value) != count:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups: "
            f"{name} has {len(value)} values, param_groups has {count}"
        )
    return [copied(v) for v in value]


def functions_per_group(optimizer: Optimizer, functions: Any) -> list[Callable[[int], float]]:
    """One function for every group, as `per_group`; ValueError for a list of another length."""
    count = len(optimizer.param_groups)
    if not isinstance(functions, (list, tuple)):
        return [functions] * count
    if len(functions) != count:
        raise ValueError(
            f"Expected {count} lr_lambdas, but got {len(functions)}: one for every parameter group"
        )
    return list(functions)


def function_state(function: Any) -> dict[str, Any] | None:
    """What a checkpoint keeps of a callable: an object's attributes, of a plain function nothing."""
    return None if isinstance(function, FunctionType) else dict(vars(function))


def check_optimizer(optimizer: Any) -> None:
    """TypeError unless it is an Optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def _watch_steps(optimizer: Any) -> None:
    """Makes the optimizer note that it has stepped, so that a wrong order of calls is noticed."""
    step = optimizer.step
    if getattr(step, "_wrapped_by_lr_sched", False):
        return
    owner, function = weakref.ref(optimizer), getattr(step, "__func__", None)

    @functools.wraps(step)
    def noted(*args: Any, **kwargs: Any) -> Any:
        held = owner()
        held._opt_called = True  # type: ignore[union-attr]
        return step(*args, **kwargs) if function is None else function(held, *args, **kwargs)

    noted._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = noted


class LRScheduler:
    """Base class of schedules: a subclass defines `get_lr`, the rates of all groups for `self.last_epoch`.

    Arguments: `optimizer`; `last_epoch`, the number of the last epoch done when training is taken up again: -1 starts
    anew and notes each group's rate as its `initial_lr`, which must already be there otherwise (KeyError).

    >>> import rushlight
    >>> class Halving(rushlight.optim.lr_scheduler.LRScheduler):
    ...     def get_lr(self):
    ...         return [rate / 2**self.last_epoch for rate in self.base_lrs]
    >>> optimizer = rushlight.optim.SGD([rushlight.zeros(1, requires_grad=True)], lr=0.8)
    >>> scheduler = Halving(optimizer)
    >>> optimizer.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.4]
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    f"last_epoch={last_epoch}: load the optimizer's state dict first, or start with last_epoch=-1"
                )
        self.base_lrs: Rates = group_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _watch_steps(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        """The step that puts the first rates into the optimizer."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_last_lr(self) -> Rates:
        """The rates that the last step has set, one for every group."""
        return self._last_lr

    def get_lr(self) -> Rates:
        """The rates for `self.last_epoch`; each schedule defines it, `step` calls it."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr()")

    def step(self, epoch: int | None = None) -> None:
        """Sets the rates of the next epoch; to be called after the optimizer's steps of this one.

        `epoch` is PyTorch's old way to go to an epoch of a number, and gives its warning.
        """
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _check_order(self) -> None:
        if not getattr(self.optimizer.step, "_wrapped_by_lr_sched", False):
            message = (
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization, so it "
                "cannot be told whether it is called before `lr_scheduler.step()`, as it should be."
            )
        elif not getattr(self.optimizer, "_opt_called", False):
            message = (
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first value of the schedule is "
                "skipped. Call `optimizer.step()` before `lr_scheduler.step()`."
            )
        else:
            return
        warnings.warn(message, UserWarning, stacklevel=3)

    def _update_lr(self, epoch: int | None = None) -> None:
        """Sets the rates of the next epoch, or of the one given."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        closed = None if epoch is None else getattr(self, "_get_closed_form_lr", None)
        self._set_rates(self._ask_rates() if closed is None else closed())

    def _ask_rates(self) -> Rates:
        """`get_lr`, called as part of a step."""
        self._get_lr_called_within_step = True
        try:
            return self.get_lr()
        finally:
            self._get_lr_called_within_step = False

    def _set_rates(self, rates: Sequence[Any]) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(rates):
            raise ValueError(
                f"{type(self).__name__} has {len(rates)} learning rates for the optimizer's {len(groups)} parameter "
                "groups: make the scheduler after the last add_param_group"
            )
        for group, rate in zip(groups, rates, strict=True):
            set_value(group, "lr", rate)
        self._last_lr: Rates = group_values(self.optimizer, "lr")

    def _warn_outside_step(self) -> None:
        """What every `get_lr` begins with: its value depends on when it is called."""
        if not getattr(self, "_get_lr_called_within_step", False):
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

    def state_dict(self) -> dict[str, Any]:
        """All that the schedule has, except the optimizer."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` gave."""
        self.__dict__.update(state_dict)
