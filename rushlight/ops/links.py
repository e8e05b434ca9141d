"""The ops that recorded gradients themselves are made of: sums to a shape, casts, the algebra of views."""

from __future__ import annotations

from typing import Any

from rushlight.autograd.slots import slots as engine_slots
from rushlight.ops import arithmetic, record, tape
from rushlight.ops.declare import Array, op
from rushlight.primitives import structural, views
from rushlight.primitives.views import Steps


@op(function=False, view=True, node="AsStridedBackward0")
def show_steps(input: Array, steps: Steps) -> Steps:
    """The view that a chain of view primitives leads to."""
    return steps


@op(function=False)
def view_adjoint(grad: Array, steps: Steps, shape: tuple[int, ...], dtype: Any) -> Array:
    """The gradient of a base, given that of its view."""
    return views.adjoint(grad, steps, shape, dtype)


@view_adjoint.gradient("grad")
def view_adjoint_gradient(grad: Array, steps: Steps) -> Array:
    return show_steps(grad, steps)


@op(function=False, node="CopySlices")
def copy_slices(base: Array, value: Array, steps: Steps) -> Array:
    """`base` with `value` where the view looks."""
    return views.update(base, value, steps)


@copy_slices.gradient("base")
def copy_slices_gradient_base(grad: Array, steps: Steps) -> Array:
    return clear_slices(grad, steps)


@copy_slices.gradient("value")
def copy_slices_gradient_value(grad: Array, steps: Steps) -> Array:
    return show_steps(grad, steps)


@op(function=False)
def clear_slices(base: Array, steps: Steps) -> Array:
    """`base` with zeros where the view looks."""
    shape = views.show(base, steps).shape
    return views.update(base, structural.full(0, shape=shape, dtype=base.dtype), steps)


@clear_slices.gradient("base")
def clear_slices_gradient(grad: Array, steps: Steps) -> Array:
    return clear_slices(grad, steps)


@op(function=False)
def sum_to(input: Array, shape: tuple[int, ...]) -> Array:
    """Sums the dimensions in which `shape` was broadcast to the input's shape."""
    return views.sum_to(input, shape)


@sum_to.gradient("input")
def sum_to_gradient(grad: Array, input_shape: tuple[int, ...]) -> Array:
    extra = len(input_shape) - grad.ndim
    aligned = (structural.reshape, {"shape": (1,) * extra + tuple(grad.shape)})
    return show_steps(grad, (aligned, (structural.expand, {"shape": input_shape})))


tape.slots.sum_to = sum_to
tape.slots.cast = arithmetic.in_dtype
tape.slots.view_adjoint = view_adjoint
tape.slots.copy_slices = copy_slices
engine_slots.add = arithmetic.add
engine_slots.fit = tape.fit
engine_slots.fit_tensor = tape.fit_tensor
engine_slots.rewrite_base = record.rewrite_base
