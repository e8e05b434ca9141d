"""What kernels cost, about, and whether threads should share a program: decided by shapes, never by threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rushlight.loops.arrays import Memory
from rushlight.loops.kernel import Kernel
from rushlight.loops.target import Target

#: What one core moves, about, in bytes a nanosecond: out of its own caches, and out of another core's.
NEAR_BYTES, FAR_BYTES = 40.0, 6.0


def work_of(kernel: Kernel) -> float:
    """Nanoseconds that an item of a kernel takes on one core, about: it computes, or waits for memory."""
    return max(kernel.work, kernel.bytes / NEAR_BYTES / max(kernel.items, 1))


def stays_on_one_core(
    kernels: Sequence[Kernel], memories: Sequence[Memory], target: Target
) -> bool:
    """Whether a program is better run by one thread.

    If all that it touches fits into the caches of one core, then what threads save by sharing the work they lose by
    fetching from each other what the other has written: memory that several kernels touch.
    """
    sizes = {id(m): m.bytes for m in memories}
    users = Counter(m for k in kernels for m in {id(array.memory) for array in k.arrays})
    handed_on = sum(size for m, size in sizes.items() if users[m] > 1)
    time = sum(k.items * work_of(k) for k in kernels)
    return sum(sizes.values()) <= target.second_cache and time / 2 < handed_on / FAR_BYTES
