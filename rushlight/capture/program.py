"""`Program`: one traced call of a function, ready to be repeated on the state and arguments of the moment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.autograd.modes import state as modes
from rushlight.capture.execution import make_executable
from rushlight.capture.numbers import Number
from rushlight.capture.recorder import Cell, Recorder, Unsuitable
from rushlight.capture.state import Scan
from rushlight.capture.values import Abstract
from rushlight.capture.vjp import Vjp
from rushlight.primitives.interpreter import recording
from rushlight.primitives.views import show
from rushlight.tensor.storage import version_of
from rushlight.tensor.tensor import Tensor, wrap


class Trace:
    """Runs a function on abstract values, and puts everything back as it was."""

    def __init__(self, scan: Scan, dynamic: frozenset[str]) -> None:
        self.scan, self.dynamic = scan, dynamic
        self.recorder = Recorder()
        self.recorder.replay = self._replay  # type: ignore[method-assign]
        self.inputs: dict[int, int] = {}  # input number: tensor number
        self._arrays = [f.tensor._array for f in scan.tensors]
        self._grads = [f.tensor._grad for f in scan.tensors]
        self._slots = [(c, k, t) for c, k, t, _ in scan.slots]
        self._numbers: list[tuple[dict[str, Any], str, Any]] = []
        self.cells: list[tuple[Cell, int]] = []

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
            array = self._arrays[i]
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
                value = self.recorder.input(array.shape, array.dtype, ("tensor", i), found.path)
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
            tensor._array = show(cell.value, tensor._steps)
            cell.lookers.append((tensor, tensor._steps))
            self.recorder.cells[id(tensor)] = (cell, tensor._steps, tensor)

    def restore(self) -> None:
        """Puts back the arrays, gradients and container entries that the trace replaced."""
        for found, array, grad in zip(self.scan.tensors, self._arrays, self._grads, strict=True):
            found.tensor._array = array
            found.tensor._grad = grad
        for container, key, tensor in self._slots:
            container[key] = tensor

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

    def _replay(self, effect: Callable[[], Any]) -> Any:
        """A scheduler's step: run now on plain numbers, and at every later call."""
        self._restore_numbers()
        recorder = self.recorder
        recorder.effects.append(effect)
        result = effect()
        recorder.phase += 1
        self._install_numbers()
        return result


def is_spent(root: Any) -> bool:
    """Whether a backward has freed something of the graph behind a node: nobody can go through it again."""
    seen, stack = {root}, [root]
    while stack:
        node = stack.pop()
        if node.released:
            return True
        for edge in node.edges:
            if edge is not None and edge[0] not in seen:
                seen.add(edge[0])
                stack.append(edge[0])
    return False


class _Replayed:
    """Stands for a scheduler's `step` during a trace."""

    def __init__(self, trace: Trace, scheduler: Any) -> None:
        self.trace, self.scheduler = trace, scheduler

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(a, Tensor) for a in (*args, *kwargs.values())):
            raise Unsuitable("a scheduler is stepped by a tensor's value")
        scheduler = self.scheduler
        return self.trace._replay(lambda: type(scheduler).step(scheduler, *args, **kwargs))


class Program:
    """A compiled call: where its inputs come from, and where its results go."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: Any,
        kwargs: Any,
        scan: Scan,
        dynamic: frozenset[str],
        rescan: Callable[[], Scan],
    ) -> None:
        self.scan = scan
        self.grad_mode = modes.grad_enabled
        self._cleared: list[int] = []
        self._sinks: list[tuple[Any, ...]] = []
        self.loose: list[tuple[int, Any]] = []
        self._outside: list[
            tuple[int, Tensor]
        ] = []  # outputs through which gradients flow on, outside
        trace = Trace(scan, dynamic)
        recorder = trace.recorder
        flags = [(f.tensor._requires_grad, f.tensor._grad_fn) for f in scan.tensors]
        outputs: list[Abstract] = []
        writable: list[tuple[int, int]] = []
        self.vjp: Vjp | None = None

        def finish(result: Any) -> None:
            writable.extend(self._collect(trace, scan, outputs, flags))
            self._structure = self._flatten(result, recorder, outputs)
            if self._outside:
                self.vjp = Vjp(recorder, scan, self._outside, outputs)

        try:
            trace.run(function, args, kwargs, finish)
        finally:
            trace.restore()
        after = rescan()
        if after.structure != scan.structure:
            paths = {**scan.structure, **after.structure}
            changed = [p for p in paths if scan.structure.get(p) != after.structure.get(p)]
            raise Unsuitable(
                f"it changes {changed[0]}, which is no tensor: a program could not repeat that"
            )
        if self.vjp is None:
            self.graph = recorder.graph(outputs)
        else:
            self.graph = self.vjp.forward
        self.effects, self.guards = recorder.effects, recorder.guards
        self._bind(recorder)
        self.executable = make_executable(self.graph, writable)
        self._first = True
        scan.settle()

    # -- results -------------------------------------------------------------------------------------------

    def _collect(
        self, trace: Trace, scan: Scan, outputs: list[Abstract], flags: list[Any]
    ) -> list[tuple[int, int]]:
        """Notes all state that the trace has changed as outputs; gives those that are written in place."""
        recorder = trace.recorder
        writable: list[tuple[int, int]] = []
        number_of = {
            ("tensor", s[1]): i for i, s in enumerate(recorder.sources) if s[0] == "tensor"
        }
        ranges = []
        for cell, number in trace.cells:
            array = trace._arrays[number]
            start = array.__array_interface__["data"][0]
            reach = (
                sum((n - 1) * abs(s) for n, s in zip(array.shape, array.strides, strict=True))
                if array.size
                else -1
            )
            ranges.append(
                (start, start + max(reach, -1) + array.itemsize * (array.size > 0), cell, number)
            )
            if not cell.written or cell.value is cell.initial:
                continue
            if not array.flags.writeable:
                raise RuntimeError(
                    "a tensor is written whose memory is read-only: clone() it first"
                )
            if (0 in array.strides and array.size > 1) or not array.flags.c_contiguous:
                raise Unsuitable("a tensor with gaps or repetitions in its memory is written")
            writable.append((len(outputs), number_of["tensor", number]))
            outputs.append(cell.value)
            self._sinks.append(("write", number))
        self._check_overlaps(ranges)
        originals = {id(f.tensor): i for i, f in enumerate(scan.tensors)}
        for i, found in enumerate(scan.tensors):
            tensor = found.tensor
            if (tensor._requires_grad, tensor._grad_fn) != flags[i]:
                had, node = flags[i]
                tensor._requires_grad, tensor._grad_fn = had, node
                raise Unsuitable(f"it changes the history or requires_grad of {found.path}")
            cell, _, _ = recorder.cells[id(tensor)]
            shown = tensor._array
            if isinstance(shown, Abstract) and not any(t is tensor for t, _ in cell.lookers):
                raise Unsuitable(f"it rebinds the memory of {found.path}")
            grad, before = tensor._grad, trace._grads[i]
            if grad is before:
                continue
            if grad is None:
                self._cleared.append(i)
                continue
            if id(grad) in originals:
                raise Unsuitable(f"the grad of {found.path} becomes another known tensor")
            self._sinks.append(("grad", i))
            outputs.append(self._value(recorder, grad))
        for container, key, tensor, path in scan.slots:
            now = container[key] if not isinstance(container, dict) or key in container else None
            if now is tensor:
                continue
            if not isinstance(now, Tensor):
                continue  # the structure has changed, which is found below
            if id(now) in originals:
                raise Unsuitable(f"{path} becomes another known tensor")
            if now.requires_grad:
                raise Unsuitable(f"{path} keeps a tensor with a history")
            self._sinks.append(("slot", container, key))
            for found in scan.tensors:
                if found.tensor is tensor and found.locator[0] == "fixed":
                    found.locator = ("slot", container, key)
            for watch in scan.watches:
                if watch.container is container:
                    watch.drop(key)
            self.loose.append((id(container), key if isinstance(key, (str, int)) else id(key)))
            outputs.append(self._value(recorder, now))
        return writable

    @staticmethod
    def _check_overlaps(ranges: list[tuple[int, int, Cell, int]]) -> None:
        ordered = sorted(ranges, key=lambda r: r[:2])
        end, holder = -1, None
        for start, stop, cell, _ in ordered:
            if start < end and holder is not None and (cell.written or holder.written):
                raise Unsuitable("tensors overlap in memory, and one of them is written")
            if stop > end:
                end, holder = stop, cell

    @staticmethod
    def _value(recorder: Recorder, tensor: Tensor) -> Abstract:
        array = tensor._array
        if not isinstance(array, Abstract):
            array = recorder.constant(array)
        return array

    def _flatten(self, value: Any, recorder: Recorder, outputs: list[Abstract]) -> Any:
        """The result with its tensors as numbers of outputs."""
        if isinstance(value, Tensor):
            node = value.history()
            known = recorder.cells.get(id(value))
            for i, found in enumerate(self.scan.tensors):
                if found.tensor is value and known is not None:
                    return _Same(i)
            if node is not None and modes.grad_enabled and not is_spent(node):
                self._outside.append((len(outputs), value))
            outputs.append(self._value(recorder, value))
            self._sinks.append(("result",))
            return _Result(len(outputs) - 1)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            inside = [self._flatten(v, recorder, outputs) for v in value]
            named: Callable[..., Any] = type(value)
            return _Build(lambda items: named(*items), inside)
        if isinstance(value, (list, tuple)):
            return _Build(type(value), [self._flatten(v, recorder, outputs) for v in value])
        if isinstance(value, dict):
            keys = list(value)
            inside = [self._flatten(v, recorder, outputs) for v in value.values()]
            mapping: Callable[..., Any] = type(value)
            return _Build(lambda items: mapping(zip(keys, items, strict=True)), inside)
        if isinstance(value, Number):
            read = value.read
            return _Read(read)
        return _Constant(value)

    # -- calls ---------------------------------------------------------------------------------------------

    def adopt(self, scan: Scan) -> None:
        """Takes the tensors of another walk that came out the same."""
        self.scan = scan
        for found, locator in zip(scan.tensors, self._locators, strict=True):
            if locator[0] == "slot":
                found.locator = locator
        self._bind(self._recorder)
        scan.settle()

    def _bind(self, recorder: Recorder) -> None:
        scan = self.scan
        self._recorder = recorder
        used = {s[1] for s in recorder.sources if s[0] == "tensor"} | {
            s[1] for s in self._sinks if s[0] in ("write", "grad")
        }
        used |= set(self._cleared)
        if self.vjp is not None:
            used |= set(self.vjp.wanted) | set(self.vjp.saved_tensors)
        read = {s[1] for s in recorder.sources if s[0] == "tensor"}
        self._locators = [f.locator for f in scan.tensors]
        self._read_grads = {
            f.locator[1] for i, f in enumerate(scan.tensors) if i in read and f.locator[0] == "grad"
        }
        self._tensors: list[Any] = [
            f.tensor if f.locator[0] == "fixed" else None for f in scan.tensors
        ]
        needed = set(used)
        for i in sorted(used, reverse=True):
            if self._locators[i][0] == "grad":
                needed.add(self._locators[i][1])
        self._moving = [
            (i, self._locators[i]) for i in sorted(needed) if self._locators[i][0] != "fixed"
        ]
        self._arrays: list[Any] = [None] * len(recorder.sources)
        self._from_tensors: list[tuple[int, int]] = []
        self._from_numbers: list[tuple[int, Any, int]] = []
        self._draws: list[tuple[int, Any, Any, Any]] = []
        for i, source in enumerate(recorder.sources):
            if source[0] == "tensor":
                self._from_tensors.append((i, source[1]))
            elif source[0] == "number":
                self._arrays[i] = np.full((), source[3])
                self._from_numbers.append((i, source[2], source[1]))
            elif source[0] == "array":
                self._arrays[i] = source[1]
            else:
                self._draws.append((i, *source[1:]))
        self._checks = [
            (
                f.tensor,
                f.tensor._requires_grad,
                f.tensor._grad is None,
                f.tensor._array.shape,
                f.tensor._array.dtype,
            )
            for f in scan.tensors
            if f.locator[0] == "fixed"
        ]
        self._outputs: list[Any] = [None] * len(self._sinks)

    def fits(self) -> bool:
        """Whether nothing that the trace depended on has changed, as far as identity tells."""
        if modes.grad_enabled is not self.grad_mode:
            return False
        for tensor, flag, none, shape, dtype in self._checks:
            array = tensor._array
            if (
                tensor._requires_grad is not flag
                or (tensor._grad is None) is not none
                or array.shape != shape
                or array.dtype != dtype
            ):
                return False
        return all(watch.same() for watch in self.scan.watches) and self.guarded()

    def guarded(self) -> bool:
        """Whether comparisons of numbers come out as they did (those before the first effect)."""
        return all(holds() for phase, holds in self.guards if phase == 0)

    def __call__(self, arguments: list[Tensor]) -> Any:
        """Runs on the state of now and these tensors among the arguments."""
        tensors, arrays = self._tensors, self._arrays
        for i, locator in self._moving:
            kind = locator[0]
            if kind == "argument":
                tensors[i] = arguments[locator[1]]
            elif kind == "grad":
                tensors[i] = tensors[locator[1]]._grad
            else:
                tensors[i] = locator[1][locator[2]]
        for i, k in self._from_tensors:
            arrays[i] = tensors[k]._array
        if self.effects and not self._first:
            self._run_effects()
        elif self._from_numbers:
            if not self._first:  # the first call runs with the numbers of its trace
                for i, read, _ in self._from_numbers:
                    arrays[i][()] = read()
        for i, stream, generator, given in self._draws:
            arrays[i] = stream(generator, *given)
        self._first = False
        outputs = self._outputs
        for n, sink in enumerate(self._sinks):
            outputs[n] = None
            if sink[0] == "grad":
                held = tensors[sink[1]]._grad
                if (
                    held is not None
                    and sink[1] not in self._read_grads
                    and sys.getrefcount(held) <= 3
                    and sys.getrefcount(held._array) <= 2
                ):
                    outputs[n] = held._array
        held = None
        results = self.executable.run(arrays, outputs)
        for n, sink in enumerate(self._sinks):
            kind = sink[0]
            if kind == "write":
                tensor = tensors[sink[1]]
                version_of(tensor).count += 1
            elif kind == "grad":
                if outputs[n] is None:
                    tensors[sink[1]]._grad = wrap(results[n])
            elif kind == "slot":
                sink[1][sink[2]] = wrap(results[n])
        for k in self._cleared:
            tensors[k]._grad = None
        if self.vjp is not None:
            results = self.vjp.attach(results, arrays, tensors, self._outside)
        result = self._structure.build(results, tensors)
        for i, locator in self._moving:
            if locator[0] != "argument":
                tensors[i] = None
        for n in range(len(outputs)):
            outputs[n] = None
        return result

    def _run_effects(self) -> None:
        arrays = self._arrays
        for phase in range(len(self.effects) + 1):
            for i, read, when in self._from_numbers:
                if when == phase:
                    arrays[i][()] = read()
            if phase < len(self.effects):
                self.effects[phase]()


class _Result:
    """An output of the graph as a new tensor."""

    def __init__(self, number: int) -> None:
        self.number = number

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        value = results[self.number]
        return value if isinstance(value, Tensor) else wrap(value)


class _Same:
    """A tensor of the state itself."""

    def __init__(self, number: int) -> None:
        self.number = number

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        return tensors[self.number]


class _Build:
    """A container of results."""

    def __init__(self, kind: Callable[[list[Any]], Any], inside: list[Any]) -> None:
        self.kind, self.inside = kind, inside

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        return self.kind([v.build(results, tensors) for v in self.inside])


class _Read:
    """A hyper-parameter of the moment."""

    def __init__(self, read: Callable[[], float]) -> None:
        self.read = read

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        return self.read()


class _Constant:
    """What is no tensor."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        return self.value
