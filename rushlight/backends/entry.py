"""The way from Python into native programs: one call that takes NumPy arrays as they are.

A native function for each number of arrays loads the addresses of their elements out of the array objects and runs a
program on them. Reading an address in Python takes a microsecond an array; this takes 50 nanoseconds.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from rushlight.compiler.objects import Library, load

#: Words of a plan: the driver's function, the pool's words, the program, the arena.
RUN, CONTEXT, PROGRAM, ARENA, WORDS = 0, 1, 2, 3, 4
#: Slots before those of the arrays: the arena.
FIRST = 1
#: The most arrays that one call takes.
MOST = 24


def _text(count: int) -> str:
    parameters = "".join(f", ptr %o{i}" for i in range(count))
    head = object.__basicsize__  # what comes before NumPy's pointer to the elements
    lines = [
        f"define i64 @enter(ptr %plan{parameters}) {{",
        f"  %slots = alloca [{FIRST + count} x ptr]",
        "  %run = load ptr, ptr %plan",
    ]
    for number, name in ((CONTEXT, "context"), (PROGRAM, "program"), (ARENA, "arena")):
        lines.append(f"  %{name}p = getelementptr i64, ptr %plan, i64 {number}")
        lines.append(f"  %{name} = load ptr, ptr %{name}p")
    lines.append("  store ptr %arena, ptr %slots")
    for i in range(count):
        lines += [
            f"  %p{i} = getelementptr i8, ptr %o{i}, i64 {head}",
            f"  %a{i} = load ptr, ptr %p{i}",
            f"  %s{i} = getelementptr ptr, ptr %slots, i64 {FIRST + i}",
            f"  store ptr %a{i}, ptr %s{i}",
        ]
    lines += [
        "  %result = call i64 %run(ptr %context, ptr %program, ptr %slots, ptr null)",
        "  ret i64 %result",
        "}",
    ]
    return "\n".join(lines)


class _Entries:
    """The native functions, by number of arrays."""

    def __init__(self) -> None:
        self._libraries: list[Library] = []
        self.known: dict[tuple[int, bool], Any] = {}

    def find(self, count: int, brief: bool) -> Any:
        """The function for `count` arrays; `brief` calls keep the interpreter's lock."""
        library = load(_text(count))
        self._libraries.append(library)
        kind = ctypes.PYFUNCTYPE if brief else ctypes.CFUNCTYPE
        made = kind(ctypes.c_int64, ctypes.c_void_p, *[ctypes.py_object] * count)
        found = self.known[count, brief] = made(library.address("enter"))
        return found


_entries = _Entries()


def entry(count: int, brief: bool) -> Any:
    """`enter(address of a plan, *arrays)` for so many arrays."""
    return _entries.known.get((count, brief)) or _entries.find(count, brief)


@functools.cache
def is_possible() -> bool:
    """Whether the address of an array's elements lies where it is looked for: so in CPython."""
    import platform

    if platform.python_implementation() != "CPython":
        return False
    probes: list[Any] = [np.zeros(3), np.zeros((4, 5), np.float32)[1:, ::2], np.zeros(())]
    return all(
        ctypes.c_void_p.from_address(id(p) + object.__basicsize__).value
        == p.__array_interface__["data"][0]
        for p in probes
    )
