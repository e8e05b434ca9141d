"""`Product`: a contraction as four kinds of loops, each with its steps through both operands.

    result[batch, row, column] = sum over depth of left[batch, row, depth] * right[batch, depth, column]

Registers hold neighbouring columns; elements of `left` are put into all lanes. Which operand is which follows from
the result: lanes are best along its axis of stride 1 (`plain`), but where that would mean packing the larger operand,
the two change places and tiles are turned before they are stored (`turned`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rushlight.core.shapes import size_of
from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BF16, F16, F32, Value
from rushlight.loops.kernel import Kernel
from rushlight.loops.nest import decompose


@dataclass(frozen=True)
class Span:
    """A loop: its trips, the step that each makes in both operands, and the axes of the result that it runs over.

    `axes` are (axis, size), outermost first: several where neighbours lie without gaps in the operands.
    """

    size: int
    left: int
    right: int
    axes: tuple[tuple[int, int], ...] = ()

    def swapped(self) -> Span:
        """The same with the operands' places exchanged."""
        return Span(self.size, self.right, self.left, self.axes)


@dataclass(frozen=True)
class Product:
    """A contraction, ready to be written as loops; see the module's head."""

    left: Array
    right: Array
    sink: Sink
    batch: tuple[Span, ...]
    rows: Span
    columns: Span
    depth: tuple[Span, ...]
    #: Whether the result's neighbours lie along rows, so that tiles must be turned.
    turned: bool = False

    @property
    def kind(self) -> str:
        """The element type in which sums are taken: float32 for the 16-bit types."""
        return F32 if self.left.kind in (F16, BF16) else self.left.kind

    @property
    def terms(self) -> int:
        """How many products one element of the result sums."""
        return size_of(k.size for k in self.depth)

    @property
    def copies(self) -> int:
        """How many matrices there are."""
        return size_of(s.size for s in self.batch)

    @property
    def flops(self) -> int:
        """Additions and multiplications of the whole."""
        return 2 * self.copies * self.rows.size * self.columns.size * self.terms

    @property
    def nbytes(self) -> int:
        """What must be moved at least: the elements of both operands, and what becomes of the result."""
        item = self.left.dtype.itemsize
        lefts = size_of(s.size for s in self.batch if s.left) * self.rows.size * self.terms
        rights = size_of(s.size for s in self.batch if s.right) * self.columns.size * self.terms
        return int(item * (lefts + rights) + self.sink.nbytes)

    def swapped(self) -> Product:
        """The transposed product: rows for columns, and left for right."""
        return replace(
            self,
            left=self.right,
            right=self.left,
            batch=tuple(s.swapped() for s in self.batch),
            rows=self.columns.swapped(),
            columns=self.rows.swapped(),
            depth=_merged([k.swapped() for k in self.depth]),
            turned=not self.turned,
        )

    @property
    def lane_axis(self) -> int | None:
        """The axis of the result along which values are stored; None where the result has but one there."""
        span = self.rows if self.turned else self.columns
        return span.axes[-1][0] if span.axes else None

    def index(self, b: Kernel, place: Sequence[Value], row: Value, column: Value) -> list[Value]:
        """The result's index of an element: `place` is the index along the batch."""
        index = [b.const(0)] * len(self.sink.shape)
        spans = [*self.batch, self.rows, self.columns]
        for span, at in zip(spans, [*place, row, column], strict=True):
            where = decompose(b, at, [n for _, n in span.axes]) if span.axes else []
            for (axis, _), value in zip(span.axes, where, strict=True):
                index[axis] = value
        return index

    def offsets(self, b: Kernel, place: Sequence[Value]) -> tuple[Value, Value]:
        """Where the matrices at an index along the batch begin in both operands."""
        left, right = b.const(0), b.const(0)
        for span, at in zip(self.batch, place, strict=True):
            left, right = left + at * span.left, right + at * span.right
        return left, right


def product_of(
    a: Array,
    b: Array,
    sink: Sink,
    axes_a: Sequence[int],
    axes_b: Sequence[int],
    batch_a: Sequence[int],
    batch_b: Sequence[int],
) -> Product:
    """The contraction as a `Product` whose columns run along the result's axis of stride 1, where it has one."""
    count = len(batch_a)
    free_a = [i for i in range(a.ndim) if i not in axes_a and i not in batch_a]
    free_b = [i for i in range(b.ndim) if i not in axes_b and i not in batch_b]
    batch = [
        Span(a.shape[i], a.strides[i], b.strides[j], ((axis, a.shape[i]),))
        for axis, (i, j) in enumerate(zip(batch_a, batch_b, strict=True))
    ]
    firsts = [
        Span(a.shape[i], a.strides[i], 0, ((axis, a.shape[i]),))
        for axis, i in enumerate(free_a, count)
    ]
    seconds = [
        Span(b.shape[j], 0, b.strides[j], ((axis, b.shape[j]),))
        for axis, j in enumerate(free_b, count + len(free_a))
    ]
    depth = [
        Span(a.shape[i], a.strides[i], b.strides[j]) for i, j in zip(axes_a, axes_b, strict=True)
    ]
    left, right, rows, columns = a, b, firsts, seconds
    if _lanes_along(firsts, seconds, sink):
        left, right = b, a
        rows, columns = [s.swapped() for s in seconds], [s.swapped() for s in firsts]
        batch, depth = [s.swapped() for s in batch], [s.swapped() for s in depth]
    columns = [s for s in columns if s.size != 1]
    lane = _lane(columns, sink)
    chains = _merged(rows)
    longest = max(chains, key=lambda s: s.size)
    others = [s for s in columns if s is not lane] + [s for s in chains if s is not longest]
    return Product(
        left, right, sink,
        tuple(s for s in _merged([*batch, *others]) if s.size != 1),
        longest, lane, _merged(depth),
    )  # fmt: skip


def _lanes_along(firsts: Sequence[Span], seconds: Sequence[Span], sink: Sink) -> bool:
    """Whether lanes should go along the first operand's axes of the result."""

    def side_by_side(spans: Sequence[Span]) -> bool:
        return any(s.size > 1 and sink.strides[s.axes[0][0]] == 1 for s in spans)

    many, few = size_of(s.size for s in firsts), size_of(s.size for s in seconds)
    if few < 4 <= many:
        return True
    if side_by_side(firsts) or side_by_side(seconds):
        return not side_by_side(seconds)
    return many > few


def _lane(spans: Sequence[Span], sink: Sink) -> Span:
    """The span, of those along one side of the result, whose elements lanes should hold."""
    if not spans:
        return Span(1, 0, 0)
    neighbours = [s for s in spans if sink.strides[s.axes[0][0]] == 1]
    return max(neighbours or spans, key=lambda s: s.size)


def _merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The loops, outermost first, with those made one that go on in both operands where the other ends."""
    found: list[Span] = []
    for span in sorted((s for s in spans if s.size != 1), key=lambda s: -max(s.left, s.right)):
        before = found[-1] if found else None
        if (
            before is not None
            and before.left == span.left * span.size
            and before.right == span.right * span.size
        ):
            found[-1] = Span(
                before.size * span.size, span.left, span.right, (*before.axes, *span.axes)
            )
        else:
            found.append(span)
    return tuple(found) or (Span(1, 0, 0),)
