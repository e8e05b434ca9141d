"""Products with few terms: one pass over the result, lanes along its columns."""

from __future__ import annotations

from rushlight.loops.arrays import Array
from rushlight.loops.builder import Value
from rushlight.loops.kernel import Plan
from rushlight.loops.nest import along, decompose
from rushlight.primitives.lowerings.products.problem import Product

#: Terms that are written out for each vector of the result.
MOST_TERMS = 4
#: Elements of the result that an item holds, about.
ITEM_ELEMENTS = 4096
#: Parts of a product that is added up along the way, at most; half as many where rows are longer than this, which are
#: then done so many columns at a time: what is added up should stay in the first cache.
MOST_PARTS, LONG_ROW = 16, 2048
#: Nanoseconds for an element of the result, and for each term of it.
ELEMENT_NS, TERM_NS = 0.15, 0.03


def suits(product: Product) -> bool:
    """Whether tiles would hold more of the result than they add up."""
    return product.terms <= MOST_TERMS and product.left.kind == product.kind


def pairs(gradient: Product, update: Product) -> bool:
    """Whether two products are a row times a matrix, and the outer product of that row by which the matrix changes."""
    return (
        suits(update)
        and update.terms == update.copies == 1
        and update.columns.right == 1 < update.columns.size
        and gradient.copies == gradient.rows.size == len(gradient.depth) == 1
        and not gradient.turned
        and gradient.kind == update.kind == gradient.left.kind == gradient.right.kind
        and gradient.columns.right == 1
        and (gradient.columns.size, gradient.terms) == (update.columns.size, update.rows.size)
        and gradient.left.memory is update.left.memory
        and gradient.left.offset == update.left.offset
        and gradient.depth[0].left == update.rows.left
    )


def write_pair(plan: Plan, update: Product, gradient: Product) -> Array:
    """The kernel of both; the parts of the gradient, which have to be added, as (part, *shape of the gradient)."""
    rows, columns = update.rows.size, update.columns.size
    many = -(-rows // (MOST_PARTS if columns <= LONG_ROW else MOST_PARTS // 2))
    parts = plan.scratch(update.left.dtype, (-(-rows // many), *gradient.sink.shape))
    write_outer(plan, update, (many, min(columns, LONG_ROW)), (gradient, parts))
    return parts


def write_outer(
    plan: Plan,
    product: Product,
    block: tuple[int, int] | None = None,
    through: tuple[Product, Array] | None = None,
) -> None:
    """The kernel. An item holds a `block` of so many rows and columns, or what seems good.

    `through` are a product of a row, the same as `left`, with a matrix which the sink writes over; and where the parts
    of that product go, one for each item.
    """
    kind = product.kind
    lanes = plan.target.lanes(kind)
    rows, columns = product.rows.size, product.columns.size
    many, wide_item = block or (max(1, min(rows, ITEM_ELEMENTS // max(columns, 1))), columns)
    groups, across = -(-rows // many), -(-columns // wide_item)
    places = [(0, 0)]
    for span in product.depth:
        places = [
            (left + i * span.left, right + i * span.right)
            for left, right in places
            for i in range(span.size)
        ]
    b = plan.kernel(
        "outer",
        product.copies * groups * across,
        many * (min(columns, wide_item) * (ELEMENT_NS + TERM_NS * len(places)) + 5),
        flops=product.flops,
        nbytes=product.nbytes,
    )

    def item(number: Value) -> None:
        sizes = [*(s.size for s in product.batch), groups, across]
        *place, group, strip = decompose(b, number, sizes)
        first = strip * wide_item
        end = b.const(columns)
        if across > 1:
            end = b.intrinsic("smin", first + wide_item, end)
        left_start, right_start = product.offsets(b, place)
        left, right = b.pointer(product.left), b.pointer(product.right)
        step = product.columns.right

        def add_part(
            row: Value, column: Value, wide: int, mask: Value | None, scalar: Value
        ) -> None:
            assert through is not None  # noqa: S101 - called then only
            other, parts = through
            place = row * other.depth[0].right + column
            value = b.load(b.pointer(other.right), place, kind, wide, mask=mask)
            base, at = b.pointer(parts), group * columns + column
            fresh = b.compare("eq", row, group * many)
            before = b.select(
                fresh, b.const(0, kind, wide), b.load(base, at, kind, wide, mask=mask)
            )
            b.store(b.multiply_add(b.splat(scalar, wide), value, before), base, at, mask=mask)

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
                if through is not None:
                    add_part(row, column, wide, mask, scalars[0])
                axis = product.lane_axis
                index = product.index(b, place, row, column)
                if axis is None:
                    one = total if wide == 1 else b.extract(total, 0)
                    product.sink.store(b, index, one)
                else:
                    product.sink.store(b, index, total, axis, mask)

            along(b, first, end, lanes, vector)

        low = group * many
        high = low + many
        if rows % many:
            high = b.intrinsic("smin", high, b.const(rows))
        b.loop(low, high, line, label="rows")

    b.over_items(item)
