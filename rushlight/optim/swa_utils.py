"""torch.optim.swa_utils: averages of a model's parameters along training, and the learning rate that goes with them.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

from rushlight.autograd.modes import no_grad
from rushlight.nn.batch_norm import _BatchNorm
from rushlight.nn.module import Module
from rushlight.ops.masks import where
from rushlight.optim.lr_scheduler.base import LRScheduler, Rates, per_group
from rushlight.optim.optimizer import Optimizer
from rushlight.primitives.interpreter import slot
from rushlight.tensor.exchange import tensor
from rushlight.tensor.tensor import Tensor

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


def _is_inexact(value: Any) -> bool:
    return bool(value.is_floating_point() or value.is_complex())


def _weight(num_averaged: Any) -> Any:
    """What the next values count in a plain mean: a number, or under a trace a tensor."""
    if slot.recorder is not None and isinstance(num_averaged, Tensor):
        return 1 / (num_averaged.double() + 1)  # type: ignore[attr-defined]
    return 1 / (int(num_averaged) + 1)


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], Any]:
    """The average `decay * averaged + (1 - decay) * current`, of one tensor. ValueError for a decay outside [0, 1]."""
    _check_decay(decay)

    @no_grad()
    def average(averaged: Any, current: Any, num_averaged: Any) -> Any:
        return decay * averaged + (1 - decay) * current

    return average


def get_swa_avg_fn() -> Callable[[Any, Any, Any], Any]:
    """The mean of all models so far, of one tensor."""

    @no_grad()
    def average(averaged: Any, current: Any, num_averaged: Any) -> Any:
        return averaged + (current - averaged) / (num_averaged + 1)

    return average


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], None]:
    """As `get_ema_avg_fn`, in place on lists of tensors."""
    _check_decay(decay)

    @no_grad()
    def average(averaged: Sequence[Any], current: Sequence[Any], num_averaged: Any) -> None:
        for mean, new in zip(averaged, current, strict=True):
            if _is_inexact(mean):
                mean.lerp_(new, 1 - decay)
            else:
                mean.copy_(mean * decay + new * (1 - decay))

    return average


def get_swa_multi_avg_fn() -> Callable[[Any, Any, Any], None]:
    """As `get_swa_avg_fn`, in place on lists of tensors."""

    @no_grad()
    def average(averaged: Sequence[Any], current: Sequence[Any], num_averaged: Any) -> None:
        weight = _weight(num_averaged)
        for mean, new in zip(averaged, current, strict=True):
            if _is_inexact(mean):
                mean.lerp_(new, weight.to(mean.dtype) if isinstance(weight, Tensor) else weight)
            else:
                mean.copy_(mean + (new - mean) * weight)

    return average


class AveragedModel(Module):
    """A copy of a model that holds the average of its parameters; `update_parameters` takes in the model of now.

    Arguments: `avg_fn(averaged, current, num_averaged)` gives the new average of one tensor, or `multi_avg_fn` changes
    lists of tensors of one dtype in place (one of them only: AssertionError); without either, the mean of all models.
    `use_buffers` averages buffers too; otherwise they are copied.

    >>> import rushlight
    >>> model = rushlight.nn.Linear(1, 1, bias=False)
    >>> mean = rushlight.optim.swa_utils.AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = rushlight.nn.init.constant_(model.weight, value)
    ...     mean.update_parameters(model)
    >>> round(mean.module.weight.item(), 4), mean.n_averaged
    (3.0, tensor(3))
    """

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[[Any, Any, Any], Any] | None = None,
        multi_avg_fn: Callable[[Any, Any, Any], None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model gives."""
        return self.module(*args, **kwargs)

    def _averaged(self, model: Module) -> list[Any]:
        buffers: Iterable[Any] = model.buffers() if self.use_buffers else ()
        return [value.detach() for value in chain(model.parameters(), buffers)]

    def update_parameters(self, model: Module) -> None:
        """Takes the model's parameters into the average."""
        means, values = self._averaged(self.module), self._averaged(model)
        traced = slot.recorder is not None
        if not traced and int(self.n_averaged) == 0:
            for mean, value in zip(means, values, strict=True):
                mean.copy_(value)
        elif self.avg_fn is not None:
            for mean, value in zip(means, values, strict=True):
                mean.copy_(self.avg_fn(mean, value, self.n_averaged))
        else:
            average = self.multi_avg_fn or get_swa_multi_avg_fn()
            for dtype in dict.fromkeys(mean.dtype for mean in means):
                chosen = [i for i, mean in enumerate(means) if mean.dtype == dtype]
                average([means[i] for i in chosen], [values[i] for i in chosen], self.n_averaged)
        if traced:  # both ways, since the count is not known
            for mean, value in zip(means, values, strict=True):
                mean.copy_(where(self.n_averaged == 0, value, mean))
        if not self.use_buffers:
            for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
                mine.detach().copy_(theirs.detach())
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Computes the running statistics of a model's batch norms anew, in one pass over the data of `loader`.

    A batch that is a list or a tuple gives its first element to the model.
    """
    momenta = {}
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            momenta[module] = module.momentum
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.momentum = None  # the plain mean over all batches
    for batch in loader:
        inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(inputs if device is None else inputs.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


def _linear(part: float) -> float:
    return part


def _cosine(part: float) -> float:
    return (1 - math.cos(math.pi * part)) / 2


class SWALR(LRScheduler):
    """Goes from the rate of now to `swa_lr` in `anneal_epochs` epochs, and stays there.

    `anneal_strategy` is "cos" or "linear". ValueError for another, or for epochs that are no integer of at least 0.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        rates = per_group("swa_lr", optimizer, swa_lr)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _weight(self, step: int) -> float:
        """How much of `swa_lr` there is after a step."""
        part = max(0, min(1, step / max(1, self.anneal_epochs)))
        return _cosine(part) if self._anneal_strategy == "cos" else _linear(part)

    def get_lr(self) -> Rates:
        """The rates of this step, with the start reckoned back from the rates of now."""
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._weight(step - 1), self._weight(step)
        rates = []
        for group in self.optimizer.param_groups:
            goal = group["swa_lr"]
            start = goal if before == 1 else (group["lr"] - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates
