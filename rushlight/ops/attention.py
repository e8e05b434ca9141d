"""Scaled dot product attention (Vaswani and others, 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.autograd.modes import state
from rushlight.core.dtypes import BOOL, INT64
from rushlight.core.shapes import size_of
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import repeat_interleave
from rushlight.ops.products import matmul
from rushlight.ops.replaying import replayed
from rushlight.ops.selection import choose
from rushlight.ops.shape import matrix_transpose
from rushlight.ops.softmax import softmax
from rushlight.primitives import attention as fused
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s


@op(function=False)
def causal(input: Array) -> Array:
    """Scores (..., rows, columns) with minus infinity where a column lies after its row."""
    rows = s.reshape(s.iota(length=input.shape[-2], dtype=INT64), shape=(input.shape[-2], 1))
    later = p.greater(s.iota(length=input.shape[-1], dtype=INT64), rows)
    return s.select(later, s.full(-math.inf, shape=(), dtype=input.dtype), input)


@causal.gradient("input")
def causal_gradient(grad: Array) -> Array:
    return lower(grad)


@op(function=False)
def lower(input: Array) -> Array:
    """Zeros where a column lies after its row."""
    rows = s.reshape(s.iota(length=input.shape[-2], dtype=INT64), shape=(input.shape[-2], 1))
    later = p.greater(s.iota(length=input.shape[-1], dtype=INT64), rows)
    return s.select(later, s.full(0, shape=(), dtype=input.dtype), input)


@lower.gradient("input")
def lower_gradient(grad: Array) -> Array:
    return lower(grad)


@lower.samples
def lower_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4))


@op(
    function=False,
    outputs=("result", "logsum"),
    kept=1,
    undefined_grads=True,
    node="ScaledDotProductFlashAttentionForCpuBackward0",
)
def attention(query: Array, key: Array, value: Array, scale: float, causal: bool) -> Any:
    """softmax(query @ key^T * scale) @ value without its scores in memory: (..., rows, out)."""
    lead = tuple(query.shape[:-2])
    result, logsum = fused.attend(*map(_by_heads, (query, key, value)), scale=scale, causal=causal)
    return _as_given(result, lead), logsum


def _by_heads(x: Any) -> Any:
    """(..., rows, features) as (batch, heads, rows, features)."""
    *lead, rows, features = x.shape
    heads = lead.pop() if lead else 1
    shape = (size_of(lead), heads, rows, features)
    return x if tuple(x.shape) == shape else s.reshape(x, shape=shape)


def _as_given(x: Any, lead: tuple[int, ...]) -> Any:
    """(batch, rows, heads, features) as (..., rows, features)."""
    x = s.permute(x, axes=(0, 2, 1, 3))
    return x if len(lead) == 2 else s.reshape(x, shape=(*lead, *x.shape[2:]))


@attention.gradient("query", "key", "value")
def attention_gradient(
    grads: Any, needs: Any, query: Array, key: Array, value: Array, logsum: Array, scale: float, causal: bool
) -> Any:  # fmt: skip
    if not state.bare:
        return replayed(
            lambda q, k, v: (by_products(q, k, v, scale, causal),), (query, key, value), needs, grads[:1]
        )  # fmt: skip
    lead = tuple(query.shape[:-2])
    given = map(_by_heads, (grads[0], query, key, value))
    found = fused.attend_adjoint(*given, logsum, scale=scale, causal=causal)
    return tuple(_as_given(x, lead) for x in found)


@attention.samples
def attention_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4, 2), make(2, 3, 5, 2), make(2, 3, 5, 6), 0.7, False)
    yield Sample(make(1, 2, 5, 3), make(1, 2, 4, 3), make(1, 2, 4, 3), 0.5, True)
    yield Sample(make(2, 2, 1, 3, 2), make(2, 2, 1, 7, 2), make(2, 2, 1, 7, 1), 1.0, True)
    yield Sample(make(3, 4), make(5, 4), make(5, 4), 0.3, False)


def by_products(query: Any, key: Any, value: Any, scale: float, causally: bool) -> Any:
    """The same in ops that keep the scores."""
    scores = matmul(query * scale, matrix_transpose(key))
    return matmul(softmax(causal(scores) if causally else scores, -1), value)


@op(module="nn.functional", composite=True)
def scaled_dot_product_attention(
    query: Array, key: Array, value: Array, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Array:  # fmt: skip
    """softmax(query @ key^T * scale) @ value: query (..., L, E), key (..., S, E), value (..., S, Ev) to (..., L, Ev).

    `attn_mask` is bool (True takes part) or is added to the scores; `is_causal` lets a row see the columns up to its
    own; `scale` defaults to 1 / sqrt(E); `enable_gqa` repeats the heads of key and value to the query's.
    """
    for name, x in (("query", query), ("key", key), ("value", value)):
        if len(x.shape) < 2:
            raise RuntimeError(
                f"scaled_dot_product_attention: {name} must have at least 2 dimensions, not shape {list(x.shape)}"
            )
    if is_causal and attn_mask is not None:
        raise RuntimeError(
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
        )
    if query.dtype != key.dtype or query.dtype != value.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{query.dtype} key.dtype: {key.dtype} and value.dtype: {value.dtype} instead."
        )
    if enable_gqa:
        heads = tuple(query.shape)[-3]
        key = repeat_interleave(key, heads // tuple(key.shape)[-3], -3)
        value = repeat_interleave(value, heads // tuple(value.shape)[-3], -3)
    factor = 1 / math.sqrt(tuple(query.shape)[-1]) if scale is None else scale
    if attn_mask is None and not dropout_p > 0:
        if fused.suits(query, key, value):
            return attention(query, key, value, float(factor), bool(is_causal))[0]
        return by_products(query, key, value, factor, is_causal)
    scores = matmul(query * factor, matrix_transpose(key))
    if is_causal:
        scores = causal(scores)
    if attn_mask is not None:
        if attn_mask.dtype == BOOL or getattr(attn_mask.dtype, "name", "") == "bool":
            scores = choose(attn_mask, scores, -math.inf)
        else:
            scores = scores + attn_mask
    weights = softmax(scores, -1)
    if attn_mask is not None and (
        attn_mask.dtype == BOOL or getattr(attn_mask.dtype, "name", "") == "bool"
    ):
        weights = choose(attn_mask.any(-1, True) if hasattr(attn_mask, "any") else True, weights, 0)
    if dropout_p > 0:
        from rushlight.ops.dropout import dropout

        weights = dropout(weights, dropout_p, True)
    return matmul(weights, value)


@scaled_dot_product_attention.samples
def scaled_dot_product_attention_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4), make(2, 5, 4), make(2, 5, 6))
    yield Sample(make(1, 2, 3, 4), make(1, 2, 3, 4), make(1, 2, 3, 4), is_causal=True)
    yield Sample(make(3, 4), make(5, 4), make(5, 4), make(3, 5), scale=0.3)
    yield Bad(make(3), make(5, 4), make(5, 4), raises=RuntimeError, says="at least 2 dimensions")
