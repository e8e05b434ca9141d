"""Attention: scores of a block of rows stay in the first cache, from their product to the product with the values.

A vector holds neighbouring rows of one head, so that the largest score, the sum and the division of a row need no
exchange between lanes. All tiles are of the kind in `tile.py`:

    scores^T[column, row]       key[column, k]        in all lanes    query^T[k, row]       turned once a block
    result^T[o, row]            value[column, o]      in all lanes    weights^T[column, row]
    to_weights^T[column, row]   value[column, o]      in all lanes    grad^T[o, row]        turned once a block
    to_query^T[k, row]          key[column, k]        in all lanes    to_scores^T[column, row]
    to_key[column, k]           to_scores^T[...]      in all lanes    query[row, k]         where they lie
    to_value[column, o]         weights^T[...]        in all lanes    grad[row, o]          where they lie

Under a causal mask a block of rows ends with the columns of its last row. An item of the adjoint has a whole head, as
all its rows add to the gradients of keys and values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.loops import math
from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import BYTES, F32, F64, I32, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import decompose, transpose
from rushlight.primitives import attention as p
from rushlight.primitives.lowerings.copying import copy_into
from rushlight.primitives.lowerings.tile import tile

#: What the scores of a block may take on the stack, in bytes; wider blocks share more.
MOST_BYTES = 64 * 1024
#: Nanoseconds for a multiplication and addition, and for an exponential.
FLOP_NS, EXP_NS = 0.004, 0.4


def _rows_of(registers: int, vectors: int, count: int) -> int:
    """The rows of a tile: as many as registers hold beside a row of the other operand, in tiles that are even."""
    most = max(1, (registers - vectors - 2) // vectors)
    return -(-count // -(-count // most))


class _Attention:
    """What the kernels of both directions share: sizes, blocks of rows, tiles over columns, squares that are turned."""

    def __init__(
        self, plan: Plan, query: Array, key: Array, value: Array, scale: float, causal: bool
    ) -> None:
        self.plan, self.scale, self.causal = plan, scale, causal
        self.query, self.key, self.value = (self._side_by_side(x) for x in (query, key, value))
        self.kind = query.kind
        self.lanes = plan.target.lanes(self.kind)
        self.batch, self.heads, self.rows, self.features = query.shape
        self.columns, self.out = key.shape[2], value.shape[3]
        room = MOST_BYTES // BYTES[self.kind] // self.columns
        #: Vectors of rows that are worked on together.
        self.vectors = 2 if self.rows > self.lanes and 2 * self.lanes <= room else 1
        self.width = self.vectors * self.lanes
        self.blocks = -(-self.rows // self.width)
        #: Columns of a tile.
        self.tall = _rows_of(plan.target.registers, self.vectors, self.columns)

    def _side_by_side(self, x: Array) -> Array:
        """The array, or a copy whose features lie side by side."""
        if x.strides[3] == 1 or x.shape[3] == 1:
            return x
        copy = self.plan.scratch(x.dtype, x.shape)
        copy_into(self.plan, Sink(copy), x)
        return copy

    @property
    def flops(self) -> int:
        """Multiplications and additions of one product of scores."""
        return 2 * self.batch * self.heads * self.rows * self.columns * self.features

    def begin(self, b: Kernel, batch: Value, head: Value) -> None:
        """Sets which head is being worked on."""
        self.b, self.place = b, (batch, head)

    def start(self, x: Array, row: Any = 0) -> Value:
        """The address of a row of the head, in (batch, heads, rows, features)."""
        place = x.element(self.b, [*self.place, row, 0])
        return self.b.address(self.b.pointer(x), place, x.kind)

    def block(self, number: Value) -> None:
        """Sets the block of rows: where it begins, and the column that it ends before."""
        self.first = number * self.width
        self.limit = self.b.const(self.columns)
        if self.causal:
            self.limit = self.b.intrinsic("smin", self.first + self.width, self.limit)

    # -- squares that are turned -----------------------------------------------------------------------------

    def turn_in(self, x: Array, target: Value, scale: float = 1.0) -> None:
        """The block's rows of `x` as columns: target[feature][row of the block], times `scale`."""
        b, lanes, count = self.b, self.lanes, x.shape[3]
        base, step = self.start(x), x.strides[2]

        def square(f: Value, valid: int) -> None:
            mask = None if valid == lanes else b.lane_mask(b.const(valid), lanes)
            for v in range(self.vectors):
                lines = []
                for lane in range(lanes):
                    row = self.first + (v * lanes + lane)
                    if self.rows % self.width:  # lanes beyond the last row repeat it
                        row = b.intrinsic("smin", row, b.const(self.rows - 1))
                    lines.append(b.load(base, row * step + f, self.kind, lanes, mask=mask))
                for k, line in enumerate(transpose(b, lines)[:valid]):
                    line = line if scale == 1.0 else line * scale
                    b.store(line, target, (f + k) * self.width + v * lanes)

        self._squares(count, square)

    def turn_out(self, source: Value, count: int, sink: Sink) -> None:
        """Columns source[feature][row of the block] as the block's rows of a result (batch, rows, heads, features)."""
        b, lanes = self.b, self.lanes
        zero = b.const(0, self.kind, lanes)

        def square(f: Value, valid: int) -> None:
            mask = None if valid == lanes else b.lane_mask(b.const(valid), lanes)
            for v in range(self.vectors):
                lines = [
                    b.load(source, (f + k) * self.width + v * lanes, self.kind, lanes)
                    for k in range(valid)
                ]
                turned = transpose(b, lines + [zero] * (lanes - valid))
                for lane, line in enumerate(turned):
                    row = self.first + (v * lanes + lane)

                    def put(row: Value = row, line: Value = line) -> None:
                        batch, head = self.place
                        sink.store(b, [batch, row, head, f], line, 3, mask)

                    if self.rows % self.width:
                        b.when(b.compare("lt", row, b.const(self.rows)), put)
                    else:
                        put()

        self._squares(count, square)

    def _squares(self, count: int, square: Callable[[Value, int], None]) -> None:
        whole = count // self.lanes * self.lanes
        self.b.loop(0, whole, lambda f: square(f, self.lanes), step=self.lanes, label="turn")
        if count > whole:
            square(self.b.const(whole), count - whole)

    # -- tiles ---------------------------------------------------------------------------------------------------

    def over_columns(
        self, body: Callable[..., Sequence[Value] | None], carried: Sequence[Value] = ()
    ) -> tuple[Value, ...]:
        """`body(first column, how many, *carried)` for tiles of columns, up to the last that the block sees any of."""
        b, rows = self.b, self.tall
        full, rest = divmod(self.columns, rows)
        if self.limit.number is not None:
            values = b.loop(0, full, lambda t, *c: body(t * rows, rows, *c), carried, label="tile")
            return b._carry(body(b.const(full * rows), rest, *values)) if rest else values
        wanted = b.binary("udiv", self.limit + (rows - 1), b.const(rows))
        stop = b.intrinsic("smin", wanted, b.const(full))
        values = b.loop(0, stop, lambda t, *c: body(t * rows, rows, *c), carried, label="tile")
        if not rest:
            return values
        return b.when(
            b.compare("gt", wanted, b.const(full)),
            lambda: body(b.const(full * rows), rest, *values),
            lambda: values,
        )

    def scores(
        self, x: Array, first: Value, count: int, panel: Value, features: int
    ) -> list[Value]:
        """Some columns' products with the block's rows: `x` is key or value, `panel` what it is multiplied with."""
        base, step = self.start(x), x.strides[2]
        left = self.b.address(base, first * step, self.kind)
        return tile(
            self.b, self.kind, self.lanes, count, self.vectors, left, step, panel, self.lanes,
            [(features, 1, self.width)],
        )  # fmt: skip

    def mixed(
        self, x: Array, weights: Value, count: int, target: Value, by: Sequence[Value]
    ) -> None:
        """target[feature][row] = the sum over columns of x[column, feature] * weights[column][row], times `by`."""
        b, lanes = self.b, self.lanes
        base = self.start(x)
        rows = _rows_of(self.plan.target.registers, self.vectors, count)

        def features(first: Value, many: int) -> None:
            left = b.address(base, first, self.kind)
            totals = tile(
                b, self.kind, lanes, many, self.vectors, left, 1, weights, lanes,
                [(self.limit, x.strides[2], self.width)],
            )  # fmt: skip
            for m in range(many):
                for v in range(self.vectors):
                    total = totals[m * self.vectors + v]
                    total = total * by[v] if by else total
                    b.store(total, target, (first + m) * self.width + v * lanes)

        full, rest = divmod(count, rows)
        b.loop(0, full, lambda t: features(t * rows, rows), label="features")
        if rest:
            features(b.const(full * rows), rest)

    def behind(self, column: Value, v: int) -> Value:
        """The lanes whose rows come before a column: they do not see it."""
        b = self.b
        count = b.convert(column - (self.first + v * self.lanes), I32)
        return b.compare("lt", b.lane_numbers(self.lanes, I32), b.splat(count, self.lanes))

    # -- the forward kernel --------------------------------------------------------------------------------------

    def write_forward(self, result: Sink, logsum: Sink) -> None:
        """Result and logsum: an item for each block of rows."""
        products = self.flops + self.flops * self.out // self.features
        items = self.batch * self.heads * self.blocks
        scores = self.rows * self.columns * self.batch * self.heads
        b = self.plan.kernel(
            "attend", items, (products * FLOP_NS + scores * EXP_NS) / items, flops=products
        )
        turned = b.scratch(self.kind, max(self.features, self.out) * self.width)
        scores_at = b.scratch(self.kind, self.columns * self.width)

        def item(number: Value) -> None:
            batch, head, block = decompose(b, number, [self.batch, self.heads, self.blocks])
            self.begin(b, batch, head)
            self.block(block)
            self.turn_in(self.query, turned, self.scale)

            def scores(first: Value, count: int) -> None:
                totals = self.scores(self.key, first, count, turned, self.features)
                self._keep(totals, scores_at, first)

            self.over_columns(scores)
            tops = self._largest(scores_at)
            totals = self._powers(scores_at, tops)
            self.mixed(self.value, scores_at, self.out, turned, [1.0 / t for t in totals])
            self.turn_out(turned, self.out, result)
            for v in range(self.vectors):
                first = self.first + v * self.lanes
                mask = None
                if self.rows % self.width:
                    mask = b.lane_mask(b.const(self.rows) - first, self.lanes)
                value = tops[v] + math.log(b, totals[v])
                logsum.store(b, [batch, head, first], value, 2, mask)

        b.over_items(item)

    def _keep(self, totals: Sequence[Value], target: Value, first: Value) -> None:
        for i, total in enumerate(totals):
            m, v = divmod(i, self.vectors)
            self.b.store(total, target, (first + m) * self.width + v * self.lanes)

    def _line(self, source: Value, column: Value) -> list[Value]:
        at = column * self.width
        return [
            self.b.load(source, at + v * self.lanes, self.kind, self.lanes)
            for v in range(self.vectors)
        ]

    def _largest(self, scores: Value) -> Sequence[Value]:
        """Of each row; scores that a row does not see become minus infinity."""
        b = self.b

        def seen(column: Value, *tops: Value) -> list[Value]:
            line = self._line(scores, column)
            return [b.maximum(t, x) for t, x in zip(tops, line, strict=True)]

        def masked(column: Value, *tops: Value) -> list[Value]:
            found = []
            for v, x in enumerate(self._line(scores, column)):
                x = b.select(self.behind(column, v), float("-inf"), x)
                b.store(x, scores, column * self.width + v * self.lanes)
                found.append(b.maximum(tops[v], x))
            return found

        tops: Sequence[Value] = [b.const(float("-inf"), self.kind, self.lanes)] * self.vectors
        if not self.causal:
            return b.loop(0, self.limit, seen, tops, label="top")
        before = b.intrinsic("smin", self.first, self.limit)
        tops = b.loop(0, before, seen, tops, label="top")
        return b.loop(before, self.limit, masked, tops, label="top")

    def _powers(self, scores: Value, tops: Sequence[Value]) -> Sequence[Value]:
        """Scores become e^(score - top); their sums."""
        b = self.b

        def power(column: Value, *totals: Value) -> list[Value]:
            found = []
            for v, x in enumerate(self._line(scores, column)):
                x = math.exp_down(b, x - tops[v])
                b.store(x, scores, column * self.width + v * self.lanes)
                found.append(totals[v] + x)
            return found

        zeros = [b.const(0, self.kind, self.lanes)] * self.vectors
        return b.loop(0, self.limit, power, zeros, label="exp")

    # -- the adjoint ---------------------------------------------------------------------------------------------

    def write_adjoint(
        self, grad: Array, logsum: Array, to_query: Sink, to_key: Sink, to_value: Sink
    ) -> None:
        """The three gradients: an item for each head."""
        grad = self._side_by_side(grad)
        products = 3 * self.flops + 2 * self.flops * self.out // self.features
        items = self.batch * self.heads
        scores = self.rows * self.columns
        b = self.plan.kernel(
            "attend_adjoint", items, products * FLOP_NS / items + scores * EXP_NS, flops=products
        )
        queries = b.scratch(self.kind, self.features * self.width)
        grads = b.scratch(self.kind, self.out * self.width)
        weights = b.scratch(self.kind, self.columns * self.width)
        to_scores = b.scratch(self.kind, self.columns * self.width)

        def item(number: Value) -> None:
            self.begin(b, *decompose(b, number, [self.batch, self.heads]))
            for sink, features in ((to_key, self.features), (to_value, self.out)):
                self._clear(sink.array, features)
            b.loop(0, self.blocks, block, label="block")

        def block(number: Value) -> None:
            self.block(number)
            self.turn_in(self.query, queries, self.scale)
            self.turn_in(grad, grads)
            self._weights_again(queries, logsum, weights)
            sums = self._to_weights(grads, weights, to_scores)
            self._to_scores(weights, to_scores, sums)
            self.mixed(self.key, to_scores, self.features, queries, ())
            self.turn_out(queries, self.features, to_query)
            self._add_to(to_key.array, to_scores, self.query)
            self._add_to(to_value.array, weights, grad)

        b.over_items(item)

    def _weights_again(self, queries: Value, logsum: Array, weights: Value) -> None:
        b = self.b
        logs = []
        for v in range(self.vectors):
            first = self.first + v * self.lanes
            mask = None
            if self.rows % self.width:
                mask = b.lane_mask(b.const(self.rows) - first, self.lanes)
            logs.append(logsum.load(b, [*self.place, first], 2, self.lanes, mask))

        def columns(first: Value, count: int) -> None:
            totals = self.scores(self.key, first, count, queries, self.features)
            for m in range(count):
                for v in range(self.vectors):
                    x = math.exp_down(b, totals[m * self.vectors + v] - logs[v])
                    if self.causal:
                        x = b.select(self.behind(first + m, v), 0.0, x)
                    b.store(x, weights, (first + m) * self.width + v * self.lanes)

        self.over_columns(columns)

    def _to_weights(self, grads: Value, weights: Value, target: Value) -> Sequence[Value]:
        """The weights' gradients; of each row, the sum of them times the weights."""
        b = self.b

        def columns(first: Value, count: int, *sums: Value) -> list[Value]:
            totals = self.scores(self.value, first, count, grads, self.out)
            found = list(sums)
            for m in range(count):
                line = self._line(weights, first + m)
                for v in range(self.vectors):
                    total = totals[m * self.vectors + v]
                    found[v] = b.multiply_add(total, line[v], found[v])
                    b.store(total, target, (first + m) * self.width + v * self.lanes)
            return found

        zeros = [b.const(0, self.kind, self.lanes)] * self.vectors
        return self.over_columns(columns, zeros)

    def _to_scores(self, weights: Value, target: Value, sums: Sequence[Value]) -> None:
        b = self.b

        def column(j: Value) -> None:
            of, to = self._line(weights, j), self._line(target, j)
            for v in range(self.vectors):
                value = (to[v] - sums[v]) * (of[v] * self.scale)
                b.store(value, target, j * self.width + v * self.lanes)

        end = self.limit
        if end.number is None:  # also those of the last tile that no row sees: their weights are 0
            end = b.binary("udiv", end + (self.tall - 1), b.const(self.tall)) * self.tall
            end = b.intrinsic("smin", end, b.const(self.columns))
        b.loop(0, end, column, label="to scores")

    def _panels(
        self, features: int, body: Callable[[Value, int, list[Value | None]], None]
    ) -> None:
        """`body(first feature, vectors, their masks)` for features, a tile's width at a time."""
        b, lanes = self.b, self.lanes
        vectors = min(self.vectors, -(-features // lanes))
        whole, rest = divmod(features, vectors * lanes)
        step = vectors * lanes
        b.loop(0, whole * step, lambda f: body(f, vectors, [None] * vectors), step=step, label="f")
        if rest:
            masks: list[Value | None] = [None] * -(-rest // lanes)
            if rest % lanes:
                masks[-1] = b.lane_mask(b.const(rest % lanes), lanes)
            body(b.const(whole * step), len(masks), masks)

    def _clear(self, array: Array, features: int) -> None:
        b, (batch, head) = self.b, self.place
        zero = b.const(0, self.kind, self.lanes)

        def panel(f: Value, vectors: int, masks: list[Value | None]) -> None:
            def column(j: Value) -> None:
                for v in range(vectors):
                    array.store(b, [batch, j, head, f + v * self.lanes], zero, 3, masks[v])

            b.loop(0, self.columns, column, label="clear")

        self._panels(features, panel)

    def _add_to(self, array: Array, left: Value, right: Array) -> None:
        """array[column, feature] += the sum over the block's rows of left[column][row] * right[row, feature]."""
        b, lanes, (batch, head) = self.b, self.lanes, self.place
        count = b.const(self.width)
        if self.rows % self.width:
            count = b.intrinsic("smin", b.const(self.rows) - self.first, count)
        base = self.start(right, self.first)

        def panel(f: Value, vectors: int, masks: list[Value | None]) -> None:
            def columns(first: Value, many: int) -> None:
                def place(i: int) -> tuple[list[Any], int, Value | None]:
                    m, v = divmod(i, vectors)
                    return [batch, first + m, head, f + v * lanes], 3, masks[v]

                places = [place(i) for i in range(many * vectors)]
                totals = tile(
                    b, self.kind, lanes, many, vectors,
                    b.address(left, first * self.width, self.kind), self.width,
                    b.address(base, f, self.kind), lanes, [(count, 1, right.strides[2])],
                    [array.load(b, index, axis, lanes, mask) for index, axis, mask in places],
                    masks,
                )  # fmt: skip
                for total, (index, axis, mask) in zip(totals, places, strict=True):
                    array.store(b, index, total, axis, mask)

            self.over_columns(columns)

        self._panels(right.shape[3], panel)


@p.attend.define_lowering
def _(
    plan: Plan, sinks: Sequence[Sink], operands: Sequence[Array], *, scale: float, causal: bool
) -> bool | None:
    if operands[0].kind not in (F32, F64):
        return False
    query, key, value = operands
    result, logsum = sinks
    _Attention(plan, query, key, value, scale, causal).write_forward(result, logsum)
    return None


@p.attend_adjoint.define_lowering
def _(
    plan: Plan, sinks: Sequence[Sink], operands: Sequence[Array], *, scale: float, causal: bool
) -> bool | None:
    grad, query, key, value, logsum = operands
    if grad.kind not in (F32, F64):
        return False
    to_query, to_key, to_value = sinks
    attention = _Attention(plan, query, key, value, scale, causal)
    attention.write_adjoint(grad, logsum, to_query, to_key, to_value)
    return None
