"""`Calls`: the kernels of a graph and what each of them is given, ready to become part of a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rushlight.compiler.assembly import Assembly, HostStep
from rushlight.compiler.executable import kernel_text
from rushlight.compiler.graph import Graph
from rushlight.compiler.memory import plan_arena
from rushlight.compiler.objects import load
from rushlight.compiler.processor import host_target
from rushlight.loops.builder import METADATA

#: (kernel, places, items, nanoseconds an item takes, whether it checks its arguments), as `Program` wants them.
Call = tuple[str, Sequence[tuple[Any, ...]], int, float, bool]


class Unsuitable(Exception):
    """Parts of the graph have no native form."""


class Calls:
    """A graph's kernels. Slots are numbered: inputs, outputs in memory of their own, then the words for faults.

    `writable` pairs (number of an output, number of an input) as for `Executable`; `strides` (in elements) are those
    of inputs, by number, that are not contiguous.
    """

    def __init__(
        self,
        graph: Graph,
        writable: Sequence[tuple[int, int]] = (),
        strides: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        assembly = Assembly(graph, host_target(), writable, strides)
        kernels = [step for step in assembly.steps if not isinstance(step, HostStep)]
        if len(kernels) < len(assembly.steps):
            raise Unsuitable("an equation has no lowering")
        self.faults = assembly.faults
        written = dict(writable)
        outputs = [a for n, a in enumerate(assembly.outputs) if n not in written]
        #: (shape, dtype) of the outputs that are not written into inputs.
        self.results = tuple((a.shape, a.dtype) for a in outputs)
        slots = [*assembly.inputs, *outputs]
        self.count = len(slots)
        for i, array in enumerate([*slots, assembly.plan.status]):
            array.memory.place = ("slot", i, 0)
        self.arena_bytes = plan_arena([[a.memory for a in k.arrays] for k in kernels])
        texts: dict[str, str] = {}
        declared: dict[str, None] = {}
        self.calls: list[Call] = []
        for kernel in kernels:
            name, text = kernel_text(kernel)
            if name not in texts:
                texts[name] = text
                declared.update(dict.fromkeys(kernel.declarations()))
            places = [_place(array) for array in kernel.arrays]
            self.calls.append((name, places, kernel.items, kernel.work, kernel.checks))
        self.library = load("\n".join([*sorted(declared), *texts.values(), METADATA, ""]))
        self.nanoseconds = sum(k.items * k.work for k in kernels)

    def placed(
        self, slots: Sequence[int | tuple[int, int]], arena: int, arena_offset: int = 0
    ) -> list[Call]:
        """The calls with slot i in the place of `slots[i]`, and the arena's address in slot `arena`.

        A place is the number of a slot, or that and how many bytes further on.
        """
        at = [s if isinstance(s, tuple) else (s, 0) for s in slots]
        own = (arena, arena_offset)
        return [
            (name, [_moved(place, at, own) for place in places], items, work, checks)
            for name, places, items, work, checks in self.calls
        ]


def _place(array: Any) -> tuple[Any, ...]:
    place = array.memory.place
    extra = array.offset * array.dtype.itemsize
    if place[0] == "slot":
        return ("slot", place[1], extra)
    return ("arena", place[1] + extra)


def _moved(
    place: tuple[Any, ...], slots: Sequence[tuple[int, int]], arena: tuple[int, int]
) -> tuple[Any, ...]:
    number, offset = slots[place[1]] if place[0] == "slot" else arena
    return ("slot", number, offset + place[-1])
