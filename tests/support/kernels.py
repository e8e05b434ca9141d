"""Runs one lowering on arrays that lie in any order, without a graph around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.compiler.executable import kernel_text
from rushlight.compiler.objects import load
from rushlight.compiler.processor import host_target
from rushlight.compiler.program import Program
from rushlight.loops.arrays import Array, Memory, Sink
from rushlight.loops.builder import METADATA
from rushlight.loops.kernel import Plan
from rushlight.primitives.lowerings import load_all

#: Bytes around every array that must stay as they were.
MARGIN = 256
MARK = 0xA5


class Bench:
    """Arrays side by side in one block, with margins between them that nothing may write to."""

    def __init__(self, nbytes: int = 1 << 25) -> None:
        load_all()
        self.plan = Plan(host_target())
        self.block = np.full(nbytes, MARK, np.uint8)
        self.start = -self.block.ctypes.data % 64
        self.used: list[tuple[int, int]] = []
        self.end = MARGIN

    def array(self, value: np.ndarray[Any, Any], order: Sequence[int] | None = None) -> Array:
        """An array whose dimensions lie in `order`, outermost first, with a value."""
        strides, step = [0] * value.ndim, 1
        for d in reversed(range(value.ndim) if order is None else order):
            strides[d] = step
            step *= value.shape[d]
        array = Array(Memory(value.nbytes), value.dtype, value.shape, strides)
        self._place(array.memory)
        self.view(array)[...] = value
        return array

    def _place(self, memory: Memory) -> None:
        memory.place = ("arena", self.end)
        self.used.append((self.end, self.end + memory.bytes))
        self.end += -(-(memory.bytes + MARGIN) // 64) * 64

    def view(self, array: Array) -> np.ndarray[Any, Any]:
        """The array as NumPy sees it."""
        assert array.memory.place is not None
        item = array.dtype.itemsize
        start = self.start + array.memory.place[1] + array.offset * item
        return np.ndarray(
            array.shape, array.dtype, self.block.data, start, tuple(s * item for s in array.strides)
        )

    def run(
        self,
        lowering: Any,
        results: Sequence[Array],
        operands: Sequence[Any],
        params: dict[str, Any],
    ) -> bool:
        """Lowers, compiles and runs; False if the lowering declines."""
        sinks = tuple(map(Sink, results))
        if lowering(self.plan, sinks, tuple(operands), **params) is False:
            return False
        for scratch in self.plan.scratches:
            self._place(scratch.memory)
        assert self.start + self.end < self.block.size
        texts: dict[str, str] = {}
        declared: dict[str, None] = {}
        calls = []
        for kernel in self.plan.kernels:
            name, text = kernel_text(kernel)
            texts[name] = text
            declared.update(dict.fromkeys(kernel.declarations()))
            places = []
            for array in kernel.arrays:
                assert array.memory.place is not None
                places.append(
                    ("arena", array.memory.place[1] + array.offset * array.dtype.itemsize)
                )
            calls.append((name, places, kernel.items, kernel.work, kernel.checks))
        library = load("\n".join([*sorted(declared), *texts.values(), METADATA, ""]))
        status, slots = np.zeros(2, np.int64), np.zeros(1, np.int64)
        Program(library, calls, self.block.ctypes.data + self.start, status.ctypes.data).run(
            slots.ctypes.data
        )
        self._check_margins()
        return True

    def _check_margins(self) -> None:
        free = np.ones(self.block.size, bool)
        for a, z in self.used:
            free[self.start + a : self.start + z] = False
        assert (self.block[free] == MARK).all(), "a kernel wrote outside of its arrays"
