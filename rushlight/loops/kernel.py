"""`Kernel`: a builder whose buffers are arrays; `Plan`: what a lowering writes, kernels and scratch memory in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.loops.arrays import Array, Memory, bytes_of
from rushlight.loops.builder import F32, FLOATS, I64, Builder, Value
from rushlight.loops.target import Target


class Kernel(Builder):
    """One kernel over `items` independent work items, of which it does `[b.low, b.high)` in a call.

    `work` is an estimate of one item's time in nanoseconds on one core: it decides whether threads share the items.
    """

    def __init__(self, stem: str, items: int, work: float, target: Target) -> None:
        super().__init__(stem, 0)
        self.items = items
        self.work = work
        self.target = target
        self.half_floats = target.half_floats
        self.arrays: list[Array] = []
        self._numbers: dict[tuple[int, int], int] = {}
        #: What it computes and moves, for the profile.
        self.flops = 0
        self.bytes = 0
        #: A kernel of checks: if it reports a fault, nothing after it runs.
        self.checks = False

    def pointer(self, array: Array) -> Value:
        """The address of the array's first element."""
        key = (id(array.memory), array.offset * np.dtype(array.dtype).itemsize)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.arrays)
            self.arrays.append(array)
        return self.buffer(number)

    def lanes(self, kind: str) -> int:
        """How many elements a vector register holds."""
        return self.target.lanes(kind)

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """A * b + c, rounded once where the processor has an instruction for that: for sums of products."""
        if c.kind in FLOATS and self.target.fma:
            return self.fma(a, b, c)
        return a * b + c

    def over_items(self, body: Any, label: str = "item") -> None:
        """Runs `body(item)` for each work item of this call."""
        self.loop(self.low, self.high, body, label=label)

    def forget(self) -> None:
        """Drops the text, which is compiled; what it is called, its arrays and its outline stay."""
        self.lines.clear()
        self._entry.clear()
        self.allocas.clear()
        self._buffers.clear()
        self.active = None

    def fault(self, plan: Plan, code: int, value: Value) -> None:
        """Reports that something is wrong with the data: the program stops before its next kernel."""
        status = self.pointer(plan.status)
        self.store(self.const(code, I64), status, 0)
        self.store(value, status, 1)


class Plan:
    """Kernels in the order in which they run, and the memory that only they use."""

    def __init__(self, target: Target, status: Array | None = None) -> None:
        self.target = target
        self.kernels: list[Kernel] = []
        self.scratches: list[Array] = []
        #: Two int64: the code of a fault (0: none), and the value that caused it.
        self.status = status or Array(Memory(16, "status"), np.dtype(np.int64), (2,))
        #: By code: what to raise, as (exception class, message with {value}).
        self.faults: dict[int, tuple[type[Exception], str]] = {}

    def kernel(
        self, stem: str, items: int, work: float, *, flops: int = 0, nbytes: int = 0
    ) -> Kernel:
        """A new kernel, after the ones before. `stem` names it for people; `work` is nanoseconds for one item."""
        kernel = Kernel(stem, items, work, self.target)
        kernel.flops, kernel.bytes = flops, nbytes
        self.kernels.append(kernel)
        return kernel

    def scratch(self, dtype: Any, shape: Sequence[int]) -> Array:
        """Contiguous memory, 64-byte aligned, not cleared, for the kernels of this plan only."""
        count = 1
        for n in shape:
            count *= n
        array = Array(Memory(0, "scratch"), np.dtype(dtype), shape)
        array.memory.bytes = max(64, bytes_of(array.kind, count))
        self.scratches.append(array)
        return array

    def fault_code(self, kind: type[Exception], message: str) -> int:
        """A code for `Kernel.fault`; the message may hold {value}."""
        code = len(self.faults) + 1
        self.faults[code] = (kind, message)
        return code


__all__ = ["F32", "Kernel", "Plan"]
