"""Worker processes: the memory that batches come in, what is left behind, and what happens when one dies."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, crew, shared

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import kill_loader_workers as killing

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="elsewhere batches travel in messages"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]

LARGE = shared.mmap.PAGESIZE * 5 // 4  # floats: 20 KB, more than a message holds
#: On a machine that is busy with other tests; the tool counts what is later than 5 s.
SOON_S = 25
Point = namedtuple("Point", "x y")


class Items(Dataset[Any]):
    """Samples from a function of the index."""

    def __init__(self, item: Any, count: int = 8) -> None:
        self.item, self.count = item, count

    def __getitem__(self, index: int) -> Any:
        return self.item(index)

    def __len__(self) -> int:
        return self.count


def _large(index: int) -> Any:
    return rushlight.full((LARGE,), float(index))


def _mapped_kb(inbox: Any) -> int:
    """How much of a worker's memory this process has touched, and is still there."""
    address, size = inbox._map.address, inbox._map.size
    _, _, after = (
        Path("/proc/self/smaps").read_text().partition(f"{address:08x}-{address + size:08x}")
    )
    return int(after.split("Rss:")[1].split()[0])


def _file_kb(pid: int) -> int:
    """How much memory the file of a living worker takes."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if "rushlight-batches" in str(link.readlink()):
            return link.stat().st_blocks // 2
    raise AssertionError("the worker has no such file")


# -- batches in shared memory --------------------------------------------------------------------


def test_batches_come_in_shared_memory_and_are_ones_own() -> None:
    loader = DataLoader(Items(_large), 2, num_workers=2)
    batches = list(loader)
    assert all(batch.is_shared() and batch.is_contiguous() for batch in batches)
    assert all(batch.storage_offset() == 0 for batch in batches)
    batches[0].add_(1)
    rows = [batch[:, -1].tolist() for batch in batches]
    assert rows == [[1, 2], [2, 3], [4, 5], [6, 7]]
    assert batches[1].untyped_storage().nbytes() == 2 * LARGE * 4


def _nested(index: int) -> Any:
    wide = np.arange(LARGE, dtype=np.float32) + index
    return {
        "point": Point(rushlight.from_numpy(wide).bfloat16(), [index, "name"]),
        "arrays": [wide[::2], np.asfortranarray(wide[:4096].reshape(64, 64)), np.empty((0, 3))],
        "small": (rushlight.tensor(index), rushlight.ones(3, dtype=rushlight.complex64), 0.5),
    }


def test_any_nesting() -> None:
    ours = list(DataLoader(Items(_nested, 4), 2, num_workers=1))
    aim = list(DataLoader(Items(_nested, 4), 2))
    assert str(ours) == str(aim)
    for mine, other in zip(ours, aim, strict=True):
        assert mine["point"].x.is_shared() and not mine["small"][0].is_shared()
        assert mine["point"].x.equal(other["point"].x)
        assert all(a.equal(b) for a, b in zip(mine["arrays"], other["arrays"], strict=True))


def test_arrays_stay_arrays_and_can_be_written() -> None:
    loader = DataLoader(
        Items(lambda i: np.full((3, LARGE), i).T), 2, num_workers=1, collate_fn=list
    )
    for number, (first, second) in enumerate(loader):
        assert (first == 2 * number).all() and (second == 2 * number + 1).all()
        assert first.shape == (LARGE, 3)
        first += 1


def test_what_a_view_keeps_is_never_used_again() -> None:
    loader = DataLoader(Items(_large, 120), 2, num_workers=2, persistent_workers=True)
    kept = []
    for epoch in range(2):
        for number, batch in enumerate(loader):
            if number % 3 == 0:
                kept.append((epoch, number, batch.numpy()[1, 5:]))
    del loader, batch
    gc.collect()
    assert all((view == 2 * number + 1).all() for _, number, view in kept)


def test_memory_is_used_again_and_given_back() -> None:
    batches = iter(DataLoader(Items(_large, 200), 2, num_workers=1))
    inbox = batches._crew.workers[0].inbox
    addresses = {next(batches).data_ptr() for _ in range(90)}
    assert len(addresses) <= 6  # four under way, one in hand
    last = next(batches)
    list(batches)
    assert _mapped_kb(inbox) <= shared.block_size(2 * LARGE * 4) // 1024
    assert last[0, 0] == 180
    del last
    assert _mapped_kb(inbox) == 0


def test_many_batches_let_go_give_their_pages_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "KEPT_FREE", 1 << 16)
    loader = DataLoader(Items(_large, 80), 2, num_workers=1, persistent_workers=True)
    kept = list(loader)
    (worker,) = killing.pids_of(loader._kept)
    assert _file_kb(worker) >= 40 * 40
    kept.clear()
    rows = [batch[0, 0].item() for batch in loader]
    assert rows == [float(i) for i in range(0, 80, 2)]
    assert _file_kb(worker) < 12 * 48


def test_no_room_and_no_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [batch.tolist() for batch in DataLoader(Items(_large), 3)]
    file, whole = shared.new_file()
    outbox = shared.Outbox(shared.SharedFile(file.descriptor, 1 << 16))
    assert outbox.put([memoryview(bytes(1 << 17))]) is None
    file.close()
    del whole
    monkeypatch.setattr(crew, "new_file", lambda: None)
    batches = list(DataLoader(Items(_large), 3, num_workers=1))
    assert [batch.tolist() for batch in batches] == wanted
    assert not batches[0].is_shared()
    batches[0].add_(1)


def test_limits_on_address_space_make_the_file_smaller() -> None:
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "import rushlight\n"
        "from rushlight.utils.data import DataLoader, TensorDataset, shared\n"
        "file, whole = shared.new_file(); print(file.size == whole.size == 1 << 25)\n"
        "rows = TensorDataset(rushlight.arange(1 << 15).view(8, -1))\n"
        "print(sum(len(x) for x, in DataLoader(rows, 2, num_workers=1)))"
    )
    assert _output(script).split() == ["True", "8"]


def test_blocks_that_a_forked_process_may_see_wait_for_its_end() -> None:
    file, whole = shared.new_file()
    inbox, outbox = shared.Inbox(whole), shared.Outbox(file)

    def batch() -> Any:
        return inbox.arrays(outbox.put([memoryview(b"x" * 10_000)]))

    held = batch()
    numbers: list[int] = []
    with shared.forks.of_workers(numbers):
        shared.forks._forking()
    del held
    assert inbox.take_free() == []  # that worker may look at it
    shared.forks.ended(numbers)
    assert [free.offset for free in inbox.take_free()] == [0]
    held = batch()
    shared.forks._forking()  # somebody else's process: nobody knows how long it lives
    held = batch()
    assert inbox.take_free() == []
    del held
    assert len(inbox.take_free()) == 1
    file.close()


# -- several passes, left early, side by side, one in another ----------------------------------


def test_iterators_side_by_side_and_loaders_in_loaders() -> None:
    rows = TensorDataset(rushlight.arange(12))
    loader = DataLoader(rows, 3, num_workers=1)
    for (a,), (b,) in zip(loader, loader, strict=True):
        assert a.equal(b)
    inner = DataLoader(rows, 6, num_workers=1)
    sums = [a.sum().item() + sum(b.sum().item() for (b,) in inner) for (a,) in loader]
    assert sums == [69, 78, 87, 96]


@pytest.mark.parametrize("persistent", [False, True])
def test_leaving_early_ends_the_workers(persistent: bool) -> None:
    gc.collect()
    before = killing.left_behind()
    loader = DataLoader(Items(_large, 50), 1, num_workers=2, persistent_workers=persistent)
    for _ in range(2):
        batches = iter(loader)
        assert next(batches)[0, 0] == 0
    pids = killing.pids_of(batches)
    del batches, loader
    gc.collect()
    assert not any(map(killing.alive, pids))
    assert killing.left_behind() == before


def test_a_forked_process_gets_workers_of_its_own() -> None:
    loader = DataLoader(Items(int), 1, num_workers=1, persistent_workers=True)
    batches = iter(loader)
    next(batches)
    child = os.fork()
    if not child:
        try:
            os._exit(sum(len(batch) for batch in loader) if not batches._crew._closed else 1)
        except BaseException:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8
    assert sum(len(batch) for batch in batches) == 7


def test_an_iterator_in_a_circle_of_garbage_ends_its_workers() -> None:
    batches = iter(DataLoader(Items(_large, 50), 1, num_workers=2))
    next(batches)
    pids = killing.pids_of(batches)
    batches.circle = batches._crew.workers[0].circle = [batches]
    del batches
    gc.collect()
    assert not any(map(killing.alive, pids))


def test_a_worker_has_no_workers() -> None:
    def item(index: int) -> Any:
        return list(DataLoader(Items(int), num_workers=1))

    with pytest.raises(AssertionError, match="daemonic processes are not allowed to have children"):
        list(DataLoader(Items(item), num_workers=1))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_start_methods(method: str) -> None:
    loader = DataLoader(
        killing.Numbers(), 2, sampler=range(6), num_workers=1, multiprocessing_context=method
    )
    assert [batch[:, 0].tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5]]


# -- what goes wrong ------------------------------------------------------------------------------


def test_killed() -> None:
    gc.collect()
    names, files = killing.left_behind()
    for _ in range(3):
        assert killing.kill_worker("fork") < SOON_S
    assert killing.left_behind() == (names, files)
    assert killing.kill_parent("fork") < SOON_S
    assert killing.left_behind() == (names, files)


def test_a_killed_worker_is_told_while_another_takes_its_time() -> None:
    def item(index: int) -> int:
        time.sleep(0.0 if index == 0 else 30)
        return index

    loader = DataLoader(Items(item), 1, num_workers=2, prefetch_factor=1, persistent_workers=True)
    batches = iter(loader)
    next(batches)
    victim, slow = killing.pids_of(batches)
    os.kill(victim, signal.SIGKILL)
    os.kill(slow, signal.SIGSTOP)  # does not hear that it should end, either
    started = time.perf_counter()
    with pytest.raises(RuntimeError, match=rf"worker \(pid\(s\) {victim}\).*SIGKILL"):
        next(batches)
    assert time.perf_counter() - started < SOON_S
    assert not killing.alive(slow)
    with pytest.raises(RuntimeError, match="shut down"):
        next(batches)
    assert iter(loader) is not batches  # a new pass gets new workers
    loader._kept._crew.close()


def test_many_batches_and_few_files() -> None:
    script = Path(killing.__file__)
    subprocess.run([sys.executable, str(script), "--keep", "1500"], check=True)


class _Fails:
    """Raises where it is told to."""

    def __init__(self, *places: str) -> None:
        self.places = places

    def __call__(self, place: str) -> None:
        if place in self.places:
            raise ValueError(f"broken in {place}")


class _Broken(Dataset[int]):
    def __init__(self, place: str) -> None:
        self.fail = _Fails(place)

    def __len__(self) -> int:
        self.fail("len")
        return 4

    def __getitem__(self, index: int) -> int:
        return index

    def __getitems__(self, indices: list[int]) -> list[int]:
        self.fail("getitems")
        return [index * 10 for index in indices]


class _BrokenStream(IterableDataset[int]):
    def __init__(self, place: str) -> None:
        self.fail = _Fails(place)

    def __iter__(self) -> Any:
        self.fail("iter")
        yield 1
        self.fail("next")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "dataset",
    [_Broken("len"), _Broken("getitems"), _BrokenStream("iter"), _BrokenStream("next")],
    ids=["len", "getitems", "iter", "next"],
)
def test_errors_of_the_dataset(dataset: Any, workers: int) -> None:
    with pytest.raises(ValueError, match=f"broken in {dataset.fail.places[0]}"):
        list(DataLoader(dataset, 2, num_workers=workers))


def test_errors_at_the_beginning_of_a_pass() -> None:
    with pytest.raises(ValueError, match=r"(?s)in DataLoader worker process 0.*broken in init"):
        list(DataLoader(Items(int), num_workers=1, worker_init_fn=lambda _: _Fails("init")("init")))

    class Once(IterableDataset[int]):
        passes = 0

        def __iter__(self) -> Any:
            Once.passes += 1
            if Once.passes > 1:
                raise ValueError("only once")
            return iter([1])

    loader = DataLoader(Once(), num_workers=1, persistent_workers=True)
    assert [batch.tolist() for batch in loader] == [[1]]
    with pytest.raises(ValueError, match="only once"):
        list(loader)
    loader._kept._crew.close()


class _Poison:
    """Unpickled, it is an error."""

    def __reduce__(self) -> Any:
        return _Fails("unpickling"), ("unpickling",)


def test_what_cannot_be_unpickled_and_what_looks_like_an_end() -> None:
    with pytest.raises(ValueError, match=r"(?s)unpickling a batch of DataLoader worker.*broken in"):
        list(DataLoader(Items(lambda i: _Poison()), num_workers=1, collate_fn=list))

    def stops(index: int) -> int:
        raise StopIteration("not the end")

    with pytest.raises(RuntimeError, match="not the end"):
        list(DataLoader(Items(stops), num_workers=1))


def test_a_message_longer_than_a_pipe_both_ways() -> None:
    many = list(range(60_000))
    loader = DataLoader(
        Items(int), batch_sampler=[many] * 6, num_workers=1, collate_fn=lambda batch: batch,
    )  # fmt: skip
    assert all(batch == many for batch in loader)


# -- the end of the process ----------------------------------------------------------------------


def _output(script: str) -> str:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_the_end_of_the_process_is_quiet() -> None:
    script = (
        "import rushlight\n"
        "from rushlight.utils.data import DataLoader, TensorDataset\n"
        "data = TensorDataset(rushlight.zeros(64, 9999))\n"
        "kept = DataLoader(data, 4, num_workers=2, persistent_workers=True)\n"
        "first = next(iter(kept)); open_one = iter(DataLoader(data, 4, num_workers=1)); next(open_one)\n"
        "print('done')"
    )
    assert _output(script) == "done"


def test_an_interrupt_ends_everybody() -> None:
    script = (
        "import signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "import kill_loader_workers as killing\n"
        "batches = killing.endless('fork'); next(batches)\n"
        "print(*killing.pids_of(batches), flush=True)\n"
        "for _ in batches: pass"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(killing.__file__).parent)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    workers = [int(pid) for pid in process.stdout.readline().split()]
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.strip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1
    assert not any(map(killing.alive, workers))


def test_generators_differ_by_worker_and_epoch_and_repeat_by_seed() -> None:
    def draws(index: int) -> Any:
        return np.random.rand(), random.random(), rushlight.rand(()).item()  # noqa: NPY002

    def run() -> list[Any]:
        rushlight.manual_seed(5)
        loader = DataLoader(Items(draws), 1, num_workers=2)
        return [[column.item() for column in row] for _ in range(2) for row in loader]

    first = run()
    assert first == run()
    for column in zip(*first, strict=True):
        assert len(set(column)) == len(column) == 16
