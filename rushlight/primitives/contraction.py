"""`contract`: the one product behind matmul, bmm, linear, einsum and tensordot.

    contract(a, b, axes_a, axes_b, batch_a, batch_b)

sums over the paired axes `axes_a`/`axes_b` and runs along the paired `batch_a`/`batch_b`. The result's dimensions
are: batch, then what is left of `a`, then what is left of `b`, each in its own order.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from rushlight.core.dtypes import BOOL, HALF
from rushlight.core.shapes import size_of
from rushlight.primitives.primitive import Aval, dtype_of, primitive

#: Computed in float32 and rounded once.
NARROW = frozenset((*HALF, BOOL))

contract = primitive("contract", params=("axes_a", "axes_b", "batch_a", "batch_b"), checked=False)


def _free(rank: int, *used: tuple[int, ...]) -> tuple[int, ...]:
    taken = [a for axes in used for a in axes]
    return tuple(i for i in range(rank) if i not in taken)


@contract.define_rule
def _(
    a: Any,
    b: Any,
    *,
    axes_a: tuple[int, ...],
    axes_b: tuple[int, ...],
    batch_a: tuple[int, ...] = (),
    batch_b: tuple[int, ...] = (),
) -> Aval:
    sa, sb = a.shape, b.shape
    for i, j in zip((*axes_a, *batch_a), (*axes_b, *batch_b), strict=True):
        if sa[i] != sb[j]:
            raise RuntimeError(
                f"product of shapes {tuple(sa)} and {tuple(sb)}: dimension {i} of the first has size {sa[i]}, "
                f"dimension {j} of the second {sb[j]}; they must be equal"
            )
    shape = [sa[i] for i in batch_a]
    shape += [sa[i] for i in _free(len(sa), axes_a, batch_a)]
    shape += [sb[j] for j in _free(len(sb), axes_b, batch_b)]
    return Aval(tuple(shape), dtype_of(a, b))


class _Arrangement:
    """How operands of some numbers of dimensions become stacks of matrices (batch..., rows, columns)."""

    __slots__ = ("free_a", "free_b", "order_a", "order_b", "plain")

    def __init__(
        self,
        rank_a: int,
        rank_b: int,
        axes_a: tuple[int, ...],
        axes_b: tuple[int, ...],
        batch_a: tuple[int, ...],
        batch_b: tuple[int, ...],
    ) -> None:
        self.free_a, self.free_b = _free(rank_a, axes_a, batch_a), _free(rank_b, axes_b, batch_b)
        self.order_a = _order((*batch_a, *self.free_a, *axes_a))
        self.order_b = _order((*batch_b, *axes_b, *self.free_b))
        #: Whether both are matrices as they are: the product has the result's shape, and NumPy checks theirs.
        self.plain = not batch_a and all(
            len(dims) == 1 for dims in (axes_a, axes_b, self.free_a, self.free_b)
        )


def _order(dims: tuple[int, ...]) -> tuple[int, ...] | None:
    """The order of a transposition; None for one that changes nothing."""
    return None if dims == tuple(range(len(dims))) else dims


#: By numbers of dimensions and parameters: finding one takes longer than a small product.
_arrangement = functools.cache(_Arrangement)


@contract.define_reference
def _(
    xp: Any,
    a: Any,
    b: Any,
    *,
    axes_a: tuple[int, ...],
    axes_b: tuple[int, ...],
    batch_a: tuple[int, ...] = (),
    batch_b: tuple[int, ...] = (),
) -> Any:
    dtype = a.dtype
    if dtype is not b.dtype and dtype != b.dtype:
        raise TypeError  # the rule says why
    if dtype in NARROW:
        a, b = a.astype(np.float32), b.astype(np.float32)
    way = _arrangement(a.ndim, b.ndim, axes_a, axes_b, batch_a, batch_b)
    left = a if way.order_a is None else a.transpose(way.order_a)
    right = b if way.order_b is None else b.transpose(way.order_b)
    if way.plain:
        product = xp.matmul(left, right)
    else:
        shape_a, shape_b = a.shape, b.shape
        batch, summed = [shape_a[i] for i in batch_a], [shape_a[i] for i in axes_a]
        if batch != [shape_b[i] for i in batch_b] or summed != [shape_b[i] for i in axes_b]:
            raise ValueError  # the rule says why
        rows, columns = [shape_a[i] for i in way.free_a], [shape_b[i] for i in way.free_b]
        lead = (size_of(batch),) if batch else ()
        left = left.reshape(*lead, size_of(rows), size_of(summed))
        right = right.reshape(*lead, size_of(summed), size_of(columns))
        product = xp.matmul(left, right).reshape(batch + rows + columns)
    return product if product.dtype is dtype else product.astype(dtype, copy=False)
