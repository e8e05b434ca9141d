"""Threads and subnormal numbers: settings of the native programs."""

from __future__ import annotations


def set_num_threads(num: int) -> None:
    """Sets how many threads compiled programs share their work among.

    Raises RuntimeError for less than one.

    >>> import rushlight
    >>> before = rushlight.get_num_threads()
    >>> rushlight.set_num_threads(1)
    >>> rushlight.get_num_threads()
    1
    >>> rushlight.set_num_threads(before)
    """
    from rushlight.compiler import pool

    if not isinstance(num, int) or isinstance(num, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(num).__name__}")
    if num < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    pool.set_threads(num)


def get_num_threads() -> int:
    """How many threads compiled programs use: at first, the processors that this process may use."""
    from rushlight.compiler import pool

    return pool.threads_wanted()


def set_flush_denormal(mode: bool) -> bool:
    """Whether compiled programs count subnormal numbers as zero, as they do unless told otherwise; gives True.

    Arithmetic on subnormal numbers takes processors many times longer.
    """
    from rushlight.compiler import pool

    pool.set_flush(bool(mode))
    return True
