"""Borders and reversals."""

from __future__ import annotations

from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import FLOATS, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import lanes_for, spread
from rushlight.primitives import structural
from rushlight.primitives.lowerings.copying import copy_into, place_for


@structural.pad.define_lowering
def _(
    plan: Plan,
    sinks: tuple[Sink, ...],
    operands: tuple[Any, ...],
    *,
    before: tuple[int, ...],
    after: tuple[int, ...],
) -> None:
    x, value = operands
    target, copied = place_for(plan, sinks[0])
    lanes = lanes_for(plan.target, [x.kind])
    flat = target.look((target.size,), (1,))

    def fill(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        if isinstance(value, Array):
            number = b.convert(value.load(b, [0] * value.ndim), x.kind)
        else:
            number = b.const(value if x.kind in FLOATS else int(value), x.kind)
        flat.store(b, index, b.splat(number, w), 0, mask)

    if target.size != x.size:
        spread(plan, "border", flat.shape, 0, lanes, 1.0, fill)
    inside = target.slice(
        before, [b + n for b, n in zip(before, x.shape, strict=True)], [1] * x.ndim
    )
    copy_into(plan, Sink(inside), x, "inside")
    if copied:
        copy_into(plan, sinks[0], target)


@structural.flip.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, axes: tuple[int, ...]
) -> None:
    (x,) = operands
    sink = sinks[0]
    free = [d for d in range(x.ndim) if d not in axes and x.strides[d] == 1 and x.shape[d] > 1]
    axis = free[0] if free else max(x.ndim - 1, 0)
    lanes = lanes_for(plan.target, [x.kind]) if free else 1

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        source = list(index)
        for d in axes:
            source[d] = b.const(x.shape[d] - 1) - b.index(index[d])
        sink.store(b, index, x.load(b, source, axis, w, mask), axis, mask)

    spread(plan, "flip", x.shape, axis, lanes, 2.0, body)
