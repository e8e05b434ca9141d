"""Version counters, in-place ops on leaves, non-leaves, views and their bases: gradients equal PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")


def same(program: Any) -> None:
    """Both libraries give the same lists of numbers."""
    ours, theirs = program(rushlight), program(torch)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


def numbers(*tensors: Any) -> list[Any]:
    return [t.detach().tolist() for t in tensors]


def data(lib: Any, *shape: int) -> Any:
    count = int(np.prod(shape))
    values = (np.arange(count, dtype=np.float32) / count + 0.3).reshape(shape)
    return lib.from_numpy(values.copy()).requires_grad_()


def write_to_non_leaf(lib: Any) -> list[Any]:
    w = data(lib, 3)
    y = w * 2
    y.mul_(3).add_(1)
    y.sum().backward()
    return numbers(y, w.grad)


def write_with_gradient_of_both(lib: Any) -> list[Any]:
    w, v = data(lib, 3), data(lib, 3)
    y = w.exp().clone()
    y.mul_(v)
    y.div_(v + 1)
    y.pow_(2)
    y.sum().backward()
    return numbers(y, w.grad, v.grad)


def write_to_view_of_non_leaf(lib: Any) -> list[Any]:
    w, v = data(lib, 4, 3), data(lib, 2, 3)
    y = w * 2
    y[1:3].mul_(v)
    (y * y).sum().backward()
    return numbers(y, w.grad, v.grad)


def write_to_view_of_view(lib: Any) -> list[Any]:
    w, v = data(lib, 4, 3), data(lib, 2)
    y = w * 2
    inner = y.t()[1:]
    inner[0, 1:3] = v
    inner.mul_(2)
    (y * inner.t().sum()).sum().backward()
    return numbers(y, inner, w.grad, v.grad)


def view_made_before_the_base_was_written(lib: Any) -> list[Any]:
    w = data(lib, 4)
    y = w * 2
    view = y[1:]
    y.mul_(5)
    (view * view).sum().backward()
    return numbers(view, w.grad)


def two_views_of_one_base(lib: Any) -> list[Any]:
    w = data(lib, 6)
    y = w * 1
    left, right = y[:4], y[2:]
    left.mul_(2)
    right.mul_(3)
    (left.sum() * 2 + right.sum() + y.sum()).backward()
    return numbers(left, right, y, w.grad)


def write_into_a_plain_base(lib: Any) -> list[Any]:
    w = data(lib, 3)
    buffer = lib.zeros(4, 3)
    for row in range(4):
        buffer[row] = w * row
    (buffer * buffer).sum().backward()
    return numbers(buffer, w.grad)


def masked_and_indexed_writes(lib: Any) -> list[Any]:
    w, v = data(lib, 3, 3), data(lib, 3)
    y = w * 2
    y[y > 1.5] = 0
    y[lib.tensor([0, 2]), 1] = v[:2]
    y.index_add_(0, lib.tensor([1]), v.view(1, 3))
    (y * y).sum().backward()
    return numbers(y, w.grad, v.grad)


def leaf_written_under_no_grad(lib: Any) -> list[Any]:
    w = data(lib, 3)
    with lib.no_grad():
        w.mul_(2)
        w[0] = 9
    (w * w).sum().backward()
    return [*numbers(w, w.grad), [w._version, w.is_leaf]]


def overwritten_result_forgets_its_past(lib: Any) -> list[Any]:
    w, v = data(lib, 3), data(lib, 3)
    y = w + 1
    y.copy_(v)
    z = w * 1
    z.zero_()
    (y * y + z).sum().backward()
    return numbers(y, w.grad, v.grad)


def diagonal_and_transposed_writes(lib: Any) -> list[Any]:
    w, v = data(lib, 3, 3), data(lib, 3)
    y = w * 1
    y.diagonal().mul_(v)
    y.t()[0].add_(v)
    y.permute(1, 0).unsqueeze(0)[0, 2].neg_()
    (y * y).sum().backward()
    return numbers(y, w.grad, v.grad)


def in_place_changes_of_shape(lib: Any) -> list[Any]:
    w = data(lib, 2, 3)
    y = w * 2
    y.t_()
    y.unsqueeze_(0)
    y.squeeze_(0)
    y.mul_(lib.ones(3, 2) * 2)
    (y * y).sum().backward()
    return [*numbers(y, w.grad), list(y.shape)]


def in_place_activations(lib: Any) -> list[Any]:
    w = data(lib, 4)
    y = (w - 0.6) * 1
    lib.nn.functional.relu(y, inplace=True)
    z = (w * 1).clamp_(0.4, 0.6)
    s = (w * 1).sigmoid_()
    t = (w * 1).clamp_(max=0.7).tanh_()
    (y * 2 + z * s * t).sum().backward()
    return numbers(y, z, s, t, w.grad)


def second_derivative_through_writes(lib: Any) -> list[Any]:
    w = data(lib, 3)
    y = w**3
    y[1:].mul_(w[1:])
    y.mul_(w)
    (g,) = lib.autograd.grad(y.sum(), w, create_graph=True)
    (h,) = lib.autograd.grad((g * g).sum(), w)
    return numbers(g, h)


def detached_shares_memory(lib: Any) -> list[Any]:
    w = data(lib, 3)
    y = w * 2
    d = y.detach()
    d.add_(1)
    return [*numbers(y, d), [y._version, d._version, d.requires_grad]]


@pytest.mark.parametrize(
    "program",
    [
        write_to_non_leaf,
        write_with_gradient_of_both,
        write_to_view_of_non_leaf,
        write_to_view_of_view,
        view_made_before_the_base_was_written,
        two_views_of_one_base,
        write_into_a_plain_base,
        masked_and_indexed_writes,
        leaf_written_under_no_grad,
        overwritten_result_forgets_its_past,
        diagonal_and_transposed_writes,
        in_place_changes_of_shape,
        in_place_activations,
        second_derivative_through_writes,
        detached_shares_memory,
    ],
)
def test_same_as_pytorch(program: Any) -> None:
    same(program)


def _under_no_grad(lib: Any, x: Any) -> Any:
    with lib.no_grad():
        return x.mul_(2).mul_(2)


VERSIONS: dict[str, Any] = {
    "fresh": lambda lib, x: x,
    "after a write": lambda lib, x: x.add_(1),
    "a view counts with its base": lambda lib, x: (x[0].add_(1), x)[1],
    "a view made later": lambda lib, x: x.add_(1)[0],
    "detach shares": lambda lib, x: (x.detach().add_(1), x)[1],
    "data does not share": lambda lib, x: (x.data.add_(1), x)[1],
    "data starts anew": lambda lib, x: x.add_(1).data,
    "clone starts anew": lambda lib, x: x.add_(1).clone(),
    "assignment of an item": lambda lib, x: (x.__setitem__(0, 1.0), x)[1],
    "out": lambda lib, x: lib.add(x, 1, out=x),
    "numpy does not count": lambda lib, x: (x.numpy().fill(1), x)[1],
    "under no_grad": _under_no_grad,
}


@pytest.mark.parametrize("case", VERSIONS)
def test_version(case: str) -> None:
    program = VERSIONS[case]
    assert (
        program(rushlight, rushlight.ones(2, 2))._version
        == program(torch, torch.ones(2, 2))._version
    )


def test_refused_write_to_a_saved_tensor_comes_only_in_backward() -> None:
    w = rushlight.ones(3, requires_grad=True)
    y = w.exp()
    y.add_(1)
    assert y.tolist() == pytest.approx([np.e + 1] * 3)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    assert w.grad is None


def test_data_escapes_the_version_check_as_in_pytorch() -> None:
    w = rushlight.ones(3, requires_grad=True)
    y = w.exp()
    y.data.zero_()
    y.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [0.0, 0.0, 0.0]


def test_data_of_another_shape_takes_gradients_of_that_shape() -> None:
    w = rushlight.ones(3, requires_grad=True)
    held = (w * 2).sum()
    w.data = rushlight.ones(5)
    (w * 3).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [3.0] * 5
    assert held.item() == 6.0
