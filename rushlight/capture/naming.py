"""Names for people: of a program's inputs, from the path on which they were found."""

from __future__ import annotations

import re
from typing import Any

_ENTRY = re.compile(r"\['_(?:modules|parameters|buffers)'\]\['([^']*)'\]")
_ARGUMENT = re.compile(r"argument (\d+)")
_DEFAULT = re.compile(r"^\w+ defaults\[(\d+)\]")


def plain(path: str, function: Any) -> str:
    """A path as people write it: `net.conv1.weight`, `x` for the argument of that name."""
    path = _ENTRY.sub(r".\1", path)
    names, defaults = _arguments_of(function)
    path = _DEFAULT.sub(lambda m: _name(names, len(names) - defaults + int(m[1]), m[0]), path)
    return _ARGUMENT.sub(lambda m: _name(names, int(m[1]), m[0]), path, count=1)


def _arguments_of(function: Any) -> tuple[tuple[str, ...], int]:
    """The names of a function's positional arguments, without a bound self; how many have defaults."""
    bound = hasattr(function, "__self__")
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return (), 0
    names = code.co_varnames[bound : code.co_argcount]
    return names, min(len(function.__defaults__ or ()), len(names))


def _name(names: tuple[str, ...], place: int, otherwise: str) -> str:
    return names[place] if 0 <= place < len(names) else otherwise
