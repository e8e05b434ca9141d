"""The memory plan: one arena in which values whose lifetimes do not meet share their bytes."""

from __future__ import annotations

from collections.abc import Sequence

from rushlight.loops.arrays import Memory

ALIGNMENT = 64
PAGE = 4096


def plan_arena(uses: Sequence[Sequence[Memory]]) -> int:
    """Gives every memory without a place an offset in the arena; returns the arena's size in bytes.

    `uses` lists, step by step, the memories that a step touches. Large ones are placed first, each at the lowest
    offset that is free through its life (Pisarchyk and Lee, "Efficient memory management for deep neural net
    inference", 2020: greedy by size).
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    known: dict[int, Memory] = {}
    for step, memories in enumerate(uses):
        for memory in memories:
            if memory.place is not None:
                continue
            known[id(memory)] = memory
            first.setdefault(id(memory), step)
            last[id(memory)] = step
    placed: list[tuple[int, int, int, int]] = []  # start, end in bytes; first, last step
    total = 0
    for key in sorted(known, key=lambda k: (-known[k].bytes, first[k])):
        memory = known[key]
        size = -(-memory.bytes // ALIGNMENT) * ALIGNMENT
        begin, end = first[key], last[key]
        alive = sorted((a, z) for a, z, f, t in placed if f <= end and t >= begin)
        offset = 0
        for a, z in alive:
            if a - offset >= size:
                break
            offset = max(offset, z)
        memory.place = ("arena", offset)
        placed.append((offset, offset + size, begin, end))
        total = max(total, offset + size)
    return total
