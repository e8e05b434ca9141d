"""Batches of products stay apart: heads of attention are read, and written, where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.compiler.batching import keep_batches_apart
from rushlight.compiler.executable import Executable
from rushlight.compiler.graph import evaluate
from rushlight.compiler.passes import optimize
from tests.support.graphs import traced, uncompiled

pytestmark = pytest.mark.usefixtures("uncompiled")
__all__ = ["uncompiled"]

BATCH, HEADS, LENGTH, SIZE = 3, 2, 5, 4


def attention(x: Any) -> Any:
    """Self-attention as it is written: split, heads apart, products of stacks, heads together."""
    parts = x.split(HEADS * SIZE, dim=2)
    q, k, v = (p.view(BATCH, LENGTH, HEADS, SIZE).transpose(1, 2) for p in parts)
    weights = (q @ k.transpose(-2, -1)).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(BATCH, LENGTH, HEADS * SIZE)


def step_of(x: Any) -> Any:
    """Its result, and its gradient under a loss."""

    def step() -> list[Any]:
        result = attention(x).sin()
        return [result, *rushlight.autograd.grad(result.sum(), [x])]

    return step


def test_products_of_attention_have_two_batch_dimensions_and_equal_results() -> None:
    x = rushlight.randn(BATCH, LENGTH, 3 * HEADS * SIZE, dtype=rushlight.float64)
    x.requires_grad_()
    graph = traced(step_of(x))
    after = optimize(graph)
    products = [e for e in after.equations if e.primitive.name == "contract"]
    assert len(products) == 6
    assert {len(e.params["batch_a"]) for e in products} == {2}
    inputs = [x.detach().numpy()]
    for want, got in zip(evaluate(graph, inputs), evaluate(after, inputs), strict=True):
        assert np.allclose(want, got, rtol=1e-12)


def test_no_head_is_copied() -> None:
    x = rushlight.randn(BATCH, LENGTH, 3 * HEADS * SIZE, dtype=rushlight.float64)
    x.requires_grad_()
    graph = traced(step_of(x))
    inputs = [x.detach().numpy()]
    executable = Executable(graph)
    names = [k.name for segment in executable.segments for k in segment.kernels]
    assert not [n for n in names if n.startswith(("copy", "concatenate"))]
    for want, got in zip(evaluate(graph, inputs), executable.run(inputs), strict=True):
        assert np.allclose(want, got, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("turned", [False, True])
def test_one_operand_may_be_whole(turned: bool) -> None:
    a = rushlight.randn(BATCH, HEADS, LENGTH, SIZE, dtype=rushlight.float64)
    b = rushlight.randn(BATCH * HEADS, 7, SIZE, dtype=rushlight.float64)

    def step() -> list[Any]:
        left = a.transpose(2, 3) if turned else a
        left = left.reshape(BATCH * HEADS, *left.shape[2:])
        left = left.transpose(1, 2) if turned else left
        return [rushlight.bmm(left, b.transpose(1, 2))]

    graph = traced(step)
    after = keep_batches_apart(graph)
    assert [
        len(e.params["batch_a"]) for e in after.equations if e.primitive.name == "contract"
    ] == [2]
    arrays = {v.shape: v.numpy() for v in (a, b)}
    inputs = [arrays[v.shape] for v in graph.inputs]
    (want,), (got,) = evaluate(graph, inputs), evaluate(after, inputs)
    assert want.shape == got.shape
    assert np.allclose(want, got, rtol=1e-12)
