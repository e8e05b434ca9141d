"""What this machine can do, measured by two kernels of our own: arithmetic in registers, and streams through memory.

Shares of peak are shares of these figures, not of a data sheet's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rushlight.compiler.objects import load
from rushlight.compiler.pool import threads_wanted
from rushlight.compiler.processor import host_target
from rushlight.compiler.program import Program
from rushlight.loops.arrays import Array, Memory
from rushlight.loops.builder import F32, METADATA, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import along

#: Turns of the loop in registers that one item does, and items: runs are short, so that some of many are undisturbed.
TURNS, ITEMS = 2048, 128
#: Elements of each of the three arrays that the streams go through: 32 MB, more than caches hold.
STREAM, BLOCK = 8 << 20, 1 << 16
#: How often each is measured; the best counts, as other programs only take time away.
ARITHMETIC_RUNS, STREAM_RUNS = 80, 15


class Machine(NamedTuple):
    """Measured at a number of threads; all figures are per second."""

    threads: int
    flops: float  # float32, a multiplication and an addition each counted
    bytes: float  # read and written, through memory

    def __str__(self) -> str:
        return (
            f"{self.threads} threads, {self.flops / 1e9:.0f} GFLOP/s, {self.bytes / 1e9:.1f} GB/s"
        )


def machine() -> Machine:
    """This machine at the number of threads that is set now; measured when first asked for, in about 0.2 s."""
    return _measured(threads_wanted())


@functools.cache
def _measured(threads: int) -> Machine:
    return Machine(threads, _arithmetic(), _stream())


def arithmetic_kernel(plan: Plan) -> tuple[Kernel, Array, int]:
    """Chains of multiply-adds that do not wait for each other, one to a register; its result; flops of an item."""
    target = plan.target
    lanes = target.lanes(F32)
    chains = min(24, target.registers - 4)
    b = plan.kernel("peak", ITEMS, 10_000.0)
    out = Array(Memory(ITEMS * lanes * 4, "peak"), np.dtype(np.float32), (ITEMS, lanes))
    scale, more = b.const(0.999, F32, lanes), b.const(0.001, F32, lanes)

    def turn(_: Value, *totals: Value) -> list[Value]:
        if target.fma:
            return [b.fma(total, scale, more) for total in totals]
        return [total * scale + more for total in totals]

    def item(i: Value) -> None:
        starts = [b.const(1.0 + k, F32, lanes) for k in range(chains)]
        first, *rest = b.loop(0, TURNS, turn, starts, label="turn")
        for total in rest:
            first = first + total
        out.store(b, [i, b.const(0)], first, 1)

    b.over_items(item)
    return b, out, 2 * TURNS * chains * lanes


def stream_kernel(plan: Plan) -> tuple[Kernel, list[Array]]:
    """The kernel of out = x + 3 y over long arrays, and the arrays."""
    lanes = plan.target.lanes(F32)
    arrays = [Array(Memory(4 * STREAM, name), np.dtype(np.float32), (STREAM,)) for name in "oxy"]
    out, x, y = arrays
    b = plan.kernel("stream", STREAM // BLOCK, 50_000.0)

    def item(i: Value) -> None:
        def vector(at: Value, w: int, mask: Value | None) -> None:
            three = b.const(3.0, F32, w)
            out.store(
                b, [at], x.load(b, [at], 0, w, mask) + y.load(b, [at], 0, w, mask) * three, 0, mask
            )

        along(b, i * BLOCK, i * BLOCK + BLOCK, lanes, vector)

    b.over_items(item)
    return b, arrays


def _runner(kernel: Kernel, memory: list[np.ndarray]) -> Callable[[], float]:
    """A function that runs the kernel once, and gives the seconds that it took."""
    text = "\n".join(
        (*kernel.declarations(), kernel.finish(), METADATA, "")
    )  # fmt: skip
    places = [("slot", i, 0) for i in range(len(memory))]
    program = Program(load(text), [(kernel.name, places, kernel.items, kernel.work, False)], 0, 0)

    def run() -> float:
        slots = np.array([array.ctypes.data for array in memory], np.int64)
        return float(program.timed(slots.ctypes.data)[-1]) * 1e-9

    run()
    return run


def _arithmetic() -> float:
    kernel, out, flops = arithmetic_kernel(Plan(host_target()))
    run = _runner(kernel, [np.empty(out.shape, np.float32)])
    return flops * ITEMS / min(run() for _ in range(ARITHMETIC_RUNS))


def _stream() -> float:
    kernel, arrays = stream_kernel(Plan(host_target()))
    run = _runner(kernel, [np.zeros(a.shape, np.float32) for a in arrays])
    return 3 * 4 * STREAM / min(run() for _ in range(STREAM_RUNS))
