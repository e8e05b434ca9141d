"""Checkpoints in PyTorch's zip format, read: the records of an archive, and the state in its pickle stream."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.core.dtypes import UINT8
from rushlight.serialization.archive import Archive, Source, local_records
from rushlight.serialization.errors import DamagedFileError, UnpicklingError
from rushlight.serialization.machine import Machine
from rushlight.serialization.mapping import map_file
from rushlight.serialization.opcodes import Cursor
from rushlight.serialization.storages import (
    Identity,
    Placing,
    make_storage,
    swap_bytes,
)
from rushlight.serialization.survey import survey

_PICKLE = "data.pkl"

#: Memory in the middle of a file that is not at a multiple of this many bytes is copied.
_WIDEST = 16


class Storages:
    """The storages of a checkpoint by their persistent ids, each read once, when it is first named.

    `fetch(key, nbytes)` gives the bytes of one.
    """

    def __init__(
        self, fetch: Callable[[str, int], Any], place: Placing, foreign_order: bool = False
    ) -> None:
        self.fetch = fetch
        self.place = place
        self.foreign_order = foreign_order
        self.memories: dict[str, Any] = {}
        self.made: dict[Any, Any] = {}

    def __call__(self, identity: Any, where: str) -> Any:
        asked = Identity(identity)
        found = self.made.get((asked.key, asked.kind, asked.view))
        if found is None:
            found = self._make(asked, where)
            self.made[asked.key, asked.kind, asked.view] = found
        return found

    def _make(self, asked: Identity, where: str) -> Any:
        memory = self.memories.get(asked.key)
        fresh = memory is None
        if memory is None:
            memory = self.memories[asked.key] = self._read(asked, where)
        if asked.nbytes > memory.size:
            raise DamagedFileError(
                f"the storage {asked.key!r} is {memory.size} bytes, and {asked.nbytes} are wanted"
            )
        if asked.view is not None:
            start, count = (n * asked.kind.itemsize for n in asked.view)
            if start + count > memory.size:
                raise UnpicklingError("a view of a storage reaches outside of it")
            memory = memory[start : start + count]
        storage = make_storage(asked.kind, memory)
        if self.foreign_order and fresh:
            if asked.kind.dtype is None:
                storage.foreign_order = True  # type: ignore[attr-defined]
            else:
                swap_bytes(memory, asked.kind.dtype.numpy)
        return self.place(storage, asked.location)

    def _read(self, asked: Identity, where: str) -> Any:
        try:
            return self.fetch(asked.key, asked.nbytes)
        except DamagedFileError as problem:
            tensor = f". It holds the tensor {where!r}" if where else ""
            raise DamagedFileError(f"{problem}{tensor}") from None


def load_zip(source: Source, place: Placing, encoding: str, mapped: bool) -> Any:
    """The state in a checkpoint of the zip format.

    Raises DamagedFileError, naming the record and the tensor, for a file that is cut off or
    changed; UnpicklingError for one whose stream holds what a checkpoint cannot.
    """
    try:
        archive = Archive(source)
    except DamagedFileError as problem:
        _explain_loss(source, encoding, problem)
        raise
    if "constants.pkl" in archive:
        raise DamagedFileError(
            f"{source.name} is a TorchScript archive, which holds a program: load it in PyTorch by "
            "torch.jit.load, and save its state_dict()"
        )
    stream = archive.read(_PICKLE)
    order = (
        archive.read("byteorder").decode("ascii", "replace") if "byteorder" in archive else "little"
    )
    if order not in ("little", "big"):
        raise DamagedFileError(f"{source.name}: unknown byte order {order[:20]!r}")
    foreign = order != sys.byteorder
    whole = map_file(source.stream) if mapped else None

    def fetch(key: str, nbytes: int) -> Any:
        name = f"data/{key}"
        size = archive.record(name).size
        if nbytes > size:
            raise DamagedFileError(
                f"{source.name}: the record {name!r} has {size} bytes, and {nbytes} are wanted"
            )
        if whole is None or not size:
            return archive.read_memory(name)
        start = source.start + archive.place(name)
        memory = np.frombuffer(whole, UINT8, size, start)
        return memory.copy() if foreign or start % _WIDEST else memory

    storages = Storages(fetch, place, foreign)
    return Machine(Cursor(stream), storages, encoding).run()


def _explain_loss(source: Source, encoding: str, problem: DamagedFileError) -> None:
    """Of an archive that is cut off: raises an error that names the first tensor that is not whole.

    The stream with the state is the first record, so it is most often still there, and says how
    large every storage is.
    """
    data = source.read(0, source.size)
    places = local_records(data, lambda name: name == _PICKLE or name.startswith("data/"))
    if _PICKLE not in places:
        return
    try:
        named = survey(Cursor(data, places[_PICKLE]), encoding)
    except UnpicklingError:  # the stream itself is cut off
        return
    for key, (asked, where) in named.items():
        start = places.get(f"data/{key}")
        if start is None or start + asked.nbytes > len(data):
            raise DamagedFileError(
                f"{problem}. The first that is not whole is the record 'data/{key}' of "
                f"{asked.nbytes} bytes, which holds the tensor {where!r}"
            ) from None
