"""`Results`: what a trace has given back and changed, as outputs of the graph, and where each of them goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from copy import copy
from typing import Any

from rushlight.autograd.modes import no_grad
from rushlight.autograd.modes import state as modes
from rushlight.capture.numbers import Number
from rushlight.capture.recorder import Cell, Unsuitable
from rushlight.capture.trace import Trace
from rushlight.compiler.values import Abstract
from rushlight.ops.record import view_of
from rushlight.tensor.tensor import Tensor, alias, wrap


class Results:
    """Filled by `collect`, which is called inside the trace, with what the function has returned."""

    def __init__(self, trace: Trace) -> None:
        self._trace, self._scan, self._recorder = trace, trace.scan, trace.recorder
        self._flags = [(f.tensor._requires_grad, f.tensor._grad_fn) for f in self._scan.tensors]
        #: The graph's outputs.
        self.outputs: list[Abstract] = []
        #: Pairs (output, input of the graph): the output is written into the memory of that input.
        self.writable: list[tuple[int, int]] = []
        #: Pairs (output, tensor): a new gradient of that tensor of the scan.
        self.grads: list[tuple[int, int]] = []
        #: Tensors of the scan that are written in place, and those whose gradient becomes None.
        self.written: list[int] = []
        self.cleared: list[int] = []
        #: Tensors of the scan that the function returns themselves.
        self.returned: list[int] = []
        #: (output, container, key): entries of containers that become new tensors.
        self.slots: list[tuple[int, Any, Any]] = []
        #: Those entries as (id of the container, key or its id).
        self.loose: list[tuple[int, Any]] = []
        #: Pairs (output, tensor of the trace): results through which gradients flow on, outside.
        self.outside: list[tuple[int, Tensor]] = []

    def collect(self, returned: Any) -> None:
        """Notes changed memory, gradients and entries of containers, then the returned tensors."""
        self._collect_writes()
        self._collect_grads()
        self._collect_slots()
        self.structure = self._flatten(returned)

    def _output(self, tensor: Tensor) -> int:
        array = tensor._array
        if not isinstance(array, Abstract):
            array = self._recorder.constant(array)
        self.outputs.append(array)
        return len(self.outputs) - 1

    # -- changed state -------------------------------------------------------------------------------------

    def _collect_writes(self) -> None:
        trace = self._trace
        sources = enumerate(self._recorder.sources)
        input_of = {s[1]: i for i, s in sources if s[0] == "tensor"}
        ranges = []
        for cell, number in trace.cells:
            array = trace.arrays[number]
            ranges.append((*_reach(array), cell))
            if not cell.written or cell.value is cell.initial:
                continue
            if not array.flags.writeable:
                raise RuntimeError(
                    "a tensor is written whose memory is read-only: clone() it first"
                )
            if (0 in array.strides and array.size > 1) or not array.flags.c_contiguous:
                raise Unsuitable("a tensor with gaps or repetitions in its memory is written")
            self.writable.append((len(self.outputs), input_of[number]))
            self.outputs.append(cell.value)
            self.written.append(number)
        _check_overlaps(ranges)

    def _collect_grads(self) -> None:
        trace, recorder = self._trace, self._recorder
        originals = {id(f.tensor) for f in self._scan.tensors}
        for i, found in enumerate(self._scan.tensors):
            tensor = found.tensor
            if (tensor._requires_grad, tensor._grad_fn) != self._flags[i]:
                tensor._requires_grad, tensor._grad_fn = self._flags[i]
                raise Unsuitable(f"it changes the history or requires_grad of {found.path}")
            cell = recorder.cells[id(tensor)][0]
            if isinstance(tensor._array, Abstract) and not any(
                t is tensor for t, _ in cell.lookers
            ):
                raise Unsuitable(f"it rebinds the memory of {found.path}")
            grad, before = tensor._grad, trace.grads[i]
            if grad is before:
                continue
            if grad is None:
                self.cleared.append(i)
                continue
            if id(grad) in originals:
                raise Unsuitable(f"the grad of {found.path} becomes another known tensor")
            self.grads.append((self._output(grad), i))

    def _collect_slots(self) -> None:
        scan = self._scan
        originals = {id(f.tensor) for f in scan.tensors}
        for container, key, tensor, path in scan.slots:
            now = container[key] if not isinstance(container, dict) or key in container else None
            if now is tensor:
                continue
            if not isinstance(now, Tensor):
                continue  # the structure has changed, which is found later
            if id(now) in originals:
                raise Unsuitable(f"{path} becomes another known tensor")
            if now.requires_grad:
                raise Unsuitable(f"{path} keeps a tensor with a history")
            for found in scan.tensors:
                if found.tensor is tensor and found.locator[0] == "fixed":
                    found.locator = ("slot", container, key)
            for watch in scan.watches:
                if watch.container is container:
                    watch.drop(key)
            self.loose.append((id(container), key if isinstance(key, (str, int)) else id(key)))
            self.slots.append((self._output(now), container, key))

    # -- what the function returns ---------------------------------------------------------------------------

    def _flatten(self, value: Any) -> Structure:
        """The returned value with its tensors as numbers of outputs."""
        if isinstance(value, Tensor):
            node = value.history()
            if id(value) in self._recorder.cells:
                for i, found in enumerate(self._scan.tensors):
                    if found.tensor is value:
                        self.returned.append(i)
                        return _Same(i)
            view = self._view(value) if node is None else None
            if view is not None:
                return view
            number = self._output(value)
            if node is not None and modes.grad_enabled and not is_spent(node):
                self.outside.append((number, value))
            return _Result(number, value._is_inference)
        kind: Any = type(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return _Build(lambda items: kind(*items), self._parts(value))
        if isinstance(value, (list, tuple)):
            return _Build(kind, self._parts(value))
        if isinstance(value, dict):
            keys, empty = list(value), copy(value)
            empty.clear()
            return _Build(
                lambda items: _filled(copy(empty), keys, items), self._parts(value.values())
            )
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [f.name for f in dataclasses.fields(value)]
            inside = self._parts(getattr(value, n) for n in names)
            return _Build(lambda items: _with_fields(kind, names, items), inside)
        if any(_is_traced(v) for v in (value, *getattr(value, "__dict__", {}).values())):
            raise Unsuitable(f"it returns a {kind.__name__} that holds tensors")
        return _Read(value.read) if isinstance(value, Number) else _Constant(value)

    def _view(self, value: Tensor) -> Structure | None:
        """A returned tensor that looks into the memory of the state; None for any other."""
        cell, steps, _ = self._recorder.cells.get(id(value), (None, (), None))
        for held, number in self._trace.cells:
            if held is cell:
                self.returned.append(number)
                return _View(number, steps, value._is_inference)
        return None

    def _parts(self, values: Any) -> list[Structure]:
        return [self._flatten(v) for v in values]


def _filled(container: Any, keys: list[Any], items: list[Any]) -> Any:
    container.update(zip(keys, items, strict=True))
    return container


def _with_fields(kind: type, names: list[str], items: list[Any]) -> Any:
    made: Any = object.__new__(kind)
    for name, item in zip(names, items, strict=True):
        object.__setattr__(made, name, item)
    return made


def _is_traced(value: Any) -> bool:
    return isinstance(value, Abstract) or (
        isinstance(value, Tensor) and isinstance(value._array, Abstract)
    )


def _reach(array: Any) -> tuple[int, int]:
    """The range of addresses in which an array's elements lie."""
    start = array.__array_interface__["data"][0]
    if not array.size:
        return start, start
    steps = zip(array.shape, array.strides, strict=True)
    return start, start + sum((n - 1) * abs(s) for n, s in steps) + array.itemsize


def _check_overlaps(ranges: list[tuple[int, int, Cell]]) -> None:
    end, holder = -1, None
    for start, stop, cell in sorted(ranges, key=lambda r: r[:2]):
        if start < end and holder is not None and (cell.written or holder.written):
            raise Unsuitable("tensors overlap in memory, and one of them is written")
        if stop > end:
            end, holder = stop, cell


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


class Structure:
    """A returned value, made anew at each call from the results and the tensors of the state."""

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        """The value of this call."""
        raise NotImplementedError


class _Result(Structure):
    """An output of the graph as a new tensor."""

    def __init__(self, number: int, inference: bool) -> None:
        self.number, self.inference = number, inference

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        value = results[self.number]
        tensor = value if isinstance(value, Tensor) else wrap(value)
        if self.inference:
            tensor._is_inference = True
        return tensor


class _Same(Structure):
    """A tensor of the state itself."""

    def __init__(self, number: int) -> None:
        self.number = number

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        return tensors[self.number]


class _View(Structure):
    """A tensor that looks into the memory of one of the state."""

    def __init__(self, number: int, steps: Any, inference: bool) -> None:
        self.number, self.steps, self.inference = number, steps, inference

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        with no_grad():
            source = alias(tensors[self.number])
        view = view_of(source, self.steps) if self.steps else source
        if self.inference:
            view._is_inference = True
        return view


class _Build(Structure):
    """A container of results."""

    def __init__(self, kind: Callable[[list[Any]], Any], inside: list[Structure]) -> None:
        self.kind, self.inside = kind, inside

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        return self.kind([v.build(results, tensors) for v in self.inside])


class _Read(Structure):
    """A hyper-parameter of the moment."""

    def __init__(self, read: Callable[[], float]) -> None:
        self.read = read

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        return self.read()


class _Constant(Structure):
    """What is no tensor."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def build(self, results: list[Any], tensors: list[Any]) -> Any:
        return self.value
