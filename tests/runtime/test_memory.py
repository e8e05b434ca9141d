"""Memory: programs share an arena, their number is bounded, and changing batches do not make a process grow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.capture import api
from rushlight.compiler.arena import PAGE, Arena, arena


def two_products(x: Any) -> Any:
    """A function whose intermediate values lie in the arena."""
    y = (x @ x.t()).softmax(1)
    return y @ y


def expected(x: Any) -> Any:
    return two_products(x).numpy()


def test_an_arena_grows_to_the_largest_need_and_is_aligned() -> None:
    fresh = Arena()
    assert fresh.reserve(0) == 0
    first = fresh.reserve(100)
    assert first % PAGE == 0
    assert fresh.reserve(50) == first
    fresh.bytes[:] = 7
    assert fresh.reserve(1 << 20) % PAGE == 0
    assert fresh.bytes.size == 1 << 20
    fresh.release()
    assert fresh.bytes.size == 0


def test_programs_of_all_shapes_share_one_arena() -> None:
    f = rushlight.compile(two_products)
    inputs = [rushlight.rand(n, 40) for n in (50, 200, 3, 120, 201)]
    aims = [expected(x) for x in inputs]
    for _ in range(3):
        for x, aim in zip(inputs, aims):
            np.testing.assert_allclose(f(x).numpy(), aim, rtol=1e-4, atol=1e-6)
    assert len(f.programs) == 5
    assert {p.executable._base for p in f.programs} >= {arena.address}
    assert arena.bytes.size >= max(p.executable.arena_bytes for p in f.programs) > 201 * 201 * 4


def test_each_thread_has_its_own_arena() -> None:
    f = rushlight.compile(two_products)
    inputs = [rushlight.rand(n, 40) for n in (150, 151)]
    aims = [expected(x) for x in inputs]
    wrong: list[float] = []

    def work() -> None:
        for _ in range(20):
            for x, aim in zip(inputs, aims):
                wrong.append(float(np.abs(f(x).numpy() - aim).max()))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 120
    assert max(wrong) < 1e-4


def test_programs_called_longest_ago_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MOST_PROGRAMS", 4)
    f = rushlight.compile(lambda x: x * 2 + 1)
    first = rushlight.ones(1)
    for n in range(1, 13):
        assert f(rushlight.ones(n)).eq(3).all()
        assert f(first).item() == 3  # it stays, for it is called again and again
    assert len(f.programs) == 4
    assert f.stats()["compiles"] == 12
    f(rushlight.ones(12))
    assert f.stats()["compiles"] == 12
    f(rushlight.ones(5))
    assert f.stats()["compiles"] == 13


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_random_batches_do_not_make_a_process_grow(python: Callable[..., str]) -> None:
    grown = python(
        """
import gc
from pathlib import Path
import numpy as np
import rushlight

net = rushlight.nn.Sequential(rushlight.nn.Linear(30, 64), rushlight.nn.ReLU(), rushlight.nn.Linear(64, 5))
opt = rushlight.optim.Adam(net.parameters())

@rushlight.compile
def step(x, y):
    opt.zero_grad()
    loss = rushlight.nn.functional.cross_entropy(net(x), y)
    loss.backward()
    opt.step()
    return loss

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

rng = np.random.default_rng(0)
losses = []
for n in range(3000):
    batch = int(rng.integers(1, 9))
    losses.append(step(rushlight.rand(batch, 30), rushlight.arange(batch) % 5).item())
    if n == 500:
        settled = resident()
print((resident() - settled) / settled, step.stats()["compiles"])
"""
    ).split()
    assert float(grown[0]) < 0.02
    assert grown[1] == "8"
