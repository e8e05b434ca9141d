"""Memory that eager steps have freed."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import pytest

import rushlight
from rushlight.backends.heap import give_back, keep_freed_memory

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists(),
    reason="what is kept is glibc's, and Linux tells how much",
)

MB = 1 << 20


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    keep_freed_memory()
    give_back()
    before = resident()
    arrays = [rushlight.ones(4 * MB) for _ in range(4)]  # 16 MB each
    del arrays
    kept = resident() - before
    give_back()
    assert kept > 48 * MB
    assert resident() - before < 16 * MB


def test_a_compiled_function_gives_back_what_its_eager_first_step_took() -> None:
    weight = rushlight.nn.Parameter(rushlight.ones(8))
    optimizer = rushlight.optim.SGD([weight], lr=0.1, momentum=0.9)
    inside: list[int] = []

    @rushlight.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        hidden = [x * i for i in range(4)]
        inside.append(resident())
        loss = sum(h.sum() for h in hidden) * weight.sum()
        loss.backward()
        optimizer.step()
        return loss

    keep_freed_memory()
    x = rushlight.ones(4 * MB)
    step(x)
    assert resident() < inside[0] - 32 * MB
