"""Functions of matrices: pseudoinverse, rank, least squares, powers, the exponential."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.ops.arithmetic import in_dtype
from rushlight.ops.conversion import clone
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.joining import cat
from rushlight.ops.linear_algebra import (
    check_matrices,
    check_pair,
    check_square,
    h,
    inverse,
    named,
    plain,
    regular,
)
from rushlight.ops.linear_algebra_cholesky import ones_on_diagonal
from rushlight.ops.linear_algebra_spectra import eigvalsh, svdvals
from rushlight.ops.pointwise import abs
from rushlight.ops.products import matmul
from rushlight.ops.record import type_name
from rushlight.ops.reduction import sum
from rushlight.ops.selection import choose
from rushlight.ops.shape import expand, narrow, reshape, select, unsqueeze
from rushlight.primitives import spectra as p

# -- pseudoinverse and rank -------------------------------------------------------------------------------


def _tolerances(x: Any, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """The tolerances that hold: a relative one of max(m, n) times epsilon where none is given."""
    default = max(x.shape[-2:]) * p.epsilon_of(plain(x.dtype))
    if rtol is None:
        if atol is None:
            return 0.0, default
        rtol = (
            choose(atol > 0, 0.0, default)
            if hasattr(atol, "dtype")
            else 0.0
            if atol > 0
            else default
        )
    return (0.0 if atol is None else atol), rtol


@op(function=False, node="LinalgPinvBackward0")
def pseudoinverse(input: Array, atol: Operand, rtol: Operand, hermitian: bool) -> Array:
    """The pseudoinverse, with tolerances that are numbers or one for each matrix."""
    return p.pseudoinverse(input, atol, rtol, hermitian=hermitian)


@pseudoinverse.gradient("input")
def pseudoinverse_gradient(grad: Array, input: Array, out: Array) -> Array:
    # G. Golub and V. Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems, 1973.
    turned, to = h(out), h(grad)
    total = -matmul(matmul(turned, grad), turned)
    rest = to - matmul(matmul(input, out), to)
    total = total + matmul(rest, matmul(out, turned))
    rest = to - matmul(to, matmul(out, input))
    return total + matmul(matmul(turned, out), rest)


@pseudoinverse.gradient("atol")
def pseudoinverse_gradient_atol(grad: Array, atol: Array) -> Array:
    return atol * 0


@pseudoinverse.gradient("rtol")
def pseudoinverse_gradient_rtol(grad: Array, rtol: Array) -> Array:
    return rtol * 0


@op(module="linalg", composite=True, node="LinalgPinvBackward0")
def pinv(
    A: Array,
    rcond: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
) -> Array:
    """Pseudoinverses (Moore and Penrose): singular values up to max(atol, rtol * the largest) count as 0.

    The tolerances are numbers or tensors, one for each matrix; without both, rtol is max(m, n) times
    the dtype's epsilon. With hermitian=True, A is taken to be Hermitian.

    >>> import rushlight
    >>> rushlight.linalg.pinv(rushlight.tensor([[2.0, 0.0], [0.0, 0.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.0000]])
    """
    if A.ndim < 2 or plain(A.dtype).kind not in "fc":
        raise RuntimeError(
            f"linalg.pinv({type_name(plain(A.dtype))}{{{list(A.shape)}}}): expected a tensor with 2 or more "
            "dimensions of float, double, cfloat or cdouble types"
        )
    (check_square if hermitian else check_matrices)(A, "linalg.pinv")
    return pseudoinverse(A, *_tolerances(A, atol, rcond if rtol is None else rtol), bool(hermitian))


@op(method=True, composite=True)
def pinverse(input: Array, rcond: float = 1e-15) -> Array:
    """The older form of linalg.pinv."""
    return pinv(input, rcond)


def _pinv_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 3))
    yield Sample(make(2, 4, 3))
    yield Sample(make(2, 3, 4))
    yield Sample(make(3, 2, dtype=dtypes.complex128))
    yield Sample(make(0, 3))
    yield Bad(make(3), raises=RuntimeError, says="2 or more dimensions")


pinverse.samples(_pinv_samples)


@pinv.samples
def pinv_samples(make: Any) -> Iterator[Any]:
    yield from _pinv_samples(make)
    yield Sample(make(2, 4, 3), atol=make.tensor([0.1, 0.2], dtypes.float64).detach())
    yield Sample(make(2, 1, 1), hermitian=True)


@pseudoinverse.samples
def pseudoinverse_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4, 3), 0.0, 1e-12, False)
    yield Sample(make(3, 4), 0.0, 1e-12, False)


@op(function=False, differentiable=False)
def rank_within(input: Array, atol: Operand, rtol: Operand) -> Array:
    """How many singular values are above max(atol, rtol * the largest)."""
    return p.rank_within(input, atol, rtol)


@rank_within.samples
def rank_within_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, low=0), 0.5, 0.1)


@op(module="linalg", composite=True, differentiable=False)
def matrix_rank(
    A: Array,
    tol: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
) -> Array:
    """How many singular values are above max(atol, rtol * the largest); tolerances as in pinv().

    `tol` is an absolute tolerance.

    >>> import rushlight
    >>> rushlight.linalg.matrix_rank(rushlight.ones(3, 3))
    tensor(1)
    """
    (check_square if hermitian else check_matrices)(A, "linalg.matrix_rank")
    if tol is not None:
        atol, rtol = tol, 0.0
    matrix = A.detach() if hasattr(A, "detach") else A
    sizes = abs(eigvalsh(matrix)) if hermitian else svdvals(matrix)
    for given in (atol, rtol):
        if getattr(given, "dtype", None) is not None and plain(given.dtype).kind == "c":
            raise RuntimeError(
                "torch.linalg.matrix_rank: atol and rtol tensors of complex type are not supported."
            )
    return rank_within(sizes, *_tolerances(A, atol, rtol))


@matrix_rank.samples
def matrix_rank_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(2, 4, 3), 0.5)
    yield Sample(make(2, 2), hermitian=True, rtol=0.1)
    yield Sample(make(2, 0, 3))
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")


# -- least squares ----------------------------------------------------------------------------------------

_DRIVERS = ("gelsy", "gels", "gelsd", "gelss")


@op(
    module="linalg",
    composite=True,
    traceable=False,
    outputs=("solution", "residuals", "rank", "singular_values"),
    result="linalg_lstsq",
)
def lstsq(
    A: Array,
    B: Array,
    rcond: Any = None,
    *,
    driver: str | None = None,
) -> Any:
    """X that minimises |AX - B|, the smallest of several, for A of shape (m, n) and B of (m, k).

    `driver` is "gelsy" (if none is given), "gels", "gelsd" or "gelss", as LAPACK calls its methods. It decides
    what else is in the result: rank for all but "gels", singular values for "gelsd" and "gelss". Residuals, the
    squared distances, are there if m > n and A has full rank (never for "gelsy"). What is not there is empty.

    >>> import rushlight
    >>> A = rushlight.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    >>> rushlight.linalg.lstsq(A, A @ rushlight.tensor([[1.0], [2.0]])).solution
    tensor([[1.0000],
            [2.0000]])
    """
    check_matrices(A, "torch.linalg.lstsq")
    driver = driver or "gelsy"
    if driver not in _DRIVERS:
        raise RuntimeError(
            f"torch.linalg.lstsq: parameter `driver` should be one of {', '.join(_DRIVERS)}, not {driver}"
        )
    vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))
    right = unsqueeze(B, -1) if vector else B
    if right.shape[-2] != A.shape[-2]:
        raise RuntimeError(
            "torch.linalg.lstsq: input.size(-2) should match other.size(-2): shapes "
            f"{list(A.shape)} and {list(B.shape)}"
        )
    check_pair(A, right, "torch.linalg.lstsq")
    m, n = A.shape[-2:]
    atol, rtol = _tolerances(A, None, rcond)
    solution = matmul(pseudoinverse(A, atol, rtol, False), right)
    fixed = A.detach()
    sizes = svdvals(fixed)
    rank = rank_within(sizes, atol, rtol)
    real = reshape(narrow(sizes, -1, 0, 0), (-1,) if sizes.ndim == 1 else (0,))
    residuals = real
    if m > n and driver != "gelsy" and (driver == "gels" or (rank._array == n).all()):
        gap = abs(matmul(A, solution) - right)
        residuals = sum(gap * gap, -2)
    return named(
        lstsq,
        select(solution, -1, 0) if vector else solution,
        residuals,
        in_dtype(real, dtypes.INT64) if driver == "gels" else rank,
        sizes if driver in ("gelsd", "gelss") else real,
    )


@lstsq.samples
def lstsq_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4, 3), make(4, 2))
    yield Sample(make(2, 3, 4), make(2, 3, 2))
    yield Sample(make(4, 3), make(4), driver="gelsd")
    yield Sample(make(3, 3, dtype=dtypes.complex128), make(3, 2, dtype=dtypes.complex128))
    yield Bad(make(4, 3), make(3, 2), raises=RuntimeError, says="should match")
    yield Bad(make(4, 3), make(4, 2), driver="lu", raises=RuntimeError, says="driver")


# -- powers and the exponential ---------------------------------------------------------------------------


@op(method=True, aliases=("linalg.matrix_power",), composite=True)
def matrix_power(input: Array, n: int) -> Array:
    """The product of n equal matrices, by repeated squaring; of their inverses for n < 0; identity for 0.

    >>> import rushlight
    >>> rushlight.matrix_power(rushlight.tensor([[1.0, 1.0], [0.0, 1.0]]), 5)
    tensor([[1., 5.],
            [0., 1.]])
    """
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        check_square(input, "linalg.matrix_power")
    if n == 0:
        one = ones_on_diagonal(input, input.shape[-1], input.shape[-1])
        return clone(expand(one, *input.shape))
    if n < 0:
        check_square(input, "linalg.matrix_power")
    base = inverse(input) if n < 0 else input
    count, result = n if n > 0 else -n, None
    while True:
        if count & 1:
            result = base if result is None else matmul(result, base)
        count >>= 1
        if not count:
            return clone(result) if result is input else result
        base = matmul(base, base)


@matrix_power.samples
def matrix_power_samples(make: Any) -> Iterator[Any]:
    for n in (3, 0, 1, 6, -2):
        yield Sample(regular(make, 2), n)
    yield Bad(make(2, 3), 2, raises=RuntimeError, says="square")
    yield Bad(make(3), 2, raises=RuntimeError, says="at least 2 dimensions")


@op(method=True, aliases=("linalg.matrix_exp",), node="LinalgMatrixExpBackward0")
def matrix_exp(input: Array) -> Array:
    """The exponential of square matrices, sum of A^k / k!, by scaling, squaring and a Pade approximant
    (N. Higham, The scaling and squaring method for the matrix exponential revisited, 2005).

    >>> import rushlight
    >>> rushlight.matrix_exp(rushlight.tensor([[0.0, 1.0], [0.0, 0.0]]))
    tensor([[1., 1.],
            [0., 1.]])
    """
    if input.ndim < 2 or input.shape[-1] != input.shape[-2] or plain(input.dtype).itemsize > 2:
        check_square(input, "linalg.matrix_exp")
    if input.dtype in dtypes.HALF:
        from rushlight.ops.operands import to

        return to(p.exponential(to(input, dtypes.FLOAT32)), input.dtype)
    return p.exponential(input)


@matrix_exp.gradient("input")
def matrix_exp_gradient(grad: Array, input: Array) -> Array:
    # The derivative stands in a corner of the exponential of a matrix twice as large (R. Mathias, A chain rule for
    # matrix functions and applications, 1996).
    turned, n = h(input), input.shape[-1]
    above = cat([turned, grad], -1)
    below = cat([turned * 0, turned], -1)
    return narrow(narrow(matrix_exp(cat([above, below], -2)), -2, 0, n), -1, n, n)


@matrix_exp.samples
def matrix_exp_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 3))
    yield Sample(make(2, 2, 2, low=-9, high=9))
    yield Sample(make(2, 2, dtype=dtypes.complex128))
    yield Sample(make(0, 2, 2))
    yield Bad(make(2, 3), raises=RuntimeError, says="square")
    yield Bad(make.ints(2, 2), raises=RuntimeError, says="Got Long")
