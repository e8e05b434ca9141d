"""Without llvmlite everything runs on NumPy: compiled functions by the primitives' references."""

from __future__ import annotations

from collections.abc import Callable

BLOCKED = """
import sys
sys.modules["llvmlite"] = None  # what an import of a missing package finds
import numpy as np
import rushlight
"""

QUIET = "import warnings\nwarnings.simplefilter('ignore')\n"


def test_a_training_step(python: Callable[..., str]) -> None:
    code = """
import rushlight
rushlight.manual_seed(0)
net = rushlight.nn.Sequential(rushlight.nn.Linear(9, 16), rushlight.nn.Dropout(0.2), rushlight.nn.Linear(16, 3))
opt = rushlight.optim.Adam(net.parameters())
x, y = rushlight.rand(6, 9), rushlight.arange(6) % 3
def step():
    opt.zero_grad()
    loss = rushlight.nn.functional.cross_entropy(net(x), y)
    loss.backward()
    opt.step()
    return loss
step = rushlight.compile(step)
print([round(step().item(), 5) for _ in range(6)])
"""
    with_it = python(code)
    assert python(QUIET + BLOCKED + code) == with_it


def test_results_that_look_into_what_is_written(python: Callable[..., str]) -> None:
    python(
        QUIET
        + BLOCKED
        + """
x, y = rushlight.tensor([[1.0, 2.0]]), rushlight.tensor([[3.0, 4.0]])
@rushlight.compile
def swap():
    before = x.t().clone()
    z = x + 0
    x.copy_(y)
    y.copy_(z)
    return before
for k in range(4):
    old = x.clone()
    assert swap().t().equal(old)
    assert y.equal(old)
"""
    )


def test_it_is_said_once(python: Callable[..., str]) -> None:
    told = python(
        "import warnings\n"
        + BLOCKED
        + """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for k in range(3):
        f = rushlight.compile(lambda x, k=k: x * 2 + k)
        assert f(rushlight.ones(2)).tolist() == [2 + k, 2 + k]
print(*[w.message for w in caught], sep="|")
"""
    )
    assert told.count("compiled functions run on NumPy alone") == 1
    assert "pip install llvmlite" in told


def test_settings_of_threads_do_not_need_it(python: Callable[..., str]) -> None:
    python(
        "import warnings\n"
        + BLOCKED
        + """
rushlight.set_num_threads(3)
assert rushlight.get_num_threads() == 3
assert rushlight.set_flush_denormal(False)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    f = rushlight.compile(lambda x: x.log())
    f(rushlight.ones(1))
assert f(rushlight.zeros(1)).item() == float("-inf")  # and no warning of NumPy's
assert (rushlight.rand(70, 70) @ rushlight.rand(70, 70)).shape == (70, 70)
assert rushlight.nn.Conv2d(1, 2, 3)(rushlight.rand(1, 1, 64, 64)).shape == (1, 2, 62, 62)
"""
    )


def test_importing_rushlight_does_not_import_llvmlite(python: Callable[..., str]) -> None:
    python("import sys, rushlight\nassert 'llvmlite' not in sys.modules")
