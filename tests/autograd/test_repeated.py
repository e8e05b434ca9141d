"""Backwards whose tape was seen before run as chains of kernels: with the same bits, and nobody can tell otherwise."""

from __future__ import annotations

import numpy as np
import pytest

import rushlight as rl
from rushlight import nn
from rushlight.autograd import repeated
from rushlight.autograd.chaining import Chained

pytest.importorskip("llvmlite")
F = nn.functional


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """The second backward of a tape is followed, the third is chained."""
    monkeypatch.setattr(repeated, "SECONDS", 0.0)
    monkeypatch.setattr(repeated, "SECONDS_A_NODE", 0.0)
    repeated._keys.known.clear()
    yield
    repeated._keys.known.clear()


def chains():
    return [c for c in repeated._keys.known.values() if isinstance(c, Chained)]


class Net(nn.Module):
    """Views, sums where paths meet, a weight used twice, attention, norms, small ops in between."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(16, 48), nn.LayerNorm(48)
        self.again, self.last = nn.Linear(16, 16, bias=False), nn.Linear(16, 5)

    def forward(self, x):
        q, k, v = (
            z.view(4, 12, 2, 8).transpose(1, 2) for z in self.norm(self.first(x)).split(16, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = x + y.transpose(1, 2).contiguous().view(4, 12, 16)
        y = F.relu(self.again(F.gelu(self.again(y)))) - y
        return self.last(y).tanh().view(-1, 5)


def trained(steps, accumulate=False):
    rl.manual_seed(0)
    net = Net()
    opt = rl.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    grads = []
    for step in range(steps):
        rl.manual_seed(step)
        x, y = rl.randn(4, 12, 16), rl.randint(5, (48,))
        if not accumulate:
            opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        grads.append([p.grad.numpy().copy() for p in net.parameters()])
        opt.step()
    return grads


@pytest.mark.parametrize("accumulate", [False, True])
def test_bits_are_those_of_node_by_node(accumulate, monkeypatch):
    chained = trained(6, accumulate)
    (chain,) = chains()
    assert sum(type(part).__name__ == "Chain" for part in chain._parts) >= 1
    monkeypatch.setattr(repeated, "survey", lambda roots: None)
    monkeypatch.setattr("rushlight.autograd.engine.survey", lambda roots: None)
    by_nodes = trained(6, accumulate)
    for step, (one, other) in enumerate(zip(chained, by_nodes, strict=True)):
        for a, b in zip(one, other, strict=True):
            assert a.tobytes() == b.tobytes(), step


def simple():
    w = rl.randn(32, 64, requires_grad=True)
    x = rl.randn(64, 64)

    def loss():
        h = (x @ w.t()).relu()
        return ((h + h.t().contiguous().t()) * h).sum()

    return w, loss


def warm(loss, times=4):
    for _ in range(times):
        loss().backward()
    assert len(chains()) == 1


def test_gradients_are_new_memory_each_time():
    w, loss = simple()
    warm(loss)
    w.grad = None
    loss().backward()
    first = w.grad
    kept = first.numpy().copy()
    w.grad = None
    loss().backward()
    assert w.grad is not first
    assert first.numpy().tobytes() == kept.tobytes()
    assert w.grad._array.base is None


def test_a_tape_is_freed_and_may_be_kept():
    w, loss = simple()
    warm(loss)
    once = loss()
    once.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        once.backward()
    w.grad = None
    twice = loss()
    twice.backward(retain_graph=True)
    one = w.grad.numpy().copy()
    twice.backward()
    np.testing.assert_array_equal(w.grad.numpy(), 2 * one)


def test_hooks_see_every_gradient():
    w, loss = simple()
    warm(loss)
    seen = []
    handle = w.register_hook(lambda g: seen.append(g.shape))
    loss().backward()
    handle.remove()
    out = loss()
    out.grad_fn.register_hook(lambda *a: seen.append("node"))
    out.backward()
    w.register_post_accumulate_grad_hook(lambda p: seen.append("accumulated"))
    loss().backward()
    assert seen == [(32, 64), "node", "accumulated"]


def test_what_was_saved_must_not_have_been_written():
    _, loss = simple()
    warm(loss)
    w = rl.randn(32, 64, requires_grad=True)
    x = rl.randn(64, 64)

    def written(write):
        h = (x @ w.t()).relu()
        out = ((h + h.t().contiguous().t()) * h).sum()
        if write:
            h.detach().mul_(2)
        return out

    for _ in range(4):
        written(False).backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        written(True).backward()


def test_create_graph_and_anomaly_mode_go_node_by_node():
    w, loss = simple()
    warm(loss)
    (g,) = rl.autograd.grad(loss(), w, create_graph=True)
    assert g.requires_grad
    with rl.autograd.detect_anomaly(check_nan=True), pytest.raises(RuntimeError, match="nan"):
        (loss() * float("nan")).backward()


def test_users_functions_go_node_by_node():
    calls = []

    class Twice(rl.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            calls.append(1)
            return grad * 2

    w, _ = simple()
    for _ in range(5):
        ((Twice.apply(w) @ w.t()).relu() * 3).sum().backward()
    assert len(calls) == 5
    assert not chains()


def test_parameters_of_ops_are_part_of_the_key():
    w = rl.randn(32, 64, requires_grad=True)

    def grad(slope):
        w.grad = None
        F.leaky_relu(w @ w.t(), slope).relu().exp().sum().backward()
        return w.grad.numpy().copy()

    for _ in range(4):
        small, large = grad(0.1), grad(0.5)
    assert len(chains()) == 2
    assert grad(0.1).tobytes() == small.tobytes()
    assert grad(0.5).tobytes() == large.tobytes()


def test_subnormal_numbers_count_where_numpy_adds():
    w = rl.full((64, 64), 1e-20, requires_grad=True)
    tiny = rl.full((64, 64), 3e-39)

    def grad():
        w.grad = None
        (w * tiny + (w * tiny).view(-1).view(64, 64)).reshape(-1).sum().backward()
        return w.grad.numpy().copy()

    first = grad()
    assert first.all()
    for _ in range(4):
        assert grad().tobytes() == first.tobytes()


def test_other_shapes_and_threads_have_chains_of_their_own():
    import threading

    w = rl.randn(32, 64, requires_grad=True)

    def grad(n):
        w.grad = None
        x = rl.ones(n, 64)
        ((x @ w.t()).relu() * 2).sum().backward()
        return w.grad.numpy().copy()

    for n in (40, 50, 60) * 4:
        grad(n)
    assert len(chains()) == 3
    found = []
    thread = threading.Thread(target=lambda: found.append((grad(40), len(chains()))))
    thread.start()
    thread.join()
    assert found[0][1] == 0
    np.testing.assert_array_equal(found[0][0], grad(40))


def test_random_programs_have_the_same_bits(monkeypatch):
    """Programs of views, in-place writes and steps of optimizers: as the fuzzer for compiled functions draws them."""
    from rushlight.autograd import engine
    from tests.fuzz import programs

    def bits(found):
        return [(a.dtype, a.shape, a.tobytes()) for a in programs.arrays_in(found)]

    chained = 0
    for seed in range(5000, 5030):
        program = programs._Drawing(seed).draw(9)
        with monkeypatch.context() as by_nodes:
            by_nodes.setattr(engine, "survey", lambda roots: None)
            wanted = programs.run_eagerly(program)
        if wanted is None:
            continue
        repeated._keys.known.clear()
        assert bits(programs.run_wrapped(program, lambda step: step)) == bits(wanted), seed
        chained += bool(chains())
    assert chained >= 3
