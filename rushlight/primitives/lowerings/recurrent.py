"""Recurrent layers: one kernel for all steps, whose work items are blocks of sequences.

An item walks through all the steps of its sequences by itself, so no thread ever waits for another. In each step

    the product   of the block's states with the weights, a register tile at a time, is stored unfinished;
    the cells     take it through the gates' functions, vector by vector, and write the next state.

The adjoint walks the other way: cells first, then the product that carries the gradient to the step before. Weights are
laid out once for each call so that tiles read them in order; they stream from the second cache, once for every block
and step, and blocks have enough rows to make up for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.loops import math
from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import F32, F64, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import along
from rushlight.primitives import recurrent as p
from rushlight.primitives.lowerings.panels import Panels
from rushlight.primitives.lowerings.tile import tile

#: Blocks have at least so many sequences (one alone takes nearly as long as some), and at most so many.
FEWEST_ROWS, MOST_ROWS = 4, 16
#: How many blocks a batch becomes, if they get enough rows.
BLOCKS = 4

#: The index of a column of a sequence in some array.
Place = Callable[[Value, Any], list[Any]]


def _state(row: Value, column: Any) -> list[Any]:
    return [row, column]


class Walk:
    """The kernel of one layer: its blocks of sequences, and the steps that each of them walks through."""

    def __init__(
        self, plan: Plan, stem: str, state: Array, weight: Array, steps: Sequence[int], batches: p.Batches,
        backwards: bool,
    ) -> None:  # fmt: skip
        self._plan, self._stem = plan, stem
        self.kind, self.lanes = state.kind, plan.target.lanes(state.kind)
        self.batch, self.size = state.shape
        self._backwards = backwards
        self._count = steps[0] if batches is None else len(batches)
        wanted = min(MOST_ROWS, max(FEWEST_ROWS, -(-self.batch // BLOCKS)))
        self.blocks = -(-self.batch // wanted)
        self.rows = -(-self.batch // self.blocks)
        self._starts = None if batches is None else _starts(plan, batches)
        self._flops = (
            2 * weight.size * (sum(batches) if batches is not None else steps[0] * steps[1])
        )
        tallest = min(self.rows, 8 if plan.target.registers >= 32 else 4)
        even = batches is None and self.batch % self.rows == 0 and self.rows % tallest == 0
        #: Rows of tiles, from what fits the registers best to what any number of rows is made of.
        self.heights = [tallest] if even else _halves(tallest)

    def panels(self, matrix: Array) -> Panels:
        """A matrix (inputs, outputs) laid out for the tiles of the product."""
        most = max(1, min(8, (self._plan.target.registers - 2) // (self.heights[0] + 1)))
        return Panels(self._plan, matrix, min(most, -(-matrix.shape[1] // self.lanes)))

    def run(self, begin: Callable[[Kernel], None], step: Callable[[Kernel], None]) -> None:
        """Writes the kernel. `begin` fills the state of a block's rows, `step` takes them one step on."""
        rate = 0.008 if self.kind == F32 else 0.016
        b = self._plan.kernel(
            self._stem, self.blocks, self._flops * rate / max(self.blocks, 1), flops=self._flops
        )

        def item(i: Value) -> None:
            self.first = i * self.rows
            held = b.const(self.rows)
            if self.batch % self.rows:
                held = b.intrinsic("smin", b.const(self.batch) - self.first, held)
            self.active = held
            begin(b)

            def at(n: Value) -> None:
                self.t = b.const(self._count - 1) - n if self._backwards else n
                if self._starts is not None:
                    self._low = self._starts.load(b, [self.t])
                    there = self._starts.load(b, [self.t + 1]) - self._low - self.first
                    self.active = b.intrinsic("smax", b.intrinsic("smin", there, held), b.const(0))
                step(b)

            b.loop(0, self._count, at, label="step")

        b.over_items(item)

    def place(self, row: Value, column: Any) -> list[Any]:
        """The index of a sequence at the current step, in an array over all steps."""
        return [self.t, row, column] if self._starts is None else [self._low + row, column]

    def cells(self, b: Kernel, body: Callable[[Value, Value, int, Value | None], None]) -> None:
        """Runs `body(row, column, lanes, mask)` for each vector of the sequences that have this step."""

        def row(m: Value) -> None:
            at = self.first + m
            size = b.const(self.size)
            along(b, b.const(0), size, self.lanes, lambda x, w, mask: body(at, x, w, mask))

        b.loop(0, self.active, row, label="row")

    def copy(self, b: Kernel, *pairs: tuple[Array, Array]) -> None:
        """Copies the block's rows of each first state to the second."""

        def vector(row: Value, x: Value, w: int, mask: Value | None) -> None:
            for source, target in pairs:
                target.store(b, [row, x], source.load(b, [row, x], 1, w, mask), 1, mask)

        self.cells(b, vector)

    def product(
        self, b: Kernel, panels: Panels, source: Array, from_: Place, target: Array, to: Place,
        onto: Array | None = None,
    ) -> None:  # fmt: skip
        """Stores rows of the source times the matrix, added to what `onto` has in the same places."""
        axis = target.ndim - 1
        # One sequence alone waits for the weights. Read to and fro, those that a step reads last are still in the first
        # cache when the next begins with them.
        odd = None
        if self.rows == 1:
            odd = b.compare("ne", self.t & b.const(1), b.const(0))

        def panel(base: Value, column: Value, masks: list[Value | None]) -> None:
            vectors = len(masks)

            def write(height: int, m: Value) -> None:
                row = self.first + m
                cells = [(r, v) for r in range(height) for v in range(vectors)]
                places = [to(row + r, column + v * self.lanes) for r, v in cells]
                if onto is not None and onto.strides[axis] == 1:
                    for place in places:
                        b.prefetch(b.pointer(onto), onto.element(b, place), self.kind)
                a = b.address(b.pointer(source), source.element(b, from_(row, 0)), self.kind)
                step_a: Any = source.strides[-1]
                step_b: Any = panels.width
                start = base
                if odd is not None:
                    last = panels.depth - 1
                    a = b.address(a, b.select(odd, b.const(last * step_a), 0), self.kind)
                    start = b.address(base, b.select(odd, b.const(last * step_b), 0), self.kind)
                    step_a = b.select(odd, b.const(-step_a), step_a)
                    step_b = b.select(odd, b.const(-step_b), step_b)
                totals = tile(
                    b, self.kind, self.lanes, height, vectors, a, source.strides[-2], start, self.lanes,
                    [(panels.depth, step_a, step_b)],
                )  # fmt: skip
                for total, place, (_, v) in zip(totals, places, cells, strict=True):
                    if onto is not None:
                        total = total + onto.load(b, place, axis, self.lanes, masks[v])
                    target.store(b, place, total, axis, masks[v])

            low = b.const(0)
            for height in self.heights:
                high = self.active
                if high.number is not None and low.number is not None:
                    high = b.const(low.number + (high.number - low.number) // height * height)
                elif height > 1:
                    high = low + b.binary("udiv", high - low, b.const(height)) * height
                b.loop(low, high, lambda m, h=height: write(h, m), step=height, label="tile")
                low = high

        panels.each(b, panel, odd)


def _halves(height: int) -> list[int]:
    return [height, *_halves(height // 2)] if height > 1 else [1]


def _starts(plan: Plan, batches: Sequence[int]) -> Array:
    """Where the rows of each step begin, and where those of the last end."""
    starts = plan.scratch(np.int64, (len(batches) + 1,))
    b = plan.kernel("starts", 1, float(len(batches)))

    def item(_: Value) -> None:
        total = 0
        for i, count in enumerate((*batches, 0)):
            starts.store(b, [i], b.const(total))
            total += count

    b.over_items(item)
    return starts


def _native(*arrays: Any) -> bool:
    return all(isinstance(a, Array) and a.kind in (F32, F64) and a.size for a in arrays)


def _complement(value: Value) -> Value:
    """1 - x."""
    return 1.0 - value


# -- LSTM --------------------------------------------------------------------------------------------------


@p.lstm.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, batches: p.Batches, reverse: bool
) -> bool | None:  # fmt: skip
    if not _native(*operands):
        return False
    steps, weight, h, c = operands
    output, last_h, last_c, gates, hidden, cells = (sink.array for sink in sinks)
    walk = Walk(plan, "lstm", last_h, weight, steps.shape, batches, reverse)
    panels = walk.panels(weight.permute((1, 0)))
    size, axis = walk.size, steps.ndim - 1

    def step(b: Kernel) -> None:
        walk.product(b, panels, last_h, _state, gates, walk.place, steps)

        def cell(row: Value, x: Value, w: int, mask: Value | None) -> None:
            places = [walk.place(row, x + k * size) for k in range(4)]
            i, f, g, o = (gates.load(b, at, axis, w, mask) for at in places)
            i, g = math.quotients(b, math.logistic_ratio(b, i), math.tanh_ratio(b, g))
            f, o = math.quotients(b, math.logistic_ratio(b, f), math.logistic_ratio(b, o))
            for at, gate in zip(places, (i, f, g, o), strict=True):
                gates.store(b, at, gate, axis, mask)
            at = places[0]
            before = last_c.load(b, [row, x], 1, w, mask)
            cells.store(b, at, before, axis, mask)
            hidden.store(b, at, last_h.load(b, [row, x], 1, w, mask), axis, mask)
            after = b.fma(f, before, i * g)
            last_c.store(b, [row, x], after, 1, mask)

        def result(row: Value, x: Value, w: int, mask: Value | None) -> None:
            o = gates.load(b, walk.place(row, x + 3 * size), axis, w, mask)
            bent = o * math.tanh(b, last_c.load(b, [row, x], 1, w, mask))
            last_h.store(b, [row, x], bent, 1, mask)
            output.store(b, walk.place(row, x), bent, axis, mask)

        walk.cells(b, cell)
        walk.cells(b, result)

    walk.run(lambda b: walk.copy(b, (h, last_h), (c, last_c)), step)
    return None


@p.lstm_adjoint.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, batches: p.Batches, reverse: bool
) -> bool | None:  # fmt: skip
    if not _native(*operands):
        return False
    grad, grad_h, grad_c, weight, gates, cells = operands
    result, to_h, to_c = (sink.array for sink in sinks)
    walk = Walk(plan, "lstm_adjoint", to_h, weight, grad.shape, batches, not reverse)
    panels = walk.panels(weight)
    size, axis = walk.size, grad.ndim - 1

    def step(b: Kernel) -> None:
        def cell(row: Value, x: Value, w: int, mask: Value | None) -> None:
            places = [walk.place(row, x + k * size) for k in range(4)]
            i, f, g, o = (gates.load(b, at, axis, w, mask) for at in places)
            before = cells.load(b, places[0], axis, w, mask)
            bent = math.tanh(b, b.fma(f, before, i * g))
            dh = to_h.load(b, [row, x], 1, w, mask) + grad.load(b, places[0], axis, w, mask)
            through = dh * o
            dc = b.fma(through, _complement(bent * bent), to_c.load(b, [row, x], 1, w, mask))
            gradients = (
                dc * g * (i * _complement(i)),
                dc * before * (f * _complement(f)),
                dc * i * _complement(g * g),
                bent * through * _complement(o),
            )
            for at, gradient in zip(places, gradients, strict=True):
                result.store(b, at, gradient, axis, mask)
            to_c.store(b, [row, x], dc * f, 1, mask)

        walk.cells(b, cell)
        walk.product(b, panels, result, walk.place, to_h, _state)

    walk.run(lambda b: walk.copy(b, (grad_h, to_h), (grad_c, to_c)), step)
    return None


# -- GRU ---------------------------------------------------------------------------------------------------


@p.gru.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, batches: p.Batches, reverse: bool
) -> bool | None:  # fmt: skip
    if not _native(*operands):
        return False
    steps, weight, bias, h = operands
    output, last_h, gates, hidden = (sink.array for sink in sinks)
    walk = Walk(plan, "gru", last_h, weight, steps.shape, batches, reverse)
    panels = walk.panels(weight.permute((1, 0)))
    size, axis = walk.size, steps.ndim - 1

    def step(b: Kernel) -> None:
        walk.product(b, panels, last_h, _state, gates, walk.place)

        def cell(row: Value, x: Value, w: int, mask: Value | None) -> None:
            places = [walk.place(row, x + k * size) for k in range(4)]
            own = [
                gates.load(b, places[k], axis, w, mask) + bias.load(b, [x + k * size], 0, w, mask)
                for k in range(3)
            ]
            given = [steps.load(b, places[k], axis, w, mask) for k in range(3)]
            ratios = [math.logistic_ratio(b, given[k] + own[k]) for k in range(2)]
            r, z = math.quotients(b, ratios[0], ratios[1])
            n = math.tanh(b, b.fma(r, own[2], given[2]))
            for at, gate in zip(places, (r, z, n, own[2]), strict=True):
                gates.store(b, at, gate, axis, mask)
            before = last_h.load(b, [row, x], 1, w, mask)
            after = b.fma(before - n, z, n)
            hidden.store(b, places[0], before, axis, mask)
            last_h.store(b, [row, x], after, 1, mask)
            output.store(b, places[0], after, axis, mask)

        walk.cells(b, cell)

    walk.run(lambda b: walk.copy(b, (h, last_h)), step)
    return None


@p.gru_adjoint.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, batches: p.Batches, reverse: bool
) -> bool | None:  # fmt: skip
    if not _native(*operands):
        return False
    grad, grad_h, weight, gates, hidden = operands
    result, through, to_h = (sink.array for sink in sinks)
    walk = Walk(plan, "gru_adjoint", to_h, weight, grad.shape, batches, not reverse)
    panels = walk.panels(weight)
    size, axis = walk.size, grad.ndim - 1

    def step(b: Kernel) -> None:
        def cell(row: Value, x: Value, w: int, mask: Value | None) -> None:
            places = [walk.place(row, x + k * size) for k in range(4)]
            r, z, n, own = (gates.load(b, at, axis, w, mask) for at in places)
            before = hidden.load(b, places[0], axis, w, mask)
            dh = to_h.load(b, [row, x], 1, w, mask) + grad.load(b, places[0], axis, w, mask)
            dn = dh * _complement(z) * _complement(n * n)
            dr = dn * own * (r * _complement(r))
            dz = dh * (before - n) * (z * _complement(z))
            for array, last in ((result, dn), (through, dn * r)):
                for at, gradient in zip(places, (dr, dz, last), strict=False):
                    array.store(b, at, gradient, axis, mask)
            to_h.store(b, [row, x], dh * z, 1, mask)

        walk.cells(b, cell)
        walk.product(b, panels, through, walk.place, to_h, _state, to_h)

    walk.run(lambda b: walk.copy(b, (grad_h, to_h)), step)
    return None


# -- Elman's network ---------------------------------------------------------------------------------------


@p.elman.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, batches: p.Batches, reverse: bool,
    relu: bool,
) -> bool | None:  # fmt: skip
    if not _native(*operands):
        return False
    steps, weight, h = operands
    output, last_h, hidden = (sink.array for sink in sinks)
    walk = Walk(plan, "elman", last_h, weight, steps.shape, batches, reverse)
    panels = walk.panels(weight.permute((1, 0)))
    axis = steps.ndim - 1

    def step(b: Kernel) -> None:
        walk.product(b, panels, last_h, _state, output, walk.place, steps)

        def cell(row: Value, x: Value, w: int, mask: Value | None) -> None:
            at = walk.place(row, x)
            z = output.load(b, at, axis, w, mask)
            after = b.maximum(z, 0.0) if relu else math.tanh(b, z)
            hidden.store(b, at, last_h.load(b, [row, x], 1, w, mask), axis, mask)
            last_h.store(b, [row, x], after, 1, mask)
            output.store(b, at, after, axis, mask)

        walk.cells(b, cell)

    walk.run(lambda b: walk.copy(b, (h, last_h)), step)
    return None


@p.elman_adjoint.define_lowering
def _(
    plan: Plan, sinks: tuple[Sink, ...], operands: tuple[Any, ...], *, batches: p.Batches, reverse: bool,
    relu: bool,
) -> bool | None:  # fmt: skip
    if not _native(*operands):
        return False
    grad, grad_h, weight, output = operands
    result, to_h = (sink.array for sink in sinks)
    walk = Walk(plan, "elman_adjoint", to_h, weight, grad.shape, batches, not reverse)
    panels = walk.panels(weight)
    axis = grad.ndim - 1

    def step(b: Kernel) -> None:
        def cell(row: Value, x: Value, w: int, mask: Value | None) -> None:
            at = walk.place(row, x)
            dh = to_h.load(b, [row, x], 1, w, mask) + grad.load(b, at, axis, w, mask)
            z = output.load(b, at, axis, w, mask)
            gradient = (
                b.select(b.compare("le", z, 0.0), 0.0, dh) if relu else dh * _complement(z * z)
            )
            result.store(b, at, gradient, axis, mask)

        walk.cells(b, cell)
        walk.product(b, panels, result, walk.place, to_h, _state)

    walk.run(lambda b: walk.copy(b, (grad_h, to_h)), step)
    return None


__all__: Sequence[str] = ()
