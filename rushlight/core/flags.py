"""Settings from the environment: one table of all, read here and nowhere else; and how much is told while programs run.

>>> import rushlight
>>> with rushlight.debug(1):  # fallbacks and retraces, on stderr, inside this block
...     pass
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Flag(NamedTuple):
    """An environment variable that rushlight looks at."""

    name: str
    default: str
    meaning: str


FLAGS = {
    flag.name: flag
    for flag in (
        Flag(
            "RUSHLIGHT_DEBUG", "0",
            "what compiled programs tell on stderr. 1: equations that run on the host, by name, and each retrace with "
            "its cause. 2: at each call also a table of its kernels: loops, time, GFLOP/s or GB/s, share of the "
            "measured peak. 3: once for each program also its LLVM IR. 4: also its assembly",
        ),
        Flag("RUSHLIGHT_CACHE", "1", "0: object code is not kept on disk"),
        Flag(
            "RUSHLIGHT_CACHE_DIR", "",
            "the folder for object code; without it `rushlight` in XDG_CACHE_HOME or ~/.cache",
        ),
        Flag("RUSHLIGHT_EAGER", "native", "numpy: eager calls never use native kernels, however large they are"),
        Flag("RUSHLIGHT_DATA", "", "the folder for downloaded data sets; without it in the user's cache"),
        Flag(
            "RUSHLIGHT_TARGET", "",
            "avx2 or sse2: compile for a processor with less than this one has, as tests do",
        ),
    )
}  # fmt: skip


def setting(name: str) -> str:
    """What a flag of the table says now."""
    return os.environ.get(name) or FLAGS[name].default


class _Verbosity:
    """The level of RUSHLIGHT_DEBUG that is in force: one attribute, so that asking costs nothing."""

    __slots__ = ("level",)

    def __init__(self, level: int) -> None:
        self.level = level


def _from_environment() -> int:
    text = setting("RUSHLIGHT_DEBUG")
    if not text.isdecimal():
        raise ValueError(f"RUSHLIGHT_DEBUG is {text!r}; it is a number from 0 to 4")
    return int(text)


#: The level in force, for the whole process: `if verbosity.level >= 2: ...`.
verbosity = _Verbosity(_from_environment())


class debug:
    """`with debug(level):` compiled programs tell what they do, on stderr; the levels are RUSHLIGHT_DEBUG's.

    1: equations that run on the host, by name, and every retrace with its cause. 2: at each call also a table of its
    kernels. 3: once for each program also its LLVM IR. 4: also its assembly.

    >>> import rushlight
    >>> with rushlight.debug(0):
    ...     y = rushlight.compile(lambda x: x * 2)(rushlight.ones(2))
    """

    def __init__(self, level: int = 1) -> None:
        if isinstance(level, bool) or not isinstance(level, int):
            raise TypeError(f"debug expects a level from 0 to 4, not {type(level).__name__}")
        if level < 0:
            raise ValueError(f"debug expects a level from 0 to 4, not {level}")
        self.level = level
        self._before: list[int] = []

    def __enter__(self) -> debug:
        self._before.append(verbosity.level)
        verbosity.level = self.level
        return self

    def __exit__(self, *_: object) -> None:
        verbosity.level = self._before.pop()


__all__ = ["FLAGS", "Flag", "debug", "setting", "verbosity"]
