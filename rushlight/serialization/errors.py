"""What reading a file can raise."""

from __future__ import annotations

from pickle import UnpicklingError

__all__ = ["CheckpointError", "DamagedFileError", "UnpicklingError"]


class CheckpointError(ValueError):
    """A file that is not the checkpoint it should be, or a state that no checkpoint can hold."""


class DamagedFileError(CheckpointError, UnpicklingError, RuntimeError):
    """A file that is cut off, changed, or that does not fit together.

    It is also of both types that PyTorch raises: `pickle.UnpicklingError` and `RuntimeError`.
    """
