"""Functions of real numbers in kernels: against the C library in twice the precision, in units in the last place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rushlight

pytest.importorskip("llvmlite")


def _logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


#: By op: what it is in extended precision, and how many units in the last place it may be off.
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "exp": (np.exp, 1.5), "expm1": (np.expm1, 2.0), "log": (np.log, 2.0), "log1p": (np.log1p, 2.5),
    "tanh": (np.tanh, 3.0), "sigmoid": (_logistic, 2.5),
}  # fmt: skip


def _arguments(dtype: Any) -> Any:
    """Everywhere: large, around 0, tiny."""
    rng = np.random.default_rng(3)
    far = 85.0 if dtype == np.float32 else 700.0
    parts = [
        rng.uniform(-far, far, 3000), rng.uniform(-10, 10, 3000), rng.uniform(-0.5, 0.5, 3000),
        10.0 ** rng.uniform(-30, 0, 500), -(10.0 ** rng.uniform(-30, 0, 500)),
    ]  # fmt: skip
    return np.concatenate(parts).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_units_in_the_last_place(name: str, dtype: Any) -> None:
    reference, most = FUNCTIONS[name]
    x = _arguments(dtype)
    if name == "log":
        x = np.abs(x)
    elif name == "log1p":
        x = x[x > -1]
    found = rushlight.compile(getattr(rushlight, name))(rushlight.from_numpy(x)).numpy()
    exact = reference(x.astype(np.longdouble))
    unit = np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
    normal = np.abs(exact) >= np.finfo(dtype).tiny
    assert (np.abs(found - exact)[normal] / unit[normal]).max() <= most
    assert np.abs(found - exact)[~normal].max(initial=0) <= np.finfo(dtype).tiny


@pytest.mark.parametrize("dtype", [rushlight.float32, rushlight.float64])
def test_at_the_ends(dtype: Any) -> None:
    x = rushlight.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, 1e30, -1e30], dtype=dtype)
    for name, expected in (
        ("exp", [math.inf, 0, math.nan, 1, 1, math.inf, 0]),
        ("tanh", [1, -1, math.nan, 0, -0.0, 1, -1]),
        ("sigmoid", [1, 0, math.nan, 0.5, 0.5, 1, 0]),
    ):
        found = rushlight.compile(getattr(rushlight, name))(x).numpy()
        np.testing.assert_array_equal(found, expected, err_msg=name)
        signs = np.signbit(np.where(np.isnan(expected), 0, expected))
        assert (np.signbit(np.where(np.isnan(found), 0, found)) == signs).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_normal_distribution_keeps_its_digits_far_below_zero(dtype: Any) -> None:
    from rushlight.ops.activations import normal_density, normal_distribution

    x = np.concatenate([np.linspace(-12, 12, 5001), [np.inf, -np.inf, np.nan]]).astype(dtype)
    run = rushlight.compile(lambda x: (normal_distribution(x), normal_density(x)))
    below, density = (r.numpy() for r in run(rushlight.from_numpy(x)))
    with np.errstate(invalid="ignore"):
        exact = np.array([0.5 * math.erfc(-v * math.sqrt(0.5)) for v in x.astype(float)])
        bell = np.exp(-0.5 * x.astype(float) ** 2) / math.sqrt(2 * math.pi)
    near, digits = (2e-7, 1e-5) if dtype == np.float32 else (1e-15, 1e-11)
    np.testing.assert_allclose(below, exact, rtol=digits, atol=0)
    np.testing.assert_allclose(below, exact, rtol=0, atol=near)
    np.testing.assert_allclose(density, bell, rtol=digits, atol=0)
