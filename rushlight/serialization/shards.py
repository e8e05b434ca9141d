"""The weights of a model in a folder, as the Hugging Face hub has them: a safetensors file, or several with an index.

`model.safetensors` where it is there, else the files that `model.safetensors.index.json` names. Where one state of a
folder replaces another, there is one moment at which readers find the new one: the rename of the file or of the index,
or the removal of the file that hides an index. Shards that replace shards have new names, so the old ones stay whole.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rushlight.core.files import remove_abandoned, write_whole
from rushlight.serialization.errors import DamagedFileError
from rushlight.serialization.tensor_file import TensorFile, write_tensors
from rushlight.tensor.tensor import Tensor, wrap

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model-(?:[0-9a-f]{8}-)?\d{5}-of-\d{5}\.safetensors")
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_LARGEST_JSON = 64 << 20  # bytes: the index of a million tensors


def save_folder(
    folder: Path, arrays: Mapping[str, Any], metadata: Mapping[str, str], max_shard_size: int | str
) -> None:
    """Writes arrays to a folder, in files of at most `max_shard_size` bytes if one array fits that."""
    shards = _split(arrays, _bytes_in(max_shard_size))
    if len(shards) == 1:
        write_tensors(folder / WEIGHTS, shards[0], metadata)
        (folder / INDEX).unlink(missing_ok=True)
        _remove_shards(folder, keep=frozenset())
        return
    names = _names(folder, len(shards))
    total = sum(array.nbytes for array in arrays.values())
    index = {
        "metadata": {"total_size": total, **metadata},
        "weight_map": {key: name for name, shard in zip(names, shards) for key in shard},
    }
    text = json.dumps(index, indent=2).encode() + b"\n"
    try:
        for name, shard in zip(names, shards):
            write_tensors(folder / name, shard, {"format": "pt"})
        write_whole(folder / INDEX, text)
    except BaseException:
        if not (folder / INDEX).exists() or (folder / INDEX).read_bytes() != text:
            for name in names:
                (folder / name).unlink(missing_ok=True)
        raise
    (folder / WEIGHTS).unlink(missing_ok=True)
    _remove_shards(folder, keep=frozenset(names))


def load_folder(folder: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The tensors of a folder, mapped from its files, and the metadata that were saved with them.

    Raises FileNotFoundError where there are none; DamagedFileError for files that are damaged or do
    not belong together.
    """
    if (folder / WEIGHTS).exists():
        with TensorFile(folder / WEIGHTS) as file:
            return {name: wrap(file.array(name)) for name in file}, file.metadata
    path = folder / INDEX
    if not path.exists():
        raise FileNotFoundError(f"there is neither {WEIGHTS} nor {INDEX} in {folder}")
    index = read_json(path)
    weight_map, metadata = index.get("weight_map"), index.get("metadata", {})
    if not isinstance(weight_map, dict) or not isinstance(metadata, dict):
        raise DamagedFileError(f"{path}: an index has a weight_map of names and files")
    wanted: dict[str, list[str]] = {}
    for name, shard in weight_map.items():
        # A file beside the index, and no way out of the folder.
        if (
            not isinstance(shard, str)
            or not shard.endswith(".safetensors")
            or set(shard) & set("/\\\0:")
        ):
            raise DamagedFileError(
                f"{path}: {name} is not in a safetensors file of this folder: {shard!r}"
            )
        wanted.setdefault(shard, []).append(name)
    tensors = {}
    for shard, names in wanted.items():
        if not (folder / shard).exists():
            raise DamagedFileError(f"{path}: {names[0]} is to be in {shard}, which is not there")
        with TensorFile(folder / shard) as file:
            for name in names:
                if name not in file.entries:
                    raise DamagedFileError(
                        f"{path}: {name} is to be in {shard}, which does not have it"
                    )
                tensors[name] = wrap(file.array(name))
    return tensors, metadata


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises FileNotFoundError; DamagedFileError for anything else."""
    with path.open("rb") as stream:
        data = stream.read(_LARGEST_JSON + 1)
    if len(data) > _LARGEST_JSON:
        raise DamagedFileError(f"{path} is too large for what it should be")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise DamagedFileError(f"{path} is no JSON that can be read: {problem}") from None
    if not isinstance(found, dict):
        raise DamagedFileError(
            f"{path} holds {type(found).__name__}, and should hold names and values"
        )
    return found


def _bytes_in(size: int | str) -> int:
    """The number of bytes that "5GB" or a number says. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", str(size).upper())
    number = float(found[1]) * _UNITS[(found[2] or "").removeprefix("B")] if found else 0
    if number < 1:
        raise ValueError(
            f'max_shard_size must be a number of bytes, or such as "5GB", not {size!r}'
        )
    return int(number)


def _split(arrays: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    """The arrays, in their order, in groups whose bytes are within a limit where they can be."""
    shards: list[dict[str, Any]] = [{}]
    room = limit
    for name, array in arrays.items():
        if array.nbytes > room and shards[-1]:
            shards.append({})
            room = limit
        shards[-1][name] = array
        room -= array.nbytes
    return shards


def _names(folder: Path, count: int) -> list[str]:
    """Names for shards, none of which is taken."""
    token = ""
    while True:
        names = [f"model-{token}{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
        if not any((folder / name).exists() for name in names):
            return names
        token = secrets.token_hex(4) + "-"


def _remove_shards(folder: Path, keep: frozenset[str]) -> None:
    """Removes the shards of an earlier state, and what killed writers have left of some."""
    remove_abandoned(folder, lambda name: name in (WEIGHTS, INDEX) or bool(_SHARD.fullmatch(name)))
    for path in folder.iterdir():
        if _SHARD.fullmatch(path.name) and path.name not in keep:
            path.unlink(missing_ok=True)
