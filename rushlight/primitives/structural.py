"""Primitives that move or make elements without arithmetic: casts, views, joins, fills.

The first group are *view primitives*: eager, their reference returns a NumPy view of the operand's memory; each
has an adjoint and an update (rushlight/tensor/views.py), from which the gradients of all of torch's view
functions and the functional form of writes into views derive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided as _as_strided

from rushlight.core import shapes
from rushlight.core.dtypes import BOOL, INT64
from rushlight.primitives.primitive import Aval, dtype_of, primitive, shape_of

# -- views ------------------------------------------------------------------------------------------------

reshape = primitive("reshape", params=("shape",), checked=False)
permute = primitive("permute", params=("axes",), checked=False)
expand = primitive("expand", params=("shape",), checked=False)
slice_ = primitive("slice", params=("starts", "stops", "steps"))
diagonal = primitive("diagonal", params=("offset", "axis1", "axis2"))
windows = primitive("windows", params=("axis", "size", "step"))
real_part = primitive("real_part")
imag_part = primitive("imag_part")
bitcast = primitive("bitcast", params=("dtype",))


@reshape.define_rule
def _(x: Any, *, shape: tuple[int, ...]) -> Aval:
    if shapes.size_of(shape) != shapes.size_of(x.shape):
        raise RuntimeError(
            f"shape '{list(shape)}' is invalid for input of size {shapes.size_of(x.shape)}"
        )
    return Aval(shape, x.dtype)


@reshape.define_reference
def _(xp: Any, x: Any, *, shape: tuple[int, ...]) -> Any:
    return x.reshape(shape)


@permute.define_rule
def _(x: Any, *, axes: tuple[int, ...]) -> Aval:
    if sorted(axes) != list(range(len(x.shape))):
        raise RuntimeError(f"permute: {axes} is no order of the {len(x.shape)} dimensions")
    return Aval(tuple(x.shape[a] for a in axes), x.dtype)


@permute.define_reference
def _(xp: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
    return x.transpose(axes)


@expand.define_rule
def _(x: Any, *, shape: tuple[int, ...]) -> Aval:
    if not shapes.can_broadcast(x.shape, shape):
        raise RuntimeError(
            f"shape {tuple(x.shape)} can't be expanded to {shape}: sizes must be equal or 1"
        )
    return Aval(shape, x.dtype)


@expand.define_reference
def _(xp: Any, x: Any, *, shape: tuple[int, ...]) -> Any:
    # xp.broadcast_to would mark its result read-only.
    if not shapes.can_broadcast(x.shape, shape):
        raise ValueError(f"{x.shape} does not expand to {shape}")
    lead = (0,) * (len(shape) - x.ndim)
    strides = (0 if n == 1 else s for n, s in zip(x.shape, x.strides, strict=True))
    return _as_strided(x, shape, (*lead, *strides))


@slice_.define_rule
def _(x: Any, *, starts: tuple[int, ...], stops: tuple[int, ...], steps: tuple[int, ...]) -> Aval:
    shape = []
    for n, start, stop, step in zip(x.shape, starts, stops, steps, strict=True):
        if step < 1 or not 0 <= start <= n or not start <= stop <= n:
            raise ValueError(
                f"slice: [{start}:{stop}:{step}] is no range of a dimension of size {n}"
            )
        shape.append(-(-(stop - start) // step))
    return Aval(tuple(shape), x.dtype)


@slice_.define_reference
def _(
    xp: Any, x: Any, *, starts: tuple[int, ...], stops: tuple[int, ...], steps: tuple[int, ...]
) -> Any:
    return x[tuple(map(slice, starts, stops, steps))]


@diagonal.define_rule
def _(x: Any, *, offset: int, axis1: int, axis2: int) -> Aval:
    n, m = x.shape[axis1], x.shape[axis2]
    length = max(min(n, m - offset) if offset >= 0 else min(n + offset, m), 0)
    rest = tuple(size for i, size in enumerate(x.shape) if i not in (axis1, axis2))
    return Aval((*rest, length), x.dtype)


@diagonal.define_reference
def _(xp: Any, x: Any, *, offset: int, axis1: int, axis2: int) -> Any:
    out = x.diagonal(offset, axis1, axis2)
    if x.flags.writeable:
        out.flags.writeable = True  # NumPy marks diagonals read-only
    return out


@windows.define_rule
def _(x: Any, *, axis: int, size: int, step: int) -> Aval:
    n = x.shape[axis]
    if not 0 <= size <= n or step < 1:
        raise RuntimeError(f"maximum size for tensor at dimension {axis} is {n} but size is {size}")
    return Aval((*x.shape[:axis], (n - size) // step + 1, *x.shape[axis + 1 :], size), x.dtype)


@windows.define_reference
def _(xp: Any, x: Any, *, axis: int, size: int, step: int) -> Any:
    count = (x.shape[axis] - size) // step + 1
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :], size)
    strides = (*x.strides[:axis], x.strides[axis] * step, *x.strides[axis + 1 :], x.strides[axis])
    return _as_strided(x, shape, strides)


def _real_rule(x: Any) -> Aval:
    from rushlight.core.dtypes import real_of

    return Aval(x.shape, real_of(x.dtype))


real_part.define_rule(_real_rule)
imag_part.define_rule(_real_rule)
real_part.define_reference(lambda xp, x: x.real)
imag_part.define_reference(lambda xp, x: x.imag)


@bitcast.define_rule
def _(x: Any, *, dtype: np.dtype[Any]) -> Aval:
    have, want = x.dtype.itemsize, dtype.itemsize
    if have == want:
        return Aval(x.shape, dtype)
    if not x.shape:
        raise RuntimeError(
            f"self.dim() cannot be 0 to view {x.dtype} as {dtype} (different element sizes)"
        )
    if have < want and x.shape[-1] % (want // have):
        raise RuntimeError(
            f"self.size(-1) must be divisible by {want // have} to view {x.dtype} as {dtype}, not {x.shape[-1]}"
        )
    return Aval((*x.shape[:-1], x.shape[-1] * have // want), dtype)


@bitcast.define_reference
def _(xp: Any, x: Any, *, dtype: np.dtype[Any]) -> Any:
    return x.view(dtype)


# -- copies -----------------------------------------------------------------------------------------------

cast = primitive("cast", params=("dtype",))
copy = primitive("copy")
full = primitive("full", params=("shape", "dtype"))
constant = primitive("constant", params=("values", "shape", "dtype"))
iota = primitive("iota", params=("length", "dtype"))
concatenate = primitive("concatenate", params=("axis",))
pad = primitive("pad", params=("before", "after"))
flip = primitive("flip", params=("axes",))
select = primitive("select", checked=False)


@cast.define_rule
def _(x: Any, *, dtype: np.dtype[Any]) -> Aval:
    return Aval(x.shape, dtype)


@cast.define_reference
def _(xp: Any, x: Any, *, dtype: np.dtype[Any]) -> Any:
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = x.real if dtype.kind != "b" else x != 0
    return x.astype(dtype)


@copy.define_rule
def _(x: Any) -> Aval:
    return Aval(x.shape, x.dtype)


@copy.define_reference
def _(xp: Any, x: Any) -> Any:
    return x.copy("K")


@full.define_rule
def _(value: Any, *, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Aval:
    if shape_of(value):
        raise RuntimeError("full: the value must be a scalar")
    return Aval(shape, dtype)


@full.define_reference
def _(xp: Any, value: Any, *, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    if type(value) is int and value == 0:  # memory that the system zeroes on first touch
        return xp.zeros(shape, dtype)
    return xp.full(shape, value, dtype)


@iota.define_rule
def _(*, length: int, dtype: np.dtype[Any]) -> Aval:
    return Aval((length,), dtype)


@iota.define_reference
def _(xp: Any, *, length: int, dtype: np.dtype[Any]) -> Any:
    return xp.arange(length).astype(dtype, copy=False)


@constant.define_rule
def _(*, values: tuple[Any, ...], shape: tuple[int, ...], dtype: np.dtype[Any] = INT64) -> Aval:
    return Aval(shape, dtype)


@constant.define_reference
def _(
    xp: Any, *, values: tuple[Any, ...], shape: tuple[int, ...], dtype: np.dtype[Any] = INT64
) -> Any:
    return xp.array(values, dtype).reshape(shape)


@concatenate.define_rule
def _(*operands: Any, axis: int) -> Aval:
    first = operands[0]
    total = 0
    for i, x in enumerate(operands):
        if len(x.shape) != len(first.shape) or any(
            d != axis and n != m for d, (n, m) in enumerate(zip(x.shape, first.shape, strict=True))
        ):
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {axis}: expected shape {tuple(first.shape)} "
                f"but tensor number {i} in the list has {tuple(x.shape)}"
            )
        total += x.shape[axis]
    shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
    return Aval(shape, dtype_of(*operands))


@concatenate.define_reference
def _(xp: Any, *operands: Any, axis: int) -> Any:
    return xp.concatenate(operands, axis)


@pad.define_rule
def _(x: Any, value: Any, *, before: tuple[int, ...], after: tuple[int, ...]) -> Aval:
    if min((*before, *after), default=0) < 0:
        raise ValueError(f"pad: amounts must not be negative: {before}, {after}")
    return Aval(tuple(b + n + a for b, n, a in zip(before, x.shape, after, strict=True)), x.dtype)


@pad.define_reference
def _(xp: Any, x: Any, value: Any, *, before: tuple[int, ...], after: tuple[int, ...]) -> Any:
    shape = tuple(b + n + a for b, n, a in zip(before, x.shape, after, strict=True))
    out = xp.full(shape, value, x.dtype)
    out[tuple(slice(b, b + n) for b, n in zip(before, x.shape, strict=True))] = x
    return out


@flip.define_rule
def _(x: Any, *, axes: tuple[int, ...]) -> Aval:
    return Aval(x.shape, x.dtype)


@flip.define_reference
def _(xp: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
    return xp.flip(x, axes).copy()


@select.define_rule
def _(condition: Any, a: Any, b: Any) -> Aval:
    if condition.dtype != BOOL:
        raise TypeError(f"select: the condition must be bool, not {condition.dtype}")
    return Aval(shapes.broadcast(*map(shape_of, (condition, a, b))), dtype_of(a, b))


@select.define_reference
def _(xp: Any, condition: Any, a: Any, b: Any) -> Any:
    return xp.where(condition, a, b)
