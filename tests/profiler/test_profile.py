"""`rushlight.profiler`: torch's names, counts, shapes, operations and memory; times that add up."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

import rushlight
from rushlight import nn
from rushlight.core.watch import watch
from rushlight.profiler import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    record_function,
    schedule,
    tensorboard_trace_handler,
)
from rushlight.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import models


@pytest.fixture(autouse=True)
def nobody_watches_afterwards() -> Any:
    yield
    assert not watch.on


def oracle() -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    importlib.import_module("torch.utils.data")
    return torch, importlib.import_module("torch.profiler")


def trained(lib: Any, profiler: Any, name: str, **options: Any) -> Any:
    """The profile of two batches of training, data loading included."""
    step, _, _, x, y, _ = models.build(lib, name, 4)
    data = lib.utils.data
    loader = data.DataLoader(data.TensorDataset(x, y.view(4, -1)), batch_size=2)
    for images, labels in loader:
        step(images, labels.reshape(-1))
    with profiler.profile(**options) as found:
        for images, labels in loader:
            with profiler.record_function("my step"):
                step(images, labels.reshape(-1))
    return found


#: What both call the same; other names are of what only one of them does inside.
SHARED = {
    "lenet": [
        "aten::conv2d", "aten::linear", "aten::relu", "aten::max_pool2d", "aten::cross_entropy_loss",
        "AddmmBackward0", "ConvolutionBackward0", "ReluBackward0",
        "NllLossBackward0", "ViewBackward0", "MaxPool2DWithIndicesBackward0",
        "torch::autograd::AccumulateGrad", "Optimizer.step#SGD.step", "Optimizer.zero_grad#SGD.zero_grad",
        "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", "my step",
    ],
    "gpt": [
        "aten::embedding", "aten::layer_norm", "aten::linear", "aten::split", "aten::gelu",
        "aten::scaled_dot_product_attention", "EmbeddingBackward0", "GeluBackward0",
        "SplitBackward0", "Optimizer.step#AdamW.step",
    ],
}  # fmt: skip


def reports_once(call: Any) -> Any:
    """PyTorch warns of its own corners while it profiles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


@pytest.mark.oracle
@pytest.mark.parametrize("name", SHARED)
def test_calls_are_those_of_torch(name: str) -> None:
    torch, profiler = oracle()
    want = reports_once(lambda: trained(torch, profiler, name).key_averages())
    have = trained(rushlight, rushlight.profiler, name).key_averages()
    theirs, ours = ({e.key: e.count for e in events} for events in (want, have))
    assert {n: ours.get(n) for n in SHARED[name]} == {n: theirs.get(n) for n in SHARED[name]}


#: Names under which torch and rushlight count products.
PRODUCTS = (
    "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "AddmmBackward0", "MmBackward0",
    "BmmBackward0",
)  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["lenet", "gpt"])
def test_operations_are_those_of_torch(name: str) -> None:
    torch, profiler = oracle()
    options = {"with_flops": True, "record_shapes": True}
    want = reports_once(lambda: trained(torch, profiler, name, **options).key_averages())
    have = trained(rushlight, rushlight.profiler, name, **options).key_averages()
    theirs, ours = ({e.key: e.flops for e in events} for events in (want, have))
    for key in ("aten::conv2d", "aten::add"):
        assert ours.get(key, 0) == theirs.get(key, 0)
    assert sum(ours.get(k, 0) for k in PRODUCTS) == sum(theirs.get(k, 0) for k in PRODUCTS)
    assert sum(ours.get(k, 0) for k in PRODUCTS) > 0


@pytest.mark.oracle
def test_shapes_and_memory_are_those_of_torch() -> None:
    torch, profiler = oracle()
    options = {"profile_memory": True, "record_shapes": True}
    want = reports_once(lambda: trained(torch, profiler, "lenet", **options).events())
    have = trained(rushlight, rushlight.profiler, "lenet", **options).events()
    for key in ("aten::conv2d", "aten::linear", "aten::relu", "aten::cross_entropy_loss"):
        theirs, ours = ([e for e in events if e.name == key] for events in (want, have))
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            count = len(a.input_shapes)
            assert a.input_shapes == [list(s) for s in b.input_shapes][:count]
            if key in ("aten::conv2d", "aten::relu", "aten::linear"):
                assert a.cpu_memory_usage == b.cpu_memory_usage


#: Statements in every form in which an op is called, and the names under which both libraries show them.
STATEMENTS = {
    "a + a": "aten::add", "2 * a": "aten::mul", "a @ m": "aten::matmul", "-a": "aten::neg", "a[1:]": "aten::slice",
    "a[0]": "aten::select", "a[[0, 2]]": "aten::index", "m.t()": "aten::t", "a.view(2, 2)": "aten::view",
    "a.add_(1)": "aten::add_", "a.mul_(a)": "aten::mul_", "lib.add(a, a, out=lib.empty(4))": "aten::add",
    "lib.zeros(3)": "aten::zeros", "a.sum(0)": "aten::sum", "lib.cat([a, a])": "aten::cat",
    "a.to(lib.float64)": "aten::_to_copy", "lib.fft.fft(a)": "aten::fft_fft", "a > 0": "aten::gt",
    "lib.nn.functional.softmax(a, 0)": "aten::softmax", "lib.nn.functional.relu(a, inplace=True)": "aten::relu_",
    "a.clone()": "aten::clone", "lib.sort(a)": "aten::sort",
}  # fmt: skip


def names_of(lib: Any, profiler: Any, statement: str) -> set[str]:
    importlib.import_module(f"{lib.__name__}.fft")
    scope = {"lib": lib, "a": lib.ones(4), "m": lib.eye(4)}
    with profiler.profile() as found:
        eval(statement, scope)
    return {event.name for event in found.events()}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_form_of_a_call_is_seen(statement: str) -> None:
    assert STATEMENTS[statement] in names_of(rushlight, rushlight.profiler, statement)


@pytest.mark.oracle
def test_those_names_are_torchs() -> None:
    torch, profiler = oracle()
    for statement, name in STATEMENTS.items():
        found = reports_once(lambda statement=statement: names_of(torch, profiler, statement))
        assert name in found, (statement, found)


def step_of_two_layers() -> Any:
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = rushlight.optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = net(x).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    return step, rushlight.ones(2, 8)


def test_times_add_up() -> None:
    step, x = step_of_two_layers()
    with profile() as found:
        for _ in range(3):
            with record_function("outer"):
                step(x)
    events = found.events()
    assert [event.id for event in events] == list(range(len(events)))
    for event in events:
        assert event.self_cpu_time_total >= 0
        for child in event.cpu_children:
            assert child.cpu_parent is event
            assert event.time_range.start <= child.time_range.start
            assert child.time_range.end <= event.time_range.end
        for one, next_one in itertools.pairwise(event.cpu_children):
            assert one.time_range.end <= next_one.time_range.start
    averages = found.key_averages()
    whole = sum(e.cpu_time_total for e in events if e.cpu_parent is None)
    assert averages.self_cpu_time_total == pytest.approx(whole)
    assert events.total_average().self_cpu_time_total == pytest.approx(whole)
    (outer,) = [e for e in averages if e.key == "outer"]
    assert outer.count == 3
    assert outer.cpu_time == pytest.approx(outer.cpu_time_total / 3)


def test_the_table() -> None:
    step, x = step_of_two_layers()
    with profile(record_shapes=True, profile_memory=True, with_flops=True) as found:
        step(x)
    averages = found.key_averages()
    lines = averages.table(sort_by="flops", row_limit=2).splitlines()
    assert lines[1].split("  ")[-1].strip() == "GFLOP/s"
    headings = [
        "Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "CPU Mem", "Self CPU Mem",
        "# of Calls",
    ]  # fmt: skip
    assert [h.strip() for h in lines[1].split("  ") if h.strip()][: len(headings)] == headings
    assert [line.split()[0] for line in lines[3:5]] == ["AddmmBackward0", "aten::linear"]
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[-1].startswith("Self CPU time total: ")
    by_shape = found.key_averages(group_by_input_shape=True)
    assert [e.input_shapes for e in by_shape if e.key == "aten::linear"] == [
        [[2, 8], [16, 8], [16]], [[2, 16], [4, 16], [4]],
    ]  # fmt: skip
    assert "[[2, 8], [16, 8], [16]]" in by_shape.table()
    top = found.events().table(top_level_events_only=True, max_name_column_width=12, header="Mine")
    assert "Mine" in top and "aten::ones" not in top and "Optimizer..." in top
    assert "us" not in averages.table(time_unit="ms").splitlines()[4]
    with pytest.raises(AttributeError, match="should be one of"):
        averages.table(sort_by="colour")
    with pytest.raises(ValueError, match="time_unit"):
        averages.table(time_unit="years")
    assert rushlight.profiler.EventList().table() == ""


def test_memory_that_comes_and_goes() -> None:
    with profile(profile_memory=True) as found:
        with record_function("keeps"):
            kept = rushlight.ones(1000)
        with record_function("drops"):
            rushlight.ones(500)
        with record_function("gives back"):
            del kept
        view = rushlight.ones(10)[2:]
    moved = {e.key: (e.cpu_memory_usage, e.self_cpu_memory_usage) for e in found.key_averages()}
    assert moved["keeps"] == (4000, 0)
    assert moved["drops"] == (0, -2000)
    assert moved["gives back"] == (-4000, -4000)
    assert moved["aten::ones"] == (6040, 6040)
    assert moved["aten::slice"] == (0, 0)
    assert view.shape == (8,)


def test_memory_that_was_there_before_is_nobodys() -> None:
    old, other = rushlight.ones(100), rushlight.ones(100)
    with profile(profile_memory=True) as found:
        old.mul_(2)
        half = old[:50]
        wide = old.expand(3, 100).unfold(1, 2, 1)
        joined = rushlight.stack([old, other])
        with record_function("gives back"):
            del other
    moved = {e.key: e.self_cpu_memory_usage for e in found.key_averages()}
    assert moved["aten::mul_"] == moved["aten::slice"] == 0
    assert moved["aten::expand"] == moved["aten::unfold"] == 0
    assert moved["aten::stack"] + moved.get("aten::cat", 0) == 800
    assert moved["gives back"] == -400
    assert half.shape == (50,) and wide.shape == (3, 99, 2) and joined.shape == (2, 100)


def test_lines_and_modules() -> None:
    step, x = step_of_two_layers()
    with profile(with_stack=True, with_modules=True) as found:
        step(x)
    events = found.events()
    linears = [e for e in events if e.name == "aten::linear"]
    assert all("step_of_two_layers" not in e.stack[0] and "(" in e.stack[0] for e in linears)
    assert linears[0].stack[0].endswith(": step")
    assert [e.module for e in linears] == ["Sequential.0 (Linear)", "Sequential.2 (Linear)"]
    names = [e.name for e in events if e.name.startswith("nn.Module")]
    assert names == [
        "nn.Module: Sequential_0", "nn.Module: Linear_0", "nn.Module: ReLU_0", "nn.Module: Linear_1",
    ]  # fmt: skip
    assert linears[1].cpu_parent.name == "nn.Module: Linear_1"
    backward = [e for e in events if e.name == "AddmmBackward0"]
    assert [e.module for e in backward] == ["Sequential.2 (Linear)", "Sequential.0 (Linear)"]
    grouped = found.key_averages(group_by_stack_n=1)
    assert len({tuple(e.stack) for e in grouped}) > 1
    assert "test_profile.py" in grouped.table(max_src_column_width=200)


def test_folded_stacks(tmp_path: Path) -> None:
    step, x = step_of_two_layers()
    with profile(with_stack=True) as found:
        step(x)
    found.export_stacks(tmp_path / "stacks.txt")
    lines = (tmp_path / "stacks.txt").read_text().splitlines()
    assert lines
    for line in lines:
        frames, _, count = line.rpartition(" ")
        assert int(count) > 0
        assert " " not in frames
        assert "test_profile.py" in frames
    with pytest.raises(ValueError, match="metric should be one of"):
        found.export_stacks(tmp_path / "stacks.txt", "self_cuda_time_total")


def test_compiled_programs_show_their_kernels() -> None:
    pytest.importorskip("llvmlite")
    step, x = step_of_two_layers()
    compiled = rushlight.compile(step)
    for _ in range(3):
        compiled(x)
    with profile(with_flops=True) as found:
        compiled(x)
    assert compiled.stats()["compiles"] == 1
    program, *kernels = found.events()
    assert program.name.startswith("compiled::step (test_profile.py:")
    assert kernels and all(k.cpu_parent is program for k in kernels)
    assert all(k.name.startswith(("kernel::", "host::")) for k in kernels)
    assert sum(k.flops for k in kernels) >= 2 * 2 * (8 * 16 + 16 * 4)
    assert any(k.figures.bytes for k in kernels)
    assert {k.module for k in kernels} >= {"Sequential.0 (Linear)", "Sequential.2 (Linear)"}


def test_tracing_is_not_mistaken_for_running() -> None:
    pytest.importorskip("llvmlite")
    with profile() as found:
        rushlight.compile(lambda x: x.exp() + 1)(rushlight.ones(3))
    names = [e.name for e in found.events()]
    assert "aten::exp" not in names
    assert any(n.startswith("compile::") for n in names)
    assert any(n.startswith("kernel::") for n in names)


def test_functions_of_users_have_their_names() -> None:
    class Twice(rushlight.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.mul(2)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad.mul(2)

    with profile() as found:
        Twice.apply(rushlight.ones(2, requires_grad=True)).sum().backward()
    events = {e.name: e for e in found.events()}
    parents = [e.cpu_parent.name for e in found.events() if e.name == "aten::mul"]
    assert parents == ["Twice", "TwiceBackward"]
    assert events["Twice"].sequence_nr == events["TwiceBackward"].sequence_nr >= 0


def test_all_threads_are_seen() -> None:
    def work() -> None:
        rushlight.ones(3).exp()

    with profile() as found:
        thread = threading.Thread(target=work, name="worker 7")
        thread.start()
        thread.join()
        rushlight.ones(3).log()
    threads = {e.name: e.thread for e in found.events()}
    assert threads["aten::exp"] != threads["aten::log"]
    assert set(found.events().recording.threads.values()) == {
        "worker 7",
        threading.current_thread().name,
    }


def test_calls_that_fail_end_all_the_same() -> None:
    with profile(
        with_stack=True, profile_memory=True, with_flops=True, record_shapes=True
    ) as found:
        with pytest.raises(RuntimeError):
            nn.Linear(3, 4)(rushlight.ones(2, 5))
        with pytest.raises(TypeError):
            rushlight.add(1)
        with pytest.raises(ZeroDivisionError), record_function("fails"):
            1 / 0  # noqa: B018
        rushlight.ones(2)
    names = [(e.name, e.cpu_parent) for e in found.events()]
    assert names[-1] == ("aten::ones", None)
    assert ("fails", None) in names


def test_double_backward_shows_its_ops() -> None:
    x = rushlight.ones(2, 2, requires_grad=True)
    with profile(with_flops=True) as found:
        (grad,) = rushlight.autograd.grad((x @ x).sum(), x, create_graph=True)
        grad.sum().backward()
    events = found.events()
    inside = [
        e.name for e in events if e.cpu_parent is not None and e.cpu_parent.name == "MmBackward0"
    ]
    assert "aten::mm" in inside or "aten::matmul" in inside


@pytest.mark.oracle
def test_schedules_are_those_of_torch() -> None:
    _, profiler = oracle()
    for wait, warmup, active, repeat, skip, early in itertools.product(
        (0, 2), (1, 2), (1, 3), (0, 2), (0, 3), (0, 1)
    ):
        options = {
            "wait": wait, "warmup": warmup, "active": active, "repeat": repeat, "skip_first": skip,
            "skip_first_wait": early,
        }  # fmt: skip
        ours, theirs = schedule(**options), profiler.schedule(**options)
        assert [ours(n).name for n in range(20)] == [theirs(n).name for n in range(20)]
    with pytest.raises(AssertionError):
        schedule(wait=0, warmup=1, active=0)
    with pytest.warns(UserWarning, match="warmup"):
        schedule(wait=0, warmup=0, active=1)
    with pytest.raises(AssertionError):
        schedule(wait=0, warmup=1, active=1)(-1)


def test_steps_by_a_schedule() -> None:
    ready: list[list[str]] = []

    def on_ready(found: profile) -> None:
        ready.append([e.name for e in found.events()])

    plan = schedule(wait=1, warmup=1, active=2, repeat=2)
    with profile(schedule=plan, on_trace_ready=on_ready) as found:
        for n in range(10):
            rushlight.full((2,), float(n)).exp()
            found.step()
    steps = [[n for n in names if n.startswith("ProfilerStep")] for names in ready]
    assert steps == [["ProfilerStep#2", "ProfilerStep#3"], ["ProfilerStep#6", "ProfilerStep#7"]]
    assert all(names.count("aten::exp") == 2 for names in ready)
    assert found.step_num == 10
    with profile(schedule=plan) as empty:
        empty.step()
    with pytest.raises(RuntimeError, match="not recorded anything"):
        empty.events()


def test_what_is_kept_of_several_recordings() -> None:
    plan = schedule(wait=0, warmup=1, active=1, repeat=2)
    for keep, count in ((True, 2), (False, 1)):
        with profile(schedule=plan, acc_events=keep) as found:
            for _ in range(4):
                rushlight.ones(2).exp()
                found.step()
        assert [e.name for e in found.events()].count("aten::exp") == count


def test_stopping_for_a_while() -> None:
    with profile() as found:
        rushlight.ones(2).exp()
        found.toggle_collection_dynamic(False, [ProfilerActivity.CPU])
        rushlight.ones(2).log()
        found.toggle_collection_dynamic(True, [ProfilerActivity.CPU])
        rushlight.ones(2).sin()
    assert [e.name for e in found.events() if e.name != "aten::ones"] == ["aten::exp", "aten::sin"]


def test_activities() -> None:
    with pytest.warns(UserWarning, match="CUDA is not available"):
        profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
    with pytest.raises(TypeError, match="ProfilerActivity"):
        profile(activities=["cpu"])
    with pytest.raises(AssertionError):
        profile(activities=[])
    assert ProfilerAction.RECORD.name == "RECORD"


def test_a_region_as_a_decorator_and_without_a_profiler() -> None:
    @record_function("twice")
    def twice(x: Any) -> Any:
        """Doubles."""
        return x * 2

    assert twice(rushlight.ones(1)).item() == 2
    assert twice.__doc__ == "Doubles."
    region = record_function("again")
    with profile() as found:
        twice(rushlight.ones(1))
        with region, region:
            pass
    assert [e.name for e in found.events() if "::" not in e.name] == ["twice", "again", "again"]
    with pytest.raises(TypeError, match="expects a name"):
        record_function(3)


def test_the_older_profiler() -> None:
    with rushlight.autograd.profiler.profile(record_shapes=True, with_flops=True) as found:
        rushlight.ones(2, 2) @ rushlight.ones(2, 2)
    assert [e.name for e in found.function_events] == [
        "aten::ones",
        "aten::ones",
        "aten::matmul",
        "aten::mm",
    ]
    assert str(found) == found.table()
    assert "aten::mm" in found.key_averages().table()
    assert found.total_average().count == 4
    assert found.self_cpu_time_total > 0
    with pytest.raises(RuntimeError, match="not reentrant"), found:
        pass
    with rushlight.autograd.profiler.profile(enabled=False) as off:
        rushlight.ones(2)
    assert len(off.function_events) == 0
    assert "disabled" in str(off)


def test_workers_of_a_loader_are_not_watched() -> None:
    loader = DataLoader(TensorDataset(rushlight.arange(4)), batch_size=2, num_workers=1)
    with profile() as found:
        assert len(list(loader)) == 2
    names = [e.name for e in found.events()]
    assert names.count("enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__") == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_not_watched() -> None:
    with profile():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            os._exit(int(watch.on))
        assert os.waitpid(child, 0)[1] == 0
        assert watch.on


def test_traces_in_a_folder(tmp_path: Path) -> None:
    for gzipped in (False, True):
        handler = tensorboard_trace_handler(tmp_path / "logs", "me", use_gzip=gzipped)
        with profile(on_trace_ready=handler):
            rushlight.ones(2)
    names = sorted(p.name for p in (tmp_path / "logs").iterdir())
    assert len(names) == 2
    assert all(n.startswith("me.") and ".pt.trace.json" in n for n in names)
