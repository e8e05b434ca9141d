"""Panels: an operand's columns (or rows), `width` at a time, in the order in which tiles read them.

    panel[term][0 .. width)

Elements are converted to the kind of the sums on the way. What lies beyond the last column is never stored anywhere:
it may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable

from rushlight.loops.arrays import Array
from rushlight.loops.builder import BYTES, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import decompose, transpose
from rushlight.primitives.lowerings.products.problem import Product
from rushlight.primitives.lowerings.products.tiling import COPY_NS, GATHER_NS, TURN_NS

#: Terms that are copied for all panels together: so many streams are read at once.
SLICE = 8
#: Bytes of a row that are read at a time, at least.
PIECE_BYTES = 1024
#: Items of a packing kernel, about.
MOST_ITEMS = 16
#: NumPy's names of the kinds that sums are taken in.
DTYPES = {
    "float": "float32",
    "double": "float64",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
}


def pack_right(plan: Plan, product: Product, width: int, stem: str = "pack") -> Array:
    """A kernel that packs `product.right`: an array (matrices, panels, terms, width)."""
    own = [s for s in product.batch if s.right]
    copies = 1
    for span in own:
        copies *= span.size
    terms = product.terms
    panels = -(-product.columns.size // width)
    packed = plan.scratch(DTYPES[product.kind], (copies, panels, terms, width))
    along = product.columns.right == 1
    one = COPY_NS if along else TURN_NS if _is_turned(product) else GATHER_NS
    # Columns side by side: an item reads pieces of some rows, and puts them into several panels. Else one panel. Panels
    # come in order, as they do in the product: threads begin at its two ends, and find what they packed themselves.
    sweep = 1
    if along and len(product.depth) == 1:
        sweep = min(panels, max(-(-panels // 8), -(-PIECE_BYTES // (width * BYTES[product.kind]))))
    groups = -(-panels // sweep)
    step = terms
    if along and len(product.depth) == 1:
        step = SLICE
    elif len(product.depth) == 1:  # so that there are about as many items as can be shared
        lanes = plan.target.lanes(product.kind)
        wanted = max(1, min(MOST_ITEMS // (copies * panels), terms // 64))
        step = -(-terms // (wanted * lanes)) * lanes
    slices = -(-terms // step)
    items = copies * groups * slices
    b = plan.kernel(
        stem,
        items,
        copies * product.columns.size * terms * one / items + 10,
        nbytes=2 * copies * panels * terms * width * BYTES[product.kind],
    )

    def item(number: Value) -> None:
        *place, group, part = decompose(b, number, [*(s.size for s in own), groups, slices])
        source = b.const(0)
        at = b.const(0)
        for span, i in zip(own, place, strict=True):
            source = source + i * span.right
            at = at * span.size + i
        low = part * step
        high = b.const(terms)
        if slices > 1:
            high = low + step if terms % step == 0 else b.intrinsic("smin", low + step, high)

        def one_panel(panel: Value) -> None:
            start = (at * panels + panel) * (terms * width)
            write_panel(b, product, source, panel, width, b.pointer(packed), start, (low, high))

        if sweep == 1:
            one_panel(group)
            return
        first = group * sweep
        last = first + sweep
        if panels % sweep:
            last = b.intrinsic("smin", last, b.const(panels))
        b.loop(first, last, one_panel, label="panel")

    b.over_items(item)
    return packed


def pack_left(plan: Plan, product: Product, rows: int) -> Array:
    """A kernel that packs `product.left` for tiles of some rows: an array (matrices, tiles, terms, rows)."""
    return pack_right(plan, product.swapped(), rows, "pack_rows")


def _is_turned(product: Product) -> bool:
    """Whether terms, not columns, lie side by side."""
    return len(product.depth) == 1 and product.depth[0].right == 1


def write_panel(
    b: Kernel,
    product: Product,
    source: Value,
    panel: Value,
    width: int,
    target: Value,
    start: Value,
    terms: tuple[Value, Value],
) -> None:
    """Packs one panel to `target[start:]`; `source` is where the matrix begins in `right`."""
    lanes = b.lanes(product.kind)
    if product.columns.right == 1:
        _along(b, product, source, panel, width, target, start, terms, lanes)
    elif _is_turned(product) and lanes > 1:
        _across(b, product, source, panel, width, target, start, terms, lanes)
    else:
        _gathered(b, product, source, panel, width, target, start, terms, lanes)


def _store(
    b: Kernel, product: Product, value: Value, target: Value, place: Value, valid: int
) -> None:
    """Stores the first `valid` lanes, converted."""
    value = b.convert(value, product.kind, product.right.signed)
    mask = None if valid == value.lanes else b.lane_mask(b.const(valid), value.lanes)
    b.store(value, target, place, mask=mask)


def _along(
    b: Kernel, product: Product, source: Value, panel: Value, width: int, target: Value, start: Value,
    terms: tuple[Value, Value], lanes: int,
) -> None:  # fmt: skip
    """Columns lie side by side: rows of the panel are copied."""
    base = b.pointer(product.right)
    count = product.columns.size
    column = panel * width
    pieces = [(v, min(lanes, width - v)) for v in range(0, width, lanes)]
    masks: list[Value | None] = []
    for v, valid in pieces:
        if count % width == 0 and valid == lanes:
            masks.append(None)
        else:
            room = b.const(count) - (column + v)
            masks.append(b.lane_mask(b.intrinsic("smin", room, b.const(valid)), lanes))

    def row(place: Value, term: Value) -> None:
        for (v, valid), mask in zip(pieces, masks, strict=True):
            value = b.load(base, place + column + v, product.right.kind, lanes, mask=mask)
            _store(b, product, value, target, start + term * width + v, valid)

    _each_term(b, product, source, terms, row)


def _each_term(
    b: Kernel,
    product: Product,
    source: Value,
    terms: tuple[Value, Value],
    body: Callable[[Value, Value], None],
) -> None:
    """`body(place in right, number of the term)` for each term."""
    depth = product.depth
    if len(depth) == 1:
        b.loop(*terms, lambda k: body(source + k * depth[0].right, k), label="term")
        return

    def nest(level: int, place: Value, term: Value) -> None:
        if level == len(depth):
            body(place, term)
            return
        span = depth[level]
        b.loop(
            0,
            span.size,
            lambda i: nest(level + 1, place + i * span.right, term * span.size + i),
            label=f"term{level}",
        )

    nest(0, source, b.const(0))


def _across(
    b: Kernel, product: Product, source: Value, panel: Value, width: int, target: Value, start: Value,
    terms: tuple[Value, Value], lanes: int,
) -> None:  # fmt: skip
    """Terms lie side by side: squares of lanes are turned."""
    base = b.pointer(product.right)
    count, step = product.columns.size, product.columns.right
    kind = product.right.kind
    zero = b.const(0, kind, lanes)
    low, high = terms
    rest = product.terms % lanes
    whole = b.const(product.terms - rest)
    known = low.number is not None and high.number is not None
    full = whole if known else b.intrinsic("smin", high, whole)

    def strip(v: Value, valid: int) -> None:
        """Columns `v` to `v + valid` of the panel, for all terms."""

        def square(term: Value, many: int, mask: Value | None) -> None:
            rows = []
            for j in range(valid):
                column = panel * width + (v + j)
                if count % width:
                    column = b.intrinsic("smin", column, b.const(count - 1))
                place = source + column * step + term
                rows.append(b.load(base, place, kind, lanes, mask=mask))
            turned = transpose(b, rows + [zero] * (lanes - valid))
            for k in range(many):
                _store(b, product, turned[k], target, start + (term + k) * width + v, valid)

        b.loop(low, full, lambda k: square(k, lanes, None), step=lanes, label="terms")
        if rest:
            mask = b.lane_mask(b.const(rest), lanes)
            if known:
                square(whole, rest, mask)
            else:
                last = b.compare("eq", high, b.const(product.terms))
                b.when(last, lambda: square(whole, rest, mask))

    even = width // lanes * lanes
    b.loop(0, even, lambda v: strip(v, lanes), step=lanes, label="strip")
    if even < width:
        strip(b.const(even), width - even)


def _gathered(
    b: Kernel, product: Product, source: Value, panel: Value, width: int, target: Value, start: Value,
    terms: tuple[Value, Value], lanes: int,
) -> None:  # fmt: skip
    """Elements lie anywhere."""
    base = b.pointer(product.right)
    count, step = product.columns.size, product.columns.right

    def row(place: Value, term: Value) -> None:
        def one(v: Value) -> None:
            column = panel * width + v
            if count % width:
                column = b.intrinsic("smin", column, b.const(count - 1))
            value = b.load(base, place + column * step, product.right.kind)
            value = b.convert(value, product.kind, product.right.signed)
            b.store(value, target, start + term * width + v)

        b.loop(0, width, one, label="column")

    _each_term(b, product, source, terms, row)
