"""Traces: JSON in the trace event format, whose calls nest and whose arrows lead from ops to their gradients."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import rushlight
from rushlight import nn
from rushlight.profiler import profile, record_function

#: What each kind of event must have, in the trace event format.
FIELDS = {
    "X": {"name", "cat", "ts", "dur", "pid", "tid"},
    "M": {"name", "pid", "args"},
    "s": {"name", "cat", "id", "ts", "pid", "tid"},
    "f": {"name", "cat", "id", "ts", "pid", "tid", "bp"},
    "i": {"name", "s", "ts", "pid", "tid"},
    "C": {"name", "ts", "pid", "args"},
}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    x = rushlight.ones(2, 8)
    compiled = rushlight.compile(lambda x: net(x).exp())
    with rushlight.no_grad():
        compiled(x)
    with profile(
        record_shapes=True, profile_memory=True, with_stack=True, with_modules=True, with_flops=True
    ) as found:
        with record_function("training"):
            net(x).sum().backward()
        with rushlight.no_grad():
            compiled(x)
    found.add_metadata("run", "first")
    found.add_metadata_json("sizes", "[8, 16]")
    path = tmp_path_factory.mktemp("trace") / "trace.json"
    found.export_chrome_trace(path)
    found.export_chrome_trace(f"{path}.gz")
    document: dict[str, Any] = json.loads(path.read_text())
    packed = json.loads(gzip.decompress(Path(f"{path}.gz").read_bytes()))
    assert packed["traceEvents"] == document["traceEvents"]
    return document


def of_kind(trace: dict[str, Any], phase: str, category: str | None = None) -> list[Any]:
    return [
        e for e in trace["traceEvents"]
        if e["ph"] == phase and (category is None or e.get("cat") == category)
    ]  # fmt: skip


def test_every_event_has_its_fields(trace: dict[str, Any]) -> None:
    assert trace["displayTimeUnit"] == "ms"
    assert trace["run"] == "first" and trace["sizes"] == [8, 16]
    assert trace["baseTimeNanoseconds"] > 1e18
    for event in trace["traceEvents"]:
        assert FIELDS[event["ph"]] <= event.keys(), event
        assert all(
            isinstance(event[k], (int, float)) and event[k] >= 0
            for k in ("ts", "dur")
            if k in event
        )
    assert {e["name"] for e in of_kind(trace, "M")} >= {
        "process_name",
        "thread_name",
        "thread_sort_index",
    }
    categories = {e["cat"] for e in of_kind(trace, "X")}
    assert categories == {
        "cpu_op",
        "python_function",
        "user_annotation",
        "compiled",
        "kernel",
        "Trace",
    }


def test_calls_nest(trace: dict[str, Any]) -> None:
    by_thread: dict[Any, list[Any]] = {}
    for event in of_kind(trace, "X"):
        by_thread.setdefault((event["pid"], event["tid"]), []).append(event)
    for events in by_thread.values():
        running: list[float] = []
        for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
            end = event["ts"] + event["dur"]
            while running and running[-1] <= event["ts"] + 1e-6:
                running.pop()
            assert not running or end <= running[-1] + 2e-3  # both ends are rounded to nanoseconds
            running.append(end)


def test_arrows_lead_from_ops_to_their_gradients(trace: dict[str, Any]) -> None:
    starts = {e["id"]: e["ts"] for e in of_kind(trace, "s")}
    ends = {e["id"]: e["ts"] for e in of_kind(trace, "f")}
    assert starts.keys() == ends.keys()
    named = {e["ts"]: e["name"] for e in of_kind(trace, "X", "cpu_op")}
    pairs = {(named[starts[n]], named[ends[n]]) for n in starts}
    assert pairs == {
        ("aten::linear", "AddmmBackward0"), ("aten::relu", "ReluBackward0"), ("aten::sum", "SumBackward0"),
    }  # fmt: skip
    assert len(starts) == 4
    assert all(starts[n] < ends[n] for n in starts)


def test_memory_is_counted(trace: dict[str, Any]) -> None:
    counters = [e["args"]["bytes"] for e in of_kind(trace, "C")]
    moves = of_kind(trace, "i")
    assert {e["name"] for e in moves} == {"[memory]"}
    total = 0
    for event, after in zip(moves, counters, strict=True):
        total += event["args"]["Bytes"]
        assert event["args"]["Total Allocated"] == after == total
    assert max(counters) > 0


def test_what_is_known_of_a_call(trace: dict[str, Any]) -> None:
    linear = next(e for e in of_kind(trace, "X") if e["name"] == "aten::linear")
    assert linear["args"]["Input Dims"] == [[2, 8], [16, 8], [16]]
    assert linear["args"]["FLOPs"] == 2 * 2 * 8 * 16
    assert linear["args"]["Module"] == "Sequential.0 (Linear)"
    assert "test_trace.py" in linear["args"]["Call stack"]
    kernels = of_kind(trace, "X", "kernel")
    assert all({"FLOPs", "Bytes", "GFLOP/s", "GB/s", "Loops"} <= k["args"].keys() for k in kernels)
    assert any(k["args"]["FLOPs"] for k in kernels)


def test_averages_have_no_trace(tmp_path: Path) -> None:
    with profile() as found:
        rushlight.ones(1)
    with pytest.raises(RuntimeError, match="averages have no times"):
        found.key_averages().export_chrome_trace(tmp_path / "trace.json")
