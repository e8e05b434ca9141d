"""The order of loaders, samplers and splits is PyTorch's for the same seed; so are the random numbers after them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rushlight
from rushlight.utils import data

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

LIBRARIES = (rushlight, torch)


def run(library: Any, program: Any, seed: int = 3) -> Any:
    """A program's batches and the next random numbers, by one library."""
    library.manual_seed(seed)
    found = program(library, library.utils.data)
    return found, library.rand(3).tolist()


def passes(loader: Any, count: int = 2) -> list[Any]:
    return [[[t.tolist() for t in batch] for batch in loader] for _ in range(count)]


def pairs(library: Any, count: int = 23) -> Any:
    return library.utils.data.TensorDataset(library.arange(count), library.arange(float(count)) * 2)


PROGRAMS = {
    "in order": lambda lib, d: passes(d.DataLoader(pairs(lib), 4)),
    "shuffled": lambda lib, d: passes(d.DataLoader(pairs(lib), 4, shuffle=True)),
    "drop_last": lambda lib, d: passes(d.DataLoader(pairs(lib), 4, shuffle=True, drop_last=True)),
    "generator": lambda lib, d: passes(
        d.DataLoader(pairs(lib), 5, shuffle=True, generator=lib.Generator().manual_seed(9))
    ),
    "split": lambda lib, d: [passes(d.DataLoader(s, 3, shuffle=True)) for s in d.random_split(pairs(lib), [0.6, 0.4])],
    "split by lengths": lambda lib, d: [list(s.indices) for s in d.random_split(pairs(lib), [20, 3])],
    "replacement": lambda lib, d: list(d.RandomSampler(range(10), True, 70)),
    "more samples than there are": lambda lib, d: list(d.RandomSampler(range(10), num_samples=25)),
    "weighted": lambda lib, d: list(d.WeightedRandomSampler([0.1 * i for i in range(20)], 50)),
    "weighted, each once": lambda lib, d: list(d.WeightedRandomSampler([0.1 * i + 1 for i in range(20)], 15, False)),
    "subset": lambda lib, d: list(d.SubsetRandomSampler([5, 1, 9, 12])),
    "single samples": lambda lib, d: passes(d.DataLoader(pairs(lib), None, shuffle=True), 1),
    "batch_sampler": lambda lib, d: passes(
        d.DataLoader(pairs(lib), batch_sampler=d.BatchSampler(d.RandomSampler(range(23)), 6, False))
    ),
    "concatenated": lambda lib, d: passes(d.DataLoader(pairs(lib) + pairs(lib, 5), 4, shuffle=True)),
    "stacked": lambda lib, d: [
        {k: [t.tolist() for t in v] for k, v in batch.items()}
        for batch in d.DataLoader(d.StackDataset(a=pairs(lib), b=pairs(lib)), 4, shuffle=True)
    ],
    "distributed": lambda lib, d: [list(d.DistributedSampler(range(23), 4, r, seed=2)) for r in range(4)],
    "two workers": lambda lib, d: passes(d.DataLoader(pairs(lib), 4, shuffle=True, num_workers=2)),
    "kept workers": lambda lib, d: passes(
        d.DataLoader(pairs(lib), 4, shuffle=True, num_workers=2, persistent_workers=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_same_order(name: str) -> None:
    ours, theirs = (run(library, PROGRAMS[name]) for library in LIBRARIES)
    assert ours == theirs


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(1, 60),
    size=st.integers(1, 9),
    drop=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_any_shuffle(count: int, size: int, drop: bool, seed: int) -> None:
    def program(lib: Any, d: Any) -> Any:
        loader = d.DataLoader(pairs(lib, count), size, shuffle=True, drop_last=drop)
        return len(loader), passes(loader, 1)

    ours, theirs = (run(library, program, seed) for library in LIBRARIES)
    assert ours == theirs


@settings(max_examples=50, deadline=None)
@given(count=st.integers(0, 50), size=st.integers(1, 7), drop=st.booleans())
def test_batches_hold_every_index_once(count: int, size: int, drop: bool) -> None:
    batches = list(data.BatchSampler(range(count), size, drop))
    assert len(batches) == len(data.BatchSampler(range(count), size, drop))
    flat = [i for batch in batches for i in batch]
    assert flat == list(range(count // size * size if drop else count))
