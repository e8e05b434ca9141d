"""`Executable`: a graph as a native program, ready to run on arrays."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from sys import getrefcount
from threading import Lock
from typing import Any
from weakref import WeakSet

import numpy as np

from rushlight.compiler.arena import arena
from rushlight.compiler.assembly import HostStep, assemble
from rushlight.compiler.graph import Graph
from rushlight.compiler.memory import plan_arena
from rushlight.compiler.objects import load
from rushlight.compiler.passes import optimize
from rushlight.compiler.pool import nudge
from rushlight.compiler.processor import host_target
from rushlight.compiler.profile import run_told
from rushlight.compiler.program import SHARED_NS, Program
from rushlight.compiler.sharing import stays_on_one_core, work_of
from rushlight.core.flags import verbosity
from rushlight.core.floating import quiet, restore
from rushlight.core.memory import address_of, aligned
from rushlight.core.watch import watch
from rushlight.loops.arrays import Array
from rushlight.loops.builder import METADATA
from rushlight.loops.kernel import Kernel

#: Results up to this size have a second memory kept for them.
SPARE_BYTES = 1 << 16
_probe = [object()]
#: References that `getrefcount(list[i])` counts to an object that only the list holds.
ALONE = getrefcount(_probe[0])


def kernel_text(kernel: Kernel) -> tuple[str, str]:
    """A kernel's text under a name that derives from it: equal kernels of a program become one."""
    stem = kernel.name
    kernel.name = "kernel"
    body = kernel.finish()
    digest = hashlib.sha256(body.encode()).hexdigest()[:12]
    kernel.name = f"{stem[:60]}_{digest}"
    return kernel.name, body.replace("@kernel(", f"@{kernel.name}(", 1)


def module_text(steps: Sequence[Kernel | HostStep]) -> tuple[str, int]:
    """The kernels of some steps as one module of LLVM IR, each of them once; and how many they are."""
    texts: dict[str, str] = {}
    declared: dict[str, None] = {}
    for step in steps:
        if isinstance(step, Kernel):
            name, text = kernel_text(step)
            if name not in texts:
                texts[name] = text
                declared.update(dict.fromkeys(step.declarations()))
    return "\n".join([*sorted(declared), *texts.values(), METADATA, ""]), len(texts)


class Segment:
    """Kernels that run in one native call."""

    def __init__(self, kernels: list[Kernel]) -> None:
        self.kernels = kernels
        self.program: Any = None


#: All executables of the process. In a forked child nobody is left who would release their locks.
_running: WeakSet[Executable] = WeakSet()


def _renew_locks() -> None:
    for executable in _running:
        executable._lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class Executable:
    """Compiles a graph for this machine.

    `writable` pairs (number of an output, number of an input): the output's value is written into the memory of that
    input, which the caller must pass C-contiguous.
    """

    def __init__(
        self, graph: Graph, writable: Sequence[tuple[int, int]] = (), optimized: bool = False
    ) -> None:
        target = host_target()
        #: What is compiled, for people.
        self.title = ""
        self.traced = graph
        self.graph = graph if optimized else optimize(graph)
        self.writable = dict(writable)
        assembly = assemble(self.graph, target, writable)
        self.assembly = assembly
        self.faults = assembly.faults
        self._status = np.zeros(2, np.int64)
        slots = [*assembly.inputs]
        for number, array in enumerate(assembly.outputs):
            if number not in self.writable:
                slots.append(array)
        self._status_slot = len(slots)
        for i, array in enumerate(slots):
            array.memory.place = ("slot", i, 0)
        assembly.plan.status.memory.place = ("slot", self._status_slot, 0)
        uses = []
        for step in assembly.steps:
            arrays = (
                step.arrays
                if isinstance(step, Kernel)
                else [*(o for o in step.operands if isinstance(o, Array)), *step.results]
            )
            uses.append([a.memory for a in arrays])
        #: Step by step, the memories that it touches.
        self.uses = uses
        self.arena_bytes = plan_arena(uses)
        self._base = 0  # where programs believe the arena to be
        self._compile()
        self._prepare()

    # -- compiling ------------------------------------------------------------------------------------------

    def _compile(self) -> None:
        self.segments: list[Segment | HostStep] = []
        for step in self.assembly.steps:
            segment = self.segments[-1] if self.segments else None
            if isinstance(step, HostStep):
                self.segments.append(step)
            elif isinstance(segment, Segment):
                segment.kernels.append(step)
            else:
                self.segments.append(Segment([step]))
        #: Whether threads share the work.
        self.shared = False
        text, self.kernel_count = module_text(self.assembly.steps)
        kernels = [step for step in self.assembly.steps if isinstance(step, Kernel)]
        for kernel in kernels:
            kernel.forget()
        if not self.kernel_count:
            return
        self.library = load(text)
        memories = [array.memory for kernel in kernels for array in kernel.arrays]
        alone = stays_on_one_core(kernels, memories, self.assembly.target)
        least = math.inf if alone else SHARED_NS
        for segment in self.segments:
            if isinstance(segment, Segment):
                calls = [
                    (k.name, [_place(a) for a in k.arrays], k.items, work_of(k), k.checks)
                    for k in segment.kernels
                ]
                segment.program = Program(self.library, calls, 0, self._status.ctypes.data, least)
                self.shared |= segment.program.shared

    @property
    def text(self) -> str:
        """The LLVM IR of the kernels. It is written again for whoever asks: a megabyte of it is too much to keep."""
        assembly = assemble(self.graph, host_target(), list(self.writable.items()))
        return module_text(assembly.steps)[0]

    # -- running --------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Makes what a call works with: addresses, and the memory of results."""
        assembly = self.assembly
        count = len(assembly.inputs)
        self._lock = Lock()
        _running.add(self)
        #: The arrays that were bound, by input.
        self.inputs: list[Any] = [None] * count
        self._packed: dict[int, Any] = {}  # contiguous copies of inputs that are not
        #: The arrays that the last call has written, by output.
        self.last: list[Any] = [None] * len(assembly.outputs)
        fresh = [(n, a) for n, a in enumerate(assembly.outputs) if n not in self.writable]
        #: Outputs with memory of their own: (output, slot, shape, dtype).
        self._fresh = [(n, slot, a.shape, a.dtype) for slot, (n, a) in enumerate(fresh, count)]
        self._spare: dict[int, list[Any]] = {}  # by output: another array and its address
        self._results_in: dict[
            int, list[int]
        ] = {}  # by input: the outputs that are written into it
        for number, source in self.writable.items():
            self._results_in.setdefault(source, []).append(number)
        self._addresses = np.zeros(self._status_slot + 1, np.int64)
        self._addresses[self._status_slot] = self._status.ctypes.data
        #: The address of the slots' addresses, for a native call.
        self.slots: int = self._addresses.ctypes.data

    #: Wakes the threads that will share a call which is still being prepared.
    nudge = staticmethod(nudge)

    def bind(self, number: int, array: Any) -> None:
        """Sets an input of the calls to come. The array is read when a call is made, not now."""
        if array is self.inputs[number]:
            return
        bound, self.inputs[number] = array, None  # an interruption leaves nothing that looks bound
        for result in self._results_in.get(number, ()):
            self.last[result] = array
        if array.flags.c_contiguous:
            self._packed.pop(number, None)
        else:
            array = self._packed[number] = np.empty(array.shape, array.dtype)
        self._addresses[number] = address_of(array)
        self.inputs[number] = bound

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Binds all inputs, in the order of the graph's, makes a call, and forgets them."""
        with self._lock:
            for number, array in enumerate(inputs):
                self.bind(number, array)
            try:
                return self.call()
            finally:
                self.inputs[:] = [None] * len(self.inputs)
                self._packed.clear()

    def call(self, again: frozenset[int] = frozenset()) -> list[Any]:
        """Runs on the bound inputs; gives the outputs, in memory that nobody else holds.

        `again` names outputs that the caller wants in the memory of the last call, though it holds that. Raises what
        the operations raise for bad values (an index out of range), before any state is written.
        """
        last, inputs = self.last, self.inputs
        for number, slot, shape, dtype in self._fresh:
            if number not in again and getrefcount(last[number]) > ALONE:
                self._other_memory(number, slot, shape, dtype)
        for number, packed in self._packed.items():
            packed[...] = inputs[number]
        if arena.reserve(self.arena_bytes) != self._base:
            self._move(arena.address)
        if verbosity.level > 1 or watch.on:
            run_told(self)
        else:
            for segment in self.segments:
                if isinstance(segment, HostStep):
                    self.run_host(segment)
                elif segment.program.run(self.slots):
                    self.check()
        for number, packed in self._packed.items():
            if number in self._results_in:
                inputs[number][...] = packed
        return last.copy()

    def _move(self, base: int) -> None:
        """Tells the programs where the arena of this thread is."""
        for segment in self.segments:
            if isinstance(segment, Segment):
                segment.program.move(base)
        self._base = base

    def _other_memory(self, number: int, slot: int, shape: tuple[int, ...], dtype: Any) -> None:
        """Gives an output memory that nobody looks at: the one before the last, or new one.

        Of small results two are kept, so that `loss = step()` in a loop, which still holds the last one, needs no new
        memory.
        """
        before, address = self.last[number], int(self._addresses[slot])
        spare = self._spare.get(number)
        if spare is None or getrefcount(spare[0]) > ALONE:
            array = aligned(shape, dtype)
            spare = [array, address_of(array)]
        self.last[number], self._addresses[slot] = spare
        if before is not None and before.nbytes <= SPARE_BYTES:
            self._spare[number] = [before, address]

    def check(self) -> None:
        """Raises what a kernel of checks has found."""
        code, value = (int(n) for n in self._status)
        if not code:
            return
        self._status[:] = 0
        kind, message = self.faults[code]
        raise kind(message.format(value=value))

    def _view(self, array: Array) -> Any:
        """A place as a NumPy array."""
        place = array.memory.place
        assert place is not None  # noqa: S101 - all memory is placed
        if place[0] == "slot":
            flat = self._bound(place[1]).reshape(-1).view(np.uint8)
        else:
            flat = arena.bytes[place[1] : place[1] + array.memory.bytes]
        item = array.dtype.itemsize
        if not array.size:
            return np.empty(array.shape, array.dtype)
        return np.ndarray(
            array.shape,
            array.dtype,
            flat,
            array.offset * item,
            tuple(s * item for s in array.strides),
        )

    def _bound(self, slot: int) -> Any:
        """The array behind a slot: an input's, or an output's."""
        if slot < len(self.inputs):
            return self._packed.get(slot, self.inputs[slot])
        return self.last[self._fresh[slot - len(self.inputs)][0]]

    def run_host(self, step: HostStep) -> None:
        """Runs one equation by its reference."""
        operands = tuple(self._view(o) if isinstance(o, Array) else o for o in step.operands)
        token = quiet()
        try:
            result = step.equation.primitive.evaluate(operands, step.equation.params)
        finally:
            restore(token)
        for value, target in zip(
            result if isinstance(result, tuple) else (result,), step.results, strict=True
        ):
            self._view(target)[...] = value


def _place(array: Array) -> tuple[Any, ...]:
    place = array.memory.place
    assert place is not None  # noqa: S101 - all memory is placed before calls are made
    extra = array.offset * array.dtype.itemsize
    if place[0] == "slot":
        return ("slot", place[1], extra)
    return ("arena", place[1] + extra)
