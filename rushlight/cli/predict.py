"""`rushlight predict`."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from rushlight.cli import saved
from rushlight.cli.errors import CommandError
from rushlight.cli.prepare import picture_file


@click.command()
@click.argument("pictures", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    default=Path("runs") / "digits" / saved.NAME,
    show_default=True,
    metavar="FILE",
    help="What `rushlight train` wrote.",
)
@click.option(
    "--top", type=click.IntRange(1), default=3, show_default=True, help="How many answers to print."
)
def predict(pictures: tuple[str, ...], checkpoint: Path, top: int) -> None:
    """Says what picture files (PNG, JPEG, ...) show, and how probable each answer is.

    Pictures may have any size; ink may be dark on light or light on dark.
    """
    from rushlight.cli.training import probabilities_of

    state, about = saved.load(checkpoint)
    preparation, classes = about["preparation"], about["classes"]
    try:
        images = np.stack([picture_file(path, preparation["fit"]) for path in pictures])
    except ImportError as problem:  # Pillow
        raise CommandError(str(problem)) from None
    probabilities = probabilities_of(
        saved.network(state, about), images, preparation["mean"], preparation["std"]
    )
    width = max(len(path) for path in pictures)
    for path, row in zip(pictures, probabilities):
        best = np.argsort(-row, kind="stable")[:top]
        answers = "   ".join(f"{classes[i]} {row[i]:.1%}" for i in best)
        print(f"{path:<{width}}  {answers}")
