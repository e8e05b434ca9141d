"""What training prints: a bar on stderr while it runs, a table on stdout that stays."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

COLUMNS = (
    ("epoch", "epoch", "{:d}"),
    ("lr", "lr", "{:.4f}"),
    ("train_loss", "train loss", "{:.4f}"),
    ("train_accuracy", "train acc", "{:.2%}"),
    ("test_loss", "test loss", "{:.4f}"),
    ("test_accuracy", "test acc", "{:.2%}"),
    ("images_per_second", "images/s", "{:,.0f}"),
    ("seconds", "seconds", "{:.1f}"),
)


def heading() -> str:
    """The first line of the table of epochs."""
    return "  ".join(f"{title:>10}" for _, title, _ in COLUMNS)


def row(numbers: dict[str, Any]) -> str:
    """One epoch's line."""
    return "  ".join(f"{form.format(numbers[key]):>10}" for key, _, form in COLUMNS)


def table(lines: Iterable[Iterable[Any]], headings: Iterable[str]) -> str:
    """Plain columns: text to the left, numbers to the right."""
    rows = [[str(cell) for cell in line] for line in lines]
    head = [str(cell) for cell in headings]
    widths = [max(len(line[i]) for line in [head, *rows]) for i in range(len(head))]
    numeric = [
        all(line[i].replace(",", "").replace(".", "").isdigit() for line in rows) and bool(rows)
        for i in range(len(head))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric)
        ).rstrip()
        for line in [head, *rows]
    )


class Bar:
    """A progress bar of one epoch with loss, accuracy and images a second; only on a terminal."""

    def __init__(self, epoch: int, epochs: int, total: int, initial: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=total,
            initial=initial,
            desc=f"epoch {epoch}/{epochs}",
            unit=" images",
            unit_scale=True,
            leave=False,
            disable=None,
            file=sys.stderr,
            mininterval=0.2,
        )

    def update(self, count: int, loss: float, accuracy: float) -> None:
        """`count` more images done, and the means of the epoch so far."""
        if not self._bar.disable:
            self._bar.set_postfix_str(f"loss {loss:.3f}, acc {accuracy:.1%}", refresh=False)
            self._bar.update(count)

    def close(self) -> None:
        """Takes the bar off the screen."""
        self._bar.close()
