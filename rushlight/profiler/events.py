"""Events, as users look at them: each call with its times, memory and operations; and their averages by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from rushlight.autograd.node import scope_path
from rushlight.ops.naming import node_name, op_name
from rushlight.profiler.recording import (
    FUNCTION,
    KERNEL,
    MODULE,
    NODE,
    OP,
    PROGRAM,
    Record,
    Recording,
)
from rushlight.profiler.text import time_text

#: Composites that torch counts the operations of, not what they call.
_CONVOLUTIONS = frozenset(
    f"aten::conv{transposed}{n}d" for transposed in ("", "_transpose") for n in (1, 2, 3)
)
#: What torch's profiler also counts: an operation for each element of the first argument.
_ELEMENTWISE = frozenset({"aten::add", "aten::mul"})

#: In traces, what an event is; torch's categories.
CATEGORIES = {
    OP: "cpu_op", NODE: "cpu_op", FUNCTION: "cpu_op", MODULE: "python_function", PROGRAM: "compiled", KERNEL: "kernel",
}  # fmt: skip


class Interval:
    """From `start` to `end`, in microseconds since the recording began."""

    __slots__ = ("end", "start")

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end

    def elapsed_us(self) -> float:
        """How long it is."""
        return self.end - self.start

    def __repr__(self) -> str:
        return f"Interval({self.start:.3f}, {self.end:.3f})"


class _Times:
    """Times as text, for whatever has them as numbers."""

    cpu_time_total: float
    self_cpu_time_total: float
    cpu_time: float
    #: There are no accelerators: what torch's events say of them is zero.
    device_time = device_time_total = self_device_time_total = 0.0
    cuda_time = cuda_time_total = self_cuda_time_total = 0.0
    device_memory_usage = self_device_memory_usage = 0

    @property
    def cpu_time_str(self) -> str:
        """The time of one call."""
        return time_text(self.cpu_time)

    @property
    def cpu_time_total_str(self) -> str:
        """The time of all calls."""
        return time_text(self.cpu_time_total)

    @property
    def self_cpu_time_total_str(self) -> str:
        """The time of all calls without what they called."""
        return time_text(self.self_cpu_time_total)


class FunctionEvent(_Times):
    """One call: of an op, a node of backward, a region, a compiled program or one of its kernels."""

    count = 1
    is_async = is_remote = False

    def __init__(self, number: int, record: Record, began: int) -> None:
        self.id = number
        self.kind = record.kind
        self.name = self.key = self.trace_name = _name(record)
        self.thread = record.thread
        self.time_range = Interval((record.start - began) / 1e3, (record.end - began) / 1e3)
        self.input_shapes: Any = record.shapes or []
        self.stack = [_frame_text(code, line) for code, line in record.stack]
        self.module = ""  # the path of the module that called
        self.sequence_nr = record.node
        self.self_cpu_memory_usage = self.cpu_memory_usage = record.bytes
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []
        self.flops = 0
        self.figures = record.figures  # of a kernel: loops, bytes, seconds
        self.is_user_annotation = self.category == "user_annotation"

    @property
    def category(self) -> str:
        """What a trace calls it."""
        return CATEGORIES.get(self.kind, "user_annotation")

    @property
    def cpu_time_total(self) -> float:  # type: ignore[override]
        """Microseconds from its beginning to its end."""
        return self.time_range.elapsed_us()

    @property
    def cpu_time(self) -> float:  # type: ignore[override]
        """The same: it is one call."""
        return self.time_range.elapsed_us()

    @property
    def self_cpu_time_total(self) -> float:  # type: ignore[override]
        """Microseconds without those of what it called."""
        return self.cpu_time_total - sum(child.cpu_time_total for child in self.cpu_children)

    def __repr__(self) -> str:
        return (
            f"<FunctionEvent id={self.id} name={self.name} cpu_time={self.cpu_time_str} "
            f"start_us={self.time_range.start:.3f} end_us={self.time_range.end:.3f} "
            f"cpu_children={[child.id for child in self.cpu_children]} thread={self.thread} "
            f"input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage} "
            f"seq_nr={self.sequence_nr}>"
        )


class FunctionEventAvg(_Times):
    """All calls of one name (and one kind of arguments, or one place in the program) together."""

    def __init__(self, event: Any = None) -> None:
        self.key = "" if event is None else event.key
        self.count = 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = self.self_cpu_memory_usage = self.flops = 0
        self.input_shapes: Any = None
        self.stack: list[str] = []
        self.is_user_annotation = bool(event and event.is_user_annotation)
        if event is not None:
            self.add(event)

    def add(self, other: Any) -> FunctionEventAvg:
        """Adds another call, or the average of some."""
        self.count += other.count
        self.cpu_time_total += other.cpu_time_total
        self.self_cpu_time_total += other.self_cpu_time_total
        self.cpu_memory_usage += other.cpu_memory_usage
        self.self_cpu_memory_usage += other.self_cpu_memory_usage
        self.flops += other.flops
        return self

    __iadd__ = add

    @property
    def cpu_time(self) -> float:  # type: ignore[override]
        """Microseconds of one call."""
        return self.cpu_time_total / self.count if self.count else 0.0

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} count={self.count} "
            f"self_cpu_time={time_text(self.self_cpu_time_total / max(self.count, 1))} "
            f"cpu_time={self.cpu_time_str} input_shapes={self.input_shapes} "
            f"cpu_memory_usage={self.cpu_memory_usage}>"
        )


class EventList(list[Any]):
    """Events or averages, in the order of their beginnings, with the tables that print them."""

    def __init__(
        self,
        events: Iterable[Any] = (),
        *,
        recording: Recording | None = None,
        profile_memory: bool = False,
        with_flops: bool = False,
        total: float | None = None,
    ) -> None:
        super().__init__(events)
        self.recording = recording
        self.profile_memory, self.with_flops = profile_memory, with_flops
        self._total = total

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of everything, each counted once."""
        if self._total is not None:
            return self._total
        return sum(event.self_cpu_time_total for event in self)

    def __str__(self) -> str:
        return self.table()

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int = 75,
        max_name_column_width: int = 55,
        max_shapes_column_width: int = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
        time_unit: str | None = None,
    ) -> str:
        """The events as a table, largest `sort_by` first; a negative `row_limit` shows all.

        `sort_by` is one of cpu_time, cpu_time_total, self_cpu_time_total, cpu_memory_usage, self_cpu_memory_usage,
        count, flops; `time_unit` one of s, ms, us, ns, for times that compare at a glance.
        """
        from rushlight.profiler.table import table

        return table(
            self, sort_by, row_limit, max_src_column_width, max_name_column_width,
            max_shapes_column_width, header, top_level_events_only, time_unit,
        )  # fmt: skip

    def key_averages(
        self,
        group_by_input_shapes: bool = False,
        group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:
        """Events of one name together; with equal input shapes only, or with the same innermost lines only."""
        found: dict[Any, FunctionEventAvg] = {}
        for event in self:
            key: list[Any] = [event.key]
            if group_by_input_shapes:
                key.append(str(event.input_shapes))
            if group_by_stack_n > 0:
                key += event.stack[:group_by_stack_n]
            average = found.get(tuple(key))
            if average is None:
                average = found[tuple(key)] = FunctionEventAvg(event)
                average.input_shapes = event.input_shapes if group_by_input_shapes else None
                average.stack = event.stack[: max(group_by_stack_n, 0)]
            else:
                average.add(event)
        return EventList(
            found.values(), profile_memory=self.profile_memory, with_flops=self.with_flops
        )

    def total_average(self) -> FunctionEventAvg:
        """Everything together; the total time is of calls that no other made."""
        total = FunctionEventAvg()
        for event in self:
            total.add(event)
        total.key = "Total"
        total.cpu_time_total = total.self_cpu_time_total
        return total

    def export_chrome_trace(self, path: Any) -> None:
        """Writes the events as JSON that chrome://tracing and ui.perfetto.dev open; compressed for a name in .gz."""
        from rushlight.profiler.trace import write_trace

        if self.recording is None:
            raise RuntimeError("averages have no times: export the trace of profile.events()")
        write_trace(path, self, self.recording)

    def export_stacks(self, path: Any, metric: str = "self_cpu_time_total") -> None:
        """Writes a line for each place in the program, with microseconds: what flame graphs are drawn of.

        Asks for `with_stack=True`; `metric` is self_cpu_time_total or cpu_time_total.
        """
        from rushlight.core.files import write_whole

        if metric not in ("self_cpu_time_total", "cpu_time_total"):
            raise ValueError(
                f"metric should be one of: ['self_cpu_time_total', 'cpu_time_total'], not {metric!r}"
            )
        sums: dict[str, float] = {}
        for event in self:
            if event.stack:
                frames = [frame.translate(_FOLDED) for frame in reversed(event.stack)]
                line = ";".join([*frames, event.key.translate(_FOLDED)])
                sums[line] = sums.get(line, 0.0) + getattr(event, metric)
        text = "".join(f"{line} {round(us)}\n" for line, us in sums.items() if round(us) > 0)
        write_whole(path, text.encode())


#: What would cut a line of folded stacks apart.
_FOLDED = str.maketrans(" ;\t\n", "____")


def events_of(recording: Recording) -> EventList:
    """The events of a recording that has ended."""
    settings = recording.settings
    made: dict[int, FunctionEvent] = {}
    path_of = _paths()
    name_of_module = _modules()
    found: list[FunctionEvent] = []
    for record in recording.records:
        event = FunctionEvent(len(found), record, recording.started)
        parent = made.get(id(record.parent))
        if record.kind == MODULE:
            event.name = event.key = event.trace_name = name_of_module(record.subject)
        if parent is not None and parent.kind == OP and parent.name == event.name:
            made[id(record)] = _merged(
                parent, event
            )  # nn.functional.relu calls relu: one op for torch
            event = parent
        else:
            made[id(record)] = event
            found.append(event)
            event.module = path_of(record)
            event.cpu_parent = parent
            if parent is not None:
                parent.cpu_children.append(event)
        if settings.with_flops:
            _count(event, record)
    for event in reversed(found):  # children come after their parents
        for child in event.cpu_children:
            event.cpu_memory_usage += child.cpu_memory_usage
    recording.records.clear()  # they hold modules alive
    total = sum(event.cpu_time_total for event in found if event.cpu_parent is None)
    return EventList(
        found, recording=recording, profile_memory=settings.profile_memory,
        with_flops=settings.with_flops, total=total,
    )  # fmt: skip


def _merged(parent: FunctionEvent, event: FunctionEvent) -> FunctionEvent:
    """An op together with the op of the same name that it consists of."""
    parent.self_cpu_memory_usage += event.self_cpu_memory_usage
    parent.cpu_memory_usage += event.cpu_memory_usage
    parent.sequence_nr = event.sequence_nr
    return parent


def _count(event: FunctionEvent, record: Record) -> None:
    """The operations of an event, in the place where torch has them."""
    if record.figures is not None:
        event.flops += record.figures.flops
    elif record.flops is not None:
        count = record.flops.flops()
        if not count and event.name in _ELEMENTWISE:
            count = record.flops.first_size
        parent = event.cpu_parent
        if parent is not None and parent.name in _CONVOLUTIONS:
            parent.flops += count
        else:
            event.flops += count


def _name(record: Record) -> str:
    if record.kind == OP:
        return op_name(record.subject)
    if record.kind == NODE:
        return node_name(record.subject)
    if record.kind == KERNEL:
        where = "host" if record.figures.on_host else "kernel"
        return f"{where}::" + re.sub(r"_[0-9a-f]{12}$", "", record.subject)  # without its digest
    if record.kind == PROGRAM:
        return f"compiled::{record.subject or 'program'}"
    return str(record.subject) if record.kind != MODULE else ""


def _frame_text(code: Any, line: int) -> str:
    return f"{code.co_filename}({line}): {code.co_name}"


def _paths() -> Callable[[Record], str]:
    """The paths of modules, each looked up once."""
    known: dict[int, str] = {}

    def path(record: Record) -> str:
        if record.kind == KERNEL:
            return str(record.figures.module)
        scope = record.scope
        if scope is None:
            return ""
        if id(scope) not in known:
            known[id(scope)] = scope_path(scope)
        return known[id(scope)]

    return path


def _modules() -> Callable[[Any], str]:
    """The names of modules in a timeline, as torch gives them: class and number, in the order of appearance."""
    numbers: dict[type, dict[int, int]] = {}

    def name(module: Any) -> str:
        of_class = numbers.setdefault(type(module), {})
        number = of_class.setdefault(id(module), len(of_class))
        return f"nn.Module: {type(module).__name__}_{number}"

    return name


__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "Interval", "events_of"]
