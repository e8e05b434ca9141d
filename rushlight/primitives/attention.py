"""Attention over whole sequences without its scores in memory, and the gradients of that.

    attend(query, key, value)                       result (batch, rows, heads, out), logsum (batch, heads, rows)
    attend_adjoint(grad, query, key, value, logsum) gradients of query, key and value: (batch, rows, heads, features)

`query` is (batch, heads, rows, features), `key` (batch, heads, columns, features), `value` (batch, heads, columns,
out), `grad` as `value` with rows for columns. Of each row of scores = query @ key^T * scale, logsum is the logarithm of
the sum of exponentials: with it the adjoint computes the weights again instead of reading them. Under `causal` a row
does not see the columns behind its own. Results have heads behind rows, as the layer behind an attention wants them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core.dtypes import FLOAT32, FLOAT64
from rushlight.primitives.primitive import Aval, dtype_of, primitive

Array = Any

#: Longer rows of scores, or vectors, are better done in products of their own.
MOST_COLUMNS, MOST_FEATURES = 1024, 256

attend = primitive("attend", params=("scale", "causal"), outputs=2)
attend_adjoint = primitive("attend_adjoint", params=("scale", "causal"), outputs=3)


def suits(query: Any, key: Any, value: Any) -> bool:
    """Whether arrays (or tensors) of these shapes and dtypes can be attended to so."""
    shapes = [tuple(x.shape) for x in (query, key, value)]
    dtypes = [getattr(x.dtype, "numpy", x.dtype) for x in (query, key, value)]
    q, k, v = shapes
    return (
        all(d == dtypes[0] for d in dtypes)
        and dtypes[0] in (FLOAT32, FLOAT64)
        and len(q) == len(k) == len(v)
        and q[:-2] == k[:-2] == v[:-2]
        and q[-1] == k[-1]
        and k[-2] == v[-2] <= MOST_COLUMNS
        and max(q[-1], v[-1]) <= MOST_FEATURES
        and all(n > 0 for shape in shapes for n in shape)
    )


@attend.define_rule
def _(query: Any, key: Any, value: Any, *, scale: float, causal: bool) -> tuple[Aval, Aval]:
    batch, heads, rows, _ = query.shape
    dtype = dtype_of(query, key, value)
    return Aval((batch, rows, heads, value.shape[3]), dtype), Aval((batch, heads, rows), dtype)


@attend_adjoint.define_rule
def _(
    grad: Any, query: Any, key: Any, value: Any, logsum: Any, *, scale: float, causal: bool
) -> tuple[Aval, ...]:
    dtype = dtype_of(grad, query, key, value, logsum)

    def like(x: Any) -> Aval:
        batch, heads, rows, features = x.shape
        return Aval((batch, rows, heads, features), dtype)

    return like(query), like(key), like(value)


def _scores(query: Array, key: Array, scale: float, causal: bool) -> Array:
    scores = np.matmul(query * query.dtype.type(scale), key.swapaxes(-1, -2))
    if causal:
        rows, columns = scores.shape[-2:]
        scores[..., np.arange(columns) > np.arange(rows)[:, None]] = -np.inf
    return scores


def _heads_behind(x: Array) -> Array:
    return np.ascontiguousarray(x.swapaxes(1, 2))


@attend.define_reference
def _(
    xp: Any, query: Array, key: Array, value: Array, *, scale: float, causal: bool
) -> tuple[Array, Array]:
    scores = _scores(query, key, scale, causal)
    top = scores.max(-1, keepdims=True)
    scores -= top
    weights = np.exp(scores, out=scores)
    total = weights.sum(-1, keepdims=True)
    weights /= total
    return _heads_behind(np.matmul(weights, value)), (top + np.log(total))[..., 0]


@attend_adjoint.define_reference
def _(
    xp: Any, grad: Array, query: Array, key: Array, value: Array, logsum: Array, *, scale: float, causal: bool
) -> tuple[Array, ...]:  # fmt: skip
    weights = _scores(query, key, scale, causal)
    weights -= logsum[..., None]
    np.exp(weights, out=weights)
    to_scores = np.matmul(grad, value.swapaxes(-1, -2))
    to_value = np.matmul(weights.swapaxes(-1, -2), grad)
    to_scores *= weights
    weights *= to_scores.sum(-1, keepdims=True)
    to_scores -= weights
    to_scores *= query.dtype.type(scale)
    to_query = np.matmul(to_scores, key)
    to_key = np.matmul(to_scores.swapaxes(-1, -2), query)
    return _heads_behind(to_query), _heads_behind(to_key), _heads_behind(to_value)
