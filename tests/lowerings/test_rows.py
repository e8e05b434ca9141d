"""Softmax and its logarithm: rows of a few vectors, of many, not in order; what is not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight

pytest.importorskip("llvmlite")

SHAPES = [
    (1, 1),
    (2, 1),
    (7, 65),
    (3, 5, 16),
    (9, 100),
    (33, 128),
    (5, 130),
    (4, 3, 2, 64),
    (3, 2500),
]
TOLERANCE = {
    rushlight.float32: 1e-5, rushlight.float64: 1e-13, rushlight.bfloat16: 1e-2, rushlight.float16: 2e-3,
}  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_compiled_is_eager(name: str, shape: tuple[int, ...], dtype: Any, turned: bool) -> None:
    x = (rushlight.randn(*shape) * 5).to(dtype)
    axis = -1
    if turned:
        x, axis = x.transpose(0, -1), 0
    if shape[0] > 4:
        rows = x.transpose(0, -1) if turned else x
        rows[1, 0], rows[3, 0] = float("nan"), float("inf")
        rows[0, 0], rows[4, 0] = 600.0, float("-inf")
        rows[2] = float("-inf")

    def run(x: Any) -> Any:
        return getattr(rushlight, name)(x, axis)

    found, expected = (f(x).to(rushlight.float64).numpy() for f in (rushlight.compile(run), run))
    near = TOLERANCE[dtype]
    np.testing.assert_allclose(found, expected, rtol=near, atol=near)
