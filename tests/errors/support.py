"""How a mistake is tested: the same program runs on PyTorch and on rushlight, and the messages are read."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

import rushlight

Program = Callable[[Any], Any]


def message_of(program: Program, torch: Any) -> str:
    """Rushlight's message for a mistake; its type must be one that PyTorch's exception is of too."""
    with pytest.raises(Exception) as theirs:
        program(torch)
    with pytest.raises(theirs.type) as ours:
        program(rushlight)
    frames = traceback.extract_tb(ours.value.__traceback__)
    assert any(f.filename == program.__code__.co_filename for f in frames)
    return str(ours.value)


def says(message: str, *words: str) -> None:
    """All these words are in the message."""
    for word in words:
        assert word in message, f"{word!r} is missing in: {message}"


def line_with(program: Program, text: str) -> str:
    """'file.py:12' for the one line of a program that holds the text."""
    import inspect

    lines, start = inspect.getsourcelines(program)
    found = [start + i for i, line in enumerate(lines) if text in line]
    assert len(found) == 1, f"{text!r} is in {len(found)} lines"
    name = program.__code__.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{found[0]}"
