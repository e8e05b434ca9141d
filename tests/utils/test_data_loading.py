"""Batches, workers, and what goes wrong with them."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.utils.data import (
    ChainDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    default_collate,
    default_convert,
    get_worker_info,
    random_split,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]

Point = namedtuple("Point", "x y")


class Items(Dataset):
    """Samples from a function of the index."""

    def __init__(self, item: Any, count: int = 6) -> None:
        self.item, self.count = item, count

    def __getitem__(self, index: int) -> Any:
        return self.item(index)

    def __len__(self) -> int:
        return self.count


class Stream(IterableDataset):
    """Numbers in order; with workers, each gives its share."""

    def __init__(self, count: int = 7) -> None:
        self.count = count

    def __iter__(self) -> Any:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.count, step))


class Counted(Stream):
    """A stream that knows (or believes it knows) its length."""

    def __len__(self) -> int:
        return 3


SAMPLES = {
    "tensors": lambda t, i: t.full((2, 3), float(i)),
    "numbers": lambda t, i: (i, i / 2, i > 2),
    "numpy": lambda t, i: {"a": np.full(2, i), "b": np.float32(i)},
    "nested": lambda t, i: [{"x": (i, "word")}, [b"bytes", i]],
    "points": lambda t, i: Point(i, t.ones(1) * i),
    "ordered": lambda t, i: OrderedDict(b=i, a=i + 1),
}


def plain(value: Any) -> Any:
    """A batch in plain Python values, types of containers and elements kept."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return (str(value.dtype), value.tolist())
    if isinstance(value, dict):
        return type(value).__name__, {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(v) for v in value]
    return value


@pytest.mark.parametrize("name", SAMPLES)
def test_collate_and_convert_as_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    sample = SAMPLES[name]
    there = torch.utils.data
    wanted = there.default_collate([sample(torch, i) for i in range(3)])
    assert plain(default_collate([sample(rushlight, i) for i in range(3)])) == plain(wanted)
    wanted = there.default_convert(sample(torch, 1))
    assert plain(default_convert(sample(rushlight, 1))) == plain(wanted)


def test_collate_says_which_shapes() -> None:
    with pytest.raises(RuntimeError, match=r"\[2\] at entry 0 and \[3\] at entry 1.*collate_fn"):
        default_collate([rushlight.ones(2), rushlight.ones(3)])
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([(1, 2), (1,)])
    with pytest.raises(TypeError, match="default_collate: batch must contain"):
        default_collate([object(), object()])


def test_tensor_datasets_are_indexed_at_once() -> None:
    calls = []

    class Watched(TensorDataset):
        def collated(self, indices: list[int]) -> Any:
            calls.append(indices)
            return super().collated(indices)

    loader = DataLoader(Subset(Watched(rushlight.arange(10)), [9, 8, 7]), batch_size=2)
    assert [b.tolist() for (b,) in loader] == [[9, 8], [7]]
    assert calls == [[9, 8], [7]]
    loader = DataLoader(Subset(Watched(rushlight.arange(10)), np.array([9, 8, 7])), batch_size=3)
    assert [b.tolist() for (b,) in loader] == [[9, 8, 7]]
    assert len(calls) == 3
    own = DataLoader(Watched(rushlight.arange(3)), 3, collate_fn=len)
    assert list(own) == [3]


@pytest.mark.parametrize("workers", [0, 2])
def test_iterable(workers: int) -> None:
    batches = [b.tolist() for b in DataLoader(Stream(), 2, num_workers=workers)]
    assert sorted(i for b in batches for i in b) == list(range(7))
    assert [b.tolist() for b in DataLoader(Stream(), 3, drop_last=True)] == [[0, 1, 2], [3, 4, 5]]
    assert list(ChainDataset([Stream(2), Stream(3)])) == [0, 1, 0, 1, 2]


def test_iterable_longer_than_it_says() -> None:
    loader = DataLoader(Counted(), 1)
    assert len(loader) == 3
    with pytest.warns(UserWarning, match="was reported to be 3"):
        list(loader)


@pytest.mark.parametrize("in_order", [True, False])
def test_workers_read_everything_once(in_order: bool) -> None:
    loader = DataLoader(Items(_slow_first), 1, num_workers=3, in_order=in_order, prefetch_factor=1)
    found = [int(b.item()) for b in loader]
    assert sorted(found) == list(range(6))
    if in_order:
        assert found == list(range(6))


def _slow_first(index: int) -> int:
    time.sleep(0.2 if index == 0 else 0)
    return index


def _about_worker(index: int) -> tuple[int, int, float]:
    info: Any = get_worker_info()
    return info.id, info.num_workers, rushlight.rand(1).item()


def test_workers_know_themselves_and_draw_apart() -> None:
    rushlight.manual_seed(0)
    loader = DataLoader(Items(_about_worker), 1, num_workers=2, worker_init_fn=_touch)
    rows = [[c.item() for c in row] for row in loader]
    assert {row[0] for row in rows} == {0, 1}
    assert {row[1] for row in rows} == {2}
    assert len({row[2] for row in rows}) == 6
    assert get_worker_info() is None


def _touch(worker_id: int) -> None:
    if worker_id not in (0, 1):
        raise AssertionError(worker_id)


class _Odd(Exception):
    """An exception whose constructor wants two arguments."""

    def __init__(self, a: Any, b: Any) -> None:
        super().__init__(a, b)


def _fails(index: int) -> int:
    if index == 3:
        raise ValueError("sample three is broken")
    return index


def _fails_oddly(index: int) -> int:
    raise _Odd(1, 2)


@pytest.mark.parametrize(("item", "error"), [(_fails, ValueError), (_fails_oddly, RuntimeError)])
def test_errors_of_workers_come_back(item: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"in DataLoader worker process \d") as caught:
        list(DataLoader(Items(item), 1, num_workers=2))
    assert "Original Traceback" in str(caught.value)
    assert "test_data_loading.py" in str(caught.value)


def _dies(index: int) -> int:
    os._exit(3)


def test_a_dead_worker_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"worker \(pid\(s\) \d+\) exited unexpectedly"):
        list(DataLoader(Items(_dies), 1, num_workers=1))


def _sleeps(index: int) -> int:
    time.sleep(30)
    return index


def test_timeout() -> None:
    iterator = iter(DataLoader(Items(_sleeps), 1, num_workers=1, timeout=0.3))
    with pytest.raises(RuntimeError, match=r"timed out after 0\.3 seconds"):
        next(iterator)
    for worker in iterator._crew.workers:
        worker.process.kill()


def test_a_pass_left_early_leaves_nothing_behind() -> None:
    loader = DataLoader(Items(lambda i: i, 50), 1, num_workers=2, persistent_workers=True)
    first = iter(loader)
    next(first)
    assert [int(b.item()) for b in loader] == list(range(50))
    workers = loader._kept._crew.workers
    loader._kept._crew.close()
    assert not any(w.process.is_alive() for w in workers)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "batch_size should be a positive integer"),
        ({"num_workers": -1}, "num_workers option should be non-negative"),
        ({"timeout": -1}, "timeout option should be non-negative"),
        ({"prefetch_factor": 2}, "prefetch_factor option could only be specified"),
        ({"persistent_workers": True}, "persistent_workers option needs num_workers > 0"),
        ({"batch_size": None, "drop_last": True}, "batch_size=None option disables auto-batching"),
        ({"sampler": [0, 1], "shuffle": True}, "sampler option is mutually exclusive with shuffle"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler option is mutually exclusive"),
        ({"num_workers": 1, "multiprocessing_context": "thread"}, "valid start method"),
    ],
)
def test_options_that_exclude_each_other(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        iter(DataLoader(Items(lambda i: i), **options))


def test_more_workers_than_processors_are_told() -> None:
    with pytest.warns(UserWarning, match="will create 9999 worker processes in total"):
        DataLoader(Items(int), num_workers=9999)


def test_an_iterable_has_no_sampler() -> None:
    with pytest.raises(ValueError, match="expected unspecified shuffle option"):
        DataLoader(Stream(), shuffle=True)
    with pytest.raises(ValueError, match="expected unspecified sampler option"):
        DataLoader(Stream(), sampler=[0])


def test_what_is_fixed() -> None:
    loader = DataLoader(Items(lambda i: i))
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        loader.batch_size = 3
    with pytest.warns(UserWarning, match="no accelerator is found"):
        DataLoader(Items(lambda i: i), pin_memory=True)


def test_splits_and_stacks_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="Sum of input lengths does not equal"):
        random_split(Items(int), [1, 2])
    with pytest.raises(ValueError, match="Size mismatch between datasets"):
        StackDataset(Items(int, 3), Items(int, 4))
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        TensorDataset(rushlight.ones(2), rushlight.ones(3))


def _lock(index: int) -> Any:
    return threading.Lock()


def _local_error(index: int) -> Any:
    class Local(Exception):
        """Cannot be pickled."""

    raise Local("only here")


@pytest.mark.parametrize(("item", "error"), [(_lock, TypeError), (_local_error, RuntimeError)])
def test_what_cannot_be_pickled_is_told(item: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="in DataLoader worker process 0"):
        list(DataLoader(Items(item), 1, num_workers=1, collate_fn=list))


def test_large_rows_are_the_samples_one_by_one() -> None:
    rows = TensorDataset(rushlight.rand(40, 3, 70, 71), rushlight.arange(40))

    def loader(size: int, collate: Any) -> DataLoader[Any]:
        order = rushlight.Generator()
        return DataLoader(rows, size, shuffle=True, generator=order, collate_fn=collate)

    def one_by_one(samples: Any) -> Any:
        return [rushlight.stack(column) for column in zip(*samples, strict=True)]

    for size in (7, 33):
        for (x, i), (y, j) in zip(loader(size, None), loader(size, one_by_one), strict=True):
            assert x.equal(y) and i.equal(j) and x.is_contiguous()
    many = [rushlight.from_numpy(np.asfortranarray(np.random.rand(5, 70_000))) for _ in range(5)]  # noqa: NPY002
    assert default_collate(many).equal(rushlight.stack(many))
    with pytest.raises(IndexError):
        list(DataLoader(rows, 33, sampler=[*range(33), 40]))


def test_a_subclass_reads_its_own_way() -> None:
    class Plus(TensorDataset):
        def __getitem__(self, index: Any) -> Any:
            return super().__getitem__(index)[0] + 100

    rows = Plus(rushlight.arange(3))
    assert [b.tolist() for b in DataLoader(rows, 3)] == [[100, 101, 102]]
    assert [b.tolist() for b in DataLoader(Subset(rows, [2, 0]), 2)] == [[102, 100]]
