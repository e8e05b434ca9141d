"""`Trace`: runs a function on abstract values while the recorder notes what it does, and puts everything back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.capture.naming import plain
from rushlight.capture.numbers import Number
from rushlight.capture.recorder import Cell, Recorder, Unsuitable
from rushlight.capture.state import Scan
from rushlight.compiler.values import Abstract
from rushlight.optim.lr_scheduler.base import LRScheduler
from rushlight.primitives.interpreter import recording
from rushlight.primitives.views import show
from rushlight.tensor.tensor import Tensor


class Trace:
    """Runs a function on abstract values, and puts everything back as it was."""

    def __init__(self, scan: Scan, dynamic: frozenset[str]) -> None:
        self.scan, self.dynamic = scan, dynamic
        self.recorder = Recorder()
        self.recorder.replay = self.replay  # type: ignore[method-assign]
        self.inputs: dict[int, int] = {}  # input number: tensor number
        self.arrays = [f.tensor._array for f in scan.tensors]
        self.grads = [f.tensor._grad for f in scan.tensors]
        self._slots = [(c, k, t) for c, k, t, _ in scan.slots]
        self._numbers: list[tuple[dict[str, Any], str, Any]] = []
        self.cells: list[tuple[Cell, int]] = []
        self._schedulers = [(s, _members(s)) for s in _with_parts(scan.schedulers)]

    def run(
        self, function: Callable[..., Any], args: Any, kwargs: Any, finish: Callable[[Any], None]
    ) -> None:
        """Calls the function on abstract tensors, and `finish` with its result, still inside the trace."""
        tensors = [f.tensor for f in self.scan.tensors]
        with recording(self.recorder):
            self._enter(tensors)
            self._install_numbers()
            shadowed = []
            for scheduler in self.scan.schedulers:
                shadowed.append(scheduler)
                vars(scheduler)["step"] = _Replayed(self, scheduler)
            try:
                finish(function(*args, **kwargs))
            finally:
                for scheduler in shadowed:
                    vars(scheduler).pop("step", None)
                self._restore_numbers()

    def _enter(self, tensors: list[Tensor]) -> None:
        by_memory: dict[Any, Cell] = {}
        numbers = {id(t): i for i, t in enumerate(tensors)}
        views = []
        for i, tensor in enumerate(tensors):
            array = self.arrays[i]
            if isinstance(array, Abstract):
                raise Unsuitable("it is called from inside another trace")
            base = tensor._base
            if base is not None and id(base) in numbers:
                views.append(tensor)
                continue
            place = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype)
            cell = by_memory.get(place) if array.size else None
            if cell is None:
                found = self.scan.tensors[i]
                value = self.recorder.input(
                    array.shape, array.dtype, ("tensor", i), plain(found.path, self.scan.function)
                )
                value.lie(array.strides)
                cell = Cell(value)
                if array.size:
                    by_memory[place] = cell
                self.cells.append((cell, i))
            cell.lookers.append((tensor, ()))
            self.recorder.cells[id(tensor)] = (cell, (), tensor)
        for cell, _ in self.cells:
            for tensor, _ in cell.lookers:
                tensor._array = cell.value
        for tensor in views:
            cell, _, _ = self.recorder.cells[id(tensor._base)]
            strides = tensor._array.strides
            tensor._array = show(cell.value, tensor._steps)
            tensor._array.lie(strides)
            cell.lookers.append((tensor, tensor._steps))
            self.recorder.cells[id(tensor)] = (cell, tensor._steps, tensor)

    def restore(self) -> None:
        """Puts back the arrays, gradients and container entries that the trace replaced."""
        for found, array, grad in zip(self.scan.tensors, self.arrays, self.grads, strict=True):
            found.tensor._array = array
            found.tensor._grad = grad
        for container, key, tensor in self._slots:
            container[key] = tensor

    def undo_effects(self) -> None:
        """Puts back what schedulers were before the trace stepped them."""
        for scheduler, members in self._schedulers:
            vars(scheduler).clear()
            vars(scheduler).update(members)

    # -- numbers and schedulers ----------------------------------------------------------------------------

    def _install_numbers(self) -> None:
        phase, recorder = self.recorder.phase, self.recorder
        for group in self.scan.groups:
            for key in self.dynamic:
                value = group.get(key)
                if isinstance(value, float) or (key in ("lr",) and type(value) is int):
                    self._numbers.append((group, key, value))
                    group[key] = Number(value, lambda g=group, k=key: g[k], recorder, phase)  # type: ignore[misc]
                elif (
                    isinstance(value, tuple) and value and all(isinstance(v, float) for v in value)
                ):
                    self._numbers.append((group, key, value))
                    group[key] = tuple(
                        Number(v, lambda g=group, k=key, i=i: g[k][i], recorder, phase)  # type: ignore[misc]
                        for i, v in enumerate(value)
                    )

    def _restore_numbers(self) -> None:
        for group, key, value in self._numbers:
            group[key] = value
        self._numbers.clear()

    def replay(self, effect: Callable[[], Any]) -> Any:
        """A scheduler's step: run now on plain numbers, and at every later call."""
        self._restore_numbers()
        recorder = self.recorder
        recorder.effects.append(effect)
        result = effect()
        recorder.phase += 1
        self._install_numbers()
        return result


def _with_parts(schedulers: Sequence[Any]) -> list[Any]:
    """Schedulers and those that they are made of."""
    found: list[Any] = []
    stack = list(schedulers)
    while stack:
        scheduler = stack.pop()
        if any(scheduler is s for s in found):
            continue
        found.append(scheduler)
        for member in vars(scheduler).values():
            parts = member if isinstance(member, (list, tuple)) else (member,)
            stack += [p for p in parts if isinstance(p, LRScheduler)]
    return found


def _members(scheduler: Any) -> dict[str, Any]:
    return {k: list(v) if type(v) is list else v for k, v in vars(scheduler).items()}


class _Replayed:
    """Stands for a scheduler's `step` during a trace."""

    def __init__(self, trace: Trace, scheduler: Any) -> None:
        self.trace, self.scheduler = trace, scheduler

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(a, Tensor) for a in (*args, *kwargs.values())):
            raise Unsuitable("a scheduler is stepped by a tensor's value")
        scheduler = self.scheduler
        return self.trace.replay(lambda: type(scheduler).step(scheduler, *args, **kwargs))
