"""What must fail under compile: how, with which words, and that nothing has changed afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rushlight
import rushlight.nn.functional as F
from rushlight import nn, optim
from tests.compile.steps import state_of
from tests.support.compiled import difference

READS: dict[str, Callable[[Any], Any]] = {
    "if": lambda x: x if x.sum() > 0 else -x,
    "while": lambda x: [None for _ in range(3) if bool(x[0])],
    "assert": lambda x: 1 / (x.sum() == 0 and 1),
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.detach().numpy(),
    "list": lambda x: [float(v) for v in x],
    "text": lambda x: f"{x}",
    "print": lambda x: print("loss", x),
    "mask": lambda x: x[x > 0],
    "nonzero": lambda x: x.nonzero(),
    "unique": lambda x: x.unique(),
    "index": lambda x: [1, 2, 3][x.argmax()],
    "range": lambda x: range(x.long().sum()),
}


@pytest.mark.parametrize("name", READS)
def test_values_that_a_trace_does_not_have(name: str) -> None:
    compiled = rushlight.compile(READS[name])
    with pytest.raises(RuntimeError) as caught:
        compiled(rushlight.ones(3))
    words = str(caught.value)
    assert "test_mistakes.py:" in words and "traced" in words
    assert "where" in words or "outside" in words


class Steps:
    """A network in training, whose state can be compared before and after a mistake."""

    def __init__(self) -> None:
        self.net = nn.Sequential(
            nn.Embedding(5, 4),
            nn.Flatten(),
            nn.Linear(8, 6, bias=False),
            nn.BatchNorm1d(6),
            nn.Dropout(0.2),
        )
        self.head = nn.Linear(6, 3)
        self.optimizer = optim.Adam([*self.net.parameters(), *self.head.parameters()], 0.01)
        self.compiled = rushlight.compile(self.step)

    def step(self, words: Any, labels: Any, mistake: str = "") -> Any:
        self.optimizer.zero_grad()
        hidden = self.net(words)
        loss = F.cross_entropy(self.head(hidden), labels)
        loss.backward()
        if mistake == "after backward" and loss > 0:
            return None
        self.optimizer.step()
        if mistake == "shape":
            return self.head(hidden[:, :4])
        if mistake == "raise":
            raise KeyError("mine")
        return loss

    def state(self) -> Any:
        return [*map(state_of, (self.net, self.head, self.optimizer)), rushlight.get_rng_state()]

    def good(self) -> tuple[Any, Any]:
        return rushlight.tensor([[0, 1], [2, 3], [4, 0]]), rushlight.tensor([0, 1, 2])


MISTAKES: dict[str, Any] = {
    "after backward": RuntimeError,
    "shape": RuntimeError,
    "raise": KeyError,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_failed_trace_changes_nothing(mistake: str) -> None:
    one, other = Steps(), Steps()
    other.net.load_state_dict(one.net.state_dict())
    other.head.load_state_dict(one.head.state_dict())
    rushlight.manual_seed(5)
    for _ in range(2):
        one.compiled(*one.good())
    before = state_copy(one.state())
    with pytest.raises(MISTAKES[mistake]):
        one.compiled(*one.good(), mistake)
    assert not difference(one.state(), before)
    one.compiled(*one.good())
    rushlight.manual_seed(5)
    for _ in range(3):
        other.step(*other.good())
    assert not difference(one.state()[:3], other.state()[:3])


def state_copy(value: Any) -> Any:
    if isinstance(value, rushlight.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {k: state_copy(v) for k, v in value.items()}
    return [state_copy(v) for v in value] if isinstance(value, list) else value


def test_wrong_shapes_are_named_as_in_eager() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(5, 2)))
    with pytest.raises(RuntimeError) as eager:
        net(rushlight.ones(2, 3))
    compiled = rushlight.compile(net)
    with pytest.raises(RuntimeError) as traced:
        compiled(rushlight.ones(2, 3))
    assert "net.1.1" in str(traced.value) or "1.1" in str(traced.value)
    assert "test_mistakes.py:" in str(traced.value)
    strip = lambda text: "".join(c for c in text if not c.isdigit())
    # The compiled twin is known by the variable that holds it.
    assert strip(str(traced.value)).replace("compiled.", "net.") == strip(str(eager.value))


@pytest.mark.parametrize("bad", ["index", "label"])
def test_indices_out_of_range_write_nothing(bad: str) -> None:
    steps = Steps()
    for _ in range(2):
        steps.compiled(*steps.good())
    assert steps.compiled.stats()["compiles"] == 1
    words, labels = steps.good()
    (words if bad == "index" else labels).view(-1)[1] = 7
    before = state_copy(steps.state()[:3])
    with pytest.raises(IndexError):
        steps.compiled(words, labels)
    after = steps.state()[:3]
    for part in before, after:  # eager, too, has cleared or made gradients by then
        part[0].pop("grads"), part[1].pop("grads")
    assert not difference(after, before)
    assert steps.compiled(*steps.good()).isfinite()


def test_late_indices_write_nothing_either() -> None:
    """A check that comes after another network's update."""
    first, second = nn.Linear(3, 3), nn.Embedding(4, 3)
    optimizers = [optim.SGD(n.parameters(), 0.1) for n in (first, second)]

    @rushlight.compile
    def step(x: Any, words: Any) -> Any:
        for optimizer in optimizers:
            optimizer.zero_grad()
        one = first(x).square().sum()
        one.backward()
        optimizers[0].step()
        two = (second(words) * first(x).detach()).sum()
        two.backward()
        optimizers[1].step()
        return one, two

    x, words = rushlight.ones(2, 3), rushlight.tensor([0, 3])
    step(x, words)
    step(x, words)
    before = [p.detach().clone() for n in (first, second) for p in n.parameters()]
    with pytest.raises(IndexError):
        step(x, rushlight.tensor([0, 4]))
    after = [p.detach() for n in (first, second) for p in n.parameters()]
    assert not difference(after, before)


def test_integer_division_by_zero() -> None:
    compiled = rushlight.compile(lambda a, b: (a // b, a % b))
    a, b = rushlight.tensor([7, -7, 3]), rushlight.tensor([2, 2, 1])
    assert [t.tolist() for t in compiled(a, b)] == [[3, -4, 3], [1, 1, 0]]
    for operation in (lambda a, b: a // b, lambda a, b: a % b):
        with pytest.raises(Exception) as eager:
            operation(a, b * 0)
        run = rushlight.compile(operation)
        run(a, b)
        with pytest.raises(type(eager.value), match=str(eager.value)[:20]):
            run(a, b * 0)


def test_infinities_and_nan_flow() -> None:
    def f(x: Any, y: Any) -> list[Any]:
        return [
            x + y,
            x * y,
            x / y,
            x.maximum(y),
            x.minimum(y),
            x.relu(),
            x.exp(),
            x.log(),
            x.sqrt(),
            x.tanh(),
            x.sigmoid(),
            x.sum(),
            x.amax(),
            x.softmax(0),
            x.clamp(-1, 1),
            x == y,
            x < y,
            x.isnan(),
            x.sign(),
            x.abs(),
            x @ y,
            x.cumsum(0),
            x.argmax(),
            x.norm(),
            F.softplus(x),
            F.gelu(x),
            x.round(),
            x.floor(),
            x.pow(2),
            x.atan2(y),
            x.nan_to_num(),
        ]

    inf, nan = float("inf"), float("nan")
    values = [inf, -inf, nan, 0.0, -0.0, 1.0, -1.0, 1e-45, 3e38]
    for dtype in (rushlight.float32, rushlight.float64):
        x = rushlight.tensor([v for v in values for _ in values], dtype=dtype)
        y = rushlight.tensor(values * len(values), dtype=dtype)
        rushlight.set_flush_denormal(False)
        try:
            found, wanted = rushlight.compile(f)(x, y), f(x, y)
        finally:
            rushlight.set_flush_denormal(True)
        assert not difference(found, wanted), difference(found, wanted)


def test_sizes_of_zero() -> None:
    def f(x: Any, y: Any) -> list[Any]:
        return [
            x + 1,
            x.sum(),
            x.sum(0),
            x.mean(1),
            x @ y,
            x.t(),
            x.prod(),
            x[:0],
            F.relu(x),
            x.reshape(-1),
            x.any(),
        ]

    for shape in ((0, 3), (3, 0), (0, 0)):
        x, y = rushlight.ones(*shape), rushlight.ones(shape[1], 2)
        assert not difference(rushlight.compile(f)(x, y), f(x, y))


def test_hooks_run_at_every_call_or_are_part_of_the_program() -> None:
    net = nn.Linear(3, 2)
    net.register_forward_hook(lambda module, args, out: out * 2)
    net.weight.register_hook(lambda grad: grad * 3)

    def step(x: Any) -> Any:
        net.weight.grad = None
        net.bias.grad = None
        out = net(x).sum()
        out.backward()
        return out, net.weight.grad

    x = rushlight.ones(2, 3)
    wanted = step(x)
    compiled = rushlight.compile(step)
    for _ in range(3):
        assert not difference(compiled(x), wanted)


def test_writing_to_expanded_memory_is_refused() -> None:
    compiled = rushlight.compile(lambda x: x.expand(3, 2).add_(1))
    with pytest.raises(RuntimeError, match="single memory"):
        compiled(rushlight.ones(1, 2))


def test_what_is_not_callable() -> None:
    with pytest.raises(TypeError, match="takes a function or a module"):
        rushlight.compile(3)
