"""Whether reading a file did more than read: an audit hook that hears of code, files, processes and imports."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_heard: list[str] | None = None
_folder: str | None = None  # files in here may be read

#: Events of Python's audit that reading a file has no reason for.
_SUSPECT = (
    "exec", "compile", "import", "os.", "subprocess.", "pty.", "socket.", "ctypes.", "marshal.", "code.",
    "shutil.", "tempfile.", "pickle.", "urllib.", "webbrowser.", "function.", "sys._getframe", "builtins.input",
    "signal.", "sqlite3.", "mmap.", "glob.", "fcntl.", "resource.", "sys.setprofile", "sys.settrace",
)  # fmt: skip
_ALLOWED = ("os.fstat", "os.listdir")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _heard is None or event in _ALLOWED or not (event == "open" or event.startswith(_SUSPECT)):
        return
    if _folder is not None:
        path, mode = (str(part) for part in (*arguments, "", "")[:2])
        reads = event == "open" and path.startswith(_folder) and mode.startswith("r")
        if reads or event in ("mmap.__new__", "os.scandir"):
            return
    _heard.append(f"{event} {arguments!r:.200}")


_installed = False


@contextlib.contextmanager
def watched(folder: Path | None = None) -> Iterator[list[str]]:
    """A list of what was heard inside the block. Files in `folder` may be opened for reading, and mapped."""
    global _heard, _folder, _installed
    if not _installed:  # a hook cannot be taken away, so there is one for the life of the process
        sys.addaudithook(_hook)
        _installed = True
    _heard = heard = []
    _folder = None if folder is None else str(folder)
    try:
        yield heard
    finally:
        _heard = _folder = None
