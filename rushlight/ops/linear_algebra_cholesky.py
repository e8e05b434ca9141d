"""Cholesky factors of positive definite matrices, and what is solved with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.linear_algebra import (
    check_pair,
    check_square,
    h,
    regular,
    triangle_solved,
)
from rushlight.ops.products import matmul
from rushlight.ops.shape import diagonal
from rushlight.ops.triangles import diag_embed, tril
from rushlight.primitives import linalg as p
from rushlight.primitives import structural as s
from rushlight.primitives.elementwise import conj


@op(function=False, differentiable=False)
def ones_on_diagonal(input: Array, rows: int, columns: int) -> Array:
    """Identity matrices (rows, columns) of the dtype of `input`."""
    return identity(rows, columns, input.dtype)


def identity(rows: int, columns: int, dtype: Any) -> Any:
    """The identity matrix as an array."""
    from rushlight.primitives.elementwise import equal

    line = s.reshape(s.iota(length=rows, dtype=dtypes.INT64), shape=(rows, 1))
    return s.cast(equal(line, s.iota(length=columns, dtype=dtypes.INT64)), dtype=dtype)


@ones_on_diagonal.samples
def ones_on_diagonal_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2), 2, 3)


# -- Cholesky ---------------------------------------------------------------------------------------------


@op(
    module="linalg",
    outputs=("L", "info"),
    result="linalg_cholesky_ex",
    node="LinalgCholeskyExBackward0",
)
def cholesky_ex(input: Array, *, upper: bool = False, check_errors: bool = False) -> Any:
    """As cholesky(), and for each matrix 0 or the order of its first minor that is not positive."""
    check_square(input, "linalg.cholesky")
    caller = "linalg.cholesky_ex" if check_errors else ""
    return p.cholesky(input, upper=bool(upper), caller=caller)


@cholesky_ex.gradient("input")
def cholesky_ex_gradient(grad: Array, L: Array, upper: bool) -> Array:
    return cholesky_pullback(grad, L, upper)


def cholesky_pullback(grad: Any, factor: Any, upper: bool) -> Any:
    """The gradient of A = L L^H, shared between its triangles (I. Murray, Differentiation of the
    Cholesky decomposition, 2016).
    """
    lower, grad = (h(factor), h(grad)) if upper else (factor, grad)
    inner = tril(matmul(h(lower), grad))
    inner = inner - diag_embed(_diagonals(inner)) * 0.5
    left = triangle_solved(h(lower), inner, True, False)
    both = h(triangle_solved(h(lower), h(left), True, False))
    return (both + h(both)) * 0.5


def _diagonals(x: Any) -> Any:
    return diagonal(x, 0, -2, -1)


@op(module="linalg", node="LinalgCholeskyExBackward0")
def cholesky(input: Array, *, upper: bool = False) -> Array:
    """L of A = L L^H (or its conjugate transpose, with upper=True), for positive definite A.

    One triangle of A is read: the lower one, or the upper one with upper=True. Raises
    linalg.LinAlgError if A is not positive definite.

    >>> import rushlight
    >>> rushlight.linalg.cholesky(rushlight.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    check_square(input, "linalg.cholesky")
    return p.cholesky(input, upper=bool(upper), caller="linalg.cholesky")[0]


@cholesky.gradient("input")
def cholesky_gradient(grad: Array, out: Array, upper: bool) -> Array:
    return cholesky_pullback(grad, out, upper)


@op(method=True, name="cholesky", composite=True)
def cholesky_older(input: Array, upper: bool = False) -> Array:
    """The older form of linalg.cholesky."""
    return cholesky(input, upper=upper)


def positive(make: Any, *batch: int, dtype: Any = None) -> Any:
    """Positive definite matrices that need no gradient: a step in one element alone leaves them."""
    x = make(*batch, 3, 3, dtype=dtype)._array
    made = make.tensor(
        x @ np.conj(np.swapaxes(x, -1, -2)) + 2 * np.eye(3), dtypes.of_numpy(x.dtype)
    )
    return made.detach()


def _cholesky_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 1, 1, low=1, high=2))
    yield Sample(positive(make))
    yield Sample(positive(make, 2), upper=True)
    yield Sample(positive(make, dtype=dtypes.complex128))
    yield Sample(make(0, 2, 2))
    yield Bad(make(2, 3), raises=RuntimeError, says="square")


cholesky_ex.samples(_cholesky_samples)


def _strict_samples(make: Any) -> Iterator[Any]:
    yield from _cholesky_samples(make)
    yield Bad(make(2, 2, low=-2, high=-1), raises=p.LinAlgError, says="minor of order 1")


cholesky.samples(_strict_samples)
cholesky_older.samples(_strict_samples)


@op(method=True)
def cholesky_solve(input: Array, L: Array, upper: bool = False) -> Array:
    """X of AX = `input`, given the Cholesky factor L of A (or its conjugate transpose, upper=True).

    One triangle of L is read. As in PyTorch, its gradient is that of a full matrix L in A = L L^H.

    >>> import rushlight
    >>> L = rushlight.tensor([[2.0, 0.0], [1.0, 2.0]])
    >>> rushlight.cholesky_solve(rushlight.tensor([[6.0], [7.0]]), L)
    tensor([[1.],
            [1.]])
    """
    for x, what in ((input, "b"), (L, "u")):
        if x.ndim < 2:
            raise RuntimeError(
                f"{what} should have at least 2 dimensions, but has {x.ndim} dimensions instead"
            )
    check_square(L, "cholesky_solve")
    check_pair(L, input, "cholesky_solve")
    axes = (*range(L.ndim - 2), L.ndim - 1, L.ndim - 2)
    turned = s.permute(conj(L) if L.dtype in dtypes.COMPLEX else L, axes=axes)
    lower, higher = (turned, L) if upper else (L, turned)
    inner = p.solve_triangle(lower, input, upper=False, unit=False)
    return p.solve_triangle(higher, inner, upper=True, unit=False)


@cholesky_solve.gradient("input", "L")
def cholesky_solve_gradient(grad: Array, L: Array, out: Array, upper: bool) -> Any:
    to_input = cholesky_solve(grad, L, upper)
    both = matmul(to_input, h(out))
    both = both + h(both)
    return to_input, -(matmul(L, both) if upper else matmul(both, L))


@cholesky_solve.samples
def cholesky_solve_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 1, 3), make(2, 1, 1, low=1))
    yield Sample(make(3, 2), regular(make).detach())
    yield Sample(make(3, 2), regular(make, 2).detach(), True)
    yield Bad(make(3), regular(make), raises=RuntimeError, says="at least 2 dimensions")
    yield Bad(make(2, 2), regular(make), raises=RuntimeError, says="Incompatible")


@op(method=True, composite=True)
def cholesky_inverse(L: Array, upper: bool = False) -> Array:
    """The inverse of the matrices whose Cholesky factors are L (upper=True: conjugate transposes).

    >>> import rushlight
    >>> rushlight.cholesky_inverse(rushlight.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor([[0.2500, 0.0000],
            [0.0000, 1.0000]])
    """
    check_square(L, "cholesky_inverse")
    return cholesky_solve(ones_on_diagonal(L, L.shape[-1], L.shape[-1]), L, upper)


@cholesky_inverse.samples
def cholesky_inverse_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 1, 1, low=1))
    yield Sample(regular(make).detach())
    yield Sample(regular(make, 2).detach(), True)
    yield Bad(make(2, 3), raises=RuntimeError, says="square")
