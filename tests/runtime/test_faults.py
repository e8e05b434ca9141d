"""Bad values in programs: what eager calls raise, compiled ones raise, before anything is read or written in vain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rushlight
import rushlight.nn.functional as F

#: A function of a table and indices, for each way to use indices.
GATHERS: dict[str, Callable[[Any, Any], Any]] = {
    "index": lambda t, i: t[i] * 2,
    "column": lambda t, i: t[:, i] + 1,
    "embedding": lambda t, i: F.embedding(i, t).sum(),
    "index_select": lambda t, i: t.index_select(0, i).relu(),
    "gather": lambda t, i: t.gather(0, i.reshape(-1, 1)),
    "take_along_dim": lambda t, i: rushlight.take_along_dim(t, i.reshape(-1, 1), 0),
    "scatter": lambda t, i: rushlight.zeros(4, 4).scatter(0, i.reshape(-1, 1), t[: i.shape[0], :1]),
    "scatter_add": lambda t, i: rushlight.zeros(4, 4).scatter_add(
        0, i.reshape(-1, 1), t[: i.shape[0], :1]
    ),
    "index_add": lambda t, i: t.index_add(0, i, t[: i.shape[0]]),
    "put": lambda t, i: t.index_put((i,), t[: i.shape[0]]),
    "loss": lambda t, i: F.cross_entropy(t[: i.shape[0]], i),
}


def outcome(f: Callable[..., Any], *args: Any) -> Any:
    """What a call gives, or the type and text of what it raises."""
    try:
        return f(*args).tolist()
    except Exception as error:
        return type(error), str(error).splitlines()[0]


@pytest.mark.parametrize("bad", [4, 5, -5, 2**40, -(2**62)])
@pytest.mark.parametrize("name", GATHERS)
def test_indices_out_of_range(name: str, bad: int) -> None:
    f = GATHERS[name]
    compiled = rushlight.compile(f)
    table = rushlight.arange(16.0).reshape(4, 4)
    good, wrong = rushlight.tensor([0, 3, 1]), rushlight.tensor([0, bad, 1])
    right = f(table, good)
    assert compiled(table, good).allclose(right)
    eager = outcome(f, table, wrong)
    assert isinstance(eager[0], type)
    assert outcome(compiled, table, wrong)[0] is eager[0]
    assert compiled(table, good).allclose(right)  # the fault is forgotten
    assert compiled.stats()["compiles"] == 1


@pytest.mark.parametrize("name", ["index", "embedding"])
def test_many_indices_one_of_them_bad(name: str) -> None:
    compiled = rushlight.compile(GATHERS[name])
    table = rushlight.ones(100, 100)
    indices = rushlight.arange(50_000) % 100
    compiled(table, indices)
    for place in (0, 31, 777, 49_999):
        wrong = indices.clone()
        wrong[place] = 100
        with pytest.raises(IndexError, match="100"):
            compiled(table, wrong)
    compiled(table, indices)


def test_a_step_with_a_bad_index_changes_no_parameter() -> None:
    rushlight.manual_seed(0)
    net = rushlight.nn.Sequential(rushlight.nn.Embedding(10, 4), rushlight.nn.Linear(4, 3))
    opt = rushlight.optim.Adam(net.parameters(), lr=0.1)

    @rushlight.compile
    def step(i: Any) -> Any:
        opt.zero_grad()
        loss = net(i).square().mean()
        loss.backward()
        opt.step()
        return loss

    good = rushlight.tensor([1, 9, 3])
    for _ in range(3):
        step(good)
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(IndexError):
        step(rushlight.tensor([1, 10, 3]))
    assert all(p.equal(q) for p, q in zip(net.parameters(), before))
    step(good)
    assert not all(p.equal(q) for p, q in zip(net.parameters(), before))


DIVISIONS: dict[str, Callable[[Any, Any], Any]] = {
    "floor": lambda a, b: a // b,
    "remainder": lambda a, b: a % b,
    "trunc": lambda a, b: rushlight.div(a, b, rounding_mode="trunc"),
    "fmod": rushlight.fmod,
}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("name", DIVISIONS)
def test_integer_division_by_zero(name: str, dtype: str) -> None:
    f = DIVISIONS[name]
    compiled = rushlight.compile(f)
    kind = getattr(rushlight, dtype)
    a = rushlight.tensor([7, 8, 9], dtype=kind)
    good, zero = rushlight.tensor([2, 3, 4], dtype=kind), rushlight.tensor([2, 0, 4], dtype=kind)
    assert outcome(compiled, a, good) == outcome(f, a, good)
    assert outcome(compiled, a, zero) == outcome(f, a, zero)
    assert outcome(compiled, a, good) == outcome(f, a, good)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_the_least_integer_divided_by_minus_one_is_no_trap(dtype: str) -> None:
    kind = getattr(rushlight, dtype)
    least = rushlight.tensor([rushlight.iinfo(kind).min] * 9, dtype=kind)
    minus = rushlight.full((9,), -1, dtype=kind)
    for f in DIVISIONS.values():
        assert outcome(rushlight.compile(f), least, minus) == outcome(f, least, minus)


def test_floats_divide_by_zero_as_ieee_says() -> None:
    a, b = rushlight.tensor([1.0, -1.0, 0.0]), rushlight.zeros(3)
    f = rushlight.compile(lambda a, b: a / b)
    assert repr(f(a, b).tolist()) == "[inf, -inf, nan]"
