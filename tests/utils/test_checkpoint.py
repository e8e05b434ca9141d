"""Checkpointing: the same gradients from less memory, and the errors when the second run differs."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import rushlight
from rushlight import nn
from rushlight.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def gradients(run: Any, net: Any, x: Any) -> list[Any]:
    """The gradients of parameters and input, from the same random state."""
    net.zero_grad()
    x.grad = None
    rushlight.manual_seed(1)
    run(x).sum().backward()
    return [t.grad.tolist() for t in (*net.parameters(), x)]


def network() -> tuple[Any, Any]:
    rushlight.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1)
    )
    return net, rushlight.randn(5, 4).requires_grad_()


@pytest.mark.parametrize("reentrant", [True, False])
def test_same_gradients(reentrant: bool) -> None:
    net, x = network()
    wanted = gradients(net, net, x)
    assert gradients(lambda v: checkpoint(net, v, use_reentrant=reentrant), net, x) == wanted
    for segments in (1, 2, 3):
        found = gradients(
            partial(checkpoint_sequential, net, segments, use_reentrant=reentrant), net, x
        )
        assert found == wanted


def test_nested() -> None:
    net, x = network()
    wanted = gradients(net, net, x)

    def inner(v: Any) -> Any:
        return checkpoint(net, v, use_reentrant=False)

    assert gradients(lambda v: checkpoint(inner, v, use_reentrant=False), net, x) == wanted


def test_activations_are_not_kept() -> None:
    runs = []

    def function(v: Any) -> Any:
        runs.append(1)
        return (v.exp() * 2).sin()

    x = rushlight.ones(3, requires_grad=True)
    out = checkpoint(function, x, use_reentrant=False)
    assert len(runs) == 1
    out.sum().backward()
    assert len(runs) == 2


def test_keyword_arguments_and_several_results() -> None:
    def function(a: Any, b: Any = None) -> tuple[Any, Any]:
        return a * b, a + b

    a, b = (rushlight.full((2,), v).requires_grad_() for v in (2.0, 3.0))
    first, second = checkpoint(function, a, b=b, use_reentrant=False)
    (first + second).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([4.0, 4.0], [3.0, 3.0])


def test_a_run_that_differs_is_refused() -> None:
    runs = []

    def function(v: Any) -> Any:
        runs.append(1)
        return v.exp() if len(runs) == 1 else v.exp().sin().cos()

    out = checkpoint(function, rushlight.ones(3, requires_grad=True), use_reentrant=False)
    with pytest.raises(CheckpointError, match="different number of tensors"):
        out.sum().backward()


def test_what_the_forms_want() -> None:
    x = rushlight.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed"):
        checkpoint(rushlight.exp, x)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad"):
        checkpoint(rushlight.exp, x.detach(), use_reentrant=True)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: b"):
        checkpoint(rushlight.exp, x, b=1, use_reentrant=True)


def test_second_derivatives() -> None:
    def run(library: Any, again: Any) -> list[float]:
        x = library.tensor([0.3, -0.7], requires_grad=True)
        y = again(lambda t: (t.sin() * t).exp(), x, use_reentrant=False).sum()
        (g,) = library.autograd.grad(y, x, create_graph=True)
        (h,) = library.autograd.grad((g**2).sum(), x)
        return h.tolist()

    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    from torch.utils.checkpoint import checkpoint as theirs

    assert run(rushlight, checkpoint) == pytest.approx(run(torch, theirs), rel=1e-5)


def test_an_argument_written_since_is_refused() -> None:
    x = rushlight.ones(2, requires_grad=True)
    z = x * 2
    y = checkpoint(rushlight.exp, z, use_reentrant=False).sum()
    with rushlight.no_grad():
        z.mul_(3)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
