"""Subnormal numbers: zero inside of programs unless told otherwise, and never in what the caller computes."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.compiler.pool import native

TINY = 1e-39


def mode() -> int:
    """The floating-point control word of this thread."""
    read = ctypes.CFUNCTYPE(ctypes.c_int64)(native().address("mode"))
    return int(read()) & ~0x3F  # the low bits say what has happened, such as rounding


def scaled(n: int = 40_000) -> tuple[Any, Any]:
    """A compiled function, and subnormal numbers for it."""
    f = rushlight.compile(lambda x: x * 0.5 + x)
    return f, rushlight.full((n,), TINY)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", [5, 40_000])
def test_they_count_as_zero_in_programs(threads: int, n: int) -> None:
    rushlight.set_num_threads(threads)
    f, x = scaled(n)
    for _ in range(3):
        assert f(x).eq(0).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_they_count_as_they_are_when_asked(threads: int) -> None:
    rushlight.set_num_threads(threads)
    f, x = scaled()
    f(x)
    assert rushlight.set_flush_denormal(False) is True
    wanted = x.numpy() * np.float32(0.5) + x.numpy()
    assert wanted[0] > 0
    for _ in range(3):
        np.testing.assert_array_equal(f(x).numpy(), wanted)
    rushlight.set_flush_denormal(True)
    assert f(x).eq(0).all()


@pytest.mark.oracle
def test_kept_they_are_as_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    rushlight.set_flush_denormal(False)
    values = np.linspace(-3e-38, 3e-38, 10_001, dtype=np.float32)
    f = rushlight.compile(lambda x: x * 0.37 - x / 3)
    theirs = torch.from_numpy(values)
    ours = f(rushlight.from_numpy(values)).numpy()
    np.testing.assert_allclose(ours, (theirs * 0.37 - theirs / 3).numpy(), rtol=0, atol=3e-45)


def test_the_callers_arithmetic_stays_as_it_was() -> None:
    f, x = scaled()
    before = mode()
    for flush in (True, False, True):
        rushlight.set_flush_denormal(flush)
        f(x)
        assert mode() == before
        assert (np.full(4, TINY, np.float32) * np.float32(0.5) > 0).all()


def test_it_stays_so_where_a_program_raises() -> None:
    f = rushlight.compile(lambda t, i: t[i] * 2)
    table = rushlight.ones(3)
    f(table, rushlight.tensor([0, 2]))
    before = mode()
    with pytest.raises(IndexError):
        f(table, rushlight.tensor([0, 3]))
    assert mode() == before


def test_it_stays_so_in_other_threads() -> None:
    f, x = scaled()
    found = []

    def work() -> None:
        before = mode()
        f(x)
        found.append(mode() == before)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 3
