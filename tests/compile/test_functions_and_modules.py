"""What may be compiled, and what it still is then: modules, methods, closures, containers, gradients outside."""

from __future__ import annotations

import copy
import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest

import rushlight
from rushlight import nn, optim
from rushlight.nn import functional as F

X = rushlight.from_numpy(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32))


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)


class Pair(NamedTuple):
    """A result with names."""

    first: Any
    second: Any


def test_a_decorator_with_and_without_arguments() -> None:
    @rushlight.compile
    def double(x: Any) -> Any:
        """Twice x."""
        return x * 2

    @rushlight.compile(dynamic=False, fullgraph=True, mode="max-autotune")
    def triple(x: Any) -> Any:
        return x * 3

    assert double.__name__ == "double" and double.__doc__ == "Twice x."
    close(double(X), X * 2)
    close(triple(X), X * 3)
    plain = rushlight.compile(lambda x: x, disable=True)
    assert not hasattr(plain, "stats")


def test_results_in_containers() -> None:
    def parts(x: Any, scale: float = 1.0, *, flag: bool = True) -> Any:
        s = x * scale
        return {"sum": s.sum(), "all": (s, [s + 1, None, "text", 3])}, Pair(s[0], s.T), flag

    compiled = rushlight.compile(parts)
    for scale in (1.0, 2.0, 1.0):
        for flag in (True, False):
            mine, theirs = parts(X, scale, flag=flag), compiled(X, scale, flag=flag)
            close(mine[0]["sum"], theirs[0]["sum"])
            close(mine[0]["all"][0], theirs[0]["all"][0])
            close(mine[0]["all"][1][0], theirs[0]["all"][1][0])
            assert theirs[0]["all"][1][1:] == [None, "text", 3]
            assert type(theirs[1]) is Pair and type(theirs[0]) is dict
            close(mine[1].second, theirs[1].second)
            assert theirs[2] is flag
    assert compiled.stats()["compiles"] == 4


def test_arguments_in_containers() -> None:
    def total(batch: Any, *, weights: Any) -> Any:
        return batch["x"] * weights[0] + batch["y"][1] * weights[1]

    compiled = rushlight.compile(total)
    for n in range(3):
        batch = {"x": X + n, "y": (None, X * n)}
        close(total(batch, weights=[2.0, 0.5]), compiled(batch, weights=[2.0, 0.5]))
    assert compiled.stats()["compiles"] == 1


class Net(nn.Module):
    """A net with a compiled method."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 5), nn.BatchNorm1d(5)

    def forward(self, x: Any) -> Any:
        return self.norm(self.layer(x)).relu()

    @rushlight.compile
    def score(self, x: Any) -> Any:
        """The greatest output."""
        return self(x).amax()


def test_a_compiled_module_is_the_module() -> None:
    rushlight.manual_seed(0)
    net = Net()
    compiled = rushlight.compile(net)
    assert isinstance(compiled, Net)
    assert list(compiled.state_dict()) == list(net.state_dict())
    assert all(a is b for a, b in zip(compiled.parameters(), net.parameters(), strict=True))
    other = copy.deepcopy(net)
    close(compiled(X), other(X))
    close(net.norm.running_mean, other.norm.running_mean)
    compiled.eval()
    assert not net.training
    other.eval()
    close(compiled(X), other(X))
    compiled.load_state_dict({k: v * 0.5 for k, v in other.state_dict().items()})
    close(compiled(X), net(X))


def test_copies_and_pickles_of_a_compiled_module() -> None:
    net = Net().eval()
    net.compile()
    first = net(X)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        close(other(X), first)
        with rushlight.no_grad():
            other.layer.weight.zero_()
        assert not np.allclose(other(X).detach().numpy(), first.detach().numpy())
        close(net(X), first)


def test_compiled_methods_belong_to_their_objects() -> None:
    rushlight.manual_seed(1)
    nets = [Net().eval(), Net().eval()]
    for _ in range(2):
        for net in nets:
            close(net.score(X), net(X).amax())
    assert Net.score.__doc__ == "The greatest output."


@pytest.mark.parametrize("keep", [False, True])
def test_gradients_flow_through_from_outside(keep: bool) -> None:
    rushlight.manual_seed(2)
    net = Net()
    compiled = rushlight.compile(net.forward)
    weight = rushlight.randn(5, requires_grad=True)
    grads = []
    for forward in (net.forward, compiled):
        net.norm.reset_running_stats()
        net.zero_grad()
        weight.grad = None
        x = X.clone().requires_grad_()
        loss = (forward(x) * weight).sum()
        loss.backward(retain_graph=keep)
        if keep:
            loss.backward()
        grads.append([x.grad, weight.grad, *(p.grad for p in net.parameters())])
    for mine, theirs in zip(*grads, strict=True):
        close(mine, theirs)


def test_a_write_between_forward_and_backward_is_an_error() -> None:
    net = nn.Linear(3, 3)
    compiled = rushlight.compile(lambda x: net(net(x)))
    out = compiled(X).sum()
    with rushlight.no_grad():
        net.weight.add_(1)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation|changed"):
        out.backward()


def test_no_grad_inside_and_outside() -> None:
    net = nn.Linear(3, 2)

    def forward(x: Any) -> Any:
        with rushlight.no_grad():
            scale = net(x).abs().amax()
        return net(x) / scale

    compiled = rushlight.compile(forward)
    assert compiled(X).requires_grad
    with rushlight.no_grad():
        assert not compiled(X).requires_grad
    with rushlight.inference_mode():
        close(compiled(X), forward(X))
    assert compiled(X).requires_grad


def test_frozen_parts_get_no_gradient() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    net[0].requires_grad_(False)
    opt = optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    before = net[0].weight.clone()

    @rushlight.compile
    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = net(x).pow(2).mean()
        loss.backward()
        opt.step()
        return loss

    losses = [step(X).item() for _ in range(4)]
    assert losses[-1] < losses[0]
    assert net[0].weight.grad is None
    close(net[0].weight, before)


SCALE = 2.0


def test_globals_and_closures_that_change() -> None:
    global SCALE
    offset = 1.0

    def shifted(x: Any) -> Any:
        return x * SCALE + offset

    compiled = rushlight.compile(shifted)
    try:
        for scale in (2.0, 5.0, 2.0):
            SCALE = scale
            for offset in (1.0, -1.0):
                close(compiled(X), X * scale + offset)
    finally:
        SCALE = 2.0
    assert compiled.stats()["compiles"] == 4


def test_statistics_of_all_compiled_functions() -> None:
    before = rushlight.compile.stats()
    f = rushlight.compile(lambda x: x + 1)
    f(X)
    f(X)
    f(X[:2])
    after = rushlight.compile.stats()
    assert after["compiles"] - before["compiles"] == 2
    assert after["calls"] - before["calls"] == 3
    assert "(4, 3)" in f.stats()["reasons"][1] and "(2, 3)" in f.stats()["reasons"][1]


def test_compiled_functions_inside_of_compiled_functions() -> None:
    inner = rushlight.compile(lambda x: x.exp())
    outer = rushlight.compile(lambda x: inner(x) * 2)
    close(outer(X), X.exp() * 2)


def test_what_is_not_callable() -> None:
    with pytest.raises(TypeError, match="function or a module, not int"):
        rushlight.compile(3)


def test_numbers_among_the_results_of_a_training_step() -> None:
    net = nn.Linear(3, 2)
    opt = optim.SGD(net.parameters(), lr=0.1)

    @rushlight.compile
    def step(x: Any) -> Any:
        opt.zero_grad()
        F.mse_loss(net(x), x[:, :2]).backward()
        opt.step()
        return opt.param_groups[0]["lr"]

    step(X)
    assert step(X) == 0.1
    opt.param_groups[0]["lr"] = 0.01
    assert step(X) == 0.01


@pytest.mark.parametrize("dtype", [rushlight.float64, rushlight.bfloat16, rushlight.float16])
def test_steps_in_other_dtypes(dtype: Any) -> None:
    results = []
    for compiled in (False, True):
        rushlight.manual_seed(5)
        net = nn.Linear(3, 2).to(dtype)
        opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        def step(x: Any, net: Any = net, opt: Any = opt) -> Any:
            opt.zero_grad()
            loss = net(x).pow(2).mean()
            loss.backward()
            opt.step()
            return loss

        run = rushlight.compile(step) if compiled else step
        losses = [run(X.to(dtype)).item() for _ in range(4)]
        results.append((losses, net.weight.detach().float().numpy()))
    rounding = {rushlight.float64: 1e-12, rushlight.bfloat16: 2e-2, rushlight.float16: 2e-3}[dtype]
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=rounding)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=rounding, atol=rounding)
