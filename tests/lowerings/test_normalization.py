"""Rows that are normalized in one pass: odd sizes, rows that lie apart, what follows in the same kernel, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.nn import functional as F
from rushlight.ops.normalization import standardized

pytest.importorskip("llvmlite")

F32, F64 = rushlight.float32, rushlight.float64
NEAR = {F32: 3e-5, F64: 1e-11}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("shape", "dims", "dtype"),
    [
        ((12, 64, 128), 1, F32), ((37, 20), 1, F64), ((3, 5, 7, 9), 2, F32), ((33, 300), 1, F32),
        ((1, 8), 1, F64), ((500, 17), 1, F32),
    ],
)  # fmt: skip
def test_compiled_and_eager_are_the_general_form(
    shape: tuple[int, ...], dims: int, dtype: Any, turned: bool
) -> None:
    x = rushlight.randn(*(shape[::-1] if turned else shape), dtype=dtype) * 3 + 1
    x = x.permute(*range(len(shape))[::-1]) if turned else x
    weight, bias = (rushlight.randn(*shape[-dims:], dtype=dtype) for _ in range(2))
    grad = rushlight.randn(*shape, dtype=dtype)
    operands = [t.detach().requires_grad_() for t in (x, weight, bias)]
    axes = tuple(range(len(shape) - dims, len(shape)))

    def by_rows(x: Any, w: Any, b: Any, g: Any) -> Any:
        y = F.layer_norm(x, shape[-dims:], w, b) * 2 + x
        return y, *rushlight.autograd.grad(y, (x, w, b), g)

    def in_general(x: Any, w: Any, b: Any, g: Any) -> Any:
        y = standardized(x, w, b, axes, 1e-5)[0] * 2 + x
        return y, *rushlight.autograd.grad(y, (x, w, b), g)

    expected = in_general(*operands, grad)
    for run in (by_rows, rushlight.compile(by_rows)):
        for a, b in zip(run(*operands, grad), expected, strict=True):
            a, b = a.detach().numpy(), b.detach().numpy()
            largest = max(1.0, np.abs(b).max())
            np.testing.assert_allclose(a, b, rtol=NEAR[dtype], atol=NEAR[dtype] * largest)


def test_what_follows_is_in_the_same_kernel() -> None:
    x, w, b = rushlight.randn(64, 128), rushlight.randn(128), rushlight.randn(128)
    run = rushlight.compile(lambda x, w, b: rushlight.relu(F.layer_norm(x, (128,), w, b)) + x)
    expected = rushlight.relu(F.layer_norm(x, (128,), w, b)) + x
    np.testing.assert_allclose(run(x, w, b).numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)
    from rushlight.compiler.profile import watching

    with watching() as runs:
        run(x, w, b)
    assert len(runs[0][1]) == 1
