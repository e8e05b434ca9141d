"""Schedules along a cosine: once down, or down again and again. Source: Loshchilov and Hutter, "SGDR", ICLR 2017."""

from __future__ import annotations

import math

from rushlight.optim.lr_scheduler.base import LRScheduler, Rates, group_values
from rushlight.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """The rate follows half a cosine from its start to `eta_min` in `T_max` epochs, and back up in the next.

    >>> import rushlight
    >>> optimizer = rushlight.optim.SGD([rushlight.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = rushlight.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates += scheduler.get_last_lr()
    ...     optimizer.step()
    ...     scheduler.step()
    >>> [round(rate, 3) for rate in rates]
    [1.0, 0.75, 0.25, 0.0]
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def _height(self, epoch: int) -> float:
        """Twice the part of the way from `eta_min` to the start: 2 at the top, 0 at the bottom."""
        return 1 + math.cos(math.pi * epoch / self.T_max)

    def get_lr(self) -> Rates:
        """The rates for `self.last_epoch`, each from the one before it."""
        self._warn_outside_step()
        epoch, low = self.last_epoch, self.eta_min
        groups = self.optimizer.param_groups
        if self._is_initial:
            return group_values(self.optimizer, "lr")
        if self._step_count == 1 and epoch > 0:
            # The product comes first here, as in PyTorch: the last bit of the rate hangs on it.
            half = 1 + math.cos(epoch * math.pi / self.T_max)
            return [low + (rate - low) * half / 2 for rate in self.base_lrs]
        if (epoch - 1 - self.T_max) % (2 * self.T_max) == 0:
            # The epoch before was the bottom, where the ratio of heights has no value.
            rise = 1 - math.cos(math.pi / self.T_max)
            return [
                group["lr"] + (rate - low) * rise / 2
                for rate, group in zip(self.base_lrs, groups, strict=True)
            ]
        ratio = self._height(epoch) / self._height(epoch - 1)
        return [ratio * (group["lr"] - low) + low for group in groups]

    def _get_closed_form_lr(self) -> Rates:
        height, low = self._height(self.last_epoch), self.eta_min
        return [low + (rate - low) * height / 2 for rate in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine down to `eta_min` in `T_0` epochs, then from the top again, each time `T_mult` times as long.

    `step` takes the epoch, also with a fraction, for schedules within epochs. ValueError unless `T_0` is a positive
    integer, `T_mult` an integer of at least 1 and `eta_min` a number.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(
                f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}"
            )
        self.T_0 = T_0
        self.T_i = T_0  # the length of the run we are in
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch  # where in this run we are
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        """The rates at `T_cur` of a run of `T_i` epochs."""
        self._warn_outside_step()
        height, low = 1 + math.cos(math.pi * self.T_cur / self.T_i), self.eta_min
        return [low + (rate - low) * height / 2 for rate in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Goes to the next epoch, or to the one given. ValueError for a negative one."""
        if epoch is None and self.last_epoch >= 0:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            epoch = 0 if epoch is None else epoch
            if epoch < 0:
                raise ValueError(f"Expected non-negative epoch, but got {epoch}")
            self._go_to(epoch)
        self.last_epoch = math.floor(epoch)
        self._set_rates(self._ask_rates())

    def _go_to(self, epoch: float) -> None:
        """Finds the run that an epoch lies in."""
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:  # the runs before it are a geometric series
            growth = self.T_mult - 1
            runs = int(math.log(epoch / self.T_0 * growth + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**runs - 1) / growth
            self.T_i = self.T_0 * self.T_mult**runs
