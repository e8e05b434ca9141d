"""`contract`: the one product behind matmul, bmm, linear, einsum and tensordot.

    contract(a, b, axes_a, axes_b, batch_a, batch_b)

sums over the paired axes `axes_a`/`axes_b` and runs along the paired `batch_a`/`batch_b`. The result's dimensions
are: batch, then what is left of `a`, then what is left of `b`, each in its own order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core.dtypes import BOOL, HALF
from rushlight.core.shapes import size_of
from rushlight.primitives.primitive import Aval, dtype_of, primitive

contract = primitive("contract", params=("axes_a", "axes_b", "batch_a", "batch_b"))


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


def _as_matrices(
    x: Any, batch: tuple[int, ...], rows: tuple[int, ...], columns: tuple[int, ...]
) -> Any:
    """`x` as a stack of matrices: (batch..., rows, columns), a view where strides allow."""
    shape = x.shape
    order = (*batch, *rows, *columns)
    if order != tuple(range(x.ndim)):
        x = x.transpose(order)
    if len(rows) == 1 and len(columns) == 1 and len(batch) <= 1:
        return x
    lead = (size_of(shape[i] for i in batch),) if batch else ()
    return x.reshape(*lead, size_of(shape[i] for i in rows), size_of(shape[i] for i in columns))


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
    if dtype in HALF or dtype == BOOL:
        a, b = a.astype(np.float32), b.astype(np.float32)
    free_a, free_b = _free(a.ndim, axes_a, batch_a), _free(b.ndim, axes_b, batch_b)
    shape = [a.shape[i] for i in (*batch_a, *free_a)] + [b.shape[j] for j in free_b]
    product = xp.matmul(
        _as_matrices(a, batch_a, free_a, axes_a), _as_matrices(b, batch_b, axes_b, free_b)
    )
    return product.reshape(shape).astype(dtype, copy=False)
