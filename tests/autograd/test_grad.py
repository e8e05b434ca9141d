"""backward() and grad(): retained graphs, unused inputs, batches of gradients, accumulation, second derivatives."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

both = pytest.mark.parametrize("lib", [rushlight, torch], ids=["rushlight", "torch"])


@both
def test_retained_graphs_run_again(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)
    y = (w * w).exp()
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    assert w.grad.item() == pytest.approx(6 * 2.7182817)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


@both
def test_graphs_that_save_nothing_run_twice(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    y = (w + w).view(1, 2).sum()
    y.backward()
    y.backward()
    assert w.grad.tolist() == [4.0, 4.0]


@both
def test_a_number_counts_as_saved(lib: Any) -> None:
    y = lib.ones(1, requires_grad=True) * 2.0
    y.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


@both
def test_shared_part_of_two_losses(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    hidden = w.exp()
    first, second = hidden.sum(), (hidden * 2).sum()
    first.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        second.backward()


@both
def test_grad_of_several_outputs_and_inputs(lib: Any) -> None:
    a, b = lib.ones(2, requires_grad=True), lib.ones(2, requires_grad=True)
    y, z = a * b, (a + 2 * b).sum()
    found = lib.autograd.grad([y, z], [a, b], grad_outputs=[lib.ones(2) * 3, None])
    assert [g.tolist() for g in found] == [[4.0, 4.0], [5.0, 5.0]]
    assert a.grad is None
    with pytest.raises(RuntimeError):
        lib.autograd.grad([y, z], [a], grad_outputs=[lib.ones(2)])


@both
def test_unused_inputs(lib: Any) -> None:
    a, b = lib.ones(1, requires_grad=True), lib.ones(2, requires_grad=True)
    y = (a * 2).sum()
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        lib.autograd.grad(y, [a, b], retain_graph=True)
    found = lib.autograd.grad(y, [a, b], retain_graph=True, allow_unused=True)
    assert found[0].tolist() == [2.0]
    assert found[1] is None
    found = lib.autograd.grad(y, [a, b], retain_graph=True, materialize_grads=True)
    assert found[1].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="allow_unused"):
        lib.autograd.grad(y, [a, b], allow_unused=False, materialize_grads=True)


@both
def test_grad_with_respect_to_something_in_the_middle(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    y = w * 3
    z = (y * y).sum()
    dy, dw = lib.autograd.grad(z, [y, w])
    assert dy.tolist() == [6.0, 6.0]
    assert dw.tolist() == [18.0, 18.0]


@both
def test_batched_gradients(lib: Any) -> None:
    w = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = w * w
    (rows,) = lib.autograd.grad(y, w, grad_outputs=lib.eye(3), is_grads_batched=True)
    assert rows.tolist() == [[2.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 6.0]]


@both
def test_batched_gradients_of_another_shape(lib: Any) -> None:
    w = lib.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError):
        lib.autograd.grad(w * w, w, grad_outputs=lib.ones(2, 4), is_grads_batched=True)


@both
def test_backward_into_chosen_inputs(lib: Any) -> None:
    a, b = lib.ones(1, requires_grad=True), lib.ones(1, requires_grad=True)
    hidden = a * 2
    (hidden * b).backward(inputs=[b])
    assert a.grad is None
    assert b.grad.tolist() == [2.0]
    with pytest.raises(RuntimeError, match="cannot be empty"):
        (a * b).backward(inputs=[])


@both
def test_backward_of_several_tensors(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    y = w * 2
    lib.autograd.backward([y.sum(), y], [None, lib.ones(2) * 5])
    assert w.grad.tolist() == [12.0, 12.0]


@both
def test_gradients_accumulate_in_place(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    (w * 2).sum().backward()
    held = w.grad
    (w * 3).sum().backward()
    assert w.grad is held
    assert held.tolist() == [5.0, 5.0]


@both
def test_gradients_with_a_graph_are_replaced(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)
    (w * w).sum().backward(create_graph=True)
    held = w.grad
    (w * w).sum().backward(create_graph=True)
    assert w.grad is not held
    assert held.tolist() == [2.0]
    assert w.grad.tolist() == [4.0]
    assert w.grad.requires_grad
    w.grad = None


@both
def test_gradients_never_share_memory_with_others(lib: Any) -> None:
    a, b = lib.ones(2, requires_grad=True), lib.ones(2, requires_grad=True)
    start = lib.ones(2)
    (a + b).backward(start)
    a.grad.add_(1)
    assert b.grad.tolist() == [1.0, 1.0]
    assert start.tolist() == [1.0, 1.0]
    saved = lib.ones(2) * 4
    c = lib.ones(2, requires_grad=True)
    (c * saved).sum().backward()
    c.grad.zero_()
    assert saved.tolist() == [4.0, 4.0]


@both
def test_set_to_none_and_zeroed_gradients(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    (w * 2).sum().backward()
    w.grad.zero_()
    (w * 3).sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]
    w.grad = None
    (w * 4).sum().backward()
    assert w.grad.tolist() == [4.0, 4.0]


@both
def test_third_derivative(lib: Any) -> None:
    x = lib.tensor(2.0, requires_grad=True)
    y = x**4
    values = []
    for _ in range(4):
        (y,) = lib.autograd.grad(y, x, create_graph=True)
        values.append(y.item())
    assert values == pytest.approx([32.0, 48.0, 48.0, 24.0])


@both
def test_second_derivatives_of_a_network(lib: Any) -> None:
    w = lib.arange(6.0).view(2, 3).div(7).requires_grad_()
    x = lib.arange(3.0).add(1).requires_grad_()
    y = lib.tanh(w @ x).pow(2).sum()
    (gx,) = lib.autograd.grad(y, x, create_graph=True)
    penalty = (gx.norm() - 1) ** 2
    penalty.backward()
    expected = _penalty_gradient()
    assert w.grad.flatten().tolist() == pytest.approx(expected, rel=1e-4)


def _penalty_gradient() -> list[float]:
    w = torch.arange(6.0).view(2, 3).div(7).requires_grad_()
    x = torch.arange(3.0).add(1).requires_grad_()
    (gx,) = torch.autograd.grad(torch.tanh(w @ x).pow(2).sum(), x, create_graph=True)
    (found,) = torch.autograd.grad((gx.norm() - 1) ** 2, w)
    return found.flatten().tolist()  # type: ignore[no-any-return]


@both
def test_dtypes_and_shapes_come_back_as_the_inputs_have_them(lib: Any) -> None:
    a = lib.ones(3, 1, dtype=lib.float64, requires_grad=True)
    b = lib.ones(4, requires_grad=True)
    c = lib.ones((), dtype=lib.float16, requires_grad=True)
    (a * b + c).sum().backward()
    assert (str(a.grad.dtype), tuple(a.grad.shape)) == ("torch.float64", (3, 1))
    assert (str(b.grad.dtype), tuple(b.grad.shape)) == ("torch.float32", (4,))
    assert (str(c.grad.dtype), tuple(c.grad.shape)) == ("torch.float16", ())
    assert c.grad.item() == 12


@both
def test_complex_gradients(lib: Any) -> None:
    z = lib.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    (z * z.conj()).real.sum().backward()
    assert z.grad.tolist() == [2 + 4j, 6 - 2j]
    with pytest.raises(RuntimeError, match="only for real scalar outputs"):
        (z * 2).sum().backward()


@both
def test_graphs_can_be_walked(lib: Any) -> None:
    a, b = lib.ones(2, requires_grad=True), lib.ones(2)
    y = (a * b).sum() + a[0]
    names, stack = [], [y.grad_fn]
    while stack:
        node = stack.pop()
        names.append(node.name().rpartition("::")[2])
        stack.extend(n for n, _ in node.next_functions if n is not None)
    assert sorted(set(names)) == [
        "AccumulateGrad", "AddBackward0", "MulBackward0", "SelectBackward0", "SumBackward0",
    ]  # fmt: skip
    assert y.grad_fn.next_functions[0][1] == 0
    assert a.grad_fn is None
    assert b.grad_fn is None
    product = (a * b).grad_fn
    assert product.next_functions[1] == (None, 0)
    product.metadata["note"] = 1
    assert product.metadata == {"note": 1}


@both
def test_outputs_of_one_node_are_numbered(lib: Any) -> None:
    parts = lib.ones(4, requires_grad=True).mul(1).split(2)
    assert [p.output_nr for p in parts] == [0, 1]
    assert parts[0].grad_fn is parts[1].grad_fn


@both
def test_saved_values_are_there_until_freed(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    y = w.exp()
    assert y.grad_fn._saved_result.tolist() == y.tolist()
    product = w * y
    assert product.grad_fn._saved_self is w
    y.sum().backward()
    with pytest.raises(RuntimeError, match="freed"):
        y.grad_fn._saved_result  # noqa: B018 - reading it is the test


def test_nodes_and_results_do_not_pickle_but_leaves_do() -> None:
    import pickle

    w = rushlight.ones(2, requires_grad=True)
    again = pickle.loads(pickle.dumps(w))
    assert again.requires_grad
    assert again.tolist() == [1.0, 1.0]
    node = (w * 2).grad_fn
    with pytest.raises(TypeError):
        pickle.dumps(node)


def test_threads_build_and_run_graphs_of_their_own() -> None:
    shared = rushlight.ones(8)
    results: dict[int, float] = {}

    def work(k: int) -> None:
        w = rushlight.ones(8, requires_grad=True)
        for _ in range(20):
            w.grad = None
            ((w * shared * k).exp().sum() / 8).backward()
        results[k] = w.grad[0].item()  # type: ignore[index]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    import math

    assert results == {k: pytest.approx(k * math.exp(k) / 8, rel=1e-5) for k in range(4)}


def test_backward_in_another_thread_than_forward() -> None:
    w = rushlight.ones(3, requires_grad=True)
    loss = w.exp().sum()
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()
    assert w.grad is not None
    assert w.grad.tolist() == pytest.approx([2.7182817] * 3)
