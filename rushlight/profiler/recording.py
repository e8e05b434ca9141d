"""`Recording`: the observer that notes what runs, as cheaply as it can; events.py makes events of it afterwards."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from rushlight.autograd.modes import state
from rushlight.core.sites import is_own
from rushlight.core.watch import FUNCTION, NODE, OP, REGION, watch
from rushlight.nn.hooks import register_module_forward_hook, register_module_forward_pre_hook
from rushlight.ops.flops import Call, call_of, node_call
from rushlight.tensor.tensor import Tensor

now = time.perf_counter_ns

#: Kinds of records besides those of core.watch: a module's forward, a compiled program, one of its kernels.
MODULE, PROGRAM, KERNEL = range(4, 7)


class Settings(NamedTuple):
    """What is noted besides times."""

    record_shapes: bool = False
    profile_memory: bool = False
    with_stack: bool = False
    with_flops: bool = False
    with_modules: bool = False


class Record:
    """One call, from its beginning to its end. What most records do not have lies in the class."""

    end = 0
    #: Allocated less freed while no call inside of it was running.
    bytes = 0
    #: The number of the tape's node that the call made, or is.
    node = -1
    figures: Any = None  # of a kernel: compiler.profile.Figures
    flops: Call | None = None
    shapes: Any = None
    stack: tuple[tuple[CodeType, int], ...] = ()

    def __init__(
        self, kind: int, subject: Any, thread: int, parent: Record | None, scope: Any
    ) -> None:
        self.kind, self.subject, self.thread, self.parent = kind, subject, thread, parent
        self.scope = scope  # the modules whose forward was running
        self.start = now()


class Move(NamedTuple):
    """Memory that an array took, or gave back (then negative)."""

    time: int
    thread: int
    bytes: int
    total: int
    address: int
    inside: bool  # of some call


class _Thread(threading.local):
    """The innermost call that runs in this thread, the modules whose forward runs, and the thread's number."""

    def __init__(self) -> None:
        self.open: Record | None = None
        self.modules: list[Record] = []
        self.number = 0


class Recording:
    """Everything that ran from `start` to `stop`, in all threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._asks = any(settings[:4])  # for more than times
        self.records: list[Record] = []
        self.moves: list[Move] = []
        self.threads: dict[int, str] = {}
        self.started = self.ended = self.wall = 0
        self.metadata: dict[str, Any] = {}  # for traces
        self._local = _Thread()
        #: By id of an array: a reference that tells when it goes, its bytes, its address.
        self._live: dict[int, tuple[Any, int, int]] = {}
        self._total = 0
        self._hooks: list[Any] = []

    def start(self) -> None:
        """From now on everything is noted."""
        if self.settings.with_modules or self.settings.with_stack:
            self._hooks = [
                register_module_forward_pre_hook(self._enter_module),
                register_module_forward_hook(self._leave_module, always_call=True),
            ]
        self.wall, self.started = time.time_ns(), now()
        watch.add(self)

    def stop(self) -> None:
        """The end; calls that still run end here."""
        watch.remove(self)
        for hook in self._hooks:
            hook.remove()
        self.ended = now()
        self._live.clear()
        for record in self.records:
            record.end = record.end or self.ended

    def pause(self, paused: bool) -> None:
        """Notes nothing for a while, or goes on."""
        watch.remove(self)
        if not paused:
            watch.add(self)

    # -- what core.watch calls -----------------------------------------------------------------------------

    def begin(self, kind: int, subject: Any, args: Any, kwargs: Any) -> Record:
        """A call begins."""
        local = self._local
        thread = local.number or self._new_thread()
        if kind == NODE:
            record = Record(kind, subject.name(), thread, local.open, subject.scope)
            record.node = subject.number
        else:
            record = Record(kind, subject, thread, local.open, state.scope)
        local.open = record
        self.records.append(record)
        if self._asks:
            self._note_arguments(record, subject, args, kwargs)
            record.start = now()
        return record

    def _note_arguments(self, record: Record, subject: Any, args: Any, kwargs: Any) -> None:
        """What is asked for besides times."""
        settings = self.settings
        if settings.profile_memory:
            self._new_arrays((args, tuple(kwargs.values())))  # they were there before
        if record.kind == NODE:
            if settings.record_shapes:
                record.shapes = [_shape(g) for g in args]
            if settings.with_flops:
                record.flops = node_call(subject, args)
            return
        if settings.with_stack:
            record.stack = tuple(_user_stack(sys._getframe(3)))
        if record.kind == OP:
            if settings.record_shapes:
                record.shapes = [_shape(a) for a in (*args, *kwargs.values())]
            if settings.with_flops:
                record.flops = call_of(subject, args, kwargs)

    def end(self, token: Record, result: Any) -> None:
        """A call has ended."""
        token.end = now()
        self._local.open = token.parent
        if token.kind in (OP, FUNCTION):
            first = result[0] if type(result) is tuple and result else result
            if isinstance(first, Tensor) and first._grad_fn is not None:
                token.node = first._grad_fn.number
        if self.settings.profile_memory and result is not None:
            for size, address in self._new_arrays(result):
                token.bytes += size
                self._move(size, address, token.end, True)

    def ran(self, executable: Any, figures: Any) -> None:
        """A compiled program has run: itself, and its kernels inside of it."""
        if not figures:
            return
        local = self._local
        thread = local.number or self._new_thread()
        program = Record(PROGRAM, executable.title, thread, local.open, state.scope)
        program.start = figures[0].started
        if self.settings.with_stack:
            program.stack = tuple(_user_stack(sys._getframe(2)))
        self.records.append(program)
        for found in figures:
            record = Record(KERNEL, found.name, thread, program, None)
            record.figures, record.start = found, found.started
            record.end = program.end = found.ended
            self.records.append(record)

    # -- modules -------------------------------------------------------------------------------------------

    def _enter_module(self, module: Any, args: Any) -> None:
        self._local.modules.append(self.begin(MODULE, module, (), {}))

    def _leave_module(self, module: Any, args: Any, result: Any) -> None:
        running = self._local.modules
        while running:  # a module that failed before its hooks ran is still there
            record = running.pop()
            self.end(record, None)
            if record.subject is module:
                break

    # -- memory --------------------------------------------------------------------------------------------

    def _new_arrays(self, value: Any) -> list[tuple[int, int]]:
        """The bytes and addresses of arrays that were not seen before; from now on it is noted when they go."""
        found = []
        for array in _arrays(value):
            array = _owner(array)
            key = id(array)
            if key not in self._live and array.nbytes:
                address = array.__array_interface__["data"][0]
                watcher = weakref.ref(array, partial(self._freed, key))
                self._live[key] = watcher, array.nbytes, address
                found.append((array.nbytes, address))
        return found

    def _freed(self, key: int, _: Any = None) -> None:
        found = self._live.pop(key, None)
        if found is None:
            return
        record = self._local.open
        if record is not None:
            record.bytes -= found[1]
        self._move(-found[1], found[2], now(), record is not None)

    def _move(self, size: int, address: int, time: int, inside: bool) -> None:
        self._total += size
        thread = self._local.number or self._new_thread()
        self.moves.append(Move(time, thread, size, self._total, address, inside))

    def _new_thread(self) -> int:
        number = self._local.number = threading.get_native_id()
        self.threads[number] = threading.current_thread().name
        return number


def _shape(value: Any) -> Any:
    """As torch notes the shape of an argument: a list, a list of lists for a list of tensors, else []."""
    if isinstance(value, Tensor):
        return list(value._array.shape)
    if isinstance(value, np.ndarray):
        return list(value.shape)
    if type(value) in (list, tuple) and value and isinstance(value[0], Tensor):
        return [_shape(v) for v in value]
    return []


def _arrays(result: Any) -> Iterator[Any]:
    if isinstance(result, Tensor):
        result = result._array
    if isinstance(result, np.ndarray):
        yield result
    elif isinstance(result, (tuple, list)):
        for item in result:
            yield from _arrays(item)


def _owner(array: Any) -> Any:
    """The array whose memory this one looks into; NumPy puts an object of its own between some views and it."""
    while True:
        base = array.base
        if not isinstance(base, np.ndarray):
            base = getattr(base, "base", None)
            if not isinstance(base, np.ndarray):
                return array
        array = base


def _user_stack(frame: FrameType | None) -> Iterator[tuple[CodeType, int]]:
    """Where the user's program is, innermost first; rushlight's own frames are left out."""
    while frame is not None:
        if not is_own(frame.f_code):
            yield frame.f_code, frame.f_lineno
        frame = frame.f_back


__all__ = [
    "FUNCTION", "KERNEL", "MODULE", "NODE", "OP", "PROGRAM", "REGION", "Move", "Record", "Recording", "Settings", "now",
]  # fmt: skip
