"""Checkpoints in files that cannot run code. See README.md."""

from rushlight.serialization.checkpoint import (
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from rushlight.serialization.errors import CheckpointError, DamagedFileError
from rushlight.serialization.files import get_unsafe_globals_in_checkpoint, load, save
from rushlight.serialization.pretrained import PretrainedMixin, save_pretrained
from rushlight.serialization.safetensors import (
    load_file,
    load_model,
    safe_open,
    save_file,
    save_model,
)
from rushlight.serialization.trusted import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    safe_globals,
)

__all__ = [
    "CheckpointError",
    "DamagedFileError",
    "PretrainedMixin",
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "load_checkpoint",
    "load_file",
    "load_model",
    "read_checkpoint",
    "safe_globals",
    "safe_open",
    "save",
    "save_checkpoint",
    "save_file",
    "save_model",
    "save_pretrained",
]
