"""Convolutions and their gradients: which kernel does them.

Images in lanes, for few channels and a batch of whole vectors that lies innermost (`images_in_lanes`); for few result
channels, pixels of a row in lanes (`pixels_in_lanes`); else channels in lanes (`channels_in_lanes`, `channels_weight`).
The gradient with respect to the input is a convolution of the gradient
by the turned weight; for strides, one for each phase of the pixels.
"""

from __future__ import annotations

from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import F32, F64, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import spread
from rushlight.primitives import convolution as c
from rushlight.primitives.lowerings import (
    channels_in_lanes,
    depthwise,
    images_in_lanes,
    pixels_in_lanes,
)
from rushlight.primitives.lowerings.channels_weight import WeightGradient
from rushlight.primitives.lowerings.copying import copy_into
from rushlight.primitives.lowerings.correlation import Phase, Sizes, forward_axes, phases_of


def _computable(*arrays: Any) -> bool:
    return all(
        isinstance(a, Array) and a.kind in (F32, F64) and a.ndim >= 3 and a.size for a in arrays
    )


def side_by_side(plan: Plan, x: Array) -> Array:
    """The pictures with images innermost; a copy if they lie otherwise."""
    if x.strides[0] == 1:
        return x
    memory = plan.scratch(x.dtype, (*x.shape[1:], x.shape[0]))
    turned = memory.permute((x.ndim - 1, *range(x.ndim - 1)))
    copy_into(plan, Sink(turned), x, "turn")
    return turned


# -- the convolution -----------------------------------------------------------------------------------------------


@c.convolve.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, stride: Sizes, before: Sizes, after: Sizes,
    dilation: Sizes, groups: int,
) -> bool | None:  # fmt: skip
    x, w = operands
    sink = sinks[0]
    if not _computable(x, w):
        return False
    lanes = plan.target.lanes(x.kind)
    outer, inner = w.shape[0] // groups, w.shape[1]
    axes = forward_axes(x.shape[2:], tuple(sink.shape[2:]), w.shape[2:], stride, before, dilation)
    if images_in_lanes.suits(sink.array, sink.array, groups, w.shape[-1], lanes):
        x = side_by_side(plan, x)
        images_in_lanes.correlate(
            plan, "convolve_lanes", sink, x, w, w.strides[0], w.strides[1], w.strides[2:], 0, outer, inner, axes,
            lambda p: p,
        )  # fmt: skip
        return None
    if pixels_in_lanes.suits(sink, x, outer, groups, axes, lanes):
        pixels_in_lanes.Rows(plan, sink, x, w, inner, outer, axes).emit()
        return None
    if depthwise.suits(w.shape, groups):
        x, weights = depthwise.channels_last(plan, x), depthwise.pack(plan, w)
        depthwise.correlate(
            plan, "convolve_depthwise", sink, x, weights, weights.strides[:-1], 0, axes, lambda p: p
        )
        return None
    weights = channels_in_lanes.pack(plan, w, groups, turned=False)
    channels_in_lanes.correlate(
        plan, "convolve", sink, x, weights, weights.strides[2:-2], 0, outer, axes, lambda p: p
    )  # fmt: skip
    return None


# -- the gradient of the input -----------------------------------------------------------------------------------------


@c.convolve_input.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, stride: Sizes, before: Sizes, after: Sizes,
    dilation: Sizes, groups: int, size: Sizes,
) -> bool | None:  # fmt: skip
    grad, w = operands
    sink = sinks[0]
    if not _computable(grad, w):
        return False
    lanes = plan.target.lanes(grad.kind)
    outer, inner = w.shape[1], w.shape[0] // groups
    images = images_in_lanes.suits(sink.array, sink.array, groups, w.shape[-1], lanes)
    single = depthwise.suits(w.shape, groups)
    if images:
        grad = side_by_side(plan, grad)
        strides = w.strides[2:]
    elif single:
        grad, weights = depthwise.channels_last(plan, grad), depthwise.pack(plan, w)
        strides = weights.strides[:-1]
    else:
        weights = channels_in_lanes.pack(plan, w, groups, turned=True)
        strides = weights.strides[2:-2]
    for phases in phases_of(size, grad.shape[2:], w.shape[2:], stride, before, dilation):

        def place(index: list[Any], phases: tuple[Phase, ...] = phases) -> list[Any]:
            return [i * p.every + p.first for i, p in zip(index, phases, strict=True)]

        axes = [p.axis for p in phases]
        if not all(a.taps for a in axes):
            _zeros(plan, sink, tuple(a.results for a in axes), place)
            continue
        start = sum(p.tap * s for p, s in zip(phases, strides, strict=True))
        steps = [p.tap_every * s for p, s in zip(phases, strides, strict=True)]
        if images:
            images_in_lanes.correlate(
                plan, "convolve_input_lanes", sink, grad, w, w.strides[1], w.strides[0], steps, start, outer, inner,
                axes, place,
            )  # fmt: skip
        elif single:
            depthwise.correlate(
                plan, "convolve_input_depthwise", sink, grad, weights, steps, start, axes, place
            )
        else:
            channels_in_lanes.correlate(
                plan, "convolve_input", sink, grad, weights, steps, start, outer, axes, place
            )
    return None


def _zeros(plan: Plan, sink: Sink, places: Sizes, result: Any) -> None:
    """Pixels that no window reaches."""
    shape = (*sink.shape[:2], *places)

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        sink.store(b, [*index[:2], *result(index[2:])], b.const(0.0, sink.array.kind, w), 1, mask)

    spread(plan, "zeros", shape, 1, plan.target.lanes(sink.array.kind), 1.0, body)


# -- the gradient of the weight ----------------------------------------------------------------------------------------


@c.convolve_weight.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, stride: Sizes, before: Sizes, after: Sizes,
    dilation: Sizes, groups: int, size: Sizes,
) -> bool | None:  # fmt: skip
    x, grad = operands
    if not _computable(x, grad):
        return False
    axes = forward_axes(x.shape[2:], grad.shape[2:], size, stride, before, dilation)
    if images_in_lanes.suits(x, grad, groups, size[-1], plan.target.lanes(x.kind)):
        x, grad = side_by_side(plan, x), side_by_side(plan, grad)
        images_in_lanes.weight_gradient(plan, sinks[0], x, grad, axes)
        return None
    grad = depthwise.channels_last(plan, grad)
    if depthwise.suits((grad.shape[1], x.shape[1] // groups, *size), groups):
        depthwise.weight_gradient(plan, sinks[0], depthwise.channels_last(plan, x), grad, axes)
        return None
    WeightGradient(plan, x, grad, groups, axes).emit(sinks[0])
    return None
