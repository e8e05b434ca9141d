"""Threads: calls that they share come out right, also after forks, with several callers, at the interpreter's end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.compiler import driver
from rushlight.compiler.pool import pool, ticks_per_nanosecond

#: A compiled function whose kernels are large enough to be shared, and what it gives.
PRELUDE = """
import os, sys, threading, time
import numpy as np
import rushlight

rushlight.set_num_threads(2)

@rushlight.compile
def f(x, w):
    return (x @ w).relu().sum(1) + 1

x = rushlight.rand(1500, 300)
w = rushlight.rand(300, 200) - 0.5
expected = np.maximum(x.numpy() @ w.numpy(), 0).sum(1) + 1

def check():
    np.testing.assert_allclose(f(x, w).numpy(), expected, rtol=1e-4)

check()
"""


def calls_shared(compiled: Any) -> int:
    """How many calls of a function's newest program are shared by threads."""
    table = compiled.programs[-1].executable.segments[0].program._table
    return int((table[:, 4] & driver.SERIAL == 0).sum())


def test_the_function_of_these_tests_shares_its_calls(python: Callable[..., str]) -> None:
    shared = "(f.programs[0].executable.segments[0].program._table[:, 4] & 1 == 0).sum()"
    assert int(python(PRELUDE + f"print({shared})")) >= 2


def test_each_chunk_is_done_once_at_any_number_of_threads() -> None:
    @rushlight.compile
    def add_one(x: Any) -> Any:
        return x + 1

    x = rushlight.zeros(1_234_567)
    for count in (1, 2, 3, 7, 1, 4):
        rushlight.set_num_threads(count)
        for _ in range(10):
            assert add_one(x).eq(1).all()
    assert calls_shared(add_one) == 1


def test_set_num_threads_starts_and_ends_workers() -> None:
    for count in (3, 1, 2):
        rushlight.set_num_threads(count)
        assert rushlight.get_num_threads() == count
        assert pool().words[driver.THREADS] == count


def test_a_nudge_wakes_parked_workers() -> None:
    before = rushlight.get_num_threads()
    rushlight.set_num_threads(2)
    words = pool().words

    def wait_until(parked: int) -> bool:
        end = time.perf_counter() + 20
        while int(words[driver.SLEEPERS]) != parked and time.perf_counter() < end:
            time.sleep(0)
        return int(words[driver.SLEEPERS]) == parked

    try:
        words[driver.SPIN] = 0
        assert wait_until(1)
        words[driver.SPIN] = 1 << 60
        pool().nudge()
        assert wait_until(0)
    finally:
        pool().stop()
        pool().start(before)


@pytest.mark.parametrize("bad", [0, -1])
def test_a_number_of_threads_below_one_is_refused(bad: int) -> None:
    with pytest.raises(RuntimeError, match="positive"):
        rushlight.set_num_threads(bad)
    with pytest.raises(TypeError, match="expects an int"):
        rushlight.set_num_threads(2.0)  # type: ignore[arg-type]


def test_the_clock_counts_nanoseconds() -> None:
    assert 1e-3 < ticks_per_nanosecond() < 10


def test_a_timed_run_gives_a_time_for_every_boundary() -> None:
    @rushlight.compile
    def f(x: Any) -> Any:
        return (x @ x).softmax(1) @ x

    x = rushlight.rand(90, 90)
    f(x)
    executable = f.programs[-1].executable
    executable.bind(0, x.numpy())
    executable.call()
    times = executable.segments[0].program.timed(executable.slots)
    assert times[0] == 0
    assert (np.diff(times) > 0).all()
    assert times[-1] < 1e9


def test_two_threads_call_one_function() -> None:
    @rushlight.compile
    def f(x: Any) -> Any:
        return (x @ x).relu() + 1

    inputs = [rushlight.rand(700, 700) for _ in range(4)]
    expected = [np.maximum(x.numpy() @ x.numpy(), 0) + 1 for x in inputs]
    _run_together([lambda x=x: f(x) for x in inputs], expected)
    assert calls_shared(f)


def test_two_threads_call_different_functions() -> None:
    rushlight.set_num_threads(2)
    inputs = [
        rushlight.rand(700 + 10 * i, 700) @ rushlight.eye(700, 700 + 10 * i) for i in range(4)
    ]
    functions = [rushlight.compile(lambda x, i=i: (x @ x).relu() + i) for i in range(4)]
    expected = [np.maximum(x.numpy() @ x.numpy(), 0) + i for i, x in enumerate(inputs)]
    _run_together([lambda f=f, x=x: f(x) for f, x in zip(functions, inputs)], expected)


def _run_together(calls: list[Callable[[], Any]], expected: list[Any]) -> None:
    errors: list[BaseException] = []

    def work(call: Callable[[], Any], aim: Any) -> None:
        try:
            for _ in range(10):
                np.testing.assert_allclose(call().numpy(), aim, rtol=1e-4)
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=pair, daemon=True) for pair in zip(calls, expected)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "two threads wait for each other"
    assert not errors, errors[0]


# -- forks ---------------------------------------------------------------------------------------------------


def test_a_forked_child_computes_and_ends(python: Callable[..., str]) -> None:
    python(
        PRELUDE
        + """
for _ in range(5):
    child = os.fork()
    if not child:
        check()
        grandchild = os.fork()
        if not grandchild:
            check()
            os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    check()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    check()
"""
    )


def test_a_process_pool_forked_from_a_hot_one_trains(python: Callable[..., str]) -> None:
    python(
        PRELUDE
        + """
import multiprocessing

def work(seed):
    rushlight.manual_seed(seed)
    net = rushlight.nn.Linear(300, 70)
    opt = rushlight.optim.SGD(net.parameters(), 0.1)
    @rushlight.compile
    def step():
        opt.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        opt.step()
        return loss
    check()
    return [step().item() for _ in range(4)]

if __name__ == "__main__":
    alone = [work(i) for i in range(3)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(work, range(3)) == alone
"""
    )


def test_a_fork_while_another_thread_is_inside_a_program(python: Callable[..., str]) -> None:
    python(
        PRELUDE
        + """
stop = False
def hammer():
    while not stop:
        check()
threads = [threading.Thread(target=hammer) for _ in range(2)]
for t in threads:
    t.start()
for _ in range(12):
    child = os.fork()
    if not child:
        check()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop = True
for t in threads:
    t.join()
"""
    )


def test_workers_of_a_data_loader_run_programs(python: Callable[..., str]) -> None:
    python(
        PRELUDE
        + """
from rushlight.utils.data import DataLoader, Dataset

class Rows(Dataset):
    def __len__(self):
        return 12
    def __getitem__(self, i):
        return f(x + i, w)

got = [row for batch in DataLoader(Rows(), batch_size=3, num_workers=2) for row in batch]
for i, row in enumerate(got):
    aim = np.maximum((x.numpy() + i) @ w.numpy(), 0).sum(1) + 1
    np.testing.assert_allclose(row.numpy(), aim, rtol=1e-3)
check()
"""
    )


# -- the end of the interpreter ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "sys.exit(0)",
        "import atexit; atexit.register(check)",
        # A daemon thread is inside a program, or about to enter one, when the interpreter ends.
        "threading.Thread(target=lambda: [check() for _ in iter(int, 1)], daemon=True).start(); time.sleep(0.2)",
        "del f; import gc; gc.collect()",
    ],
    ids=["plain", "exit", "atexit", "daemon", "dropped"],
)
def test_the_interpreter_ends(python: Callable[..., str], ending: str) -> None:
    python(PRELUDE + ending)


@pytest.mark.oracle
@pytest.mark.parametrize("first", ["torch", "rushlight"])
def test_torch_trains_beside(python: Callable[..., str], first: str) -> None:
    pytest.importorskip("torch")
    second = {"torch": "rushlight", "rushlight": "torch"}[first]
    python(
        f"""
import warnings
warnings.simplefilter("default")
import {first}, {second}
import torch, rushlight

def train(lib, compile):
    lib.manual_seed(0)
    net = lib.nn.Sequential(lib.nn.Linear(64, 128), lib.nn.ReLU(), lib.nn.Linear(128, 8))
    opt = lib.optim.SGD(net.parameters(), lr=0.1)
    x = lib.arange(256.0 * 64).reshape(256, 64) / 16384
    def step():
        opt.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        opt.step()
        return loss
    step = compile(step)
    return [float(step()) for _ in range(10)]

for _ in range(2):
    ours, theirs = train(rushlight, rushlight.compile), train(torch, lambda f: f)
    assert all(abs(a - b) < 1e-5 * abs(b) + 1e-7 for a, b in zip(ours, theirs)), (ours, theirs)
"""
    )


# -- other systems -------------------------------------------------------------------------------------------


def test_python_threads_serve_where_there_are_no_posix_ones(python: Callable[..., str]) -> None:
    told = python(
        """
import signal
del signal.pthread_sigmask
"""
        + PRELUDE
        + """
from rushlight.compiler.pool import pool
assert pool()._workers[0]._python.is_alive()
for _ in range(100):
    check()
print([t.name for t in threading.enumerate() if t is not threading.main_thread()])
rushlight.set_num_threads(1)
check()
print(threading.active_count())
rushlight.set_num_threads(2)
check()
"""
    )
    assert told.split() == ["['rushlight-1']", "1"]


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_other_systems_can_import_the_runtime(python: Callable[..., str], system: str) -> None:
    python(
        f"""
import os, signal, sys
import numpy as np, llvmlite.binding, rushlight.nn
for module, name in (
    (os, "sched_getaffinity"), (os, "register_at_fork"), (os, "getuid"), (os, "geteuid"), (signal, "pthread_sigmask"),
):
    delattr(module, name)
sys.platform = {system!r}
from rushlight.compiler import available, driver, objects, platforms, pool, workers
assert pool.threads_wanted() >= 1
rushlight.set_num_threads(3)
assert rushlight.get_num_threads() == 3
assert driver.driver_text(platforms.Platform.here())
assert objects.cache_folder() is not None
""",
        RUSHLIGHT_CACHE_DIR=str(
            Path(os.environ.get("RUSHLIGHT_CACHE_DIR", Path.home() / ".cache"))
        ),
    )
