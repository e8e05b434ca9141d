"""The register tile that all dense products share.

    acc[m][j] += A[m] * B[j]        m < rows, j < vectors, inside of nested loops

A is a scalar at `a + m * a_row`, in all lanes; B a vector at `b + j * b_vector`. Each loop moves both by a stride. With
`paired`, A is a vector too, and lanes are summed by whoever takes the accumulators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rushlight.loops.builder import Value
from rushlight.loops.kernel import Kernel

#: One loop of a tile: (trips, stride of A, stride of B), outermost first.
Loop = tuple[Any, Any, Any]


def rows_of(registers: int, vectors: int, count: int) -> int:
    """How many rows a tile has so that accumulators and operands fit the registers; `count` rows in even tiles."""
    most = max(1, (registers - vectors - 2) // vectors)
    tiles = -(-count // most)
    return -(-count // tiles)


def tile(
    b: Kernel,
    kind: str,
    lanes: int,
    rows: int,
    vectors: int,
    a: Value,
    a_row: Any,
    b_base: Value,
    b_vector: Any,
    loops: Sequence[Loop],
    start: Sequence[Value] | None = None,
    masks: Sequence[Value | None] | None = None,
    paired: bool = False,
    ahead: tuple[Value, int] | None = None,
) -> list[Value]:
    """The accumulators, row by row. `a` and `b_base` are addresses; masked lanes of B read as 0.

    `ahead` is (address, elements a trip of the innermost loop): memory that will be wanted next, asked for meanwhile.
    """
    first = list(start) if start is not None else [b.const(0, kind, lanes)] * (rows * vectors)

    def step(at_a: Value, at_b: Value, totals: Sequence[Value]) -> list[Value]:
        new = list(totals)
        column = [
            b.load(
                b_base, at_b + j * b_vector, kind, lanes, mask=None if masks is None else masks[j]
            )
            for j in range(vectors)
        ]
        for m in range(rows):
            place = at_a + m * a_row
            left = (
                b.load(a, place, kind, lanes) if paired else b.splat(b.load(a, place, kind), lanes)
            )
            for j in range(vectors):
                new[m * vectors + j] = b.multiply_add(left, column[j], new[m * vectors + j])
        return new

    def nest(
        depth: int, at_a: Value, at_b: Value, count: Value, totals: Sequence[Value]
    ) -> Sequence[Value]:
        if depth == len(loops):
            if ahead is not None:
                b.prefetch(ahead[0], count * ahead[1], kind, cache=2)
            return step(at_a, at_b, totals)
        trips, move_a, move_b = loops[depth]

        def trip(i: Value, *t: Value) -> Sequence[Value]:
            number = count * trips + i if ahead is not None else count
            return nest(depth + 1, at_a + i * move_a, at_b + i * move_b, number, t)

        return b.loop(0, trips, trip, list(totals), label=f"k{depth}")

    return list(nest(0, b.const(0), b.const(0), b.const(0), first))
