"""Any walk through the memory an array lies in, as a view; its adjoint, and writes through it.

Positions count in elements from the first element of the array. `origin` are the array's own
strides: they say where its elements lie, which a pure function could not know otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core.shapes import size_of
from rushlight.primitives.primitive import Aval, primitive

_WALK = ("shape", "strides", "offset", "origin")

strided = primitive("strided", params=_WALK)
strided_adjoint = primitive("strided_adjoint", params=(*_WALK, "source"))
strided_update = primitive("strided_update", params=_WALK)


class _Window:
    """What NumPy makes an array of: an address, a shape and strides; it keeps the memory alive."""

    def __init__(self, interface: dict[str, Any], base: Any) -> None:
        self.__array_interface__ = interface
        self.base = base


def positions(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Any:
    """Where each element of a walk lies."""
    out = np.full((1,) * len(shape), offset, np.int64)
    for axis, (n, step) in enumerate(zip(shape, strides, strict=True)):
        along = [1] * len(shape)
        along[axis] = n
        out = out + (np.arange(n) * step).reshape(along)
    return out


def _both(view: Any, source: Any) -> tuple[Any, Any, int]:
    """The positions of a view and of its source from the lowest of all on, and the span of both."""
    ends = [int(f(p)) for p in (view, source) if p.size for f in (np.min, np.max)]
    low, high = (min(ends), max(ends)) if ends else (0, -1)
    return view - low, source - low, high - low + 1


@strided.define_rule
def _(x: Any, *, shape: tuple[int, ...], **walk: Any) -> Aval:
    return Aval(shape, x.dtype)


@strided.define_reference
def _(xp: Any, x: Any, *, shape: Any, strides: Any, offset: int, origin: Any) -> Any:
    interface = dict(x.__array_interface__)
    address, read_only = interface["data"]
    step = x.dtype.itemsize
    interface["data"] = (address + offset * step if size_of(shape) else address, read_only)
    interface["shape"], interface["strides"] = shape, tuple(n * step for n in strides)
    out = np.asarray(_Window(interface, x))
    if out.dtype != x.dtype:  # the interface has no word for dtypes that NumPy does not know
        out.dtype = x.dtype  # type: ignore[misc]
    return out


@strided_adjoint.define_rule
def _(grad: Any, *, source: tuple[int, ...], **walk: Any) -> Aval:
    return Aval(source, grad.dtype)


@strided_adjoint.define_reference
def _(
    xp: Any, grad: Any, *, shape: Any, strides: Any, offset: int, origin: Any, source: Any
) -> Any:
    seen, own, span = _both(positions(shape, strides, offset), positions(source, origin, 0))
    memory = xp.zeros(span, grad.dtype)
    xp.add.at(memory, seen, grad)
    out = memory[own]
    shared = xp.bincount(own.reshape(-1), minlength=span)[own]
    if out.size and shared.max() > 1:  # elements of the source that are one: each gets its part
        out = (out / shared).astype(grad.dtype)
    return out


@strided_update.define_rule
def _(x: Any, value: Any, **walk: Any) -> Aval:
    return Aval(x.shape, x.dtype)


@strided_update.define_reference
def _(xp: Any, x: Any, value: Any, *, shape: Any, strides: Any, offset: int, origin: Any) -> Any:
    seen, own, span = _both(positions(shape, strides, offset), positions(x.shape, origin, 0))
    inside = xp.zeros(span, bool)
    inside[own] = True
    if not inside[seen].all():
        raise RuntimeError(
            f"as_strided: shape {tuple(shape)}, strides {tuple(strides)} reach elements outside of "
            "the tensor of "
            f"shape {tuple(x.shape)} that is written; take the view from the tensor that has all "
            "of them"
        )
    memory = xp.empty(span, x.dtype)
    memory[own] = x
    memory[seen] = value
    return memory[own]
