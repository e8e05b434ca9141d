"""Products with few rows whose operands both lie along the terms: every element of `right` is read once, in order.

An item takes as many columns as a vector has lanes, some at a time: a vector of terms of each column is multiplied
with one of each row. The lanes' sums become the lanes of one vector at the end, so that results leave as vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

from rushlight.loops.builder import BYTES, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import along, decompose
from rushlight.primitives.lowerings.products.problem import Product

#: Rows that are worth it: with more, turning `right` while it is packed is cheaper.
MOST_ROWS = 8
#: Nanoseconds for a byte of the larger operand.
BYTE_NS = 0.03


def suits(product: Product, lanes: int) -> bool:
    """Whether the product can and should be done so."""
    depth = product.depth
    return (
        not product.turned
        and product.rows.size <= MOST_ROWS
        and len(depth) == 1
        and depth[0].left == depth[0].right == 1
        and depth[0].size >= lanes
        and product.left.kind == product.kind
        and lanes > 1
    )


def lane_sums(b: Kernel, vectors: Sequence[Value]) -> Value:
    """The sum of the lanes of each of as many vectors as there are lanes, side by side: a fixed tree."""
    current = list(vectors)
    n = len(current)
    step = n // 2
    while step:
        following = []
        for i in range(step):
            x, y = current[i], current[i + step]
            low = [j if j // step % 2 == 0 else n + j - step for j in range(n)]
            high = [j + step if j // step % 2 == 0 else n + j for j in range(n)]
            following.append(b.shuffle(x, y, low) + b.shuffle(x, y, high))
        current = following
        step //= 2
    return current[0]


def write_dots(plan: Plan, product: Product) -> None:
    """The kernel."""
    kind = product.kind
    lanes = plan.target.lanes(kind)
    rows, columns, terms = product.rows.size, product.columns.size, product.terms
    room = plan.target.registers - 4
    together = lanes
    while together > 1 and (together * rows + rows > room or together >= 2 * columns):
        together //= 2
    #: Sums that run side by side, so that one multiply-add need not wait for the one before.
    chains = 1
    while together * rows * chains < 8 and terms >= 4 * lanes * chains:
        chains *= 2
    groups = -(-columns // lanes)
    item_bytes = BYTES[kind]
    b = plan.kernel(
        "dots",
        product.copies * groups,
        min(lanes, columns) * terms * (item_bytes * BYTE_NS + rows * 0.012) + 30,
        flops=product.flops,
        nbytes=product.nbytes,
    )
    buffer = b.scratch(kind, rows * lanes * lanes)
    zero = b.const(0, kind, lanes)

    def item(number: Value) -> None:
        *place, group = decompose(b, number, [*(s.size for s in product.batch), groups])
        left_start, right_start = product.offsets(b, place)
        left, right = b.pointer(product.left), b.pointer(product.right)
        first = group * lanes
        count = b.const(min(lanes, columns))
        if columns > lanes and columns % lanes:
            count = b.intrinsic("smin", b.const(columns) - first, count)
        if columns % lanes:
            b.loop(0, rows * lanes, lambda i: b.store(zero, buffer, i * lanes), label="clear")

        def some(at: Value) -> None:
            starts = []
            for t in range(together):
                column = first + at + t
                if columns % together:
                    column = b.intrinsic("smin", column, b.const(columns - 1))
                starts.append(right_start + column * product.columns.right)

            def step(term: Value, wide: int, mask: Value | None, *totals: Value) -> list[Value]:
                new = list(totals)
                for c in range(chains if wide == lanes * chains else 1):
                    place = term + c * lanes
                    lefts = [
                        b.load(left, left_start + place + m * product.rows.left, kind, lanes, mask)
                        for m in range(rows)
                    ]
                    for t in range(together):
                        value = b.load(right, starts[t] + place, kind, lanes, mask)
                        for m in range(rows):
                            i = (c * together + t) * rows + m
                            new[i] = b.multiply_add(lefts[m], value, new[i])
                return new

            totals: Sequence[Value] = [zero] * (chains * together * rows)
            wide = lanes * chains
            whole = terms // wide * wide
            if chains > 1:
                totals = b.loop(
                    0, whole, lambda k, *t: step(k, wide, None, *t), totals, wide, label="terms"
                )
            else:
                whole = 0
            totals = along(
                b,
                b.const(whole),
                b.const(terms),
                lanes,
                lambda k, w, mask, *t: step(k, 0, mask, *t),
                totals,
            )
            for t in range(together):
                for m in range(rows):
                    parts = [totals[(c * together + t) * rows + m] for c in range(chains)]
                    while len(parts) > 1:
                        half = len(parts) // 2
                        parts = [parts[i] + parts[i + half] for i in range(half)]
                    b.store(parts[0], buffer, (at + (m * lanes + t)) * lanes)

        b.loop(0, count, some, step=together, label="columns")

        def out(m: Value) -> None:
            at = m * (lanes * lanes)
            sums = lane_sums(b, [b.load(buffer, at + j * lanes, kind, lanes) for j in range(lanes)])
            index = product.index(b, place, m, first)
            axis = product.lane_axis
            if axis is None:
                product.sink.store(b, index, b.extract(sums, 0))
                return
            mask = None if columns % lanes == 0 else b.lane_mask(count, lanes)
            product.sink.store(b, index, sums, axis, mask)

        b.loop(0, rows, out, label="store")

    b.over_items(item)
