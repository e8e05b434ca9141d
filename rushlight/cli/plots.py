"""The pictures that a run leaves: its curves, and what it got wrong."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from rushlight.core.files import write_whole

_MOST_WRONG = 40


def available() -> bool:
    """Whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def curves(path: Path, history: list[dict[str, Any]], title: str) -> None:
    """Loss and accuracy of training and test, epoch by epoch."""
    figure = _figure(9.0, 3.6)
    epochs = [line["epoch"] for line in history]
    for place, quantity, label in ((1, "loss", "loss"), (2, "accuracy", "accuracy (%)")):
        axes = figure.add_subplot(1, 2, place)
        scale = 100.0 if quantity == "accuracy" else 1.0
        for part, style in (("train", "o-"), ("test", "s-")):
            values = [scale * line[f"{part}_{quantity}"] for line in history]
            axes.plot(epochs, values, style, label=part, markersize=3)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    _save(figure, path)


def misclassified(
    path: Path, images: Any, labels: Any, probabilities: Any, classes: list[str]
) -> int:
    """The pictures that were classified wrongly, the surest mistakes first; returns how many."""
    answers = probabilities.argmax(1)
    wrong = np.nonzero(answers != labels)[0]
    wrong = wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")]
    shown = wrong[:_MOST_WRONG]
    columns = 8
    rows = max(1, -(-len(shown) // columns))
    figure = _figure(1.35 * columns, 1.75 * rows + 0.7)
    for place, i in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(images[i], cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        says, sure = short(classes[answers[i]]), probabilities[i, answers[i]]
        axes.set_title(f"is {short(classes[labels[i]])}\nsays {says} ({sure:.0%})", fontsize=8)
    count = f"{len(wrong):,} of {len(labels):,} test pictures classified wrongly"
    more = f" (the {len(shown)} surest mistakes)" if len(wrong) > len(shown) else ""
    figure.suptitle(count + more)
    _save(figure, path)
    return len(wrong)


def short(name: str) -> str:
    """The first part of names such as 4 - four."""
    head, dash, _ = name.partition(" - ")
    return head if dash else name


def _figure(width: float, height: float) -> Any:
    """A figure that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    write_whole(path, picture.getvalue())
