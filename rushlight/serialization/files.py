"""`save` and `load`: checkpoints in PyTorch's own formats."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rushlight.core.files import whole_file
from rushlight.serialization import constructors, legacy
from rushlight.serialization.archive import Archive, ArchiveWriter, Source
from rushlight.serialization.emitter import Emitter
from rushlight.serialization.errors import UnpicklingError
from rushlight.serialization.opcodes import Cursor
from rushlight.serialization.reading import load_zip
from rushlight.serialization.safetensors import load_file
from rushlight.serialization.storages import placing
from rushlight.serialization.survey import names

_ZIP = b"PK\x03\x04"


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Saves a state_dict, a checkpoint, or any nest of tensors and plain values, in PyTorch's format.

    `f` is a path, or a file that is open for writing bytes. `torch.load` reads what is written
    here, and `rushlight.load` what `torch.save` writes. Memory that tensors share is written once
    and shared again by what is loaded; a view brings the whole memory that it looks into (clone()
    it to save a part alone). Gradients and hooks are not saved. The stream is of pickle protocol 2,
    as PyTorch's, whatever `pickle_protocol` says.

    A file at a path is replaced in one step: a failure leaves what stood there. Raises TypeError,
    naming the place, for what no checkpoint can hold, such as a whole network: save its
    `state_dict()`.

    >>> import io, rushlight
    >>> file = io.BytesIO()
    >>> rushlight.save({"epoch": 3, "w": rushlight.ones(2)}, file)
    >>> _ = file.seek(0)
    >>> rushlight.load(file)
    {'epoch': 3, 'w': tensor([1., 1.])}
    """
    _check_pickle_module(pickle_module)
    if type(pickle_protocol) is not int or not 2 <= pickle_protocol <= 5:
        raise ValueError(f"pickle_protocol must be an int from 2 to 5, not {pickle_protocol!r}")
    path = _path(f)
    if path is None and not hasattr(f, "write"):
        raise AttributeError(
            "expected 'f' to be string, path, or a file-like object with a 'write' attribute, not "
            f"{type(f).__name__}"
        )
    write = _save_zip if _use_new_zipfile_serialization else legacy.save_stream
    emitted = Emitter(legacy=not _use_new_zipfile_serialization)
    stream = emitted.dump(obj)  # before anything is written
    if path is None:
        write(stream, emitted, f)
    else:
        with whole_file(path) as file:
            write(stream, emitted, file)


def _save_zip(stream: bytes, emitted: Emitter, file: IO[bytes]) -> None:
    writer = ArchiveWriter(file)
    writer.write("data.pkl", stream)
    writer.write(".format_version", b"1")
    writer.write(".storage_alignment", b"64")
    writer.write("byteorder", sys.byteorder.encode())
    for number, memory in enumerate(emitted.storages.memories):
        writer.write(f"data/{number}", memory)
    writer.finish()


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    encoding: str = "utf-8",
) -> Any:
    """Loads what `rushlight.save` or `torch.save` has written. Runs no code from the file, ever.

    Reads the zip format of PyTorch 1.6 and later, the formats before it, and safetensors files. `f`
    is a path, or a file that is open for reading bytes and can seek.

    The stream is followed by rushlight's own interpreter, which builds tensors, arrays and plain
    data by a closed list of constructors. A class of yours is built once you allow it by
    `rushlight.serialization.add_safe_globals`. `weights_only=False` is accepted, and changes
    nothing: there is no way to run what a file says.

    - `map_location` is taken as PyTorch takes it. Tensors from other devices come to the CPU.
    - `mmap=True`, for a path: tensors look into the file, which is read where they are first used.
      Writing to one changes memory only. The sums that guard the tensors' bytes are not checked
      then, as that would read them all.
    - `encoding`: of strings that Python 2 wrote; "bytes" leaves them as bytes.

    Raises FileNotFoundError; `pickle.UnpicklingError` for a file that wants something that is not on
    the list, naming it; DamagedFileError, which is an UnpicklingError and a RuntimeError, for a file
    that is cut off or changed, naming the tensor.

    >>> import io, rushlight
    >>> file = io.BytesIO()
    >>> rushlight.save(rushlight.nn.Linear(1, 1).state_dict(), file)
    >>> _ = file.seek(0)
    >>> list(rushlight.load(file))
    ['weight', 'bias']
    """
    _check_pickle_module(pickle_module)
    if weights_only not in (None, True, False):
        raise TypeError(f"weights_only must be a bool, not {type(weights_only).__name__}")
    place = placing(map_location)
    path = _path(f)
    if mmap and path is None:
        raise ValueError("f must be a file path in order to use the mmap argument")
    if path is None and not (hasattr(f, "read") and hasattr(f, "seek") and hasattr(f, "tell")):
        raise AttributeError(
            "expected 'f' to be a path, or a file-like object with 'read', 'seek' and 'tell': read "
            "what cannot seek into an io.BytesIO first"
        )
    with _opened(f, path) as stream:
        source = Source(stream)
        if _is_safetensors(source):
            if path is None:
                raise ValueError("a safetensors file can only be loaded from a path")
            return load_file(path, mmap=bool(mmap))
        return _load(source, place, encoding, bool(mmap))


def _is_safetensors(source: Source) -> bool:
    """Whether the file begins with the length of a header, and that with a brace."""
    if source.size < 9:
        return False
    start = source.read(0, 9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= source.size - 8


def _load(source: Source, place: Any, encoding: str, mapped: bool) -> Any:
    if not source.size:
        raise EOFError(f"{source.name} is empty")
    start = source.read(0, min(8, source.size))
    if start.startswith(_ZIP):
        return load_zip(source, place, encoding, mapped)
    read = legacy.load_tar if legacy.is_tar(source) else legacy.load_stream
    if read is legacy.load_tar or start[:1] == b"\x80":
        if mapped:
            raise RuntimeError(
                "mmap can only be used with files in the format of PyTorch 1.6 and later: save this one again"
            )
        return read(source, place, encoding)
    raise UnpicklingError(
        f"{source.name} is no checkpoint: it begins with {start!r}, and neither a zip archive, a "
        "pickle stream, a tar file nor a safetensors file does"
    )


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """The classes and functions that a checkpoint names and `load` would refuse, sorted.

    Follows the stream without building anything. Raises as `load` does for a damaged file.

    >>> import io, rushlight
    >>> class Config:
    ...     pass
    >>> file = io.BytesIO()
    >>> with rushlight.serialization.safe_globals([Config]):
    ...     rushlight.save({"config": Config(), "w": rushlight.ones(1)}, file)
    >>> _ = file.seek(0)
    >>> rushlight.serialization.get_unsafe_globals_in_checkpoint(file)
    ['rushlight.serialization.files.Config']
    """
    with _opened(f, _path(f)) as stream:
        source = Source(stream)
        found = names(_state_stream(source))
    return sorted(name for name in found if not constructors.is_known(name))


def _state_stream(source: Source) -> Cursor:
    """The pickle stream with the state."""
    if source.read(0, min(4, source.size)) == _ZIP:
        return Cursor(Archive(source).read("data.pkl"))
    if legacy.is_tar(source):
        return legacy.tar_members(source).get("pickle", Cursor(b""))
    cursor = Cursor(source.read(0, source.size))
    legacy.pass_head(source, cursor)
    return cursor


def _check_pickle_module(module: Any) -> None:
    if module is not None and getattr(module, "__name__", "") != "pickle":
        raise RuntimeError(
            "pickle_module: rushlight writes and reads the streams itself, so that no file can run "
            "code; leave the argument out"
        )


def _path(f: Any) -> Path | None:
    return Path(f) if isinstance(f, (str, os.PathLike)) else None


@contextlib.contextmanager
def _opened(f: Any, path: Path | None) -> Iterator[IO[bytes]]:
    if path is None:
        if isinstance(f, io.TextIOBase):
            raise TypeError("f must be open for bytes: open(path, 'rb')")
        yield f
    else:
        with path.open("rb") as stream:
            yield stream
