"""The algebra of views: what chains of view primitives show, their adjoints, writes through them.

A *step* is `(view primitive, params)`. A chain of steps leads from a base array to a view of it:

    show(base, steps)            the view                                   base -> view
    adjoint(grad, steps, shape)  the transposed linear map                  view -> base
    update(base, value, steps)   `base` with `value` where the view looks   (base, view) -> base

All three are pure and made of primitives only, so that they run, differentiate and trace alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.core.dtypes import COMPLEX, complex_of
from rushlight.core.shapes import contiguous_strides, size_of
from rushlight.primitives import structural as s
from rushlight.primitives.elementwise import elementwise
from rushlight.primitives.interpreter import recording
from rushlight.primitives.primitive import Aval, primitive
from rushlight.primitives.reduction import reduce_sum
from rushlight.primitives.strided import strided, strided_adjoint, strided_update

Step = tuple[Callable[..., Any], dict[str, Any]]
Steps = tuple[Step, ...]

slice_update = primitive("slice_update", params=("starts", "stops", "steps"))
diagonal_update = primitive("diagonal_update", params=("offset", "axis1", "axis2"))
windows_adjoint = primitive("windows_adjoint", params=("axis", "size", "step", "shape"))
windows_update = primitive("windows_update", params=("axis", "size", "step"))


def _to_complex(a: Any, b: Any) -> Any:
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), complex_of(a.dtype))
    out.real, out.imag = a, b
    return out


make_complex = elementwise("make_complex", 2, _to_complex, complex_of)


@slice_update.define_rule
def _(x: Any, value: Any, **where: Any) -> Aval:
    window = s.slice_.primitive.rule(x, **where)
    if value.shape != window.shape:
        raise RuntimeError(
            f"slice_update: the value has shape {value.shape}, the slice {window.shape}"
        )
    return Aval(x.shape, x.dtype)


@slice_update.define_reference
def _(xp: Any, x: Any, value: Any, *, starts: Any, stops: Any, steps: Any) -> Any:
    out = x.copy()
    out[tuple(map(slice, starts, stops, steps))] = value
    return out


@diagonal_update.define_rule
def _(x: Any, value: Any, **where: Any) -> Aval:
    return Aval(x.shape, x.dtype)


@diagonal_update.define_reference
def _(xp: Any, x: Any, value: Any, **where: Any) -> Any:
    out = x.copy()
    s.diagonal.primitive.run(xp, out, **where)[...] = value
    return out


@windows_adjoint.define_rule
def _(grad: Any, *, shape: tuple[int, ...], **where: Any) -> Aval:
    return Aval(shape, grad.dtype)


@windows_adjoint.define_reference
def _(xp: Any, grad: Any, *, axis: int, size: int, step: int, shape: tuple[int, ...]) -> Any:
    out = xp.zeros(shape, grad.dtype)
    count = grad.shape[axis]
    target = xp.moveaxis(out, axis, 0)
    source = xp.moveaxis(grad, axis, 0)
    for k in range(size):  # windows overlap: one pass for each place in the window
        target[k : k + (count - 1) * step + 1 : step] += source[..., k]
    return out


@windows_update.define_rule
def _(x: Any, value: Any, **where: Any) -> Aval:
    return Aval(x.shape, x.dtype)


@windows_update.define_reference
def _(xp: Any, x: Any, value: Any, **where: Any) -> Any:
    out = x.copy()
    s.windows.primitive.run(xp, out, **where)[...] = value
    return out


def show(array: Any, steps: Steps) -> Any:
    """The view that `steps` lead to."""
    for view, params in steps:
        array = view(array, **params)
    return array


def _shapes_along(shape: tuple[int, ...], dtype: Any, steps: Steps) -> list[Aval]:
    """The abstract array before each step."""
    along = [Aval(shape, dtype)]
    for view, params in steps[:-1]:
        step: Any = view
        along.append(step.primitive.rule(along[-1], **params))
    return along


def sum_to(array: Any, shape: tuple[int, ...]) -> Any:
    """The adjoint of expanding `shape`: sums the dimensions that were added or stretched."""
    extra = array.ndim - len(shape)
    axes = tuple(
        i for i, n in enumerate(array.shape) if n != 1 and (i < extra or shape[i - extra] == 1)
    )
    if axes:
        array = reduce_sum(array, axes=axes, keepdim=False)
    return array if array.shape == shape else s.reshape(array, shape=shape)


def inverse_order(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `axes`."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def _adjoint(grad: Any, view: Any, params: dict[str, Any], before: Aval) -> Any:
    shape = before.shape
    if view is s.reshape:
        return s.reshape(grad, shape=shape)
    if view is s.permute:
        return s.permute(grad, axes=inverse_order(params["axes"]))
    if view is s.expand:
        return sum_to(grad, shape)
    if view is s.slice_:
        return slice_update(s.full(0, shape=shape, dtype=grad.dtype), grad, **params)
    if view is s.diagonal:
        return diagonal_update(s.full(0, shape=shape, dtype=grad.dtype), grad, **params)
    if view is s.windows:
        return windows_adjoint(grad, shape=shape, **params)
    if view is strided:
        return strided_adjoint(grad, source=shape, **params)
    if view is s.real_part or view is s.imag_part:
        if before.dtype not in COMPLEX:
            return grad
        zero = s.full(0, shape=shape, dtype=grad.dtype)
        return make_complex(grad, zero) if view is s.real_part else make_complex(zero, grad)
    return s.bitcast(grad, dtype=before.dtype)


def adjoint(grad: Any, steps: Steps, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """The gradient of a base of this shape and dtype, given the gradient of its view."""
    for (view, params), before in zip(
        reversed(steps), reversed(_shapes_along(shape, dtype, steps)), strict=True
    ):
        grad = _adjoint(grad, view, params, before)
    return grad


def _update(base: Any, value: Any, view: Any, params: dict[str, Any]) -> Any:
    if view is s.reshape:
        return s.reshape(value, shape=base.shape)
    if view is s.permute:
        return s.permute(value, axes=inverse_order(params["axes"]))
    if view is s.expand:
        return s.reshape(value, shape=base.shape)  # `update` has seen to all others
    if view is s.slice_:
        return slice_update(base, value, **params)
    if view is s.diagonal:
        return diagonal_update(base, value, **params)
    if view is s.windows:
        return windows_update(base, value, **params)
    if view is strided:
        return strided_update(base, value, **params)
    if view is s.real_part:
        return make_complex(value, s.imag_part(base)) if base.dtype in COMPLEX else value
    if view is s.imag_part:
        return make_complex(s.real_part(base), value)
    return s.bitcast(value, dtype=base.dtype)


def _through_expanded(base: Any, value: Any, steps: Steps) -> Any:
    """Writes through steps that begin by expanding `base`, where no element of it is met twice."""
    with recording(None):
        places = show(np.arange(size_of(base.shape)).reshape(base.shape), steps)
    if places.dtype != np.int64 or np.unique(places).size < places.size:
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )
    if not places.size:
        return base
    walk = tuple(n // places.itemsize for n in places.strides)
    return strided_update(
        base, value, shape=places.shape, strides=walk, offset=int(places.flat[0]),
        origin=contiguous_strides(base.shape),
    )  # fmt: skip


def _repeats(view: Any, params: dict[str, Any], base: Any) -> bool:
    """Whether a step shows elements of `base` more than once."""
    return view is s.expand and size_of(params["shape"]) != size_of(base.shape)


def update(base: Any, value: Any, steps: Steps) -> Any:
    """A copy of `base` in which the view that `steps` lead to holds `value`."""
    along = [base]
    for number, (view, params) in enumerate(steps):
        if _repeats(view, params, along[-1]):
            value = _through_expanded(along.pop(), value, steps[number:])
            break
        if number + 1 < len(steps):
            along.append(view(along[-1], **params))
    for array, (view, params) in zip(reversed(along), reversed(steps[: len(along)]), strict=True):
        value = _update(array, value, view, params)
    return value
