"""`Nest`: the loops over one shape that several strided arrays share: order, merged dimensions, vector axis.

Dimensions are ordered as the memory of the leading array lies, and neighbours that lie without gaps in every array
become one. What is left of most programs is one long loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from rushlight.loops.arrays import Array
from rushlight.loops.builder import BYTES, FLOATS, I1, I64, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.target import Target

#: Elements that one work item should hold, so that claiming it costs little beside doing it.
ITEM_ELEMENTS = 8192


class Nest:
    """Loops over `shape`; arrays are known by keys and have this shape (broadcast with strides 0)."""

    def __init__(
        self,
        shape: Sequence[int],
        arrays: dict[Any, Array],
        lead: Sequence[Any],
        reduced: Sequence[int] = (),
    ) -> None:
        reference = _reference(shape, arrays, lead)
        order = sorted(
            (d for d in range(len(shape)) if shape[d] != 1),
            key=lambda d: (-reference[d] if reference[d] else 1, d),
        )
        if reduced:  # dimensions in which the leading array does not move stay where they are
            order.sort(key=lambda d: -reference[d] if reference[d] else -(1 << 62))
        self.sizes: list[int] = []
        self.reduced: list[bool] = []
        strides: dict[Any, list[int]] = {key: [] for key in arrays}
        for d in order:
            flag = d in reduced
            if (
                self.sizes
                and self.reduced[-1] == flag
                and all(
                    strides[key][-1] == array.strides[d] * shape[d] for key, array in arrays.items()
                )
            ):
                self.sizes[-1] *= shape[d]
                for key, array in arrays.items():
                    strides[key][-1] = array.strides[d]
                continue
            self.sizes.append(shape[d])
            self.reduced.append(flag)
            for key, array in arrays.items():
                strides[key].append(array.strides[d])
        if not self.sizes:
            self.sizes, self.reduced = [1], [bool(reduced)]
            strides = {key: [0] for key in arrays}
        self.arrays = {key: array.look(self.sizes, strides[key]) for key, array in arrays.items()}

    @property
    def kept(self) -> list[int]:
        """The dimensions that results have."""
        return [d for d, flag in enumerate(self.reduced) if not flag]

    def vector_axis(self) -> int:
        """The dimension whose neighbours lie side by side in most arrays: lanes go along it.

        An array's vote weighs what it holds: one number for each channel says little beside the pictures.
        """
        votes = [0.0] * len(self.sizes)
        total = prod(self.sizes)
        for array in self.arrays.values():
            held = prod(n for n, s in zip(self.sizes, array.strides, strict=True) if s)
            weight = max(held / max(total, 1), 1 / 64)
            for d, (n, stride) in enumerate(zip(self.sizes, array.strides, strict=True)):
                if stride == 1:
                    votes[d] += weight * min(n, 16)
                elif stride == 0:
                    votes[d] += 0.01
                else:
                    votes[d] -= weight * 0.5
        best = max(range(len(votes)), key=lambda d: (votes[d], d))
        return best if votes[best] > 0 else len(votes) - 1


def _reference(shape: Sequence[int], arrays: dict[Any, Array], lead: Sequence[Any]) -> list[int]:
    """The strides by which loops are ordered: of the leading array that moves in most dimensions."""
    best: list[int] = [0] * len(shape)
    most = -1
    for key in (*lead, *arrays):
        strides = arrays[key].strides
        moves = sum(1 for n, s in zip(shape, strides, strict=True) if n != 1 and s)
        if moves > most:
            best, most = list(strides), moves
    return best


def lanes_for(target: Target, kinds: Sequence[str]) -> int:
    """How many elements are worked on at once where values of these kinds meet."""
    floats = [max(BYTES[k], 4) for k in kinds if k in FLOATS]
    others = [max(BYTES[k], 4) for k in kinds if k != I1]
    size = min(floats or others or [4])
    return max(1, target.vector_bytes // size)


def along(
    b: Kernel,
    low: Value,
    high: Value,
    lanes: int,
    body: Callable[..., Any],
    carried: Sequence[Value] = (),
    most: int = 0,
) -> tuple[Value, ...]:
    """Runs `body(i, lanes, mask, *carried)` over [low, high) in full vectors, then once more under a mask.

    `most` is a constant that high - low never exceeds, or 0.
    """
    low, high = b.index(low), b.index(high)
    if lanes == 1:
        return b.loop(low, high, lambda i, *c: body(i, 1, None, *c), carried, label="x")
    known = low.number is not None and high.number is not None
    values = tuple(carried)
    if known:
        count = high.number - low.number
        full = low.number + count // lanes * lanes
        if count >= lanes:
            values = b.loop(
                low, full, lambda i, *c: body(i, lanes, None, *c), values, lanes, label="x"
            )
        if count % lanes:
            mask = b.lane_mask(b.const(count % lanes), lanes)
            values = b._carry(body(b.const(full), lanes, mask, *values)) or ()
        return values
    full = low + ((high - low) & -lanes)
    values = b.loop(low, full, lambda i, *c: body(i, lanes, None, *c), values, lanes, label="x")
    rest = high - full

    def tail() -> Any:
        return body(full, lanes, b.lane_mask(rest, lanes), *values)

    return b.when(b.compare("gt", rest, b.const(0)), tail, lambda: values)


def decompose(b: Kernel, item: Value, sizes: Sequence[int]) -> list[Value]:
    """The index, along dimensions of these sizes, of the item with this number."""
    index: list[Value] = []
    rest = item
    for i in range(len(sizes) - 1, -1, -1):
        n = sizes[i]
        if i == 0:
            index.append(rest)
        else:
            index.append(b.binary("urem", rest, b.const(n)) if n > 1 else b.const(0, I64))
            rest = b.binary("udiv", rest, b.const(n)) if n > 1 else rest
    index.reverse()
    return index


def spread(
    plan: Plan,
    stem: str,
    shape: Sequence[int],
    axis: int,
    lanes: int,
    work: float,
    body: Callable[..., None],
    *,
    flops: int = 0,
    nbytes: int = 0,
) -> Kernel:
    """A kernel that calls `body(b, index, lanes, mask)` over a shape, lanes along `axis`.

    `work` is nanoseconds for one vector. Items are rows along the axis, several of them where they are short.
    """
    order = [d for d in range(len(shape)) if d != axis and shape[d] != 1]
    width = shape[axis] if shape else 1
    vectors = -(-width // lanes)
    block = 0
    if vectors > 64 and not order:
        block = lanes * 32
    split = len(order)
    inside = vectors
    while split > 1 and inside * shape[order[split - 1]] <= 64:
        split -= 1
        inside *= shape[order[split]]
    over, within = order[:split], order[split:]
    items = 1
    for d in over:
        items *= shape[d]
    blocks = -(-width // block) if block else 1
    kernel = plan.kernel(
        stem,
        items * blocks,
        work * (min(inside, 32) if block else inside),
        flops=flops,
        nbytes=nbytes,
    )

    def item(i: Value) -> None:
        index: list[Any] = [kernel.const(0)] * len(shape)
        places = decompose(kernel, i, [*(shape[d] for d in over), blocks])
        for d, place in zip(over, places[:-1], strict=True):
            index[d] = place

        def vector(x: Value, w: int, mask: Value | None) -> None:
            if shape:
                index[axis] = x
            body(kernel, list(index), w, mask)

        def nested(depth: int) -> None:
            if depth < len(within):

                def step(k: Value) -> None:
                    index[within[depth]] = k
                    nested(depth + 1)

                kernel.loop(0, shape[within[depth]], step, label=f"d{within[depth]}")
            elif block:
                low = places[-1] * block
                high = low + block
                if width % block:
                    high = kernel.intrinsic("smin", high, kernel.const(width))
                along(kernel, low, high, lanes, vector)
            else:
                along(kernel, kernel.const(0), kernel.const(width), lanes, vector)

        nested(0)

    kernel.over_items(item)
    return kernel


def shared_axis(arrays: Sequence[Array], skip: Sequence[int] = ()) -> int | None:
    """The longest dimension along which all arrays of one rank have stride 1 (or do not move)."""
    best: int | None = None
    for d in range(arrays[0].ndim):
        if d in skip or arrays[0].shape[d] == 1:
            continue
        if all(a.strides[d] in (0, 1) for a in arrays) and any(a.strides[d] == 1 for a in arrays):
            if best is None or arrays[0].shape[d] > arrays[0].shape[best]:
                best = d
    return best


def transpose(b: Kernel, rows: Sequence[Value]) -> list[Value]:
    """Vectors as rows of a square of lanes, turned into its columns: log2(lanes) rounds of exchanges."""
    current = list(rows)
    n = len(current)
    step = n // 2
    while step:
        following: list[Value] = list(current)
        for i in range(n):
            if i // step % 2:
                continue
            x, y = current[i], current[i + step]
            low = [j if j // step % 2 == 0 else n + j - step for j in range(n)]
            high = [j + step if j // step % 2 == 0 else n + j for j in range(n)]
            following[i], following[i + step] = b.shuffle(x, y, low), b.shuffle(x, y, high)
        current = following
        step //= 2
    return current


def picked(b: Kernel, vectors: Sequence[Value], places: Sequence[int], lanes: int) -> Value:
    """Elements at these places of a row of vectors, in one vector; places behind its end give anything."""
    found: Value | None = None
    sources = sorted({p // lanes for p in places if p // lanes < len(vectors)})
    for n in range(0, len(sources), 2):
        pair = sources[n : n + 2]
        first, second = vectors[pair[0]], vectors[pair[-1]]
        order = [
            p % lanes + lanes * pair.index(p // lanes) if p // lanes in pair else -1 for p in places
        ]
        part = b.shuffle(first, second, order)
        if found is None:
            found = part
            continue
        merged = [lanes + i if p // lanes in pair else i for i, p in enumerate(places)]
        found = b.shuffle(found, part, merged)
    assert found is not None  # noqa: S101 - the first place lies in the row
    return found
