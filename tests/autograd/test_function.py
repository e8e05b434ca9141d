"""autograd.Function: what users write with ctx, and the errors for what they get wrong, as PyTorch has them."""

from __future__ import annotations

from typing import Any

import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

both = pytest.mark.parametrize("lib", [rushlight, torch], ids=["rushlight", "torch"])


def function(lib: Any, forward: Any, backward: Any, **members: Any) -> Any:
    """A Function of these two (static) methods."""
    body = {"forward": staticmethod(forward), "backward": staticmethod(backward), **members}
    return type("Mine", (lib.autograd.Function,), body)


@both
def test_saves_inputs_and_outputs(lib: Any) -> None:
    def forward(ctx: Any, x: Any, power: int) -> Any:
        y = x**power
        ctx.save_for_backward(x, y)
        ctx.power = power
        return y

    def backward(ctx: Any, grad: Any) -> Any:
        x, y = ctx.saved_tensors
        return grad * ctx.power * y / x, None

    mine = function(lib, forward, backward)
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    y = mine.apply(x, 3)
    assert y.grad_fn.name() == "MineBackward"
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 12.0]
    with pytest.raises(RuntimeError, match="a second time"):
        y.sum().backward()


@both
def test_second_derivative_of_a_function(lib: Any) -> None:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * 3 * x**2

    x = lib.tensor(2.0, requires_grad=True)
    (g,) = lib.autograd.grad(function(lib, forward, backward).apply(x), x, create_graph=True)
    (h,) = lib.autograd.grad(g, x)
    assert (g.item(), h.item()) == (12.0, 12.0)


@both
def test_needs_input_grad_tells_what_is_wanted(lib: Any) -> None:
    seen: list[Any] = []

    def forward(ctx: Any, a: Any, b: Any, n: int) -> Any:
        seen.append(ctx.needs_input_grad)
        return a + b * n

    def backward(ctx: Any, grad: Any) -> Any:
        seen.append(ctx.needs_input_grad)
        return grad, None, None

    function(lib, forward, backward).apply(
        lib.ones(1, requires_grad=True), lib.ones(1), 2
    ).backward()
    assert seen == [(True, False, False)] * 2


@both
def test_nothing_is_recorded_in_forward_or_under_no_grad(lib: Any) -> None:
    seen: list[bool] = []

    def forward(ctx: Any, x: Any) -> Any:
        seen.append((x * 2).requires_grad)
        return x * 2

    mine = function(lib, forward, lambda ctx, grad: grad * 2)
    x = lib.ones(1, requires_grad=True)
    assert mine.apply(x).requires_grad
    with lib.no_grad():
        assert not mine.apply(x).requires_grad
    assert seen == [False, False]


@both
def test_several_outputs_and_materialized_gradients(lib: Any) -> None:
    seen: list[Any] = []

    def forward(ctx: Any, x: Any, materialize: bool) -> Any:
        ctx.set_materialize_grads(materialize)
        return x * 2, x * 3

    def backward(ctx: Any, first: Any, second: Any) -> Any:
        seen.append(None if second is None else second.tolist())
        return first * 2, None

    mine = function(lib, forward, backward)
    for materialize in (True, False):
        x = lib.ones(2, requires_grad=True)
        mine.apply(x, materialize)[0].sum().backward()
        assert x.grad.tolist() == [2.0, 2.0]
    assert seen == [[0.0, 0.0], None]


@both
def test_marked_non_differentiable(lib: Any) -> None:
    def forward(ctx: Any, x: Any) -> Any:
        sign = x > 0
        twice = x * 2
        ctx.mark_non_differentiable(sign, twice)
        return x * 3, sign, twice

    mine = function(lib, forward, lambda ctx, a, b, c: a * 3)
    y, sign, twice = mine.apply(lib.ones(1, requires_grad=True))
    assert [t.requires_grad for t in (y, sign, twice)] == [True, False, False]


@both
def test_marked_dirty(lib: Any) -> None:
    def forward(ctx: Any, x: Any) -> Any:
        x.mul_(3)
        ctx.mark_dirty(x)
        return x

    mine = function(lib, forward, lambda ctx, grad: grad * 3)
    w = lib.ones(2, requires_grad=True)
    y = w * 2
    assert mine.apply(y) is y
    assert y.grad_fn.name() == "MineBackward"
    y.sum().backward()
    assert w.grad.tolist() == [6.0, 6.0]
    with pytest.raises(RuntimeError, match="leaf Variable"):
        mine.apply(w)


@both
def test_once_differentiable(lib: Any) -> None:
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * 2

    once = lib.autograd.function.once_differentiable(backward)
    mine = function(lib, lambda ctx, x: x * 2, once)
    x = lib.ones(1, requires_grad=True)
    mine.apply(x * x).backward()
    assert x.grad.tolist() == [4.0]
    (g,) = lib.autograd.grad(mine.apply(x * x) ** 2, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.backward()


@both
def test_setup_context(lib: Any) -> None:
    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * 2 * x

    mine = function(lib, lambda x: x * x, backward, setup_context=staticmethod(setup))
    x = lib.tensor([3.0], requires_grad=True)
    mine.apply(x).backward()
    assert x.grad.tolist() == [6.0]


@both
def test_input_returned_as_it_is(lib: Any) -> None:
    mine = function(lib, lambda ctx, x: x, lambda ctx, grad: grad * 5)
    x = lib.ones(1, requires_grad=True)
    y = mine.apply(x)
    assert y is not x
    assert y.grad_fn.name() == "MineBackward"
    y.backward()
    assert x.grad.tolist() == [5.0]
    assert x.is_leaf


MISTAKES: dict[str, tuple[Any, str]] = {
    "too few gradients": (lambda ctx, grad: grad, "incorrect number of gradients"),
    "too many gradients": (lambda ctx, grad: (grad, grad, grad), "incorrect number of gradients"),
    "gradient for a number": (
        lambda ctx, grad: (grad, grad),
        r"gradient different (from|than) None at position 2",
    ),
    "gradient of another shape": (
        lambda ctx, grad: (grad.new_ones(3), None),
        "returned an invalid gradient at index 0",
    ),
}


@both
@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_backward(lib: Any, mistake: str) -> None:
    backward, words = MISTAKES[mistake]
    mine = function(lib, lambda ctx, x, n: x * n, backward)
    with pytest.raises(RuntimeError, match=words):
        mine.apply(lib.ones(2, requires_grad=True), 2).sum().backward()


@both
def test_more_mistakes(lib: Any) -> None:
    x = lib.ones(1, requires_grad=True)

    class NoForward(lib.autograd.Function):  # type: ignore[misc, name-defined]
        pass

    with pytest.raises(NotImplementedError, match="must implement the forward"):
        NoForward.apply(x)

    class NoBackward(lib.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

    with pytest.raises(NotImplementedError, match="must implement either the backward"):
        NoBackward.apply(x).backward()
    saves = function(lib, lambda ctx, x: (ctx.save_for_backward(5), x)[1], lambda ctx, g: g)
    with pytest.raises(TypeError, match="save_for_backward can only save variables"):
        saves.apply(x)


@both
def test_write_to_what_was_saved(lib: Any) -> None:
    def forward(ctx: Any, x: Any) -> Any:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    def backward(ctx: Any, grad: Any) -> Any:
        return grad * ctx.saved_tensors[0]

    y = function(lib, forward, backward).apply(lib.ones(2, requires_grad=True))
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_message_of_a_write_to_what_was_saved_names_both_lines() -> None:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * 2

    mine = function(rushlight, forward, lambda ctx, grad: grad * ctx.saved_tensors[0])
    x = rushlight.ones(2, requires_grad=True) * 1
    y = mine.apply(x)
    x.add_(1)
    with pytest.raises(
        RuntimeError, match=r"MineBackward.*test_function\.py:\d+.*add_.*test_function\.py:\d+"
    ):
        y.sum().backward()


@both
def test_saved_tensors_are_let_go(lib: Any) -> None:
    import gc
    import weakref

    def forward(ctx: Any, x: Any) -> Any:
        y = x * 2
        ctx.save_for_backward(x, y)
        return y

    x = lib.ones(2, requires_grad=True) * 1
    y = function(lib, forward, lambda ctx, grad: grad * 2).apply(x)
    reference = weakref.ref(y.grad_fn)
    del y, x
    gc.collect()
    assert reference() is None
