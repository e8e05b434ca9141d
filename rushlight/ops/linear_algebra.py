"""Systems of linear equations: determinants, inverses, solve, triangular solve. Stacks of matrices everywhere.

What do the formulas come from?
    With dA for a small change, d(A^-1) = -A^-1 dA A^-1 and d det(A) = det(A) tr(A^-1 dA); the rest is algebra
    (M. Giles, Collected matrix derivative results for forward and reverse mode AD, 2008). For complex matrices
    transposes are conjugated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.core.dtypes import HALF, INEXACT
from rushlight.ops.complex_numbers import conjugate, imag, is_complex_dtype
from rushlight.ops.creation import complex
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.pointwise import log
from rushlight.ops.products import matmul
from rushlight.ops.record import named_result, type_name
from rushlight.ops.reduction import sum
from rushlight.ops.shape import matrix_transpose, select, unsqueeze
from rushlight.ops.triangles import tril, triu
from rushlight.primitives import linalg as p


def named(call: Any, *values: Any) -> Any:
    """Several results of a composite op in the class that its declaration names."""
    return named_result(call.op)(*values)


def plain(dtype: Any) -> Any:
    """The NumPy dtype of a tensor's or an array's dtype."""
    return getattr(dtype, "numpy", dtype)


def h(x: Any) -> Any:
    """The matrices conjugated and transposed."""
    return matrix_transpose(conjugate(x))


def check_matrices(x: Any, name: str) -> None:
    """RuntimeError unless `x` holds matrices of float32, float64, complex64 or complex128."""
    if x.ndim < 2:
        raise RuntimeError(
            f"{name}: The input tensor A must have at least 2 dimensions. Its shape is {list(x.shape)}."
        )
    dtype = plain(x.dtype)
    if dtype not in INEXACT:
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {type_name(dtype)}"
        )
    if dtype in HALF:
        raise RuntimeError(
            f"{name}: Low precision dtypes not supported. Got {type_name(dtype)}; use float32."
        )


def check_square(x: Any, name: str) -> None:
    """As check_matrices; and they must be square."""
    if x.ndim >= 2 and x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"{name}: A must be batches of square matrices, but they are {x.shape[-2]} by {x.shape[-1]} matrices"
        )
    check_matrices(x, name)


def check_pair(a: Any, b: Any, name: str, left: bool = True) -> None:
    """RuntimeError unless AX = B (or XA = B) makes sense: one dtype, shapes that fit."""
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type {type_name(plain(a.dtype))} and "
            f"B of type {type_name(plain(b.dtype))} instead"
        )
    check_matrices(b, name)
    if a.shape[-2] != b.shape[-2 if left else -1]:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )


def regular(make: Any, *batch: int, size: int = 3, dtype: Any = None) -> Any:
    """Matrices for samples, far from singular."""
    x = make(*batch, size, size, dtype=dtype, low=-1, high=1)
    return make.tensor(x._array + 3 * _eye(size), x.dtype)


def _eye(size: int) -> Any:
    from rushlight.primitives.structural import cast, diagonal, full

    out = full(0, shape=(size, size), dtype=dtypes.FLOAT64)
    diagonal(out, offset=0, axis1=0, axis2=1)[...] = 1
    return cast(out, dtype=dtypes.FLOAT64)


# -- determinants -----------------------------------------------------------------------------------------


@op(method=True, aliases=("linalg.det",), node="LinalgDetBackward0")
def det(input: Array) -> Array:
    """Determinants of square matrices.

    The gradient exists for singular matrices too.

    >>> import rushlight
    >>> rushlight.det(rushlight.tensor([[2.0, 0.0], [0.0, 3.0]]))
    tensor(6.)
    """
    check_square(input, "linalg.det")
    return p.determinant(input)


@det.gradient("input")
def det_gradient(grad: Array, input: Array) -> Array:
    return _widen(grad) * cofactors(input)


def _widen(x: Any) -> Any:
    return unsqueeze(unsqueeze(x, -1), -1)


@op(function=False)
def cofactors(input: Array) -> Array:
    """conj(det A) A^-H: the derivative of the determinant."""
    return p.cofactors(input)


@cofactors.gradient("input")
def cofactors_gradient(grad: Array, input: Array, out: Array) -> Array:
    turned = h(inverse(input))
    trace = _widen(sum(conjugate(grad) * out, (-2, -1)))
    return trace * turned - matmul(matmul(turned, h(grad)), out)


@det.samples
def det_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 3))
    yield Sample(make(2, 2, 2))
    yield Sample(make(3, 3, dtype=dtypes.complex128))
    yield Sample(make.tensor(make(2, 1)._array * make(1, 2)._array, dtypes.float64))
    yield Sample(make(0, 3, 3))
    yield Sample(make(0, 0))
    yield Bad(make(2, 3), raises=RuntimeError, says="square")
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")
    yield Bad(make.ints(2, 2), raises=RuntimeError, says="Got Long")


@cofactors.samples
def cofactors_samples(make: Any) -> Iterator[Any]:
    yield Sample(regular(make))
    yield Sample(regular(make, 2, dtype=dtypes.complex128))


@op(
    method=True,
    aliases=("linalg.slogdet",),
    outputs=("sign", "logabsdet"),
    node="LinalgSlogdetBackward0",
    result="linalg_slogdet",
)
def slogdet(input: Array) -> Any:
    """Sign (of complex matrices, the phase) and logarithm of the size of determinants.

    It neither overflows nor underflows where det() does. Singular matrices have sign 0 and
    logarithm -inf.
    """
    check_square(input, "linalg.slogdet")
    return p.sign_and_logarithm(input)


@slogdet.gradient("input")
def slogdet_gradient(grads: Any, input: Array, sign: Array) -> Array:
    to_sign, to_log = grads
    if is_complex_dtype(input.dtype):
        turning = imag(conjugate(to_sign) * sign)
        to_log = complex(to_log, turning * -1)
    return _widen(to_log) * h(inverse_or_infinite(input))


@slogdet.samples
def slogdet_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 3))
    yield Sample(make(2, 2, 2))
    yield Sample(make(3, 3, dtype=dtypes.complex128))
    yield Sample(make(0, 0))
    yield Bad(make(2, 3), raises=RuntimeError, says="square")


@op(method=True, composite=True)
def logdet(input: Array) -> Array:
    """Logarithms of determinants: NaN where a real one is negative, -inf where it is 0.

    >>> import rushlight
    >>> rushlight.logdet(rushlight.eye(3))
    tensor(0.)
    """
    sign, size = slogdet(input)
    return size + log(sign)


@logdet.samples
def logdet_samples(make: Any) -> Iterator[Any]:
    yield Sample(regular(make))
    yield Sample(regular(make, 2))
    yield Sample(regular(make, 2, dtype=dtypes.complex128))
    yield Bad(make(2, 3), raises=RuntimeError, says="square")


# -- inverses ---------------------------------------------------------------------------------------------


@op(
    module="linalg",
    outputs=("inverse", "info"),
    result="linalg_inv_ex",
    node="LinalgInvExBackward0",
)
def inv_ex(input: Array, *, check_errors: bool = False) -> Any:
    """Inverses, and for each matrix 0 or the place of the zero that makes it singular."""
    check_square(input, "linalg.inv")
    return p.invert(input, caller="linalg.inv_ex" if check_errors else "")


@inv_ex.gradient("input")
def inv_ex_gradient(grad: Array, inverse: Array) -> Array:
    turned = h(inverse)
    return -matmul(matmul(turned, grad), turned)


def inverse_or_infinite(x: Any) -> Any:
    """The inverse; of singular matrices, infinities."""
    return inv_ex(x)[0]


@op(method=True, aliases=("linalg.inv",), node="LinalgInvExBackward0")
def inverse(input: Array) -> Array:
    """Inverses of square matrices. Raises linalg.LinAlgError for singular ones.

    To multiply with an inverse, solve() is faster and more exact.

    >>> import rushlight
    >>> rushlight.linalg.inv(rushlight.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    check_square(input, "linalg.inv")
    return p.invert(input, caller="linalg.inv")[0]


@inverse.gradient("input")
def inverse_gradient(grad: Array, out: Array) -> Array:
    return inv_ex_gradient(grad, out)


def _inverse_samples(make: Any) -> Iterator[Any]:
    yield Sample(regular(make))
    yield Sample(regular(make, 2, size=2))
    yield Sample(regular(make, 2, dtype=dtypes.complex128))
    yield Sample(make(0, 2, 2))
    yield Sample(make(2, 0, 0))
    yield Bad(make(2, 3), raises=RuntimeError, says="square")
    yield Bad(make(3), raises=RuntimeError, says="at least 2 dimensions")
    yield Bad(make(2, 2, dtype=dtypes.float16), raises=RuntimeError, says="Low precision")


inv_ex.samples(_inverse_samples)


@inverse.samples
def inverse_samples(make: Any) -> Iterator[Any]:
    yield from _inverse_samples(make)
    yield Bad(make(2, 2, low=0, high=0), raises=p.LinAlgError, says="singular")


# -- solve ------------------------------------------------------------------------------------------------


@op(function=False, outputs=("result", "info"), node="LinalgSolveExBackward0")
def solve_matrices(A: Array, B: Array, caller: str) -> Any:
    """A^-1 B for stacks of matrices."""
    return p.solve(A, B, caller=caller)


@solve_matrices.gradient("A", "B")
def solve_matrices_gradient(grad: Array, A: Array, result: Array) -> Any:
    to_b = solve_matrices(h(A), grad, "")[0]
    return -matmul(to_b, h(result)), to_b


@solve_matrices.samples
def solve_matrices_samples(make: Any) -> Iterator[Any]:
    yield Sample(regular(make, 2), make(2, 3, 4), "")
    yield Sample(regular(make, dtype=dtypes.complex128), make(2, 3, 1, dtype=dtypes.complex128), "")


def _solve(A: Any, B: Any, left: bool, name: str, caller: str) -> Any:
    check_square(A, name)
    vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))
    if vector and not left:
        raise RuntimeError(
            f"{name}: Vector broadcasting of the left hand side is not supported for left=False. In this case "
            "linalg.solve is equivalent to B / A.squeeze(-1)"
        )
    right = unsqueeze(B, -1) if vector else B
    check_pair(A, right, name, left)
    if left:
        result, info = solve_matrices(A, right, caller)
        return (select(result, -1, 0) if vector else result), info
    result, info = solve_matrices(matrix_transpose(A), matrix_transpose(right), caller)
    return matrix_transpose(result), info


@op(module="linalg", composite=True)
def solve(A: Array, B: Array, *, left: bool = True) -> Array:
    """X of AX = B (or XA = B with left=False), for square A; B a matrix or a vector, or stacks.

    Raises linalg.LinAlgError for singular A.

    >>> import rushlight
    >>> rushlight.linalg.solve(rushlight.tensor([[2.0, 0.0], [0.0, 4.0]]), rushlight.ones(2))
    tensor([0.5000, 0.2500])
    """
    return _solve(A, B, left, "linalg.solve", "torch.linalg.solve")[0]


@op(module="linalg", composite=True, outputs=("result", "info"), result="linalg_solve_ex")
def solve_ex(A: Array, B: Array, *, left: bool = True, check_errors: bool = False) -> Any:
    """As solve(), and for each A 0 or the place of the zero that makes it singular."""
    caller = "torch.linalg.solve_ex" if check_errors else ""
    return named(solve_ex, *_solve(A, B, left, "linalg.solve", caller))


def _solve_samples(make: Any) -> Iterator[Any]:
    yield Sample(regular(make), make(3, 2))
    yield Sample(regular(make), make(3))
    yield Sample(regular(make, 2), make(2, 3))
    yield Sample(regular(make, 2), make(3, 2))
    yield Sample(regular(make), make(2, 2, 3), left=False)
    yield Sample(regular(make, dtype=dtypes.complex128), make(3, 2, dtype=dtypes.complex128))
    yield Bad(regular(make), make(2, 2), raises=RuntimeError, says="(3x3 and 2x2)")
    yield Bad(regular(make), make(3, dtype=dtypes.float32), raises=RuntimeError, says="same dtype")


solve_ex.samples(_solve_samples)


@solve.samples
def solve_samples(make: Any) -> Iterator[Any]:
    yield from _solve_samples(make)
    yield Bad(make(2, 2, low=0, high=0), make(2), raises=p.LinAlgError, says="singular")


# -- triangular systems -----------------------------------------------------------------------------------


@op(function=False, node="LinalgSolveTriangularBackward0")
def triangle_solved(A: Array, B: Array, upper: bool, unit: bool) -> Array:
    """A^-1 B, reading one triangle of A."""
    return p.solve_triangle(A, B, upper=upper, unit=unit)


@triangle_solved.gradient("A", "B")
def triangle_solved_gradient(grad: Array, A: Array, out: Array, upper: bool, unit: bool) -> Any:
    to_b = triangle_solved(h(A), grad, not upper, unit)
    to_a = -matmul(to_b, h(out))
    return (triu(to_a, int(unit)) if upper else tril(to_a, -int(unit))), to_b


@triangle_solved.samples
def triangle_solved_samples(make: Any) -> Iterator[Any]:
    yield Sample(regular(make, 2), make(2, 3, 2), True, False)
    yield Sample(regular(make, 2), make(2, 3, 2), False, True)


@op(module="linalg", composite=True)
def solve_triangular(
    A: Array,
    B: Array,
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> Array:
    """X of AX = B (or XA = B with left=False), for A of which one triangle is read.

    With unitriangular=True its diagonal is taken for ones. A zero on the diagonal gives inf or NaN,
    not an error.

    >>> import rushlight
    >>> A = rushlight.tensor([[2.0, 1.0], [0.0, 4.0]])
    >>> rushlight.linalg.solve_triangular(A, rushlight.tensor([[3.0], [4.0]]), upper=True)
    tensor([[1.],
            [1.]])
    """
    check_square(A, "linalg.solve_triangular")
    check_pair(A, B, "linalg.solve_triangular", left)
    if left:
        return triangle_solved(A, B, bool(upper), bool(unitriangular))
    turned = triangle_solved(
        matrix_transpose(A), matrix_transpose(B), not upper, bool(unitriangular)
    )
    return matrix_transpose(turned)


@solve_triangular.samples
def solve_triangular_samples(make: Any) -> Iterator[Any]:
    yield Sample(regular(make), make(3, 2), upper=True)
    yield Sample(regular(make, 2), make(3, 2), upper=False)
    yield Sample(regular(make), make(2, 2, 3), upper=True, left=False)
    yield Sample(regular(make), make(3, 2), upper=False, unitriangular=True)
    yield Sample(
        regular(make, 2, dtype=dtypes.complex128), make(3, 2, dtype=dtypes.complex128), upper=True
    )
    yield Bad(regular(make), make(2, 2), upper=True, raises=RuntimeError, says="(3x3 and 2x2)")


@op(method=True, composite=True, outputs=("solution", "cloned_coefficient"))
def triangular_solve(
    input: Array,
    A: Array,
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
) -> Any:
    """The older form of linalg.solve_triangular, which also answers with a copy of A."""
    from rushlight.ops.joining import copied

    matrix = matrix_transpose(A) if transpose else A
    solution = solve_triangular(
        matrix, input, upper=bool(upper) != bool(transpose), unitriangular=unitriangular
    )
    return named(triangular_solve, solution, copied(A))


@triangular_solve.samples
def triangular_solve_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 2), regular(make))
    yield Sample(make(3, 2), regular(make, 2), False)
    yield Sample(make(3, 2), regular(make), True, True, True)
    yield Bad(make(2, 2), regular(make), raises=RuntimeError, says="Incompatible")
