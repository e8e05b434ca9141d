"""How many threads there are by default: affinity, and quotas of control groups of both versions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rushlight.compiler import available
from rushlight.compiler.available import available_processors, cgroup_quota

#: Lines of /proc/self/mountinfo: where the tree of groups is, and which part of it.
V2 = "30 25 0:26 {within} {where} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "31 25 0:27 {within} {where} rw,nosuid shared:5 - cgroup cgroup rw,{controllers}"


def tree(root: Path, mounts: list[str], groups: str, files: dict[str, str]) -> str:
    """A file system with these mounts, /proc/self/cgroup, and files."""
    proc = root / "proc/self"
    proc.mkdir(parents=True)
    (proc / "mountinfo").write_text("\n".join(mounts))
    (proc / "cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def v2(within: str = "/") -> str:
    return V2.format(within=within, where="/sys/fs/cgroup")


def v1(controllers: str = "cpu,cpuacct", within: str = "/") -> str:
    where = f"/sys/fs/cgroup/{controllers}"
    return V1.format(within=within, where=where, controllers=controllers)


CASES: dict[str, tuple[list[str], str, dict[str, str], float | None]] = {
    "v2": ([v2()], "0::/app", {"app/cpu.max": "150000 100000\n"}, 1.5),
    "v2 without limit": ([v2()], "0::/app", {"app/cpu.max": "max 100000\n"}, None),
    "v2, limit of a group around": (
        [v2()], "0::/a/b/c",
        {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000", "a/b/c/cpu.max": "300000 100000"}, 2.0,
    ),
    "v2 in a container": ([v2()], "0::/", {"cpu.max": "50000 100000"}, 0.5),
    "v2, seen from inside of its group": ([v2("/docker/1")], "0::/docker/1", {"cpu.max": "400000 100000"}, 4.0),
    "v2, a path that leads out": ([v2()], "0::/../other", {"cpu.max": "100000 100000"}, 1.0),
    "v1": (
        [v1()], "4:cpu,cpuacct:/app\n3:memory:/app",
        {"cpu,cpuacct/app/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/app/cpu.cfs_period_us": "100000\n"}, 3.0,
    ),
    "v1 without limit": (
        [v1("cpu")], "4:cpu:/app",
        {"cpu/app/cpu.cfs_quota_us": "-1", "cpu/app/cpu.cfs_period_us": "100000"}, None,
    ),
    "v1 in a container": (
        [v1("cpu", "/docker/1")], "4:cpu:/docker/1",
        {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 2.5,
    ),
    "both, the lower counts": (
        [v1("cpu"), V2.format(within="/", where="/sys/fs/cgroup/unified")], "4:cpu:/a\n0::/b",
        {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000",
         "unified/b/cpu.max": "200000 100000"}, 2.0,
    ),
    "nonsense": ([v2(), "", "30 25 - "], "0::/app\n\nx", {"app/cpu.max": "lots of it"}, None),
    "cpuset is not cpu": (
        [v1("cpuset")], "4:cpuset:/app",
        {"cpuset/app/cpu.cfs_quota_us": "100000", "cpuset/app/cpu.cfs_period_us": "100000"}, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_quotas(name: str, tmp_path: Path) -> None:
    mounts, groups, files, wanted = CASES[name]
    assert cgroup_quota(tree(tmp_path, mounts, groups, files)) == wanted


def test_no_control_groups_at_all(tmp_path: Path) -> None:
    assert cgroup_quota(str(tmp_path)) is None
    assert available_processors(str(tmp_path)) >= 1


@pytest.mark.parametrize(
    ("quota", "wanted"), [("20000", 1), ("150000", 1), ("290000", 2), ("9900000", 6)]
)
def test_the_lesser_of_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, wanted: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    root = tree(tmp_path, [v2()], "0::/", {"cpu.max": f"{quota} 100000"})
    assert available_processors(root) == wanted


def test_where_systems_tell_no_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(available.os, "cpu_count", lambda: 5)
    assert available_processors(str(tmp_path)) == 5


@pytest.mark.skipif(not shutil.which("taskset"), reason="needs taskset")
def test_one_processor_of_several(python: Callable[..., str]) -> None:
    first = str(min(os.sched_getaffinity(0)))
    told = python(
        """
import threading
import rushlight
f = rushlight.compile(lambda x: (x @ x).sum())
f(rushlight.rand(200, 200))
from rushlight.compiler.pool import pool
print(rushlight.get_num_threads(), len(pool()._workers))
""",
        "taskset", "-c", first,
    )  # fmt: skip
    assert told.split() == ["1", "0"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux's /proc")
def test_threads_have_names(python: Callable[..., str]) -> None:
    told = python(
        """
from pathlib import Path
import rushlight
rushlight.set_num_threads(3)
rushlight.compile(lambda x: x + 1)(rushlight.ones(3))
print(*sorted(p.read_text().strip() for p in Path("/proc/self/task").glob("*/comm")))
"""
    )
    assert [name for name in told.split() if "rushlight" in name] == ["rushlight-1", "rushlight-2"]
