"""QR, singular values, eigenvalues, pseudoinverses and the exponential of matrices, on stacks of them.

As in linalg.py beside it, operands are float32, float64, complex64 or complex128 and LAPACK does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.core.dtypes import INT64, complex_of, of_numpy, real_of
from rushlight.primitives.linalg import LinAlgError
from rushlight.primitives.primitive import Aval, primitive


def _h(x: Any) -> Any:
    return np.conj(np.swapaxes(x, -1, -2))


def _batch(x: Any) -> tuple[int, ...]:
    return tuple(x.shape[:-2])


# -- QR ---------------------------------------------------------------------------------------------------

qr = primitive("qr", params=("complete",), outputs=2)
reflectors = primitive("reflectors", outputs=2)


@qr.define_rule
def _(x: Any, *, complete: bool) -> tuple[Aval, Aval]:
    batch, (m, n) = _batch(x), x.shape[-2:]
    k = m if complete else min(m, n)
    return Aval((*batch, m, k), x.dtype), Aval((*batch, k, n), x.dtype)


@qr.define_reference
def _(xp: Any, x: Any, *, complete: bool) -> Any:
    batch, (m, n) = _batch(x), x.shape[-2:]
    if not x.size:
        k = m if complete else min(m, n)
        q = np.zeros((*batch, m, k), x.dtype)
        q[...] = np.eye(m, k)
        return q, np.zeros((*batch, k, n), x.dtype)
    q, r = np.linalg.qr(x, "complete" if complete else "reduced")
    return q, r


@reflectors.define_rule
def _(x: Any) -> tuple[Aval, Aval]:
    return Aval(tuple(x.shape), x.dtype), Aval((*_batch(x), min(x.shape[-2:])), x.dtype)


@reflectors.define_reference
def _(xp: Any, x: Any) -> Any:
    if not x.size:
        return x.copy(), np.zeros((*_batch(x), min(x.shape[-2:])), x.dtype)
    h, tau = np.linalg.qr(x, "raw")
    h = np.ascontiguousarray(np.swapaxes(h, -1, -2))
    return h.astype(x.dtype, copy=False), tau.astype(x.dtype, copy=False)


# -- singular values and eigenvalues ----------------------------------------------------------------------

svd = primitive("svd", params=("full",), outputs=3)
singular_values = primitive("singular_values")
eigh = primitive("eigh", params=("lower",), outputs=2)
eig = primitive("eig", outputs=2)


def _converging(function: Callable[..., Any], name: str, x: Any, *args: Any) -> Any:
    try:
        return function(x, *args)
    except np.linalg.LinAlgError:
        why = (
            "the input matrix contained non-finite values."
            if not np.isfinite(x).all()
            else "the input matrix is ill-conditioned or has too many repeated values."
        )
        raise LinAlgError(f"{name}: The algorithm failed to converge because {why}") from None


@svd.define_rule
def _(x: Any, *, full: bool) -> tuple[Aval, Aval, Aval]:
    batch, (m, n) = _batch(x), x.shape[-2:]
    k = min(m, n)
    u = Aval((*batch, m, m if full else k), x.dtype)
    return u, Aval((*batch, k), real_of(x.dtype)), Aval((*batch, n if full else k, n), x.dtype)


@svd.define_reference
def _(xp: Any, x: Any, *, full: bool) -> Any:
    if not x.size:
        batch, (m, n) = _batch(x), x.shape[-2:]
        k = min(m, n)
        u = np.zeros((*batch, m, m if full else k), x.dtype)
        vh = np.zeros((*batch, n if full else k, n), x.dtype)
        u[...], vh[...] = np.eye(*u.shape[-2:]), np.eye(*vh.shape[-2:])
        return u, np.zeros((*batch, k), real_of(x.dtype)), vh
    return tuple(_converging(np.linalg.svd, "linalg.svd", x, full))


@singular_values.define_rule
def _(x: Any) -> Aval:
    return Aval((*_batch(x), min(x.shape[-2:])), real_of(x.dtype))


@singular_values.define_reference
def _(xp: Any, x: Any) -> Any:
    if not x.size:
        return np.zeros((*_batch(x), min(x.shape[-2:])), real_of(x.dtype))
    return _converging(np.linalg.svd, "linalg.svd", x, False, False)


@eigh.define_rule
def _(x: Any, *, lower: bool) -> tuple[Aval, Aval]:
    return Aval(tuple(x.shape[:-1]), real_of(x.dtype)), Aval(tuple(x.shape), x.dtype)


@eigh.define_reference
def _(xp: Any, x: Any, *, lower: bool) -> Any:
    return tuple(_converging(np.linalg.eigh, "linalg.eigh", x, "L" if lower else "U"))


@eig.define_rule
def _(x: Any) -> tuple[Aval, Aval]:
    dtype = complex_of(x.dtype)
    return Aval(tuple(x.shape[:-1]), dtype), Aval(tuple(x.shape), dtype)


@eig.define_reference
def _(xp: Any, x: Any) -> Any:
    if not np.isfinite(x).all():
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    values, vectors = _converging(np.linalg.eig, "linalg.eig", x)
    dtype = complex_of(x.dtype)
    return values.astype(dtype, copy=False), vectors.astype(dtype, copy=False)


# -- pseudoinverse and rank -------------------------------------------------------------------------------

pseudoinverse = primitive("pseudoinverse", params=("hermitian",))
rank_within = primitive("rank_within")


@pseudoinverse.define_rule
def _(x: Any, atol: Any, rtol: Any, *, hermitian: bool) -> Aval:
    return Aval((*_batch(x), x.shape[-1], x.shape[-2]), x.dtype)


def _cutoff(sizes: Any, atol: Any, rtol: Any) -> Any:
    top = sizes.max(-1, keepdims=True, initial=0)
    return np.maximum(np.asarray(atol)[..., None], np.asarray(rtol)[..., None] * top)


@pseudoinverse.define_reference
def _(xp: Any, x: Any, atol: Any, rtol: Any, *, hermitian: bool) -> Any:
    if not x.size:
        return np.zeros((*_batch(x), x.shape[-1], x.shape[-2]), x.dtype)
    if hermitian:
        values, u = _converging(np.linalg.eigh, "linalg.pinv", x)
        v = u
    else:
        u, values, vh = _converging(np.linalg.svd, "linalg.pinv", x, False)
        v = _h(vh)
    keep = np.abs(values) > _cutoff(np.abs(values), atol, rtol)
    inverse = np.where(keep, 1 / np.where(keep, values, 1), 0).astype(values.dtype)
    return np.matmul(v * inverse[..., None, :], _h(u))


@rank_within.define_rule
def _(sizes: Any, atol: Any, rtol: Any) -> Aval:
    return Aval(
        np.broadcast_shapes(
            sizes.shape[:-1], getattr(atol, "shape", ()), getattr(rtol, "shape", ())
        ),
        INT64,
    )


@rank_within.define_reference
def _(xp: Any, sizes: Any, atol: Any, rtol: Any) -> Any:
    return np.sum(sizes > _cutoff(sizes, atol, rtol), -1, dtype=np.int64)


# -- exponential ------------------------------------------------------------------------------------------

exponential = primitive("exponential")

#: Numerators of the Pade approximant of degree 13, and up to which 1-norm it is exact in float64
#: (N. Higham, The scaling and squaring method for the matrix exponential revisited, 2005).
_PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
    10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_REACH = 5.371920351148152


@exponential.define_rule
def _(x: Any) -> Aval:
    return Aval(tuple(x.shape), x.dtype)


@exponential.define_reference
def _(xp: Any, x: Any) -> Any:
    if not x.size:
        return x.copy()
    dtype = x.dtype
    # The large coefficients ask for double precision.
    a = x.astype(complex_of(np.dtype(np.float64)) if dtype.kind == "c" else np.float64, copy=False)
    norm = np.abs(a).sum(-2).max(-1)
    finite = np.isfinite(norm)
    halvings = np.where(
        finite & (norm > _REACH), np.ceil(np.log2(np.where(finite, norm, 1) / _REACH)), 0
    )
    a = np.where(finite[..., None, None], a, 0) / np.exp2(halvings)[..., None, None]
    one = np.eye(a.shape[-1], dtype=a.dtype)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    c = _PADE
    odd = a @ (
        a6 @ (c[13] * a6 + c[11] * a4 + c[9] * a2) + c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * one
    )
    even = (
        a6 @ (c[12] * a6 + c[10] * a4 + c[8] * a2) + c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * one
    )
    out = np.linalg.solve(even - odd, even + odd)
    for i in range(int(halvings.max())):
        out = np.where((i < halvings)[..., None, None], out @ out, out)
    return np.where(finite[..., None, None], out, np.nan).astype(dtype)


def epsilon_of(dtype: Any) -> float:
    """The distance from 1 to the next number, of the real type with this precision."""
    return float(np.finfo(of_numpy(real_of(dtype)).numpy).eps)
