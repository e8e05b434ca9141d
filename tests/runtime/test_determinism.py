"""The same seed gives the same bits: run after run, and with one, two and four threads."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.compiler import executable

BATCHES = {"lenet": 9, "mlp": 33, "convnet": 3, "resnet20": 2, "charlstm": 3, "gpt": 1, "vae": 17}
THREADS = (1, 2, 4, 2)


def build(name: str) -> Any:
    """A benchmark program."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "models.py"
    spec = importlib.util.spec_from_file_location("models", path)
    assert spec is not None and spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    return models.build(rushlight, name, BATCHES[name])


def runs(name: str, wrap: Callable[[Any], Any], steps: int = 2) -> list[tuple[list[float], str]]:
    """Losses, and a digest of all state, of some steps from one and the same state, for each number of threads."""
    step, net, opt, x, y, _ = build(name)
    step = wrap(step)
    for _ in range(2):
        step(x, y)
    tensors = [*net.parameters(), *net.buffers()]
    for state in opt.state.values():
        tensors += [v for v in state.values() if isinstance(v, rushlight.Tensor)]
    start = [t.detach().clone() for t in tensors]
    found = []
    for count in THREADS:
        rushlight.set_num_threads(count)
        rushlight.manual_seed(1)
        with rushlight.no_grad():
            for tensor, value in zip(tensors, start):
                tensor.copy_(value)
        losses = [step(x, y).item() for _ in range(steps)]
        digest = hashlib.sha256()
        for tensor in tensors:
            digest.update(np.ascontiguousarray(tensor.detach().numpy()).tobytes())
        found.append((losses, digest.hexdigest()))
    return found


#: Programs of hundreds of kernels.
LARGE = ("resnet20", "gpt", "vae")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in BATCHES]
)
def test_compiled_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every kernel with more than one item is shared, also those that would stay with one thread at this size.
    monkeypatch.setattr(executable, "SHARED_NS", 0.0)
    monkeypatch.setattr(executable, "stays_on_one_core", lambda *_: False)
    found = runs(name, rushlight.compile)
    assert np.isfinite(found[0][0]).all()
    assert found == [found[0]] * len(THREADS)


@pytest.mark.parametrize("name", ["lenet", "mlp", "charlstm"])
def test_eager_steps(name: str) -> None:
    found = runs(name, lambda step: step, steps=1)
    assert found == [found[0]] * len(THREADS)


def test_another_process_gives_the_same_bits(python: Callable[..., str]) -> None:
    code = """
import sys
import rushlight

rushlight.manual_seed(3)
net = rushlight.nn.Sequential(rushlight.nn.Linear(40, 200), rushlight.nn.Dropout(0.3), rushlight.nn.Linear(200, 8))
opt = rushlight.optim.Adam(net.parameters())
x = rushlight.randn(70, 40)

@rushlight.compile
def step():
    opt.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    opt.step()
    return loss

print([step().item().hex() for _ in range(5)])
"""
    outputs = {
        python(f"import rushlight\nrushlight.set_num_threads({count})\n{code}")
        for count in (1, 2, 2)
    }
    assert len(outputs) == 1
