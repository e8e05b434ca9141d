"""Files that are either whole or not there: a write that fails leaves what stood before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file to write that takes its place at `path` only once everything is written and on
    the disk.

    The bytes go to a hidden file of the same folder, which is flushed, synchronised and renamed at
    the end. On any exception (a full disk, an interrupt) it is removed, and whatever stood at
    `path` stays as it was. Raises OSError.
    """
    target = Path(path)
    if target.is_symlink():  # the link stays; what it points to is replaced
        target = target.resolve()
    if target.exists() and not target.is_file():
        raise OSError(f"{target} is not a regular file: it cannot be replaced in one step")
    hidden = target.with_name(f".{target.name}.{os.getpid()}.part")
    stream: Any = hidden.open("xb")
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        hidden.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise
    _synchronise_folder(target.parent)


def write_whole(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Writes a file in one step: see `whole_file`."""
    with whole_file(path) as stream:
        stream.write(data)


def _synchronise_folder(folder: Path) -> None:
    """Makes the rename itself last through a loss of power, where the system lets folders be
    opened.
    """
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
