"""Files that are a little wrong, for every reader: made from a seed, read, and held to what reading may do.

A mutated file may load or be refused. It may not crash the process, take more memory or time than its size is worth,
raise anything but the errors of a bad file, or run code. `check` says what a case did.
"""

from __future__ import annotations

import io
import pickle
import random
import shutil
import signal
import struct
import tempfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rushlight
from rushlight import nn, optim
from rushlight.serialization import CheckpointError
from rushlight.serialization.archive import Archive, ArchiveWriter, Source
from rushlight.serialization.opcodes import TABLE
from rushlight.serialization.pretrained import _read, save_pretrained
from rushlight.serialization.safetensors import save_file
from tests.serialization import hostile
from tests.serialization.watching import watched

#: What a reader may raise for a bad file.
REFUSALS = (pickle.UnpicklingError, CheckpointError, EOFError)

#: CPU seconds that a file of a few kilobytes may take.
LIMIT_SECONDS = 5


# -- whole files to begin with -----------------------------------------------------------------------


def checkpoint() -> dict[str, Any]:
    """A small checkpoint with a bit of everything."""
    rushlight.manual_seed(0)
    net = nn.BatchNorm1d(3)
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    net(rushlight.ones(2, 3)).sum().backward()
    optimizer.step()
    scheduler = optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    base = rushlight.arange(12.0)
    return {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "epoch": 3,
        "views": [base, base[2:6], base.reshape(3, 4).t()],
        "dtypes": [rushlight.zeros(3, dtype=d) for d in (rushlight.bfloat16, rushlight.uint16, rushlight.complex64)],
        "numpy": (np.arange(6, dtype=np.int16).reshape(2, 3), np.float64(0.5), np.array(["ab"])),
        "plain": [None, True, -5, 1 << 70, 0.5, "text", b"bytes", bytearray(b"a"), 1j, slice(1, 2), {1, 2}],
        "kinds": (Counter("aab"), OrderedDict(a=1), rushlight.float32, rushlight.Size([2, 3]), range(3)),
        "parameter": nn.Parameter(rushlight.ones(2)),
    }  # fmt: skip


def _zip(state: Any) -> bytes:
    file = io.BytesIO()
    rushlight.save(state, file)
    return file.getvalue()


def _legacy(state: Any) -> bytes:
    file = io.BytesIO()
    rushlight.save(state, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def tar(state_stream: bytes | None = None) -> bytes:
    """A file as PyTorch wrote it before 0.1.10: one storage, and a tensor in a list."""
    number = "<q"
    storages = (
        pickle.dumps(1, 2)
        + b"\x80\x02" + hostile.group(b"K\x05", hostile.text("cpu"), hostile.name("torch", "FloatStorage")) + b"."
        + struct.pack(number, 6) + np.arange(6, dtype=np.float32).tobytes()
        + pickle.dumps([(7, 5, 2, 3)], 2)
    )  # fmt: skip
    tensors = (
        pickle.dumps(1, 2)
        + b"\x80\x02" + hostile.group(b"K\x06", b"K\x05", hostile.name("torch", "FloatTensor")) + b"."
        + struct.pack("<ii", 2, 0) + struct.pack("<5q", 2, 3, 3, 1, 0)
    )  # fmt: skip
    stream = state_stream or hostile.stream(
        b"](" + hostile.text("6") + b"Q" + hostile.text("6") + b"Qe"
    )
    members = {
        "sys_info": pickle.dumps({}, 2),
        "storages": storages,
        "tensors": tensors,
        "pickle": stream,
    }
    out = bytearray()
    for name, data in members.items():
        header = bytearray(512)
        header[: len(name)] = name.encode()
        header[100:108], header[124:136], header[156:157] = (
            b"0000644\0",
            b"%011o\0" % len(data),
            b"0",
        )
        header[257:263] = b"ustar\0"
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        out += header + data + bytes(-len(data) % 512)
    return bytes(out + bytes(1024))


# -- kinds of cases ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A family of cases: how one is made by chance, and who reads it."""

    make: Callable[[random.Random], Any]
    read: Callable[[Any, Path], Any]


_INTERESTING = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0xFFFFFFFF,
    (1 << 63) - 1,
    (1 << 64) - 1,
)


def mutated(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """A file with a few things changed."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 8))):
        if not changed:
            break
        at = chance.randrange(len(changed))
        length = min(chance.choice((1, 2, 4, 8, 16, 64, 256)), len(changed) - at)
        action = chance.randrange(9)
        if action == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif action == 1:
            changed[at] = chance.randrange(256)
        elif action == 2:
            size = chance.choice((1, 2, 4, 8))
            changed[at : at + size] = (
                chance.choice(_INTERESTING) & ((1 << 8 * size) - 1)
            ).to_bytes(size, "little")
        elif action == 3:
            del changed[at : at + length]
        elif action == 4:
            changed[at:at] = changed[at : at + length]
        elif action == 5:
            start = chance.randrange(len(other))
            changed[at:at] = other[start : start + length]
        elif action == 6:
            target = chance.randrange(len(changed))
            changed[target : target + length] = changed[at : at + length]
        elif action == 7:
            del changed[at:]
        else:
            changed[at] = chance.choice(list(TABLE))
    return bytes(changed)


class Corpus:
    """The whole files, made once."""

    def __init__(self) -> None:
        state = checkpoint()
        self.zip, self.legacy, self.tar = _zip(state), _legacy(state), tar()
        self.small = _zip({"w": rushlight.ones(4)})
        self.archive = Archive(Source(io.BytesIO(self.zip)))
        self.stream = self.archive.read("data.pkl")
        self.records = {
            name: self.archive.read(name) for name in self.archive.records if name != "data.pkl"
        }
        self.hostile = list(hostile.CASES.values())
        tensors = {name: t.clone() for name, t in state["model"].items()}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            save_file(tensors, path / "one.safetensors", {"about": "fuzz"})
            self.safetensors = (path / "one.safetensors").read_bytes()
            save_pretrained(
                nn.Linear(3, 4),
                path / "folder",
                config={"width": 4, "of": [1, {"a": None}]},
                max_shard_size=40,
            )
            self.folder = {file.name: file.read_bytes() for file in (path / "folder").iterdir()}
        self._read_once()

    def _read_once(self) -> None:
        """The whole files load; and what is imported for that is imported now, before anybody listens."""
        for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
            "".encode(encoding)
        with tempfile.TemporaryDirectory() as folder:
            for data in (self.zip, self.small, self.legacy, self.tar):
                _load(data, Path(folder))
            _load_safetensors(self.safetensors, Path(folder))()
            _load_mapped(self.zip, Path(folder))()
        with tempfile.TemporaryDirectory() as folder:
            _load_folder(self.folder, Path(folder))()

    def packed(self, stream: bytes) -> bytes:
        """The checkpoint with another stream, and sums that fit."""
        file = io.BytesIO()
        writer = ArchiveWriter(file)
        writer.write("data.pkl", stream)
        for name, data in self.records.items():
            if name not in ("version", ".data/serialization_id"):
                writer.write(name, data)
        writer.finish()
        return file.getvalue()

    def random_stream(self, chance: random.Random) -> bytes:
        """Operations by chance: parts of hostile streams, of good ones, and single ones."""
        parts = [b"\x80\x02"]
        for _ in range(chance.randrange(1, 12)):
            choice = chance.randrange(4)
            if choice == 0:
                parts.append(chance.choice(self.hostile)[2:-1])
            elif choice == 1:
                start = chance.randrange(len(self.stream))
                parts.append(self.stream[start : start + chance.randrange(1, 60)])
            elif choice == 2:
                parts.append(
                    bytes(chance.choice(list(TABLE)) for _ in range(chance.randrange(1, 8)))
                )
            else:
                parts.append(
                    hostile.tensor(
                        offset=b"K" + bytes([chance.randrange(8)]),
                        flag=chance.choice((b"\x88", b"\x89")),
                    )
                )
        return b"".join(parts) + b"."

    def kinds(self) -> dict[str, Kind]:
        """All families."""

        def of(data: bytes, other: bytes) -> Callable[[random.Random], bytes]:
            return lambda chance: mutated(data, chance, other)

        def folder(chance: random.Random) -> dict[str, bytes]:
            files = dict(self.folder)
            name = chance.choice(
                [name for name in files if name.endswith(".json")] * 3 + list(files)
            )
            files[name] = mutated(files[name], chance, self.folder["config.json"])
            return files

        return {
            "zip": Kind(of(self.zip, self.legacy), _load),
            "small zip": Kind(of(self.small, self.zip), _load),
            "mapped zip": Kind(of(self.small, self.zip), _load_mapped),
            "legacy": Kind(of(self.legacy, self.zip), _load),
            "tar": Kind(of(self.tar, self.legacy), _load),
            "stream": Kind(
                lambda chance: self.packed(mutated(self.stream, chance, chance.choice(self.hostile) or b"N")), _load
            ),
            "random stream": Kind(lambda chance: self.packed(self.random_stream(chance)), _load),
            "hostile stream": Kind(
                lambda chance: self.packed(mutated(chance.choice(self.hostile)[:4000], chance, self.stream)), _load
            ),
            "safetensors": Kind(of(self.safetensors, self.zip), _load_safetensors),
            "folder": Kind(folder, _load_folder),
        }  # fmt: skip


# -- reading -----------------------------------------------------------------------------------------


def _load(data: bytes, folder: Path) -> Any:
    return rushlight.load(io.BytesIO(data))


def _load_mapped(data: bytes, folder: Path) -> Any:
    path = folder / "case.pt"
    path.write_bytes(data)
    return lambda: rushlight.load(path, mmap=data.startswith(b"PK"))


def _load_safetensors(data: bytes, folder: Path) -> Any:
    path = folder / "case.safetensors"
    path.write_bytes(data)
    return lambda: rushlight.load(path)


def _load_folder(files: dict[str, bytes], folder: Path) -> Any:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return lambda: _read(folder)


def _touch(value: Any, seen: set[int]) -> None:
    """Reads every element that was loaded, as a user will."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, rushlight.Tensor):
            value = value._array
        if isinstance(value, np.ndarray):
            if value.size < 100_000:
                value.tobytes()
        elif isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            waiting += value


class TooLongError(BaseException):
    """A file took more CPU time than any of its size needs."""


@contextmanager
def limited() -> Iterator[None]:
    """Ends what takes too long; counts the time of this process alone, so that a busy machine does not matter."""

    def end(*_: Any) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def check(kind: Kind, seed: int, folder: Path) -> tuple[str, str]:
    """Makes and reads one case. Returns "loaded", "refused" or "wrong", and what it said."""
    case = kind.make(random.Random(seed))
    for left in folder.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    read: Any = lambda: kind.read(case, folder)
    if kind.read is not _load:
        read = kind.read(case, folder)
    word, said = "loaded", ""
    try:
        with limited(), watched(folder) as heard:
            found = read()
            _touch(found, set())
            del found
    except REFUSALS as problem:
        word, said = "refused", f"{type(problem).__name__}: {problem}"
    except TooLongError:
        return "wrong", f"took more than {LIMIT_SECONDS} s of CPU"
    except FileNotFoundError as problem:
        if kind.read is not _load_folder:
            return "wrong", repr(problem)
        word, said = "refused", repr(problem)
    except BaseException as problem:
        if isinstance(problem, KeyboardInterrupt):
            raise
        return "wrong", f"{type(problem).__name__}: {problem}"
    if heard:
        return "wrong", f"did {heard[0]}"
    return word, said


def seed_of(index: int, first: int = 0) -> int:
    """The seed of the case with this number."""
    return first * 1_000_003 + index


__all__ = ["LIMIT_SECONDS", "REFUSALS", "Corpus", "Kind", "check", "seed_of", "tar"]
