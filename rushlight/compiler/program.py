"""`Program`: calls of kernels, laid out in tables that one native call works through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.compiler import driver
from rushlight.compiler.pool import pool, ticks_per_nanosecond

#: A call is shared by threads from this many nanoseconds on, in chunks of at least this many.
SHARED_NS, CHUNK_NS = 4000.0, 2000.0
#: Chunks of a call, at most: enough that a thread that is put aside holds up little. Of a call that takes `LONG_NS`
#: there are twice as many, as the last one is waited for.
MOST_CHUNKS, LONG_NS = 32, 150_000.0


class Program:
    """Kernel calls with their arguments.

    A call is (kernel, places, items, work, checks); a place is ("slot", number, byte offset) or ("arena", offset).
    `arena` and `status` are addresses: of the arena, and of the two words in which kernels report faults.
    """

    def __init__(
        self,
        library: Any,
        calls: Sequence[tuple[str, Sequence[tuple[Any, ...]], int, float, bool]],
        arena: int,
        status: int,
        shared_ns: float = SHARED_NS,
    ) -> None:
        self._library = library
        total = sum(len(places) for _, places, *_ in calls)
        self._arguments = np.zeros(max(total, 1), np.int64)
        self._table = np.zeros((max(len(calls), 1), driver.CALL_WORDS), np.int64)
        patches: list[tuple[int, int, int]] = []
        in_arena: list[
            tuple[int, int]
        ] = []  # which argument, how many bytes from the arena's beginning
        base = self._arguments.ctypes.data
        at = 0
        for row, (name, places, items, work, checks) in zip(self._table, calls):
            total_ns = items * work
            serial = items < 2 or total_ns < shared_ns
            most = MOST_CHUNKS * (2 if total_ns >= LONG_NS else 1)
            chunk = max(1, -(-items // most), int(CHUNK_NS / max(work, 0.01)))
            chunk = min(chunk, max(1, -(-items // 2)))
            flags = driver.SERIAL * serial + driver.CHECKS * checks
            row[:] = (library.address(name), base + at * 8, items, chunk, flags)
            for place in places:
                if place[0] == "slot":
                    patches.append((place[1], base + at * 8, place[2]))
                else:
                    in_arena.append((at, place[1]))
                at += 1
        self._in_arena = np.array(in_arena, np.int64).reshape(-1, 2)
        self.move(arena)
        self._patches = np.array(patches, np.int64).reshape(-1, driver.PATCH_WORDS)
        self._count = len(calls)
        #: Whether threads share any of the calls.
        self.shared = bool((self._table[: len(calls), 4] & driver.SERIAL == 0).any())
        self._words = np.array(
            [self._table.ctypes.data, len(calls), self._patches.ctypes.data, len(patches), status],
            np.int64,
        )
        #: Where the driver finds all of it.
        self.address: int = self._words.ctypes.data

    def move(self, arena: int) -> None:
        """From now on the arena is at this address."""
        self._arguments[self._in_arena[:, 0]] = self._in_arena[:, 1] + arena

    def run(self, slots: int, clock: int | None = None) -> int:
        """Makes the calls; `slots` is the address of the slots' addresses. Not 0 if a check failed."""
        running = pool()
        result: int = running.run(running.context, self.address, slots, clock)
        return result

    def timed(self, slots: int) -> np.ndarray[Any, Any]:
        """As `run`; gives the nanoseconds at which each call began, and the last one ended."""
        clock = np.zeros(self._count + 1, np.int64)
        self.run(slots, clock.ctypes.data)
        times: np.ndarray[Any, Any] = (clock - clock[0]) / ticks_per_nanosecond()
        return times
