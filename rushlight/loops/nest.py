"""`Nest`: the loops over one shape that several strided arrays share: order, merged dimensions, vector axis.

Dimensions are ordered as the memory of the leading array lies, and neighbours that lie without gaps in every array
become one. What is left of most programs is one long loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.loops.arrays import Array
from rushlight.loops.builder import BYTES, FLOATS, I1, I64, Value
from rushlight.loops.kernel import Kernel
from rushlight.loops.target import Target

#: Elements that one work item should hold, so that claiming it costs little beside doing it.
ITEM_ELEMENTS = 8192


class Nest:
    """Loops over `shape`; arrays are known by keys and have this shape (broadcast with strides 0)."""

    def __init__(
        self, shape: Sequence[int], arrays: dict[Any, Array], lead: Sequence[Any], reduced: Sequence[int] = ()
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
            if self.sizes and self.reduced[-1] == flag and all(
                strides[key][-1] == array.strides[d] * shape[d] for key, array in arrays.items()
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
        """The dimension whose neighbours lie side by side in most arrays: lanes go along it."""
        votes = [0.0] * len(self.sizes)
        for array in self.arrays.values():
            for d, (n, stride) in enumerate(zip(self.sizes, array.strides, strict=True)):
                if stride == 1:
                    votes[d] += min(n, 16)
                elif stride == 0:
                    votes[d] += 0.01
                else:
                    votes[d] -= 0.5
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
    b: Kernel, low: Value, high: Value, lanes: int, body: Callable[..., Any], carried: Sequence[Value] = (), most: int = 0
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
            values = b.loop(low, full, lambda i, *c: body(i, lanes, None, *c), values, lanes, label="x")
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
