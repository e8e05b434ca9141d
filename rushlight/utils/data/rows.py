"""Arrays of one shape put one below the other: what most batches are made of."""

from __future__ import annotations

import _thread
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.backends.heap import keep_freed_memory
from rushlight.compiler.available import available_processors
from rushlight.utils.data.worker_info import get_worker_info

#: Copies of more bytes than this are shared with a second thread, in parts of at least so many bytes.
FOR_TWO, PART = 4 << 20, 512 << 10

Array = np.ndarray[Any, Any]


def stacked(arrays: Sequence[Array]) -> Array | None:
    """The arrays along a new first dimension; None unless all have one shape and dtype."""
    first = arrays[0]
    shape, dtype = first.shape, first.dtype
    for array in arrays:
        if array.shape != shape or array.dtype != dtype:
            return None
    large = len(arrays) * first.nbytes > FOR_TWO
    if large:
        keep_freed_memory()  # of the samples, which are as large again, and of the batch
    rows = np.empty((len(arrays), *shape), dtype)
    if not shape:
        rows[...] = arrays
    elif large and _two_threads():
        _fill_by_two(rows, arrays)
    else:
        _fill(rows, arrays)
    return rows


def _fill(rows: Array, arrays: Sequence[Array]) -> None:
    np.concatenate(arrays, out=rows.reshape(-1, *rows.shape[2:]))


def _fill_by_two(rows: Array, arrays: Sequence[Array]) -> None:
    """Two threads claim parts until there are none: one that starts late or is put aside does fewer."""
    step = -(-PART // max(rows[:1].nbytes, 1))
    parts = iter(range(0, len(arrays), step))

    def fill_parts() -> None:
        while (start := next(parts, None)) is not None:
            _fill(rows[start : start + step], arrays[start : start + step])

    def fill_and_tell() -> None:
        try:
            fill_parts()
        finally:
            done.release()

    done = _thread.allocate_lock()
    done.acquire()
    # threading.Thread.start() waits until the thread runs, which takes as long as some of the parts
    _thread.start_new_thread(fill_and_tell, ())
    fill_parts()
    done.acquire()


def _two_threads() -> bool:
    """Whether a second thread has a processor: not in a worker, which is one of several."""
    return get_worker_info() is None and _processors() > 1


_processors = functools.cache(available_processors)


def taken(array: Array, indices: Sequence[int]) -> Array:
    """The rows of an array at some indices, copied; IndexError where it has no such row."""
    if len(indices) * array[:1].nbytes <= FOR_TWO or not indices:
        return array.take(indices, 0)
    return stacked([array[i] for i in indices])  # type: ignore[return-value]


__all__ = ["stacked", "taken"]
