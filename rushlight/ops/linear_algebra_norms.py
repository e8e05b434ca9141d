"""Norms of matrices, and their condition."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.ops.arithmetic import in_dtype
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.extremes import amax, amin
from rushlight.ops.linear_algebra import check_matrices, check_square, inv_ex, plain, regular
from rushlight.ops.linear_algebra_spectra import svdvals
from rushlight.ops.norms import vector_norm
from rushlight.ops.pointwise import abs
from rushlight.ops.record import type_name
from rushlight.ops.reduction import sum
from rushlight.ops.selection import choose
from rushlight.ops.shape import movedim, select, unsqueeze


@op(module="linalg", composite=True)
def matrix_norm(
    A: Array,
    ord: Any = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Array:
    """Norms of matrices: "fro" (of all elements), "nuc" (sum of singular values), 2 and -2 (the largest and the
    smallest of them), 1 and -1 (of column sums), inf and -inf (of row sums). `dim` names rows and columns.

    >>> import rushlight
    >>> rushlight.linalg.matrix_norm(rushlight.tensor([[1.0, -2.0], [3.0, 4.0]]), 1)
    tensor(6.)
    """
    if A.ndim < 2:
        raise RuntimeError(
            f"linalg.matrix_norm: The input tensor A must have at least 2 dimensions, not {A.ndim}."
        )
    if plain(A.dtype).kind in "biu":
        raise RuntimeError(
            "linalg.matrix_norm: Expected a floating point or complex tensor as input. Got "
            f"{type_name(plain(A.dtype))}"
        )
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    rows, columns = (d + A.ndim if d < 0 else d for d in dim)
    if not (0 <= rows < A.ndim and 0 <= columns < A.ndim):
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-A.ndim}, {A.ndim - 1}], but got {tuple(dim)})"
        )
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if ord == "fro":
        return vector_norm(A, 2, (rows, columns), keepdim, dtype=dtype)
    if ord not in ("nuc", 2, -2, 1, -1, math.inf, -math.inf):
        raise RuntimeError(
            f"linalg.matrix_norm: Order {ord} not supported: give 'fro', 'nuc', 1, -1, 2, -2, inf or -inf."
        )
    if dtype is not None:
        A = in_dtype(A, dtypes.to_numpy(dtype))
    if ord in ("nuc", 2, -2):
        sizes = svdvals(movedim(A, (rows, columns), (-2, -1)))
        if ord == "nuc":
            out = sum(sizes, -1)
        else:
            out = (amax if ord == 2 else amin)(sizes, -1)
        if keepdim:
            for d in sorted((rows, columns)):
                out = unsqueeze(out, d)
        return out
    first, second = (rows, columns) if ord in (1, -1) else (columns, rows)
    sums = vector_norm(A, 1, first, keepdim)
    second = second - 1 if second > first and not keepdim else second
    return (amax if ord > 0 else amin)(sums, second, keepdim)


@matrix_norm.samples
def matrix_norm_samples(make: Any) -> Iterator[Any]:
    for ord in ("fro", "nuc", 2, -2, 1, -1, math.inf, -math.inf):
        yield Sample(make(3, 4), ord)
    yield Sample(make(2, 3, 4), "nuc", (0, 2), True)
    yield Sample(make(2, 3, 4), 1, (2, 0))
    yield Bad(make(3, 3), 3, raises=RuntimeError, says="Order 3 not supported")
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")
    yield Bad(make.ints(3, 3), raises=RuntimeError, says="Got Long")


@op(module="linalg", composite=True)
def norm(
    A: Array,
    ord: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Array:
    """A vector's or a matrix's norm: of vectors if `dim` is one number, of matrices if it is two; without `dim`, as
    A has one or two dimensions. Without `ord`, the root of the sum of squares.

    >>> import rushlight
    >>> rushlight.linalg.norm(rushlight.tensor([3.0, 4.0]))
    tensor(5.)
    """
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dim is None and A.ndim not in (1, 2):
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
            f"{A.ndim}D."
        )
    axes = (tuple(range(A.ndim)) if dim is None else dim) if not isinstance(dim, int) else (dim,)
    if len(axes) == 2:
        return matrix_norm(A, ord, axes, keepdim, dtype=dtype)
    if isinstance(ord, str):
        raise RuntimeError(
            f"linalg.norm: order {ord!r} is a norm of matrices: dim must name two dimensions, not {dim}"
        )
    return vector_norm(A, ord, axes, keepdim, dtype=dtype)


@norm.samples
def norm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3), 3)
    yield Sample(make(3, 4), "nuc")
    yield Sample(make(2, 3, 4), 1, 1)
    yield Sample(make(2, 3, 4), 2, (0, 1), True)
    yield Bad(make(2, 3, 4), 2, raises=RuntimeError, says="1D or 2D")


@op(module="linalg", composite=True)
def cond(A: Array, p: Any = None) -> Array:
    """The condition of matrices: the norm of order `p` times that of the inverse; without `p`, the largest
    singular value over the smallest. Singular matrices have inf.

    >>> import rushlight
    >>> rushlight.linalg.cond(rushlight.tensor([[2.0, 0.0], [0.0, 8.0]]))
    tensor(4.)
    """
    if A.ndim < 2:
        check_matrices(A, "linalg.cond")
    if p not in (None, "fro", "nuc", 2, -2, 1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    if p in (None, 2, -2):
        check_matrices(A, "linalg.cond")
        sizes = svdvals(A)
        if not sizes.shape[-1]:
            return sum(sizes, -1)
        largest, smallest = select(sizes, -1, 0), select(sizes, -1, sizes.shape[-1] - 1)
        return smallest / largest if p == -2 else largest / smallest
    check_square(A, "linalg.cond")
    if not A.shape[-1]:
        return sum(abs(sum(A, -1)), -1)
    other, info = inv_ex(A)
    bound = matrix_norm(A, p) * matrix_norm(other, p)
    return choose(info == 0, bound, math.inf)


@cond.samples
def cond_samples(make: Any) -> Iterator[Any]:
    for order in (None, 2, -2, "fro", "nuc", 1, -1, math.inf, -math.inf):
        yield Sample(regular(make, 2), order)
    yield Sample(make(4, 3))
    yield Bad(make(4, 3), 1, raises=RuntimeError, says="square")
    yield Bad(make(3, 3), "max", raises=RuntimeError, says="invalid norm type")
