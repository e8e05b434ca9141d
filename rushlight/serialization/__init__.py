"""Checkpoints in files that cannot run code. See README.md."""

from rushlight.serialization.checkpoint import (
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from rushlight.serialization.pretrained import PretrainedMixin, save_pretrained
from rushlight.serialization.safetensors import (
    load_file,
    load_model,
    safe_open,
    save_file,
    save_model,
)
from rushlight.serialization.tensor_file import CheckpointError

__all__ = [
    "CheckpointError",
    "PretrainedMixin",
    "load_checkpoint",
    "load_file",
    "load_model",
    "read_checkpoint",
    "safe_open",
    "save_checkpoint",
    "save_file",
    "save_model",
    "save_pretrained",
]
