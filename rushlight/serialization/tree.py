"""Nested state (dicts, lists, tensors, plain values) as named tensors and a JSON tree, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rushlight.tensor.tensor import Tensor, wrap

_TENSOR, _TUPLE, _PAIRS = "__tensor__", "__tuple__", "__pairs__"
_MARKS = frozenset((_TENSOR, _TUPLE, _PAIRS))


def flatten(state: Any) -> tuple[dict[str, Any], Any]:
    """The arrays of all tensors under dotted names, and the rest as what JSON can hold.

    In the tree a tensor is {"__tensor__": name}, a tuple {"__tuple__": [...]} and a dict whose keys
    are not all strings {"__pairs__": [[key, value], ...]}. Raises TypeError, which names the place,
    for a value that is none of these.
    """
    arrays: dict[str, Any] = {}
    return arrays, _flatten(state, (), arrays)


def _flatten(value: Any, path: tuple[str, ...], arrays: dict[str, Any]) -> Any:
    if isinstance(value, (Tensor, np.ndarray)):
        name = ".".join(path) or "tensor"
        while name in arrays:  # {"a.b": {"c": x}, "a": {"b.c": y}}
            name += "'"
        arrays[name] = value._array if isinstance(value, Tensor) else value
        return {_TENSOR: name}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):
        return {_TUPLE: [_flatten(v, (*path, str(i)), arrays) for i, v in enumerate(value)]}
    if isinstance(value, list):
        return [_flatten(v, (*path, str(i)), arrays) for i, v in enumerate(value)]
    if isinstance(value, Mapping):
        plain = all(isinstance(key, str) for key in value) and not _MARKS.intersection(value)
        items = [(key, _flatten(v, (*path, str(key)), arrays)) for key, v in value.items()]
        return dict(items) if plain else {_PAIRS: [list(item) for item in items]}
    raise TypeError(
        f"a checkpoint cannot hold a {type(value).__name__} (at {'.'.join(path) or 'its top'}): "
        "only tensors, arrays, numbers, strings, None, and dicts, lists and tuples of these"
    )


def unflatten(arrays: Mapping[str, Any], tree: Any) -> Any:
    """The nested state again; every array becomes a tensor. Raises KeyError for one that lacks."""
    if isinstance(tree, list):
        return [unflatten(arrays, value) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if set(tree) == {_TENSOR}:
        return wrap(arrays[tree[_TENSOR]])
    if set(tree) == {_TUPLE}:
        return tuple(unflatten(arrays, value) for value in tree[_TUPLE])
    if set(tree) == {_PAIRS}:
        return {_key(key): unflatten(arrays, value) for key, value in tree[_PAIRS]}
    return {key: unflatten(arrays, value) for key, value in tree.items()}


def _key(key: Any) -> Any:
    """Keys that were tuples are lists in JSON."""
    return tuple(key) if isinstance(key, list) else key


def without_tensors(tree: Any, arrays: Mapping[str, Any]) -> Any:
    """The tree for people: a tensor is its dtype and shape, infinity and its like are words."""
    if isinstance(tree, float) and not math.isfinite(tree):
        return str(tree)
    if isinstance(tree, list):
        return [without_tensors(value, arrays) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if set(tree) == {_TENSOR}:
        array = arrays[tree[_TENSOR]]
        return f"{array.dtype.name} {list(array.shape)}"
    if set(tree) == {_TUPLE}:
        return [without_tensors(value, arrays) for value in tree[_TUPLE]]
    if set(tree) == {_PAIRS}:
        return {str(key): without_tensors(value, arrays) for key, value in tree[_PAIRS]}
    return {key: without_tensors(value, arrays) for key, value in tree.items()}


def named_arrays(state: Any) -> dict[str, Any]:
    """The arrays of all tensors in nested dicts, lists and tuples, under the dotted names of their places.

    Anything else is passed over; containers may hold themselves.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), state)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Tensor):
            found[".".join(path) or "tensor"] = value._array
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            entries = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting += reversed([((*path, str(key)), item) for key, item in entries])
    return found
