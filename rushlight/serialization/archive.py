"""The zip archive around a checkpoint: records stored as they are, at multiples of 64 bytes.

Only what PyTorch writes is read: records that are not compressed, each once, apart from each other
and inside of the file. What a record holds is checked by its CRC when it is read, so a damaged one
is an error; and nothing can be larger than the file.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import numpy as np

from rushlight.core.dtypes import UINT8
from rushlight.serialization.errors import DamagedFileError

ALIGNMENT = 64

_LOCAL, _CENTRAL, _DESCRIPTOR = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL_HEADER = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END_RECORD = struct.Struct("<4sHHHHIIH")
_END64_RECORD = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF

#: UTF-8 names, and sizes behind the data: PyTorch's readers compute places from that.
_FLAGS = 0x0808
_MOST_RECORDS = 1 << 20


class Source:
    """A file that is read from where it stands now: what is asked for is there, or it is an error."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.start = stream.tell()
        self.size = stream.seek(0, io.SEEK_END) - self.start
        self.name = str(getattr(stream, "name", "the file"))

    def read(self, offset: int, count: int) -> bytes:
        """Bytes from `offset` on; DamagedFileError where the file ends before."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise DamagedFileError(
                f"{self.name} is cut off: {count} bytes are wanted at {offset}, and it has {self.size}"
            )
        self.stream.seek(self.start + offset)
        data = self.stream.read(count)
        if len(data) != count:
            raise DamagedFileError(f"{self.name} became shorter while it was read")
        return data

    def read_memory(self, offset: int, count: int) -> Any:
        """The same as an array of bytes of its own."""
        if not hasattr(self.stream, "readinto") or offset < 0 or offset + count > self.size:
            return np.frombuffer(bytearray(self.read(offset, count)), UINT8)
        memory = np.empty(count, UINT8)
        self.stream.seek(self.start + offset)
        rest = memoryview(memory)  # type: ignore[arg-type]
        while rest:
            got = self.stream.readinto(rest)
            if not got:
                raise DamagedFileError(f"{self.name} became shorter while it was read")
            rest = rest[got:]
        return memory


class Record(NamedTuple):
    """Where a record of the archive is, and what its bytes add up to."""

    header: int
    size: int
    crc: int


# -- reading ---------------------------------------------------------------------------------------


class Archive:
    """The records of a checkpoint, by their names without the folder that all of them are in."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.records: dict[str, Record] = {}
        self.ends: dict[str, int] = {}  # where what follows a record begins
        offset, size, count = self._directory()
        data = source.read(offset, size)
        position, self.folder = 0, ""
        for _ in range(count):
            position = self._entry(data, position)
        self._check_apart(offset)

    def _directory(self) -> tuple[int, int, int]:
        """Where the list of records is, how long it is, and how many it lists."""
        source = self.source
        tail = min(source.size, _END_RECORD.size + _FULL16)
        data = source.read(source.size - tail, tail)
        at = data.rfind(_END)
        if at < 0 or at + _END_RECORD.size > tail:
            raise DamagedFileError(
                f"{source.name} is a zip archive without its list of records: it is cut off"
            )
        end = _END_RECORD.unpack_from(data, at)
        count, size, offset = end[4], end[5], end[6]
        place = source.size - tail + at
        if _LOCATOR.size <= place:
            mark, _, where, _ = _LOCATOR.unpack(source.read(place - _LOCATOR.size, _LOCATOR.size))
            if mark == _LOCATOR64:
                end64 = _END64_RECORD.unpack(source.read(where, _END64_RECORD.size))
                if end64[0] != _END64:
                    raise DamagedFileError(f"{source.name}: its list of records is damaged")
                count, size, offset = end64[7], end64[8], end64[9]
        if offset + size > source.size or count > min(size, _MOST_RECORDS):
            raise DamagedFileError(f"{source.name}: its list of records is damaged")
        return offset, size, count

    def _entry(self, data: bytes, position: int) -> int:
        """Notes one entry of the list; returns where the next one is."""
        name = f"entry {len(self.records)}"
        if position + _CENTRAL_HEADER.size > len(data):
            raise self._damaged(name, "is cut off")
        fields = _CENTRAL_HEADER.unpack_from(data, position)
        flags, method, crc, packed, size = fields[3], fields[4], *fields[7:10]
        name_length, extra_length, comment_length, header = *fields[10:13], fields[16]
        start = position + _CENTRAL_HEADER.size
        extra_start = start + name_length
        end = extra_start + extra_length + comment_length
        if fields[0] != _CENTRAL or end > len(data):
            raise self._damaged(name, "is damaged")
        path = data[start:extra_start].decode("utf-8", "replace")
        packed, size, header = self._sizes64(
            path, data[extra_start : extra_start + extra_length], packed, size, header
        )
        if method != 0 or packed != size or flags & 0x1:
            raise self._damaged(
                path,
                "is compressed or encrypted, which checkpoints never are: a few bytes could become "
                "any number. Pack it again without compression (zip -0)",
            )
        folder, slash, name = path.partition("/")
        if not slash or (self.folder and folder != self.folder):
            raise self._damaged(path, "is not in the one folder that a checkpoint has")
        if name in self.records:
            raise self._damaged(path, "is there twice")
        self.folder = folder
        self.records[name] = Record(header, size, crc)
        return end

    def _sizes64(
        self, name: str, extra: bytes, packed: int, size: int, header: int
    ) -> tuple[int, int, int]:
        """The sizes and the place of a record where they did not fit 32 bits."""
        wide = [size, packed, header]
        position = 0
        while position + 4 <= len(extra):
            kind, length = struct.unpack_from("<HH", extra, position)
            body = extra[position + 4 : position + 4 + length]
            if kind == 1:
                for i in range(3):
                    if wide[i] == _FULL32:
                        if len(body) < 8:
                            raise self._damaged(name, "has no size")
                        wide[i], body = int.from_bytes(body[:8], "little"), body[8:]
            position += 4 + length
        return wide[1], wide[0], wide[2]

    def _check_apart(self, directory: int) -> None:
        """Records lie behind each other, before the list of records."""
        ordered = sorted(self.records.items(), key=lambda item: item[1].header)
        ends = [record.header for _, record in ordered[1:]] + [directory]
        for (name, record), end in zip(ordered, ends):
            self.ends[name] = end
            if record.header + _LOCAL_HEADER.size + record.size > end:
                raise self._damaged(name, "reaches into the next one")

    def _damaged(self, name: str, what: str) -> DamagedFileError:
        return DamagedFileError(f"{self.source.name}: the record {name[:100]!r} {what}")

    def __contains__(self, name: str) -> bool:
        return name in self.records

    def record(self, name: str) -> Record:
        """The record of this name; DamagedFileError where there is none."""
        found = self.records.get(name)
        if found is None:
            raise self._damaged(name, "is missing")
        return found

    def place(self, name: str) -> int:
        """Where in the file the bytes of a record begin."""
        record = self.record(name)
        fields = _LOCAL_HEADER.unpack(self.source.read(record.header, _LOCAL_HEADER.size))
        path = f"{self.folder}/{name}".encode()
        start = record.header + _LOCAL_HEADER.size + fields[9] + fields[10]
        same = self.source.read(record.header + _LOCAL_HEADER.size, len(path)) == path
        if fields[0] != _LOCAL or fields[9] != len(path) or not same or fields[3] != 0:
            raise self._damaged(name, "has another header than the list says")
        if start + record.size > self.ends[name]:
            raise self._damaged(name, "reaches into the next one")
        return start

    def read(self, name: str) -> bytes:
        """The bytes of a record; DamagedFileError where they are not those that were written."""
        data = self.source.read(self.place(name), self.record(name).size)
        self._check(name, data)
        return data

    def read_memory(self, name: str) -> Any:
        """The same as an array of bytes of its own."""
        memory = self.source.read_memory(self.place(name), self.record(name).size)
        self._check(name, memory)
        return memory

    def _check(self, name: str, data: Any) -> None:
        if zlib.crc32(data) != self.record(name).crc:
            raise self._damaged(name, "is damaged: its bytes are not those that were written")


def local_records(data: bytes, wanted: Callable[[str], bool]) -> dict[str, int]:
    """Of an archive whose list is lost: where the bytes of the records begin whose names are wanted.

    Records are found by the mark of their headers.
    """
    found: dict[str, int] = {}
    at = data.find(_LOCAL)
    while at >= 0 and at + _LOCAL_HEADER.size <= len(data):
        fields = _LOCAL_HEADER.unpack_from(data, at)
        start = at + _LOCAL_HEADER.size
        path = data[start : start + fields[9]].decode("utf-8", "replace")
        name = path.partition("/")[2]
        if wanted(name):
            found.setdefault(name, start + fields[9] + fields[10])
        at = data.find(_LOCAL, at + len(_LOCAL))
    return found


# -- writing ---------------------------------------------------------------------------------------


class ArchiveWriter:
    """Writes records to a stream from its first byte to its last, as PyTorch's writer does."""

    def __init__(self, stream: Any, folder: str = "archive") -> None:
        self.stream = stream
        self.folder = folder
        self.position = 0
        self.entries: list[bytes] = []
        self.digest = hashlib.sha256()

    def _write(self, data: Any) -> None:
        self.stream.write(data)
        self.position += memoryview(data).nbytes

    def write(self, name: str, data: Any) -> None:
        """Adds a record: bytes, or an array of them."""
        path = f"{self.folder}/{name}".encode()
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        size, header, crc = view.nbytes, self.position, zlib.crc32(view)
        self.digest.update(path + crc.to_bytes(4, "little"))
        large = size >= _FULL32 or header >= _FULL32
        wide = struct.pack("<HHQQQ", 1, 24, size, size, header) if large else b""
        padding = _padding(header + _LOCAL_HEADER.size + len(path) + len(wide))
        self._write(
            _LOCAL_HEADER.pack(_LOCAL, 0, _FLAGS, 0, 0, 0, 0, 0, 0, len(path), len(wide + padding))
            + path
            + wide
            + padding
        )
        self._write(view)
        if size:
            lengths = struct.pack("<QQ" if large else "<II", size, size)
            self._write(_DESCRIPTOR + crc.to_bytes(4, "little") + lengths)
        short = (_FULL32, _FULL32) if large else (size, size)
        self.entries.append(
            _CENTRAL_HEADER.pack(
                _CENTRAL, 0, 0, _FLAGS, 0, 0, 0, crc, *short, len(path), len(wide), 0, 0, 0, 0,
                _FULL32 if large else header,
            )
            + path
            + wide
        )  # fmt: skip

    def finish(self) -> None:
        """Adds what identifies the content, and the list of records."""
        self.write("version", b"3\n")
        number = int.from_bytes(self.digest.digest()[:16], "little")
        self.write(".data/serialization_id", f"{number:040d}"[:40].encode())
        start, count = self.position, len(self.entries)
        for entry in self.entries:
            self._write(entry)
        size, end = self.position - start, self.position
        self._write(_END64_RECORD.pack(_END64, 44, 0x31E, 45, 0, 0, count, count, size, start))
        self._write(_LOCATOR.pack(_LOCATOR64, 0, end, 1))
        short = min(count, _FULL16)
        self._write(
            _END_RECORD.pack(_END, 0, 0, short, short, min(size, _FULL32), min(start, _FULL32), 0)
        )


def _padding(end_of_header: int) -> bytes:
    """An extra field that brings what follows to a multiple of 64 bytes."""
    missing = -(end_of_header + 4) % ALIGNMENT
    return b"FB" + missing.to_bytes(2, "little") + b"Z" * missing
