"""Times and sizes in the units that fit them, as torch's tables have them."""

from __future__ import annotations


def time_text(microseconds: float) -> str:
    """A time in the unit that fits it, as in torch's tables.

    >>> time_text(1234.5678), time_text(2.0)
    ('1.235ms', '2.000us')
    """
    if microseconds >= 1e6:
        return f"{microseconds / 1e6:.3f}s"
    if microseconds >= 1e3:
        return f"{microseconds / 1e3:.3f}ms"
    return f"{microseconds:.3f}us"


def memory_text(count: float) -> str:
    """Bytes in the unit that fits them.

    >>> memory_text(1536), memory_text(-8)
    ('1.50 KB', '-8 B')
    """
    for size, unit in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if abs(count) >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count:.0f} B"


__all__ = ["memory_text", "time_text"]
