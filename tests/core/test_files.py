"""The one writer of files: whole or not there, whatever happens on the way."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rushlight.core import files
from rushlight.core.files import whole_file, write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    old = os.umask(0o027)
    yield 0o027
    os.umask(old)


def test_nothing_is_seen_before_the_end(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with whole_file(path) as stream:
        stream.write(b"new" * 100000)
        stream.flush()
        assert path.read_bytes() == b"old" and len(names(tmp_path)) == 2
    assert path.read_bytes() == b"new" * 100000 and names(tmp_path) == ["f"]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_an_exception_leaves_the_old_file(tmp_path, problem):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with pytest.raises(problem), whole_file(path) as stream:
        stream.write(b"new")
        raise problem
    assert path.read_bytes() == b"old" and names(tmp_path) == ["f"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace", "fchmod"])
def test_a_failing_system_call_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        # Before Python 3.12 a Path keeps the os.replace that it found when it was made.
        patched.setattr(Path if call == "replace" else os, call, full)
        with pytest.raises(OSError, match="No space left"):
            write_whole(path, b"new")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["f"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_device_that_is_full():
    with pytest.raises(OSError, match="No space left"):
        write_whole("/dev/full", b"x")


def test_a_limit_on_the_size_leaves_the_old_file(tmp_path):
    """As a full disk: the kernel itself refuses, in the middle of the data."""
    path = tmp_path / "f"
    path.write_bytes(b"old")
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "from rushlight.core.files import write_whole\n"
        "try: write_whole(sys.argv[1], bytes(1 << 20))\n"
        "except OSError as problem: print(problem.errno)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert int(out) == errno.EFBIG
    assert path.read_bytes() == b"old" and names(tmp_path) == ["f"]


# -- permissions and kinds of files ----------------------------------------------------------------


def test_a_new_file_follows_the_umask(tmp_path, umask):
    write_whole(tmp_path / "f", b"x")
    assert mode_of(tmp_path / "f") == 0o666 & ~umask
    write_whole(tmp_path / "private", b"x", mode=0o600)
    assert mode_of(tmp_path / "private") == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o666, 0o755])
def test_a_replaced_file_keeps_its_permissions(tmp_path, umask, mode):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(mode)
    with whole_file(path) as stream:
        stream.write(b"new")
        (hidden,) = (p for p in tmp_path.iterdir() if p != path)
        assert mode_of(hidden) & 0o077 & ~mode == 0  # never more open than the file is
    assert mode_of(path) == mode and path.read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_file_that_may_not_be_written(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match=r"/f'"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_link_stays(tmp_path):
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link", tmp_path / "there" / "f"
    for first in (b"dangling", b"pointing"):
        if not link.is_symlink():
            link.symlink_to("there/f")
        write_whole(link, first)
        assert link.is_symlink() and target.read_bytes() == first
    assert names(tmp_path) == ["link", "there"] and names(tmp_path / "there") == ["f"]


def test_a_link_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError) as caught:
        write_whole(tmp_path / "a", b"x")
    assert caught.value.errno == errno.ELOOP


def test_what_is_no_file(tmp_path):
    write_whole(os.devnull, b"x")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, b"x")
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_whole(tmp_path / "pipe", b"through")
    reader.join(5)
    assert got == [b"through"] and names(tmp_path) == ["pipe"]


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no/such/f'"):
        write_whole(tmp_path / "no" / "such" / "f", b"x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"file/f'"):
        write_whole(tmp_path / "file" / "f", b"x")


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "with space\nand line"])
def test_names_that_are_hard(tmp_path, name):
    for content in (b"one", b"two"):
        write_whole(tmp_path / name, content)
        assert (tmp_path / name).read_bytes() == content and names(tmp_path) == [name]


# -- writers that were killed, and writers beside us -----------------------------------------------

HELD = """
import os, sys, signal
from rushlight.core.files import whole_file
with whole_file(sys.argv[1]) as stream:
    stream.write(b"half")
    stream.flush()
    print("open", flush=True)
    sys.stdin.read()
"""


def held(path):
    """A process that has half written `path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"open\n"
    return process


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    writer = held(path)
    writer.kill()
    writer.communicate()
    assert path.read_bytes() == b"old" and len(names(tmp_path)) == 2
    write_whole(tmp_path / "other", b"")
    assert len(names(tmp_path)) == 3  # another file's writer does not touch it
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and names(tmp_path) == ["f", "other"]


def test_a_living_writer_is_left_alone(tmp_path):
    path = tmp_path / "f"
    writer = held(path)
    write_whole(path, b"mine")
    assert path.read_bytes() == b"mine" and len(names(tmp_path)) == 2
    writer.communicate(b"")
    assert writer.returncode == 0
    assert path.read_bytes() == b"half" and names(tmp_path) == ["f"]  # the last to finish wins


def test_files_of_others_with_such_names_stay(tmp_path):
    strangers = [".f.part", ".f.0123.part", ".f.0123456789abcdef.part.x", "f.0123456789abcdef.part"]
    for name in strangers:
        (tmp_path / name).write_bytes(b"")
    write_whole(tmp_path / "f", b"x")
    assert names(tmp_path) == sorted([*strangers, "f"])


def test_where_files_cannot_be_locked_age_decides(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    old, young = (tmp_path / f".f.{digit * 16}.part" for digit in "01")
    for path in (old, young):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    write_whole(tmp_path / "f", b"x")
    assert names(tmp_path) == [young.name, "f"]


def test_a_hidden_file_that_was_swept_before_its_lock_is_made_again(tmp_path, monkeypatch):
    lock, calls = files._lock, []

    def late(handle):
        if not calls:
            for path in tmp_path.iterdir():
                path.unlink()
        calls.append(handle)
        return lock(handle)

    monkeypatch.setattr(files, "_lock", late)
    write_whole(tmp_path / "f", b"x")
    assert len(calls) == 2 and (tmp_path / "f").read_bytes() == b"x"


def test_threads_that_write_one_file(tmp_path):
    path = tmp_path / "f"
    contents = [bytes([i]) * 50000 for i in range(8)]
    problems = []

    def work(content):
        try:
            for _ in range(20):
                write_whole(path, content, durable=False)
                assert path.read_bytes() in contents
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [] and names(tmp_path) == ["f"]


def test_a_file_system_that_does_not_synchronise(tmp_path, monkeypatch):
    def unknown(_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", unknown)
    write_whole(tmp_path / "f", b"x")
    assert (tmp_path / "f").read_bytes() == b"x"
