"""Calling a module with other parameters and buffers than its own; stacking those of several modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rushlight.nn.module import Module
from rushlight.ops import public
from rushlight.tensor.tensor import Tensor


def _members(module: Module) -> dict[str, tuple[dict[str, Any], str]]:
    """Of every parameter and buffer by path: the dict that holds it, and its name there."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for path, owner in module.named_modules(remove_duplicate=False):
        lead = path + "." if path else ""
        for members in (owner._parameters, owner._buffers):
            for name, tensor in members.items():
                if tensor is not None:
                    found[lead + name] = (members, name)
    return found


def _tied(members: dict[str, tuple[dict[str, Any], str]], given: dict[str, Any]) -> dict[str, Any]:
    """`given`, with its values also under the other names of tensors that the module shares."""
    groups: dict[int, list[str]] = {}
    for path, (holder, name) in members.items():
        groups.setdefault(id(holder[name]), []).append(path)
    full = dict(given)
    for names in groups.values():
        values = {id(given[n]): given[n] for n in names if n in given}
        if len(values) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(n for n in names if n in given)}, which are "
                "tied. Consider using tie_weights=False"
            )
        for value in values.values():
            full.update(dict.fromkeys(names, value))
    return full


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Calls the module as if the given tensors, by path, were its parameters and buffers.

    Arguments: one dict or several with different keys (ValueError where they overlap); `args`, a tuple or the single
    argument. With `strict` every member must be given and nothing else (RuntimeError).

    >>> import rushlight
    >>> from rushlight.nn.utils.stateless import functional_call
    >>> layer = rushlight.nn.Linear(2, 1, bias=False)
    >>> functional_call(layer, {"weight": rushlight.tensor([[1.0, 2.0]])}, rushlight.ones(2))
    tensor([3.])
    """
    if isinstance(parameter_and_buffer_dicts, dict):
        given = parameter_and_buffer_dicts
    elif isinstance(parameter_and_buffer_dicts, Sequence):
        given = {}
        for part in parameter_and_buffer_dicts:
            if not isinstance(part, dict):
                raise ValueError(
                    f"Expected all elements of parameter_and_buffer_dicts to be dictionaries, not {type(part).__name__}"
                )
            repeated = sorted(given.keys() & part.keys())
            if repeated:
                raise ValueError(
                    f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous"
                )
            given.update(part)
    else:
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameter_and_buffer_dicts).__name__}"
        )
    members = _members(module)
    full = _tied(members, given) if tie_weights else dict(given)
    if strict:
        missing = [k for k in members if k not in full]
        unexpected = [k for k in full if k not in members]
        if missing or unexpected:
            raise RuntimeError(
                f"Error(s) in functional_call for {type(module).__name__}:"
                + (f" missing key(s): {', '.join(missing)}." if missing else "")
                + (f" unexpected key(s): {', '.join(unexpected)}." if unexpected else "")
            )
    kwargs = {} if kwargs is None else kwargs
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    swapped: list[tuple[dict[str, Any], str, Any, str]] = []
    try:
        for path, tensor in full.items():
            if path not in members:
                continue
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{path}: {tensor!r} is not an instance of torch.Tensor")
            holder, name = members[path]
            swapped.append((holder, name, holder[name], path))
            holder[name] = tensor
        return module(*args, **kwargs)
    finally:
        for holder, name, own, path in reversed(swapped):
            if path in given and holder[name] is not given[path]:
                given[path] = holder[name]  # the call put another tensor there: the caller sees it
            holder[name] = own


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of equal modules, each stacked along a new first dimension.

    RuntimeError for no modules, different classes or different modes.
    """
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or not any(m.training for m in models)):
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")

    def stacked(tensors: list[Any]) -> Any:
        if all(t.requires_grad for t in tensors):
            return public.stack([t.detach() for t in tensors]).requires_grad_()
        if any(t.requires_grad for t in tensors):
            raise RuntimeError("Expected tensors from each model to have the same .requires_grad")
        return public.stack(tensors)

    parameters = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]
    return (
        {k: stacked([p[k] for p in parameters]) for k in parameters[0]},
        {k: stacked([b[k] for b in buffers]) for k in buffers[0]},
    )


__all__ = ["functional_call", "stack_module_state"]
