"""What the samples of single ops can't show: gradients on symmetric matrices, and of what is unique in factors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.autograd import gradcheck, gradgradcheck

linalg = rushlight.linalg
REAL, COMPLEX = rushlight.float64, rushlight.complex128


def matrix(*shape: int, dtype: Any = REAL) -> Any:
    """Random elements that require a gradient."""
    random = np.random.default_rng(3)
    values = random.standard_normal(shape)
    if dtype is COMPLEX:
        values = values + 1j * random.standard_normal(shape)
    return rushlight.from_numpy(values).requires_grad_()


def hermitian(x: Any) -> Any:
    """A Hermitian matrix with eigenvalues apart."""
    return x + x.mH


def positive(x: Any) -> Any:
    """A positive definite matrix."""
    return x @ x.mH + rushlight.eye(x.shape[-1], dtype=x.dtype)


def projector(vectors: Any) -> Any:
    """What of vectors does not depend on their phases."""
    first = vectors[..., :1]
    return first @ first.mH


def _svd_parts(x: Any) -> Any:
    u, s, vh = linalg.svd(x, full_matrices=False)
    return u[..., :1] @ vh[..., :1, :], s, projector(u), projector(vh.mH)


def _eig_parts(x: Any) -> Any:
    values, vectors = linalg.eig(x)
    inverse = linalg.inv(vectors)
    return values.sum(), (values * values).sum(), vectors @ (values.exp()[..., None] * inverse)


def _ldl_solved(x: Any) -> Any:
    return linalg.solve(hermitian(x), x)


@pytest.mark.parametrize("dtype", [REAL, COMPLEX], ids=str)
@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: linalg.cholesky(positive(x)), (2, 3, 3)),
        (lambda x: linalg.cholesky(positive(x), upper=True), (3, 3)),
        (lambda x: rushlight.cholesky_solve(x, linalg.cholesky(positive(x))), (3, 3)),
        (lambda x: rushlight.cholesky_inverse(linalg.cholesky(positive(x))), (3, 3)),
        (lambda x: linalg.eigh(hermitian(x))[0], (2, 3, 3)),
        (lambda x: projector(linalg.eigh(hermitian(x))[1]), (3, 3)),
        (lambda x: projector(linalg.eigh(hermitian(x), "U")[1]), (3, 3)),
        (_svd_parts, (3, 3)),
        (_svd_parts, (4, 2)),
        (_svd_parts, (2, 4)),
        (_eig_parts, (3, 3)),
        (_ldl_solved, (3, 3)),
        (lambda x: linalg.pinv(hermitian(x), hermitian=True), (3, 3)),
        (lambda x: linalg.pinv(x[..., :1] @ x[..., :1, :], rtol=1e-9) + x, (3, 3)),
    ],
)
def test_gradients(function: Callable[[Any], Any], shape: tuple[int, ...], dtype: Any) -> None:
    x = matrix(*shape, dtype=dtype)
    if dtype is COMPLEX and function is not _eig_parts:
        wanted = function
        function = lambda t: tuple(
            rushlight.view_as_real(r) if r.is_complex() else r for r in _listed(wanted(t))
        )
    assert gradcheck(function, (x,), atol=1e-5, rtol=1e-3)


def _listed(result: Any) -> Any:
    return result if isinstance(result, tuple) else (result,)


def test_second_gradients() -> None:
    x = matrix(3, 3)
    assert gradgradcheck(lambda t: linalg.eigvalsh(hermitian(t)), (x,), atol=1e-4, rtol=1e-3)
    assert gradgradcheck(lambda t: linalg.cholesky(positive(t)), (x,), atol=1e-4, rtol=1e-3)
    assert gradgradcheck(linalg.svdvals, (x,), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [REAL, COMPLEX], ids=str)
def test_factors_make_the_matrix(dtype: Any) -> None:
    x = matrix(2, 5, 5, dtype=dtype).detach()
    P, L, U = linalg.lu(x)
    np.testing.assert_allclose(P @ L @ U, x, atol=1e-12)
    np.testing.assert_allclose(
        rushlight.lu_solve(x, *linalg.lu_factor(x)), linalg.solve(x, x), atol=1e-9
    )
    tall = x[..., :3]
    q = linalg.householder_product(*rushlight.geqrf(tall))
    np.testing.assert_allclose(q @ q.mH @ tall, tall, atol=1e-12)
    values, vectors = linalg.eig(x)
    np.testing.assert_allclose(
        vectors @ (values[..., None] * linalg.inv(vectors)), x + 0j, atol=1e-9
    )
    symmetric = hermitian(x)
    factors = linalg.ldl_factor(symmetric, hermitian=True)
    solved = linalg.ldl_solve(*factors, tall, hermitian=True)
    np.testing.assert_allclose(symmetric @ solved, tall, atol=1e-9)


def test_failures_are_linalg_errors() -> None:
    singular = rushlight.zeros(2, 2, 2)
    assert issubclass(linalg.LinAlgError, RuntimeError)
    with pytest.raises(linalg.LinAlgError, match=r"Batch element 0.*singular"):
        linalg.inv(singular)
    with pytest.raises(linalg.LinAlgError, match="singular"):
        linalg.solve(singular, singular)
    with pytest.raises(linalg.LinAlgError, match="minor of order 2"):
        linalg.cholesky(rushlight.tensor([[1.0, 0.0], [0.0, -1.0]]))
    with pytest.raises(linalg.LinAlgError, match="non-finite"):
        linalg.svd(rushlight.full((2, 2), float("nan")))
    inverse, info = linalg.inv_ex(
        rushlight.tensor([[[1.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]]])
    )
    assert info.tolist() == [2, 0] and inverse[1].tolist() == [[0.5, 0.0], [0.0, 1.0]]


def test_ctc_gradient_is_that_of_what_log_softmax_is_taken_of() -> None:
    x = matrix(6, 2, 4)
    targets = rushlight.tensor([[1, 2, 2], [3, 1, 0]])

    def loss(scores: Any) -> Any:
        return rushlight.nn.functional.ctc_loss(scores.log_softmax(-1), targets, (6, 5), (3, 2))

    assert gradcheck(loss, (x,), atol=1e-6, rtol=1e-4)
