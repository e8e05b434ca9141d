"""Runs one primitive's lowering on NumPy arrays of any strides, with no compiler of graphs around it."""

import numpy as np

from rushlight.compiler.executable import kernel_text
from rushlight.compiler.memory import plan_arena
from rushlight.compiler.objects import load
from rushlight.compiler.processor import host_target
from rushlight.compiler.program import Program
from rushlight.loops.arrays import Array, Memory, Sink
from rushlight.loops.kernel import Plan
from rushlight.primitives.lowerings import load_all


class Lowered:
    """The kernels of `primitive(*operands, **params)`, written straight into `result`.

    All arrays are kept, read and written in place; strides must be whole elements and not negative. One run makes all
    calls `times` times.
    """

    def __init__(self, primitive, operands, result, params, sink=Sink, target=None, times=1):
        load_all()
        self.plan = plan = Plan(target or host_target())
        self.kept = [*operands, result]
        self.arrays = [_array(x, i) for i, x in enumerate(self.kept)]
        *places, out = self.arrays
        done = primitive.primitive.lowering(plan, (sink(out),), tuple(places), **params)
        assert done is not False, "the primitive says that its reference has to run"
        plan.status.memory.place = ("slot", len(self.kept), 0)
        self.arena = np.empty(
            plan_arena([[a.memory for a in k.arrays] for k in plan.kernels]) + 64, np.uint8
        )
        base = self.arena.ctypes.data + -self.arena.ctypes.data % 64
        texts, declared, calls = {}, {}, []
        for kernel in plan.kernels:
            name, text = kernel_text(kernel)
            texts[name] = text
            declared.update(dict.fromkeys(kernel.declarations()))
            calls.append(
                (name, [_place(a) for a in kernel.arrays], kernel.items, kernel.work, False)
            )
        loops = '!0 = distinct !{!0, !1}\n!1 = !{!"llvm.loop.unroll.disable"}'
        self.text = "\n".join([*sorted(declared), *texts.values(), loops, ""])
        self.program = Program(load(self.text), calls * times, base, 0)
        self.status = np.zeros(2, np.int64)
        self.slots = np.array([*(x.ctypes.data for x in self.kept), self.status.ctypes.data])

    def run(self):
        """Runs it, and gives the result."""
        self.program.run(self.slots.ctypes.data)
        return self.kept[-1]

    def seconds(self):
        """The time that each kernel takes in one run."""
        return np.diff(self.program.timed(self.slots.ctypes.data)) * 1e-9


def _array(x, number):
    item = x.dtype.itemsize
    memory = Memory(max(x.nbytes, 1), f"slot {number}")
    memory.place = ("slot", number, 0)
    return Array(memory, x.dtype, x.shape, [s // item for s in x.strides])


def _place(array):
    place = array.memory.place
    extra = array.offset * array.dtype.itemsize
    return ("slot", place[1], extra) if place[0] == "slot" else ("arena", place[1] + extra)
