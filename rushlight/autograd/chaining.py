"""How a backward that was followed becomes chains of kernels; see repeated.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from rushlight.autograd.modes import state
from rushlight.autograd.node import AccumulateGrad, Node
from rushlight.backends.settings import settings
from rushlight.primitives.elementwise import add
from rushlight.tensor.storage import memory_of
from rushlight.tensor.tensor import wrap

ndarray = np.ndarray


class Look(NamedTuple):
    """An array for Python: a value, looked at from some byte on."""

    value: int
    offset: int
    shape: tuple[int, ...]
    dtype: Any
    strides: tuple[int, ...]
    ordered: bool  # whether the elements lie in the order of their indices

    def of(self, values: list[Any]) -> Any:
        """The array."""
        base = values[self.value]
        if base.shape == self.shape and base.strides == self.strides and base.dtype == self.dtype:
            return base
        return ndarray(self.shape, self.dtype, base, self.offset, self.strides)


class Step(NamedTuple):
    """What Python does between chains: runs a node, or (`node` is -1) adds two gradients."""

    node: int
    operands: tuple[Look | None, ...]
    results: tuple[int | None, ...]


class Follower:
    """Follows arrays from node to node through a backward."""

    def __init__(self, nodes: list[Node], arrays: list[Any]) -> None:
        self._index = {node: i for i, node in enumerate(nodes)}
        self._values = len(arrays)
        #: Value, address and array, by the id of the array itself, and of the one that owns the memory. The backward
        #: frees them as it always does: an id may come again.
        self._exactly: dict[int, tuple[int, int, Any]] = {}
        self._owners: dict[int, tuple[int, int, Any]] = {}
        self._loose: set[int] = set()  # values that Python makes, of any strides
        self._steps: list[Any] = []
        self._leaves: list[tuple[int, Look]] = []
        self._ran: list[int] = []
        self._possible = True
        for value, array in enumerate(arrays):
            self._exactly[id(array)] = (value, _address(array), ref(array))
            self._loose.add(value)
        root = arrays[0]
        if root.flags.c_contiguous:
            owner = memory_of(root)
            self._owners[id(owner)] = (0, _address(root), ref(owner))

    def ran(self, node: Node, grads: list[Any], results: Sequence[Any]) -> None:
        """The engine has run a node."""
        number = self._index[node]
        if isinstance(node, AccumulateGrad):
            self._leaves.append((number, self._look(grads[0])))
            return
        self._ran.append(number)
        new = [i for i, r in enumerate(results) if r is not None and self._place(r) is None]
        if not new:
            return
        before, state.bare = state.bare, True
        try:
            call, operands = node.kernel(grads)
        finally:
            state.bare = before
        if call is None or not self._link(call, operands, [(i, results[i]) for i in new]):
            self._by_python(number, grads, results)

    def added(self, have: Any, grad: Any, total: Any) -> None:
        """The engine has added a gradient to one that was there."""
        from rushlight.backends.exact import exact_call

        call, operands = exact_call(add, (have, grad))
        if call is None or not self._link(call, operands, [(0, total)]):
            self._by_python(-1, [have, grad], [total])

    def _link(self, call: Any, operands: list[Any], new: list[tuple[int, Any]]) -> bool:
        """Notes a kernel's call; False where it does not give what the node gave."""
        from rushlight.backends.chain import Link

        places = [self._place(o) for o in operands]
        if None in places or not all(r.flags.c_contiguous for _, r in new):
            return False
        calls = call.kernel.calls
        made = range(self._values, self._values + len(calls.results))
        named = []
        for i, result in new:
            number = 0 if call.structure is None else call.structure[i]
            if call.structure is None:
                number = len(operands)
            if number is None or number < len(operands):
                return False
            which = number - len(operands)
            if calls.results[which] != (result.shape, result.dtype):
                return False
            named.append((made[which], result))
        self._values += len(made)
        for value, result in named:
            self._name(value, result)
        self._steps.append(
            Link(calls, call.kernel.constants, tuple(places), tuple(made), call.exact)  # type: ignore[arg-type]
        )
        return True

    def _by_python(self, number: int, operands: list[Any], results: Sequence[Any]) -> None:
        made: list[int | None] = []
        looks = tuple(None if o is None else self._look(o) for o in operands)
        for result in results:
            if result is None or self._place(result) is not None:
                made.append(None)  # an array that is there already is found where it is
                continue
            made.append(self._values)
            self._loose.add(self._values)
            self._name(self._values, result)
            self._values += 1
        self._steps.append(Step(number, looks, tuple(made)))

    def _name(self, value: int, array: Any) -> None:
        address = _address(array)
        self._exactly[id(array)] = (value, address, ref(array))
        if value not in self._loose or array.flags.c_contiguous:
            owner = memory_of(array)
            self._owners[id(owner)] = (value, address, ref(owner))

    def _place(self, array: Any) -> tuple[int, int] | None:
        """Which value an array is or looks into, and how far from its beginning; None for an unknown one."""
        found = self._exactly.get(id(array))
        if found is not None and found[2]() is array:
            return found[0], 0
        owner = memory_of(array)
        found = self._owners.get(id(owner))
        if found is None or found[2]() is not owner:
            return None
        offset = _address(array) - found[1]
        return (found[0], offset) if offset >= 0 else None

    def _look(self, array: Any) -> Any:
        place = self._place(array)
        if place is None:
            self._possible = False
            place = (0, 0)
        return Look(*place, array.shape, array.dtype, array.strides, array.flags.c_contiguous)

    def chained(self) -> Chained | None:
        """What was seen, as chains with Python's steps between them."""
        from rushlight.backends.chain import Chain, Link

        if not self._possible or not settings.native:
            return None
        runs: list[Any] = []
        for step in self._steps:
            if isinstance(step, Link) and runs and type(runs[-1]) is list:
                runs[-1].append(step)
            else:
                runs.append([step] if isinstance(step, Link) else step)
        if sum(type(run) is not list for run in runs) * 2 > len(self._ran):
            return None  # hardly anything to chain
        outside = {look.value for _, look in self._leaves}
        readers: dict[int, set[int]] = {}
        for number, run in enumerate(runs):
            if type(run) is list:
                for link in run:
                    for value, _ in link.operands:
                        readers.setdefault(value, set()).add(number)
            else:
                outside |= {look.value for look in run.operands if look is not None}
        parts: list[Any] = []
        for number, run in enumerate(runs):
            if type(run) is list:
                made = [v for link in run for v in link.results]
                kept = [v for v in made if v in outside or readers.get(v, set()) - {number}]
                parts.append(Chain(run, kept))
            else:
                parts.append(run)
        return Chained(parts, self._values, self._leaves, self._ran)


def _address(array: Any) -> int:
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


class Chained:
    """A backward as chains of kernels, and what Python does between them."""

    def __init__(
        self, parts: list[Any], values: int, leaves: list[tuple[int, Look]], ran: list[int]
    ) -> None:
        self._parts = parts
        self._values = values
        self._leaves = leaves
        self._ran = ran
        #: Values that are new memory, each for one leaf alone and as it is.
        made = {v: shape for part in parts if type(part) is not Step for v, shape, _ in part.kept}
        uses = Counter(look.value for _, look in leaves)
        self._owned = {
            look.value
            for _, look in leaves
            if uses[look.value] == 1
            and look.shape == made.get(look.value)
            and look.ordered
            and not look.offset
        }

    def run(
        self, nodes: list[Node], arrays: list[Any], retain_graph: bool
    ) -> dict[Node, list[Any]] | None:
        """Hands leaves their first gradients; gives those that are left to be added.

        None, and nothing done, where a kernel refuses what it is given.
        """
        from rushlight.backends.kernel import Fault

        values = arrays + [None] * (self._values - len(arrays))
        for part in self._parts:
            if type(part) is Step:
                self._step(part, nodes, values)
                continue
            try:
                part.run(values)
            except Fault:
                return None
        if not retain_graph:
            for i in self._ran:
                nodes[i].release()
        shared: dict[Node, list[Any]] = {}
        for i, look in self._leaves:
            leaf: Any = nodes[i]
            if look.value in self._owned and leaf.variable._grad is None:
                leaf.variable._grad = wrap(values[look.value])
            else:
                shared[leaf] = [look.of(values)]
        return shared

    def _step(self, step: Step, nodes: list[Node], values: list[Any]) -> None:
        given = [None if look is None else look.of(values) for look in step.operands]
        if step.node < 0:
            values[step.results[0]] = add(*given)  # type: ignore[index]
            return
        for value, result in zip(step.results, nodes[step.node].apply(given, False), strict=True):
            if value is not None:
                values[value] = result
