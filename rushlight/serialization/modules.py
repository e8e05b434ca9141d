"""A file of any kind that is read here, straight into a module: `Module.load_state_dict(path)`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rushlight.serialization.errors import CheckpointError
from rushlight.serialization.files import load
from rushlight.serialization.safetensors import load_model, load_state


def load_into(
    module: Any, path: str | os.PathLike[str], strict: bool = True
) -> tuple[list[str], list[str]]:
    """Loads a safetensors file, a folder of `save_pretrained` or a state_dict in PyTorch's format.

    Returns the names that were missing and those that nobody wanted; raises as `load_model` and
    `load` do, and CheckpointError for a file that holds something else.
    """
    if Path(path).is_dir():
        return load_model(module, path, strict)
    with Path(path).open("rb") as stream:
        start = stream.read(9)
    if start[8:] == b"{":  # the header of safetensors, behind its length
        return load_model(module, path, strict)
    state = load(path)
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} holds {type(state).__name__}, and a state_dict was expected")
    return load_state(module, state, strict)
