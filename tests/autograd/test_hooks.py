"""Hooks on tensors, on nodes, after accumulation, on saved tensors, on several tensors: as PyTorch runs them."""

from __future__ import annotations

from typing import Any

import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

both = pytest.mark.parametrize("lib", [rushlight, torch], ids=["rushlight", "torch"])


@both
def test_tensor_hooks_see_and_replace_gradients_in_order(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    y = w * 3
    seen: list[Any] = []
    y.register_hook(lambda g: seen.append(("first", g.tolist())))
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(("third", g.tolist())))
    w.register_hook(lambda g: seen.append(("leaf", g.tolist())))
    y.sum().backward()
    assert seen == [("first", [1.0, 1.0]), ("third", [10.0, 10.0]), ("leaf", [30.0, 30.0])]
    assert w.grad.tolist() == [30.0, 30.0]


@both
def test_leaf_hooks_replace_what_is_accumulated_and_can_be_removed(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)
    handle = w.register_hook(lambda g: g * 2)
    (w * 1).sum().backward()
    handle.remove()
    handle.remove()
    (w * 1).sum().backward()
    assert w.grad.tolist() == [3.0]
    with w.register_hook(lambda g: g * 100):
        (w * 1).sum().backward()
    (w * 1).sum().backward()
    assert w.grad.tolist() == [104.0]


@both
def test_hooks_run_in_grad_too(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)
    w.register_hook(lambda g: g * 5)
    y = w * 2
    y.register_hook(lambda g: g + 1)
    assert lib.autograd.grad(y, w)[0].tolist() == [20.0]


@both
def test_wrong_hooks(lib: Any) -> None:
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        lib.ones(1).register_hook(lambda g: g)
    w = lib.ones(2, requires_grad=True)
    y = w * 1
    y.register_hook(lambda g: g.sum().view(1).expand(3))
    with pytest.raises(RuntimeError, match="has changed the size of value"):
        y.sum().backward()
    z = w * 1
    z.register_hook(lambda g: 5)
    with pytest.raises(TypeError):
        z.sum().backward()


@both
def test_retain_grad(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    y = w * 3
    y.retain_grad()
    y.retain_grad()
    y.register_hook(lambda g: g * 2)
    (y * 4).sum().backward()
    assert y.retains_grad
    assert y.grad.tolist() == [8.0, 8.0]
    assert w.grad.tolist() == [24.0, 24.0]
    w.retain_grad()
    assert not w.retains_grad
    with pytest.raises(RuntimeError, match="can't retain_grad"):
        lib.ones(1).retain_grad()


@both
def test_post_accumulate_hooks_see_the_sum(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)
    seen: list[Any] = []
    handle = w.register_post_accumulate_grad_hook(lambda p: seen.append((p is w, p.grad.tolist())))
    (w * 2 + w * 3).sum().backward()
    (w * 1).sum().backward()
    handle.remove()
    (w * 1).sum().backward()
    assert seen == [(True, [5.0]), (True, [6.0])]
    with pytest.raises(RuntimeError, match="non-leaf"):
        (w * 2).register_post_accumulate_grad_hook(lambda p: None)


@both
def test_optimizer_in_a_post_accumulate_hook(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)

    def step(p: Any) -> None:
        with lib.no_grad():
            p.sub_(p.grad)
        p.grad = None

    w.register_post_accumulate_grad_hook(step)
    (w * 0.25).sum().backward()
    assert w.tolist() == [0.75]
    assert w.grad is None


@both
def test_node_hooks(lib: Any) -> None:
    w, v = lib.ones(1, requires_grad=True), lib.ones(1, requires_grad=True)
    y = w * v * 2
    node = y.grad_fn.next_functions[0][0]
    seen: list[Any] = []
    node.register_prehook(lambda outs: (outs[0] * 10,))
    handle = node.register_hook(
        lambda ins, outs: seen.append(([i.tolist() for i in ins], outs[0].tolist()))
    )
    y.sum().backward(retain_graph=True)
    assert seen == [([[20.0], [20.0]], [20.0])]
    handle.remove()
    node.register_hook(lambda ins, outs: (ins[0] * 0, ins[1]))
    y.sum().backward()
    assert len(seen) == 1
    assert w.grad.tolist() == [20.0]
    assert v.grad.tolist() == [40.0]


@both
def test_hooks_on_nodes_of_leaves(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)
    y = w * 2
    node = y.grad_fn.next_functions[0][0]
    assert node.name().endswith("AccumulateGrad")
    assert node.variable is w
    order: list[str] = []
    node.register_prehook(lambda outs: order.append("pre"))
    node.register_hook(lambda ins, outs: order.append("post"))
    y.backward()
    assert order == ["pre", "post"]


@both
def test_saved_tensors_hooks_pack_and_unpack(lib: Any) -> None:
    w, v = lib.ones(2, requires_grad=True), (lib.ones(2) * 3).requires_grad_()
    packed: list[Any] = []

    def pack(t: Any) -> Any:
        packed.append(t.tolist())
        return len(packed) - 1

    def unpack(at: int) -> Any:
        return lib.tensor(packed[at]) * 10

    with lib.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = w * v
        z = y.exp()
    assert sorted(map(tuple, packed)) == sorted([(1.0, 1.0), (3.0, 3.0), tuple(z.tolist())])
    y.sum().backward()
    assert w.grad.tolist() == [30.0, 30.0]
    assert v.grad.tolist() == [10.0, 10.0]


@both
def test_saved_tensors_hooks_with_a_write_in_between(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    with lib.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        y = w.exp()
    y.add_(1)
    y.sum().backward()
    assert w.grad.tolist() == pytest.approx([2.7182817, 2.7182817])


@both
def test_save_on_cpu(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    with lib.autograd.graph.save_on_cpu():
        y = (w * w).exp().sum()
    y.backward()
    assert w.grad.tolist() == pytest.approx([2 * 2.7182817] * 2)


@both
def test_hooks_that_forbid_saving(lib: Any) -> None:
    with lib.autograd.graph.disable_saved_tensors_hooks("not here"):
        with pytest.raises(RuntimeError, match="not here"):
            with lib.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
                pass


@both
@pytest.mark.parametrize("mode", ["all", "any"])
def test_multi_grad_hooks(lib: Any, mode: str) -> None:
    a, b, c = (lib.ones(1, requires_grad=True) for _ in range(3))
    calls: list[Any] = []

    def hook(grads: Any) -> None:
        if mode == "any":
            calls.append(grads.tolist())
        else:
            calls.append([None if g is None else g.tolist() for g in grads])

    handle = lib.autograd.graph.register_multi_grad_hook((a, b, c), hook, mode=mode)
    (a * 2 + b * 2).sum().backward()
    (a * 2 + b * 2 + c * 2).sum().backward()
    handle.remove()
    (a * 2).sum().backward()
    expected = {
        "all": [[[2.0], [2.0], None], [[2.0], [2.0], [2.0]]],
        "any": [[2.0], [2.0]],
    }
    assert calls == expected[mode]


@both
def test_hooks_are_kept_by_the_leaf_not_by_the_graph(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)
    first = w * 2
    w.register_hook(lambda g: g * 7)
    del first
    (w * 2).sum().backward()
    assert w.grad.tolist() == [14.0]


@both
def test_hook_of_a_tensor_that_is_written_later(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)
    y = w * 2
    seen: list[Any] = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.mul_(3)
    y.sum().backward()
    assert seen == [[3.0]]
    assert w.grad.tolist() == [6.0]
