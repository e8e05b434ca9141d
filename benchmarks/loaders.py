"""Images per second that a DataLoader gives, beside PyTorch's: 0, 1 and 2 workers, small and large samples.

    python benchmarks/loaders.py [--tables rates,ready] [--sets rows,transformed] [--sizes small,large] [--rounds 3]

The second table is how long a new worker takes until its first batch is there, by start method; asked: 0.3 s.

`rows` is a TensorDataset, read in a random order. `transformed` is a Dataset in Python: a picture of bytes is flipped,
made float and normalized in NumPy, sample by sample. Workers are kept from epoch to epoch; the first epoch is not
timed. Asked: at least PyTorch's rate everywhere, 3 times it for rows without workers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from typing import Any

import numpy as np
from common import Table, in_process, met, processors

#: By name: the shape of a picture, how many there are, how many a batch has.
SIZES = {
    "small": ((1, 28, 28), 16384, 64),
    "large": ((3, 224, 224), 512, 32),
}
SETS = ("rows", "transformed")
STARTS = ("fork", "spawn", "forkserver")
READY_S = 0.3


class Ready:
    """A dataset that costs nothing: its first batch is there when the worker is."""

    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return 1


def dataset_of(library: Any, kind: str, size: str) -> Any:
    """The pictures of this size as a dataset of either library."""
    data = importlib.import_module(library.__name__ + ".utils.data")
    shape, count, _ = SIZES[size]
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, count)
    if kind == "rows":
        pictures = random.random((count, *shape), np.float32)
        return data.TensorDataset(library.from_numpy(pictures), library.from_numpy(labels))
    pictures = random.integers(0, 256, (count, *shape), np.uint8)

    class Transformed(data.Dataset):  # type: ignore[misc, name-defined]
        def __getitem__(self, index: int) -> tuple[Any, int]:
            picture = pictures[index]
            if index % 2:
                picture = picture[..., ::-1]
            return (picture / np.float32(255) - np.float32(0.5)) / np.float32(0.25), int(
                labels[index]
            )

        def __len__(self) -> int:
            return count

    return Transformed()


def one(name: str, kind: str, size: str, workers: int, seconds: float) -> None:
    """Inside a process: prints images a second, and what all labels of an epoch sum to."""
    library = importlib.import_module(name)
    if name == "torch":
        library.set_num_threads(processors())
    library.manual_seed(0)
    dataset = dataset_of(library, kind, size)
    loader_class = importlib.import_module(name + ".utils.data").DataLoader
    loader = loader_class(
        dataset, SIZES[size][2], shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )

    def epoch() -> int:
        return sum(len(pictures) for pictures, _ in loader)

    first = next(iter(loader))[0].sum().item()
    count = epoch()
    rates = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends or len(rates) < 3:
        started = time.perf_counter()
        epoch()
        rates.append(count / (time.perf_counter() - started))
    print(json.dumps({"rate": statistics.median(rates), "first": first}))


def ready(name: str) -> None:
    """Inside a process: prints the seconds until a worker's first batch, by start method."""
    loader_class = importlib.import_module(name + ".utils.data").DataLoader
    found = {}
    for method in STARTS:
        seconds = []
        for _ in range(5 if name == "rushlight" else 1):  # torch's take seconds each
            started = time.perf_counter()
            batches = iter(loader_class(Ready(), num_workers=1, multiprocessing_context=method))
            next(batches)
            seconds.append(time.perf_counter() - started)
            del batches
        found[method] = statistics.median(seconds)
    print(json.dumps(found))


def compare_ready() -> bool:
    """Prints the second table."""
    print("\na worker's first batch")
    table = Table(("started by", "torch s", "ours s", "asked", ""))
    theirs, ours = (in_process("loaders.py", "--ready", name) for name in ("torch", "rushlight"))
    for method in STARTS:
        table.row(
            method, f"{theirs[method]:.3f}", f"{ours[method]:.3f}", f"{READY_S} s", met(ours[method] <= READY_S)
        )  # fmt: skip
    return all(seconds <= READY_S for seconds in ours.values())


def compare_rates(options: argparse.Namespace) -> bool:
    """Prints the first table."""
    table = Table(
        ("dataset    ", "size ", "workers", "torch img/s", "ours img/s", "ratio", "asked", ""), 2
    )
    good = True
    for kind in options.sets.split(","):
        for size in options.sizes.split(","):
            for workers in map(int, options.workers.split(",")):
                pairs = [
                    [
                        in_process(
                            "loaders.py", "--seconds", options.seconds, "--one", name, kind, size, workers
                        )
                        for name in ("torch", "rushlight")
                    ]
                    for _ in range(options.rounds)
                ]  # fmt: skip
                if any(abs(t["first"] - r["first"]) > 1e-3 * abs(t["first"]) for t, r in pairs):
                    raise RuntimeError(f"{kind}, {size}: the first batches differ")
                theirs, ours = (statistics.median(p[i]["rate"] for p in pairs) for i in (0, 1))
                ratio = statistics.median(r["rate"] / t["rate"] for t, r in pairs)
                asked = 3 if (kind, workers) == ("rows", 0) else 1
                good &= ratio >= asked
                table.row(
                    kind, size, workers, f"{theirs:,.0f}", f"{ours:,.0f}", f"{ratio:.2f}x", f"{asked}x",
                    met(ratio >= asked),
                )  # fmt: skip
    return good


def main() -> int:
    """Prints the tables; 1 where a rate is less than asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", default="rates,ready")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--workers", default="0,1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing in each process")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--ready", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ready:
        ready(options.ready)
        return 0
    if options.one:
        name, kind, size, workers = options.one
        one(name, kind, size, int(workers), options.seconds)
        return 0
    good = True
    if "rates" in options.tables:
        good &= compare_rates(options)
    if "ready" in options.tables:
        good &= compare_ready()
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
