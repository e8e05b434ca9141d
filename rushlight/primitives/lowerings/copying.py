"""Copies between strided arrays: packing, changes of layout, parts of concatenations."""

from __future__ import annotations

from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BYTES, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import Nest, decompose, lanes_for, spread, transpose


def copy_into(plan: Plan, sink: Sink, source: Array, stem: str = "copy") -> None:
    """Copies (and converts) `source` into the sink, which has its shape."""
    shape = source.shape
    if type(sink) is Sink:
        nest = Nest(shape, {"to": sink.array, "from": source}, ["to"])
        target, source = nest.arrays["to"], nest.arrays["from"]
        shape = tuple(nest.sizes)
        sink = Sink(target)
    else:
        flat, run = sink.reshape((source.size,)), source.reshape((source.size,))
        if flat is not None and run is not None:
            sink, source, shape = flat, run, run.shape
    strides = sink.strides
    lanes = lanes_for(plan.target, [source.kind, sink.array.kind])
    to_axis = next(
        (d for d in reversed(range(len(shape))) if strides[d] == 1 and shape[d] > 1), None
    )
    from_axis = next(
        (d for d in reversed(range(len(shape))) if source.strides[d] == 1 and shape[d] > 1), None
    )
    if (
        to_axis is not None
        and from_axis is not None
        and to_axis != from_axis
        and source.strides[to_axis] != 0
        and min(shape[to_axis], shape[from_axis]) >= lanes // 2
        and BYTES[source.kind] * lanes == plan.target.vector_bytes
        and lanes > 1
    ):
        _turn(plan, sink, source, shape, to_axis, from_axis, lanes, stem)
        return
    axis = (
        to_axis
        if to_axis is not None
        else (from_axis if from_axis is not None else max(len(shape) - 1, 0))
    )

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        sink.store(b, index, source.load(b, index, axis, w, mask), axis, mask)

    direct = shape and source.strides[axis] in (0, 1)
    spread(
        plan,
        stem,
        shape,
        axis,
        lanes,
        1.0 if direct else lanes * 0.6,
        body,
        nbytes=source.size * 2 * BYTES[source.kind],
    )


def _turn(
    plan: Plan,
    sink: Sink,
    source: Array,
    shape: tuple[int, ...],
    to_axis: int,
    from_axis: int,
    lanes: int,
    stem: str,
) -> None:
    """Squares of lanes x lanes elements are loaded along one axis, turned in registers, stored along the other."""
    rest = [d for d in range(len(shape)) if d not in (to_axis, from_axis) and shape[d] != 1]
    ups, downs = -(-shape[to_axis] // lanes), -(-shape[from_axis] // lanes)
    items = downs
    for d in rest:
        items *= shape[d]
    b = plan.kernel(
        stem + "_turned", items, ups * lanes * 4.0, nbytes=source.size * 2 * BYTES[source.kind]
    )

    def item(i: Value) -> None:
        index: list[Any] = [b.const(0)] * len(shape)
        *places, column = decompose(b, i, [*(shape[d] for d in rest), downs])
        for d, place in zip(rest, places, strict=True):
            index[d] = place
        first = column * lanes

        def square(row: Value) -> None:
            mask = None
            if shape[from_axis] % lanes:
                mask = b.lane_mask(b.const(shape[from_axis]) - first, lanes)
            vectors = []
            for j in range(lanes):
                at = list(index)
                place = row + j
                if shape[to_axis] % lanes:
                    place = b.intrinsic("smin", place, b.const(shape[to_axis] - 1))
                at[to_axis], at[from_axis] = place, first
                vectors.append(source.load(b, at, from_axis, lanes, mask))
            over = None
            if shape[to_axis] % lanes:
                over = b.lane_mask(b.const(shape[to_axis]) - row, lanes)
            for j, vector in enumerate(transpose(b, vectors)):
                at = list(index)
                at[to_axis], at[from_axis] = row, first + j

                def put(at: list[Any] = at, vector: Value = vector) -> None:
                    sink.store(b, at, vector, to_axis, over)

                if shape[from_axis] % lanes:
                    b.when(b.compare("lt", first + j, b.const(shape[from_axis])), put)
                else:
                    put()

        b.loop(0, shape[to_axis], square, step=lanes, label="squares")

    b.over_items(item)


def place_for(plan: Plan, sink: Sink) -> tuple[Array, bool]:
    """Memory in which a result can be built in several passes, and whether it has to be copied to the sink after."""
    if type(sink) is Sink and sink.array.is_contiguous:
        return sink.array, False
    return plan.scratch(sink.array.dtype, sink.shape), True
