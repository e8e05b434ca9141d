"""`Executable`: a graph as a native program, ready to run on arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.compiler.assembly import Assembly, HostStep
from rushlight.compiler.graph import Graph
from rushlight.compiler.memory import plan_arena
from rushlight.compiler.objects import load
from rushlight.compiler.passes import optimize
from rushlight.compiler.processor import host_target
from rushlight.compiler.profile import run_told
from rushlight.compiler.program import Program
from rushlight.core.flags import verbosity
from rushlight.loops.arrays import Array
from rushlight.loops.kernel import Kernel


def kernel_text(kernel: Kernel) -> tuple[str, str]:
    """A kernel's text under a name that derives from it: equal kernels of a program become one."""
    stem = kernel.name
    kernel.name = "kernel"
    body = kernel.finish()
    digest = hashlib.sha256(body.encode()).hexdigest()[:12]
    kernel.name = f"{stem[:60]}_{digest}"
    return kernel.name, body.replace("@kernel(", f"@{kernel.name}(", 1)


class Segment:
    """Kernels that run in one native call."""

    def __init__(self, kernels: list[Kernel]) -> None:
        self.kernels = kernels
        self.program: Any = None


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
        self.graph = graph if optimized else optimize(graph)
        self.writable = dict(writable)
        assembly = Assembly(self.graph, target, writable)
        self.assembly = assembly
        self.faults = assembly.faults
        self._status = np.zeros(2, np.int64)
        slots = [*assembly.inputs]
        self._fresh: list[tuple[int, Array]] = []  # outputs with memory of their own
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
        self.arena_bytes = plan_arena(uses)
        self._arena_block = np.empty(self.arena_bytes + 4096, np.uint8)
        start = -self._arena_block.ctypes.data % 4096
        self._arena = self._arena_block[start : start + self.arena_bytes]
        self._compile()
        self._input_count = len(assembly.inputs)
        self._addresses = np.zeros(self._status_slot + 1, np.int64)
        self._addresses[self._status_slot] = self._status.ctypes.data
        #: The address of the slots' addresses, for a native call.
        self.slots: int = self._addresses.ctypes.data
        self._held: list[Any] = [None] * self._status_slot

    # -- compiling ------------------------------------------------------------------------------------------

    def _compile(self) -> None:
        texts: dict[str, str] = {}
        declared: dict[str, None] = {}
        self.segments: list[Segment | HostStep] = []
        for step in self.assembly.steps:
            if isinstance(step, HostStep):
                self.segments.append(step)
                continue
            name, text = kernel_text(step)
            if name not in texts:
                texts[name] = text
                declared.update(dict.fromkeys(step.declarations()))
            segment = self.segments[-1] if self.segments else None
            if not isinstance(segment, Segment):
                segment = Segment([])
                self.segments.append(segment)
            segment.kernels.append(step)
        loops = '!0 = distinct !{!0, !1}\n!1 = !{!"llvm.loop.unroll.disable"}'
        self.text = "\n".join([*sorted(declared), *texts.values(), loops, ""])
        self.kernel_count = len(texts)
        if not texts:
            return
        self.library = load(self.text)
        base = self._arena.ctypes.data
        for segment in self.segments:
            if isinstance(segment, Segment):
                calls = [
                    (k.name, [_place(a) for a in k.arrays], k.items, k.work, k.checks)
                    for k in segment.kernels
                ]
                segment.program = Program(self.library, calls, base, self._status.ctypes.data)

    # -- running --------------------------------------------------------------------------------------------

    def run(self, inputs: Sequence[Any], outputs: Sequence[Any] | None = None) -> list[Any]:
        """Runs on arrays, in the order of the graph's inputs; gives the outputs, in memory that is given or new.

        Raises what the operations raise for bad values (an index out of range), before any state is written.
        """
        held, addresses = self._held, self._addresses
        back: list[tuple[int, Any, Any]] = []
        for i, array in enumerate(inputs):
            if array is held[i]:
                continue
            if not array.flags.c_contiguous:
                packed = np.ascontiguousarray(array)
                back.append((i, array, packed))
                array = packed
            held[i] = array
            addresses[i] = array.__array_interface__["data"][0]
        slot = self._input_count
        results: list[Any] = []
        into = self.writable
        for number, aim in enumerate(self.assembly.outputs):
            if number in into:
                results.append(held[into[number]])
                continue
            array = None if outputs is None else outputs[number]
            if array is None:
                array = np.empty(aim.shape, aim.dtype)
            if array is not held[slot]:
                held[slot] = array
                addresses[slot] = array.__array_interface__["data"][0]
            results.append(array)
            slot += 1
        if verbosity.level > 1:
            run_told(self)
        else:
            for segment in self.segments:
                if isinstance(segment, HostStep):
                    self.run_host(segment)
                elif segment.program.run(self.slots):
                    self.check()
        for number, i in into.items():
            for k, array, packed in back:
                if k == i:
                    array[...] = packed
                    results[number] = array
        for number in range(self._input_count, self._status_slot):
            held[number] = (
                None  # results belong to the caller: another call must not write into them
            )
        return results

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
            flat = self._held[place[1]].reshape(-1).view(np.uint8)
        else:
            flat = self._arena[place[1] : place[1] + array.memory.bytes]
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

    def run_host(self, step: HostStep) -> None:
        """Runs one equation by its reference."""
        operands = tuple(self._view(o) if isinstance(o, Array) else o for o in step.operands)
        result = step.equation.primitive.evaluate(operands, step.equation.params)
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
