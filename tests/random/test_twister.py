"""Words by vectors: the same as NumPy's, one by one."""

from __future__ import annotations

import ctypes
import dataclasses
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.backends.settings import settings
from rushlight.random import twister
from rushlight.random.generator import Generator

pytest.importorskip("llvmlite", reason="kernels are what is tested")

WORDS = twister.FEW + 5 * twister.STATE + 17


def by_numpy(generator: Generator, long: bool, count: int) -> Any:
    if long:
        pairs = generator._stream.random_raw(2 * count).reshape(-1, 2)
        return pairs[:, 0] << np.uint64(32) | pairs[:, 1]
    return generator._stream.random_raw(count)


def test_draws_of_all_sizes_in_any_order() -> None:
    import llvmlite  # noqa: F401 - a loaded compiler is used for smaller draws

    chosen = np.random.default_rng(0)
    ours, theirs = Generator().manual_seed(5), Generator().manual_seed(5)
    for _ in range(200):
        long = bool(chosen.integers(2))
        count = int(chosen.integers(0, chosen.choice([3, 700, 20_000])))
        found = ours.long_words(count) if long else ours.words(count)
        assert np.array_equal(found, by_numpy(theirs, long, count))
    assert ours.get_state().tolist() == theirs.get_state().tolist()


@pytest.mark.parametrize("bits", [32, 64])
def test_large_draws_are_by_kernel(bits: int, monkeypatch: Any) -> None:
    taken = []
    monkeypatch.setattr(
        "rushlight.random.generator.take_blocks",
        lambda stream, out: taken.append(out.size) or twister.take_blocks(stream, out),
    )
    generator = Generator().manual_seed(1)
    found = generator.words(WORDS) if bits == 32 else generator.long_words(WORDS)
    assert taken and taken[0] > WORDS - 2 * twister.STATE
    assert found.dtype == (np.uint32 if bits == 32 else np.uint64)
    assert np.array_equal(found, by_numpy(Generator().manual_seed(1), bits == 64, WORDS))


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("itemsize", [4, 8])
def test_other_vectors(vector_bytes: int, itemsize: int) -> None:
    from rushlight.compiler.processor import host_target

    fill = twister.filler(itemsize, dataclasses.replace(host_target(), vector_bytes=vector_bytes))
    stream = np.random.MT19937(3)
    twin = np.random.MT19937(3)
    stream.random_raw(twister.left_in_block(stream))
    twin.random_raw(twister.left_in_block(twin))
    work, out = (
        np.empty(2 * twister.STATE, np.uint32),
        np.empty(3 * 624 * 4 // itemsize, f"u{itemsize}"),
    )
    fill(
        (ctypes.c_void_p * 3)(stream.ctypes.state_address, work.ctypes.data, out.ctypes.data), 0, 3
    )
    words = twin.random_raw(3 * 624)
    if itemsize == 8:
        words = words[0::2] << np.uint64(32) | words[1::2]
    assert np.array_equal(out, words)
    assert np.array_equal(stream.random_raw(10), twin.random_raw(10))


def test_numpy_alone_gives_the_same(monkeypatch: Any) -> None:
    rushlight.manual_seed(2)
    native = rushlight.empty(WORDS).bernoulli_(0.3)
    monkeypatch.setattr(settings, "native", False)
    rushlight.manual_seed(2)
    assert rushlight.equal(rushlight.empty(WORDS).bernoulli_(0.3), native)


@pytest.mark.parametrize("chance", [0.0, 1e-30, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("size", [100, 20_000])
def test_compiled_dropout_draws_what_eager_draws(chance: float, size: int) -> None:
    def masked() -> Any:
        return rushlight.nn.functional.dropout(rushlight.ones(size), chance)

    compiled = rushlight.compile(masked)
    rushlight.manual_seed(9)
    first, second = compiled(), compiled()
    rushlight.manual_seed(9)
    assert rushlight.equal(first, masked())
    assert rushlight.equal(second, masked())
