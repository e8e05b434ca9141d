"""Rows brought to mean 0 and variance 1, times a weight, plus a bias; and the gradients of that: each in one pass.

    normalize_rows(x, weight, bias)                        result (rows, n), center (rows), scale (rows)
    normalize_rows_adjoint(grad, x, weight, center, scale) gradients of x, weight and bias

`x` and `grad` are (rows, n), weight and bias (n). Center is a row's mean, scale is 1 / sqrt(its variance + eps).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.primitives.primitive import Aval, dtype_of, primitive

Array = Any

normalize_rows = primitive("normalize_rows", params=("eps",), outputs=3, streams=True)
normalize_rows_adjoint = primitive("normalize_rows_adjoint", outputs=3, streams=True)


@normalize_rows.define_rule
def _(x: Any, weight: Any, bias: Any, *, eps: float) -> tuple[Aval, ...]:
    row = Aval(x.shape[:1], dtype_of(x, weight, bias))
    return Aval(x.shape, row.dtype), row, row


@normalize_rows_adjoint.define_rule
def _(grad: Any, x: Any, weight: Any, center: Any, scale: Any) -> tuple[Aval, ...]:
    dtype = dtype_of(grad, x, weight, center, scale)
    each = Aval(x.shape[1:], dtype)
    return Aval(x.shape, dtype), each, each


@normalize_rows.define_reference
def _(xp: Any, x: Array, weight: Array, bias: Array, *, eps: float) -> tuple[Array, ...]:
    count = x.dtype.type(x.shape[1])
    center = np.add.reduce(x, 1) / count
    result = x - center[:, None]
    scale = np.einsum("ij,ij->i", result, result)
    scale /= count
    scale += x.dtype.type(eps)
    np.sqrt(scale, out=scale)
    np.divide(1, scale, out=scale)
    result *= scale[:, None]
    result *= weight
    result += bias
    return result, center, scale


@normalize_rows_adjoint.define_reference
def _(
    xp: Any, grad: Array, x: Array, weight: Array, center: Array, scale: Array
) -> tuple[Array, ...]:
    count = x.dtype.type(x.shape[1])
    standard = x - center[:, None]
    standard *= scale[:, None]
    to_weight = np.einsum("ij,ij->j", grad, standard)
    to_bias = np.add.reduce(grad, 0)
    through = grad * weight
    across = np.einsum("ij,ij->i", through, standard)
    across /= count
    through -= (np.add.reduce(through, 1) / count)[:, None]
    standard *= across[:, None]
    through -= standard
    through *= scale[:, None]
    return through, to_weight, to_bias
