"""Graphs of 100,000 nodes: no recursion forwards, backwards or when freed, and nothing left behind."""

from __future__ import annotations

import gc
import sys
import tracemalloc
import weakref
from typing import Any

import pytest

import rushlight

LENGTH = 100_000


def chain(x: Any, length: int) -> Any:
    """`length` nodes of several kinds: products, sums, views, in-place writes, results that are saved."""
    x = x.tanh()
    for _ in range(length // 5):
        x = x * 0.5
        x = x + x
        x = x.view(1)
        x = x.neg()
        x.neg_()
    return x


def test_forward_backward_and_freeing_do_not_recurse() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(250)
    try:
        w = rushlight.ones(1, requires_grad=True)
        x = chain(w, LENGTH)
        x.backward()
        assert w.grad is not None
        expected = 1 - rushlight.ones(1).tanh().item() ** 2
        assert w.grad.item() == pytest.approx(expected, rel=1e-5)
        del x
        gc.collect()
    finally:
        sys.setrecursionlimit(before)


def test_a_chain_that_never_ran_backward_is_freed_by_reference_counting() -> None:
    gc.collect()
    gc.disable()
    try:
        w = rushlight.ones(1, requires_grad=True)
        y = w * 1
        first = weakref.ref(y.grad_fn)
        y = chain(y, LENGTH)
        assert first() is not None
        del y
        assert first() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("retain", [False, True])
def test_nodes_and_saved_tensors_go_away_without_the_collector(retain: bool) -> None:
    gc.collect()
    gc.disable()
    try:
        w = rushlight.ones(4, requires_grad=True)
        hidden = (w * w).exp()
        references = [weakref.ref(hidden), weakref.ref(hidden.grad_fn)]
        loss = hidden.softmax(0).pow(2)[1:].sum()
        loss.backward(retain_graph=retain)
        del hidden, loss
        assert [r() for r in references] == [None, None]
    finally:
        gc.enable()


def test_backward_frees_what_was_saved_even_while_the_result_lives() -> None:
    w = rushlight.ones(4, requires_grad=True)
    big = rushlight.ones(4) * 3
    reference = weakref.ref(big)
    loss = (w * big).sum()
    del big
    assert reference() is not None
    loss.backward()
    assert reference() is None


def test_steps_leave_no_memory_behind() -> None:
    w = rushlight.ones(50, requires_grad=True)

    def step() -> None:
        y = (w.exp() * 2).view(5, 10)
        y.mul_(0.5)
        y[1:].sum().backward()
        w.grad = None

    for _ in range(20):
        step()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            step()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 10_000


def test_a_graph_of_create_graph_is_freed() -> None:
    w = rushlight.ones(3, requires_grad=True)
    (g,) = rushlight.autograd.grad((w**3).sum(), w, create_graph=True)
    reference = weakref.ref(g.grad_fn)
    del g
    gc.collect()
    assert reference() is None


def test_a_wide_graph_adds_all_its_gradients() -> None:
    w = rushlight.ones(1, requires_grad=True)
    total = w * 0
    for k in range(2000):
        total = total + w * (k % 3)
    total.backward()
    assert w.grad is not None
    assert w.grad.item() == sum(k % 3 for k in range(2000))
