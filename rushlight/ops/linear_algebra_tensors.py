"""The rest of linalg: products of vectors, Vandermonde matrices, tensors taken for matrices, low-rank factors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.contractions import tensordot
from rushlight.ops.cumulative import cumprod
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import cat
from rushlight.ops.linear_algebra import check_matrices, h, inverse, regular, solve
from rushlight.ops.linear_algebra_qr import qr
from rushlight.ops.linear_algebra_spectra import svd
from rushlight.ops.parts import diagonal as diagonal_of
from rushlight.ops.products import matmul
from rushlight.ops.random import randn
from rushlight.ops.reduction import mean, sum
from rushlight.ops.shape import expand, movedim, reshape, unsqueeze


@op(module="linalg", composite=True)
def vecdot(x: Array, y: Array, *, dim: int = -1) -> Array:
    """Dot products along `dim`, of x conjugated with y; shapes broadcast.

    >>> import rushlight
    >>> rushlight.linalg.vecdot(rushlight.ones(2, 3), rushlight.tensor([1.0, 2.0, 3.0]))
    tensor([6., 6.])
    """
    if x.dtype != y.dtype:
        raise RuntimeError(
            f"linalg.vecdot: Expected x and y to have the same dtype, but found {x.dtype} and {y.dtype} instead"
        )
    return sum(conjugate(x) * y, dim, dtype=None if not hasattr(x, "device") else x.dtype)


@vecdot.samples
def vecdot_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3), make(3))
    yield Sample(make(2, 3), make(3))
    yield Sample(make(2, 3), make(2, 1), dim=0)
    yield Bad(make(3), make.ints(3), raises=RuntimeError, says="same dtype")


@op(module="linalg", composite=True)
def diagonal(A: Array, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Array:
    """A view of the diagonals of matrices.

    >>> import rushlight
    >>> rushlight.linalg.diagonal(rushlight.eye(3))
    tensor([1., 1., 1.])
    """
    return diagonal_of(A, offset, dim1, dim2)


@diagonal.samples
def diagonal_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4))
    yield Sample(make(2, 3, 4), offset=1, dim1=0, dim2=1)
    yield Bad(make(3), raises=IndexError, says="out of range")


@op(module="linalg", composite=True)
def vander(x: Array, N: int | None = None) -> Array:
    """Vandermonde matrices: the powers 0 ... N-1 of each element, along a new last dimension.

    >>> import rushlight
    >>> rushlight.linalg.vander(rushlight.tensor([2, 3]), 4)
    tensor([[ 1,  2,  4,  8],
            [ 1,  3,  9, 27]])
    """
    x = x if x.ndim else reshape(x, (1,))
    count = x.shape[-1] if N is None else N
    if count <= 1:
        raise RuntimeError(f"linalg.vander: N must be greater than 1, not {count}.")
    column = unsqueeze(x, -1)
    powers = cumprod(expand(column, *x.shape, count - 1), -1)
    return cat([column * 0 + 1, powers], -1)


@vander.samples
def vander_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3))
    yield Sample(make(2, 3), 4)
    yield Sample(make.ints(3), 2)
    yield Sample(make(()), 2)
    yield Bad(make(3), 1, raises=RuntimeError, says="greater than 1")


def _product(sizes: Any) -> int:
    return math.prod(tuple(sizes))


@op(module="linalg", composite=True)
def tensorinv(A: Array, ind: int = 2) -> Array:
    """The inverse of what tensordot(A, x, ind) does: A as a matrix, its first `ind` dimensions for rows.

    >>> import rushlight
    >>> rushlight.linalg.tensorinv(rushlight.eye(6).reshape(2, 3, 6)).shape
    torch.Size([6, 2, 3])
    """
    if ind < 1:
        raise RuntimeError("Expected a strictly positive integer for 'ind' in tensorinv")
    rows, columns = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if _product(rows) != _product(columns):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{_product(columns)} != {_product(rows)}"
        )
    return reshape(inverse(reshape(A, (_product(rows), _product(columns)))), columns + rows)


@tensorinv.samples
def tensorinv_samples(make: Any) -> Iterator[Any]:
    cube = regular(make, size=6)
    yield Sample(make.tensor(cube._array.reshape(2, 3, 6), cube.dtype))
    yield Sample(make.tensor(cube._array.reshape(6, 3, 2), cube.dtype), 1)
    yield Bad(make(2, 3, 4), raises=RuntimeError, says="requirement")
    yield Bad(make(2, 2), 0, raises=RuntimeError, says="strictly positive")


@op(module="linalg", composite=True)
def tensorsolve(A: Array, B: Array, dims: Any = None) -> Array:
    """X of tensordot(A, X, X.ndim) = B: A as a matrix whose rows are as many as B has elements. The
    dimensions `dims` of A are moved to its end first.

    >>> import rushlight
    >>> A = rushlight.eye(6).reshape(2, 3, 6) * 2
    >>> rushlight.linalg.tensorsolve(A, rushlight.ones(2, 3))
    tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000])
    """
    if dims is not None:
        A = movedim(A, tuple(dims), tuple(range(-len(dims), 0)))
    rows, columns = tuple(A.shape[: B.ndim]), tuple(A.shape[B.ndim :])
    if _product(rows) != _product(columns):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {_product(columns)} != {_product(rows)}"
        )
    matrix = reshape(A, (_product(rows), _product(columns)))
    return reshape(solve(matrix, reshape(B, (-1,))), columns)


@tensorsolve.samples
def tensorsolve_samples(make: Any) -> Iterator[Any]:
    cube = regular(make, size=6)
    yield Sample(make.tensor(cube._array.reshape(2, 3, 6), cube.dtype), make(2, 3))
    yield Sample(make.tensor(cube._array.reshape(6, 2, 3), cube.dtype), make(2, 3), (0,))
    yield Bad(make(2, 3, 4), make(2), raises=RuntimeError, says="requirement")


@op(method=True, composite=True)
def inner(input: Array, other: Array) -> Array:
    """Dot products along the last dimensions of both: of shapes (..., n) and (:::, n) it gives (..., :::).

    >>> import rushlight
    >>> rushlight.inner(rushlight.tensor([1.0, 2.0]), rushlight.tensor([3.0, 4.0]))
    tensor(11.)
    """
    if not input.ndim or not other.ndim:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    return tensordot(input, other, ((-1,), (-1,)))


@inner.samples
def inner_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3), make(3))
    yield Sample(make(2, 3), make(4, 3))
    yield Sample(make(()), make(2, 3))
    yield Bad(make(2), make(3), raises=RuntimeError, says="last dimension")


# -- low rank ---------------------------------------------------------------------------------------------


@op(composite=True)
def svd_lowrank(A: Array, q: int = 6, niter: int = 2, M: Array | None = None) -> Any:
    """U, S and V of an approximation of rank q to A (or A - M), by random projections and `niter` rounds of
    subspace iteration (N. Halko, P. Martinsson and J. Tropp, Finding structure with randomness, 2009).
    """
    check_matrices(A, "svd_lowrank")
    matrix = A if M is None else A - M
    wide = matrix.shape[-2] < matrix.shape[-1]
    tall = h(matrix) if wide else matrix
    sketch = matmul(tall, randn(tall.shape[-1], q, dtype=A.dtype))
    basis = qr(sketch)[0]
    for _ in range(niter):
        basis = qr(matmul(tall, qr(matmul(h(tall), basis))[0]))[0]
    u, s, vh = svd(matmul(h(basis), tall), False)
    u = matmul(basis, u)
    return (h(vh), s, u) if wide else (u, s, h(vh))


@op(composite=True)
def pca_lowrank(A: Array, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """svd_lowrank of the rows of A less their mean: its V holds principal directions. q is min(6, m, n) if not
    given.
    """
    check_matrices(A, "pca_lowrank")
    m, n = A.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - mean(A, -2, True) if center else A, q, niter)


@svd_lowrank.samples
def svd_lowrank_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5, 1), 1)
    yield Sample(make(2, 5, 4).detach(), 2)
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")


@pca_lowrank.samples
def pca_lowrank_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5, 1), 1)
    yield Sample(make(2, 5, 4).detach(), 2)
    yield Bad(make(4, 3), 5, raises=ValueError, says="q(=5)")
