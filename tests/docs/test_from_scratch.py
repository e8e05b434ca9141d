"""docs/from_scratch.py runs, compiles to the same numbers, and agrees with rushlight."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.nn import functional as F

FILE = Path(__file__).parents[2] / "docs" / "from_scratch.py"


@pytest.fixture(scope="module")
def scratch() -> Any:
    spec = importlib.util.spec_from_file_location("from_scratch", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["from_scratch"] = module
    spec.loader.exec_module(module)
    return module


def test_compiled_equals_eager_and_learns(scratch: Any) -> None:
    eager, compiled = list(scratch.losses(False)), list(scratch.losses(True))
    np.testing.assert_allclose(compiled, eager, rtol=0, atol=1e-12)
    assert eager[-1] < 0.1 * eager[0]


def test_losses_are_rushlights(scratch: Any) -> None:
    x, y = (rushlight.from_numpy(t.array) for t in scratch.rings())
    weights = [rushlight.from_numpy(w.array.copy()).requires_grad_() for w in scratch.network()]
    optimizer = rushlight.optim.SGD(weights, lr=0.5)
    for wanted in scratch.losses(False, steps=30):
        optimizer.zero_grad()
        loss = F.cross_entropy(F.relu(x @ weights[0] + weights[1]) @ weights[2] + weights[3], y)
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(wanted, abs=1e-10)


def test_second_derivatives_by_the_same_formulas(scratch: Any) -> None:
    x = scratch.Tensor(np.array([2.0, 3.0]), requires_grad=True)
    node = scratch.mul(x, scratch.mul(x, x))
    first = scratch.total(node, axes=(0,))
    first.backward()
    np.testing.assert_allclose(x.grad.array, 3 * x.array**2)
    gradient, x.grad = x.grad, None
    scratch.total(gradient, axes=(0,)).backward()
    np.testing.assert_allclose(x.grad.array, 6 * x.array)


def test_it_stays_short() -> None:
    lines = FILE.read_text().splitlines()
    assert sum(1 for line in lines if line.strip() and not line.strip().startswith("#")) <= 340
