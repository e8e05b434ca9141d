"""`rushlight info`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rushlight.cli import report
from rushlight.serialization import load, read_checkpoint
from rushlight.serialization.tree import named_arrays


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def info(file: Path) -> None:
    """Prints what a checkpoint holds: how it was made, how it did, and its tensors.

    Reads safetensors files and those of PyTorch.
    """
    arrays, text = _read(file)
    print(f"{file}: {file.stat().st_size:,} bytes, {len(arrays)} tensors")
    about = text.get("about") if text is not None else None
    if isinstance(about, dict):
        for key, value in about.items():
            print(f"{key}: {_plain(value)}")
        state = (text or {}).get("state")
        history = state.get("history") if isinstance(state, dict) else None
        if isinstance(history, list) and history:
            print("\n" + report.heading())
            for line in history:
                print(report.row(line))
    else:
        print("it does not say how it was made")
    print()
    rows = [
        (name, array.dtype.name, list(array.shape), f"{array.size:,}")
        for name, array in arrays.items()
    ]
    print(report.table(rows, ("tensor", "dtype", "shape", "elements")))


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The tensors of a file by their names, and its description if it has one."""
    with file.open("rb") as stream:
        start = stream.read(2)
    if start in (b"PK", b"\x80\x02"):  # PyTorch's formats: a zip archive, a pickle stream
        return named_arrays(load(file)), None
    return read_checkpoint(file)


def _plain(value: Any) -> str:
    """A value of the description on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
