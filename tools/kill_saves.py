"""Kills processes in the middle of saving, and looks at what they left: the old state or the new one, complete.

    python tools/kill_saves.py [--count 200] [--kind save --kind safetensors ...] [--seed 0]

Half of the kills come at chosen moments (before the n-th call that Python makes in the save, n spread over all of
them), half at random times, all by SIGKILL. At the end, one save that is left alone must find and remove what the
killed ones have left. One line for each kind; the exit code says whether every file was complete.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rushlight
from rushlight import nn
from rushlight.serialization import (
    PretrainedMixin,
    load_checkpoint,
    load_file,
    save_checkpoint,
    save_file,
)

SIZE = 100_000  # elements of a tensor: 400 kB


class Net(nn.Module, PretrainedMixin):
    """All of its weights, and an argument of its constructor, are one number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.parts = nn.ParameterList(rushlight.full((SIZE,), float(number)) for _ in range(4))


def state(number: int) -> dict[str, Any]:
    """Tensors that are full of a number."""
    return {f"part{i}": rushlight.full((SIZE,), float(number)) for i in range(4)}


def only_number(tensors: Any) -> int:
    """The number that all tensors are full of; ValueError if they are not."""
    found = {float(value) for t in tensors for value in t.unique().tolist()}
    if len(found) != 1:
        raise ValueError(f"a mixture of {found}")
    return int(found.pop())


def read_model(folder: Path) -> int:
    """The number of a saved Net, in its config and its weights alike."""
    model = Net.from_pretrained(folder)
    number = only_number(model.parameters())
    if model.number != number:
        raise ValueError(f"the config of {model.number} with the weights of {number}")
    return number


#: For each kind of file: how a number is saved in a folder, and how it is read.
KINDS: dict[str, tuple[Callable[[Path, int], Any], Callable[[Path], int]]] = {
    "safetensors": (
        lambda folder, number: save_file(state(number), folder / "f"),
        lambda folder: only_number(load_file(folder / "f").values()),
    ),
    "checkpoint": (
        lambda folder, number: save_checkpoint(folder / "f", state(number), {}),
        lambda folder: only_number(load_checkpoint(folder / "f")[0].values()),
    ),
    "pretrained": (lambda folder, number: Net(number).save_pretrained(folder), read_model),
    "shards": (
        # Every third state is one file, so that each way of saving replaces the other.
        lambda folder, number: Net(number).save_pretrained(
            folder, max_shard_size="5GB" if number % 3 == 0 else 900_000
        ),
        read_model,
    ),
}
if hasattr(rushlight, "save"):
    KINDS["save"] = (
        lambda folder, number: rushlight.save(state(number), folder / "f"),
        lambda folder: only_number(rushlight.load(folder / "f").values()),
    )


def in_child(act: Callable[[], Any]) -> int:
    """Starts a process that does something and ends; its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return child


def killed_at(call: int | None, act: Callable[[], Any]) -> int:
    """Does something, and kills this process before a call of it; else the number of calls."""
    made = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal made
        if event in ("call", "c_call"):
            made += 1
            if made == call:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return made


def kills(kind: str, folder: Path, count: int, draw: random.Random) -> Iterator[tuple[int, int]]:
    """Before each kill's outcome: the number that was being saved, and the one found afterwards."""
    save, read = KINDS[kind]
    save(folder, 0)
    calls = killed_at(None, lambda: save(folder, 1))
    begin = time.perf_counter()
    os.waitpid(in_child(lambda: save(folder, 2)), 0)
    seconds = time.perf_counter() - begin
    chosen = [1 + round(i * (calls - 1) / max(count // 2 - 1, 1)) for i in range(count // 2)]
    for trial in range(count):
        number = 3 + trial
        if trial < len(chosen):
            call = chosen[trial]
            child = in_child(lambda: killed_at(call, lambda: save(folder, number)))  # noqa: B023 - it runs at once
        else:
            child = in_child(lambda: save(folder, number))  # noqa: B023 - it runs at once
            time.sleep(draw.uniform(0, 1.1 * seconds))
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        yield number, read(folder)


def main() -> int:
    """Runs the kills that the command line asks for."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--count", type=int, default=200, help="kills for each kind")
    options.add_argument("--kind", action="append", choices=sorted(KINDS))
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    good = True
    for kind in chosen.kind or sorted(KINDS):
        old = new = left = 0
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            before = 2
            for number, found in kills(kind, folder, chosen.count, random.Random(chosen.seed)):
                if found not in (before, number):
                    print(f"{kind}: {found} was found after saving {number} over {before}")
                    good = False
                old += found == before
                new += found == number
                before = found
            left = sum(path.name.endswith(".part") for path in folder.iterdir())
            KINDS[kind][0](folder, 0)
            after = [path.name for path in folder.iterdir() if path.name.endswith(".part")]
            good &= not after and KINDS[kind][1](folder) == 0
        print(
            f"{kind:12} {chosen.count} kills: {old} left the old state, {new} the new one, "
            f"{chosen.count - old - new} anything else; {left} unfinished files, {len(after)} after the next save"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
