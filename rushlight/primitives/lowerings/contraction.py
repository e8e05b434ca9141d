"""The lowering of `contract`: its loops as a `Product`, done in the way that the shapes make cheapest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import I1
from rushlight.loops.kernel import Plan
from rushlight.primitives.contraction import contract
from rushlight.primitives.lowerings.products import dots, outer, splitting
from rushlight.primitives.lowerings.products.blocked import Blocked
from rushlight.primitives.lowerings.products.problem import Product, product_of
from rushlight.primitives.lowerings.products.tiling import DIRECT, choose_tiling


@contract.define_lowering
def lower(
    plan: Plan,
    sinks: Sequence[Sink],
    operands: Sequence[Array],
    *,
    axes_a: tuple[int, ...],
    axes_b: tuple[int, ...],
    batch_a: tuple[int, ...] = (),
    batch_b: tuple[int, ...] = (),
) -> bool:
    """Writes the kernels of a contraction; False where the reference has to do it (sums of truth values)."""
    a, b = operands
    if a.kind == I1:
        return False
    write(plan, product_of(a, b, sinks[0], axes_a, axes_b, batch_a, batch_b))
    return True


#: A contraction: where its result goes, its operands, its parameters.
Contraction = tuple[Sequence[Sink], Sequence[Array], dict[str, Any]]


def lower_pair(plan: Plan, gradient: Contraction, update: Contraction) -> bool:
    """A product of one row with a matrix, and one of few terms whose sink writes over that matrix, by one kernel.

    False if they are not such products; then nothing was written.
    """
    if not gradient[0] or not update[0]:
        return False
    first, second = (
        product_of(a, b, sinks[0], how["axes_a"], how["axes_b"], how["batch_a"], how["batch_b"])
        for sinks, (a, b), how in (gradient, update)
    )
    if not outer.pairs(first, second):
        return False
    partial = outer.write_pair(plan, second, first)
    splitting.write_sum(plan, first, partial)
    return True


def write(plan: Plan, product: Product) -> None:
    """The kernels of one product."""
    lanes = plan.target.lanes(product.kind)
    if outer.suits(product):
        outer.write_outer(plan, product)
        return
    if dots.suits(product, lanes):
        groups = product.copies * -(-product.columns.size // lanes)
        bytes_read = product.columns.size * product.copies * product.terms
        parts = splitting.parts_of(product, groups, bytes_read * dots.BYTE_NS * 4)
        if parts > 1:
            _write_parts(plan, product, parts)
        else:
            dots.write_dots(plan, product)
        return
    choices = [product]
    if product.lane_axis is not None and lanes > 1:
        choices.append(product.swapped())
    tilings = [(choose_tiling(p, plan.target), p) for p in choices]
    tiling, product = min(tilings, key=lambda t: t[0].total_ns)
    blocks = -(-product.rows.size // (lanes if product.turned else tiling.rows))
    pieces = product.copies * blocks * -(-product.columns.size // tiling.width)
    parts = splitting.parts_of(product, pieces, tiling.total_ns)
    if product.rows.size <= dots.MOST_ROWS and tiling.right == DIRECT:
        parts = max(parts, splitting.strips_of(product))
    if parts > 1:
        _write_parts(plan, product, parts)
    else:
        Blocked(plan, product, tiling).emit()


def _write_parts(plan: Plan, product: Product, parts: int) -> None:
    products, partial = splitting.split(plan, product, parts)
    for part in products:
        write(plan, part)
    splitting.write_sum(plan, product, partial)
