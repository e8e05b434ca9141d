"""How a blocked product is cut: register tiles, panels, cache blocks, work items. From shapes and strides alone.

A tile is `rows` by `vectors` accumulators. It sums over the whole depth, so that a result is stored once and whatever
follows is computed on it in registers; only depths whose panel of `right` would not stay in the second cache are
taken in parts. Panels are read from the first cache if they fit there, else from the second: a tile of 8 x 3 vectors
takes 12 cycles a term and reads 224 bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rushlight.loops.arrays import Array
from rushlight.loops.builder import BYTES
from rushlight.loops.target import Target
from rushlight.primitives.lowerings.products.problem import Product, Span

#: Nanoseconds of a cycle, about.
CYCLE_NS = 0.37
#: Cycles around a tile's loop: addresses, the mispredicted end, the results' way out.
AROUND_TILE = 40.0
#: Nanoseconds for an element that is packed: along memory, across it, from anywhere.
COPY_NS, TURN_NS, GATHER_NS = 0.2, 0.3, 0.8
#: Nanoseconds for an element of a tile that is turned before it is stored.
TURNED_NS = 0.5
#: Work items are this long if the product is; then at most so many that claiming them costs nothing.
ITEM_NS, MOST_ITEMS = 4000.0, 64
#: From so many tiles in a column on a panel is always packed; so many terms of `left` may lie anywhere.
MANY_TILES, MANY_TERMS = 24, 256
#: Bytes of a row that an item goes along where memory is the limit.
STREAM = 2048
#: Bytes of a cache's line.
LINE = 64
#: What a call may keep on its stack, in bytes.
STACK = 64 * 1024
#: Where an operand is read from.
DIRECT, SHARED, LOCAL = "direct", "shared", "local"


@dataclass(frozen=True)
class Tiling:
    """The cut of one product; see the module's head."""

    rows: int
    vectors: int
    lanes: int
    #: DIRECT: in place. SHARED: packed by a kernel before. LOCAL (`right` only): packed by each item for itself.
    left: str
    right: str
    #: Terms that one pass over a panel sums.
    terms: int
    #: Tiles (when turned: squares of lanes) and panels that one work item holds.
    blocks_in_item: int
    panels_in_item: int
    #: Whether an item goes along its rows, panel after panel, rather than down its panels.
    along_rows: bool
    #: Estimates: of one tile's loop, and of everything, on one core.
    tile_ns: float
    total_ns: float

    @property
    def width(self) -> int:
        """The columns of a panel."""
        return self.vectors * self.lanes


def term_cycles(rows: int, vectors: int, target: Target) -> float:
    """The cycles that a tile takes for each term: two multiply-adds and two loads a cycle, four cycles apart."""
    arithmetic = rows * vectors / 2 if target.fma else rows * vectors
    loads = rows + vectors
    return max(arithmetic, loads / 2, 4.0) + 0.05 * loads


def most_rows(vectors: int, target: Target) -> int:
    """The rows of a tile whose accumulators and operands fit the registers."""
    spare = 1 if target.fma else 2
    return max(1, (target.registers - vectors - spare) // vectors)


def choose_tiling(product: Product, target: Target) -> Tiling:
    """The tiling with the least estimated time."""
    lanes = target.lanes(product.kind)
    item = BYTES[product.kind]
    terms = max(product.terms, 1)
    count = product.rows.size
    vectors_needed = -(-product.columns.size // lanes)
    best: tuple[float, int, int] | None = None
    for vectors in range(1, min(vectors_needed, 8) + 1):
        most = most_rows(vectors, target)
        if product.turned:  # squares of lanes are turned, in tiles that divide them
            heights = [r for r in range(min(most, lanes), 0, -1) if lanes % r == 0]
        else:
            heights = list(range(min(most, count), (min(most, count) - 1) // 2, -1))
        for rows in heights:
            cost = _cycles(rows, vectors, vectors_needed, count, terms, target)
            if best is None or cost < best[0] * 0.999:
                best = (cost, rows, vectors)
    assert best is not None  # noqa: S101 - one row by one vector is always tried
    cycles, rows, vectors = best
    width = vectors * lanes
    panels = -(-product.columns.size // width)
    block = lanes if product.turned else rows
    blocks = -(-count // block)
    tiles = blocks * (block // rows)
    tile_ns = term_cycles(rows, vectors, target) * CYCLE_NS * terms + AROUND_TILE * CYCLE_NS
    compute = product.copies * cycles * CYCLE_NS
    left = _left_source(product, panels, target)
    block_ns = tile_ns * (block // rows)
    right, right_ns = _right_source(product, width, tiles, compute, target)
    left_ns = 0.0
    if left == SHARED:
        left_ns = _pack_ns(product.left, product.rows.left, product.depth, True) * (
            product.rows.size * terms * _distinct(product.batch, True)
        )
    turned_ns = TURNED_NS if product.turned else 0.0
    stored = product.copies * count * product.columns.size * turned_ns
    deepest = max(64, target.second_cache // 4 // (width * item))
    passes = -(-terms // deepest)
    part = -(-terms // passes)
    if right == LOCAL:
        in_blocks, in_panels = blocks, panels
    else:
        in_blocks, in_panels = _item(compute, block_ns, blocks, panels, part * block * item, target)
    along_rows = False
    if right != LOCAL and passes == 1 and not product.turned and _streams(product, target):
        along = min(panels, -(-STREAM // (width * item)))
        if goes_along_rows(terms, along * width * item, target):
            along_rows, in_panels = True, -(-panels // -(-panels // along))
    return Tiling(
        rows, vectors, lanes, left, right, part, in_blocks, in_panels, along_rows, tile_ns,
        compute + left_ns + right_ns + stored,
    )  # fmt: skip


def goes_along_rows(terms: int, piece: int, target: Target) -> bool:
    """Whether panels that make a piece of a row (in bytes) stay in the second cache together."""
    return piece * terms <= target.second_cache // 4


def _streams(product: Product, target: Target) -> bool:
    """Whether the sink reads arrays as large as the result that are in no cache.

    They are best gone through as they lie in memory, in long pieces: down a panel each row is another page.
    """
    axis = product.lane_axis
    far = [
        a for a in product.sink.reads() if 0 not in a.strides and a.size == product.sink.array.size
    ]
    many = sum(a.size * a.dtype.itemsize for a in far) > target.second_cache // 2
    return many and axis is not None and all(a.strides[axis] == 1 for a in far)


def _cycles(
    rows: int, vectors: int, vectors_needed: int, count: int, terms: int, target: Target
) -> float:
    """Of one matrix product in tiles of this size, those at the borders being smaller."""

    def panel(wide: int) -> float:
        full, rest = divmod(count, rows)
        cycles = full * (term_cycles(rows, wide, target) * terms + AROUND_TILE + rows * wide)
        if rest:
            cycles += term_cycles(rest, wide, target) * terms + AROUND_TILE + rest * wide
        return cycles

    full, rest = divmod(vectors_needed, vectors)
    return full * panel(vectors) + (panel(rest) if rest else 0.0)


def _is_plain(product: Product) -> bool:
    """Whether operands can be read in place at all: of the kind of the sums, along one loop."""
    return product.left.kind == product.kind and len(product.depth) == 1


def _left_source(product: Product, panels: int, target: Target) -> str:
    """Scalars can be read anywhere; but where each term lies in a line of its own, the next tile wants those again."""
    if not _is_plain(product):
        return SHARED
    step = product.depth[0].left
    if step == 1 or panels == 1:
        return DIRECT
    # Lines at equal distances share the places of the first cache: so many of them stay there.
    distance = max(LINE, math.gcd(step * BYTES[product.kind], 64 * LINE))
    stay = max(MANY_TERMS, target.first_cache // distance // 2)
    return SHARED if product.terms > stay else DIRECT


def _right_source(
    product: Product, width: int, tiles: int, compute: float, target: Target
) -> tuple[str, float]:
    """Where vectors come from, and what packing them costs."""
    terms = product.terms
    item = BYTES[product.kind]
    cost = _pack_ns(product.right, product.columns.right, product.depth, False)
    elements = product.columns.size * terms
    if _is_plain(product) and (product.columns.right == 1 or product.columns.size == 1):
        stride = product.depth[0].right * item
        reach = stride * terms
        # A panel's rows must stay in the second cache: all of the operand, as rows share lines and pages. Rows a
        # power of two apart share places in the cache as well. With many tiles, packing costs nothing beside them.
        crowded = stride % 2048 == 0 and reach > target.second_cache // 8
        near = tiles < MANY_TILES and reach <= target.second_cache // 2 and not crowded
        if near or tiles < 8:
            return DIRECT, 0.0
    whole = product.copies * elements * cost
    if (
        product.copies >= 16
        and width * terms * item <= STACK
        and compute / product.copies < 20_000.0
    ):
        return LOCAL, whole
    return SHARED, _distinct(product.batch, False) * elements * cost


def _pack_ns(array: Array, step: int, depth: tuple[Span, ...], left: bool) -> float:
    """Nanoseconds for an element."""
    if step == 1:
        return COPY_NS
    return (
        TURN_NS
        if len(depth) == 1 and (depth[0].left if left else depth[0].right) == 1
        else GATHER_NS
    )


def _distinct(batch: tuple[Span, ...], left: bool) -> int:
    """How many different matrices of an operand the batch meets."""
    count = 1
    for span in batch:
        if span.left if left else span.right:
            count *= span.size
    return count


def _item(
    compute: float, block_ns: float, blocks: int, panels: int, block_bytes: int, target: Target
) -> tuple[int, int]:
    """Blocks and panels of a work item: long enough to be worth claiming, many enough to share, rows in the cache."""
    wanted = max(ITEM_NS, compute / MOST_ITEMS)
    pieces = max(1, round(wanted / max(block_ns, 1.0)))
    in_blocks = min(blocks, pieces, max(4, min(16, pieces // 4)))
    in_blocks = max(1, min(in_blocks, target.second_cache // 3 // max(block_bytes, 1)))
    in_blocks = -(-blocks // -(-blocks // in_blocks))
    in_panels = max(1, min(panels, pieces // in_blocks))
    in_panels = -(-panels // -(-panels // in_panels))
    return in_blocks, in_panels
