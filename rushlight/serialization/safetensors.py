"""safetensors.torch for rushlight: `save_file`, `load_file`, `safe_open`, `save_model`, `load_model`.

The names and meanings are those of the safetensors library's module for PyTorch, and files go both ways. Files written
here carry a checksum of every tensor, which is compared when the tensor is read; files without them are read too.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from rushlight.serialization.errors import CheckpointError, DamagedFileError
from rushlight.serialization.shards import load_folder
from rushlight.serialization.tensor_file import TensorFile, write_tensors
from rushlight.tensor.device import check_available
from rushlight.tensor.tensor import Tensor, wrap
from rushlight.tensor.values import values

_Path = str | os.PathLike[str]

# -- tensors ---------------------------------------------------------------------------------------


def save_file(
    tensors: Mapping[str, Tensor], filename: _Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Saves tensors under their names, with texts about them. The file is replaced in one step.

    Tensors of any layout are saved as if contiguous. Raises TypeError for what are no tensors,
    names or texts; RuntimeError where tensors share memory, which a file cannot say (`save_model`
    can); CheckpointError for complex128, which the format lacks; OSError, with the old file as it
    was.

    >>> import os, rushlight, tempfile
    >>> from rushlight.serialization.safetensors import load_file, save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "w.safetensors")
    ...     save_file({"w": rushlight.ones(2, dtype=rushlight.bfloat16)}, path)
    ...     load_file(path)
    {'w': tensor([1., 1.], dtype=torch.bfloat16)}
    """
    arrays = _arrays(tensors)
    _check_metadata(metadata)
    shared = shared_memory(arrays)
    if shared:
        raise RuntimeError(
            f"Some tensors share memory: {[sorted(names) for names in shared]}. A file would hold it more than once, "
            "and they would be apart when loaded. `save_model` keeps one of each and ties them again; or save clones"
        )
    write_tensors(filename, arrays, metadata)


def load_file(
    filename: _Path, device: Any = "cpu", *, mmap: bool = True, verify: bool = True
) -> dict[str, Tensor]:
    """All tensors of a file by their names, in the order in which they lie there.

    They look into the file, mapped copy-on-write: memory is taken for what is changed, and the file
    does not change. `mmap=False` reads them into memory of their own, for files that other programs
    write in place: one that is cut short while it is mapped ends the process. `verify=False` does
    not compare checksums, and then nothing is read before it is used.

    Raises FileNotFoundError; DamagedFileError, which names a tensor, for a file that is damaged or
    not safetensors; CheckpointError for a dtype that rushlight lacks.
    """
    with safe_open(filename, device=device, verify=verify) as file:
        found = file.get_tensors()
    return found if mmap else {name: wrap(t._array.copy()) for name, t in found.items()}


class safe_open:
    """A file of tensors that are read one by one, when they are asked for.

    >>> import os, rushlight, tempfile
    >>> from rushlight.serialization.safetensors import safe_open, save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "w.safetensors")
    ...     save_file({"w": rushlight.arange(6).reshape(3, 2)}, path, metadata={"from": "here"})
    ...     with safe_open(path) as f:
    ...         print(f.keys(), f.metadata(), f.get_slice("w")[1:, 0])
    ['w'] {'from': 'here'} tensor([2, 4])
    """

    def __init__(
        self,
        filename: _Path,
        framework: str = "rushlight",
        device: Any = "cpu",
        *,
        verify: bool = True,
    ) -> None:
        check_available(device)
        if framework not in ("rushlight", "pt"):
            raise ValueError(
                f"framework {framework!r}: rushlight's safe_open gives tensors of rushlight ('pt' is taken for it)"
            )
        self._file = TensorFile(filename)
        self._verify = verify

    def keys(self) -> list[str]:
        """The names of the tensors, sorted."""
        return sorted(self._file)

    def offset_keys(self) -> list[str]:
        """The names of the tensors as they lie in the file."""
        return list(self._file)

    def metadata(self) -> dict[str, str] | None:
        """The texts that were saved with the tensors, if there are any."""
        return dict(self._file.metadata) or None

    def get_tensor(self, name: str) -> Tensor:
        """One tensor, which looks into the mapped file. Raises KeyError, CheckpointError."""
        self._check(name)
        return wrap(self._file.array(name, self._verify))

    def get_tensors(self) -> dict[str, Tensor]:
        """All of them."""
        return {name: self.get_tensor(name) for name in self._file}

    def get_slice(self, name: str) -> Slice:
        """A tensor of which parts can be had without reading, or checking, the rest."""
        self._check(name)
        return Slice(self._file, name)

    def _check(self, name: str) -> None:
        if name not in self._file.entries:
            like = get_close_matches(name, self._file.entries, n=1)
            hint = f": did you mean {like[0]}?" if like else ""
            raise KeyError(f"{self._file.path} does not contain tensor {name}{hint}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class Slice:
    """A tensor in a file, of which an index reads just a part."""

    def __init__(self, file: TensorFile, name: str) -> None:
        self._file = file
        self._name = name

    def get_shape(self) -> list[int]:
        """The tensor's shape."""
        return list(self._file.entries[self._name].shape)

    def get_dtype(self) -> str:
        """The tensor's dtype as the format names it, such as "BF16"."""
        return self._file.entries[self._name].dtype

    def __getitem__(self, index: Any) -> Tensor:
        whole: Any = wrap(self._file.array(self._name, verify=False))
        return whole[index]


# -- modules ---------------------------------------------------------------------------------------


def save_model(
    model: Any,
    filename: _Path,
    metadata: Mapping[str, str] | None = None,
    force_contiguous: bool = True,
) -> None:
    """Saves a module's state_dict; of tensors that share memory, as tied weights do, the largest is
    kept.

    `load_model` brings it back. `force_contiguous` is accepted, and everything is saved contiguous.
    Raises as `save_file` does.
    """
    _check_module(model, "save_model")
    _check_metadata(metadata)
    arrays, dropped = untied(model.state_dict())
    write_tensors(filename, arrays, {**dropped, **(metadata or {})})


def load_model(
    model: Any, filename: _Path, strict: bool = True, device: Any = "cpu"
) -> tuple[list[str], list[str]]:
    """Loads a file, or a folder that `save_pretrained` made, into a module, tensor by tensor: never
    are there two copies of them in memory.

    Returns the names that were missing and those that nobody wanted. Raises RuntimeError if there
    are any and it is to be `strict`, and for shapes that do not fit; DamagedFileError for a damaged
    file. The module is then as it was.

    >>> import os, tempfile
    >>> from rushlight import nn
    >>> from rushlight.serialization.safetensors import load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.safetensors")
    ...     save_model(nn.Linear(2, 3), path)
    ...     load_model(nn.Linear(2, 3), path)
    <All keys matched successfully>
    """
    _check_module(model, "load_model")
    if Path(filename).is_dir():
        return load_state(model, load_folder(Path(filename))[0], strict)
    return load_state(model, load_file(filename, device), strict)


def load_state(
    model: Any, tensors: Mapping[str, Any], strict: bool = True
) -> tuple[list[str], list[str]]:
    """Loads tensors that `untied` has left into a module whose ties are known from itself."""
    own = model.state_dict()
    arrays = {name: t._array for name, t in own.items() if isinstance(t, Tensor)}
    tied: dict[str, Any] = {}  # what is filled through another that it shares memory with
    for names in shared_memory(arrays):
        if not names.isdisjoint(tensors):
            tied |= {name: own[name] for name in names if name not in tensors}
    if tied:
        complete: Any = OrderedDict({**tensors, **tied})
        if hasattr(tensors, "_metadata"):
            complete._metadata = tensors._metadata
        tensors = complete
    return model.load_state_dict(tensors, strict=strict)  # type: ignore[no-any-return]


def untied(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays of a state_dict without those whose memory another one covers, and for each of
    these the name of that other.

    Raises RuntimeError where tensors overlap and none covers the others.
    """
    arrays = _arrays(state)
    dropped: dict[str, str] = {}
    for names in shared_memory(arrays):
        bounds = {name: _bounds(arrays[name]) for name in names}
        first, last = min(b[0] for b in bounds.values()), max(b[1] for b in bounds.values())
        whole = sorted(
            name
            for name, bound in bounds.items()
            if bound == (first, last) and arrays[name].nbytes == last - first
        )
        if not whole:
            raise RuntimeError(
                f"the tensors {sorted(names)} share memory and none of them covers the others: clone some of them"
            )
        dropped |= {name: whole[0] for name in names if name != whole[0]}
    return {name: array for name, array in arrays.items() if name not in dropped}, dropped


def shared_memory(arrays: Mapping[str, Any]) -> list[set[str]]:
    """The groups of names whose arrays overlap in memory."""
    groups: list[set[str]] = []
    reached = -1
    for begin, end, name in sorted((*_bounds(a), n) for n, a in arrays.items() if a.size):
        if begin >= reached:
            groups.append(set())
        groups[-1].add(name)
        reached = max(reached, end)
    return [names for names in groups if len(names) > 1]


def _bounds(array: Any) -> tuple[int, int]:
    """The first byte of an array, and the one behind its last."""
    begin, end = np.lib.array_utils.byte_bounds(array)
    return int(begin), int(end)


# -- checks ----------------------------------------------------------------------------------------


def _arrays(tensors: Any) -> dict[str, Any]:
    """The arrays of tensors; TypeError for anything else."""
    if not isinstance(tensors, Mapping):
        hint = ": save_model takes a module" if hasattr(tensors, "state_dict") else ""
        raise TypeError(f"expected a dict of names and tensors, not {type(tensors).__name__}{hint}")
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise TypeError(f"the name of a tensor must be a str, not {name!r}")
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name} is no tensor, but {type(tensor).__name__}: rushlight.save takes all kinds"
            )
        if hasattr(tensor, "materialize"):
            raise ValueError(f"{name} has no shape yet: run the lazy module once, then save it")
    return {name: values(tensor, "save_file") for name, tensor in tensors.items()}


def _check_module(model: Any, caller: str) -> None:
    if not hasattr(model, "load_state_dict"):
        raise TypeError(
            f"{caller}(model, filename) takes a module first, not {type(model).__name__}"
        )


def _check_metadata(metadata: Any) -> None:
    if metadata is not None and not (
        isinstance(metadata, Mapping)
        and all(isinstance(k, str) and isinstance(v, str) for k, v in metadata.items())
    ):
        raise TypeError("metadata must be a dict of str and str")


__all__ = [
    "CheckpointError",
    "DamagedFileError",
    "load_file",
    "load_model",
    "safe_open",
    "save_file",
    "save_model",
]
