"""Products with gathered rows become products with the table they come from, and results stay what they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight import nn
from rushlight.compiler.gathering import multiply_before_gathering
from rushlight.compiler.graph import Graph, evaluate
from rushlight.compiler.passes import optimize
from tests.support.graphs import traced, uncompiled

pytestmark = pytest.mark.usefixtures("uncompiled")
__all__ = ["uncompiled"]

ROWS, FEATURES, OUTPUTS = 5, 3, 4


def _step(ids: Any, turned: bool = False, bias: bool = True, dtype: Any = rushlight.float64) -> Any:
    """A function that gives an embedding's product, a loss's gradients for all weights, and its inputs."""
    embedding = nn.Embedding(ROWS, FEATURES, dtype=dtype)
    linear = nn.Linear(FEATURES, OUTPUTS, bias=bias, dtype=dtype)
    scale = rushlight.randn(*ids.shape, OUTPUTS, dtype=dtype)
    weights = [embedding.weight, *linear.parameters()]

    def step() -> list[Any]:
        rows = embedding(ids)
        result = linear(rows.transpose(0, 1) if turned else rows)
        result = result.transpose(0, 1) if turned else result
        return [result, *rushlight.autograd.grad((result.sin() * scale).sum(), weights)]

    return step


def _graph(step: Any) -> Graph:
    return optimize(traced(step))


def _sizes(graph: Graph) -> list[int]:
    """Rows that each product goes through, over all but the dimensions of the weights."""
    found = []
    for equation in graph.equations:
        if equation.primitive.name == "contract":
            sizes = set(equation.operands[0].shape) | set(equation.operands[1].shape)
            found.append(max(sizes))
    return found


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", [(40,), (8, 7), (3, 4, 5)])
def test_products_have_the_tables_rows(shape: tuple[int, ...], turned: bool, bias: bool) -> None:
    if turned and len(shape) < 2:
        return
    ids = rushlight.randint(0, ROWS, shape)
    step = _step(ids, turned, bias)
    graph = _graph(step)
    names = [e.primitive.name for e in graph.equations]
    assert _sizes(graph) == [ROWS] * 3
    assert names.count("take") == names.count("put_add") == 1
    compiled = rushlight.compile(step)
    for a, b in zip(compiled(), step(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_native_program_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llvmlite")
    monkeypatch.undo()
    step = _step(rushlight.randint(0, ROWS, (6, 9)), True)
    compiled = rushlight.compile(step)
    for a, b in zip(compiled(), step(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_the_forward_keeps_its_bits() -> None:
    """Each element is the same sum of the same products."""
    step = _step(rushlight.randint(0, ROWS, (40,)))
    assert rushlight.compile(step)()[0].equal(step()[0])


@pytest.mark.parametrize("shape", [(), (1,), (9,)])
def test_few_rows_are_multiplied_as_they_are(shape: tuple[int, ...]) -> None:
    graph = traced(_step(rushlight.randint(0, ROWS, shape)))
    assert str(multiply_before_gathering(graph)) == str(graph)


def test_sixteen_bits_stay() -> None:
    """Sums of rounded rows would be rounded once more."""
    graph = traced(_step(rushlight.randint(0, ROWS, (40,)), dtype=rushlight.bfloat16))
    assert str(multiply_before_gathering(graph)) == str(graph)


def test_indices_are_checked() -> None:
    ids = rushlight.randint(0, ROWS, (40,))
    ids[3] = ROWS
    with pytest.raises(IndexError):
        rushlight.compile(_step(ids))()


def test_tables_gradient_is_added_to_what_is_there() -> None:
    """A table that is read twice: its gradient is the sum of both ways."""
    ids = rushlight.randint(0, ROWS, (40,))
    table = rushlight.randn(ROWS, FEATURES, dtype=rushlight.float64, requires_grad=True)
    weight = rushlight.randn(OUTPUTS, FEATURES, dtype=rushlight.float64)

    def step() -> Any:
        rows = nn.functional.embedding(ids, table)
        loss = (rows @ weight.T).sin().sum() + (rows**2).sum()
        return rushlight.autograd.grad(loss, table)[0]

    found, expected = rushlight.compile(step)(), step()
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12, atol=1e-12)


def test_the_pass_alone() -> None:
    """Before and after the pass, a graph gives the same on the same arrays."""
    table = rushlight.randn(ROWS, FEATURES, dtype=rushlight.float64)
    weight = rushlight.randn(FEATURES, OUTPUTS, dtype=rushlight.float64)
    ids = rushlight.randint(0, ROWS, (4, 6))
    graph = traced(lambda t, w, i: nn.functional.embedding(i, t) @ w, table, weight, ids)
    after = multiply_before_gathering(graph)
    assert str(after) != str(graph)
    arrays = [t.numpy() for t in (table, weight, ids)]
    assert len(graph.inputs) == 3
    np.testing.assert_allclose(
        evaluate(after, arrays)[0], evaluate(graph, arrays)[0], rtol=1e-12, atol=1e-12
    )
