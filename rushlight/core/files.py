"""Files that are either whole or not there: a write that fails or is killed leaves what stood before.

Everything in rushlight that writes a file writes it through here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

_END = ".part"
_TOKEN_BYTES = 8
_HIDDEN = re.compile(rf"\.(.+)\.[0-9a-f]{{{2 * _TOKEN_BYTES}}}{re.escape(_END)}", re.DOTALL)
_LONGEST_NAME = 200  # bytes of a file's name that its hidden name can take up: systems allow 255
_ABANDONED_SECONDS = 3600  # where files cannot be locked, a writer is believed dead after so long
_CANNOT_SYNCHRONISE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@contextlib.contextmanager
def whole_file(
    path: str | os.PathLike[str], *, mode: int = 0o666, durable: bool = True
) -> Iterator[IO[bytes]]:
    """A binary file to write that takes its place at `path` only once everything is written and on
    the disk.

    The bytes go to a hidden file of the same folder, which is flushed, synchronised and renamed at
    the end. On any exception (a full disk, an interrupt) it is removed, and whatever stood at
    `path` stays as it was. A process that is killed leaves it behind; the next write to `path`
    knows it by its name and by the lock that no living process holds, and removes it.

    A new file has the permissions `mode` less the umask, one that is replaced keeps its own. A link
    stays, and what it points to is replaced. What is no file (a pipe, /dev/null) is written to as
    it is. Without `durable` the file is whole for other processes, but a loss of power may lose it.

    Raises OSError, with the name of `path`.
    """
    target = _target(path)
    try:
        old: os.stat_result | None = target.stat()
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode):
        with target.open("wb") as stream:  # a folder refuses
            yield stream
        return
    if old is not None and not os.access(target, os.W_OK):  # a rename alone would not mind
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    remove_abandoned(target.parent, _stem(target).__eq__)
    kept = None if old is None else stat.S_IMODE(old.st_mode) & 0o777
    hidden, handle = _make_hidden(target, mode if kept is None else kept | 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            if kept is not None and hasattr(os, "fchmod"):
                os.fchmod(stream.fileno(), kept)
            if durable:
                _synchronise(stream.fileno())
            if (
                os.name == "nt"
            ):  # which does not rename open files; elsewhere the lock is kept until the end
                stream.close()
            hidden.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise
    if durable:
        _synchronise_folder(target.parent)


def write_whole(
    path: str | os.PathLike[str],
    data: bytes | memoryview,
    *,
    mode: int = 0o666,
    durable: bool = True,
) -> None:
    """Writes a file in one step: see `whole_file`."""
    with whole_file(path, mode=mode, durable=durable) as stream:
        stream.write(data)


def _target(path: str | os.PathLike[str]) -> Path:
    """The file to replace: what a link points to, there already or not."""
    target = Path(path)
    if target.is_symlink():
        target = Path(os.path.realpath(target))
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    return target


# -- hidden files ----------------------------------------------------------------------------------


def _stem(target: Path) -> str:
    """What the names of the hidden files for `target` hold of its own: all, or a digest of a very long one."""
    name = os.fsencode(target.name)
    return target.name if len(name) <= _LONGEST_NAME else hashlib.sha256(name).hexdigest()


def _make_hidden(target: Path, mode: int) -> tuple[Path, int]:
    """A new hidden file beside `target`, open and locked."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        hidden = target.with_name(f".{_stem(target)}.{secrets.token_hex(_TOKEN_BYTES)}{_END}")
        try:
            handle = os.open(hidden, flags, mode)
        except OSError as problem:
            raise type(problem)(problem.errno, problem.strerror, str(target)) from None
        # Before it was locked, another process may have taken it for an abandoned one.
        if _lock(handle) is not False and _is_at(hidden, handle):
            return hidden, handle
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Takes the lock on a file; False if somebody has it, None where there are no locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _is_at(path: Path, handle: int) -> bool:
    """Whether the open file is the one that has this name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except OSError:
        return False


def remove_abandoned(folder: Path, belongs: Callable[[str], bool]) -> None:
    """Removes what killed writers have left in a folder of the files whose names `belongs` takes."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            hidden = _HIDDEN.fullmatch(entry.name)
            if hidden and belongs(hidden[1]):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(hidden: Path) -> None:
    handle = os.open(hidden, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        locked = _lock(handle)
        if locked is None:
            locked = time.time() - os.fstat(handle).st_mtime > _ABANDONED_SECONDS
        if locked and os.name != "nt":
            hidden.unlink()
    finally:
        os.close(handle)
    if locked and os.name == "nt":
        hidden.unlink()  # it refuses while anybody has the file open


# -- the disk --------------------------------------------------------------------------------------


def _synchronise(handle: int) -> None:
    """Waits until a file is on the disk, where the file system knows how."""
    try:
        os.fsync(handle)
    except OSError as problem:
        if problem.errno not in _CANNOT_SYNCHRONISE:
            raise


def _synchronise_folder(folder: Path) -> None:
    """Makes the rename itself last through a loss of power, where the system lets folders be
    opened.
    """
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
