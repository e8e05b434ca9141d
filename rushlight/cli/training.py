"""The training of LeNet on arrays of pictures: a loop that can stop anywhere and go on exactly.

All chance of an epoch (the order of the pictures, their deformations) is drawn at its start. A
checkpoint holds the generator's state of that moment beside the state of now, so that a run
stopped in the middle of an epoch draws the same again and goes on with the next batch.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import rushlight
from rushlight.cli.data import Pictures
from rushlight.cli.errors import CommandError
from rushlight.cli.report import Bar
from rushlight.datasets.augment import random_warp
from rushlight.models import LeNet
from rushlight.nn import functional as F
from rushlight.serialization import save_checkpoint

_EVALUATED = 500  # pictures at a time

# What each optimizer is made with, and a learning rate that suits it.
OPTIMIZERS: dict[str, tuple[str, float, dict[str, Any]]] = {
    "sgd": ("SGD", 0.05, {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
    "adam": ("Adam", 0.003, {}),
    "adamw": ("AdamW", 0.003, {"weight_decay": 0.01}),
    "nadam": ("NAdam", 0.003, {}),
    "radam": ("RAdam", 0.005, {}),
    "adamax": ("Adamax", 0.005, {}),
    "rmsprop": ("RMSprop", 0.001, {}),
    "adagrad": ("Adagrad", 0.02, {}),
    "adadelta": ("Adadelta", 1.0, {}),
}


@dataclass(frozen=True)
class Settings:
    """Everything that decides what comes out of a run, but the data itself."""

    data: str
    epochs: int
    batch_size: int
    lr: float
    optimizer: str
    seed: int
    augment: bool


class StopAsked:
    """Turns Ctrl-C (and a polite kill) into a flag that the loop reads between two steps."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:  # a second Ctrl-C does not wait
            raise KeyboardInterrupt
        self.asked = True

    def __enter__(self) -> StopAsked:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Run:
    """A network in training: what it learns from, how far it is, and how to save that."""

    def __init__(self, pictures: Pictures, settings: Settings) -> None:
        self.pictures = pictures
        self.settings = settings
        rushlight.manual_seed(settings.seed)
        self.net = LeNet(len(pictures.classes))
        kind, _, options = OPTIMIZERS[settings.optimizer]
        optim = rushlight.optim
        self.optimizer = getattr(optim, kind)(self.net.parameters(), lr=settings.lr, **options)
        group = self.optimizer.param_groups[0]
        self.scheduler = optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=settings.lr,
            total_steps=settings.epochs * self.steps,
            cycle_momentum="betas" in group or bool(group.get("momentum")),
        )
        plain = pictures.train_images[:, 2:-2, 2:-2]  # without the black that was put around it
        self.mean, self.std = float(plain.mean() / 255), float(max(plain.std() / 255, 1e-3))
        self.history: list[dict[str, Any]] = []
        self.step = 0  # batches done of the current epoch
        self.sums = [0.0, 0.0, 0.0]  # of the current epoch: loss, right answers, seconds
        self.probabilities: Any = None  # of the test pictures, after the last epoch
        self.epoch_rng = rushlight.get_rng_state()

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.pictures.train_images) // self.settings.batch_size)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.history) >= self.settings.epochs

    def train_epoch(self, stop: StopAsked) -> dict[str, Any] | None:
        """The rest of the current epoch and the test after it: its numbers, or None if stopped."""
        images, labels = self.pictures.train_images, self.pictures.train_labels
        size = self.settings.batch_size
        order, draws = self._draw()
        began, before = time.perf_counter(), self.sums[2]
        number = len(self.history) + 1
        bar = Bar(number, self.settings.epochs, len(images), min(self.step * size, len(images)))
        try:
            while self.step < self.steps:
                if stop.asked:
                    return None
                chosen = order[self.step * size : (self.step + 1) * size]
                batch = images[chosen]
                if draws is not None:
                    batch = random_warp(batch, draws[chosen])
                lr = self.optimizer.param_groups[0]["lr"]
                loss, right = self._step(batch, labels[chosen])
                self.step += 1
                self.sums[0] += loss * len(chosen)
                self.sums[1] += right
                self.sums[2] = before + time.perf_counter() - began
                seen = min(self.step * size, len(images))
                bar.update(len(chosen), self.sums[0] / seen, self.sums[1] / seen)
        finally:
            bar.close()
        total, answers, seconds = self.sums
        test_loss = self._test()
        self.history.append(
            {
                "epoch": number,
                "lr": lr,
                "train_loss": total / len(images),
                "train_accuracy": answers / len(images),
                "test_loss": test_loss,
                "test_accuracy": accuracy(self.probabilities, self.pictures.test_labels),
                "images_per_second": len(images) / max(seconds, 1e-9),
                "seconds": seconds,
            }
        )
        self.step, self.sums = 0, [0.0, 0.0, 0.0]
        self.epoch_rng = rushlight.get_rng_state()
        return self.history[-1]

    def _draw(self) -> tuple[Any, Any]:
        """The order of the epoch's pictures and the draws of their deformations, or None."""
        if self.step:  # going on within an epoch: the same draws again
            now = rushlight.get_rng_state()
            rushlight.set_rng_state(self.epoch_rng)
        count = len(self.pictures.train_images)
        order = rushlight.randperm(count).numpy()
        draws = rushlight.rand(count, 5).numpy() if self.settings.augment else None
        if self.step:
            rushlight.set_rng_state(now)
        return order, draws

    def _step(self, batch: Any, labels: Any) -> tuple[float, int]:
        """One batch: forward, backward, update. Its mean loss and how many answers were right."""
        scores = self.net(self._input(batch))
        loss = F.cross_entropy(scores, rushlight.from_numpy(labels))
        value = float(loss.item())
        if not math.isfinite(value):
            raise CommandError(
                f"the loss became {value} in epoch {len(self.history) + 1}, batch {self.step + 1}: "
                f"a lower --lr than {self.settings.lr:g} should help; this epoch was not saved"
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        answers = scores.detach().numpy().argmax(1)
        return value, int((answers == labels).sum())

    def _input(self, batch: Any) -> Any:
        return network_input(batch, self.mean, self.std)

    def _test(self) -> float:
        """Fills `probabilities` with those of the test pictures; returns the mean loss."""
        images, labels = self.pictures.test_images, self.pictures.test_labels
        self.probabilities = probabilities_of(self.net, images, self.mean, self.std)
        of_truth = self.probabilities[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(of_truth, 1e-12)).mean())

    # -- saving and going on
    # -------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Saves everything that going on needs. Raises OSError; the old file then stays."""
        state = {
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "rng": rushlight.get_rng_state(),
            "epoch_rng": self.epoch_rng,
            "step": self.step,
            "sums": self.sums,
            "history": self.history,
        }
        save_checkpoint(path, state, self.about())

    def about(self) -> dict[str, Any]:
        """How the checkpoint was made."""
        import platform

        pictures = self.pictures
        return {
            "network": type(self.net).__name__,
            "classes": pictures.classes,
            "settings": asdict(self.settings),
            "data": {
                "name": pictures.name,
                "source": pictures.source,
                "train": len(pictures.train_labels),
                "test": len(pictures.test_labels),
                "fingerprint": pictures.fingerprint,
            },
            "preparation": {"fit": pictures.fit, "mean": self.mean, "std": self.std},
            "epochs_done": len(self.history),
            "test_accuracy": self.history[-1]["test_accuracy"] if self.history else None,
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "made_with": {
                "rushlight": rushlight.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes the place where a saved run stopped."""
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.history = state["history"]
        self.step, self.sums = state["step"], state["sums"]
        self.epoch_rng = state["epoch_rng"]
        rushlight.set_rng_state(state["rng"])


def network_input(batch: Any, mean: float, std: float) -> Any:
    """Pictures (N, 32, 32) of [0, 255] as the network's input (N, 1, 32, 32)."""
    scaled = batch.astype(np.float32)
    scaled *= np.float32(1.0 / (255.0 * std))
    scaled -= np.float32(mean / std)
    return rushlight.from_numpy(scaled[:, None])


def probabilities_of(net: Any, images: Any, mean: float, std: float) -> Any:
    """The network's probabilities (N, classes) for pictures (N, 32, 32)."""
    parts = []
    net.eval()
    with rushlight.no_grad():
        for start in range(0, len(images), _EVALUATED):
            batch = network_input(images[start : start + _EVALUATED], mean, std)
            parts.append(F.softmax(net(batch), dim=1).numpy())
    net.train()
    return np.concatenate(parts)


def accuracy(probabilities: Any, labels: Any) -> float:
    """The part of right answers."""
    return float((probabilities.argmax(1) == labels).mean())
