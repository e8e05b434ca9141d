"""Whether reading a file did more than read: an audit hook that hears of code, files, processes and imports."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

_heard: list[str] | None = None

#: Events of Python's audit that reading a file has no reason for.
_SUSPECT = (
    "exec", "compile", "import", "os.", "subprocess.", "pty.", "socket.", "ctypes.", "marshal.", "code.",
    "shutil.", "tempfile.", "pickle.", "urllib.", "webbrowser.", "function.", "sys._getframe", "builtins.input",
    "signal.", "sqlite3.", "mmap.", "glob.", "fcntl.", "resource.", "sys.setprofile", "sys.settrace",
)  # fmt: skip
_ALLOWED = ("os.fstat", "os.listdir")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if (
        _heard is not None
        and (event == "open" or event.startswith(_SUSPECT))
        and event not in _ALLOWED
    ):
        _heard.append(f"{event} {arguments!r:.200}")


_installed = False


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """A list of what was heard inside the block."""
    global _heard, _installed
    if not _installed:  # a hook cannot be taken away, so there is one for the life of the process
        sys.addaudithook(_hook)
        _installed = True
    _heard = heard = []
    try:
        yield heard
    finally:
        _heard = None
