"""An input's gradient and the update of the weight that it reads, as one kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight import nn, optim
from rushlight.nn import functional as F

#: Widths of layers: no multiples of a vector, and enough elements to be worth it.
WIDE, NARROW = 83, 67


def _net() -> nn.Sequential:
    rushlight.manual_seed(0)
    return nn.Sequential(
        nn.Linear(NARROW, WIDE), nn.ReLU(), nn.Linear(WIDE, NARROW), nn.Tanh(), nn.Linear(NARROW, 70)
    )  # fmt: skip


def _adam(parameters: Any) -> optim.Optimizer:
    return optim.Adam(parameters, lr=1e-2)


def _momentum(parameters: Any) -> optim.Optimizer:
    return optim.SGD(parameters, lr=1e-2, momentum=0.9)


def _trained(make: Any, step: Any, compiled: bool, batch: int = 1) -> tuple[Any, list[Any]]:
    """The compiled function (or None), and all parameters and gradients after some steps."""
    net = _net()
    optimizer = make(net.parameters())
    x = rushlight.randn(batch, NARROW)

    def run() -> Any:
        return step(net, optimizer, x)

    function = rushlight.compile(run) if compiled else run
    for _ in range(4):
        function()
    state = [p.detach().numpy() for p in net.parameters()]
    state += [p.grad.numpy() for p in net.parameters()]
    return function if compiled else None, state


def _pairs(compiled: Any) -> int:
    return len(compiled.programs[-1].executable.assembly._pairs)


def _plain(net: Any, optimizer: Any, x: Any) -> Any:
    optimizer.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    optimizer.step()
    return loss


def _clipped(net: Any, optimizer: Any, x: Any) -> Any:
    optimizer.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 0.1)
    optimizer.step()
    return loss


@pytest.mark.parametrize("make", [_momentum, _adam])
@pytest.mark.parametrize(
    ("step", "batch", "pairs"), [(_plain, 1, 2), (_plain, 3, 0), (_clipped, 1, 0)]
)
def test_steps_come_out_as_without_pairs(make: Any, step: Any, batch: int, pairs: int) -> None:
    _, expected = _trained(make, step, False, batch)
    compiled, found = _trained(make, step, True, batch)
    if compiled.programs:  # there are native programs
        kernels = [k.name for k in compiled.programs[-1].executable.assembly.steps]
        assert sum(name.startswith("sum_parts") for name in kernels) >= pairs
        assert (_pairs(compiled) >= pairs) if pairs else (batch > 1 or _pairs(compiled) == 0)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_a_late_check_stops_a_program_before_a_pair_has_written() -> None:
    net = _net()
    optimizer = _momentum(net.parameters())
    target = rushlight.ones(1, 70)
    scale = rushlight.ones(())

    @rushlight.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
        return F.binary_cross_entropy(net(x).sigmoid() * scale, target)

    x = rushlight.randn(1, NARROW)
    for _ in range(3):
        step(x)
    before = [p.detach().numpy().copy() for p in net.parameters()]
    scale.fill_(5.0)
    with pytest.raises(RuntimeError):
        step(x)
    for a, p in zip(before, net.parameters(), strict=True):
        np.testing.assert_array_equal(a, p.detach().numpy())


@pytest.mark.parametrize("size", [(1024, 608), (1030, 601)])
def test_gradients_of_large_layers_are_stored_past_the_caches(size: tuple[int, int]) -> None:
    rows, columns = size
    results = []
    for compiled in (False, True):
        rushlight.manual_seed(0)
        layer = nn.Linear(columns, rows)
        optimizer = _momentum(layer.parameters())
        x = rushlight.randn(1, columns)

        def run(layer: Any = layer, optimizer: Any = optimizer, x: Any = x) -> Any:
            optimizer.zero_grad()
            loss = layer(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        function = rushlight.compile(run) if compiled else run
        for _ in range(3):
            function()
        results.append((layer.weight.grad.numpy(), layer.weight.detach().numpy()))
        if compiled and columns % 16 == 0:
            text = function.programs[-1].executable.text  # type: ignore[attr-defined]
            assert "!nontemporal" in text
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-7)
