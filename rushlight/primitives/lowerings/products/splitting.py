"""Long sums of small results: parts of the depth are products of their own, added in a fixed order afterwards."""

from __future__ import annotations

from dataclasses import replace

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BYTES, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import shared_axis, spread
from rushlight.primitives.lowerings.products.packing import DTYPES
from rushlight.primitives.lowerings.products.problem import Product, Span

#: A part has this many terms at least, and this much work (in nanoseconds, about).
PART_TERMS, PART_NS = 256, 4000.0
#: Parts are made until there is so much that can be done at once.
MOST_PARTS = 16
#: Few rows read `right` but once: so many of its rows at a time, from end to end, if all of them are more than this.
STRIP_TERMS, STRIP_BYTES = 64, 256 * 1024
#: Strips are made where rows are so long, and as many at least where they have as many terms each: threads then read
#: the rows that they have written when these were updated, and not half of each row.
STRIP_ROW, LEAST_STRIPS = 1024, 8


def parts_of(product: Product, pieces: int, total_ns: float) -> int:
    """Into how many parts the sum is cut; `pieces` is how much of the product can be done at once without."""
    if len(product.depth) != 1 or pieces >= 8 or product.terms < 2 * PART_TERMS:
        return 1
    return max(1, min(MOST_PARTS // pieces, product.terms // PART_TERMS, int(total_ns // PART_NS)))


def strips_of(product: Product) -> int:
    """Into how many parts the sum is cut so that `right`, read once in place, is read in the order of its memory."""
    if len(product.depth) != 1 or product.columns.right != 1:
        return 1
    step = product.depth[0].right * BYTES[product.kind]
    if step < STRIP_ROW or step * product.terms < STRIP_BYTES or product.copies > 1:
        return 1
    terms = product.terms
    wanted = max(terms // STRIP_TERMS, min(LEAST_STRIPS, terms // LEAST_STRIPS), 1)
    return min(
        range(-(-wanted // 2), 2 * wanted), key=lambda n: (terms % n != 0, abs(n - wanted))
    )  # of equal length, if that can be


def split(plan: Plan, product: Product, parts: int) -> tuple[list[Product], Array]:
    """The products of the parts, and the scratch memory where they lie: (part, *result's shape)."""
    (depth,) = product.depth
    each = depth.size // parts
    rest = depth.size - parts * each
    shape = product.sink.shape
    partial = plan.scratch(DTYPES[product.kind], (parts + (rest > 0), *shape))
    strides = partial.strides[1:]
    first = Span(parts, depth.left * each, depth.right * each, ((0, parts),))

    def moved(span: Span) -> Span:
        return replace(span, axes=tuple((axis + 1, n) for axis, n in span.axes))

    main = replace(
        product,
        sink=Sink(partial),
        batch=(first, *map(moved, product.batch)),
        rows=moved(product.rows),
        columns=moved(product.columns),
        depth=(Span(each, depth.left, depth.right),),
    )
    if not rest:
        return [main], partial
    start = parts * each
    last = replace(
        product,
        left=product.left.look(product.left.shape, product.left.strides, start * depth.left),
        right=product.right.look(product.right.shape, product.right.strides, start * depth.right),
        sink=Sink(partial.look(shape, strides, parts * partial.strides[0])),
        depth=(Span(rest, depth.left, depth.right),),
    )
    return [main, last], partial


def write_sum(plan: Plan, product: Product, partial: Array) -> None:
    """The kernel that adds the parts, in order."""
    sink = product.sink
    parts = partial.shape[0]
    shape = sink.shape or (1,)
    axis = shared_axis([sink.array.look(shape, sink.strides or (1,))])
    axis = axis if axis is not None else len(shape) - 1
    lanes = plan.target.lanes(product.kind)

    def add(b: Kernel, index: list[Value], wide: int, mask: Value | None) -> None:
        place = index if sink.shape else []
        along = axis + 1 if place else None

        def more(part: Value, total: Value) -> Value:
            return total + partial.load(b, [part, *place], along, wide, mask)

        first = partial.load(b, [b.const(0), *place], along, wide, mask)
        (total,) = b.loop(1, parts, more, [first], label="part")
        if place:
            sink.store(b, place, total, axis, mask)
        else:
            sink.store(b, [], total)

    spread(
        plan, "sum_parts", shape, axis, lanes if sink.shape else 1, 2.0 + parts, add,
        nbytes=(parts + 1) * partial.size // max(parts, 1) * partial.dtype.itemsize,
    )  # fmt: skip
