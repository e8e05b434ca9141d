"""LU factors of matrices, LDL factors of symmetric ones, and what is solved with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.ops.complex_numbers import is_complex_dtype
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import cat
from rushlight.ops.linear_algebra import (
    check_matrices,
    check_pair,
    check_square,
    h,
    named,
    plain,
    regular,
    triangle_solved,
)
from rushlight.ops.linear_algebra_cholesky import ones_on_diagonal, positive
from rushlight.ops.products import matmul
from rushlight.ops.shape import matrix_transpose, narrow, reshape
from rushlight.ops.triangles import tril, triu
from rushlight.primitives import linalg as p


@op(
    function=False,
    name="lu_decomposed",
    outputs=("LU", "pivots", "info"),
    node="LinalgLuFactorExBackward0",
)
def lu_decomposed(input: Array, pivot: bool, caller: str) -> Any:
    """The LU factors, the row exchanges, and the place of the first zero on U's diagonal."""
    check_matrices(input, "linalg.lu_factor")
    return p.lu_factor(input, pivot=bool(pivot), caller=caller)


@lu_decomposed.gradient("input")
def lu_decomposed_gradient(grad: Array, LU: Array, pivots: Array) -> Array:
    m, n = LU.shape[-2:]
    k = min(m, n)
    order = permutation(pivots, LU, m)
    lower, upper = _lower(LU), _upper(LU)
    to_lower, to_upper = tril(narrow(grad, -1, 0, k), -1), triu(narrow(grad, -2, 0, k))
    l1, u1 = narrow(lower, -2, 0, k), narrow(upper, -1, 0, k)
    g1, gu1 = narrow(to_lower, -2, 0, k), narrow(to_upper, -1, 0, k)
    if m > n:  # L2 = A2 U^-1
        g2 = narrow(to_lower, -2, k, m - k)
        to_a2 = h(triangle_solved(u1, h(g2), True, False))
        gu1 = gu1 - triu(matmul(h(narrow(lower, -2, k, m - k)), to_a2))
    if m < n:  # U2 = L^-1 A2
        gu2 = narrow(to_upper, -1, k, n - k)
        to_a2 = triangle_solved(h(l1), gu2, True, True)
        g1 = g1 - tril(matmul(to_a2, h(narrow(upper, -1, k, n - k))), -1)
    inner = tril(matmul(h(l1), g1), -1) + triu(matmul(gu1, h(u1)))
    left = triangle_solved(h(l1), inner, True, True)
    to_a = h(triangle_solved(u1, h(left), True, False))
    if m != n:
        to_a = cat([to_a, to_a2], -2 if m > n else -1)
    return matmul(order, to_a)


@op(function=False, differentiable=False)
def permutation(pivots: Array, like: Array, rows: int) -> Array:
    """The permutation matrices of pivots, in the dtype of `like`."""
    return p.permutation_matrix(pivots, rows=rows, dtype=like.dtype)


@permutation.samples
def permutation_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(2, 3, low=3, high=4, dtype=dtypes.int32), make(2), 3)


def _lower(LU: Any) -> Any:
    m, n = LU.shape[-2:]
    k = min(m, n)
    return tril(narrow(LU, -1, 0, k), -1) + ones_on_diagonal(LU, m, k)


def _upper(LU: Any) -> Any:
    return triu(narrow(LU, -2, 0, min(LU.shape[-2:])))


@op(
    module="linalg",
    composite=True,
    outputs=("LU", "pivots", "info"),
    result="linalg_lu_factor_ex",
)
def lu_factor_ex(input: Array, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """As lu_factor(), and for each matrix 0 or the place of the first zero on U's diagonal."""
    caller = "torch.linalg.lu_factor_ex" if check_errors else ""
    return named(lu_factor_ex, *lu_decomposed(input, bool(pivot), caller))


@op(module="linalg", composite=True, outputs=("LU", "pivots"), result="linalg_lu_factor")
def lu_factor(input: Array, *, pivot: bool = True) -> Any:
    """L and U of A = P L U in one matrix (L below the diagonal, where it has ones), and the row
    exchanges that make P: at step i, row i with row pivots[i], counted from 1.

    Raises RuntimeError if U's diagonal has a zero.

    >>> import rushlight
    >>> rushlight.linalg.lu_factor(rushlight.tensor([[1.0, 2.0], [4.0, 4.0]]))
    torch.return_types.linalg_lu_factor(
    LU=tensor([[4.0000, 4.0000],
            [0.2500, 1.0000]]),
    pivots=tensor([2, 2], dtype=torch.int32))
    """
    return named(lu_factor, *lu_decomposed(input, bool(pivot), "torch.linalg.lu_factor")[:2])


@op(module="linalg", composite=True, outputs=("P", "L", "U"), result="linalg_lu")
def lu(input: Array, *, pivot: bool = True) -> Any:
    """P, L and U of A = P L U: a permutation, a lower triangle with ones on its diagonal, an upper.

    >>> import rushlight
    >>> P, L, U = rushlight.linalg.lu(rushlight.tensor([[1.0, 2.0], [4.0, 4.0]]))
    >>> P @ L @ U
    tensor([[1., 2.],
            [4., 4.]])
    """
    LU, pivots, _ = lu_decomposed(input, bool(pivot), "")
    return named(lu, permutation(pivots, LU, LU.shape[-2]), _lower(LU), _upper(LU))


def _lu_samples(make: Any) -> Iterator[Any]:
    yield Sample(regular(make))
    yield Sample(make(2, 4, 3))
    yield Sample(make(2, 3, 4))
    yield Sample(regular(make, 2, dtype=dtypes.complex128))
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")


lu_factor_ex.samples(_lu_samples)
lu.samples(_lu_samples)


@lu_decomposed.samples
def lu_decomposed_samples(make: Any) -> Iterator[Any]:
    yield Sample(regular(make), True, "")
    yield Sample(make(2, 4, 3), True, "")


@lu_factor.samples
def lu_factor_samples(make: Any) -> Iterator[Any]:
    yield from _lu_samples(make)
    yield Bad(make(2, 2, low=0, high=0), raises=RuntimeError, says="U[1,1] is zero")


@op(name="lu", composite=True, method=True)
def lu_older(input: Array, pivot: bool = True, get_infos: bool = False) -> Any:
    """The older form of linalg.lu_factor; with get_infos=True, of linalg.lu_factor_ex."""
    if get_infos:
        return lu_factor_ex(input, pivot=pivot)
    return tuple(lu_factor(input, pivot=pivot))


lu_older.samples(_lu_samples)


@op(composite=True, outputs=("P", "L", "U"))
def lu_unpack(
    LU_data: Array,
    LU_pivots: Array,
    unpack_data: bool = True,
    unpack_pivots: bool = True,
) -> Any:
    """P, L and U of what lu_factor() answers with. What is not asked for is an empty tensor.

    >>> import rushlight
    >>> A = rushlight.tensor([[1.0, 2.0], [4.0, 4.0]])
    >>> P, L, U = rushlight.lu_unpack(*rushlight.linalg.lu_factor(A))
    >>> L
    tensor([[1.0000, 0.0000],
            [0.2500, 1.0000]])
    """
    if unpack_pivots and plain(LU_pivots.dtype) != p.INT32:
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype, as lu_factor() "
            f"makes it, but it is of {LU_pivots.dtype}"
        )
    nothing = reshape(ones_on_diagonal(LU_data, 0, 1), (0,))
    order = permutation(LU_pivots, LU_data, LU_data.shape[-2]) if unpack_pivots else nothing
    if not unpack_data:
        return named(lu_unpack, order, nothing, nothing)
    return named(lu_unpack, order, _lower(LU_data), _upper(LU_data))


@lu_unpack.samples
def lu_unpack_samples(make: Any) -> Iterator[Any]:
    pivots = make.ints(3, low=3, high=4, dtype=dtypes.int32)
    yield Sample(make(3, 3), pivots)
    yield Sample(make(3, 4), pivots, True, False)
    yield Sample(make(4, 3), pivots)
    yield Bad(make(3, 3), make.ints(3), raises=RuntimeError, says="int32")


@op(module="linalg", composite=True)
def lu_solve(
    LU: Array,
    pivots: Array,
    B: Array,
    *,
    left: bool = True,
    adjoint: bool = False,
) -> Array:
    """X of AX = B (left=False: XA = B; adjoint=True: A^H X = B), given the LU factors of A."""
    check_square(LU, "linalg.lu_solve")
    check_pair(LU, B, "linalg.lu_solve", left)
    if not left:  # (XA)^H = A^H X^H
        return h(lu_solve(LU, pivots, h(B), adjoint=not adjoint))
    order = permutation(pivots, LU, LU.shape[-1])
    if adjoint:
        inner = triangle_solved(h(LU), B, False, False)
        return matmul(order, triangle_solved(h(LU), inner, True, True))
    inner = triangle_solved(LU, matmul(matrix_transpose(order), B), False, True)
    return triangle_solved(LU, inner, True, False)


@op(name="lu_solve", composite=True, method=True)
def lu_solve_older(b: Array, LU_data: Array, LU_pivots: Array) -> Array:
    """The older form of linalg.lu_solve, with the right-hand side first."""
    return lu_solve(LU_data, LU_pivots, b)


@lu_solve.samples
def lu_solve_samples(make: Any) -> Iterator[Any]:
    pivots = make.ints(3, low=3, high=4, dtype=dtypes.int32)
    yield Sample(regular(make), pivots, make(3, 2))
    yield Sample(regular(make), pivots, make(2, 3), left=False)
    yield Sample(regular(make), pivots, make(2, 3, 2), adjoint=True)
    yield Bad(regular(make), pivots, make(2, 2), raises=RuntimeError, says="Incompatible")


@lu_solve_older.samples
def lu_solve_older_samples(make: Any) -> Iterator[Any]:
    pivots = make.ints(3, low=3, high=4, dtype=dtypes.int32)
    yield Sample(make(3, 2), regular(make), pivots)
    yield Bad(make(2, 2), regular(make), pivots, raises=RuntimeError, says="Incompatible")


# -- LDL --------------------------------------------------------------------------------------------------


@op(
    module="linalg",
    outputs=("LD", "pivots", "info"),
    result="linalg_ldl_factor_ex",
    differentiable=False,
)
def ldl_factor_ex(input: Array, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """As ldl_factor(), and for each matrix 0 or the place of the zero that makes D singular."""
    check_square(input, "linalg.ldl_factor_ex")
    return p.ldl_factor(input, hermitian=bool(hermitian))


@op(
    module="linalg",
    composite=True,
    outputs=("LD", "pivots"),
    result="linalg_ldl_factor",
    differentiable=False,
)
def ldl_factor(input: Array, *, hermitian: bool = False) -> Any:
    """L and D of A = L D L^T (hermitian=True: L D L^H) in one matrix, for symmetric A, of which the
    lower triangle is read; D has blocks of one and two (J. Bunch and L. Kaufman, 1977).
    """
    return named(ldl_factor, *ldl_factor_ex(input, hermitian=hermitian)[:2])


@op(module="linalg", differentiable=False)
def ldl_solve(
    LD: Array,
    pivots: Array,
    B: Array,
    *,
    hermitian: bool = False,
) -> Array:
    """X of AX = B, given what ldl_factor() says of A."""
    check_square(LD, "torch.linalg.ldl_solve")
    check_pair(LD, B, "torch.linalg.ldl_solve")
    return p.ldl_solve(LD, pivots, B, hermitian=bool(hermitian) and is_complex_dtype(LD.dtype))


def _symmetric_samples(make: Any) -> Iterator[Any]:
    yield Sample(positive(make))
    yield Sample(positive(make, 2, dtype=dtypes.complex128), hermitian=True)
    yield Bad(make(2, 3), raises=RuntimeError, says="square")


ldl_factor_ex.samples(_symmetric_samples)
ldl_factor.samples(_symmetric_samples)


@ldl_solve.samples
def ldl_solve_samples(make: Any) -> Iterator[Any]:
    pivots = make.tensor([1, 2, 3], dtypes.int32)
    yield Sample(positive(make), pivots, make(3, 2))
    yield Bad(positive(make), pivots, make(2, 2), raises=RuntimeError, says="Incompatible")
