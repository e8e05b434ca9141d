"""What a user can get wrong, as one line."""

from __future__ import annotations

from typing import Any


class CommandError(Exception):
    """Something the user can mend. Its text is the one line that they see."""


def one_line(problem: BaseException) -> str:
    """An exception's text on one line; a failed system call as what failed and where."""
    if isinstance(problem, OSError) and problem.strerror is not None:
        places = [str(name) for name in (problem.filename, problem.filename2) if name is not None]
        return f"{' -> '.join(places)}: {problem.strerror}" if places else problem.strerror
    return " ".join(str(problem).split()) or type(problem).__name__


def expected() -> tuple[Any, ...]:
    """The exceptions that mean: the user can mend it."""
    from rushlight.datasets import DownloadError, IdxError, PictureError
    from rushlight.serialization.errors import CheckpointError, UnpicklingError

    files = (CheckpointError, UnpicklingError, OSError)
    return (CommandError, DownloadError, IdxError, PictureError, *files)
