"""What reading a file can raise."""

from __future__ import annotations

from pickle import UnpicklingError

__all__ = ["DamagedFileError", "UnpicklingError"]


class DamagedFileError(UnpicklingError, RuntimeError):
    """A file that is cut off, changed, or that does not fit together.

    It is both of the types that PyTorch raises: `pickle.UnpicklingError` and `RuntimeError`.
    """
