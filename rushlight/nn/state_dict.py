"""State dicts: everything a module must remember, by path; and loading it back, all or nothing."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from rushlight.backends.settings import settings
from rushlight.nn.parameter import Parameter, is_lazy
from rushlight.tensor.tensor import Tensor

_EXTRA_STATE = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` could not match: keys that were missing, and keys that nobody wanted."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    def __str__(self) -> str:
        return repr(self)


class StateDictMethods:
    """The part of Module that saves and loads its state."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Adds this module's own parameters, persistent buffers and extra state."""
        module: Any = self
        for name, parameter in module._parameters.items():
            if parameter is not None:
                keeps = keep_vars or is_lazy(parameter)
                destination[prefix + name] = parameter if keeps else parameter.detach()
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                keeps = keep_vars or is_lazy(buffer)
                destination[prefix + name] = buffer if keeps else buffer.detach()
        if type(module).get_extra_state is not StateDictMethods.get_extra_state:
            destination[prefix + _EXTRA_STATE] = module.get_extra_state()

    def get_extra_state(self) -> Any:
        """Extra state for the state_dict; a module that has some writes this and `set_extra_state`."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called: override it to use it."
        )

    def set_extra_state(self, state: Any) -> None:
        """Takes what `get_extra_state` gave."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called: override it to use it."
        )

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """All parameters and persistent buffers by path, sharing memory with the module.

        >>> from rushlight import nn
        >>> list(nn.Sequential(nn.Linear(2, 3), nn.ReLU()).state_dict())
        ['0.weight', '0.bias']
        """
        if args:
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and prefix == "" else prefix
            keep_vars = args[2] if len(args) > 2 and keep_vars is False else keep_vars
        module: Any = self
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": module._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in module._state_dict_pre_hooks.values():
            hook(module, prefix, keep_vars)
        module._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in module._modules.items():
            if child is not None:
                child.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in module._state_dict_hooks.values():
            replaced = hook(module, destination, prefix, local_metadata)
            if getattr(hook, "_from_public_api", False):
                if replaced is not None:
                    raise RuntimeError("state_dict post-hook must return None")
            elif replaced is not None:
                destination = replaced
        return destination

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Loads this module's own members from `state_dict`; notes what does not fit in the lists."""
        module: Any = self
        for hook in module._load_state_dict_pre_hooks.values():
            hook(
                state_dict,
                prefix,
                local_metadata,
                strict,
                missing_keys,
                unexpected_keys,
                error_msgs,
            )
        assign = bool(local_metadata.get("assign_to_params_buffers", False))
        persistent = {
            k: v for k, v in module._buffers.items() if k not in module._non_persistent_buffers_set
        }
        for name, member in {**module._parameters, **persistent}.items():
            if member is None:
                continue
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            _load_member(module, name, member, key, state_dict[key], assign, error_msgs)
        has_extra = type(module).set_extra_state is not StateDictMethods.set_extra_state
        extra = prefix + _EXTRA_STATE
        if has_extra:
            if extra in state_dict:
                module.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if strict:
            members = {**module._parameters, **persistent}
            known = module._modules.keys() | {k for k, v in members.items() if v is not None}
            for key in state_dict:
                if key.startswith(prefix) and key != extra:
                    first, _, rest = key[len(prefix) :].partition(".")
                    if (rest and first not in module._modules) or (not rest and first not in known):
                        unexpected_keys.append(key)

    def load_state_dict(
        self, state_dict: Any, strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies a state dict into the module (or, with `assign`, takes its tensors). A path stands for the
        state_dict in its file: safetensors, PyTorch's, or a folder that `save_pretrained` made.

        Raises RuntimeError that lists every missing or unexpected key (if `strict`) and every shape that does not fit;
        the module is then as it was before.
        """
        module: Any = self
        if isinstance(state_dict, (str, os.PathLike)):
            if assign:
                raise ValueError("assign=True takes tensors: load the file first, as by load_file")
            return IncompatibleKeys(*settings.load_model(module, state_dict, strict))
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        source: Any = OrderedDict(state_dict)
        if metadata is not None:
            source._metadata = metadata
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        backup = _Backup(module, source)
        try:
            _load(module, source, "", metadata, strict, assign, missing, unexpected, errors)
        except BaseException:
            backup.restore()
            raise
        incompatible = IncompatibleKeys(missing, unexpected)
        if strict:
            if unexpected:
                errors.insert(
                    0,
                    "Unexpected key(s) in state_dict: {}. ".format(
                        ", ".join(f'"{k}"' for k in unexpected)
                    ),
                )
            if missing:
                errors.insert(
                    0,
                    "Missing key(s) in state_dict: {}. ".format(
                        ", ".join(f'"{k}"' for k in missing)
                    ),
                )
        if errors:
            backup.restore()
            listed = "\n\t".join(errors)
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(module).__name__}:\n\t{listed}"
            )
        return incompatible


class _Backup:
    """The members of a module tree before loading: their tensors, and copies of what a load that fails may have
    overwritten.

    Where all that is asked for is known to fit, nothing can fail, and the module is not held twice in memory.
    """

    def __init__(self, module: Any, source: Mapping[str, Any]) -> None:
        copying = not _surely_fits(module, source)
        self._members = [
            (
                kind,
                name,
                tensor,
                tensor._array.copy()
                if copying and tensor is not None and not is_lazy(tensor)
                else None,
            )
            for m in module.modules()
            for kind in (m._parameters, m._buffers)
            for name, tensor in kind.items()
        ]

    def restore(self) -> None:
        """Puts everything back."""
        from rushlight.tensor.storage import write

        for kind, name, tensor, values in self._members:
            kind[name] = tensor
            if values is not None and tensor._array.shape == values.shape:
                write(tensor, values, "load_state_dict")


def _surely_fits(module: Any, source: Mapping[str, Any]) -> bool:
    """Whether a source has just the tensors of a module, alike in shape and dtype, and no user's code sees them."""
    own: dict[str, Any] = {}
    for prefix, m in module.named_modules(remove_duplicate=False):
        loader = type(m)._load_from_state_dict
        if (
            not loader.__module__.startswith("rushlight.nn.")
            or type(m).set_extra_state is not StateDictMethods.set_extra_state
            or m._load_state_dict_pre_hooks
            or m._load_state_dict_post_hooks
        ):
            return False
        lead = prefix and prefix + "."
        own |= {lead + k: v for k, v in m._parameters.items() if v is not None}
        own |= {
            lead + k: v
            for k, v in m._buffers.items()
            if v is not None and k not in m._non_persistent_buffers_set
        }
    return own.keys() == source.keys() and all(
        isinstance(value, Tensor)
        and not is_lazy(value)
        and not is_lazy(own[name])
        and value.shape == own[name].shape
        and value._array.dtype == own[name]._array.dtype
        for name, value in source.items()
    )


def _load(
    module: Any,
    state_dict: Any,
    prefix: str,
    metadata: Any,
    strict: bool,
    assign: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    local = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
    if assign:
        local["assign_to_params_buffers"] = True
    module._load_from_state_dict(state_dict, prefix, local, True, missing, unexpected, errors)
    for name, child in module._modules.items():
        if child is not None:
            lead = f"{prefix}{name}."
            part = OrderedDict((k, v) for k, v in state_dict.items() if k.startswith(lead))
            _load(child, part, lead, metadata, strict, assign, missing, unexpected, errors)
    incompatible = IncompatibleKeys(missing, unexpected)
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, incompatible) is not None:
            raise RuntimeError(
                "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new values; "
                "if incompatible_keys need to be modified, it should be done inplace."
            )


def _load_member(
    module: Any, name: str, member: Tensor, key: str, value: Any, assign: bool, errors: list[str]
) -> None:
    if not isinstance(value, Tensor):
        errors.append(
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
            f"checkpoint but "
            f"received {type(value)}"
        )
        return
    if is_lazy(member):
        if not is_lazy(value):
            member.materialize(value.shape)  # type: ignore[attr-defined]
        else:
            return
    if (
        len(value.shape) == 1 and value._array.size == 1 and len(member.shape) == 0
    ):  # written by an ancient version
        value = value[0]  # type: ignore[index]
    if value.shape != member.shape:
        errors.append(
            f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, the shape in current "
            f"model is {member.shape}."
        )
        return
    if assign:
        if isinstance(member, Parameter):
            value = (
                value if isinstance(value, Parameter) else Parameter(value, member.requires_grad)
            )
            value.requires_grad_(member.requires_grad)
        setattr(module, name, value)
        return
    from rushlight.autograd.modes import no_grad

    with no_grad():
        member.copy_(value)  # type: ignore[attr-defined]
