"""Convolutions as register tiles, in two layouts.

Channels in lanes: a tile holds some pixels of a row by some vectors of output channels; pixels are read in place as
scalars, weights are packed so that the channels of a vector lie side by side. The gradient of the input is the same
loop over padded gradients and turned weights (for strides, one for each phase); the gradient of the weight sums over
rows of pictures in registers, in parts whose number follows from the shapes alone.

Images in lanes, for few channels and a batch of whole vectors that lies innermost: a tile holds some output channels by
some pixels, weights are the scalars, and nothing is packed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BYTES, F32, F64, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import decompose, spread
from rushlight.primitives import convolution as c
from rushlight.primitives.lowerings import images_in_lanes
from rushlight.primitives.lowerings.copying import copy_into
from rushlight.primitives.lowerings.correlation import forward_axes, gradient_phases
from rushlight.primitives.lowerings.tile import rows_of, tile

#: Nanoseconds for a floating point operation in a tile, about.
FLOP_NS = {F32: 0.012, F64: 0.024}
#: Parts into which the sum of a weight's gradient is cut, at most.
PARTS = 16

Sizes = tuple[int, ...]


def _nest(b: Kernel, sizes: Sequence[int], body: Any, label: str = "y") -> None:
    """Loops over an index of these sizes."""

    def step(depth: int, index: list[Value]) -> None:
        if depth == len(sizes):
            body(index)
            return
        b.loop(0, sizes[depth], lambda i: step(depth + 1, [*index, i]), label=f"{label}{depth}")

    step(0, [])


def _dot(index: Sequence[Any], strides: Sequence[int], b: Kernel) -> Value:
    total = b.const(0)
    for i, s in zip(index, strides, strict=True):
        total = total + b.index(i) * s
    return total


def padded(plan: Plan, x: Array, before: Sizes, after: Sizes, order: Sequence[int] | None) -> Array:
    """Images with a border of zeros, their dimensions in `order` (outermost first); `x` itself if it needs no change.

    Negative amounts cut off.
    """
    rank = len(before)
    if any(n < 0 for n in (*before, *after)):
        starts = [0, 0, *(max(0, -n) for n in before)]
        stops = [*x.shape[:2], *(n - max(0, -a) for n, a in zip(x.shape[2:], after, strict=True))]
        x = x.slice(starts, stops, [1] * x.ndim)
        before, after = tuple(max(0, n) for n in before), tuple(max(0, n) for n in after)
    if not any(before) and not any(after):
        if order is None or _lies(x, order):
            return x
    order = tuple(range(x.ndim)) if order is None else tuple(order)
    shape = [*x.shape[:2], *(b + n + a for b, n, a in zip(before, x.shape[2:], after, strict=True))]
    memory = plan.scratch(x.dtype, [shape[d] for d in order])
    back = [order.index(d) for d in range(x.ndim)]
    whole = memory.permute(back)
    if any(before) or any(after):
        _clear_border(plan, whole, x.shape[2:], before, after, order)
    inside = whole.slice(
        [0, 0, *before],
        [*x.shape[:2], *(b + n for b, n in zip(before, x.shape[2:], strict=True))],
        [1] * x.ndim,
    )
    copy_into(plan, Sink(inside), x, "pad")
    del rank
    return whole


def _lies(x: Array, order: Sequence[int]) -> bool:
    step = 1
    for d in reversed(order):
        if x.shape[d] != 1 and x.strides[d] != step:
            return False
        step *= x.shape[d]
    return True


def _clear_border(
    plan: Plan, whole: Array, size: Sizes, before: Sizes, after: Sizes, order: Sequence[int]
) -> None:
    """Zeros around the images: two slabs for each dimension."""
    axis = order[-1]
    lanes = plan.target.lanes(whole.kind)
    for d in range(len(size)):
        for low, high in ((0, before[d]), (before[d] + size[d], before[d] + size[d] + after[d])):
            if low == high:
                continue
            starts, stops = [0] * whole.ndim, list(whole.shape)
            starts[2 + d], stops[2 + d] = low, high
            slab = whole.slice(starts, stops, [1] * whole.ndim)

            def body(
                b: Kernel, index: list[Any], w: int, mask: Value | None, slab: Array = slab
            ) -> None:
                slab.store(b, index, b.const(0.0, slab.kind, w), axis, mask)

            spread(plan, "border", slab.shape, axis, lanes, 1.0, body)


def _packed(
    plan: Plan, w: Array, groups: int, vectors: int, lanes: int, turned: bool
) -> tuple[Array, int]:
    """Weights as (group, panel, *kernel, inner channel, lane of an outer channel), zeros in lanes beyond the last.

    Outer channels are those of the result: the weight's first dimension, or with `turned` its second.
    """
    outer = w.shape[1] if turned else w.shape[0] // groups
    inner = w.shape[0] // groups if turned else w.shape[1]
    kernel = w.shape[2:]
    width = vectors * lanes
    panels = -(-outer // width)
    memory = plan.scratch(w.dtype, (groups, panels, *kernel, inner, width))
    stride = w.strides[1] if turned else w.strides[0]
    inner_stride = w.strides[0] if turned else w.strides[1]
    group_stride = w.strides[0] * (inner if turned else outer)
    count = int(np.prod(kernel)) * inner
    b = plan.kernel(
        "pack_weights", groups * panels * inner, count / max(inner, 1) * vectors * lanes * 0.7
    )

    def item(i: Value) -> None:
        group, panel, channel = decompose(b, i, [groups, panels, inner])

        def place(index: list[Value]) -> None:
            for v in range(vectors):
                first = panel * width + v * lanes
                offset = (
                    group * group_stride
                    + first * stride
                    + channel * inner_stride
                    + _dot(index, w.strides[2:], b)
                )
                mask = None
                if outer % width:
                    mask = b.lane_mask(b.const(outer) - first, lanes)
                if stride == 1:
                    value = b.load(b.pointer(w), offset, w.kind, lanes, mask=mask)
                else:
                    offsets = b.splat(offset, lanes) + b.lane_numbers(lanes) * stride
                    if mask is not None:
                        safe = group * group_stride
                        offsets = b.select(mask, offsets, b.splat(safe, lanes))
                    value = b.gather(b.pointer(w), offsets, w.kind)
                    if mask is not None:
                        value = b.select(mask, value, 0.0)
                to = memory.element(b, [group, panel, *index, channel, 0])
                b.store(value, b.pointer(memory), to + v * lanes)

        _nest(b, kernel, place, "t")

    b.over_items(item)
    return memory, panels


def _tap_loops(
    taps: Sequence[tuple[int, int, int]], inner: tuple[int, int, int]
) -> list[tuple[int, int, int]]:
    return [t for t in (*taps, inner) if t[0] > 1] or [(1, 0, 0)]


def channels_in_lanes(
    plan: Plan,
    stem: str,
    sink: Sink,
    x: Array,
    weights: Array,
    panels: int,
    groups: int,
    outer: int,
    inner: int,
    places: Sizes,
    base: int,
    moves: Sequence[int],
    taps: Sequence[tuple[int, int, int]],
    vectors: int,
    result: Any,
) -> None:
    """Result pixels (of `places`) as sums over taps and inner channels.

    Pixel p reads `x` from `base + sum(p * moves)`; a tap is (count, move in x, move in the weights); `result` gives the
    index in the sink of a pixel.
    """
    kind = x.kind
    lanes = plan.target.lanes(kind)
    batch = x.shape[0]
    width = places[-1]
    rows = rows_of(plan.target.registers, vectors, width)
    full, rest = width // rows, width % rows
    flops_item = (
        2 * int(np.prod([t[0] for t in taps])) * inner * vectors * lanes * int(np.prod(places))
    )
    lead = places[:-1]
    blocks = 1
    if lead and batch * groups * panels < 16:
        blocks = next(
            (
                n
                for n in range(min(lead[0], -(-16 // (batch * groups * panels))), 0, -1)
                if lead[0] % n == 0
            ),
            1,
        )
    panel_bytes = weights.strides[1]
    loops = _tap_loops([(t[0], t[1], t[2]) for t in taps], (inner, x.strides[1], vectors * lanes))
    items = batch * groups * panels * blocks
    b = plan.kernel(
        stem, items, flops_item / blocks * FLOP_NS[kind] + 20,
        flops=2 * batch * groups * outer * int(np.prod(places)) * int(np.prod([t[0] for t in taps])) * inner,
        nbytes=BYTES[kind] * (x.size + sink.array.size),
    )  # fmt: skip

    def item(i: Value) -> None:
        image, group, panel, block = decompose(b, i, [batch, groups, panels, blocks])
        at_x = image * x.strides[0] + group * (inner * x.strides[1]) + base
        at_w = group * weights.strides[0] + panel * panel_bytes
        masks: list[Value | None] = [None] * vectors
        if outer % (vectors * lanes):
            masks = [
                b.lane_mask(b.const(outer) - (panel * (vectors * lanes) + v * lanes), lanes)
                for v in range(vectors)
            ]

        def line(index: list[Value]) -> None:
            if lead and blocks > 1:
                index = [index[0] + block * (lead[0] // blocks), *index[1:]]
            start = at_x + _dot(index, moves[:-1], b)

            def pixels(first: Value, count: int) -> None:
                a = b.address(b.pointer(x), start + first * moves[-1], kind)
                w = b.address(b.pointer(weights), at_w, kind)
                totals = tile(b, kind, lanes, count, vectors, a, moves[-1], w, lanes, loops)
                for m in range(count):
                    for v in range(vectors):
                        channel = group * outer + panel * (vectors * lanes) + v * lanes
                        place = result([*index, first + m])
                        sink.store(
                            b, [image, channel, *place], totals[m * vectors + v], 1, masks[v]
                        )

            if full:
                b.loop(0, full, lambda t: pixels(t * rows, rows), label="tiles")
            if rest:
                pixels(b.const(full * rows), rest)

        sizes = list(lead)
        if lead and blocks > 1:
            sizes[0] //= blocks
        _nest(b, sizes, line)

    b.over_items(item)


def _vectors(outer: int, lanes: int) -> int:
    return 2 if outer > lanes else 1


def _computable(*arrays: Any) -> bool:
    return all(
        isinstance(a, Array) and a.kind in (F32, F64) and a.ndim >= 3 and a.size for a in arrays
    )


def _order(x: Array, rank: int) -> tuple[int, ...]:
    """Channels innermost."""
    return (0, *range(2, rank + 2), 1)


def side_by_side(plan: Plan, x: Array, lanes: int) -> Array:
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
    rank = x.ndim - 2
    kind, lanes = x.kind, plan.target.lanes(x.kind)
    outer, inner = w.shape[0] // groups, w.shape[1]
    places = tuple(sink.shape[2:])
    if images_in_lanes.suits(sink.array, sink.array, groups, w.shape[-1], lanes):
        x = side_by_side(plan, x, lanes)
        axes = forward_axes(x.shape[2:], places, w.shape[2:], stride, before, dilation)
        images_in_lanes.correlate(
            plan, "convolve_lanes", sink, x, w, w.strides[0], w.strides[1], w.strides[2:], 0, outer, inner, axes,
            lambda p: p,
        )  # fmt: skip
        return None
    x = padded(plan, x, before, after, None if not any((*before, *after)) else _order(x, rank))
    vectors = _vectors(outer, lanes)
    weights, panels = _packed(plan, w, groups, vectors, lanes, False)
    moves = [s * m for s, m in zip(x.strides[2:], stride, strict=True)]
    taps = [
        (k, d * s, ws)
        for k, d, s, ws in zip(
            w.shape[2:], dilation, x.strides[2:], weights.strides[2 : 2 + rank], strict=True
        )
    ]
    del kind
    channels_in_lanes(
        plan,
        "convolve",
        sink,
        x,
        weights,
        panels,
        groups,
        outer,
        inner,
        places,
        0,
        moves,
        taps,
        vectors,
        lambda p: p,
    )
    return None


# -- the gradient of the input -----------------------------------------------------------------------------------------


@c.convolve_input.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, stride: Sizes, before: Sizes, after: Sizes,
    dilation: Sizes, groups: int, size: Sizes,
) -> bool | None:  # fmt: skip
    grad, w = operands
    sink = sinks[0]
    if not _computable(grad, w) or any(
        s > 1 and d > 1 for s, d in zip(stride, dilation, strict=True)
    ):
        return False
    rank = grad.ndim - 2
    lanes = plan.target.lanes(grad.kind)
    outer, inner = w.shape[1], w.shape[0] // groups
    if images_in_lanes.suits(sink.array, sink.array, groups, w.shape[-1], lanes):
        grad = side_by_side(plan, grad, lanes)
        for phases in itertools.product(
            *map(gradient_phases, size, grad.shape[2:], w.shape[2:], stride, before, dilation)
        ):

            def place(index: list[Any], phases: Any = phases) -> list[Any]:
                return [i * p.every + p.first for i, p in zip(index, phases, strict=True)]

            if not all(p.axis.taps for p in phases):
                _zeros(plan, sink, tuple(p.axis.results for p in phases), place)
                continue
            start = sum(p.tap * s for p, s in zip(phases, w.strides[2:], strict=True))
            steps = [p.tap_every * s for p, s in zip(phases, w.strides[2:], strict=True)]
            images_in_lanes.correlate(
                plan, "convolve_input_lanes", sink, grad, w, w.strides[1], w.strides[0], steps, start, outer, inner,
                [p.axis for p in phases], place,
            )  # fmt: skip
        return None
    #: For each dimension and phase: first pixel, pixels, first tap, taps, the gradient's place for pixel 0 and tap 0.
    phases: list[list[tuple[int, int, int, int, int]]] = []
    for s, b4, d, k, n in zip(stride, before, dilation, w.shape[2:], size, strict=True):
        mine = []
        for r in range(s):
            first = (r - b4) % s
            pixels = -(-(n - first) // s) if first < n else 0
            taps = len(range(r, k, s)) if s > 1 else k
            origin = (first + b4 - (r if s > 1 else 0)) // s
            if pixels:
                mine.append((first, pixels, r if s > 1 else 0, taps, origin))
        phases.append(mine)
        del d
    lows, highs = [], []
    for mine, s, d, p in zip(phases, stride, dilation, grad.shape[2:], strict=True):
        step = 1 if s > 1 else d
        used = [m for m in mine if m[3]]
        lows.append(max([0, *(-(m[4] - (m[3] - 1) * step) for m in used)]))
        highs.append(max([0, *(m[4] + m[1] - 1 - (p - 1) for m in used)]))
    order = _order(grad, rank)
    plain = not any((*lows, *highs))
    gp = padded(plan, grad, tuple(lows), tuple(highs), None if plain else order)
    vectors = _vectors(outer, lanes)
    weights, panels = _packed(plan, w, groups, vectors, lanes, True)
    tap_strides = weights.strides[2 : 2 + rank]
    for chosen in itertools.product(*phases):
        places = tuple(m[1] for m in chosen)

        def result(index: list[Any], chosen: Any = chosen) -> list[Any]:
            return [
                p * s + m[0] if s > 1 else p for p, s, m in zip(index, stride, chosen, strict=True)
            ]

        if any(m[3] == 0 for m in chosen):
            _zeros(plan, sink, places, result)
            continue
        base = sum(
            (m[4] + low) * gs for m, low, gs in zip(chosen, lows, gp.strides[2:], strict=True)
        )
        moves = list(gp.strides[2:])
        taps = []
        start = 0
        for m, s, d, gs, ws in zip(
            chosen, stride, dilation, gp.strides[2:], tap_strides, strict=True
        ):
            step = 1 if s > 1 else d
            taps.append((m[3], -gs * step, ws * (s if s > 1 else 1)))
            start += m[2] * ws
        shifted = weights.look(weights.shape, weights.strides, start)
        channels_in_lanes(
            plan, "convolve_input", sink, gp, shifted, panels, groups, outer, inner, places, base, moves, taps, vectors,
            result,
        )  # fmt: skip
    return None


def _zeros(plan: Plan, sink: Sink, places: Sizes, result: Any) -> None:
    """Pixels that no window reaches."""
    shape = (*sink.shape[:2], *places)

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        sink.store(b, [*index[:2], *result(index[2:])], b.const(0.0, sink.array.kind, w), 1, mask)

    spread(plan, "zeros", shape, 1, plan.target.lanes(sink.array.kind), 1.0, body)


# -- the gradient of the weight -----------------------------------------------------------------------------


@c.convolve_weight.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, stride: Sizes, before: Sizes, after: Sizes,
    dilation: Sizes, groups: int, size: Sizes,
) -> bool | None:  # fmt: skip
    x, grad = operands
    sink = sinks[0]
    if not _computable(x, grad):
        return False
    rank = x.ndim - 2
    kind, lanes = x.kind, plan.target.lanes(x.kind)
    outer, inner = grad.shape[1] // groups, x.shape[1] // groups
    if images_in_lanes.suits(x, grad, groups, size[-1], lanes):
        x, grad = side_by_side(plan, x, lanes), side_by_side(plan, grad, lanes)
        axes = forward_axes(x.shape[2:], grad.shape[2:], size, stride, before, dilation)
        images_in_lanes.weight_gradient(plan, sink, x, grad, axes)
        return None
    order = _order(x, rank)
    x = padded(plan, x, before, after, order if any((*before, *after)) else None)
    if grad.strides[1] != 1:
        grad = padded(plan, grad, (0,) * rank, (0,) * rank, order)
    vectors = _vectors(outer, lanes)
    width = vectors * lanes
    panels = -(-outer // width)
    # The last dimension of the kernel and the channels are rows of one tile where they lie side by side.
    joined = (
        groups == 1
        and x.strides[1] == 1
        and dilation[-1] == 1
        and (x.strides[-1] == inner or size[-1] == 1)
    )
    count = inner * size[-1] if joined else inner
    kernel = size[:-1] if joined else size
    rows = rows_of(plan.target.registers, vectors, count)
    full, rest = count // rows, count % rows
    batch, places = x.shape[0], grad.shape[2:]
    lead = places[0] if rank > 1 else 1
    units = batch * (lead if batch < 8 else 1)
    parts = min(PARTS, units)
    partial = plan.scratch(x.dtype, (parts, groups, *kernel, count, panels * width))
    inner_places = places[1:] if rank > 1 and batch < 8 else places
    loops_sizes = inner_places if rank > 1 or batch >= 8 else places
    if rank == 1:
        loops_sizes = places
        units, lead = batch, 1
        parts = min(PARTS, units)
        partial = plan.scratch(x.dtype, (parts, groups, *kernel, count, panels * width))
    skip = rank - len(loops_sizes)
    loops = [
        (n, s * m, gs)
        for n, s, m, gs in zip(
            loops_sizes, x.strides[2 + skip :], stride[skip:], grad.strides[2 + skip :], strict=True
        )
    ]
    flops = 2 * batch * groups * outer * int(np.prod(places)) * int(np.prod(size)) * inner
    b = plan.kernel(
        "convolve_weight",
        parts,
        flops / parts * FLOP_NS[kind] * 1.2,
        flops=flops,
        nbytes=BYTES[kind] * (x.size + grad.size),
    )

    def item(part: Value) -> None:
        low, high = (
            b.binary("udiv", part * units, b.const(parts)),
            b.binary("udiv", (part + 1) * units, b.const(parts)),
        )

        def unit(u: Value) -> None:
            if units == batch:
                at_x, at_g = u * x.strides[0], u * grad.strides[0]
            else:
                image, row = decompose(b, u, [batch, lead])
                at_x = image * x.strides[0] + row * (x.strides[2] * stride[0])
                at_g = image * grad.strides[0] + row * grad.strides[2]
            fresh = b.compare("eq", u, low)

            def panel_of(g: Value, p: Value) -> None:
                masks: list[Value | None] = [None] * vectors
                if outer % width:
                    masks = [
                        b.lane_mask(b.const(outer) - (p * width + v * lanes), lanes)
                        for v in range(vectors)
                    ]
                gradient = b.address(
                    b.pointer(grad), at_g + g * (outer * grad.strides[1]) + p * width, kind
                )

                def tap(index: list[Value]) -> None:
                    shift = _dot(
                        index,
                        [
                            s * d
                            for s, d in zip(x.strides[2 : 2 + len(kernel)], dilation, strict=False)
                        ],
                        b,
                    )
                    source = at_x + g * (inner * x.strides[1]) + shift

                    def some(first: Value, many: int) -> None:
                        a = b.address(b.pointer(x), source + first * x.strides[1], kind)
                        to = partial.element(b, [part, g, *index, first, p * width])
                        base = b.pointer(partial)
                        start = []
                        for m in range(many):
                            for v in range(vectors):
                                old = b.load(
                                    base, to + (m * panels * width + v * lanes), kind, lanes
                                )
                                start.append(b.select(fresh, b.const(0.0, kind, lanes), old))
                        totals = tile(
                            b,
                            kind,
                            lanes,
                            many,
                            vectors,
                            a,
                            x.strides[1],
                            gradient,
                            lanes,
                            loops,
                            start,
                            masks,
                        )
                        for m in range(many):
                            for v in range(vectors):
                                b.store(
                                    totals[m * vectors + v],
                                    base,
                                    to + (m * panels * width + v * lanes),
                                )

                    if full:
                        b.loop(0, full, lambda t: some(t * rows, rows), label="rows")
                    if rest:
                        some(b.const(full * rows), rest)

                _nest(b, kernel, tap, "t")

            b.loop(
                0,
                groups,
                lambda g: b.loop(0, panels, lambda p: panel_of(g, p), label="panels") and None,
                label="groups",
            )

        b.loop(low, high, unit, label="images")

    b.over_items(item)
    _combine_weight(plan, sink, partial, parts, groups, outer, inner, kernel, size, joined)
    return None


def _combine_weight(
    plan: Plan, sink: Sink, partial: Array, parts: int, groups: int, outer: int, inner: int, kernel: Sizes, size: Sizes,
    joined: bool,
) -> None:  # fmt: skip
    """Adds the parts in order, and puts the sums where the weight's layout wants them."""
    kind = partial.kind
    lanes = plan.target.lanes(kind)
    total = partial
    if parts > 1:
        total = plan.scratch(partial.dtype, partial.shape[1:])
        n = total.size
        flat_in, flat_out = partial.look((parts, n), (n, 1)), total.look((n,), (1,))

        def add(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
            value = flat_in.load(b, [0, index[0]], 1, w, mask)
            for p in range(1, parts):
                value = value + flat_in.load(b, [p, index[0]], 1, w, mask)
            flat_out.store(b, index, value, 0, mask)

        spread(plan, "add_parts", (n,), 0, lanes, 0.6 * parts, add)
    else:
        total = partial.look(partial.shape[1:], partial.strides[1:])
    width = total.shape[-1]
    step = total.strides
    strides = {"group": step[0], "lane": 1}
    taps = list(step[1 : 1 + len(kernel)])
    channel = width
    if joined:
        taps.append(inner * width)
    source = total.look((groups, outer, inner, *size), (strides["group"], 1, channel, *taps))
    flat = source.reshape((groups * outer, inner, *size))
    if flat is not None:
        copy_into(plan, sink, flat, "weight")
        return

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        o = b.index(index[0])
        group, place = b.binary("udiv", o, b.const(outer)), b.binary("urem", o, b.const(outer))
        sink.store(b, index, source.load(b, [group, place, *index[1:]]))

    spread(plan, "weight", sink.shape, len(sink.shape) - 1, 1, 3.0, body)
