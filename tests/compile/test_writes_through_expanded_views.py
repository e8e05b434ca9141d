"""A part of an expanded view in which no element is met twice can be written: eager, compiled, and as in PyTorch."""

from __future__ import annotations

from typing import Any

import pytest

import rushlight

WRITES = {
    "diagonal": lambda v, w: v.diagonal().mul_(2),
    "one of the copies": lambda v, w: v[-1].mul_(3),
    "every second element": lambda v, w: v[1:2, ::2].add_(w[0, :2]),
    "copied": lambda v, w: v[2].copy_(w[0]),
    "turned": lambda v, w: v.t()[:, 1:2].sub_(w[0, :, None]),
    "nothing": lambda v, w: v[3:].mul_(5),
}


def written(library: Any, write: Any, compiled: bool) -> list[Any]:
    def step(x: Any, w: Any) -> Any:
        base = x * 1.0
        view = base.unsqueeze(0).expand(3, 4)
        write(view, w)
        loss = (view * w).sum() + (base**2).sum()
        loss.backward()
        return view.detach(), x.grad

    library.manual_seed(0)
    x, w = library.randn(4, requires_grad=True), library.randn(3, 4)
    call = library.compile(step) if compiled else step
    return [part.tolist() for part in call(x, w)]


@pytest.mark.parametrize("name", WRITES)
def test_compiled_as_eager(name: str) -> None:
    write = WRITES[name]
    assert written(rushlight, write, True) == written(rushlight, write, False)


@pytest.mark.oracle
@pytest.mark.parametrize("name", WRITES)
def test_eager_as_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    write = WRITES[name]
    assert written(rushlight, write, False) == written(torch, write, False)


def test_elements_met_twice_are_refused() -> None:
    def step(x: Any) -> Any:
        return x.expand(3, 4)[:2].add_(1)

    for call in (step, rushlight.compile(step)):
        with pytest.raises(RuntimeError, match="single memory location"):
            call(rushlight.ones(1, 4))
