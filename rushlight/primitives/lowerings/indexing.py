"""Elements by index: checked first, in a pass over the indices, then read, written and added to.

What is added at repeated places is added in the order of the indices, by one item for each part of a row: the same
bits whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BF16, F16, I1, I64, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import decompose, lanes_for, spread
from rushlight.primitives import gather, scores, sorting
from rushlight.primitives.lowerings.copying import copy_into, place_for


def check(
    plan: Plan,
    index: Array,
    low: int,
    high: int,
    kind: type[Exception],
    message: str,
    ignore: int | None = None,
) -> None:
    """Stops the program where an index lies outside [low, high); `ignore` is always allowed."""
    code = plan.fault_code(kind, message)
    b = plan.kernel("check_indices", 1, index.size * 1.0)
    b.checks = True

    def item(_: Value) -> None:
        def nested(depth: int, place: list[Any]) -> None:
            if depth < index.ndim:
                b.loop(0, index.shape[depth], lambda i: nested(depth + 1, [*place, i]), label="i")
                return
            value = b.convert(index.load(b, place), I64, index.signed)
            bad = b.compare("lt", value, b.const(low)) | b.compare("ge", value, b.const(high))
            if ignore is not None:
                bad = bad & b.compare("ne", value, b.const(ignore))
            b.when(bad, lambda: b.fault(plan, code, value))

        nested(0, [])

    b.over_items(item)


def _index(
    b: Kernel,
    array: Array,
    place: Sequence[Any],
    size: int,
    axis: int | None = None,
    w: int = 1,
    mask: Value | None = None,
) -> Value:
    """An index as i64, counted from the front."""
    value = b.convert(array.load(b, place, axis, w, mask), I64, array.signed)
    return b.select(
        b.compare("lt", value, b.const(0, I64, w)), value + b.const(size, I64, w), value
    )


# -- classes -------------------------------------------------------------------------------------------------


def _check_target(plan: Plan, target: Array, classes: int, ignore: int) -> None:
    message = (
        f"Target {{value}} is out of bounds: with {classes} classes a target is 0 to {classes - 1}"
    )
    check(plan, target, 0, classes, IndexError, message, ignore)


@scores.class_scores.define_lowering
def _(plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, ignore: int) -> None:
    x, target = operands
    sink = sinks[0]
    _check_target(plan, target, x.shape[1], ignore)

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        wanted = b.convert(target.load(b, index), I64)
        counts = b.compare("ne", wanted, b.const(ignore))
        safe = b.select(counts, wanted, 0)
        value = x.load(b, [*index[:1], safe, *index[1:]])
        sink.store(b, index, b.select(counts, value, b.const(0, value.kind)))

    spread(plan, "class_scores", target.shape, max(target.ndim - 1, 0), 1, 3.0, body)


@scores.class_places.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, classes: int, ignore: int
) -> None:
    values, target = operands
    sink = sinks[0]
    _check_target(plan, target, classes, ignore)
    lanes = plan.target.lanes(values.kind if values.kind not in (F16, BF16) else "float")

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        place = [*index[:1], *index[2:]]
        wanted = b.convert(target.load(b, place), I64)
        wanted = b.select(b.compare("eq", wanted, b.const(ignore)), -1, wanted)
        value = values.load(b, place)
        classes_here = (
            b.splat(b.index(index[1]), w) + b.lane_numbers(w) if w > 1 else b.index(index[1])
        )
        here = b.compare("eq", classes_here, b.splat(wanted, w))
        sink.store(b, index, b.select(here, b.splat(value, w), b.const(0, value.kind, w)), 1, mask)

    spread(plan, "class_places", sink.shape, 1, lanes, 4.0, body)


@scores.class_weights.define_lowering
def _(plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, ignore: int) -> None:
    weight, target = operands
    sink = sinks[0]
    _check_target(plan, target, weight.shape[0], ignore)

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        wanted = b.convert(target.load(b, index), I64)
        counts = b.compare("ne", wanted, b.const(ignore))
        value = weight.load(b, [b.select(counts, wanted, 0)])
        sink.store(b, index, b.select(counts, value, b.const(0, value.kind)))

    spread(plan, "class_weights", target.shape, max(target.ndim - 1, 0), 1, 3.0, body)


# -- take and put ----------------------------------------------------------------------------------------------


class _Places:
    """How the dimensions of a result of `take` come from the indices and from the array."""

    def __init__(
        self,
        x: Array,
        indices: Sequence[Array],
        axes: Sequence[int],
        front: bool,
        shape: Sequence[int],
    ) -> None:
        self.axes = tuple(axes)
        self.count = max(i.ndim for i in indices)  # dimensions of the broadcast indices
        self.start = 0 if front else axes[0]
        self.rest = [a for a in range(x.ndim) if a not in axes]
        self.found = tuple(shape[self.start : self.start + self.count])
        self.indices = [i.expand(self.found) for i in indices]
        self.x = x

    def source(self, b: Kernel, index: Sequence[Any]) -> list[Any]:
        """The place in the array for a place in the result."""
        found = list(index[self.start : self.start + self.count])
        others = [*index[: self.start], *index[self.start + self.count :]]
        place: list[Any] = [None] * self.x.ndim
        for axis, other in zip(self.rest, others, strict=True):
            place[axis] = other
        for axis, array in zip(self.axes, self.indices, strict=True):
            place[axis] = _index(b, array, found, self.x.shape[axis])
        return place

    def lane_axis(self, other: Array) -> tuple[int, int] | None:
        """A dimension (of the result, of the array) that no index touches, for lanes."""
        for position in range(len(self.rest) - 1, -1, -1):
            axis = self.rest[position]
            d = position if position < self.start else position + self.count
            if self.x.strides[axis] == 1 and self.x.shape[axis] > 1 and other.strides[d] in (0, 1):
                return d, axis
        return None


def _check_all(plan: Plan, x: Array, indices: Sequence[Array], axes: Sequence[int]) -> None:
    for index, axis in zip(indices, axes, strict=True):
        n = x.shape[axis]
        check(
            plan,
            index,
            -n,
            n,
            IndexError,
            f"index {{value}} is out of bounds for dimension {axis} with size {n}",
        )


def _plain(indices: Sequence[Any]) -> bool:
    return all(
        isinstance(i, Array) and i.kind not in (I1,) and i.dtype.kind in "iu" for i in indices
    )


@gather.take.define_lowering
def _(
    plan: Plan,
    sinks: tuple[Sink, ...],
    operands: tuple[Any, ...],
    *,
    axes: tuple[int, ...],
    front: bool,
) -> bool | None:
    x, *indices = operands
    sink = sinks[0]
    if not _plain(indices):
        return False
    _check_all(plan, x, indices, axes)
    places = _Places(x, indices, axes, front, sink.shape)
    found = places.lane_axis(sink.array)
    lanes = lanes_for(plan.target, [x.kind]) if found else 1
    axis, source_axis = found or (max(len(sink.shape) - 1, 0), 0)

    def body(b: Kernel, index: list[Any], w: int, mask: Value | None) -> None:
        value = x.load(b, places.source(b, index), source_axis if w > 1 else None, w, mask)
        sink.store(b, index, value, axis if w > 1 else None, mask)

    spread(plan, "take", sink.shape, axis, lanes, 2.0 if found else 4.0, body)
    return None


def _writing(add: bool) -> Any:
    def lowering(
        plan: Plan,
        sinks: tuple[Sink, ...],
        operands: tuple[Any, ...],
        *,
        axes: tuple[int, ...],
        front: bool,
    ) -> bool | None:
        x, values, *indices = operands
        if (
            not _plain(indices)
            or not isinstance(values, Array)
            or x.kind in (F16, BF16)
            or (add and x.kind == I1)
        ):
            return False
        shape = _result_shape(x, indices, axes, front)
        _check_all(plan, x, indices, axes)
        places = _Places(x, indices, axes, front, shape)
        target, copied = place_for(plan, sinks[0])
        copy_into(plan, Sink(target), x, "put_base")
        places.x = target
        values = values.expand(shape)
        found = places.lane_axis(values)
        lanes = lanes_for(plan.target, [x.kind]) if found else 1
        axis, target_axis = found or (-1, 0)
        width = shape[axis] if found else 1
        vectors = -(-width // lanes)
        side = _side_by_side(vectors)
        count = 1
        for n in shape:
            count *= n
        work = count / max(width, 1) * (2.0 + side)
        b = plan.kernel("put_add" if add else "put", vectors // side, work)

        def item(i: Value) -> None:
            starts = [i * (side * lanes) + v * lanes for v in range(side)]
            rest = b.const(width)
            masks = [b.lane_mask(rest - s, lanes) if width % lanes else None for s in starts]

            def write(index: list[Any]) -> None:
                place = places.source(b, index)
                for start, mask in zip(starts, masks, strict=True):
                    if found:
                        index[axis] = place[target_axis] = start
                    value = values.load(b, index, axis if found else None, lanes, mask)
                    if add:
                        value = (
                            target.load(b, place, target_axis if found else None, lanes, mask)
                            + value
                        )
                    target.store(b, place, value, target_axis if found else None, mask)

            def nested(depth: int, index: list[Any]) -> None:
                if depth == len(shape):
                    write(index)
                elif depth == axis:
                    nested(depth + 1, [*index, starts[0]])
                else:
                    n = shape[depth]
                    b.loop(0, n, lambda k: nested(depth + 1, [*index, k]), label=f"d{depth}")

            nested(0, [])

        b.over_items(item)
        if copied:
            copy_into(plan, sinks[0], target)
        return None

    return lowering


def _side_by_side(vectors: int) -> int:
    """How many vectors of a row one item takes: more read memory in longer pieces, fewer keep more threads busy."""
    return next(n for n in range(min(8, max(1, vectors // 8)), 0, -1) if vectors % n == 0)


def _result_shape(
    x: Array, indices: Sequence[Array], axes: tuple[int, ...], front: bool
) -> tuple[int, ...]:
    from rushlight.core.shapes import broadcast

    found = broadcast(*(i.shape for i in indices))
    rest = [n for a, n in enumerate(x.shape) if a not in axes]
    return (*found, *rest) if front else (*x.shape[: axes[0]], *found, *rest[axes[0] :])


gather.put.define_lowering(_writing(False))
gather.put_add.define_lowering(_writing(True))

# -- along one axis -----------------------------------------------------------------------------------------------


def _along(checked: bool) -> Any:
    def lowering(
        plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, axis: int
    ) -> bool | None:
        x, index = operands
        sink = sinks[0]
        if not x.ndim or x.ndim != index.ndim:
            return False
        n = x.shape[axis]
        kind, low = (RuntimeError, 0) if checked else (IndexError, -n)
        check(
            plan,
            index,
            low,
            n,
            kind,
            f"index {{value}} is out of bounds for dimension {axis} with size {n}",
        )

        def body(b: Kernel, place: list[Any], w: int, mask: Value | None) -> None:
            at = list(place)
            at[axis] = _index(b, index, place, n)
            sink.store(b, place, x.load(b, at))

        spread(plan, "gather_along", index.shape, index.ndim - 1, 1, 3.0, body)
        return None

    return lowering


gather.gather_along.define_lowering(_along(True))
sorting.take_along.define_lowering(_along(False))


@gather.scatter_along.define_lowering
def _(
    plan: Plan,
    sinks: tuple[Sink, ...],
    operands: tuple[Any, ...],
    *,
    axis: int,
    how: str,
    keep: bool,
) -> bool | None:
    x, index, values = operands
    if (
        not x.ndim
        or how not in ("set", "add", "sum")
        or not keep
        or x.kind in (F16, BF16, I1)
        or not index.size
    ):
        return False
    if isinstance(values, Array) and values.ndim != index.ndim:
        return False
    n = x.shape[axis]
    check(
        plan,
        index,
        0,
        n,
        RuntimeError,
        f"index {{value}} is out of bounds for dimension {axis} with size {n}",
    )
    target, copied = place_for(plan, sinks[0])
    copy_into(plan, Sink(target), x, "scatter_base")
    lines = [1 if d == axis else m for d, m in enumerate(index.shape)]

    def body(b: Kernel, place: list[Any], w: int, mask: Value | None) -> None:
        def step(k: Value) -> None:
            at = list(place)
            at[axis] = k
            value = values.load(b, at) if isinstance(values, Array) else b.const(values, x.kind)
            to = list(place)
            to[axis] = b.convert(index.load(b, at), I64)
            if how != "set":
                value = target.load(b, to) + value
            target.store(b, to, value)

        b.loop(0, index.shape[axis], step, label="line")

    spread(plan, "scatter_" + how, lines, max(x.ndim - 1, 0), 1, index.shape[axis] * 4.0, body)
    if copied:
        copy_into(plan, sinks[0], target)
    return None


@sorting.add_along.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, axis: int, size: int
) -> bool | None:
    values, index = operands
    sink = sinks[0]
    if not values.ndim or values.kind in (F16, BF16, I1):
        return False
    check(
        plan,
        index,
        -size,
        size,
        IndexError,
        f"index {{value}} is out of bounds for dimension {axis} with size {size}",
    )
    target, copied = place_for(plan, sink)
    lines = [1 if d == axis else m for d, m in enumerate(values.shape)]

    def body(b: Kernel, place: list[Any], w: int, mask: Value | None) -> None:
        def clear(k: Value) -> None:
            at = list(place)
            at[axis] = k
            target.store(b, at, b.const(0, values.kind))

        b.loop(0, size, clear, label="clear")

        def step(k: Value) -> None:
            at = list(place)
            at[axis] = k
            to = list(place)
            to[axis] = _index(b, index, at, size)
            target.store(b, to, target.load(b, to) + values.load(b, at))

        b.loop(0, values.shape[axis], step, label="line")

    spread(plan, "add_along", lines, max(values.ndim - 1, 0), 1, values.shape[axis] * 4.0, body)
    if copied:
        copy_into(plan, sink, target)
    return None


__all__ = ["check", "decompose"]
