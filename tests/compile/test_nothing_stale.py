"""What changes between calls counts in the next call, as in eager: hyper-parameters, modes, state, shapes, values."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import rushlight
import rushlight.nn.functional as F
from rushlight import nn, optim
from tests.compile.steps import batches, state_of
from tests.support.compiled import difference

pytestmark = pytest.mark.usefixtures("double")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8, bias=False)  # before a batch norm its gradient is noise
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8, 3)
        self.scale = 2.0

    def forward(self, x: Any) -> Any:
        return self.last(self.drop(self.norm(self.first(x)).tanh())) * self.scale


Change = Callable[[Any, Any], None]


def assert_follows(change: Change, make: Any = None, compiles: int | None = None) -> Any:
    """Steps, a change, steps, the change again, steps: eager and compiled agree in everything."""
    found = []
    for wrap in (lambda step: step, rushlight.compile):
        rushlight.manual_seed(0)
        net = Net()
        optimizer = (make or (lambda p: optim.SGD(p, 0.1, momentum=0.9)))(net.parameters())

        def step(x: Any, y: Any, net: Any = net, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            if loss.requires_grad:
                loss.backward()
                optimizer.step()
            return loss

        wrapped = wrap(step)
        results = []
        for round in range(3):
            for batch in batches(3, (5, 4), classes=3, seed=round):
                results.append(wrapped(*batch).detach().clone())
            change(net, optimizer)
        found.append((results, [state_of(net), state_of(optimizer)]))
    assert not difference(found[1], found[0]), difference(found[1], found[0])
    stats = wrapped.stats()
    assert stats["kept_eager"] is None, stats
    if compiles is not None:
        assert stats["compiles"] == compiles, stats
    return wrapped


def test_learning_rate_needs_no_new_trace() -> None:
    def change(net: Any, optimizer: Any) -> None:
        optimizer.param_groups[0]["lr"] *= 0.5

    assert_follows(change, compiles=1)


@pytest.mark.parametrize("key", ["momentum", "weight_decay", "dampening"])
def test_other_hyper_parameters(key: str) -> None:
    def change(net: Any, optimizer: Any) -> None:
        optimizer.param_groups[0][key] = optimizer.param_groups[0][key] * 0.5 + 0.01

    assert_follows(change)


def test_betas_and_eps() -> None:
    def change(net: Any, optimizer: Any) -> None:
        group = optimizer.param_groups[0]
        group["betas"] = (group["betas"][0] * 0.9, group["betas"][1] * 0.99)
        group["eps"] *= 10

    assert_follows(change, lambda p: optim.Adam(p, 0.01, eps=1e-4))


def test_frozen_layers() -> None:
    def change(net: Any, optimizer: Any) -> None:
        for p in net.first.parameters():
            p.requires_grad_(not p.requires_grad)
            p.grad = None

    assert_follows(change)


def test_loaded_state() -> None:
    saved: dict[int, Any] = {}

    def change(net: Any, optimizer: Any) -> None:
        if id(net) not in saved:
            saved[id(net)] = copy.deepcopy((net.state_dict(), optimizer.state_dict()))
        else:
            net.load_state_dict(saved[id(net)][0])
            optimizer.load_state_dict(saved[id(net)][1])

    assert_follows(change)


def test_train_and_eval() -> None:
    assert_follows(lambda net, optimizer: net.train(not net.training), compiles=2)
    assert_follows(lambda net, optimizer: net.drop.eval())


def test_replaced_modules_and_parameters() -> None:
    def module(net: Any, optimizer: Any) -> None:
        rushlight.manual_seed(7)
        net.first = nn.Linear(4, 8, bias=False)

    def parameter(net: Any, optimizer: Any) -> None:
        net.last.bias = nn.Parameter(rushlight.full((3,), 0.5))

    def data(net: Any, optimizer: Any) -> None:
        net.last.bias.data = rushlight.full((3,), 0.5)
        net.first.weight.data.mul_(0.5)

    def added(net: Any, optimizer: Any) -> None:
        if len(optimizer.param_groups) == 1:
            net.last.bias = nn.Parameter(rushlight.full((3,), 0.5))
            optimizer.add_param_group({"params": [net.last.bias], "lr": 0.01})

    for change in (module, parameter, data, added):
        assert_follows(change)


def test_changed_attributes_and_gradients() -> None:
    def attribute(net: Any, optimizer: Any) -> None:
        net.scale += 1

    def activation(net: Any, optimizer: Any) -> None:
        net.drop.p = 0.1

    def gradients(net: Any, optimizer: Any) -> None:
        for p in net.parameters():
            p.grad = rushlight.ones_like(p) if p.grad is None else None

    for change in (attribute, activation, gradients):
        assert_follows(change)


FACTOR = 2.0


def helper(x: Any) -> Any:
    return x * FACTOR


def test_globals_closures_and_defaults() -> None:
    global FACTOR
    table = {"k": 1.0}
    box = [rushlight.ones(3)]

    def step(x: Any) -> Any:
        return helper(x) + table["k"] * box[0]

    compiled = rushlight.compile(step)
    x = rushlight.arange(3.0)
    try:
        for factor, k in ((2.0, 1.0), (3.0, 1.0), (3.0, 5.0)):
            FACTOR, table["k"] = factor, k
            assert rushlight.equal(compiled(x), step(x))
        box[0] = rushlight.full((3,), 9.0)
        assert rushlight.equal(compiled(x), step(x))
        box[0].add_(1)
        assert rushlight.equal(compiled(x), step(x))
    finally:
        FACTOR = 2.0


def test_default_dtype_and_grad_mode() -> None:
    compiled = rushlight.compile(lambda x: x + rushlight.ones(3))
    x = rushlight.ones(3, dtype=rushlight.float32)
    assert compiled(x).dtype == rushlight.float64
    rushlight.set_default_dtype(rushlight.float32)
    assert compiled(x).dtype == rushlight.float32
    net = Net().eval()
    forward = rushlight.compile(net)
    assert forward(rushlight.ones(2, 4)).requires_grad
    with rushlight.no_grad():
        assert not forward(rushlight.ones(2, 4)).requires_grad
    assert forward(rushlight.ones(2, 4)).requires_grad


def test_an_epoch_compiles_twice_at_most() -> None:
    rushlight.set_default_dtype(rushlight.float32)
    net = nn.Linear(4, 3)
    optimizer = optim.SGD(net.parameters(), 0.1)
    data = rushlight.utils.data.TensorDataset(
        rushlight.randn(5000, 4), rushlight.randint(0, 3, (5000,))
    )
    before = rushlight.compile.stats()

    @rushlight.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    sizes = set()
    for _ in range(2):
        for x, y in rushlight.utils.data.DataLoader(data, batch_size=64, shuffle=True):
            step(x, y)
            sizes.add(len(x))
    assert sizes == {64, 8}
    assert step.stats()["compiles"] <= 2 and step.stats()["kept_eager"] is None
    assert rushlight.compile.stats()["compiles"] - before["compiles"] == step.stats()["compiles"]


def test_new_shapes_dtypes_and_layouts_are_traced_and_kept() -> None:
    compiled = rushlight.compile(lambda x, n=1: (x * 2 + n).sum(0))
    base = rushlight.arange(12.0).reshape(3, 4)
    inputs = [base, base[:2], base.float(), base.long(), base.t(), base[::2], base[0], base[:0]]
    for _ in range(2):
        for x in inputs:
            wanted = (x * 2 + 1).sum(0)
            found = compiled(x)
            assert found.dtype == wanted.dtype and rushlight.equal(found, wanted)
    assert compiled.stats()["compiles"] <= len(inputs)
    assert rushlight.equal(compiled(base, 3), (base * 2 + 3).sum(0))
    assert rushlight.equal(compiled(base, n=4), (base * 2 + 4).sum(0))


def test_compiled_modules_are_modules() -> None:
    net = Net()
    compiled = rushlight.compile(net)
    x = rushlight.randn(5, 4)
    assert isinstance(compiled, Net)
    assert list(compiled.state_dict()) == list(net.state_dict())
    assert all(a is b for a, b in zip(compiled.parameters(), net.parameters(), strict=True))
    compiled.eval()
    assert not net.training
    assert rushlight.allclose(compiled(x), net(x), rtol=1e-12)
    compiled.load_state_dict({k: v * 2 for k, v in net.state_dict().items()})
    assert rushlight.allclose(compiled(x), net(x), rtol=1e-12)
    twin = copy.deepcopy(compiled)
    twin.last.bias.data.add_(1)
    assert rushlight.allclose(twin(x), compiled(x) + 2, rtol=1e-12)
    assert "Linear" in repr(compiled)
    loss = compiled(x).sum()
    loss.backward()
    assert net.last.bias.grad is not None
    net.compile()
    assert rushlight.allclose(net(x), compiled(x), rtol=1e-12)


def test_compiled_modules_are_pickled_and_compiled_again() -> None:
    net = rushlight.compile(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    x = rushlight.randn(2, 3)
    wanted = net(x)
    again = pickle.loads(pickle.dumps(net))
    assert rushlight.equal(again(x), wanted)


def test_methods_and_decorated_functions() -> None:
    class Trainer:
        def __init__(self, factor: float) -> None:
            self.factor = factor
            self.seen = rushlight.zeros(1)

        @rushlight.compile
        def step(self, x: Any) -> Any:
            self.seen += 1
            return x * self.factor

        @rushlight.compile(fullgraph=True)
        @rushlight.no_grad()
        def other(self, x: Any) -> Any:
            return x + self.seen

    one, two = Trainer(2.0), Trainer(3.0)
    x = rushlight.ones(2)
    assert one.step(x).tolist() == [2, 2] and two.step(x).tolist() == [3, 3]
    one.factor = 5.0
    assert one.step(x).tolist() == [5, 5]
    assert one.seen.item() == 2 and two.seen.item() == 1
    assert one.other(x).tolist() == [3, 3] and two.other(x).tolist() == [2, 2]


def test_backward_through_a_compiled_forward_sees_what_it_read() -> None:
    net = nn.Linear(3, 2)
    compiled = rushlight.compile(lambda x: net(x).tanh())
    x = rushlight.randn(4, 3)
    first = compiled(x)
    second = compiled(x * 2)
    second.sum().backward()
    grad = net.weight.grad.clone()
    net.weight.grad = None
    net(x * 2).tanh().sum().backward()
    assert rushlight.allclose(grad, net.weight.grad, rtol=1e-12)
    net.weight.grad = None
    first.sum().backward()
    grad = net.weight.grad.clone()
    net.weight.grad = None
    net(x).tanh().sum().backward()
    assert rushlight.allclose(grad, net.weight.grad, rtol=1e-12)
    y = x.clone().requires_grad_()
    out = compiled(y)
    with rushlight.no_grad():
        net.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_results_are_never_written_again() -> None:
    compiled = rushlight.compile(lambda x: (x + 1, x * 2))
    kept = [compiled(rushlight.full((3,), float(i))) for i in range(4)]
    assert [a[0].item() for a, _ in kept] == [1, 2, 3, 4]
    net = nn.Linear(2, 1, bias=False)

    @rushlight.compile
    def step(x: Any) -> None:
        net.weight.grad = None
        net(x).sum().backward()

    grads = []
    for i in range(3):
        step(rushlight.full((1, 2), float(i)))
        grads.append(net.weight.grad)
    assert [g[0, 0].item() for g in grads] == [0, 1, 2]


def test_results_that_are_views_share_memory() -> None:
    compiled = rushlight.compile(lambda x: (x.t(), x[0], x + 0))
    x = rushlight.zeros(2, 3)
    for _ in range(2):
        turned, row, _ = compiled(x)
        turned[0, 1] = 5
        row[2] += 7
        assert x[1, 0].item() == 5
    assert x[0, 2].item() == 14
