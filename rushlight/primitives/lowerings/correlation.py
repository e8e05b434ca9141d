"""What all convolution kernels share: how results, taps and sources lie along one dimension of the pictures.

A convolution, each phase of its gradient with respect to the input, and the gradient with respect to the weight sum
over the same triples of places:

    source = origin + result * move + tap * step

Results and taps are counted from 0; the triple counts if the source lies inside of the picture. Kernels leave out the
others instead of reading a border of zeros: nothing is padded, and no arithmetic is spent on zeros.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rushlight.loops.builder import F32, F64, Value
from rushlight.loops.kernel import Kernel

Sizes = tuple[int, ...]
#: Nanoseconds of a floating point operation in a tile, about.
FLOP_NS = {F32: 0.006, F64: 0.012}


@dataclass(frozen=True)
class Axis:
    """One dimension: how many results, taps and source places there are, and how they are tied."""

    results: int
    taps: int
    size: int
    move: int
    step: int
    origin: int

    def source(self, result: int, tap: int) -> int:
        """The place that a tap of a result reads; it may lie outside."""
        return self.origin + result * self.move + tap * self.step

    def inside(self, result: int, tap: int) -> bool:
        """Whether a tap of a result reads a place of the picture."""
        return 0 <= self.source(result, tap) < self.size

    def first(self, results: int) -> Axis:
        """The axis with fewer results."""
        return dataclasses.replace(self, results=results)

    @property
    def clipped(self) -> bool:
        """Whether some tap of some result reads outside."""
        corners = ((r, t) for r in (0, self.results - 1) for t in (0, self.taps - 1))
        return not all(self.inside(r, t) for r, t in corners)

    def results_of(self, tap: int) -> tuple[int, int]:
        """The range of results whose `tap` lies inside."""
        low = min(self.results, max(0, -(-(-self.origin - tap * self.step) // self.move)))
        high = (self.size - 1 - self.origin - tap * self.step) // self.move + 1
        return low, max(low, min(self.results, high))

    @property
    def pairs(self) -> int:
        """How many taps of all results lie inside: what has to be multiplied."""
        return sum(high - low for low, high in map(self.results_of, range(self.taps)))

    def whole(self) -> tuple[int, int]:
        """The range of results all of whose taps lie inside."""
        ranges = [self.results_of(t) for t in (0, self.taps - 1)]
        low, high = max(a for a, _ in ranges), min(z for _, z in ranges)
        return low, max(low, high)

    # -- in kernels ------------------------------------------------------------------------------------------

    def taps_of(self, b: Kernel, result: Value) -> tuple[Value, Value]:
        """The range of taps that lie inside, for a result that is known when the kernel runs."""
        if not self.clipped:
            return b.const(0), b.const(self.taps)
        first = result * self.move + self.origin
        if self.step > 0:
            low = _steps(b, 0 - first, self.step)
            high = _steps(b, b.const(self.size) - first, self.step)
        else:
            low = _steps(b, first - (self.size - 1), -self.step)
            high = _steps(b, first + 1, -self.step)
        taps = b.const(self.taps)
        return b.intrinsic("smin", low, taps), b.intrinsic("smin", high, taps)

    def results_at(self, b: Kernel, tap: Value) -> tuple[Value, Value]:
        """The range of results for which a tap, known when the kernel runs, lies inside."""
        if not self.clipped:
            return b.const(0), b.const(self.results)
        first = tap * self.step + self.origin
        low = _steps(b, 0 - first, self.move)
        high = _steps(b, b.const(self.size) - first, self.move)
        results = b.const(self.results)
        return b.intrinsic("smin", low, results), b.intrinsic("smin", high, results)


def _steps(b: Kernel, distance: Value, step: int) -> Value:
    """How many steps cover a distance; none if it is negative."""
    positive = b.intrinsic("smax", distance, b.const(0))
    if step == 1:
        return positive
    return b.binary("udiv", positive + (step - 1), b.const(step))


def forward_axes(
    size: Sizes, results: Sizes, kernel: Sizes, stride: Sizes, before: Sizes, dilation: Sizes
) -> list[Axis]:
    """The axes of a convolution, and of its gradient with respect to the weight."""
    return [
        Axis(r, k, n, s, d, -b)
        for n, r, k, s, b, d in zip(size, results, kernel, stride, before, dilation, strict=True)
    ]


@dataclass(frozen=True)
class Phase:
    """The results along one dimension that share their taps, in the gradient with respect to the input.

    Results are `first + i * every`; taps are `tap + j * tap_every` of the kernel.
    """

    axis: Axis
    first: int
    every: int
    tap: int
    tap_every: int


def gradient_phases(
    size: int, grads: int, kernel: int, stride: int, before: int, dilation: int
) -> list[Phase]:
    """The phases of one dimension: pixels of the input that the same taps of the kernel reach.

    Pixel i is reached by tap t from the gradient at (i + before - t * dilation) / stride, if that is whole.
    """
    common = math.gcd(stride, dilation)
    every = stride // common
    phases = []
    for first in range(min(stride, size)):
        pixels = -(-(size - first) // stride)
        start = next(
            (t for t in range(every) if (first + before - t * dilation) % stride == 0), None
        )
        taps = 0 if start is None else len(range(start, kernel, every))
        tap = start or 0
        origin = (first + before - tap * dilation) // stride
        axis = Axis(pixels, taps, grads, 1, -(dilation // common), origin)
        phases.append(Phase(axis, first, stride, tap, every))
    return phases


def phases_of(
    size: Sizes, grads: Sizes, kernel: Sizes, stride: Sizes, before: Sizes, dilation: Sizes
) -> Iterator[tuple[Phase, ...]]:
    """The phases of all dimensions, combined."""
    each = [
        gradient_phases(*values)
        for values in zip(size, grads, kernel, stride, before, dilation, strict=True)
    ]
    return itertools.product(*each)


def segments(
    axis: Axis, width: int
) -> Iterator[tuple[int, int, int, list[tuple[int, int]] | None]]:
    """Cuts the results of an axis into tiles: (first, count, how many such tiles follow each other, results by tap).

    The last says, for each tap, which results of the tile it serves; None: all.
    """
    low, high = axis.whole()
    run: list[Any] | None = None
    for first in range(0, axis.results, width):
        count = min(width, axis.results - first)
        if low <= first and first + count <= high:
            if run is not None and run[1] == count:
                run[2] += 1
                continue
            if run is not None:
                yield run[0], run[1], run[2], None
            run = [first, count, 1]
            continue
        if run is not None:
            yield run[0], run[1], run[2], None
            run = None
        served = []
        for tap in range(axis.taps):
            a, z = axis.results_of(tap)
            a, z = max(a, first), min(z, first + count)
            served.append((a - first, max(a, z) - first))
        yield first, count, 1, served
    if run is not None:
        yield run[0], run[1], run[2], None


def nest(
    b: Kernel, sizes: Sequence[int], body: Callable[[list[Value]], Any], label: str = "y"
) -> None:
    """Loops over an index of these sizes."""

    def step(depth: int, index: list[Value]) -> None:
        if depth == len(sizes):
            body(index)
            return

        def inside(i: Value) -> None:
            step(depth + 1, [*index, i])

        b.loop(0, sizes[depth], inside, label=f"{label}{depth}")

    step(0, [])


def dot(b: Kernel, index: Sequence[Any], strides: Sequence[int]) -> Value:
    """The offset of an index."""
    total = b.const(0)
    for i, s in zip(index, strides, strict=True):
        total = total + b.index(i) * s
    return total


def product_of(numbers: Sequence[int]) -> int:
    """The product, 1 of none."""
    return math.prod(numbers)
