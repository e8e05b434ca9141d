"""Events as a table for people, in the columns that torch prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rushlight.profiler.text import memory_text, time_text

if TYPE_CHECKING:
    from rushlight.profiler.events import EventList

SORTABLE = (
    "cpu_time", "cpu_time_total", "self_cpu_time_total", "cpu_memory_usage", "self_cpu_memory_usage", "count", "flops",
)  # fmt: skip
UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
#: Figures have columns at least as wide as this, so that tables of one program lie over each other.
WIDTH = 12


class Column(NamedTuple):
    """A heading, and the text of a row."""

    heading: str
    text: Callable[[Any], str]


def table(
    events: EventList,
    sort_by: str | None,
    row_limit: int,
    source_width: int,
    name_width: int,
    shapes_width: int,
    header: str | None,
    top_level_only: bool,
    time_unit: str | None,
) -> str:
    """The text; arguments as EventList.table has them."""
    if not events:
        return ""
    if time_unit is not None and time_unit not in UNITS:
        raise ValueError(f"time_unit should be one of {list(UNITS)}, not {time_unit!r}")
    rows: Sequence[Any] = events
    if sort_by is not None:
        if sort_by not in SORTABLE:
            raise AttributeError(
                f"{sort_by!r} is nothing to sort by: it should be one of {list(SORTABLE)}"
            )
        rows = sorted(events, key=lambda event: getattr(event, sort_by), reverse=True)
    if top_level_only:
        rows = [event for event in rows if getattr(event, "cpu_parent", None) is None]
    if row_limit >= 0:
        rows = rows[:row_limit]
    columns = _columns(events, rows, source_width, name_width, shapes_width, time_unit)
    cells = [[column.text(row) for column in columns] for row in rows]
    widths = [
        max([WIDTH if i else 0, len(column.heading), *(len(row[i]) for row in cells)])
        for i, column in enumerate(columns)
    ]
    rule = "  ".join("-" * width for width in widths)
    heading = "  ".join(c.heading.rjust(w) for c, w in zip(columns, widths))
    lines = [rule, heading, rule]
    for row in cells:
        lines.append("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))
    lines.append(rule)
    if header:
        lines[:0] = ["=" * len(rule), header]
    if top_level_only:
        lines.insert(0, "This report only displays calls that no other call made")
    total = time_text(events.self_cpu_time_total)
    if time_unit:
        total = f"{events.self_cpu_time_total / UNITS[time_unit]:.3f}{time_unit}"
    return "\n".join([*lines, f"Self CPU time total: {total}", ""])


def _columns(
    events: EventList,
    rows: Sequence[Any],
    source_width: int,
    name_width: int,
    shapes_width: int,
    unit: str | None,
) -> list[Column]:
    total = events.self_cpu_time_total

    def share(part: float) -> str:
        return f"{part / total:.2%}" if total else "--"

    def time(microseconds: float) -> str:
        return f"{microseconds / UNITS[unit]:.3f}{unit}" if unit else time_text(microseconds)

    columns = [
        Column("Name", lambda e: _cut(e.key, name_width)),
        Column("Self CPU %", lambda e: share(e.self_cpu_time_total)),
        Column("Self CPU", lambda e: time(e.self_cpu_time_total)),
        Column("CPU total %", lambda e: share(e.cpu_time_total)),
        Column("CPU total", lambda e: time(e.cpu_time_total)),
        Column("CPU time avg", lambda e: time(e.cpu_time)),
    ]
    if events.profile_memory:
        columns += [
            Column("CPU Mem", lambda e: memory_text(e.cpu_memory_usage)),
            Column("Self CPU Mem", lambda e: memory_text(e.self_cpu_memory_usage)),
        ]
    columns.append(Column("# of Calls", lambda e: str(e.count)))
    if any(row.input_shapes for row in rows):
        columns.append(
            Column("Input Shapes", lambda e: _cut(str(e.input_shapes or []), shapes_width))
        )
    if any(row.stack for row in rows):
        columns.append(
            Column("Source Location", lambda e: _cut_left("; ".join(e.stack), source_width))
        )
    if events.with_flops:
        scale, prefix = _flops_scale([row.flops for row in rows])
        columns += [
            Column(f"Total {prefix}FLOPs", lambda e: f"{e.flops / scale:.3f}" if e.flops else "--"),
            Column("GFLOP/s", _rate),
        ]
    return columns


def _rate(event: Any) -> str:
    """Operations by the time of the call: what it is worth to make faster."""
    if not event.flops or not event.cpu_time_total:
        return "--"
    return f"{event.flops / event.cpu_time_total / 1e3:.2f}"


def _flops_scale(counts: Sequence[int]) -> tuple[float, str]:
    """A unit in which the largest count has two digits before the point, so that small ones show too."""
    largest = max(counts, default=0)
    for scale, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if largest >= 10 * scale:
            return scale, prefix
    return 1.0, ""


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width or width < 4 else text[: width - 3] + "..."


def _cut_left(text: str, width: int) -> str:
    """The end of a long path says more than its beginning."""
    return text if len(text) <= width or width < 4 else "..." + text[3 - width :]


__all__ = ["table"]
