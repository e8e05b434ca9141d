"""A product as register tiles over panels: cut as `Tiling` says, stored through the sink tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import Value
from rushlight.loops.kernel import Plan
from rushlight.loops.nest import decompose, transpose
from rushlight.primitives.lowerings.products.packing import (
    DTYPES,
    pack_left,
    pack_right,
    write_panel,
)
from rushlight.primitives.lowerings.products.problem import Product, Span
from rushlight.primitives.lowerings.products.tiling import DIRECT, LOCAL, Tiling
from rushlight.primitives.lowerings.tile import tile

Masks = Sequence["Value | None"]


class Blocked:
    """Writes the kernels of one product."""

    def __init__(self, plan: Plan, product: Product, tiling: Tiling) -> None:
        self.plan, self.product, self.tiling = plan, product, tiling
        self.lanes = tiling.lanes
        self.terms = product.terms
        self.panels = -(-product.columns.size // tiling.width)
        #: Rows that are finished together: a tile, or a square of lanes that is turned.
        self.block_rows = tiling.lanes if product.turned else tiling.rows
        self.blocks = -(-product.rows.size // self.block_rows)
        self.passes = max(1, -(-self.terms // tiling.terms))
        self.left: Array | None = None
        self.right: Array | None = None
        self.partial: Array | None = None

    def emit(self) -> None:
        """Packs what has to be packed, and writes the product's kernel."""
        product, tiling = self.product, self.tiling
        if tiling.right not in (DIRECT, LOCAL):
            self.right = pack_right(self.plan, product, tiling.width)
        if tiling.left != DIRECT:
            self.left = pack_left(self.plan, product, tiling.rows)
        tile_elements = self.block_rows * tiling.width
        if self.passes > 1:
            count = product.copies * self.panels * self.blocks
            self.partial = self.plan.scratch(DTYPES[product.kind], (count, tile_elements))
        groups = -(-self.blocks // tiling.blocks_in_item)
        panel_groups = -(-self.panels // tiling.panels_in_item)
        inside = tiling.blocks_in_item * tiling.panels_in_item * (self.block_rows // tiling.rows)
        b = self.b = self.plan.kernel(
            "product",
            product.copies * groups * panel_groups,
            tiling.tile_ns * inside,
            flops=product.flops,
            nbytes=product.nbytes,
        )
        #: Finished tiles wait here for their way out, where that is more than a store.
        self.buffer: Value | None = None
        if product.turned or not self._stores_at_once():
            self.buffer = b.scratch(product.kind, tile_elements)
        self.turned_buffer = b.scratch(product.kind, tile_elements) if product.turned else None
        self.panel_buffer = (
            b.scratch(product.kind, self.terms * tiling.width) if tiling.right == LOCAL else None
        )
        # Threads begin at both ends of the items, and each should stay in its own part of the largest array: in rows,
        # as the result lies in memory, or where `right` is far larger than that, in columns.
        outer, inner = groups, panel_groups
        across = product.columns.size > product.rows.size and self.terms > 3 * product.rows.size
        if across:
            outer, inner = inner, outer
        sizes = [*(s.size for s in product.batch), outer, inner]

        def item(number: Value) -> None:
            *place, first, second = decompose(b, number, sizes)
            self._item(place, *((second, first) if across else (first, second)))

        b.over_items(item)

    def _stores_at_once(self) -> bool:
        """Whether accumulators go straight to memory: nothing follows, and lanes lie side by side."""
        axis = self.product.lane_axis
        sink = self.product.sink
        return type(sink) is Sink and axis is not None and sink.strides[axis] == 1

    # -- one work item ---------------------------------------------------------------------------------------

    def _item(self, place: Sequence[Value], group: Value, panel_group: Value) -> None:
        b, tiling, product = self.b, self.tiling, self.product
        self.place = place
        self.left_start, self.right_start = product.offsets(b, self.place)
        self.first = group * tiling.blocks_in_item
        self.last = b.const(self.blocks)
        if self.blocks % tiling.blocks_in_item:
            self.last = b.intrinsic("smin", self.first + tiling.blocks_in_item, self.last)
        elif self.blocks != tiling.blocks_in_item:
            self.last = self.first + tiling.blocks_in_item
        low = panel_group * tiling.panels_in_item
        high = low + tiling.panels_in_item
        if self.panels % tiling.panels_in_item:
            high = b.intrinsic("smin", high, b.const(self.panels))
        elif self.panels == tiling.panels_in_item:
            high = b.const(self.panels)
        even = product.columns.size // tiling.width
        rest = product.columns.size - even * tiling.width

        def all_panels() -> None:
            if even:
                stop = high
                if rest:
                    stop = (
                        b.const(even)
                        if high.number is not None
                        else b.intrinsic("smin", high, b.const(even))
                    )
                b.loop(low, stop, lambda p: self._panel(p, tiling.width), label="panels")
            if rest:
                if high.number is not None:
                    self._panel(b.const(even), rest)
                else:
                    b.when(
                        b.compare("eq", high, b.const(self.panels)),
                        lambda: self._panel(b.const(even), rest),
                    )

        def one_row_of_tiles(block: Value) -> None:
            self.first, self.last = block, block + 1
            all_panels()

        def one_pass(number: Value) -> None:
            self.pass_number = number
            self.low_term = number * tiling.terms
            if tiling.along_rows:
                b.loop(self.first, self.last, one_row_of_tiles, label="along rows")
            else:
                all_panels()

        b.loop(0, self.passes, one_pass, label="pass")

    def _panel(self, panel: Value, width: int) -> None:
        """All blocks of the item against one panel, of which `width` columns count."""
        b, tiling, product, lanes = self.b, self.tiling, self.product, self.lanes
        vectors = -(-width // lanes)
        masks: list[Value | None] = [None] * vectors
        if width % lanes:
            masks[-1] = b.lane_mask(b.const(width % lanes), lanes)
        self.panel, self.width, self.vectors, self.masks = panel, width, vectors, masks
        if tiling.right == DIRECT:
            step = product.depth[0].right
            place = self.right_start + panel * (tiling.width * product.columns.right)
            base = b.pointer(product.right)
        elif tiling.right == LOCAL:
            assert self.panel_buffer is not None  # noqa: S101 - made with the kernel
            write_panel(
                b, product, self.right_start, panel, tiling.width, self.panel_buffer, b.const(0),
                (b.const(0), b.const(self.terms)),
            )  # fmt: skip
            step, place, base = tiling.width, b.const(0), self.panel_buffer
        else:
            assert self.right is not None  # noqa: S101 - packed before
            step = tiling.width
            matrix = self._matrix(lambda s: s.right)
            place = (matrix * self.panels + panel) * (self.terms * tiling.width)
            base = b.pointer(self.right)
        self.right_step = step
        self.right_base = b.address(base, place + self.low_term * step, product.kind)
        full, rest = divmod(product.rows.size, self.block_rows)
        if full:
            stop = self.last
            if rest:
                stop = (
                    b.const(full)
                    if self.last.number is not None
                    else b.intrinsic("smin", self.last, b.const(full))
                )
            b.loop(self.first, stop, lambda t: self._block(t, self.block_rows), label="rows")
        if rest:
            if self.last.number is not None:
                self._block(b.const(full), rest)
            else:
                b.when(
                    b.compare("eq", self.last, b.const(self.blocks)),
                    lambda: self._block(b.const(full), rest),
                )

    def _matrix(self, step: Callable[[Span], int]) -> Value:
        """The number, among the matrices of an operand, of the one that this item works on."""
        matrix = self.b.const(0)
        for span, at in zip(self.product.batch, self.place, strict=True):
            if step(span):
                matrix = matrix * span.size + at
        return matrix

    # -- one block ---------------------------------------------------------------------------------------------

    def _block(self, block: Value, rows: int) -> None:
        """`rows` rows against the panel: summed, and stored unless another pass follows."""
        b, tiling = self.b, self.tiling
        if not self.product.turned:
            totals = self._tile(block, block, b.const(0), rows)
            if self.partial is None:
                self._finish(block, rows, totals)
            else:
                self._leave(block, b.const(0), totals)
                self._after_last_pass(lambda: self._finish(block, rows, totals))
            return
        full, rest = divmod(rows, tiling.rows)
        many = self.block_rows // tiling.rows

        def part(i: Value, count: int) -> None:
            totals = self._tile(block * many + i, block, i, count)
            if self.partial is not None:
                self._leave(block, i, totals)
            assert self.buffer is not None  # noqa: S101 - turned tiles have one
            for m in range(count):
                for v in range(self.vectors):
                    b.store(
                        totals[m * self.vectors + v],
                        self.buffer,
                        i * (tiling.rows * tiling.width) + (m * tiling.width + v * self.lanes),
                    )

        if full:
            b.loop(0, full, lambda i: part(i, tiling.rows), label="tiles")
        if rest:
            part(b.const(full), rest)
        if self.partial is None:
            self._turn(block, rows)
        else:
            self._after_last_pass(lambda: self._turn(block, rows))

    def _after_last_pass(self, body: Callable[[], None]) -> None:
        self.b.when(self.b.compare("eq", self.pass_number, self.b.const(self.passes - 1)), body)

    def _tile(self, number: Value, block: Value, part: Value, rows: int) -> list[Value]:
        """The sums of one register tile: rows from `number * tiling.rows` on."""
        b, tiling, product, lanes = self.b, self.tiling, self.product, self.lanes
        if self.left is None:
            row_step, step = product.rows.left, product.depth[0].left
            base = b.pointer(product.left)
            place = self.left_start + number * (tiling.rows * row_step)
        else:
            row_step, step = 1, tiling.rows
            base = b.pointer(self.left)
            tiles = -(-product.rows.size // tiling.rows)
            matrix = self._matrix(lambda s: s.left)
            place = (matrix * tiles + number) * (self.terms * tiling.rows)
        left = b.address(base, place + self.low_term * step, product.kind)
        masks = None
        if tiling.right == DIRECT and any(m is not None for m in self.masks):
            masks = self.masks
        terms: Value | int = self.terms
        start: list[Value] | None = None
        if self.passes > 1:
            terms = b.intrinsic("smin", b.const(self.terms) - self.low_term, b.const(tiling.terms))
            start = self._begun(block, part, rows)
        return tile(
            b, product.kind, lanes, rows, self.vectors, left, row_step, self.right_base, lanes,
            [(terms, step, self.right_step)], start, masks, ahead=self._ahead(block),
        )  # fmt: skip

    def _ahead(self, block: Value) -> tuple[Value, int] | None:
        """The part of the next panel that this tile asks for; the last panel's comes from beyond, which is harmless."""
        tiling = self.tiling
        if self.right is None or tiling.panels_in_item == 1 or tiling.along_rows:
            return None
        size = self.terms * tiling.width
        share = -(-tiling.width // tiling.blocks_in_item)
        place = (block - self.first) * (tiling.terms * share) + size
        return self.b.address(self.right_base, place, self.product.kind), share

    # -- between passes ---------------------------------------------------------------------------------------

    def _partial_place(self, block: Value, part: Value) -> Value:
        assert self.partial is not None  # noqa: S101 - there are several passes
        matrix = self.b.const(0)
        for span, at in zip(self.product.batch, self.place, strict=True):
            matrix = matrix * span.size + at
        tile_number = (matrix * self.panels + self.panel) * self.blocks + block
        return tile_number * (self.block_rows * self.tiling.width) + part * (
            self.tiling.rows * self.tiling.width
        )

    def _begun(self, block: Value, part: Value, rows: int) -> list[Value]:
        """What earlier passes have summed."""
        b, kind = self.b, self.product.kind
        count = rows * self.vectors

        def load() -> list[Value]:
            assert self.partial is not None  # noqa: S101 - there are several passes
            base = b.pointer(self.partial)
            place = self._partial_place(block, part)
            return [b.load(base, place + i * self.lanes, kind, self.lanes) for i in range(count)]

        zeros = [b.const(0, kind, self.lanes)] * count
        return list(b.when(b.compare("ne", self.pass_number, b.const(0)), load, lambda: zeros))

    def _leave(self, block: Value, part: Value, totals: Sequence[Value]) -> None:
        b = self.b
        assert self.partial is not None  # noqa: S101 - there are several passes
        base = b.pointer(self.partial)
        place = self._partial_place(block, part)
        for i, total in enumerate(totals):
            b.store(total, base, place + i * self.lanes)

    # -- the way out --------------------------------------------------------------------------------------------

    def _finish(self, block: Value, rows: int, totals: Sequence[Value]) -> None:
        """Hands a tile's sums to the sink, lanes along columns."""
        b, tiling, product = self.b, self.tiling, self.product
        first = block * tiling.rows
        column = self.panel * tiling.width
        axis = product.lane_axis

        def put(row: Value, v: int, value: Value) -> None:
            index = product.index(b, self.place, row, column + v * self.lanes)
            if axis is None:
                product.sink.store(b, index, b.extract(value, 0))
            else:
                product.sink.store(b, index, value, axis, self.masks[v])

        if self.buffer is None:
            for m in range(rows):
                for v in range(self.vectors):
                    put(first + m, v, totals[m * self.vectors + v])
            return
        buffer = self.buffer
        for i, total in enumerate(totals):
            b.store(total, buffer, i * self.lanes)

        def line(m: Value) -> None:
            at = m * (self.vectors * self.lanes)
            for v in range(self.vectors):
                put(first + m, v, b.load(buffer, at + v * self.lanes, product.kind, self.lanes))

        b.loop(0, rows, line, label="store")

    def _turn(self, block: Value, rows: int) -> None:
        """Hands a block's sums to the sink, lanes along rows: squares are turned, then columns go out one by one."""
        b, tiling, product, lanes = self.b, self.tiling, self.product, self.lanes
        source, target = self.buffer, self.turned_buffer
        assert source is not None and target is not None  # noqa: S101 - made with the kernel
        kind, axis = product.kind, product.lane_axis
        zero = b.const(0, kind, lanes)

        def square(v: Value) -> None:
            lines = [
                b.load(source, v * lanes + m * tiling.width, kind, lanes) for m in range(rows)
            ] + [zero] * (lanes - rows)
            for j, line in enumerate(transpose(b, lines)):
                b.store(line, target, (v * lanes + j) * lanes)

        b.loop(0, self.vectors, square, label="turn")
        mask = None if rows == lanes else b.lane_mask(b.const(rows), lanes)
        first, column = block * lanes, self.panel * tiling.width

        def put(j: Value) -> None:
            value = b.load(target, j * lanes, kind, lanes)
            index = product.index(b, self.place, first, column + j)
            if axis is None:
                product.sink.store(b, index, b.extract(value, 0))
            else:
                product.sink.store(b, index, value, axis, mask)

        b.loop(0, self.width, put, label="store")
