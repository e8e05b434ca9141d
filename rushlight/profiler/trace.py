"""Events as a trace: JSON in the trace event format, for chrome://tracing and ui.perfetto.dev.

Calls are complete events ("X") that nest by time; an arrow ("s" to "f") leads from each op to its node of backward;
memory is a counter ("C") and, as in torch's traces, an instant event for each array that came or went.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rushlight.core.files import write_whole
from rushlight.profiler.recording import FUNCTION, NODE, OP, Recording

if TYPE_CHECKING:
    from rushlight.profiler.events import EventList, FunctionEvent


def write_trace(path: Any, events: EventList, recording: Recording) -> None:
    """Writes the trace; compressed where the name ends in .gz."""
    document = trace_of(events, recording)
    document["traceName"] = os.fspath(path)
    data = json.dumps(document, separators=(",", ":")).encode()
    if os.fspath(path).endswith(".gz"):
        data = gzip.compress(data, 6)
    write_whole(Path(path), data)


def trace_of(events: EventList, recording: Recording) -> dict[str, Any]:
    """The document, as plain dicts and lists."""
    settings = recording.settings
    return {
        "schemaVersion": 1,
        "deviceProperties": [],
        "trace_id": uuid.uuid4().hex.upper(),
        **{name: int(value) for name, value in settings._asdict().items()},
        "host_name": platform.node(),
        "displayTimeUnit": "ms",
        "baseTimeNanoseconds": recording.wall,
        **recording.metadata,
        "traceEvents": [
            *_names(recording),
            *map(_complete, events),
            *_arrows(events),
            *_memory(recording),
            {
                "ph": "X", "cat": "Trace", "name": "rushlight profiler", "pid": "Spans", "tid": "rushlight profiler",
                "ts": 0.0, "dur": (recording.ended - recording.started) / 1e3, "args": {"Op count": len(events)},
            },
        ],
    }  # fmt: skip


def _names(recording: Recording) -> Iterator[dict[str, Any]]:
    process = os.getpid()
    program = Path(sys.argv[0]).name or "python"

    def named(kind: str, thread: int, **args: Any) -> dict[str, Any]:
        return {"ph": "M", "name": kind, "ts": 0.0, "pid": process, "tid": thread, "args": args}

    yield named("process_name", 0, name=program)
    yield named("process_labels", 0, labels="CPU")
    yield named("process_sort_index", 0, sort_index=0)
    for order, (thread, name) in enumerate(recording.threads.items()):
        yield named("thread_name", thread, name=f"thread {thread} ({name})")
        yield named("thread_sort_index", thread, sort_index=order)


def _complete(event: FunctionEvent) -> dict[str, Any]:
    args: dict[str, Any] = {"External id": event.id}
    if event.input_shapes:
        args["Input Dims"] = event.input_shapes
    if event.sequence_nr >= 0:
        args["Sequence number"] = event.sequence_nr
    if event.module:
        args["Module"] = event.module
    if event.stack:
        args["Call stack"] = ";".join(event.stack)
    if event.flops:
        args["FLOPs"] = event.flops
    if event.figures is not None:
        figures = event.figures
        args |= {
            "FLOPs": figures.flops, "Bytes": figures.bytes, "GFLOP/s": round(figures.gflops, 3),
            "GB/s": round(figures.gbytes, 3), "Loops": figures.loops, "Line": figures.line,
        }  # fmt: skip
    span = event.time_range
    return {
        "ph": "X", "cat": event.category, "name": event.name, "pid": os.getpid(), "tid": event.thread,
        "ts": round(span.start, 3), "dur": round(span.elapsed_us(), 3), "args": args,
    }  # fmt: skip


def _arrows(events: EventList) -> Iterator[dict[str, Any]]:
    """From the op that made a node to that node."""
    made = {e.sequence_nr: e for e in events if e.kind in (OP, FUNCTION) and e.sequence_nr >= 0}
    number = 0
    for event in events:
        source = made.get(event.sequence_nr) if event.kind == NODE else None
        if source is None:
            continue
        number += 1
        ends: tuple[tuple[str, FunctionEvent, dict[str, Any]], ...] = (
            ("s", source, {}),
            ("f", event, {"bp": "e"}),
        )
        for phase, end, more in ends:
            yield {
                "ph": phase, "cat": "fwdbwd", "name": "fwdbwd", "id": number, "pid": os.getpid(), "tid": end.thread,
                "ts": round(end.time_range.start, 3), **more,
            }  # fmt: skip


def _memory(recording: Recording) -> Iterator[dict[str, Any]]:
    for move in recording.moves:
        where = {
            "pid": os.getpid(), "tid": move.thread, "ts": round((move.time - recording.started) / 1e3, 3),
        }  # fmt: skip
        yield {
            "ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", **where,
            "args": {
                "Total Allocated": move.total, "Bytes": move.bytes, "Addr": move.address, "Device Type": 0,
                "Device Id": -1,
            },
        }  # fmt: skip
        yield {"ph": "C", "name": "memory of tensors", **where, "args": {"bytes": move.total}}


__all__ = ["trace_of", "write_trace"]
