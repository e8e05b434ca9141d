"""Products with few terms: one pass over the result, lanes along its columns."""

from __future__ import annotations

from rushlight.loops.builder import BYTES, Value
from rushlight.loops.kernel import Plan
from rushlight.loops.nest import along, decompose
from rushlight.primitives.lowerings.products.problem import Product

#: Terms that are written out for each vector of the result.
MOST_TERMS = 4
#: Elements of the result that an item holds, about.
ITEM_ELEMENTS = 4096
#: Nanoseconds for an element of the result, and for each term of it.
ELEMENT_NS, TERM_NS = 0.15, 0.03


def suits(product: Product) -> bool:
    """Whether tiles would hold more of the result than they add up."""
    return product.terms <= MOST_TERMS and product.left.kind == product.kind


def write_outer(plan: Plan, product: Product) -> None:
    """The kernel."""
    kind = product.kind
    lanes = plan.target.lanes(kind)
    rows, columns = product.rows.size, product.columns.size
    many = max(1, min(rows, ITEM_ELEMENTS // max(columns, 1)))
    groups = -(-rows // many)
    places = [(0, 0)]
    for span in product.depth:
        places = [
            (left + i * span.left, right + i * span.right)
            for left, right in places
            for i in range(span.size)
        ]
    b = plan.kernel(
        "outer",
        product.copies * groups,
        many * (columns * (ELEMENT_NS + TERM_NS * len(places)) + 5),
        flops=product.flops,
        nbytes=product.nbytes,
    )

    def item(number: Value) -> None:
        *place, group = decompose(b, number, [*(s.size for s in product.batch), groups])
        left_start, right_start = product.offsets(b, place)
        left, right = b.pointer(product.left), b.pointer(product.right)
        step = product.columns.right

        def line(row: Value) -> None:
            at = left_start + row * product.rows.left
            scalars = [b.load(left, at + k, kind) for k, _ in places]

            def vector(column: Value, wide: int, mask: Value | None) -> None:
                total = b.const(0, kind, wide)
                for n, (scalar, (_, k)) in enumerate(zip(scalars, places, strict=True)):
                    start = right_start + column * step + k
                    if step == 1 or wide == 1:
                        value = b.load(right, start, kind, wide, mask=mask)
                    elif step == 0:
                        value = b.splat(b.load(right, start, kind), wide)
                    else:
                        offsets = b.splat(start, wide) + b.lane_numbers(wide) * step
                        if mask is not None:
                            offsets = b.select(mask, offsets, b.splat(start, wide))
                        value = b.gather(right, offsets, kind)
                    total = scalar * value if n == 0 else b.multiply_add(scalar, value, total)
                axis = product.lane_axis
                index = product.index(b, place, row, column)
                if axis is None:
                    one = total if wide == 1 else b.extract(total, 0)
                    product.sink.store(b, index, one)
                else:
                    product.sink.store(b, index, total, axis, mask)

            along(b, b.const(0), b.const(columns), lanes, vector)

        low = group * many
        high = low + many
        if rows % many:
            high = b.intrinsic("smin", high, b.const(rows))
        b.loop(low, high, line, label="rows")

    b.over_items(item)


__all__ = ["BYTES", "suits", "write_outer"]
