"""Window reductions and their adjoints. Every result element is computed by itself, so any thread can take any part."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BF16, F16, F32, FLOATS, I1, I8, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import lanes_for, shared_axis, spread
from rushlight.primitives import pooling

Sizes = Sequence[int]


class Windows:
    """Where windows lie, and the loads that respect the border."""

    def __init__(
        self,
        shape: Sizes,
        size: Sizes,
        stride: Sizes,
        before: Sizes,
        after: Sizes,
        dilation: Sizes,
        places: Sizes,
    ) -> None:
        self.rank = len(size)
        self.lead = len(shape) - self.rank
        self.shape = shape
        self.size, self.stride, self.before, self.dilation = size, stride, before, dilation
        self.places = places  # windows along each dimension
        self.offsets = list(itertools.product(*(range(k) for k in size)))

    def inputs(
        self, b: Kernel, index: Sequence[Any], offset: Sizes
    ) -> tuple[list[Any], Value | None]:
        """The input index of one place of the window at `index`, and whether it lies inside (None: surely)."""
        at = list(index)
        inside: Value | None = None
        for d in range(self.rank):
            n = self.shape[self.lead + d]
            shift = offset[d] * self.dilation[d] - self.before[d]
            place = b.index(index[self.lead + d]) * self.stride[d] + shift
            last = (self.places[d] - 1) * self.stride[d] + shift
            if shift < 0:
                ok = b.compare("ge", place, b.const(0))
                inside = ok if inside is None else inside & ok
            if last >= n:
                ok = b.compare("lt", place, b.const(n))
                inside = ok if inside is None else inside & ok
            if shift < 0 or last >= n:
                place = b.intrinsic("smax", b.intrinsic("smin", place, b.const(n - 1)), b.const(0))
            at[self.lead + d] = place
        return at, inside

    def outputs(
        self, b: Kernel, index: Sequence[Any], offset: Sizes
    ) -> tuple[list[Any], Value | None]:
        """The window of which the input at `index` is the place `offset`, and whether there is one."""
        at = list(index)
        inside: Value | None = None

        def both(ok: Value) -> None:
            nonlocal inside
            inside = ok if inside is None else inside & ok

        for d in range(self.rank):
            moved = b.index(index[self.lead + d]) + (self.before[d] - offset[d] * self.dilation[d])
            step = self.stride[d]
            place = moved
            if step > 1:
                place = (
                    b.binary("ashr", moved, b.const(step.bit_length() - 1))
                    if step & (step - 1) == 0
                    else b.binary("div", moved, b.const(step))
                )
                both(b.compare("eq", place * step, moved))
            both(b.compare("ge", place, b.const(0)))
            both(b.compare("lt", place, b.const(self.places[d])))
            at[self.lead + d] = b.intrinsic(
                "smax", b.intrinsic("smin", place, b.const(self.places[d] - 1)), b.const(0)
            )
        return at, inside


def _axis(windows: Windows, arrays: Sequence[Array]) -> tuple[int, bool]:
    """The axis for lanes; and whether it is none of the windows' own."""
    lead = range(windows.lead)
    found = shared_axis(list(arrays), skip=range(windows.lead, windows.lead + windows.rank))
    if found is not None and arrays[0].shape[found] >= 4:
        return found, True
    del lead
    return windows.lead + windows.rank - 1, False


def _wide(b: Kernel, value: Value) -> Value:
    return b.convert(value, F32) if value.kind in (F16, BF16) else value


def _lanes(plan: Plan, arrays: Sequence[Array], free: bool) -> int:
    return lanes_for(plan.target, [a.kind for a in arrays if a.kind != I8]) if free else 1


def _lowest(array: Array) -> Any:
    if array.kind in FLOATS:
        return float("-inf")
    if array.kind == I1:
        return False
    bits = array.dtype.itemsize * 8
    return 0 if array.dtype.kind == "u" else -(1 << bits - 1)


@pooling.max_windows.define_lowering
def _(plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], **where: Any) -> None:
    (x,) = operands
    values, places = sinks
    windows = Windows(x.shape, places=values.shape[x.ndim - len(where["size"]) :], **where)
    axis, free = _axis(windows, [x, values.array, places.array])
    lanes = _lanes(plan, [x], free)
    unsigned = x.dtype.kind == "u"

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        best: Value | None = None
        at_best: Value | None = None
        place_kind = places.array.kind
        for k, offset in enumerate(windows.offsets):
            at, inside = windows.inputs(b, index, offset)
            part = _wide(b, x.load(b, at, axis, w, mask))
            if inside is not None:
                part = b.select(inside, part, b.const(_lowest(x), part.kind, part.lanes))
            if best is None or at_best is None:
                best, at_best = part, b.const(0, place_kind, w)
                continue
            better = b.compare("ugt" if unsigned or part.kind == I1 else "gt", part, best)
            if part.kind in FLOATS:
                better = better | b.compare("uno", part, part)
            best = b.select(better, part, best)
            at_best = b.select(better, b.const(k, place_kind, w), at_best)
        assert best is not None and at_best is not None  # noqa: S101 - windows have places
        values.store(b, index, b.convert(best, values.array.kind), axis, mask)
        places.store(b, index, at_best, axis, mask)

    spread(
        plan,
        "max_windows",
        values.shape,
        axis,
        lanes,
        len(windows.offsets) * 1.2,
        body,
        nbytes=x.size * 4,
    )


def _gathered(
    plan: Plan,
    stem: str,
    sink: Sink,
    windows: Windows,
    arrays: Sequence[Array],
    term: Callable[..., Value],
) -> None:
    """Result elements, in the input's shape, as sums over the windows that cover them."""
    axis, free = _axis(windows, [sink.array, *arrays])
    lanes = _lanes(plan, arrays, free)

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        total: Value | None = None
        for k, offset in enumerate(windows.offsets):
            at, inside = windows.outputs(b, index, offset)
            part = _wide(b, term(b, at, k, axis, w, mask))
            if inside is not None:
                part = b.select(inside, part, b.const(0, part.kind, part.lanes))
            total = part if total is None else total + part
        assert total is not None  # noqa: S101 - windows have places
        sink.store(b, index, b.convert(total, sink.array.kind), axis, mask)

    spread(plan, stem, sink.shape, axis, lanes, len(windows.offsets) * 2.0, body)


def _exact(windows: Windows) -> bool:
    """Whether windows lie side by side and fill the input."""
    return (
        tuple(windows.size) == tuple(windows.stride)
        and set(windows.dilation) == {1}
        and not any(windows.before)
        and all(
            n == k * p
            for n, k, p in zip(
                windows.shape[windows.lead :], windows.size, windows.places, strict=True
            )
        )
    )


def _scattered(
    plan: Plan,
    stem: str,
    sink: Sink,
    windows: Windows,
    arrays: Sequence[Array],
    term: Callable[..., Value],
) -> None:
    """As `_gathered`, for windows that fill the input: window by window."""
    axis, free = _axis(windows, [sink.array, *arrays])
    shape = arrays[0].shape
    lanes = _lanes(plan, arrays, free)

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        for k, offset in enumerate(windows.offsets):
            at, _ = windows.inputs(b, index, offset)
            sink.store(b, at, term(b, index, k, axis, w, mask), axis, mask)

    spread(plan, stem, shape, axis, lanes, len(windows.offsets) * 1.5, body)


@pooling.place_windows.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, shape: Sizes, **where: Any
) -> None:
    grad, places = operands
    windows = Windows(shape, places=grad.shape[grad.ndim - len(where["size"]) :], **where)

    def term(b: Kernel, at: list[Any], k: int, axis: int, w: int, mask: Value | None) -> Value:
        here = b.compare("eq", places.load(b, at, axis, w, mask), b.const(k, places.kind, w))
        value = grad.load(b, at, axis, w, mask)
        return b.select(here, value, b.const(0, value.kind, w))

    write = _scattered if _exact(windows) else _gathered
    write(plan, "place_windows", sinks[0], windows, [grad, places], term)


@pooling.spread_windows.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, shape: Sizes, **where: Any
) -> None:
    grad: Array = operands[0]
    windows = Windows(shape, places=grad.shape[grad.ndim - len(where["size"]) :], **where)

    def term(b: Kernel, at: list[Any], k: int, axis: int, w: int, mask: Value | None) -> Value:
        return grad.load(b, at, axis, w, mask)

    write = _scattered if _exact(windows) else _gathered
    write(plan, "spread_windows", sinks[0], windows, [grad], term)


@pooling.sum_windows.define_lowering
def _(plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], **where: Any) -> bool | None:
    (x,) = operands
    sink = sinks[0]
    windows = Windows(x.shape, places=sink.shape[x.ndim - len(where["size"]) :], **where)
    if len(windows.offsets) > 256:
        return False
    axis, free = _axis(windows, [x, sink.array])
    lanes = _lanes(plan, [x], free)

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        total: Value | None = None
        for offset in windows.offsets:
            at, inside = windows.inputs(b, index, offset)
            part = _wide(b, x.load(b, at, axis, w, mask))
            if inside is not None:
                part = b.select(inside, part, b.const(0, part.kind, part.lanes))
            total = part if total is None else total + part
        assert total is not None  # noqa: S101 - windows have places
        sink.store(b, index, b.convert(total, sink.array.kind), axis, mask)

    spread(plan, "sum_windows", sink.shape, axis, lanes, len(windows.offsets) * 1.0, body)
    return None


@pooling.pick_windows.define_lowering
def _(plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], **where: Any) -> None:
    x, places = operands
    sink = sinks[0]
    windows = Windows(x.shape, places=sink.shape[x.ndim - len(where["size"]) :], **where)
    axis, free = _axis(windows, [sink.array, x, places])
    lanes = _lanes(plan, [x], free)

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        place = places.load(b, index, axis, w, mask)
        total = b.const(0, x.kind, w)
        for k, offset in enumerate(windows.offsets):
            at, inside = windows.inputs(b, index, offset)
            here = b.compare("eq", place, b.const(k, places.kind, w))
            part = x.load(b, at, axis, w, mask)
            if inside is not None:
                here = here & b.splat(inside, w)
            total = b.select(here, part, total)
        sink.store(b, index, total, axis, mask)

    spread(plan, "pick_windows", sink.shape, axis, lanes, len(windows.offsets) * 1.5, body)
