"""`Kernel`: a small graph as a native program that eager calls share."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rushlight.backends import entry
from rushlight.backends.arena import arena
from rushlight.backends.calls import Calls, Unsuitable
from rushlight.backends.heap import keep_freed_memory
from rushlight.compiler.graph import Graph
from rushlight.compiler.pool import pool
from rushlight.compiler.program import Program

#: A program that is estimated to take less keeps the interpreter's lock: giving it away could cost more.
BRIEF_NS = 20_000.0
#: Between eager calls the pool's threads fall asleep: less work than this is done before they are awake.
SHARED_NS = 50_000.0


class Fault(Exception):
    """A kernel has found values that it must not be given, such as an index out of range."""


class Kernel:
    """Runs a graph on arrays of the shapes and strides that it was made for.

    `strides` (in elements) are those of inputs, by number, that are not contiguous. `constants` are arrays for the
    graph's last inputs. The results of two calls never share memory.
    """

    def __init__(
        self,
        graph: Graph,
        strides: Mapping[int, Sequence[int]] | None = None,
        constants: Sequence[Any] = (),
    ) -> None:
        if not entry.is_possible():
            raise Unsuitable("the addresses of arrays are not where they are looked for")
        if len(graph.inputs) + len(graph.outputs) >= entry.MOST:
            raise Unsuitable("it takes too many arrays")
        keep_freed_memory()
        calls = Calls(graph, (), strides)
        #: What other programs may be made of, and the arrays for its last inputs.
        self.calls, self.constants = calls, tuple(constants)
        self._results = calls.results
        self._status = np.zeros(2, np.int64)
        places = range(entry.FIRST, entry.FIRST + calls.count + 1)
        self._program = Program(
            calls.library,
            calls.placed(places, entry.ARENA_SLOT),
            0,
            self._status.ctypes.data,
            SHARED_NS,
        )
        self._arena_bytes = calls.arena_bytes
        self._enter = entry.entry(calls.count + 1, calls.nanoseconds < BRIEF_NS)
        self._plan = entry.Plan(self._program.address)
        self._lock = threading.Lock()

    def renew_lock(self) -> None:
        """In a forked child: whoever held the lock is not there."""
        self._lock = threading.Lock()

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """The results, in new memory. Raises Fault."""
        results = [np.empty(shape, dtype) for shape, dtype in self._results]
        running, base = pool(), arena.reserve(self._arena_bytes)
        plan = self._plan
        with self._lock:
            if running.context != plan.context or base != plan.arena:
                plan.settle(running, base)
            if self._enter(plan.address, *arrays, *self.constants, *results, self._status):
                self._status[:] = 0
                raise Fault
        return results
