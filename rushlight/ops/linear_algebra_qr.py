"""QR factorisations, and the products of reflections they are kept as."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import cat
from rushlight.ops.linear_algebra import check_matrices, h, named, plain, triangle_solved
from rushlight.ops.linear_algebra_cholesky import ones_on_diagonal
from rushlight.ops.products import matmul
from rushlight.ops.record import type_name
from rushlight.ops.shape import diagonal, narrow, reshape, unsqueeze
from rushlight.ops.triangles import diag_embed, tril, triu
from rushlight.primitives import spectra as p


@op(function=False, outputs=("Q", "R"), result="linalg_qr", node="LinalgQrBackward0")
def qr_decomposed(input: Array, mode: str) -> Any:
    """Q and R of A = QR; without a public form of its own."""
    check_matrices(input, "linalg.qr")
    return p.qr(input, complete=mode == "complete")


@qr_decomposed.gradient("input")
def qr_decomposed_gradient(grads: Any, Q: Array, R: Array, mode: str) -> Array:
    # S. Walter, L. Lehmann and R. Lamour, On evaluating higher-order derivatives of the QR decomposition of tall
    # matrices with full column rank, 2012; a wide A is [X | QV] with X square.
    m, n = Q.shape[-2], R.shape[-1]
    to_q, to_r = grads
    if mode == "r":
        raise RuntimeError(
            "linalg_qr_backward: The derivative of linalg.qr depends on Q, which is not computed when mode='r'. "
            "Please use linalg.qr(A, mode='reduced') if you are going to differentiate through linalg.qr."
        )
    if mode == "complete" and m > n:
        raise RuntimeError(
            "linalg_qr_backward: The QR decomposition is not differentiable when mode='complete' and nrows > ncols "
            f"({m} > {n}); use mode='reduced'."
        )
    if m >= n:
        return _pulled_back(to_q, to_r, Q, R)
    wide, to_wide = narrow(R, -1, m, n - m), narrow(to_r, -1, m, n - m)
    square, to_square = narrow(R, -1, 0, m), narrow(to_r, -1, 0, m)
    to_q = to_q + matmul(matmul(Q, wide), h(to_wide))
    return cat([_pulled_back(to_q, to_square, Q, square), matmul(Q, to_wide)], -1)


def _pulled_back(to_q: Any, to_r: Any, q: Any, r: Any) -> Any:
    inner = triu(matmul(to_r, h(r)) - matmul(h(q), to_q))
    middle = diagonal(inner, 0, -2, -1)
    both = inner + h(inner) - diag_embed(_real_as(middle))
    total = to_q + matmul(q, both)
    return h(triangle_solved(r, h(total), True, False))


def _real_as(x: Any) -> Any:
    """The real parts; still complex numbers where they were."""
    return (x + conjugate(x)) * 0.5


@op(module="linalg", composite=True, outputs=("Q", "R"), result="linalg_qr")
def qr(A: Array, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and an upper triangle R with A = QR.

    For A of shape (m, n) with k = min(m, n), `mode` is "reduced" (Q is (m, k), R is (k, n)),
    "complete" (Q is (m, m), R is (m, n)) or "r" (R alone, (k, n); Q is empty). Columns and rows may
    differ from other libraries' in their signs.

    >>> import rushlight
    >>> Q, R = rushlight.linalg.qr(rushlight.tensor([[3.0, 1.0], [4.0, 2.0]]))
    >>> rushlight.allclose(Q @ R, rushlight.tensor([[3.0, 1.0], [4.0, 2.0]]))
    True
    """
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    q, r = qr_decomposed(A, mode)
    if mode == "r":
        q = reshape(ones_on_diagonal(A, 0, 1), (0,))
    return named(qr, q, r)


@op(name="qr", composite=True, method=True, outputs=("Q", "R"))
def qr_older(input: Array, some: bool = True) -> Any:
    """The older form of linalg.qr: some=False is mode="complete"."""
    return named(qr_older, *qr_decomposed(input, "reduced" if some else "complete"))


@qr_decomposed.samples
def qr_decomposed_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4, 3), "reduced")
    yield Sample(make(2, 3, 4), "reduced")
    yield Sample(make(2, 3, 3, dtype=dtypes.complex128), "complete")


def _qr_samples(make: Any, *flags: Any) -> Iterator[Any]:
    yield Sample(make(4, 3))
    yield Sample(make(2, 3, 4))
    yield Sample(make(3, 3), flags[0])
    yield Sample(make(2, 4, 3).detach(), flags[0])
    yield Sample(make(0, 3, 2))
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")


@qr.samples
def qr_samples(make: Any) -> Iterator[Any]:
    yield from _qr_samples(make, "complete")
    yield Sample(make(4, 3).detach(), "r")
    yield Sample(make(2, 4, 3, dtype=dtypes.complex128))
    yield Bad(make(3, 3), "full", raises=RuntimeError, says="unrecognized mode")


@qr_older.samples
def qr_older_samples(make: Any) -> Iterator[Any]:
    yield from _qr_samples(make, False)


# -- reflections ------------------------------------------------------------------------------------------


@op(method=True, outputs=("a", "tau"), differentiable=False)
def geqrf(input: Array) -> Any:
    """QR as LAPACK keeps it: R on and above the diagonal of `a`, and below it the vectors of the
    reflections whose factors are `tau`. linalg.householder_product makes Q of them. No gradient
    passes here: linalg.qr has one.
    """
    check_matrices(input, "torch.geqrf")
    return p.reflectors(input)


@geqrf.samples
def geqrf_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4, 3).detach())
    yield Sample(make(2, 3, 4, dtype=dtypes.complex128).detach())
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")


def _check_reflections(x: Any, tau: Any, name: str) -> None:
    check_matrices(x, name)
    if x.shape[-2] < x.shape[-1]:
        raise RuntimeError(
            f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if tau.ndim != x.ndim - 1 or tuple(tau.shape[:-1]) != tuple(x.shape[:-2]):
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input and the same batch, but got tau of shape "
            f"{list(tau.shape)} and input of shape {list(x.shape)}"
        )
    if tau.shape[-1] > x.shape[-1]:
        raise RuntimeError(
            f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    if tau.dtype != x.dtype:
        raise RuntimeError(
            f"{name}: tau dtype {type_name(plain(tau.dtype))} does not match input dtype {type_name(plain(x.dtype))}"
        )


def _reflected(x: Any, tau: Any, target: Any, transposed: bool) -> Any:
    """Q (or Q^H) times `target`, Q = H(0) H(1) ..., with H(i) = 1 - tau[i] v v^H."""
    m, k = x.shape[-2], tau.shape[-1]
    vectors = tril(x, -1) + ones_on_diagonal(x, m, x.shape[-1])
    for i in range(k) if transposed else reversed(range(k)):
        v = narrow(vectors, -1, i, 1)
        factor = unsqueeze(narrow(tau, -1, i, 1), -1)
        factor = conjugate(factor) if transposed else factor
        target = target - matmul(v, matmul(h(v), target) * factor)
    return target


@op(module="linalg", composite=True)
def householder_product(input: Array, tau: Array) -> Array:
    """The first columns of a product of reflections: Q of a QR factorisation, from what geqrf()
    answers with. Shapes (..., m, n) and (..., k) with k <= n <= m give (..., m, n).
    """
    _check_reflections(input, tau, "torch.linalg.householder_product")
    return _reflected(input, tau, ones_on_diagonal(input, *input.shape[-2:]), False)


@op(method=True, composite=True)
def orgqr(input: Array, input2: Array) -> Array:
    """Another name of linalg.householder_product."""
    return householder_product(input, input2)


def _product_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4, 3), make(3))
    yield Sample(make(2, 3, 3), make(2, 2))
    yield Sample(make(3, 2, dtype=dtypes.complex128), make(2, dtype=dtypes.complex128))
    yield Bad(make(2, 3), make(2), raises=RuntimeError, says="greater than or equal")
    yield Bad(make(3, 2), make(3), raises=RuntimeError, says="tau.shape[-1]")


householder_product.samples(_product_samples)
orgqr.samples(_product_samples)


@op(method=True, composite=True)
def ormqr(
    input: Array, tau: Array, other: Array, left: bool = True, transpose: bool = False
) -> Array:
    """Q `other` (transpose=True: Q^H `other`; left=False: `other` Q), with the square Q of the
    reflections that geqrf() answers with.
    """
    check_matrices(input, "torch.ormqr")
    wanted = other.shape[-2 if left else -1] if other.ndim >= 2 else None
    if wanted != input.shape[-2]:
        raise RuntimeError(
            f"torch.ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2] = {input.shape[-2]}; "
            f"other has shape {list(other.shape)}"
        )
    if left:
        return _reflected(input, tau, other, bool(transpose))
    return h(_reflected(input, tau, h(other), not transpose))


@ormqr.samples
def ormqr_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4, 3), make(3), make(4, 2))
    yield Sample(make(2, 3, 3), make(2, 3), make(2, 2, 3), False, True)
    yield Sample(
        make(3, 2, dtype=dtypes.complex128),
        make(2, dtype=dtypes.complex128),
        make(3, 2, dtype=dtypes.complex128),
        True,
        True,
    )
    yield Bad(make(3, 2), make(2), make(2, 2), raises=RuntimeError, says="must be equal")
