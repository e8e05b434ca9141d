"""An optimizer's step outside of any compiled function: all parameters in one native call.

One parameter's update is traced for each kind of parameter there is (its shape, its state, the settings of its group),
and becomes a few kernels. A program calls them for every parameter that has a gradient. Hyper-parameters are numbers
that the kernels read: a schedule compiles nothing. Whatever does not fit here is stepped by Python as before.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from operator import is_
from typing import Any

import numpy as np

from rushlight.backends.arena import arena
from rushlight.backends.calls import Calls, Unsuitable
from rushlight.backends.chain import Libraries
from rushlight.backends.entry import ARENA_SLOT, FIRST, Plan, entry_of_many, is_possible
from rushlight.capture.numbers import Number
from rushlight.capture.recorder import Recorder
from rushlight.compiler.passes import optimize
from rushlight.compiler.pool import pool
from rushlight.compiler.program import Program
from rushlight.core.sites import is_own, user_site
from rushlight.optim.optimizer import Optimizer
from rushlight.primitives.interpreter import recording
from rushlight.tensor.storage import version_of
from rushlight.tensor.tensor import Tensor, wrap

#: Optimizers of fewer elements are stepped by Python: a kernel would never pay for being made.
SMALL = 16_384
#: Threads share kernels that take longer than a parked one takes to wake: one call, in which more are to come.
SHARED_NS = 25_000.0
#: Programs that an optimizer keeps, for different sets of parameters that have gradients.
MOST_PROGRAMS = 4
#: Kinds of parameters that have kernels, and kernels of one kind, for numbers that compare differently.
MOST_KINDS, MOST_VARIANTS = 1024, 8


class _Holder:
    """Where a traced update's numbers are read from."""

    __slots__ = ("group",)

    group: dict[str, Any]


class Update:
    """One kind of parameter's update as kernels.

    Slots: the parameter, its gradient, its state in order, then `sources`: numbers (a function that reads one) and
    constant arrays.
    """

    def __init__(self, optimizer: Optimizer, param: Tensor, group: dict[str, Any]) -> None:
        recorder = Recorder()
        self.holder = _Holder()
        self.holder.group = group
        given = dict(optimizer.state.get(param, {}))
        with recording(recorder):
            tensors = [
                wrap(recorder.input(t._array.shape, t._array.dtype, ("tensor",)))
                for t in (param, param._grad, *given.values())
            ]
            state: dict[str, Any] = dict(zip(given, tensors[2:], strict=True))
            before = [t._array for t in tensors]
            numbered = {k: self._number(group, k, v, recorder) for k, v in group.items()}
            grad = -tensors[1] if group.get("maximize") else tensors[1]  # type: ignore[operator]
            optimizer.update(tensors[0], grad, state, numbered)
        if list(state) != list(given) or any(
            state[k] is not t for k, t in zip(given, tensors[2:], strict=True)
        ):
            raise Unsuitable("the state gets another structure")
        if recorder.effects:
            raise Unsuitable("it changes Python state")
        self.sources: list[Callable[[], float] | Any] = []
        for source in recorder.sources[len(tensors) :]:
            if source[0] not in ("number", "array"):
                raise Unsuitable("random numbers are drawn")
            self.sources.append(source[2] if source[0] == "number" else source[1])
        changed = [i for i, t in enumerate(tensors) if t._array is not before[i]]
        #: Which of the parameter, its gradient and its state are written.
        self.written = tuple(changed)
        graph = optimize(recorder.graph([tensors[i]._array for i in changed]))
        self.calls = Calls(graph, list(enumerate(changed)))
        if self.calls.faults:
            raise Unsuitable("it checks values")
        self.guards = [holds for _, holds in recorder.guards]

    def _number(self, group: dict[str, Any], key: str, value: Any, recorder: Recorder) -> Any:
        holder = self.holder
        if isinstance(value, float) or (key == "lr" and type(value) is int):
            return Number(value, lambda: holder.group[key], recorder, 0)
        if type(value) is tuple and value and all(isinstance(v, float) for v in value):
            return tuple(
                Number(v, lambda i=i: holder.group[key][i], recorder, 0)  # type: ignore[misc]
                for i, v in enumerate(value)
            )
        return value

    def fits(self, group: dict[str, Any]) -> bool:
        """Whether comparisons of the group's numbers come out as they did in the trace."""
        self.holder.group = group
        return all(holds() for holds in self.guards)

    def numbers(self, group: dict[str, Any]) -> list[float]:
        """The numbers of now, in order."""
        self.holder.group = group
        return [source() for source in self.sources if callable(source)]


def _kind(value: Any) -> Any:
    """What the trace depends on of a group's setting."""
    if isinstance(value, float):
        return float
    if type(value) is tuple and value and all(isinstance(v, float) for v in value):
        return tuple, len(value)
    return type(value), value


_NOT_SETTINGS = frozenset({"params", "param_names", "initial_lr"})


class _Updates:
    """Updates by kind of parameter; an empty list where a kind has none."""

    def __init__(self) -> None:
        self.known: dict[Any, list[Update]] = {}
        #: Held while an update looks at a group's numbers.
        self.lock = threading.RLock()

    def renew_lock(self) -> None:
        """In a forked child: whoever held the lock is not there."""
        self.lock = threading.RLock()

    def find(
        self, optimizer: Optimizer, param: Tensor, group: dict[str, Any], settings: Any
    ) -> Update | None:
        """The update for a parameter, made if need be; None where there can be none."""
        if not optimizer.state.get(param) and type(optimizer).new_state is not Optimizer.new_state:
            return None  # the first step makes the state
        avals = []
        for tensor in (param, param._grad, *optimizer.state.get(param, {}).values()):
            if not isinstance(tensor, Tensor):
                return None
            array = tensor._array
            if not (array.flags.carray and array.dtype.isnative):
                return None
            avals.append((array.shape, array.dtype))
        key = (type(optimizer), settings, tuple(optimizer.state.get(param, ())), tuple(avals))
        known = self.known.get(key)
        if known is None and len(self.known) < MOST_KINDS:
            known = self.known[key] = []
        elif not known:
            return None
        for update in known:
            if update.fits(group):
                return update
        if len(known) >= MOST_VARIANTS:
            return None
        try:
            made = Update(optimizer, param, group)
        except ImportError:  # llvmlite is not installed
            return None
        except Exception:  # Python will raise what there is to raise
            return None
        known.append(made)
        return made


_updates = _Updates()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_updates.renew_lock)


class _Row:
    """A parameter in a program: what must still be as it was, and what the kernels write."""

    __slots__ = (
        "array", "arrays", "grad_dtype", "grad_place", "group", "param", "state", "tensors", "update", "versions",
    )  # fmt: skip

    param: Tensor
    array: Any
    state: dict[str, Any]
    tensors: list[Tensor]
    arrays: list[Any]
    grad_dtype: Any
    grad_place: int
    group: dict[str, Any]
    update: Update
    versions: list[Any]

    def fits(self, param: Tensor, grad: Any, state: Any) -> bool:
        """Whether this parameter is the one that the row was made for, its memory where it was."""
        return (
            param is self.param
            and param._array is self.array
            and state is self.state
            and grad.dtype is self.grad_dtype
            and grad.shape == self.array.shape
            and grad.flags.c_contiguous
            and (not state or self._holds(state))
        )

    def _holds(self, state: dict[str, Any]) -> bool:
        """Whether the state is the same tensors, their memory where it was."""
        tensors = self.tensors
        if len(state) != len(tensors) or not all(map(is_, state.values(), tensors)):
            return False
        return all(map(is_, [t._array for t in tensors], self.arrays))


class Stepper:
    """The program of one optimizer for one set of parameters with gradients."""

    def __init__(self, optimizer: Optimizer, rows: list[_Row]) -> None:
        self.rows = rows
        objects: list[Any] = []
        places: dict[int, int] = {}

        def place(array: Any) -> int:
            found = places.get(id(array))
            if found is None:
                found = places[id(array)] = len(objects)
                objects.append(array)
            return found + FIRST

        #: (group, update, what it read last, where its numbers go)
        self.numbers: list[list[Any]] = []
        made: dict[tuple[int, int], list[int]] = {}
        calls = []
        libraries = []
        arena_bytes = 0
        for row in rows:
            update = row.update
            key = (id(row.group), id(update))
            if key not in made:
                count = sum(map(callable, update.sources))
                values = np.zeros(count)
                cells = iter([values[i : i + 1].reshape(()) for i in range(count)])
                made[key] = [place(next(cells) if callable(s) else s) for s in update.sources]
                self.numbers.append([row.group, update, None, values])
                objects += [values]
            row.grad_place = len(objects)
            objects.append(None)
            slots = [
                place(row.array), row.grad_place + FIRST, *(place(a) for a in row.arrays), *made[key], 0,
            ]  # fmt: skip
            calls += update.calls.placed(slots, ARENA_SLOT)
            libraries.append(update.calls.library)
            arena_bytes = max(arena_bytes, update.calls.arena_bytes)
        self._objects = objects
        self._addresses = np.array([id(o) for o in objects], np.int64)
        self._slots = np.zeros(FIRST + len(objects), np.int64)
        self._program = Program(Libraries(libraries), calls, 0, self._slots.ctypes.data, SHARED_NS)
        self._plan = Plan(self._program.address)
        self._arguments = (
            self._plan.address,
            self._addresses.ctypes.data,
            len(objects),
            self._slots.ctypes.data,
        )
        self._arena_bytes = arena_bytes
        self._name = type(optimizer).__name__ + ".step"

    def run(self, gradients: list[Any]) -> bool:
        """Steps from these gradients; False, and nothing done, where a number asks for another trace."""
        for entry in self.numbers:
            group, update, before, values = entry
            now = [group[k] for k in group if k != "params"]
            if now != before:
                with _updates.lock:
                    if not update.fits(group):
                        return False
                    values[:] = update.numbers(group)
                entry[2] = now
        addresses, objects = self._addresses, self._objects
        for row, array in zip(self.rows, gradients, strict=True):
            at = row.grad_place
            objects[at] = array
            addresses[at] = id(array)
        running, base, plan = pool(), arena.reserve(self._arena_bytes), self._plan
        if running.context != plan.context or base != plan.arena:
            plan.settle(running, base)
        entry_of_many()(*self._arguments)
        name, site = self._name, user_site(3)
        for row in self.rows:
            objects[row.grad_place] = None
            for version in row.versions:
                version.count += 1
                version.operation, version.site = name, site
        return True


_steppers: weakref.WeakKeyDictionary[Optimizer, list[Stepper]] = weakref.WeakKeyDictionary()


def step(optimizer: Optimizer) -> bool:
    """Makes the whole step of an optimizer natively; False, and nothing done, where Python should."""
    params: list[Tensor] = []
    groups: list[dict[str, Any]] = []
    gradients: list[Any] = []
    elements = 0
    for group in optimizer.param_groups:
        for param in group["params"]:
            grad = param._grad
            if grad is not None:
                array = grad._array
                params.append(param)
                gradients.append(array)
                groups.append(group)
                elements += array.size
    if elements < SMALL:
        return False
    known = _steppers.get(optimizer)
    if known is None:
        known = _steppers[optimizer] = []
    get = optimizer.state.get
    for stepper in known:
        rows = stepper.rows
        if len(rows) == len(params) and all(
            row.group is group and row.fits(param, grad, get(param))
            for row, group, param, grad in zip(rows, groups, params, gradients)
        ):
            if stepper.run(gradients):
                return True
            known.remove(stepper)
            break
    made = _make(optimizer, params, groups)
    if made is None:
        return False
    known.insert(0, made)
    del known[MOST_PROGRAMS:]
    return made.run(gradients)


def _make(
    optimizer: Optimizer, params: list[Tensor], groups: list[dict[str, Any]]
) -> Stepper | None:
    if not is_possible() or not is_own(type(optimizer).update.__code__):
        return None
    rows = []
    settings: dict[int, Any] = {}
    for param, group in zip(params, groups, strict=True):
        if id(group) not in settings:
            try:
                found = tuple((k, _kind(v)) for k, v in group.items() if k not in _NOT_SETTINGS)
                hash(found)
            except TypeError:
                return None
            settings[id(group)] = found
        if isinstance(group.get("lr"), Tensor) or group.get("differentiable"):
            return None
        with _updates.lock:
            update = _updates.find(optimizer, param, group, settings[id(group)])
        if update is None:
            return None
        row = _Row()
        row.param, row.array, row.group, row.update = param, param._array, group, update
        row.state = optimizer.state.get(param)  # type: ignore[assignment]
        row.tensors = list((row.state or {}).values())
        row.arrays = [t._array for t in row.tensors]
        row.grad_dtype = param._grad._array.dtype  # type: ignore[union-attr]
        everything = [param, param._grad, *row.tensors]
        row.versions = [version_of(everything[i]) for i in update.written]  # type: ignore[arg-type]
        rows.append(row)
    return Stepper(optimizer, rows)
