"""Singular values and eigenvalues: svd, eigh, eig, and what they are asked for; gradients included.

What do the formulas come from?
    From the equations that define the factors, differentiated (M. Giles, Collected matrix derivative results, 2008;
    for complex matrices Z. Wan and S. Zhang, Automatic differentiation for complex valued SVD, 2019; for eig
    C. Boeddeker et al., On the computation of complex-valued gradients, 2017). Vectors are unique up to signs (or
    phases) only: a gradient exists for what does not depend on those, and where values are apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.ops.complex_numbers import conjugate, is_complex_dtype
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.linear_algebra import check_matrices, check_square, h, named
from rushlight.ops.products import matmul
from rushlight.ops.selection import choose
from rushlight.ops.shape import diagonal, narrow, unsqueeze
from rushlight.ops.triangles import diag_embed
from rushlight.primitives import spectra as p


def _diagonals(x: Any) -> Any:
    return diagonal(x, 0, -2, -1)


def _quotient(x: Any, divisor: Any) -> Any:
    """The quotient, and 0 where x is: no gradient asks there how near the divisor is to zero."""
    return x / choose(x == 0, 1, divisor)


def _apart(x: Any, gaps: Any) -> Any:
    """The quotient off the diagonal; on it 0."""
    return _quotient(x - diag_embed(_diagonals(x)), gaps)


def _gaps(values: Any) -> Any:
    """Differences of the values: element (i, j) is values[j] - values[i]."""
    return unsqueeze(values, -2) - unsqueeze(values, -1)


# -- singular values --------------------------------------------------------------------------------------


@op(module="linalg", outputs=("U", "S", "Vh"), result="linalg_svd", node="LinalgSvdBackward0")
def svd(A: Array, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U, S and Vh with A = U diag(S) Vh; S holds the singular values, the largest first.

    For A of shape (m, n) with k = min(m, n), U is (m, m) and Vh is (n, n), or with
    full_matrices=False (m, k) and (k, n). The rows and columns beyond k get no gradient. `driver` is
    a choice among CUDA's methods: RuntimeError here.

    >>> import rushlight
    >>> U, S, Vh = rushlight.linalg.svd(rushlight.tensor([[3.0, 0.0], [0.0, -4.0]]))
    >>> S
    tensor([4., 3.])
    """
    check_matrices(A, "linalg.svd")
    _no_driver(driver, "linalg.svd")
    return p.svd(A, full=bool(full_matrices))


def _no_driver(driver: Any, name: str) -> None:
    if driver is not None:
        raise RuntimeError(f"{name}: keyword argument `driver=` is only supported on CUDA inputs.")


@svd.gradient("A")
def svd_gradient(grads: Any, A: Array, U: Array, S: Array, Vh: Array) -> Array:
    m, n = A.shape[-2:]
    k = min(m, n)
    to_u, to_s, to_vh = grads
    u, to_u = narrow(U, -1, 0, k), narrow(to_u, -1, 0, k)
    vh, to_vh = narrow(Vh, -2, 0, k), narrow(to_vh, -2, 0, k)
    row, column = unsqueeze(S, -2), unsqueeze(S, -1)
    gaps = _gaps(S * S)
    by_u, by_v = matmul(h(u), to_u), matmul(to_vh, h(vh))
    inner = _apart(by_u - h(by_u), gaps) * row + column * _apart(h(by_v) - by_v, gaps)
    inner = inner + diag_embed(to_s)
    if is_complex_dtype(A.dtype):
        turning = _diagonals(by_u)
        inner = inner + diag_embed(_quotient((turning - conjugate(turning)) * 0.5, S))
    left = matmul(u, inner)
    if m > k:
        left = left + _quotient(to_u - matmul(u, by_u), row)
    total = matmul(left, vh)
    if n > k:
        total = total + matmul(u, _quotient(to_vh - matmul(by_v, vh), column))
    return total


@svd.samples
def svd_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 1), False)
    yield Sample(make(2, 1, 1))
    yield Sample(make(2, 4, 3).detach())
    yield Sample(make(3, 4, dtype=dtypes.complex128).detach(), False)
    yield Sample(make(0, 3, 2).detach())
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")
    yield Bad(make.ints(2, 2), raises=RuntimeError, says="Got Long")


@op(module="linalg", composite=True)
def svdvals(A: Array, *, driver: str | None = None) -> Array:
    """Singular values, the largest first.

    >>> import rushlight
    >>> rushlight.linalg.svdvals(rushlight.tensor([[3.0, 0.0], [0.0, -4.0]]))
    tensor([4., 3.])
    """
    check_matrices(A, "linalg.svdvals")
    _no_driver(driver, "linalg.svdvals")
    if getattr(A, "requires_grad", True):
        return svd(A, False)[1]
    return singular_values(A)


@op(function=False, differentiable=False)
def singular_values(input: Array) -> Array:
    """Singular values alone, which cost less than with their vectors."""
    return p.singular_values(input)


def _value_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 3))
    yield Sample(make(2, 4, 3))
    yield Sample(make(2, 3, 4))
    yield Sample(make(3, 3, dtype=dtypes.complex128))
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")


svdvals.samples(_value_samples)


@singular_values.samples
def singular_values_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 4, 3))
    yield Sample(make(0, 3))


@op(name="svd", method=True, composite=True, outputs=("U", "S", "V"))
def svd_older(input: Array, some: bool = True, compute_uv: bool = True) -> Any:
    """The older form of linalg.svd: V in place of Vh, and some=False for full matrices. With
    compute_uv=False U and V are zeros.
    """
    check_matrices(input, "linalg.svd")
    u, s, vh = svd(input, not some)
    if not compute_uv:
        return named(svd_older, u.detach() * 0, s, h(vh).detach() * 0)
    return named(svd_older, u, s, h(vh))


@svd_older.samples
def svd_older_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 1))
    yield Sample(make(2, 4, 3).detach(), False)
    yield Sample(make(2, 4, 3).detach(), True, False)
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")


# -- eigenvalues of Hermitian matrices --------------------------------------------------------------------


def _check_triangle(which: Any) -> bool:
    if str(which).upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {which}")
    return str(which).upper() == "L"


@op(
    module="linalg",
    outputs=("eigenvalues", "eigenvectors"),
    result="linalg_eigh",
    node="LinalgEighBackward0",
)
def eigh(A: Array, UPLO: str = "L") -> Any:
    """Eigenvalues in rising order, and eigenvectors as columns, of symmetric (Hermitian) matrices, of
    which the triangle UPLO ("L" or "U") is read.

    >>> import rushlight
    >>> rushlight.linalg.eigh(rushlight.tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    tensor([1., 2.])
    """
    check_square(A, "linalg.eigh")
    return p.eigh(A, lower=_check_triangle(UPLO))


@eigh.gradient("A")
def eigh_gradient(grads: Any, eigenvalues: Array, eigenvectors: Array) -> Array:
    to_values, to_vectors = grads
    inner = _apart(matmul(h(eigenvectors), to_vectors), _gaps(eigenvalues))
    inner = inner + diag_embed(to_values)
    return matmul(matmul(eigenvectors, inner), h(eigenvectors))


def _hermitian_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 1, 1))
    yield Sample(_hermitian(make))
    yield Sample(_hermitian(make, 2), "U")
    yield Sample(_hermitian(make, dtype=dtypes.complex128))
    yield Sample(make(0, 2, 2))
    yield Bad(make(2, 3), raises=RuntimeError, says="square")
    yield Bad(make(2, 2), "X", raises=RuntimeError, says="UPLO")


def _hermitian(make: Any, *batch: int, dtype: Any = None) -> Any:
    x = make(*batch, 3, 3, dtype=dtype)._array
    return make.tensor(x + np.conj(np.swapaxes(x, -1, -2)), dtypes.of_numpy(x.dtype)).detach()


eigh.samples(_hermitian_samples)


@op(module="linalg", composite=True)
def eigvalsh(A: Array, UPLO: str = "L") -> Array:
    """Eigenvalues of symmetric (Hermitian) matrices, in rising order.

    >>> import rushlight
    >>> rushlight.linalg.eigvalsh(rushlight.tensor([[1.0, 0.0], [0.0, 2.0]]))
    tensor([1., 2.])
    """
    return eigh(A, UPLO)[0]


eigvalsh.samples(_hermitian_samples)


# -- eigenvalues ------------------------------------------------------------------------------------------


@op(
    module="linalg",
    outputs=("eigenvalues", "eigenvectors"),
    result="linalg_eig",
    node="LinalgEigBackward0",
)
def eig(A: Array) -> Any:
    """Eigenvalues in no order, and eigenvectors of length 1 as columns; complex for real matrices too.

    >>> import rushlight
    >>> rushlight.linalg.eig(rushlight.tensor([[1.0, 0.0], [0.0, 3.0]])).eigenvalues
    tensor([1.+0.j, 3.+0.j])
    """
    check_square(A, "linalg.eig")
    return p.eig(A)


@eig.gradient("A")
def eig_gradient(grads: Any, eigenvalues: Array, eigenvectors: Array) -> Array:
    from rushlight.ops.linear_algebra import solve_matrices

    to_values, to_vectors = grads
    turned = h(eigenvectors)
    by_vectors = matmul(turned, to_vectors)
    along = _diagonals(by_vectors)
    lengths = (along + conjugate(along)) * 0.5
    inner = by_vectors - matmul(turned, eigenvectors) * unsqueeze(lengths, -2)
    inner = _apart(inner, conjugate(_gaps(eigenvalues))) + diag_embed(to_values)
    return solve_matrices(turned, matmul(inner, turned), "")[0]


@op(module="linalg", composite=True)
def eigvals(A: Array) -> Array:
    """Eigenvalues in no order; complex for real matrices too.

    >>> import rushlight
    >>> rushlight.linalg.eigvals(rushlight.tensor([[0.0, 1.0], [-1.0, 0.0]]))
    tensor([0.+1.j, 0.-1.j])
    """
    check_square(A, "linalg.eigvals")
    return eig(A)[0]


def _square_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 1, 1))
    yield Sample(make.tensor(np.diag([1.0, 2.0, 4.0]) + 0.1 * make(3, 3)._array, dtypes.float64))
    yield Sample(make(3, 3, dtype=dtypes.complex128))
    yield Sample(make(0, 2, 2))
    yield Bad(make(2, 3), raises=RuntimeError, says="square")
    yield Bad(
        make.tensor(np.full((2, 2), np.nan), dtypes.float64),
        raises=RuntimeError,
        says="infs or NaNs",
    )


eigvals.samples(_square_samples)


@eig.samples
def eig_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 1, 1))
    yield Sample(make(2, 3, 3).detach())
    yield Sample(make(3, 3, dtype=dtypes.complex128).detach())
    yield Bad(make(2, 3), raises=RuntimeError, says="square")
