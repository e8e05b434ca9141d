"""Programs whose arrays lie against pages that nobody may touch: a kernel that reads or writes beside its arrays dies.

    with guarded(note):
        rushlight.compile(f)(x)

Inside, each piece of memory of a program (inputs, outputs, every value of the arena) has pages of its own, between two
closed ones: ending where the upper one begins, or beginning where the lower one ends. Every item of a kernel is done by
a call of its own, so that kernels are right for any share of their items. `note` is told of each kernel before it runs.
Values that nothing has written yet are NaN, or large.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from rushlight.compiler.assembly import HostStep
from rushlight.compiler.executable import Executable
from rushlight.compiler.program import Program
from rushlight.loops.arrays import Array, Memory

PAGE = mmap.PAGESIZE


class Region:
    """Some bytes between two closed pages, ending at the upper one (`high`), or beginning at the lower one."""

    def __init__(self, size: int, high: bool) -> None:
        inner = max(-(-size // PAGE), 1) * PAGE
        self._map = mmap.mmap(-1, inner + 2 * PAGE)
        whole = np.frombuffer(self._map, np.uint8)
        start = whole.ctypes.data
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        for closed in (start, start + PAGE + inner):
            if protect(ctypes.c_void_p(closed), ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno(), "a page could not be closed")
        first = PAGE + (inner - size if high else 0)
        whole[PAGE : PAGE + inner] = 0xFF
        self.bytes = whole[first : first + size]
        self.address = start + first


class Guarded:
    """Runs one executable's kernels on guarded memory."""

    def __init__(
        self, executable: Executable, inputs: Sequence[Any], high: bool, note: Callable[[str], None]
    ) -> None:
        self.executable, self.note = executable, note
        self.numbers: dict[int, int] = {}
        self.regions: list[Region] = []
        assembly = executable.assembly
        self._high = high
        for array, value in zip(assembly.inputs, inputs, strict=True):
            if value is None:  # nothing reads it
                continue
            packed = np.ascontiguousarray(value)
            self.region(array.memory, packed.nbytes).bytes[:] = packed.reshape(-1).view(np.uint8)
        for array in assembly.outputs:
            self.region(array.memory, array.size * array.dtype.itemsize)
        self.region(assembly.plan.status.memory, 16).bytes[:] = 0

    def region(self, memory: Memory, size: int | None = None) -> Region:
        """The pages of a piece of memory."""
        number = self.numbers.get(id(memory))
        if number is None:
            number = self.numbers[id(memory)] = len(self.regions)
            self.regions.append(Region(memory.bytes if size is None else size, self._high))
        return self.regions[number]

    def view(self, array: Array) -> Any:
        """An array of the program, as NumPy's."""
        if not array.size:
            return np.empty(array.shape, array.dtype)
        item = array.dtype.itemsize
        return np.ndarray(
            array.shape, array.dtype, self.region(array.memory).bytes, array.offset * item,
            tuple(s * item for s in array.strides),
        )  # fmt: skip

    def run(self) -> list[Any]:
        """All steps in order; the outputs."""
        for step in self.executable.assembly.steps:
            if isinstance(step, HostStep):
                self._run_host(step)
            else:
                self._run_kernel(step)
                self._check()
        return [self.view(a).copy() for a in self.executable.assembly.outputs]

    def _run_host(self, step: HostStep) -> None:
        operands = tuple(self.view(o) if isinstance(o, Array) else o for o in step.operands)
        result = step.equation.primitive.evaluate(operands, step.equation.params)
        results = result if isinstance(result, tuple) else (result,)
        for value, target in zip(results, step.results, strict=True):
            self.view(target)[...] = value

    def _run_kernel(self, kernel: Any) -> None:
        self.note(kernel.name)
        places = []
        for array in kernel.arrays:
            self.region(array.memory)
            offset = array.offset * array.dtype.itemsize
            places.append(("slot", self.numbers[id(array.memory)], offset))
        slots = np.array([r.address for r in self.regions], np.int64)
        arguments = np.array(
            [self.regions[n].address + offset for _, n, offset in places], np.int64
        )
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(
            self.executable.library.address(kernel.name)
        )
        if kernel.items <= 64:
            for item in range(kernel.items):
                call(arguments.ctypes.data, item, item + 1)
            return
        program = Program(
            self.executable.library,
            [(kernel.name, places, kernel.items, kernel.work, kernel.checks)],
            0,
            self.region(self.executable.assembly.plan.status.memory).address,
        )
        program.run(slots.ctypes.data)

    def _check(self) -> None:
        status = self.region(self.executable.assembly.plan.status.memory).bytes.view(np.int64)
        code, value = (int(n) for n in status)
        if code:
            kind, message = self.executable.faults[code]
            raise kind(message.format(value=value))


@contextlib.contextmanager
def guarded(note: Callable[[str], None], high: bool = True) -> Iterator[None]:
    """Compiled programs run on guarded memory in here."""
    plain = Executable.call

    def call(self: Executable, again: frozenset[int] = frozenset()) -> list[Any]:
        results = Guarded(self, self.inputs, high, note).run()
        for number, value in enumerate(results):
            source = self.writable.get(number)
            if source is not None:
                self.inputs[source][...] = value
                results[number] = self.inputs[source]
            elif number in again and self.last[number] is not None:
                self.last[number][...] = value
                results[number] = self.last[number]
            else:
                self.last[number] = value
        return results

    Executable.call = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        Executable.call = plain  # type: ignore[method-assign]
