"""`Chain`: kernels of several eager calls, one after the other, as one native call.

What each kernel computes is what it computes alone, on the same numbers: a chain changes no bit. It saves the way
through Python between its kernels, and keeps what one hands to the next in an arena.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rushlight.backends.arena import arena
from rushlight.backends.calls import Call, Calls
from rushlight.backends.entry import ARENA_SLOT, FIRST, Plan, entry_of_many
from rushlight.backends.kernel import Fault
from rushlight.compiler import driver
from rushlight.compiler.memory import plan_arena
from rushlight.compiler.objects import Library, load
from rushlight.compiler.platforms import Platform
from rushlight.compiler.pool import pool
from rushlight.compiler.program import Program
from rushlight.core.shapes import size_of
from rushlight.loops.arrays import Memory

#: Threads share kernels that take longer than that, as more are to come in the same call.
SHARED_NS = 10_000.0

#: Where a link finds what it reads: the number of a value, and how many bytes further on.
Place = tuple[int, int]


class Link(NamedTuple):
    """One kernel call of a chain.

    `results` are numbers for the values that it makes. A `precise` link replaces what NumPy does, where subnormal
    numbers count.
    """

    calls: Calls
    constants: tuple[Any, ...]
    operands: tuple[Place, ...]
    results: tuple[int, ...]
    precise: bool


class Chain:
    """Links in order. `kept` are the values, made by links, that others than its links will read."""

    def __init__(self, links: Sequence[Link], kept: Sequence[int]) -> None:
        made = {
            value: aval for link in links for value, aval in zip(link.results, link.calls.results)
        }
        #: Numbers of the values that must be given; numbers, shapes and dtypes of those that come back.
        self.given = tuple(
            dict.fromkeys(v for link in links for v, _ in link.operands if v not in made)
        )
        self.kept = tuple((v, *made[v]) for v in kept)
        self._status = np.zeros(2, np.int64)
        constants = [c for link in links for c in link.constants]
        self._fixed = (*constants, self._status)
        slots = {v: FIRST + i for i, v in enumerate((*self.given, *kept))}
        at = FIRST + len(slots)
        self._count = len(slots) + len(self._fixed) + 1
        words = FIRST + self._count - 1
        inner = {
            v: Memory(size_of(shape) * dtype.itemsize)
            for v, (shape, dtype) in made.items()
            if v not in slots
        }
        own = [Memory(link.calls.arena_bytes) for link in links]
        self._arena_bytes = plan_arena(
            [
                [scratch, *(inner[v] for v in (*link.results, *dict(link.operands)) if v in inner)]
                for link, scratch in zip(links, own, strict=True)
            ]
        )

        def place(value: int, offset: int = 0) -> tuple[int, int]:
            memory = inner.get(value)
            if memory is None:
                return slots[value], offset
            return ARENA_SLOT, memory.place[1] + offset  # type: ignore[index]

        calls: list[Call] = []
        precise = False
        for link, scratch in zip(links, own, strict=True):
            constants_at = range(at, at + len(link.constants))
            at += len(link.constants)
            where: list[Any] = [place(*o) for o in link.operands]
            where += [*constants_at, *(place(r) for r in link.results), words - 1]
            placed = link.calls.placed(where, ARENA_SLOT, scratch.place[1])  # type: ignore[index]
            if link.precise != precise:
                precise = link.precise
                calls.append(_switch(precise, words))
            if precise:  # by this thread alone, whose mode it is
                placed = [
                    (name, places, items, 0.0, checks) for name, places, items, _, checks in placed
                ]
            calls += placed
        libraries = Libraries([_modes(), *(link.calls.library for link in links)])
        self._program = Program(libraries, calls, 0, self._status.ctypes.data, SHARED_NS)
        self._plan = Plan(self._program.address)
        self._slots = np.zeros(FIRST + self._count, np.int64)
        self._objects = ctypes.py_object * self._count

    def run(self, values: list[Any]) -> None:
        """Reads the given values and stores those that are kept. Not for two threads at once. Raises Fault."""
        for value, shape, dtype in self.kept:
            values[value] = np.empty(shape, dtype)
        running, base, plan = pool(), arena.reserve(self._arena_bytes), self._plan
        if running.context != plan.context or base != plan.arena:
            plan.settle(running, base)
        arrays: list[Any] = [
            *[values[v] for v in self.given],
            *[values[v] for v, _, _ in self.kept],
            *self._fixed,
            running.words,
        ]
        objects = self._objects(*arrays)
        if entry_of_many()(
            plan.address, ctypes.addressof(objects), self._count, self._slots.ctypes.data
        ):
            self._status[:] = 0
            raise Fault


class Libraries:
    """Several libraries as one; they live as long as this."""

    def __init__(self, libraries: list[Any]) -> None:
        self._libraries = list(dict.fromkeys(libraries))

    def address(self, name: str) -> int:
        """Where a kernel begins, in whichever library it is."""
        for library in self._libraries:
            try:
                found: int = library.address(name)
            except KeyError:
                continue
            return found
        raise KeyError(name)


def _switch(precise: bool, words: int) -> Call:
    """A call that makes subnormal numbers count, or again not, as the pool's words say."""
    return ("precise" if precise else "usual", [("slot", words, driver.FLUSH * 8)], 1, 0.0, False)


@functools.cache
def _modes() -> Library:
    return load(
        Platform.here().text()
        + """
define void @precise(ptr %arguments, i64 %low, i64 %high) {
  call void @set_mode(i64 0)
  ret void
}
define void @usual(ptr %arguments, i64 %low, i64 %high) {
  %flushp = load ptr, ptr %arguments
  %flush = load i64, ptr %flushp
  call void @set_mode(i64 %flush)
  ret void
}
"""
    )
