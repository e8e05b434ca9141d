"""The cache of object code: what fits is used, what does not is made again, and nothing goes wrong without it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rushlight.compiler import objects

TEXT = "define i64 @answer() {\n  ret i64 42\n}\n"
OTHER = "define i64 @answer() {\n  ret i64 7\n}\n"

STEP = """
import rushlight
from rushlight.compiler.objects import counts

net = rushlight.nn.Sequential(rushlight.nn.Linear(20, 30), rushlight.nn.ReLU(), rushlight.nn.Linear(30, 4))
opt = rushlight.optim.Adam(net.parameters())
x, y = rushlight.rand(16, 20), rushlight.arange(16) % 4

@rushlight.compile
def step():
    opt.zero_grad()
    loss = rushlight.nn.functional.cross_entropy(net(x), y)
    loss.backward()
    opt.step()
    return loss

for _ in range(4):
    loss = step()
print(loss.item(), counts["compiled"], counts["loaded"])
"""


def answer(text: str = TEXT) -> int:
    """Loads a text and runs it."""
    library = objects.load(text)
    result: int = ctypes.CFUNCTYPE(ctypes.c_int64)(library.address("answer"))()
    return result


def compiles(text: str = TEXT) -> int:
    """How many compiles a load of the text takes; what it gives must be right."""
    before = objects.counts["compiled"]
    assert answer(text) == (42 if text is TEXT else 7)
    return objects.counts["compiled"] - before


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder for the cache."""
    monkeypatch.setenv("RUSHLIGHT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("RUSHLIGHT_CACHE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def entry(base: Path) -> Path:
    """The one file of a cache that holds TEXT."""
    assert compiles() == 1
    (found,) = (base / "objects").iterdir()
    return found


def test_a_second_load_does_not_compile(entry: Path) -> None:
    assert compiles() == 0
    assert compiles(OTHER) == 1


def test_the_folder_and_its_files_are_private(entry: Path) -> None:
    assert entry.parent.stat().st_mode & 0o777 == 0o700
    assert entry.stat().st_mode & 0o777 == 0o600


def test_a_second_process_compiles_nothing(python: Callable[..., str], tmp_path: Path) -> None:
    folder = str(tmp_path / "cache")
    first = python(STEP, RUSHLIGHT_CACHE_DIR=folder).split()
    second = python(STEP, RUSHLIGHT_CACHE_DIR=folder).split()
    assert first[0] == second[0]
    assert int(first[1]) > 0
    assert second[1] == "0"
    assert int(second[2]) > 0


@pytest.mark.parametrize("kept", [0, 1, 31, 32, 33, -1])
def test_a_file_cut_short_is_made_again(entry: Path, kept: int) -> None:
    whole = entry.read_bytes()
    entry.write_bytes(whole[:kept])
    assert compiles() == 1
    assert entry.read_bytes() == whole
    assert compiles() == 0


def test_a_changed_byte_is_noticed(entry: Path) -> None:
    whole = entry.read_bytes()
    for at in (0, 31, 32, len(whole) // 2, len(whole) - 1):
        entry.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert compiles() == 1


def test_good_code_under_a_wrong_name_is_not_run(entry: Path) -> None:
    assert compiles(OTHER) == 1
    (other,) = (p for p in entry.parent.iterdir() if p != entry)
    other.replace(entry)
    assert compiles() == 1


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX permissions")
class TestWhoMayWrite:
    def test_a_folder_open_to_others_is_not_used(self, entry: Path) -> None:
        entry.parent.chmod(0o777)
        assert objects.cache_folder() is None
        assert compiles() == 1

    def test_a_file_open_to_others_is_not_run(self, entry: Path) -> None:
        entry.chmod(0o666)
        assert compiles() == 1

    def test_a_link_to_a_folder_is_not_followed(self, base: Path, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        base.mkdir()
        (base / "objects").symlink_to(tmp_path / "elsewhere")
        assert compiles() == compiles() == 1
        assert not list((tmp_path / "elsewhere").iterdir())

    def test_a_link_to_a_file_is_not_followed(self, entry: Path, tmp_path: Path) -> None:
        moved = entry.replace(tmp_path / entry.name)
        entry.symlink_to(moved)
        assert compiles() == 1
        assert not entry.is_symlink()

    def test_a_pipe_keeps_nobody_waiting(self, entry: Path) -> None:
        entry.unlink()
        os.mkfifo(entry)
        assert compiles() == 1

    def test_what_belongs_to_another_is_not_believed(
        self, entry: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mine = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        assert objects.read(entry) is None
        assert objects.cache_folder() is None


@pytest.mark.parametrize("where", ["file", "absent", "nul"])
def test_without_a_folder_programs_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "file").write_text("")
    if where == "absent":
        for name in ("RUSHLIGHT_CACHE_DIR", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)

        def nowhere() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", nowhere)
    else:
        path = {"file": tmp_path / "file" / "cache", "nul": "/proc/nowhere"}[where]
        monkeypatch.setenv("RUSHLIGHT_CACHE_DIR", str(path))
    assert objects.cache_folder() is None
    assert compiles() == compiles() == 1


def test_a_disk_that_takes_nothing_is_no_reason_to_fail(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert compiles() == compiles() == 1
    assert not list((base / "objects").iterdir())


def test_the_cache_can_be_switched_off(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHLIGHT_CACHE", "0")
    assert compiles() == compiles() == 1
    assert not base.exists()


def test_files_used_longest_ago_go_first(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "LIMIT", 5 * entry.stat().st_size)
    texts = [f"define i64 @answer() {{\n  ret i64 {i}\n}}\n" for i in range(8)]
    os.utime(entry, (1, 1))
    for number, text in enumerate(texts):
        objects.load(text)
        (path,) = (p for p in entry.parent.iterdir() if p.name == objects.key_of(text))
        os.utime(path, (100 + number, 100 + number))
        objects.load(texts[0])  # it stays, for it is used again and again
    kept = {p.name for p in entry.parent.iterdir()}
    assert kept == {objects.key_of(t) for t in (texts[0], *texts[4:])}


def test_eight_processes_fill_one_cache(tmp_path: Path) -> None:
    program = tmp_path / "race.py"
    program.write_text(
        """
import ctypes, sys
from rushlight.compiler.objects import load
for i in range(20):
    number = (i + int(sys.argv[1])) % 20
    library = load(f"define i64 @answer() {{ ret i64 {number} }}")
    assert ctypes.CFUNCTYPE(ctypes.c_int64)(library.address("answer"))() == number
"""
    )
    environment = {
        **os.environ,
        "RUSHLIGHT_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    running = [
        subprocess.Popen([sys.executable, str(program), str(i)], env=environment) for i in range(8)
    ]
    assert [p.wait(60) for p in running] == [0] * 8
    files = list((tmp_path / "cache" / "objects").iterdir())
    assert len(files) == 20
    assert all(objects.read(f) for f in files)
