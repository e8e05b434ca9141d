"""The error for code that asks for values while a function is traced for compiling, when there are none."""

from __future__ import annotations

import os.path
import sys
from types import FrameType

import numpy as np

from rushlight.core.sites import describe, is_own

_NUMPY = os.path.join(os.path.dirname(np.__file__), "")  # noqa: PTH118, PTH120

_ADVICE = (
    "a value is needed at {line} that is not known while the program is traced for compiling. {what} Keep it on "
    "tensors (rushlight.where instead of `if`), return it and look at it outside, or leave this function uncompiled."
)


def needs_values(what: str) -> RuntimeError:
    """The error, with the user's line; `what` says in a sentence what the values are for."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (
        is_own(frame.f_code) or frame.f_code.co_filename.startswith(_NUMPY)
    ):
        frame = frame.f_back
    site = None if frame is None else (frame.f_code, frame.f_lasti)
    return RuntimeError(_ADVICE.format(line=describe(site), what=what))
