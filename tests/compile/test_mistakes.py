"""What a trace cannot do is refused with the user's line; what eager refuses is refused; nothing is left half-done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight import nn, optim
from rushlight.nn import functional as F

X = rushlight.from_numpy(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32))


def branches(x: Any) -> Any:
    if x.sum() > 0:
        return x
    return -x


def loops(x: Any) -> Any:
    while x.norm() > 1:
        x = x / 2
    return x


SHOWN: list[str] = []

ASKING = {
    "if": branches,
    "while": loops,
    "item": lambda x: x * x.sum().item(),
    "float": lambda x: x * float(x[0, 0]),
    "int": lambda x: x[: int(x[0, 0])],
    "bool": lambda x: x if bool((x > 0).all()) else -x,
    "print": lambda x: SHOWN.append(f"{x}") or x,
    "repr": lambda x: SHOWN.append(repr(x)) or x,
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy().sum(),
    "array": lambda x: np.asarray(x) + 1,
    "ufunc": lambda x: np.exp(x) + 1,
    "index": lambda x: [1, 2, 3][x.argmax()],
    "range": lambda x: list(range(x.argmax())),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "unique": lambda x: x.unique(),
    "equal": lambda x: rushlight.equal(x, x + 1),
    "allclose": lambda x: rushlight.allclose(x, x),
    "in": lambda x: 3.0 in x,
    "assert": lambda x: (_ for _ in ()).throw(AssertionError) if not (x == x).all() else x,
}


@pytest.mark.parametrize("name", ASKING)
def test_asking_for_values_names_the_line(name: str) -> None:
    function = ASKING[name]
    compiled = rushlight.compile(function)
    with pytest.raises(RuntimeError, match=r"test_mistakes\.py:\d+") as caught:
        compiled(X)
    assert "value" in str(caught.value)
    assert "traced" in str(caught.value)
    line = int(str(caught.value).split("test_mistakes.py:")[1].split()[0].rstrip(".,;:"))
    first = function.__code__.co_firstlineno
    assert first <= line <= first + 5


def make() -> Any:
    rushlight.manual_seed(3)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    return net, optim.Adam(net.parameters())


def test_a_failed_trace_changes_nothing() -> None:
    net, opt = make()
    fail = True

    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = net(x).pow(2).mean()
        loss.backward()
        opt.step()
        net[0].weight.data.mul_(0.5)
        if fail and loss > 0:
            return loss
        return loss

    fail = False
    step(X)  # makes the optimizer's state
    fail = True
    compiled = rushlight.compile(step)
    compiled(X)  # an optimizer's first step in a compiled function is plain
    state = [v.clone() for v in net.state_dict().values()]
    moments = [v.clone() for s in opt.state.values() for v in s.values()]
    grads = [p.grad for p in net.parameters()]
    random = rushlight.get_rng_state()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="value is needed"):
            compiled(X)
        for before, now in zip(state, net.state_dict().values(), strict=True):
            assert rushlight.equal(before, now)
        for before, now in zip(
            moments, [v for s in opt.state.values() for v in s.values()], strict=True
        ):
            assert rushlight.equal(before, now)
        assert all(p.grad is g for p, g in zip(net.parameters(), grads, strict=True))
        assert rushlight.equal(random, rushlight.get_rng_state())
    fail = False
    loss = compiled(X)
    assert np.isfinite(loss.item())


@pytest.mark.parametrize(
    "function",
    [
        nn.Linear(5, 2),
        lambda x: x @ x,
        lambda x: x + rushlight.ones(5),
        lambda x: x.view(7),
        lambda x: rushlight.cat([x, x[:, :2]]),
        lambda x: F.conv2d(x, rushlight.ones(1, 1, 3, 3)),
        lambda x: x.sum(5),
        lambda x: F.cross_entropy(x, rushlight.tensor([0, 1])),
        lambda x: x.to(rushlight.int64).sqrt_(),
        lambda x: F.embedding(rushlight.tensor([0, 9]), x),
    ],
)
def test_the_errors_of_eager(function: Any) -> None:
    with pytest.raises((RuntimeError, ValueError, IndexError)) as plain:
        function(X)
    with pytest.raises(type(plain.value)):
        rushlight.compile(function)(X)


def test_shapes_that_do_not_fit_name_module_and_line() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2))
    with pytest.raises(RuntimeError, match="1 ") as caught:
        rushlight.compile(net)(X)
    assert "test_mistakes.py" in str(caught.value)


@pytest.mark.parametrize("bad", [-12, -11, 10, 11, 2**40])
def test_indices_out_of_range_write_nothing(bad: int) -> None:
    table = nn.Embedding(10, 3)
    opt = optim.SGD(table.parameters(), lr=0.1)

    @rushlight.compile
    def step(index: Any) -> Any:
        opt.zero_grad()
        loss = table(index).pow(2).sum()
        loss.backward()
        opt.step()
        return loss

    good = rushlight.tensor([1, 2, 9])
    for _ in range(3):
        step(good)
    before = table.weight.detach().clone()
    with pytest.raises(IndexError):
        step(rushlight.tensor([1, bad, 2]))
    assert rushlight.equal(before, table.weight)
    step(good)
    assert not rushlight.equal(before, table.weight)


def test_gathers_and_scatters_check_their_indices() -> None:
    take = rushlight.compile(lambda x, i: x.gather(1, i))
    put = rushlight.compile(lambda x, i: x.scatter(1, i, 5.0))
    good, bad = rushlight.zeros(4, 2, dtype=rushlight.int64), rushlight.full((4, 2), 3)
    for function in (take, put):
        function(X, good)
        with pytest.raises((RuntimeError, IndexError), match="3"):
            function(X, bad)
        function(X, good)


def test_integer_division_by_zero() -> None:
    a, zero = rushlight.tensor([1, 2, 3]), rushlight.tensor([1, 0, 2])
    for function in (lambda a, b: a // b, lambda a, b: a % b):
        compiled = rushlight.compile(function)
        assert rushlight.equal(compiled(a, a), function(a, a))
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            function(a, zero)
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            compiled(a, zero)
        assert rushlight.equal(compiled(a, a), function(a, a))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
def test_tensors_without_elements(shape: tuple[int, ...]) -> None:
    def several(x: Any) -> Any:
        y = (x * 2).exp()
        return y, y.sum(), y.sum(0), rushlight.cat([y, y]), y.T if y.ndim == 2 else y, y.softmax(-1)

    x = rushlight.zeros(shape)
    for mine, theirs in zip(several(x), rushlight.compile(several)(x), strict=True):
        assert mine.shape == theirs.shape
        assert rushlight.equal(mine, theirs)


def test_what_is_no_number_flows() -> None:
    def several(x: Any) -> Any:
        return [
            x.relu(), x.max(), x.min(), x.amax(), x.sum(), x.softmax(0), x.sigmoid(), x.tanh(), x.exp(), x.log(),
            x.clamp(-1, 1), rushlight.maximum(x, -x), x @ x, x.abs().sqrt(), x.sign(), x * 0, x.argmax(), x.isnan(),
            x.sort().values, x.cumsum(0), x.std(), F.gelu(x), F.softplus(x), x.erf(), x.pow(2), x.fmod(2),
        ]  # fmt: skip

    compiled = rushlight.compile(several)
    nan, inf = float("nan"), float("inf")
    for row in ([1.0, nan, 2.0], [inf, 1.0, -inf], [-inf, -inf, 0.0], [inf, inf, inf], [nan] * 3):
        x = rushlight.tensor(row)
        for number, (mine, theirs) in enumerate(zip(several(x), compiled(x), strict=True)):
            np.testing.assert_allclose(
                theirs.numpy(), mine.numpy(), rtol=1e-5, atol=1e-6, err_msg=f"{row} {number}"
            )


def test_reading_only_memory_is_not_written() -> None:
    fixed = np.ones(3, np.float32)
    fixed.setflags(write=False)
    with pytest.warns(UserWarning):
        x = rushlight.from_numpy(fixed)

    with pytest.raises((RuntimeError, ValueError)):
        rushlight.compile(lambda x: x.add_(1))(x)
    assert (fixed == 1).all()
