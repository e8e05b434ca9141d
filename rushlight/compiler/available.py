"""How many processors this process may keep busy: what its affinity names, cut to what its control groups grant."""

from __future__ import annotations

import os
from pathlib import Path

#: What this process was told to make do with; None for all it may use.
_limit: int | None = None


def limit_processors(count: int) -> None:
    """From now on this process counts on no more than so many processors: one of several that share the machine."""
    global _limit  # noqa: PLW0603 (one per process)
    _limit = count


def available_processors(root: str = "/") -> int:
    """The least of affinity, quota and own limit; a quota of 2.5 processors keeps two threads busy."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    if _limit is not None:
        count = min(count, _limit)
    quota = cgroup_quota(root)
    return max(1, count if quota is None else min(count, int(quota)))


def cgroup_quota(root: str = "/") -> float | None:
    """Processors' worth of time that control groups (versions 1 and 2) grant; None if they set no limit.

    A group's limit holds for the groups inside it. Files are looked for under `root`.
    """
    limits = []
    for folder, version in _groups(Path(root)):
        limit = _limit_2(folder) if version == 2 else _limit_1(folder)
        if limit is not None:
            limits.append(limit)
    return min(limits, default=None)


def _groups(root: Path) -> list[tuple[Path, int]]:
    """The folders of this process's group and of those around it, for each version that is mounted."""
    found = []
    for version, mounted, within in _mounts(root):
        for path in _paths(root, version):
            # In a container the mount shows a part of the tree, which the group's path may name from above.
            seen = path.removeprefix(within) if within != "/" else path
            parts = [p for p in seen.split("/") if p and p != ".."]
            for depth in range(len(parts), -1, -1):
                found.append((root / mounted.lstrip("/") / "/".join(parts[:depth]), version))
    return found


def _mounts(root: Path) -> list[tuple[int, str, str]]:
    """Version, mount point and the part of the tree that is mounted there, from /proc/self/mountinfo."""
    found = []
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or not kind:
            continue
        if kind[0] == "cgroup2":
            found.append((2, fields[4], fields[3]))
        elif kind[0] == "cgroup" and "cpu" in kind[-1].split(","):
            found.append((1, fields[4], fields[3]))
    return found


def _paths(root: Path, version: int) -> list[str]:
    """Where this process stands in the tree of groups, from /proc/self/cgroup."""
    found = []
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (version == 2 and not controllers) or (version == 1 and "cpu" in controllers.split(",")):
            found.append(path)
    return found


def _limit_2(folder: Path) -> float | None:
    fields = " ".join(_lines(folder / "cpu.max")).split()
    return _share(*fields) if len(fields) == 2 else None


def _limit_1(folder: Path) -> float | None:
    quota, period = _lines(folder / "cpu.cfs_quota_us"), _lines(folder / "cpu.cfs_period_us")
    return _share(quota[0], period[0]) if quota and period else None


def _share(quota: str, period: str) -> float | None:
    """Quota over period; "max" and -1 stand for no limit."""
    try:
        granted, every = int(quota), int(period)
    except ValueError:
        return None
    return granted / every if granted > 0 and every > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
