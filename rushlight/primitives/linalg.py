"""Matrix factorisations and solvers, on stacks of matrices (..., rows, columns).

Operands are float32, float64, complex64 or complex128; callers check that. The references stand on LAPACK as
NumPy offers it. What NumPy lacks (LU, triangular systems, Bunch-Kaufman, the exponential) is written out here,
vectorised over the stack.

Factorisations that can fail answer with an `info` (int32, one for each matrix: 0, or the 1-based place of the
failure), or raise LinAlgError where the parameter `caller` names the function to speak for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.core.dtypes import real_of
from rushlight.core.shapes import broadcast
from rushlight.primitives.primitive import Aval, dtype_of, primitive

INT32 = np.dtype(np.int32)


class LinAlgError(RuntimeError):
    """A factorisation or solver failed on the values it was given: a singular matrix, no convergence."""

    __module__ = "rushlight.linalg"


def _h(x: Any) -> Any:
    """Conjugated and transposed matrices."""
    return np.conj(np.swapaxes(x, -1, -2))


def _stack(x: Any) -> Any:
    """The matrices in one dimension: (count, rows, columns)."""
    count = 1
    for n in x.shape[:-2]:
        count *= n
    return x.reshape(count, *x.shape[-2:])


def _where(info: Any) -> tuple[str, int]:
    """Words for the first matrix that failed, and its code."""
    place = np.flatnonzero(info)[0]
    code = int(np.asarray(info).reshape(-1)[place])
    return (f" (Batch element {place}):" if np.ndim(info) else ""), code


def _batch(x: Any) -> tuple[int, ...]:
    return tuple(x.shape[:-2])


# -- LU ---------------------------------------------------------------------------------------------------

lu_factor = primitive("lu_factor", params=("pivot", "caller"), outputs=3)


@lu_factor.define_rule
def _(x: Any, *, pivot: bool, caller: str) -> tuple[Aval, Aval, Aval]:
    batch, k = _batch(x), min(x.shape[-2:])
    return Aval(tuple(x.shape), x.dtype), Aval((*batch, k), INT32), Aval(batch, INT32)


#: How many columns are eliminated before the others follow by one product of matrices.
_PANEL = 32


def _eliminate(x: Any, pivot: bool) -> tuple[Any, Any, Any]:
    lu = _stack(x).copy()
    count, m, n = lu.shape
    k = min(m, n)
    pivots = np.empty((count, k), INT32)
    pivots[:] = np.arange(1, k + 1)
    info = np.zeros(count, INT32)
    each = np.arange(count)
    for start in range(0, k, _PANEL):
        stop = min(start + _PANEL, k)
        for j in range(start, stop):
            if pivot:
                column = lu[:, j:, j]
                real = lu.dtype.kind != "c"
                size = np.abs(column) if real else np.abs(column.real) + np.abs(column.imag)
                row = j + np.argmax(size, axis=1)
                pivots[:, j] = row + 1
                chosen = lu[each, row]
                lu[each, row] = lu[:, j]
                lu[:, j] = chosen
            head = lu[:, j, j]
            zero = head == 0
            info[zero & (info == 0)] = j + 1
            if j + 1 < m:
                lu[:, j + 1 :, j] /= np.where(zero, 1, head)[:, None]
                factor = lu[:, j + 1 :, j, None]
                lu[:, j + 1 :, j + 1 : stop] -= factor * lu[:, j, None, j + 1 : stop]
        if stop < n:  # the columns to the right follow for the whole panel at once
            right = lu[:, start:, stop:]
            for j in range(stop - start - 1):
                factor = lu[:, start + j + 1 : stop, start + j, None]
                right[:, j + 1 : stop - start] -= factor * right[:, j, None]
            if stop < m:
                right[:, stop - start :] -= lu[:, stop:, start:stop] @ right[:, : stop - start]
    batch = _batch(x)
    return lu.reshape(x.shape), pivots.reshape(*batch, k), info.reshape(batch)


@lu_factor.define_reference
def _(xp: Any, x: Any, *, pivot: bool, caller: str) -> Any:
    lu, pivots, info = _eliminate(x, pivot)
    if caller and info.any():
        which, code = _where(info)
        raise LinAlgError(
            f"{caller}:{which} U[{code},{code}] is zero and using it on lu_solve would result in a division by zero. "
            "If you still want to perform the factorization, consider calling linalg.lu(A, pivot) or "
            "linalg.lu_factor_ex(A, pivot)"
        )
    return lu, pivots, info


def _order_of(pivots: Any, rows: int) -> Any:
    """Which row of the matrix each row of the factors comes from."""
    count = 1
    for n in pivots.shape[:-1]:
        count *= n
    order = np.tile(np.arange(rows), (count, 1))
    flat = pivots.reshape(count, pivots.shape[-1])
    each = np.arange(count)
    for j in range(flat.shape[1]):
        other = flat[:, j] - 1
        here, there = order[:, j].copy(), order[each, other]
        order[:, j] = there
        order[each, other] = here
    return order.reshape(*pivots.shape[:-1], rows)


permutation_matrix = primitive("permutation_matrix", params=("rows", "dtype"))


@permutation_matrix.define_rule
def _(pivots: Any, *, rows: int, dtype: np.dtype[Any]) -> Aval:
    return Aval((*pivots.shape[:-1], rows, rows), dtype)


@permutation_matrix.define_reference
def _(xp: Any, pivots: Any, *, rows: int, dtype: np.dtype[Any]) -> Any:
    order = _order_of(pivots, rows)
    return (np.arange(rows)[:, None] == order[..., None, :]).astype(dtype)


# -- solvers ----------------------------------------------------------------------------------------------

invert = primitive("invert", params=("caller",), outputs=2)
solve = primitive("solve", params=("caller",), outputs=2)
solve_triangle = primitive("solve_triangle", params=("upper", "unit"))


def _one_by_one(function: Callable[..., Any], result: Any, *operands: Any) -> Any:
    """`function` on each matrix of the stack; the info of those that are singular."""
    info = np.zeros(len(result), INT32)
    for i in range(len(result)):
        try:
            result[i] = function(*(o[i] for o in operands))
        except np.linalg.LinAlgError:
            result[i] = np.inf
            found = int(_eliminate(operands[0][i], True)[2])
            info[i] = found or operands[0].shape[-1]
    return info


@invert.define_rule
def _(x: Any, *, caller: str) -> tuple[Aval, Aval]:
    return Aval(tuple(x.shape), x.dtype), Aval(_batch(x), INT32)


@invert.define_reference
def _(xp: Any, x: Any, *, caller: str) -> Any:
    try:
        return np.linalg.inv(x), np.zeros(_batch(x), INT32)
    except np.linalg.LinAlgError:
        stack = _stack(x)
        out = np.empty_like(stack)
        info = _one_by_one(np.linalg.inv, out, stack).reshape(_batch(x))
    if caller:
        which, code = _where(info)
        raise LinAlgError(
            f"{caller}:{which} The diagonal element {code} is zero, the inversion could not be completed because "
            "the input matrix is singular. pinv() gives the pseudoinverse of such a matrix."
        )
    return out.reshape(x.shape), info


@solve.define_rule
def _(a: Any, b: Any, *, caller: str) -> tuple[Aval, Aval]:
    batch = broadcast(_batch(a), _batch(b))
    return Aval((*batch, *b.shape[-2:]), dtype_of(a, b)), Aval(_batch(a), INT32)


@solve.define_reference
def _(xp: Any, a: Any, b: Any, *, caller: str) -> Any:
    try:
        return np.linalg.solve(a, b), np.zeros(_batch(a), INT32)
    except np.linalg.LinAlgError:
        batch = broadcast(_batch(a), _batch(b))
        left = np.broadcast_to(a, (*batch, *a.shape[-2:]))
        right = np.broadcast_to(b, (*batch, *b.shape[-2:]))
        out = np.empty((*batch, *b.shape[-2:]), a.dtype)
        stack = _stack(out)
        _one_by_one(np.linalg.solve, stack, _stack(left), _stack(right))
        info = _eliminate(a, True)[2]
    if caller and info.any():
        which, _ = _where(info)
        raise LinAlgError(
            f"{caller}:{which} The solver failed because the input matrix is singular. lstsq() solves such systems "
            "in the sense of least squares."
        )
    return stack.reshape(out.shape), info


@solve_triangle.define_rule
def _(a: Any, b: Any, *, upper: bool, unit: bool) -> Aval:
    batch = broadcast(_batch(a), _batch(b))
    return Aval((*batch, *b.shape[-2:]), dtype_of(a, b))


@solve_triangle.define_reference
def _(xp: Any, a: Any, b: Any, *, upper: bool, unit: bool) -> Any:
    if not upper:  # turned by half, a lower triangle is an upper one
        a, b = a[..., ::-1, ::-1], b[..., ::-1, :]
    a = np.triu(a)
    n = a.shape[-1]
    if unit:
        a[..., np.arange(n), np.arange(n)] = 1
    try:
        # Elimination finds nothing to do in an upper triangle: what is left is substitution.
        x = np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        x = _substitute(a, b)
    return x if upper else np.ascontiguousarray(x[..., ::-1, :])


def _substitute(a: Any, b: Any) -> Any:
    """Backward substitution, which divides by zero where the diagonal has one."""
    x = np.array(np.broadcast_to(b, (*broadcast(_batch(a), _batch(b)), *b.shape[-2:])))
    for i in range(a.shape[-1] - 1, -1, -1):
        x[..., i, :] /= a[..., i, i, None]
        x[..., :i, :] -= a[..., :i, i, None] * x[..., None, i, :]
    return x


# -- determinants -----------------------------------------------------------------------------------------

determinant = primitive("determinant")
sign_and_logarithm = primitive("sign_and_logarithm", outputs=2)
cofactors = primitive("cofactors")


@determinant.define_rule
def _(x: Any) -> Aval:
    return Aval(_batch(x), x.dtype)


@determinant.define_reference
def _(xp: Any, x: Any) -> Any:
    return np.linalg.det(x)


@sign_and_logarithm.define_rule
def _(x: Any) -> tuple[Aval, Aval]:
    return Aval(_batch(x), x.dtype), Aval(_batch(x), real_of(x.dtype))


@sign_and_logarithm.define_reference
def _(xp: Any, x: Any) -> Any:
    sign, logarithm = np.linalg.slogdet(x)
    return np.asarray(sign, x.dtype), np.asarray(logarithm, real_of(x.dtype))


@cofactors.define_rule
def _(x: Any) -> Aval:
    return Aval(tuple(x.shape), x.dtype)


@cofactors.define_reference
def _(xp: Any, x: Any) -> Any:
    # conj(det) times the inverse of x^H, through singular values: so that it exists for singular matrices too.
    u, s, vh = np.linalg.svd(x)
    ones = np.ones_like(s[..., :1])
    before = np.cumprod(np.concatenate((ones, s[..., :-1]), -1), -1)
    after = np.cumprod(np.concatenate((ones, s[..., :0:-1]), -1), -1)[..., ::-1]
    unit = np.conj(np.linalg.det(u) * np.linalg.det(vh))
    return np.matmul(u * ((before * after) * unit[..., None])[..., None, :], vh)


# -- Cholesky and Bunch-Kaufman ---------------------------------------------------------------------------

cholesky = primitive("cholesky", params=("upper", "caller"), outputs=2)
ldl_factor = primitive("ldl_factor", params=("hermitian",), outputs=3)
ldl_solve = primitive("ldl_solve", params=("hermitian",))


@cholesky.define_rule
def _(x: Any, *, upper: bool, caller: str) -> tuple[Aval, Aval]:
    return Aval(tuple(x.shape), x.dtype), Aval(_batch(x), INT32)


@cholesky.define_reference
def _(xp: Any, x: Any, *, upper: bool, caller: str) -> Any:
    lower = _h(x) if upper else x
    info = np.zeros(_batch(x), INT32)
    try:
        out = np.linalg.cholesky(lower)
    except np.linalg.LinAlgError:
        stack = _stack(lower)
        factors, codes = np.tril(stack), info.reshape(-1)
        for i, matrix in enumerate(stack):
            try:
                factors[i] = np.linalg.cholesky(matrix)
            except np.linalg.LinAlgError:
                codes[i] = _first_bad_minor(matrix)
        if caller:
            which, code = _where(info)
            raise LinAlgError(
                f"{caller}:{which} The factorization could not be completed because the input is not "
                f"positive-definite (the leading minor of order {code} is not positive-definite)."
            ) from None
        out = factors.reshape(x.shape)
    return (np.ascontiguousarray(_h(out)) if upper else out), info


def _first_bad_minor(matrix: Any) -> int:
    good, bad = 0, len(matrix)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            np.linalg.cholesky(matrix[:middle, :middle])
            good = middle
        except np.linalg.LinAlgError:
            bad = middle
    return bad


@ldl_factor.define_rule
def _(x: Any, *, hermitian: bool) -> tuple[Aval, Aval, Aval]:
    batch = _batch(x)
    return Aval(tuple(x.shape), x.dtype), Aval((*batch, x.shape[-1]), INT32), Aval(batch, INT32)


@ldl_factor.define_reference
def _(xp: Any, x: Any, *, hermitian: bool) -> Any:
    stack = _stack(np.tril(x))
    pivots = np.zeros(stack.shape[:2], INT32)
    info = np.zeros(len(stack), INT32)
    for i, matrix in enumerate(stack):
        info[i] = _bunch_kaufman(matrix, pivots[i], hermitian and x.dtype.kind == "c")
    batch = _batch(x)
    return stack.reshape(x.shape), pivots.reshape(*batch, x.shape[-1]), info.reshape(batch)


def _bunch_kaufman(a: Any, pivots: Any, hermitian: bool) -> int:
    """A = L D L^T (L^H) in the lower triangle, with blocks of one and two (Bunch and Kaufman, 1977).

    Pivots as LAPACK writes them: a positive one names the row a block of one was exchanged with; two equal
    negative ones, that of the second row of a block of two.
    """
    n, k, info = len(a), 0, 0
    alpha = (1 + 17**0.5) / 8
    turn = np.conj if hermitian else np.array

    def size(x: Any) -> Any:
        return np.abs(x.real) + np.abs(x.imag)

    while k < n:
        head = abs(a[k, k].real) if hermitian else size(a[k, k])
        below = size(a[k + 1 :, k])
        r = k + 1 + int(np.argmax(below)) if len(below) else k
        largest = below.max() if len(below) else 0
        step, with_row = 1, k
        if max(head, largest) == 0:
            info = info or k + 1
            pivots[k] = k + 1
            k += 1
            continue
        if head < alpha * largest:
            line = np.concatenate((size(a[r, k:r]), size(a[r + 1 :, r])))
            widest = line.max()
            if head < alpha * largest * (largest / widest):
                if (abs(a[r, r].real) if hermitian else size(a[r, r])) < alpha * widest:
                    step = 2
                with_row = r
        last = k + step - 1
        if with_row != last:
            _exchange(a, last, with_row, turn)
            if step == 2:
                a[[last, with_row], k] = a[[with_row, last], k]
        rest = slice(k + step, n)
        block = np.tril(a[k : k + step, k : k + step])
        block = block + np.tril(turn(block), -1).T
        if hermitian:
            np.fill_diagonal(block, block.diagonal().real)
            a[k, k], a[last, last] = a[k, k].real, a[last, last].real
        column = a[rest, k : k + step].copy()
        if len(column):
            factor = np.linalg.solve(block.T, column.T).T
            a[rest, rest] -= np.tril(factor @ turn(column).T)
            a[rest, k : k + step] = factor
        pivots[k : k + step] = with_row + 1 if step == 1 else -(with_row + 1)
        k += step
    return info


def _exchange(a: Any, i: int, j: int, turn: Any) -> None:
    """Rows and columns i < j exchanged in the lower triangle from column i on."""
    a[j + 1 :, [i, j]] = a[j + 1 :, [j, i]]
    between = a[i + 1 : j, i].copy()
    a[i + 1 : j, i] = turn(a[j, i + 1 : j])
    a[j, i + 1 : j] = turn(between)
    a[j, i] = turn(a[j, i])
    a[i, i], a[j, j] = a[j, j], a[i, i]


@ldl_solve.define_rule
def _(ld: Any, pivots: Any, b: Any, *, hermitian: bool) -> Aval:
    batch = broadcast(_batch(ld), _batch(b))
    return Aval((*batch, *b.shape[-2:]), dtype_of(ld, b))


@ldl_solve.define_reference
def _(xp: Any, ld: Any, pivots: Any, b: Any, *, hermitian: bool) -> Any:
    batch = broadcast(_batch(ld), _batch(b))
    n = ld.shape[-1]
    factors = _stack(np.broadcast_to(ld, (*batch, n, n)))
    places = np.broadcast_to(pivots, (*batch, n)).reshape(len(factors), n)
    out = np.array(np.broadcast_to(b, (*batch, *b.shape[-2:])))
    stack = _stack(out)
    turn = np.conj if hermitian else np.array
    for matrix, place, x in zip(factors, places, stack, strict=True):
        _solve_one(matrix, place, x, turn)
    return stack.reshape(out.shape)


def _solve_one(ld: Any, pivots: Any, x: Any, turn: Any) -> None:
    n, k = len(ld), 0
    blocks = []
    while k < n:
        step = 1 if pivots[k] > 0 else 2
        blocks.append((k, step))
        last, row = k + step - 1, abs(int(pivots[k])) - 1
        x[[last, row]] = x[[row, last]]
        x[k + step :] -= ld[k + step :, k : k + step] @ x[k : k + step]
        k += step
    for k, step in blocks:
        block = np.tril(ld[k : k + step, k : k + step])
        x[k : k + step] = np.linalg.solve(block + np.tril(turn(block), -1).T, x[k : k + step])
    for k, step in reversed(blocks):
        x[k : k + step] -= turn(ld[k + step :, k : k + step]).T @ x[k + step :]
        last, row = k + step - 1, abs(int(pivots[k])) - 1
        x[[last, row]] = x[[row, last]]
