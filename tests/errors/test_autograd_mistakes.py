"""Classic mistakes with gradients: in-place writes, second backwards, leaves. Types are PyTorch's, words better."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest

import rushlight
from tests.errors.support import line_with, message_of, says

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")


def test_in_place_on_a_saved_result() -> None:
    def program(lib: Any) -> None:
        w = lib.ones(2, 3, requires_grad=True)
        y = w.exp()  # the forward
        y.add_(1)  # the write
        y.sum().backward()

    message = message_of(program, torch)
    says(message, "modified by an inplace operation", "[2, 3]", "ExpBackward0", "add_", "clone()")
    says(message, line_with(program, "# the forward"), line_with(program, "# the write"))


def test_in_place_on_a_saved_input_through_a_view() -> None:
    def program(lib: Any) -> None:
        w, x = lib.ones(3, requires_grad=True), lib.ones(3)
        y = (w * x).sum()  # the forward
        x[1:].zero_()  # the write
        y.backward()

    message = message_of(program, torch)
    says(message, "an input of MulBackward0", "zero_", "[3]", "version 1; expected version 0")
    says(message, line_with(program, "# the forward"), line_with(program, "# the write"))


def test_in_place_on_a_saved_tensor_names_the_module() -> None:
    def program(lib: Any) -> None:
        class Block(lib.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.gate = lib.nn.Sigmoid()

            def forward(self, x: Any) -> Any:
                return self.gate(x)  # the forward

        net = lib.nn.Sequential(lib.nn.Linear(3, 3), Block())
        y = net(lib.ones(2, 3))
        y.mul_(2)  # the write
        y.sum().backward()

    message = message_of(program, torch)
    says(message, "SigmoidBackward0", "Sequential.1.gate (Sigmoid)", "mul_", "[2, 3]")
    says(message, line_with(program, "# the forward"), line_with(program, "# the write"))


def test_in_place_on_weights_between_forward_and_backward() -> None:
    def program(lib: Any) -> None:
        fc1, fc2 = lib.nn.Linear(2, 2), lib.nn.Linear(2, 1)
        optimizer = lib.optim.SGD(fc2.parameters(), lr=0.1)
        loss = fc2(fc1(lib.ones(1, 2))).sum()  # the forward
        loss.backward(retain_graph=True)
        optimizer.step()  # the write
        loss.backward()

    message = message_of(program, torch)
    says(message, "modified by an inplace operation", "Linear", line_with(program, "# the forward"))
    says(message, line_with(program, "# the write"))


def test_second_backward() -> None:
    def program(lib: Any) -> None:
        w = lib.ones(3, requires_grad=True)
        loss = w.exp().sum()  # the forward
        loss.backward()
        loss.backward()

    message = message_of(program, torch)
    says(message, "a second time", "ExpBackward0", "retain_graph=True", "add them")
    says(message, line_with(program, "# the forward"))


def test_second_backward_names_the_module() -> None:
    def program(lib: Any) -> None:
        net = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.Tanh())
        hidden = net(lib.ones(2, 3))
        hidden.sum().backward()
        hidden.mean().backward()

    says(message_of(program, torch), "a second time", "TanhBackward0", "Sequential.1 (Tanh)")


def test_write_to_a_leaf_leaves_it_as_it_was() -> None:
    w = rushlight.ones(3, requires_grad=True)

    def program(lib: Any) -> None:
        leaf = w if lib is rushlight else torch.ones(3, requires_grad=True)
        leaf.mul_(5)

    says(message_of(program, torch), "leaf Variable that requires grad", "mul_", "no_grad()")
    assert w.tolist() == [1.0, 1.0, 1.0]
    assert w._version == 0


def test_write_to_a_view_of_a_leaf_leaves_it_as_it_was() -> None:
    w = rushlight.ones(3, requires_grad=True)

    def program(lib: Any) -> None:
        leaf = w if lib is rushlight else torch.ones(3, requires_grad=True)
        leaf[0] = 7.0

    says(message_of(program, torch), "a view of a leaf Variable", "no_grad()")
    assert w.tolist() == [1.0, 1.0, 1.0]


def test_write_to_an_expanded_tensor_leaves_it_as_it_was() -> None:
    x = rushlight.ones(1, 3)

    def program(lib: Any) -> None:
        (x if lib is rushlight else torch.ones(1, 3)).expand(4, 3).add_(1)

    says(message_of(program, torch), "single memory location", "clone()")
    assert x.tolist() == [[1.0, 1.0, 1.0]]


def test_write_that_does_not_fit_leaves_data_as_it_was() -> None:
    x, n = rushlight.ones(3), rushlight.ones(3, dtype=rushlight.int64)

    def grows(lib: Any) -> None:
        (x if lib is rushlight else torch.ones(3)).add_(lib.ones(2, 3))

    def fraction(lib: Any) -> None:
        (n if lib is rushlight else torch.ones(3, dtype=torch.int64)).add_(1.5)

    says(message_of(grows, torch), "output with shape [3]", "broadcast shape [2, 3]", "add_")
    says(message_of(fraction, torch), "result type Float can't be cast", "Long")
    assert x.tolist() == [1.0, 1.0, 1.0]
    assert n.tolist() == [1, 1, 1]
    assert x._version == n._version == 0


def test_write_to_one_of_several_views_leaves_data_as_it_was() -> None:
    kept: list[Any] = []

    def program(lib: Any) -> None:
        y = lib.ones(4, requires_grad=True) * 1
        kept.append(y)
        y.split(2)[0].mul_(3)

    says(message_of(program, torch), "Output 0 of SplitBackward0 is a view")
    assert kept[1].tolist() == [1.0, 1.0, 1.0, 1.0]


def test_view_made_under_no_grad_and_written_outside() -> None:
    def program(lib: Any) -> None:
        y = lib.ones(4, requires_grad=True) * 1
        with lib.no_grad():
            view = y[1:]
        view.mul_(3)

    says(message_of(program, torch), "no_grad mode", "modified inplace")


def test_backward_of_many_elements() -> None:
    def program(lib: Any) -> None:
        (lib.ones(3, 2, requires_grad=True) * 2).backward()

    message = message_of(program, torch)
    says(message, "implicitly created only for scalar outputs", "[3, 2]", ".sum()", "gradient")


def test_backward_with_a_gradient_of_another_shape() -> None:
    def program(lib: Any) -> None:
        (lib.ones(3, requires_grad=True) * 2).backward(lib.ones(2))

    says(message_of(program, torch), "Mismatch in shape", "[2]", "[3]")


def test_backward_of_what_was_computed_under_no_grad() -> None:
    def program(lib: Any) -> None:
        w = lib.ones(3, requires_grad=True)
        with lib.no_grad():
            loss = (w * 2).sum()
        loss.backward()

    says(
        message_of(program, torch), "does not require grad and does not have a grad_fn", "took part"
    )


def test_backward_inside_no_grad_says_so() -> None:
    def program(lib: Any) -> None:
        with lib.no_grad():
            (lib.ones(3, requires_grad=True) * 2).sum().backward()

    message = message_of(program, torch)
    says(message, "does not have a grad_fn", "no_grad()")


def test_numpy_of_a_tensor_that_requires_grad() -> None:
    def program(lib: Any) -> None:
        lib.ones(3, requires_grad=True).numpy()

    says(message_of(program, torch), "Can't call numpy()", "detach().numpy()")


@pytest.mark.parametrize("make", ["keyword", "method"])
def test_integers_that_require_grad(make: str) -> None:
    def program(lib: Any) -> None:
        if make == "keyword":
            lib.tensor([1, 2], requires_grad=True)
        else:
            lib.tensor([1, 2]).requires_grad_()

    says(message_of(program, torch), "floating point", "can require gradients")


def test_grad_of_a_non_leaf_warns_at_the_users_line() -> None:
    y = rushlight.ones(3, requires_grad=True) * 2
    y.sum().backward()
    with pytest.warns(UserWarning, match="not a leaf Tensor") as caught:
        assert y.grad is None
    assert caught[0].filename == __file__


def test_turning_off_requires_grad_of_a_non_leaf() -> None:
    def program(lib: Any) -> None:
        (lib.ones(3, requires_grad=True) * 2).requires_grad_(False)

    says(message_of(program, torch), "leaf variables", "detach()")


def test_grad_with_respect_to_an_unused_input() -> None:
    def program(lib: Any) -> None:
        used, unused = lib.ones(1, requires_grad=True), lib.ones(2, 3, requires_grad=True)
        lib.autograd.grad(used.sum(), [used, unused])

    says(
        message_of(program, torch), "not have been used in the graph", "[2, 3]", "allow_unused=True"
    )


def test_assigned_gradient_that_does_not_fit() -> None:
    def shape(lib: Any) -> None:
        lib.ones(3, requires_grad=True).grad = lib.ones(2)

    def dtype(lib: Any) -> None:
        lib.ones(3, requires_grad=True).grad = lib.ones(3, dtype=lib.float64)

    says(message_of(shape, torch), "different size", "[2]", "[3]")
    says(message_of(dtype, torch), "float64", "float32")


def test_deepcopy_of_a_non_leaf() -> None:
    def program(lib: Any) -> None:
        copy.deepcopy(lib.ones(2, requires_grad=True) * 2)

    says(message_of(program, torch), "graph leaves", "MulBackward0", "detach()")


def test_inference_tensor_that_must_be_saved() -> None:
    def program(lib: Any) -> None:
        with lib.inference_mode():
            a = lib.ones(2)
        a * lib.ones(2, requires_grad=True)

    says(message_of(program, torch), "Inference tensors cannot be saved for backward", "clone()")


def test_out_of_a_tensor_that_requires_grad() -> None:
    def program(lib: Any) -> None:
        w = lib.ones(2, requires_grad=True)
        lib.add(w, w, out=lib.empty(2))

    says(message_of(program, torch), "out=", "automatic differentiation")


def test_no_debug_mode_was_needed() -> None:
    assert not rushlight.is_anomaly_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        w = rushlight.ones(2, requires_grad=True)
        (w * w).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [2.0, 2.0]
