"""What may change between two calls of a compiled function: nothing that the first call found out may be stale."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight import nn, optim
from rushlight.nn import functional as F

pytest.importorskip("llvmlite")

X = rushlight.from_numpy(np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32))
Y = rushlight.tensor([0, 2, 1, 0])


class Run:
    """A net with dropout-free training, stepped by a plain or a compiled function."""

    def __init__(self, compiled: bool) -> None:
        rushlight.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
        self.opt = optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)

        def step(x: Any, y: Any) -> Any:
            self.opt.zero_grad()
            loss = F.cross_entropy(self.net(x), y)
            loss.backward()
            self.opt.step()
            return loss

        self.step: Callable[..., Any] = rushlight.compile(step) if compiled else step

    def state(self) -> list[Any]:
        found = [*self.net.state_dict().values()]
        found += [p.grad for p in self.net.parameters() if p.grad is not None]
        found += [v for s in self.opt.state.values() for v in s.values() if v is not None]
        return [v.detach().numpy().copy() for v in found]


def set_lr(run: Run) -> None:
    run.opt.param_groups[0]["lr"] = 0.01


def freeze(run: Run) -> None:
    run.net[0].weight.requires_grad_(False)


def load_state(run: Run) -> None:
    run.net.load_state_dict({k: v * 0.5 for k, v in run.net.state_dict().items()})


def swap_data(run: Run) -> None:
    run.net[3].weight.data = run.net[3].weight.data * 2


def swap_parameter(run: Run) -> None:
    run.net[3].bias = nn.Parameter(rushlight.full((3,), 0.25))


def clear_grad(run: Run) -> None:
    run.net[0].weight.grad = None


def replace_grad(run: Run) -> None:
    run.net[0].weight.grad = rushlight.ones(5, 6)


def evaluate(run: Run) -> None:
    run.net.eval()


def set_momentum(run: Run) -> None:
    run.opt.param_groups[0]["momentum"] = 0.5


def new_optimizer(run: Run) -> None:
    run.opt = optim.SGD(run.net.parameters(), lr=0.3, momentum=0.9)


def add_hook(run: Run) -> None:
    run.net[2].register_forward_hook(lambda module, given, result: result * 2)


def replace_layer(run: Run) -> None:
    run.net[2] = nn.Tanh()


def set_attribute(run: Run) -> None:
    run.net[1].momentum = 0.5


def through_dict(run: Run) -> None:
    vars(run.net[1])["eps"] = 0.1


CHANGES = [
    set_lr, freeze, load_state, swap_data, swap_parameter, clear_grad, replace_grad, evaluate, set_momentum,
    new_optimizer, add_hook, replace_layer, set_attribute, through_dict,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
def test_a_change_between_calls_counts(change: Callable[[Run], None]) -> None:
    runs = [Run(False), Run(True)]
    for round_ in range(7):
        losses = [run.step(X, Y).item() for run in runs]
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
        for plain, compiled in zip(*(run.state() for run in runs), strict=True):
            np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-6)
        if round_ == 3:
            for run in runs:
                change(run)


@pytest.mark.parametrize(
    "rows", [1, 300]
)  # results of some hundred bytes, and of some ten thousand
def test_results_that_are_kept_are_not_written_again(rows: int) -> None:
    x = X.repeat(rows, 1)
    double = rushlight.compile(lambda x: x * 2)
    kept = [double(x + i) for i in range(5)]
    views = [double(x + i)[0] for i in range(5)]
    arrays = [double(x + i).numpy() for i in range(5)]
    for i in range(5):
        expected = (x + i).numpy() * 2
        assert np.array_equal(kept[i].numpy(), expected)
        assert np.array_equal(views[i].numpy(), expected[0])
        assert np.array_equal(arrays[i], expected)


@pytest.mark.parametrize(
    "keep", [lambda g: g, lambda g: g.numpy(), lambda g: g[0], lambda g: g.detach()]
)
def test_gradients_that_are_kept_are_not_written_again(keep: Callable[[Any], Any]) -> None:
    run, plain = Run(True), Run(False)
    kept, expected = [], []
    for _ in range(6):
        run.step(X, Y)
        plain.step(X, Y)
        kept.append(keep(run.net[0].weight.grad))
        expected.append(np.array(keep(plain.net[0].weight.grad)))
    for mine, theirs in zip(kept, expected, strict=True):
        np.testing.assert_allclose(np.array(mine), theirs, rtol=1e-4, atol=1e-6)


def test_gradients_that_nobody_keeps_stay_where_they_are() -> None:
    run = Run(True)
    for _ in range(3):
        run.step(X, Y)
    places = {p.grad.data_ptr() for p in run.net.parameters()}
    for _ in range(3):
        run.step(X, Y)
    assert {p.grad.data_ptr() for p in run.net.parameters()} == places


def test_other_arguments_and_layouts() -> None:
    f = rushlight.compile(lambda x, y: (x @ y).sum(0))
    for i in range(4):
        x = X * (i + 1)
        for left in (
            x,
            x.T.contiguous().T,
            x[:, ::2],
            rushlight.from_numpy(x.numpy()[::-1].copy()),
        ):
            right = rushlight.ones(left.shape[1], 2)
            np.testing.assert_allclose(
                f(left, right).numpy(), (left @ right).sum(0).numpy(), rtol=1e-5
            )


def test_modes_are_looked_at() -> None:
    made = rushlight.compile(lambda x: rushlight.ones(2) + x)
    x = rushlight.tensor(1.0)
    assert made(x).dtype is rushlight.float32
    before = rushlight.get_default_dtype()
    try:
        rushlight.set_default_dtype(rushlight.float64)
        assert made(x).dtype is rushlight.float64
    finally:
        rushlight.set_default_dtype(before)


def test_a_deleted_variable_is_missed() -> None:
    scale = rushlight.tensor(3.0)

    def times(x: Any) -> Any:
        return x * scale

    compiled = rushlight.compile(times)
    assert compiled(X).sum().item() == pytest.approx((X * 3).sum().item())
    scale = rushlight.tensor(5.0)
    assert compiled(X).sum().item() == pytest.approx((X * 5).sum().item(), rel=1e-5)


def test_slices_as_arguments() -> None:
    total = rushlight.compile(lambda x: x.sum(0))
    rows = rushlight.arange(24.0).view(8, 3)
    for i in range(0, 8, 2):
        assert rushlight.equal(total(rows[i : i + 2]), rows[i : i + 2].sum(0))
    assert total.stats()["compiles"] == 1


def test_the_same_tensor_twice_and_not() -> None:
    minus = rushlight.compile(lambda a, b: a - b)
    a, b = rushlight.tensor([5.0]), rushlight.tensor([3.0])
    assert [minus(*pair).item() for pair in ((a, a), (a, b), (b, a), (b, b))] == [0, 2, -2, 0]


def test_arguments_that_are_state_or_look_into_it() -> None:
    weight = rushlight.tensor([[1.0, 2.0], [3.0, 4.0]])

    def plain(x: Any) -> Any:
        return x.sum() * 100 + weight.sum()

    compiled = rushlight.compile(plain)
    other = rushlight.tensor([[7.0, 7.0], [7.0, 7.0]])
    for x in (weight, other, weight[0], weight[1], other[0], other[1], weight):
        assert compiled(x).item() == plain(x).item()


def test_arguments_that_overlap_and_are_written() -> None:
    def plain(x: Any, y: Any) -> Any:
        x.add_(1)
        return x * y

    compiled = rushlight.compile(plain)
    for starts in ((0, 4), (4, 0), (2, 3)):
        results = []
        for function in (plain, compiled):
            memory = rushlight.arange(8.0)
            x, y = (memory[s : s + 4] for s in starts)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                results.append((function(x, y), memory))
        for mine, theirs in zip(*results, strict=True):
            assert rushlight.equal(mine, theirs)
