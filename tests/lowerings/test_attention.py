"""Attention without its scores in memory: odd sizes, strided operands, causal or not, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.nn import functional as F
from rushlight.ops.attention import by_products

pytest.importorskip("llvmlite")

F32, F64 = rushlight.float32, rushlight.float64
#: (batch, heads, rows, columns, features, features of the values), dtype, causal, whether heads lie behind rows
CASES: list[Any] = [
    ((2, 4, 64, 64, 32, 32), F32, True, True),
    ((1, 2, 37, 53, 20, 7), F32, True, False),
    ((1, 2, 37, 53, 20, 7), F64, False, True),
    ((2, 1, 17, 16, 16, 16), F32, False, False),
    ((1, 1, 1, 300, 8, 8), F32, False, True),
    ((1, 2, 33, 600, 70, 70), F32, True, True),
    ((1, 1, 70, 20, 4, 5), F64, True, False),
]
NEAR = {F32: 2e-5, F64: 1e-12}


def _operands(sizes: tuple[int, ...], dtype: Any, turned: bool) -> list[Any]:
    """Query, key, value and the result's gradient; `turned`: heads lie behind rows, as in a transformer."""
    batch, heads, rows, columns, features, out = sizes
    found = []
    for count, width in ((rows, features), (columns, features), (columns, out), (rows, out)):
        x = rushlight.randn(batch, count, heads, width, dtype=dtype).transpose(1, 2)
        found.append(x if turned else x.contiguous())
    return found


@pytest.mark.parametrize(("sizes", "dtype", "causal", "turned"), CASES)
def test_compiled_and_eager_are_by_products(
    sizes: tuple[int, ...], dtype: Any, causal: bool, turned: bool
) -> None:
    *operands, grad = _operands(sizes, dtype, turned)
    for x in operands:
        x.requires_grad_()

    def fused(q: Any, k: Any, v: Any, g: Any) -> Any:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=0.3)
        return out, *rushlight.autograd.grad(out, (q, k, v), g)

    def apart(q: Any, k: Any, v: Any, g: Any) -> Any:
        out = by_products(q, k, v, 0.3, causal)
        return out, *rushlight.autograd.grad(out, (q, k, v), g)

    expected = apart(*operands, grad)
    for run in (fused, rushlight.compile(fused)):
        for a, b in zip(run(*operands, grad), expected, strict=True):
            np.testing.assert_allclose(
                a.detach().numpy(), b.detach().numpy(), rtol=NEAR[dtype], atol=NEAR[dtype] * 10
            )


def test_what_is_not_finite_stays_in_its_rows() -> None:
    q, k, v = (rushlight.randn(1, 1, 40, 16) for _ in range(3))
    q[0, 0, 3, 2] = float("nan")
    q[0, 0, 39] = 1e30
    run = rushlight.compile(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))
    found, expected = run(q, k, v).numpy(), by_products(q, k, v, 0.25, True).numpy()
    assert np.isnan(found[0, 0, 3]).all()
    assert np.isfinite(np.delete(found, 3, axis=2)).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_no_scores_are_kept() -> None:
    q = rushlight.randn(1, 2, 32, 8, requires_grad=True)
    node = F.scaled_dot_product_attention(q, q, q).grad_fn
    assert node.name() == "ScaledDotProductFlashAttentionForCpuBackward0"
    assert max(getattr(s, "numel", lambda: 0)() for s in node.saved) <= q.numel()
