"""Memory in which a worker leaves its batches for the process that reads them.

What is it?
    One file for each worker, without a name and as long as the machine's memory; both processes map all of it. A page
    takes memory when it is first written. There is nothing to clean up: when both processes are gone, killed or not,
    the system frees the pages. It takes one open file while workers run, and none after that, however many batches
    are kept, as the parent maps it without keeping it open.
Who decides where a batch goes?
    The worker. Blocks come in a few sizes; one that the parent has let go is used again first, as its pages exist,
    and are mapped, in both processes: that is several times faster than memory never written.
When does the parent let a block go?
    When no array looks at it any more. It tells the worker with the next task; pages that are more than `KEPT_FREE`
    bytes go back to the system at once.
And processes that the parent has forked meanwhile?
    They may look at a block that the parent has let go. `forks` knows; such a block is not used again before they end.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: Free bytes of one worker's memory whose pages are kept for the next batches.
KEPT_FREE = 128 << 20
#: Less address space than this is not worth it; batches then travel with their messages.
_LEAST = 16 << 20
#: Where the process has a limit on address space, each worker takes one part in so many of it.
_OF_LIMIT = 64
_ALIGNMENT = 64

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Free(NamedTuple):
    """A block that the parent has let go; `warm` where its pages are still there."""

    offset: int
    size: int
    warm: bool


class Place(NamedTuple):
    """Where the buffers of a batch lie in a block."""

    offset: int
    size: int
    lengths: tuple[int, ...]


def _aligned(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT


def block_size(length: int) -> int:
    """The size of the block for so many bytes: whole pages, eight sizes between two powers of two."""
    step = max(mmap.PAGESIZE, 1 << max(length.bit_length() - 4, 0))
    return -(-length // step) * step


# -- the file and its map --------------------------------------------------------------------------


class Window:
    """Bytes at an address as NumPy sees them; keeps alive what they belong to."""

    __slots__ = ("__array_interface__", "keeper")
    is_shared_memory = True

    def __init__(self, address: int, length: int, keeper: object) -> None:
        self.__array_interface__ = {
            "data": (address, False), "shape": (length,), "typestr": "|u1", "version": 3,
        }  # fmt: skip
        self.keeper = keeper


class Map:
    """The whole of a file in the address space, by the C library: Python's mmap would keep the file open."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self._library = library = ctypes.CDLL(None, use_errno=True)
        pointer, length, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        library.mmap.restype = pointer
        library.mmap.argtypes = (pointer, length, number, number, number, ctypes.c_long)
        library.munmap.argtypes = (pointer, length)
        library.madvise.argtypes = (pointer, length, number)
        access = mmap.PROT_READ | mmap.PROT_WRITE
        found = library.mmap(None, size, access, mmap.MAP_SHARED, descriptor, 0)
        if found in (None, pointer(-1).value):
            self.size = 0
            raise OSError(ctypes.get_errno(), f"cannot map {size} bytes")
        self.address: int = found

    def window(self, offset: int, length: int, keeper: object) -> Bytes:
        """Some of the bytes, as an array that keeps `keeper` alive."""
        return np.asarray(Window(self.address + offset, length, keeper))

    def empty(self, offset: int, size: int) -> bool:
        """Gives pages back to the system; False where it has no way to do so (it knows them as Linux does)."""
        if sys.platform != "linux":
            return False
        return not self._library.madvise(self.address + offset, size, mmap.MADV_REMOVE)

    def __del__(self) -> None:
        if self.size:
            self._library.munmap(self.address, self.size)


class SharedFile:
    """A file without a name; goes to a worker with the arguments of its process, whatever the start method."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.size = size

    def close(self) -> None:
        """This process needs it no more; its maps stay."""
        os.close(self.descriptor)

    def __getstate__(self) -> tuple[Any, int]:
        from multiprocessing.reduction import DupFd  # Windows has none

        return DupFd(self.descriptor), self.size

    def __setstate__(self, state: tuple[Any, int]) -> None:
        self.descriptor, self.size = state[0].detach(), state[1]


def _nameless() -> int:
    if sys.platform == "linux":
        try:
            return os.memfd_create("rushlight-batches", os.MFD_CLOEXEC)
        except OSError:  # a sandbox that does not know the call
            pass
    descriptor, path = tempfile.mkstemp(prefix="rushlight-")
    Path(path).unlink()
    return descriptor


def new_file() -> tuple[SharedFile, Map] | None:
    """A file as long as the machine's memory, or as the limits of the process allow; None where there is no way."""
    if os.name != "posix":
        return None
    import resource

    size = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY:
        size = min(size, allowed // _OF_LIMIT // mmap.PAGESIZE * mmap.PAGESIZE)
    descriptor = _nameless()
    while size >= _LEAST:
        try:
            os.ftruncate(descriptor, size)
            return SharedFile(descriptor, size), Map(descriptor, size)
        except OSError:  # a limit on files or on address space
            size = size // 2 // mmap.PAGESIZE * mmap.PAGESIZE
    os.close(descriptor)
    return None


# -- which processes may look ----------------------------------------------------------------------


class _Forks:
    """The processes forked from this one, counted, and which of them may be alive."""

    def __init__(self) -> None:
        self.count = 0
        self._last_foreign = 0
        self._workers: set[int] = set()
        self._starting = threading.local()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._forking, after_in_child=self._forked)

    def _forking(self) -> None:
        self.count += 1
        mine = getattr(self._starting, "numbers", None)
        if mine is None:
            self._last_foreign = self.count
        else:
            mine.append(self.count)
            self._workers.add(self.count)

    def _forked(self) -> None:
        self._starting = threading.local()

    @contextmanager
    def of_workers(self, numbers: list[int]) -> Iterator[None]:
        """Forks of this thread inside the block are workers; `numbers` gets theirs, for `ended`."""
        self._starting.numbers = numbers
        try:
            yield
        finally:
            self._starting.numbers = None

    def ended(self, numbers: list[int]) -> None:
        """These workers look at nothing any more."""
        self._workers.difference_update(numbers)

    def may_see(self, born: int) -> bool:
        """Whether a process that lives may hold memory that was there when `born` forks had been made."""
        return self._last_foreign > born or any(number > born for number in self._workers)


forks = _Forks()


# -- the two ends ----------------------------------------------------------------------------------


class Block:
    """A batch's part of the memory, for as long as any array looks at it."""

    __slots__ = ("born", "inbox", "offset", "size")

    def __init__(self, inbox: Inbox, offset: int, size: int) -> None:
        self.inbox, self.offset, self.size, self.born = inbox, offset, size, forks.count

    def __del__(self) -> None:
        self.inbox.let_go(self.offset, self.size, self.born)


class Inbox:
    """The parent's end: gives arrays for the places that a worker names, and takes back what they leave."""

    def __init__(self, map: Map) -> None:
        self._map = map
        self._pid = os.getpid()
        self._live: dict[int, int] = {}  # offset -> size of the blocks that arrays look at
        self._left: deque[tuple[int, int, int]] = deque()  # blocks let go: offset, size, born
        self._warm: dict[int, int] = {}  # free blocks with pages
        self._warm_bytes = 0
        self._ended = False

    def arrays(self, place: Place) -> list[Bytes]:
        """The buffers at a place."""
        offset, size, lengths = place
        self._warm_bytes -= self._warm.pop(offset, 0)
        self._live[offset] = size
        block = Block(self, offset, size)
        found = []
        for length in lengths:
            found.append(self._map.window(offset, length, block))
            offset += _aligned(length)
        return found

    def let_go(self, offset: int, size: int, born: int) -> None:
        """Nobody here looks at a block any more. It may be called at any moment, in any thread."""
        if os is None or os.getpid() != self._pid:  # the interpreter ends, or a forked child's copy
            return
        self._left.append((offset, size, born))
        if self._ended:
            self.take_free()

    def take_free(self) -> list[Free]:
        """The blocks let go since the last time, for the worker to use again."""
        found = []
        for _ in range(len(self._left)):
            try:
                offset, size, born = left = self._left.popleft()
            except IndexError:  # another thread was quicker
                break
            if forks.may_see(born):
                self._left.append(left)
                continue
            self._live.pop(offset, None)
            warm = not self._ended and self._warm_bytes + size <= KEPT_FREE
            warm = warm or not self._map.empty(offset, size)
            if warm:
                self._warm[offset] = size
                self._warm_bytes += size
            found.append(Free(offset, size, warm))
        return found

    def end(self) -> None:
        """The worker has ended: all pages but those that arrays look at go back to the system."""
        self._ended = True
        self.take_free()
        start = 0
        for offset, size in sorted(self._live.items()):
            if offset > start:
                self._map.empty(start, offset - start)
            start = offset + size
        if start < self._map.size:
            self._map.empty(start, self._map.size - start)


class Outbox:
    """The worker's end: puts buffers into blocks."""

    def __init__(self, file: SharedFile) -> None:
        self._file = file
        whole = Map(file.descriptor, file.size)
        self._all = whole.window(0, file.size, whole)
        self._top = 0
        self._free: dict[int, list[Free]] = {}

    def take_back(self, blocks: Sequence[Free]) -> None:
        """Blocks that may be used again."""
        for block in blocks:
            self._free.setdefault(block.size, []).append(block)

    def put(self, buffers: Sequence[memoryview]) -> Place | None:
        """Copies buffers into one block; None where there is no room."""
        lengths = tuple(buffer.nbytes for buffer in buffers)
        size = block_size(sum(map(_aligned, lengths)))
        block = self._block(size)
        if block is None:
            return None
        offset = block.offset
        for buffer, length in zip(buffers, lengths, strict=True):
            if block.warm:
                self._all[offset : offset + length] = np.frombuffer(buffer, np.uint8)
            else:
                self._write(buffer, offset)
            offset += _aligned(length)
        return Place(block.offset, size, lengths)

    def _block(self, size: int) -> Free | None:
        free = self._free.get(size)
        if free:
            return free.pop()
        block = Free(self._top, size, warm=False)
        if self._top + size > self._file.size:
            return None
        self._top += size
        return block

    def _write(self, buffer: memoryview, offset: int) -> None:
        """Into new pages: twice as fast as through the map, which would fill them with zeros first."""
        done = 0
        while done < buffer.nbytes:
            done += os.pwrite(self._file.descriptor, buffer[done:], offset + done)


__all__ = ["Inbox", "Outbox", "Place", "SharedFile", "forks", "new_file"]
