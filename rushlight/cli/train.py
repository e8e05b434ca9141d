"""`rushlight train`."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from rushlight.cli import plots, report, saved
from rushlight.cli.data import NAMED, Pictures, find
from rushlight.cli.errors import CommandError, one_line
from rushlight.cli.training import OPTIMIZERS, Run, Settings, StopAsked, accuracy

INTERRUPTED = 130
_EPOCHS = {"digits": 12}
_FIXED = ("data", "epochs", "batch_size", "lr", "optimizer", "seed", "augment")


@click.command()
@click.option(
    "--data",
    default="digits",
    show_default=True,
    metavar="NAME|PATH",
    help=f"digits (shipped), {', '.join(NAMED)}, a folder of IDX files, or a folder of pictures "
    "with one folder for each class.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    help="Passes over the data.  [default: 12 on digits, else 5]",
)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    help="Highest learning rate of the cycle.  [default: 0.05 for sgd, else one that suits]",
)
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="sgd", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option(
    "--augment/--no-augment",
    default=None,
    help="Turn, scale and shift the training pictures a little.  [default: on digits and mnist]",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Go on with a run that was stopped, with its own options.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the checkpoint and the pictures go.  [default: runs/NAME, or beside --resume]",
)
@click.pass_context
def train(context: click.Context, /, resume: Path | None, out: Path | None, **options: Any) -> int:
    """Trains LeNet on pictures of 32 x 32, by default on 4,000 handwritten digits.

    At the end: the test accuracy, a checkpoint (FOLDER/lenet.safetensors and .json), the curves of
    loss and accuracy, and a picture of what it gets wrong. Ctrl-C saves and says how to go on.
    """
    began = time.perf_counter()
    if resume is not None:
        given = [
            n for n in _FIXED if context.get_parameter_source(n) is ParameterSource.COMMANDLINE
        ]
        if given:
            names = ", ".join("--" + name.replace("_", "-") for name in given)
            raise CommandError(f"{names}: a resumed run keeps the options it was started with")
        run = _resumed(resume)
        folder = out or resume.parent
    else:
        run = _new(**options)
        folder = out or Path("runs") / run.pictures.name
    with _usable(folder):
        return _train(run, folder / saved.NAME, began)


def _new(
    data: str,
    epochs: int | None,
    batch_size: int,
    lr: float | None,
    optimizer: str,
    seed: int,
    augment: bool | None,
) -> Run:
    pictures = find(data)
    settings = Settings(
        data=data if data in NAMED or data == "digits" else pictures.source,
        epochs=epochs or _EPOCHS.get(data, 5),
        batch_size=batch_size,
        lr=lr or OPTIMIZERS[optimizer][1],
        optimizer=optimizer,
        seed=seed,
        augment=pictures.fit == "digit" if augment is None else augment,
    )
    return Run(pictures, settings)


def _resumed(path: Path) -> Run:
    """A run from its checkpoint, on the same data."""
    state, about = saved.load(path)
    try:
        settings = Settings(**about["settings"])
        fingerprint = about["data"]["fingerprint"]
        if len(state["history"]) >= settings.epochs:
            raise CommandError(
                f"{path}: all its {settings.epochs} epochs are done: there is nothing to go on with"
            )
        pictures = find(settings.data)
        if pictures.fingerprint != fingerprint:
            raise CommandError(
                f"{path}: it was trained on other data than what {settings.data} holds now"
            )
        run = Run(pictures, settings)
        run.restore(state)
    except (KeyError, TypeError, ValueError) as problem:
        if type(problem) not in (KeyError, TypeError, ValueError):
            raise  # damaged data: its own message says more
        raise CommandError(f"{path}: a checkpoint, but not one of a run to go on with") from None
    return run


class _usable(contextlib.AbstractContextManager["_usable"]):
    """The folder, made and tried out before the training; removed again if nothing came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Path] = []

    def __enter__(self) -> _usable:
        missing = self.folder
        while not missing.exists():
            self.made.append(missing)
            missing = missing.parent
        probe = self.folder / ".rushlight-probe"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                probe.write_bytes(bytes(1 << 20))  # about what a checkpoint takes
            finally:
                probe.unlink(missing_ok=True)
        except OSError as problem:
            self._remove()
            raise CommandError(f"cannot write to {self.folder}: {one_line(problem)}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        """Folders made here that are still empty."""
        with contextlib.suppress(OSError):
            for folder in self.made:
                folder.rmdir()


def _train(run: Run, path: Path, began: float) -> int:
    settings, pictures = run.settings, run.pictures
    print(
        f"LeNet ({sum(p.numel() for p in run.net.parameters()):,} parameters) on "
        f"{len(pictures.train_labels):,} pictures of {pictures.name}, "
        f"{len(pictures.test_labels):,} to test ({pictures.source})"
    )
    print(
        f"{settings.optimizer}, lr up to {settings.lr:g}, batches of {settings.batch_size}, "
        f"{settings.epochs} epochs, seed {settings.seed}"
        f"{', deformed a little' if settings.augment else ''}"
    )
    if run.history or run.step:
        print(f"going on in epoch {len(run.history) + 1} after {run.step} of {run.steps} batches")
    print(report.heading())
    for line in run.history:
        print(report.row(line))
    with StopAsked() as stop:
        while not run.finished:
            numbers = run.train_epoch(stop)
            _save(run, path)
            if numbers is None:
                where = f"epoch {len(run.history) + 1} after {run.step} of {run.steps} batches"
                print(f"stopped in {where}; saved. To go on:\n  rushlight train --resume {path}")
                return INTERRUPTED
            print(report.row(numbers), flush=True)
    _finish(run, path.parent, pictures)
    print(f"{time.perf_counter() - began:.1f} seconds in all")
    return 0


def _save(run: Run, path: Path) -> None:
    try:
        run.save(path)
    except OSError as problem:
        kept = f"; {path} is as it was" if path.exists() else ""
        raise CommandError(f"could not save {path}: {one_line(problem)}{kept}") from None


def _finish(run: Run, folder: Path, pictures: Pictures) -> None:
    """The last test, the pictures, and what was written."""
    reached = accuracy(run.probabilities, pictures.test_labels)
    right = round(reached * len(pictures.test_labels))
    print(f"test accuracy {reached:.2%} ({right:,} of {len(pictures.test_labels):,})")
    written = [saved.NAME, "lenet.json"]
    if plots.available():
        plots.curves(folder / "curves.png", run.history, f"LeNet on {pictures.name}")
        plots.misclassified(
            folder / "misclassified.png",
            pictures.test_images,
            pictures.test_labels,
            run.probabilities,
            pictures.classes,
        )
        written += ["curves.png", "misclassified.png"]
    print(f"wrote {folder}: {', '.join(written)}")
    if not plots.available():
        print("no pictures: matplotlib is not installed (pip install 'rushlight[plots]')")
