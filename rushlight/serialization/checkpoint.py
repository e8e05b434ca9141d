"""Checkpoints: tensors in a safetensors file, and beside it a JSON of how it was made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.core.files import whole_file, write_whole
from rushlight.serialization.tree import flatten, unflatten, without_tensors

_KEY = "rushlight"  # the one entry of the file's metadata
_FORMAT = 1
_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16",
    "F32": "float32", "F64": "float64", "C64": "complex64",
}  # fmt: skip


class CheckpointError(ValueError):
    """A file that is not the checkpoint it should be, or a state that no checkpoint can hold."""


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
    import safetensors
    import safetensors.numpy

    path = Path(path)
    try:
        arrays, tree = flatten(state)
        text = json.dumps({"format": _FORMAT, "about": about, "state": tree})
    except TypeError as problem:
        raise CheckpointError(str(problem)) from None
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        data = safetensors.numpy.save(whole, metadata={_KEY: text})
    except safetensors.SafetensorError as problem:
        raise CheckpointError(f"{path}: these tensors cannot be saved: {problem}") from None
    readable = {"checkpoint": path.name, **about, "state": without_tensors(tree, arrays)}
    beside = path.with_suffix(".json")
    # The JSON is complete on the disk before the tensors take their place: both or none.
    with whole_file(beside) as stream:
        stream.write(json.dumps(readable, indent=2).encode() + b"\n")
        stream.flush()
        write_whole(path, data)


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
    import safetensors

    data = Path(path).read_bytes()
    try:
        deserialize: Any = safetensors.deserialize
        entries = deserialize(data)
    except safetensors.SafetensorError as problem:
        reason = str(problem).removeprefix("Error while deserializing: ")
        raise CheckpointError(f"{path}: not a whole safetensors file ({reason})") from None
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    arrays = {}
    for name, entry in sorted(entries, key=lambda item: header[item[0]]["data_offsets"]):
        if entry["dtype"] not in _DTYPES:
            raise CheckpointError(f"{path}: {name} has a dtype that is not known: {entry['dtype']}")
        kind = _numpy_dtype(_DTYPES[entry["dtype"]])
        arrays[name] = np.frombuffer(bytearray(entry["data"]), kind).reshape(entry["shape"])
    described = header.get("__metadata__", {}).get(_KEY)
    if described is None:
        return arrays, None
    try:
        text = json.loads(described)
    except ValueError:
        raise CheckpointError(f"{path}: its description is damaged") from None
    if not isinstance(text, dict):
        raise CheckpointError(f"{path}: its description is damaged")
    return arrays, text


def _numpy_dtype(name: str) -> Any:
    """NumPy's dtype for one of ours (bfloat16 is none of NumPy's own)."""
    return next(d for d in dtypes.ALL if d.name == name).numpy
