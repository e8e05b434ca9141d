"""Which equations become one kernel."""

from __future__ import annotations

import pytest

import rushlight
from rushlight.compiler.assembly import Assembly, lowered
from rushlight.compiler.graph import Graph
from rushlight.compiler.grouping import Grouping
from rushlight.compiler.passes import optimize
from rushlight.loops.target import Target
from rushlight.nn import functional as F
from rushlight.primitives.lowerings import load_all
from tests.support.graphs import traced, uncompiled

pytestmark = pytest.mark.usefixtures("uncompiled")
__all__ = ["uncompiled"]


def _groups(graph: Graph) -> list[list[str]]:
    load_all()
    return [[e.primitive.name for e in g.equations] for g in Grouping(graph, lowered).groups]


def test_a_sum_of_biases_is_made_before_the_product_that_takes_it() -> None:
    x, w = rushlight.randn(6, 5), rushlight.randn(4, 5)
    one, other = rushlight.randn(4), rushlight.randn(4)
    graph = optimize(traced(lambda: F.linear(x, w, one + other).relu()))
    assert _groups(graph) == [["add"], ["contract", "add", "maximum"]]


def _recurrent(kept: bool) -> Assembly:
    """The assembly of a layer whose inputs' products are returned, or not."""
    from rushlight.ops.recurrent import lstm_layer

    x, w = rushlight.randn(3, 2, 5), rushlight.randn(16, 5)
    weight, h, c = rushlight.randn(16, 4), rushlight.randn(2, 4), rushlight.randn(2, 4)

    def run() -> object:
        steps = F.linear(x, w)
        output = lstm_layer(steps, weight, h, c, None, False)[0]
        return (output, steps) if kept else output

    return Assembly(optimize(traced(run)), Target())


@pytest.mark.parametrize("kept", [False, True])
def test_a_result_lies_where_an_operand_was_that_nobody_needs(kept: bool) -> None:
    assembly = _recurrent(kept)
    (layer,) = [e for e in assembly.graph.equations if e.primitive.name == "lstm"]
    steps, gates = assembly.array(layer.operands[0]), assembly.array(layer.outputs[3])
    assert (steps.memory is gates.memory) is not kept


@pytest.mark.parametrize("other_reader", [False, True])
def test_sequences_lie_as_they_are_read(other_reader: bool) -> None:
    from rushlight.ops.recurrent import lstm_layer

    load_all()
    x, weight, w = rushlight.randn(3, 2, 16), rushlight.randn(16, 4), rushlight.randn(5, 4)
    h, c = rushlight.randn(2, 4), rushlight.randn(2, 4)

    def run() -> object:
        output = lstm_layer(x, weight, h, c, None, False)[0]
        result = F.linear(output.transpose(0, 1), w)
        return (result, output.sum()) if other_reader else result

    assembly = Assembly(optimize(traced(run)), Target())
    (layer,) = [e for e in assembly.graph.equations if e.primitive.name == "lstm"]
    assert assembly.array(layer.outputs[0]).strides == ((8, 4, 1) if other_reader else (4, 12, 1))


def test_sums_over_one_gradient_are_one_loop() -> None:
    """Those of batch normalization's backward: of the gradient, and of its product with the standardized input."""
    x = rushlight.randn(4, 3, 5, 5)
    w = rushlight.randn(3, 3, 3, 3)
    scale = rushlight.randn(3, 1, 1)

    def run() -> object:
        y = F.conv2d(x, w, padding=1).relu()
        return y.sum((0, 2, 3)), (y * scale).sum((0, 2, 3)), (y * scale * x).sum((0, 2, 3))

    groups = _groups(optimize(traced(run)))
    (sums,) = [g for g in groups if "reduce_sum" in g]
    assert sums.count("reduce_sum") == 3


def test_an_update_follows_its_gradient_in_the_same_loop() -> None:
    """A decay that is ready long before the gradient waits for it."""
    x, w, rate = rushlight.randn(8, 5), rushlight.randn(4, 5), rushlight.tensor(0.5)

    def run() -> object:
        gradient = x[:, :4].T @ x
        return w * (1 - rate * 0.1) - gradient * rate

    assert _groups(optimize(traced(run))) == [["mul", "sub"], ["contract", "mul", "mul", "sub"]]


@pytest.mark.parametrize(("terms", "apart"), [(2048, True), (16, False)])
def test_an_update_whose_state_lies_far_away_is_a_loop_behind_a_long_product(
    terms: int, apart: bool
) -> None:
    """In the product's tiles it would wait for memory; where there are few terms, tiles go along rows."""
    weight, momentum = rushlight.randn(512, 256), rushlight.randn(512, 256)
    grad, x = rushlight.randn(terms, 512), rushlight.randn(terms, 256)

    def run() -> object:
        moved = momentum * 0.9 + grad.T @ x
        return moved, weight - moved * 0.1

    assembly = Assembly(optimize(traced(run)), Target())
    found = [[e.primitive.name for e in g.equations] for g in assembly.grouping.groups]
    update = ["mul", "add", "mul", "sub"]
    assert found == ([["contract"], update] if apart else [["contract", *update]])
