"""`Kernel`: a small graph as a native program that eager calls share."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rushlight.backends import entry
from rushlight.compiler.assembly import Assembly, HostStep
from rushlight.compiler.executable import kernel_text
from rushlight.compiler.graph import Graph
from rushlight.compiler.memory import plan_arena
from rushlight.compiler.objects import load
from rushlight.compiler.pool import pool
from rushlight.compiler.processor import host_target
from rushlight.compiler.program import Program

#: A program that is estimated to take less keeps the interpreter's lock: giving it away could cost more.
BRIEF_NS = 20_000.0


class Unsuitable(Exception):
    """Parts of the graph have no native form."""


class _Arena(threading.local):
    """This thread's memory for what programs keep between their kernels; it grows to the largest need."""

    def __init__(self) -> None:
        self.size = 0
        self.address = 0
        self.block: Any = None

    def reserve(self, size: int) -> int:
        """The address of at least `size` bytes."""
        if size > self.size:
            self.block = np.empty(size + 4096, np.uint8)
            self.address = self.block.ctypes.data + -self.block.ctypes.data % 4096
            self.size = size
        return self.address


_arena = _Arena()


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
        assembly = Assembly(graph, host_target(), (), strides)
        if any(isinstance(step, HostStep) for step in assembly.steps):
            raise Unsuitable("an equation has no lowering")
        self._faults = assembly.faults
        self._constants = tuple(constants)
        self._results = tuple((a.shape, a.dtype) for a in assembly.outputs)
        self._status = np.zeros(2, np.int64)
        slots = [*assembly.inputs, *assembly.outputs]
        if len(slots) > entry.MOST:
            raise Unsuitable("it takes too many arrays")
        for i, array in enumerate(slots):
            array.memory.place = ("slot", entry.FIRST + i, 0)
        # The status lies behind all other slots' memory: it is one more array of every call.
        assembly.plan.status.memory.place = ("slot", entry.FIRST + len(slots), 0)
        kernels = [step for step in assembly.steps if not isinstance(step, HostStep)]
        self._arena_bytes = plan_arena([[a.memory for a in k.arrays] for k in kernels])
        texts: dict[str, str] = {}
        declared: dict[str, None] = {}
        calls = []
        for kernel in kernels:
            name, text = kernel_text(kernel)
            if name not in texts:
                texts[name] = text
                declared.update(dict.fromkeys(kernel.declarations()))
            places = [_place(a) for a in kernel.arrays]
            calls.append((name, places, kernel.items, kernel.work, kernel.checks))
        loops = '!0 = distinct !{!0, !1}\n!1 = !{!"llvm.loop.unroll.disable"}'
        library = load("\n".join([*sorted(declared), *texts.values(), loops, ""]))
        self._program = Program(library, calls, 0, self._status.ctypes.data)
        brief = sum(k.items * k.work for k in kernels) < BRIEF_NS
        self._enter = entry.entry(len(slots) + 1, brief)
        self._plan = np.zeros(entry.WORDS, np.int64)
        self._plan[entry.PROGRAM] = self._program.address
        self._address = self._plan.ctypes.data
        self._context = self._base = 0
        self._lock = threading.Lock()

    def renew_lock(self) -> None:
        """In a forked child: whoever held the lock is not there."""
        self._lock = threading.Lock()

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """The results, in new memory."""
        results = [np.empty(shape, dtype) for shape, dtype in self._results]
        running = pool()
        base = _arena.reserve(self._arena_bytes)
        with self._lock:
            if running.context != self._context or base != self._base:
                self._settle(running, base)
            if self._enter(self._address, *arrays, *self._constants, *results, self._status):
                self._raise()
        return results

    def _settle(self, running: Any, base: int) -> None:
        """The plan for this pool (another one in a forked process) and this thread's arena."""
        plan = self._plan
        plan[entry.RUN] = running.address
        plan[entry.CONTEXT] = self._context = running.context
        plan[entry.ARENA] = self._base = base

    def _raise(self) -> None:
        code, value = (int(n) for n in self._status)
        self._status[:] = 0
        kind, message = self._faults[code]
        raise kind(message.format(value=value))


def _place(array: Any) -> tuple[Any, ...]:
    place = array.memory.place
    extra = array.offset * array.dtype.itemsize
    if place[0] == "slot":
        return ("slot", place[1], extra)
    return ("slot", 0, place[1] + extra)
