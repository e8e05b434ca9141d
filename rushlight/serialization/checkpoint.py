"""Checkpoints: tensors in a safetensors file, and beside it a JSON of how it was made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rushlight.core.files import whole_file
from rushlight.serialization.errors import CheckpointError, DamagedFileError
from rushlight.serialization.tensor_file import TensorFile, write_tensors
from rushlight.serialization.tree import flatten, unflatten, without_tensors

_KEY = "rushlight"  # the one entry of the file's metadata
_FORMAT = 1


def save_checkpoint(path: str | os.PathLike[str], state: Any, about: dict[str, Any]) -> None:
    """Saves a nested state (dicts, lists, tuples, tensors, plain values) and how it came about.

    Writes `path`, a safetensors file whose tensors have the dotted names of their places in
    `state` (such as "model.conv1.weight"), and beside it the same name with .json, for people: it
    holds `about` and the state without its numbers. Each file is replaced in one step; a failure
    leaves what stood there. Raises OSError (a full disk, a missing folder), CheckpointError for
    what a checkpoint cannot hold.

    >>> import os, rushlight, tempfile
    >>> from rushlight.serialization import load_checkpoint, save_checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "run.safetensors")
    ...     save_checkpoint(file, {"epoch": 3, "w": rushlight.ones(2)}, {"by": "an example"})
    ...     load_checkpoint(file)
    ({'epoch': 3, 'w': tensor([1., 1.])}, {'by': 'an example'})
    """
    path = Path(path)
    try:
        arrays, tree = flatten(state)
        text = json.dumps({"format": _FORMAT, "about": about, "state": tree})
    except TypeError as problem:
        raise CheckpointError(str(problem)) from None
    readable = {"checkpoint": path.name, **about, "state": without_tensors(tree, arrays)}
    beside = path.with_suffix(".json")
    # The JSON is complete on the disk before the tensors take their place: both or none.
    with whole_file(beside) as stream:
        stream.write(json.dumps(readable, indent=2).encode() + b"\n")
        stream.flush()
        write_tensors(path, arrays, {_KEY: text})


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[Any, dict[str, Any]]:
    """What `save_checkpoint` was given: the state and `about`. Runs no code from the file.

    Raises FileNotFoundError; CheckpointError for a file that is damaged or was not written by
    `save_checkpoint`.
    """
    arrays, text = read_checkpoint(path)
    if text is None:
        raise CheckpointError(
            f"{path}: a safetensors file, but not a checkpoint of rushlight: it does not say "
            "how it was made"
        )
    try:
        if text["format"] != _FORMAT:
            raise CheckpointError(
                f"{path}: a checkpoint of format {text['format']}; this rushlight reads {_FORMAT}"
            )
        return unflatten(arrays, text["state"]), text["about"]
    except (KeyError, TypeError, ValueError) as problem:
        if isinstance(problem, CheckpointError):
            raise
        raise CheckpointError(f"{path}: its description does not fit its tensors") from None


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The arrays of any safetensors file, in the file's order, and rushlight's description or None.

    Raises FileNotFoundError; CheckpointError where it is no safetensors file, or a damaged one.
    """
    with TensorFile(path) as file:
        arrays = {name: file.array(name) for name in file}
        described = file.metadata.get(_KEY)
    if described is None:
        return arrays, None
    try:
        text = json.loads(described)
    except (ValueError, RecursionError):
        raise DamagedFileError(f"{path}: its description is damaged") from None
    if not isinstance(text, dict):
        raise DamagedFileError(f"{path}: its description is damaged")
    return arrays, text
