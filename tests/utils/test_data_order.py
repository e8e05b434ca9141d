"""The order of loaders, samplers and splits is PyTorch's for the same seed; so are the random numbers after them."""

from __future__ import annotations

import importlib
import inspect
import random
from typing import Any

import numpy as np
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


def draws(library: Any, count: int = 7) -> Any:
    """A dataset whose samples are what its worker draws."""

    class Draws(library.utils.data.Dataset):
        def __getitem__(self, index: int) -> Any:
            info = library.utils.data.get_worker_info()
            place = (info.id, info.num_workers, info.seed % 1000) if info else ()
            return *place, index, random.random(), np.random.rand(), library.rand(()).item()  # noqa: NPY002

        def __len__(self) -> int:
            return count

    return Draws()


def stream(library: Any, count: int = 11) -> Any:
    """Numbers in order; a worker gives its share, the first ones more."""

    class Stream(library.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            info = library.utils.data.get_worker_info()
            first, step = (info.id, info.num_workers) if info else (0, 1)
            return iter(range(first, count - 3 * first, step))

    return Stream()


def flat(loader: Any, count: int = 2) -> list[Any]:
    """Some passes over batches or samples of any structure."""

    def plain(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return str(value.dtype), value.tolist()
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    return [[plain(batch) for batch in loader] for _ in range(count)]


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
    "a generator and workers": lambda lib, d: passes(
        d.DataLoader(pairs(lib), 4, shuffle=True, num_workers=1, generator=lib.Generator().manual_seed(9))
    ),
    "drawn by workers": lambda lib, d: flat(d.DataLoader(draws(lib), 2, num_workers=2)),
    "drawn by kept workers": lambda lib, d: flat(
        d.DataLoader(draws(lib), 2, shuffle=True, num_workers=2, persistent_workers=True, prefetch_factor=1)
    ),
    "single samples of workers": lambda lib, d: flat(d.DataLoader(draws(lib), None, num_workers=2)),
    "streams": lambda lib, d: flat(d.DataLoader(stream(lib), 3)) + flat(d.DataLoader(stream(lib), None)),
    "streams of workers": lambda lib, d: flat(d.DataLoader(stream(lib), 3, num_workers=2)),
    "streams of kept workers": lambda lib, d: flat(
        d.DataLoader(stream(lib), 2, num_workers=2, drop_last=True, persistent_workers=True)
    ),
    "chained streams": lambda lib, d: flat(d.DataLoader(stream(lib) + stream(lib), None, num_workers=1)),
    "a subset of a stack": lambda lib, d: flat(
        d.DataLoader(d.Subset(d.StackDataset(pairs(lib), pairs(lib)), [3, -1, 7, 7]), 3)
    ),
    "a split of uneven fractions": lambda lib, d: [
        list(part.indices) for part in d.random_split(range(10), [0.33, 0.33, 0.34], lib.Generator().manual_seed(1))
    ],
    "distributed, without the rest": lambda lib, d: [
        list(d.DistributedSampler(range(23), 4, r, seed=2, drop_last=True)) for r in range(4)
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
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


#: PyTorch's own pipes, which it no longer recommends.
PIPES = {"DFIterDataPipe", "DataChunk", "IterDataPipe", "MapDataPipe"}


@pytest.mark.parametrize(
    "name",
    sorted(
        n for n in torch.utils.data.__all__
        if n not in PIPES and n[0] != "_" and not hasattr(torch.utils.data.datapipes._decorator, n)
    ),
)  # fmt: skip
def test_signatures(name: str) -> None:
    ours, theirs = (
        {
            p.name: (p.kind, p.default if isinstance(p.default, (int, str, bool, type(None))) else "object")
            for p in inspect.signature(getattr(library.utils.data, name)).parameters.values()
        }
        for library in LIBRARIES
    )  # fmt: skip
    if name == "random_split":  # theirs names the default generator, ours says None
        ours.pop("generator"), theirs.pop("generator")
    assert ours == theirs
    assert name in data.__all__


@pytest.mark.parametrize(
    "place",
    ["dataloader.DataLoader", "dataloader.default_collate", "dataset.random_split", "sampler.Sampler",
     "distributed.DistributedSampler", "_utils.collate.default_collate_fn_map", "_utils.collate.collate"],
)  # fmt: skip
def test_names_are_where_programs_import_them_from(place: str) -> None:
    module, _, name = place.rpartition(".")
    for library in LIBRARIES:
        path = f"{library.__name__}.utils.data.{module}"
        assert hasattr(importlib.import_module(path), name)


def test_a_table_of_collate_functions() -> None:
    class Word(str):
        """Has a way of its own to be collated."""

    def run(library: Any) -> Any:
        table = importlib.import_module(f"{library.__name__}.utils.data._utils.collate")
        functions = {**table.default_collate_fn_map, Word: lambda batch, **_: "-".join(batch)}
        batch = [
            {"w": Word("a"), "n": (1, True), "x": np.float16(2)},
            {"w": Word("b"), "n": (2, False), "x": 3},
        ]
        found = table.collate(batch, collate_fn_map=functions)
        assert table.default_collate(batch)["w"] == ["a", "b"]
        with pytest.raises(TypeError, match="found <class 'object'>"):
            table.collate([object()])
        return str(found).replace("torch.", "")

    assert run(rushlight) == run(torch)


KINDS = [
    [1, 2], [True, False], [1, 2.5], [1.5, 2], [2**62, 1], [np.int8(1), np.int8(2)], [np.bool_(True)], [b"x", b"y"],
    [np.float64(1), np.float64(2)], [np.array(1), np.array(2)], [np.arange(3)[::2], np.arange(2)],
    [np.asfortranarray(np.arange(6.0).reshape(2, 3))] * 2, [np.zeros((0, 2))] * 2, [[], []], [{}, {}],
    [np.ones(2, np.complex64)], [None, None], [[1, 2], [3]], [np.array(["a"])], [{"a": 1}, {"a": 2, "b": 3}],
    [1 + 2j, 3j], [2**70, 1], [range(2), range(1, 3)], ["ab", "c"],
]  # fmt: skip


@pytest.mark.parametrize("batch", KINDS, ids=lambda b: str(b)[:30])
def test_collated_kinds(batch: Any) -> None:
    def run(library: Any) -> Any:
        try:
            found = library.utils.data.default_collate(batch)
        except Exception as error:
            return type(error)
        return str(found), getattr(found, "dtype", None) and str(found.dtype)

    assert run(rushlight) == run(torch)
