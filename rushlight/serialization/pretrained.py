"""Models in folders as on the Hugging Face hub: `config.json`, what the constructor was given, and the weights.

A class that also derives from `PretrainedMixin` has `save_pretrained` and `from_pretrained`, with the names and the
files of huggingface_hub's PyTorchModelHubMixin. Reading runs no code from the folder: the class is the caller's, the
config is JSON, the weights are safetensors.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import json
import os
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from rushlight.core.files import write_whole
from rushlight.serialization.errors import DamagedFileError
from rushlight.serialization.safetensors import load_state, untied
from rushlight.serialization.shards import load_folder, read_json, save_folder

CONFIG = "config.json"
_LEFT_OUT = "_left_out"  # the entry of a config that names arguments which JSON cannot hold

# While a new config takes the place of an old one, the new weights are there before it. So that they are never read
# with the old config, they bring the new one and the digest of the old, by which it is known to be the old one.
_NEW_CONFIG, _OLD_DIGEST = "rushlight.config", "rushlight.replaces"

_signature = functools.lru_cache(maxsize=256)(inspect.signature)
_Model = TypeVar("_Model", bound="PretrainedMixin")
_Coders = Mapping[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]]
#: Arguments of Hugging Face's from_pretrained that say how to download; here nothing is.
_ABOUT_DOWNLOADS = frozenset(
    (
        "force_download",
        "resume_download",
        "proxies",
        "token",
        "cache_dir",
        "local_files_only",
        "revision",
    )
)


def save_pretrained(
    model: Any,
    save_directory: str | os.PathLike[str],
    *,
    config: Any = None,
    max_shard_size: int | str = "5GB",
) -> None:
    """Saves any module to a folder: `config` (a dict or a dataclass), and its state_dict.

    Tied weights are saved once. Of weights over `max_shard_size` bytes there are several files with
    an index. Whenever it is interrupted, the folder holds the old model or the new one. Raises
    TypeError for a config that JSON cannot hold, OSError, and as `save_model` does.
    """
    folder = Path(save_directory)
    arrays, dropped = untied(model.state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", **dropped}
    path = folder / CONFIG
    new = old = path.read_bytes() if path.exists() else b""
    if config is not None:
        new = json.dumps(_encoded(config, {}), indent=2, sort_keys=True).encode() + b"\n"
    if new != old:
        metadata |= {_NEW_CONFIG: new.decode(), _OLD_DIGEST: hashlib.sha256(old).hexdigest()}
    save_folder(folder, arrays, metadata, max_shard_size)
    if new != old:
        write_whole(path, new)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config and the tensors of a folder."""
    tensors, metadata = load_folder(folder)
    path = folder / CONFIG
    old = path.read_bytes() if path.exists() else b""
    if metadata.get(_OLD_DIGEST) == hashlib.sha256(old).hexdigest():
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            config = json.loads(metadata[_NEW_CONFIG])
            if isinstance(config, dict):
                return config, tensors
        raise DamagedFileError(f"{folder}: the config that was saved with the weights is damaged")
    return (read_json(path) if old else {}), tensors


class PretrainedMixin:
    """Gives a Module `save_pretrained` and `from_pretrained`; derive a class from both.

    The arguments of its constructor are noted when it is made, and saved. `coders` of the class say
    how arguments of other types go into JSON and come back: {type: (encode, decode)}; dataclasses
    do so by themselves.

    >>> import tempfile
    >>> from rushlight import nn
    >>> from rushlight.serialization import PretrainedMixin
    >>> class Net(nn.Module, PretrainedMixin):
    ...     def __init__(self, width, depth=2):
    ...         super().__init__()
    ...         self.layers = nn.Sequential(*(nn.Linear(width, width) for _ in range(depth)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Net(8, depth=3).save_pretrained(folder)
    ...     len(Net.from_pretrained(folder).layers)
    3
    """

    _pretrained_config: dict[str, Any]
    _pretrained_coders: ClassVar[_Coders] = {}

    def __init_subclass__(cls, *, coders: _Coders | None = None, **others: Any) -> None:
        super().__init_subclass__(**others)
        if coders is not None:
            cls._pretrained_coders = coders

    def __new__(cls: type[_Model], *args: Any, **kwargs: Any) -> _Model:
        instance = super().__new__(cls)
        # Past Module.__setattr__, which is not ready before Module.__init__.
        object.__setattr__(instance, "_pretrained_config", cls._noted(args, kwargs))
        return instance

    @classmethod
    def _noted(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the constructor as JSON can hold them."""
        signature = _signature(cls.__init__)
        try:
            bound = signature.bind(None, *args, **kwargs)
        except TypeError:  # copying and unpickling give none; of a mistake __init__ will tell
            return {}
        bound.apply_defaults()
        config: dict[str, Any] = {}
        left_out = []
        for name, value in list(bound.arguments.items())[1:]:
            kind = signature.parameters[name].kind
            try:
                if kind is inspect.Parameter.VAR_POSITIONAL and value:
                    raise TypeError("these have no names")
                encoded = _encoded(value, cls._pretrained_coders)
            except TypeError:
                left_out.append(name)
                continue
            if kind is inspect.Parameter.VAR_KEYWORD or (
                name == "config" and isinstance(encoded, dict)
            ):
                config |= encoded  # as Hugging Face has it: the fields stand at the top
            elif kind is not inspect.Parameter.VAR_POSITIONAL:
                config[name] = encoded
        return config | ({_LEFT_OUT: left_out} if left_out else {})

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        config: Any = None,
        max_shard_size: int | str = "5GB",
    ) -> None:
        """Saves the model to a folder, made if need be: `config.json` and `model.safetensors`.

        `config` (a dict or a dataclass) is saved in place of the constructor's arguments. Otherwise as the
        function `rushlight.serialization.save_pretrained`.
        """
        if config is None:
            config = self._pretrained_config
        else:
            config = _encoded(config, self._pretrained_coders)
        save_pretrained(self, save_directory, config=config, max_shard_size=max_shard_size)

    @classmethod
    def from_pretrained(
        cls: type[_Model],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        strict: bool = True,
        map_location: Any = "cpu",
        **model_kwargs: Any,
    ) -> _Model:
        """The model that was saved to a folder, in evaluation mode.

        It is made with the arguments in `config.json`, those in `model_kwargs` before them; entries
        that the constructor does not know are passed over. `strict` and errors are as in
        `load_model`. Nothing is downloaded. Raises FileNotFoundError for what is no folder of a model,
        DamagedFileError for one that is damaged, TypeError for arguments that are missing.
        """
        from rushlight.tensor.device import check_available

        check_available(map_location)
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"there is no folder {folder}. rushlight downloads nothing: for a model of the Hugging Face hub, "
                "huggingface_hub.snapshot_download(name) gives a folder"
            )
        config, tensors = _read(folder)
        given = {k: v for k, v in model_kwargs.items() if k not in _ABOUT_DOWNLOADS}
        make: Any = cls
        model = make(**cls._arguments(config, given, folder))
        load_state(model, tensors, strict)
        return model.eval()  # type: ignore[no-any-return]

    @classmethod
    def _arguments(
        cls, config: dict[str, Any], given: dict[str, Any], folder: Path
    ) -> dict[str, Any]:
        """The arguments of the constructor that a config and a caller give."""
        left_out = config.pop(_LEFT_OUT, [])
        missing = (
            [name for name in left_out if name not in given] if isinstance(left_out, list) else []
        )
        if missing:
            raise TypeError(
                f"{cls.__name__}.from_pretrained() needs the arguments {missing}: {folder / CONFIG} cannot hold them"
            )
        parameters = dict(list(_signature(cls.__init__).parameters.items())[1:])
        any_name = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        if "config" in parameters and "config" not in config:
            rest = {k: v for k, v in config.items() if k not in parameters}
            config = {**{k: v for k, v in config.items() if k in parameters}, "config": rest}
        hints = _hints(cls.__init__)
        found = {}
        for name, value in config.items():
            if name in parameters:
                found[name] = _decoded(
                    value, hints.get(name), parameters[name].default, cls._pretrained_coders
                )
            elif any_name:
                found[name] = value
        return found | given


# -- arguments in JSON -----------------------------------------------------------------------------


def _encoded(value: Any, coders: _Coders) -> Any:
    """A value as JSON can hold it, copied; TypeError for one that it cannot."""
    for kind, (encode, _) in coders.items():
        if isinstance(value, kind):
            return _encoded(encode(value), {})
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return _encoded(value.item(), {})
    if isinstance(value, (list, tuple)):
        return [_encoded(item, coders) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _encoded(getattr(value, f.name), coders) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _encoded(item, coders) for key, item in value.items()}
    raise TypeError(f"a config cannot hold a {type(value).__name__}")


def _decoded(value: Any, hint: Any, default: Any, coders: _Coders) -> Any:
    """A value from JSON as the constructor's annotation, or its default, wants it."""
    if value is None:
        return None
    for kind in (hint, *typing.get_args(hint)):  # X, or X | None
        origin = typing.get_origin(kind) or kind
        if not isinstance(origin, type):
            continue
        for known, (_, decode) in coders.items():
            if issubclass(origin, known):
                return decode(value)
        if dataclasses.is_dataclass(origin) and isinstance(value, dict):
            hints = _hints(origin)
            fields = {f.name: f.default for f in dataclasses.fields(origin) if f.init}
            make: Any = origin
            return make(
                **{
                    name: _decoded(value[name], hints.get(name), default, coders)
                    for name, default in fields.items()
                    if name in value
                }
            )
        if origin is tuple and isinstance(value, list):
            return tuple(value)
    return tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value


def _hints(thing: Any) -> dict[str, Any]:
    """Annotations of the caller's own class; none where they name what is not there."""
    try:
        return typing.get_type_hints(thing)
    except (NameError, TypeError, AttributeError):
        return {}
