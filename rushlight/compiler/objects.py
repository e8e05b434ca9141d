"""Kernels' text to machine code in memory, through a cache of object files on disk.

What lies in the cache is run, so it is believed only as far as it can be checked:

- The folder belongs to this user, and nobody else may write in it; so do the files, which are plain ones.
- A file is named by the digest of what it was made from (text, processor, versions) and begins with the digest of its
  name and its code: one that was cut short, changed, or renamed does not fit, and is made again. Nothing is unpickled.
- A file is written beside and then renamed: other processes see all of it or nothing.
- Over its limit, the folder loses the files that were used longest ago.

A cache that cannot be used (no home, a full or read-only disk) costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

from rushlight.compiler.processor import description, llvm, machine
from rushlight.core.files import write_whole
from rushlight.core.flags import setting

#: Bytes that the folder may hold before the files used longest ago go.
LIMIT = 256 << 20
FORMAT = "2"
DIGEST_BYTES = 32


class Library:
    """Machine code of some kernels, loaded; it goes when this object does."""

    def __init__(self, code: bytes) -> None:
        binding = llvm()
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine())
        self._engine.add_object_file(binding.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Where a kernel begins."""
        found: int = self._engine.get_function_address(name)
        if not found:
            raise KeyError(f"there is no kernel {name!r} in this library")
        return found


#: How many modules were compiled in this process, and how many came from the disk.
counts = {"compiled": 0, "loaded": 0}


def load(text: str) -> Library:
    """The kernels of an LLVM module as machine code, from the cache if they are there."""
    folder = cache_folder()
    if folder is None:
        return Library(compile_text(text))
    path = folder / key_of(text)
    code = read(path)
    if code is None:
        code = compile_text(text)
        write(path, code)
    else:
        counts["loaded"] += 1
    return Library(code)


def compile_text(text: str) -> bytes:
    """Object code for this processor."""
    module = llvm().parse_assembly(text)
    module.verify()
    counts["compiled"] += 1
    code: bytes = machine().emit_object(module)
    return code


def key_of(text: str) -> str:
    """The name of the file in which the object code of a text is kept."""
    import llvmlite

    binding = llvm()
    parts: list[Any] = [
        FORMAT, llvmlite.__version__, binding.llvm_version_info, binding.get_process_triple(), *description(), text,
    ]  # fmt: skip
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest() + ".o"


def cache_folder() -> Path | None:
    """The private folder of object files, made if need be; None where there can be none."""
    if setting("RUSHLIGHT_CACHE") == "0":
        return None
    try:
        chosen = setting("RUSHLIGHT_CACHE_DIR")
        home = os.environ.get("XDG_CACHE_HOME")
        base = Path(chosen) if chosen else Path(home or Path.home() / ".cache") / "rushlight"
        folder = base / "objects"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.lstat()
    except (OSError, RuntimeError, ValueError):
        return None
    return folder if stat.S_ISDIR(state.st_mode) and _is_private(state) else None


def _is_private(state: os.stat_result) -> bool:
    """Whether it belongs to this user, and nobody else may write to it."""
    if not hasattr(os, "getuid"):
        return True
    return state.st_uid == os.geteuid() and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def read(path: Path) -> bytes | None:
    """The object code in a file; None if it is not there or not what was written under this name."""
    # No links are followed, and a pipe does not keep us waiting.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode) or not _is_private(state) or state.st_size > LIMIT:
                return None
            content = file.read()
    except OSError:
        return None
    digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if digest != _digest(path, code):
        return None
    with contextlib.suppress(OSError):
        os.utime(path, follow_symlinks=False)  # used just now
    return code


def write(path: Path, code: bytes) -> None:
    """Keeps object code, if that can be done."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)  # whatever is there, `read` did not believe it: a link, a pipe
        # One lost to a power cut does not fit its digest: it need not be waited for.
        write_whole(path, _digest(path, code) + code, mode=0o600, durable=False)
        _trim(path.parent)


def _digest(path: Path, code: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + code).digest()


def _trim(folder: Path) -> None:
    """Removes the files used longest ago while the folder is over its limit."""
    files = []
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            state = entry.stat(follow_symlinks=False)
            files.append((state.st_mtime, state.st_size, entry.path))
    total = sum(size for _, size, _ in files)
    for _, size, name in sorted(files):
        if total <= LIMIT:
            return
        with contextlib.suppress(OSError):
            Path(name).unlink()
            total -= size
