"""Copies of tensors by Python's protocols: `copy.copy`, `copy.deepcopy`, `pickle`.

A pickled tensor names one function of this file and holds plain data: reading it runs no code but
rushlight's.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.core.dtypes import UINT8
from rushlight.tensor.storage import memory_of
from rushlight.tensor.tensor import Tensor, wrap
from rushlight.tensor.values import values

#: Attributes that are a tensor's own; others were set by the user.
OWN_STATE = frozenset(name for name in Tensor.__annotations__ if name.startswith("_"))


def user_attributes(tensor: Tensor) -> dict[str, Any]:
    """What the user has set on a tensor: `tensor.name = ...`."""
    return {k: v for k, v in tensor.__dict__.items() if k not in OWN_STATE}


def _like(tensor: Tensor, array: Any) -> Tensor:
    """A leaf of the same class around another array."""
    made = object.__new__(type(tensor))
    made._array = array
    made._requires_grad = tensor.requires_grad
    return made


def shallow_copy(self: Tensor) -> Tensor:
    """What `copy.copy` gives: a leaf that looks at the same memory."""
    made = _like(self, self._array)
    made.__dict__.update(user_attributes(self))
    return made


def copied_memory(array: Any, memo: dict[int, Any]) -> Any:
    """A copy of an array; arrays that share memory share it again among the copies made with one
    `memo`.
    """
    owner = memory_of(array)
    found = memo.get(id(owner))
    if found is None:
        found = memo[id(owner)] = owner.copy("K")
        memo.setdefault(id(memo), []).append(
            owner
        )  # keeps the id from being used again while the memo lives
    if owner is array:
        return found
    start = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    if found.strides != owner.strides or start < 0 or not array.size:
        return array.copy("K")
    order = sorted(range(found.ndim), key=lambda i: -found.strides[i])
    flat = found.transpose(order)
    if not flat.flags.c_contiguous:
        return array.copy("K")
    window = flat.reshape(-1).view(UINT8)[start:]
    window = window[: window.size // array.itemsize * array.itemsize].view(array.dtype)
    return np.lib.stride_tricks.as_strided(window, array.shape, array.strides)


def deep_copy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """What `copy.deepcopy` gives: a leaf with a copy of the memory, and of `grad`.

    Raises RuntimeError for a tensor that an op has made: copy its `detach()`.
    """
    found = memo.get(id(self))
    if found is not None:
        return found  # type: ignore[no-any-return]
    node = self.grad_fn
    if node is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            f"protocol at the moment: this one was made by {node.name()}. Copy tensor.detach(), or "
            "use tensor.clone() to stay in the graph"
        )
    made = _like(self, copied_memory(values(self, "deepcopy"), memo))
    memo[id(self)] = made
    if self._grad is not None:
        made._grad = deep_copy(self._grad.detach(), memo)  # type: ignore[attr-defined]
    for name, value in user_attributes(self).items():
        setattr(made, name, copy.deepcopy(value, memo))
    return made


# -- pickle ----------------------------------------------------------------------------------------


def reduce_tensor(self: Tensor, protocol: Any) -> Any:
    """What pickle stores: dtype, shape, order in memory, bytes, requires_grad; and the user's
    attributes.
    """
    array = values(self, "pickle")
    order = tuple(sorted(range(array.ndim), key=lambda i: -array.strides[i]))
    lined = np.ascontiguousarray(array.transpose(order))
    if isinstance(protocol, int) and protocol >= 5:
        plain: Any = lined.reshape(-1).view(UINT8)
        content: Any = pickle.PickleBuffer(plain)
    else:
        content = lined.tobytes()
    data = (self.dtype.name, tuple(array.shape), order, content, self.requires_grad)
    attributes = user_attributes(self)
    if type(self) is Tensor and not attributes:
        return rebuild, data
    return rebuild_kind, (type(self), data, attributes)


def rebuild(
    name: str, shape: tuple[int, ...], order: tuple[int, ...], content: Any, requires_grad: bool
) -> Tensor:
    """A tensor out of what `reduce_tensor` stored."""
    dtype = dtypes._by_name(name).numpy
    array = np.frombuffer(content, dtype)
    if not array.flags.writeable:
        array = array.copy()
    array = array.reshape(tuple(shape[i] for i in order))
    made = wrap(array.transpose(tuple(sorted(range(len(order)), key=order.__getitem__))))
    made._requires_grad = bool(requires_grad)
    return made


def rebuild_kind(kind: type[Tensor], data: tuple[Any, ...], attributes: dict[str, Any]) -> Tensor:
    """A tensor of a subclass, or with attributes of the user's."""
    if not (isinstance(kind, type) and issubclass(kind, Tensor)):
        raise pickle.UnpicklingError(
            f"a pickled tensor names {kind!r} as its class, which is no kind of Tensor"
        )
    plain = rebuild(*data)
    made = object.__new__(kind)
    made._array, made._requires_grad = plain._array, plain._requires_grad
    made.__dict__.update({k: v for k, v in attributes.items() if k not in OWN_STATE})
    return made


#: What the package root ties onto Tensor.
METHODS = {"__copy__": shallow_copy, "__deepcopy__": deep_copy, "__reduce_ex__": reduce_tensor}
