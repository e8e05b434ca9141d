"""Kernels' text to machine code in memory, through a cache of object files on disk.

A file of the cache is a SHA-256 digest and the object code behind it; its name is the digest of what it was made from:
text, processor, versions. A file that does not fit its digest is made again. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rushlight.compiler.processor import description, llvm, machine
from rushlight.core.flags import setting

#: Bytes that the folder may hold before the files used longest ago go.
LIMIT = 256 << 20
FORMAT = "1"


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


def load(text: str, names: Sequence[str] = ()) -> Library:
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
        try:
            return Library(code)
        except RuntimeError:  # an object that this LLVM cannot load
            code = compile_text(text)
            write(path, code)
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

    parts: list[Any] = [
        FORMAT,
        llvmlite.__version__,
        llvm().llvm_version_info,
        *description(),
        text,
    ]
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest() + ".o"


def cache_folder() -> Path | None:
    """The private folder of object files, made if need be; None where there can be none."""
    if setting("RUSHLIGHT_CACHE") == "0":
        return None
    chosen = setting("RUSHLIGHT_CACHE_DIR")
    base = (
        Path(chosen)
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rushlight"
    )
    folder = base / "objects"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except (OSError, RuntimeError):
        return None
    if hasattr(os, "getuid") and (
        state.st_uid != os.getuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        return None  # others could put code there
    return folder


def read(path: Path) -> bytes | None:
    """The object code in a file; None if it is not there or not what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:32], content[32:]
    if hashlib.sha256(code).digest() != digest:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used just now
    return code


def write(path: Path, code: bytes) -> None:
    """Keeps object code: written beside, then renamed, so that readers see all of it or nothing."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink()
            return
        _trim(path.parent)
    except OSError:
        return  # a cache that cannot be written is no reason to fail


def _trim(folder: Path) -> None:
    """Removes the files used longest ago while the folder is over its limit."""
    files = []
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            state = entry.stat()
            files.append((state.st_mtime, state.st_size, entry.path))
    total = sum(size for _, size, _ in files)
    for _, size, name in sorted(files):
        if total <= LIMIT:
            return
        with contextlib.suppress(OSError):
            Path(name).unlink()
            total -= size
