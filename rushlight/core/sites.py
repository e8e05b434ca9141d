"""Where in the user's program something happened, kept cheaply and turned into words only for an error.

A `Site` is a code object and the offset of an instruction in it: no frame is kept, so nothing that the frame
holds stays alive. Taking one costs about 0.2 us; the line number is looked up when an error is written.
"""

from __future__ import annotations

import os.path
import sys
from types import CodeType, FrameType

Site = tuple[CodeType, int]

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")  # noqa: PTH118, PTH120 (pathlib is slow to load)


def is_own(code: CodeType) -> bool:
    """Whether this code belongs to rushlight itself."""
    return code.co_filename.startswith(_PACKAGE)


def user_frame(depth: int = 1) -> FrameType | None:
    """The nearest frame outside rushlight, counting from the caller's caller."""
    frame: FrameType | None = sys._getframe(depth + 1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return frame
        frame = frame.f_back
    return None


def user_site(depth: int = 1) -> Site | None:
    """The line of the user's program that is running now."""
    frame = user_frame(depth + 1)
    return None if frame is None else (frame.f_code, frame.f_lasti)


def line_of(site: Site) -> int:
    """The line number of a site."""
    code, offset = site
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= offset < end and number is not None:
            return number
    return line


def describe(site: Site | None) -> str:
    """'train.py:31' for an error message, or 'an unknown line'."""
    if site is None:
        return "an unknown line"
    return f"{os.path.basename(site[0].co_filename)}:{line_of(site)}"  # noqa: PTH119


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning that points at the user's line, however deep in rushlight it is found."""
    import warnings

    level = 2
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_own(frame.f_code):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)
