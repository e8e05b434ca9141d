"""Checkpoints in files that cannot run code. See README.md."""

from rushlight.serialization.checkpoint import (
    CheckpointError,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)

__all__ = ["CheckpointError", "load_checkpoint", "read_checkpoint", "save_checkpoint"]
