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
from rushlight.compiler.pool import Pool

#: Words of a plan: the driver's function, the pool's words, the program, the arena.
_RUN, _CONTEXT, _PROGRAM, _ARENA = range(4)
#: Slots before those of the arrays: the arena's address.
ARENA_SLOT, FIRST = 0, 1
#: Bytes of an array object before NumPy's pointer to the elements.
_BEFORE_DATA = object.__basicsize__
#: The most arrays that one call takes one by one.
MOST = 24


class Plan:
    """What a native function finds behind the address that it is given first."""

    def __init__(self, program: int) -> None:
        self._words = np.zeros(4, np.int64)
        self._words[_PROGRAM] = program
        self.address: int = self._words.ctypes.data
        self.context = self.arena = 0

    def settle(self, running: Pool, arena: int) -> None:
        """For this pool (another one in a forked process) and an arena at this address."""
        self._words[_RUN] = running.address
        self._words[_CONTEXT] = self.context = running.context
        self._words[_ARENA] = self.arena = arena


def _head(name: str, parameters: str, slots: str) -> list[str]:
    lines = [f"define i64 @{name}(ptr %plan{parameters}) {{", "entry:", *([slots] if slots else [])]
    lines.append("  %run = load ptr, ptr %plan")
    for number, word in ((_CONTEXT, "context"), (_PROGRAM, "program"), (_ARENA, "arena")):
        lines.append(f"  %{word}p = getelementptr i64, ptr %plan, i64 {number}")
        lines.append(f"  %{word} = load ptr, ptr %{word}p")
    return [*lines, "  store ptr %arena, ptr %slots"]


_TAIL = [
    "  %result = call i64 %run(ptr %context, ptr %program, ptr %slots, ptr null)",
    "  ret i64 %result",
    "}",
]


def _text(count: int) -> str:
    parameters = "".join(f", ptr %o{i}" for i in range(count))
    lines = _head("enter", parameters, f"  %slots = alloca [{FIRST + count} x ptr]")
    for i in range(count):
        lines += [
            f"  %p{i} = getelementptr i8, ptr %o{i}, i64 {_BEFORE_DATA}",
            f"  %a{i} = load ptr, ptr %p{i}",
            f"  %s{i} = getelementptr ptr, ptr %slots, i64 {FIRST + i}",
            f"  store ptr %a{i}, ptr %s{i}",
        ]
    return "\n".join([*lines, *_TAIL])


def _text_of_many() -> str:
    lines = _head("enter_many", ", ptr %objects, i64 %count, ptr %slots", "")
    lines += [
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [0, %entry], [%next, %loop]",
        "  %op = getelementptr ptr, ptr %objects, i64 %i",
        "  %o = load ptr, ptr %op",
        f"  %p = getelementptr i8, ptr %o, i64 {_BEFORE_DATA}",
        "  %a = load ptr, ptr %p",
        "  %next = add i64 %i, 1",
        "  %s = getelementptr ptr, ptr %slots, i64 %next",
        "  store ptr %a, ptr %s",
        "  %more = icmp slt i64 %next, %count",
        "  br i1 %more, label %loop, label %done",
        "done:",
    ]
    return "\n".join([*lines, *_TAIL])


class _Entries:
    """The native functions, by number of arrays."""

    def __init__(self) -> None:
        self._libraries: list[Library] = []
        self.known: dict[tuple[int, bool], Any] = {}

    def find(self, count: int, brief: bool) -> Any:
        """The function for `count` arrays; `brief` calls keep the interpreter's lock."""
        library = load(_text(count))
        self._libraries.append(library)
        kind: Any = ctypes.PYFUNCTYPE if brief else ctypes.CFUNCTYPE
        made = kind(ctypes.c_int64, ctypes.c_void_p, *[ctypes.py_object] * count)
        found = self.known[count, brief] = made(library.address("enter"))
        return found


_entries = _Entries()


def entry(count: int, brief: bool) -> Any:
    """`enter(address of a plan, *arrays)` for so many arrays."""
    return _entries.known.get((count, brief)) or _entries.find(count, brief)


@functools.cache
def entry_of_many() -> Any:
    """`enter_many(address of a plan, objects, count, slots)`: as `entry`, for any number of arrays.

    `objects` is the address of the array objects' addresses, `slots` of room for one word more.
    """
    library = load(_text_of_many())
    made = ctypes.CFUNCTYPE(
        ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p
    )(library.address("enter_many"))
    made.library = library  # type: ignore[attr-defined] # the code lives as long as the function
    return made


@functools.cache
def is_possible() -> bool:
    """Whether the address of an array's elements lies where it is looked for: so in CPython."""
    import platform

    if platform.python_implementation() != "CPython":
        return False
    probes: list[Any] = [np.zeros(3), np.zeros((4, 5), np.float32)[1:, ::2], np.zeros(())]
    return all(
        ctypes.c_void_p.from_address(id(p) + _BEFORE_DATA).value == p.__array_interface__["data"][0]
        for p in probes
    )
