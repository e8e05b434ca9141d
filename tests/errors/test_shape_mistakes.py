"""Classic mistakes with shapes, indices, dtypes and devices: types are PyTorch's, words say what would fit."""

from __future__ import annotations

from typing import Any

import pytest

import rushlight
from tests.errors.support import message_of, says

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

MISTAKES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "view of a transposed tensor": (
        lambda lib: lib.ones(3, 4).t().view(12),
        ("[4, 3]", "[12]", "without a copy", ".reshape(...)"),
    ),
    "view with a size that can't be": (
        lambda lib: lib.ones(3, 4).view(5, -1),
        ("shape '[5, -1]' is invalid for input of size 12",),
    ),
    "view into another number of elements": (
        lambda lib: lib.ones(3, 4).view(5, 2),
        ("shape '[5, 2]' is invalid for input of size 12",),
    ),
    "reshape into another number of elements": (
        lambda lib: lib.ones(6).reshape(4, 2),
        ("shape '[4, 2]' is invalid for input of size 6",),
    ),
    "matrices that do not fit": (
        lambda lib: lib.ones(2, 3) @ lib.ones(2, 3),
        ("cannot be multiplied (2x3 and 2x3)", "3 columns", "2 rows"),
    ),
    "batches of matrices that do not fit": (
        lambda lib: lib.bmm(lib.ones(2, 3, 4), lib.ones(2, 3, 4)),
        ("[2, 4]", "got: [2, 3]"),
    ),
    "matrices of two dtypes": (
        lambda lib: lib.ones(2, 3) @ lib.ones(3, 2, dtype=lib.float64),
        ("same dtype", "float", "double"),
    ),
    "cat of unequal sizes": (
        lambda lib: lib.cat([lib.ones(2, 3), lib.ones(2, 4)]),
        ("must match except in dimension 0", "(2, 3)", "number 1", "(2, 4)"),
    ),
    "cat of nothing": (lambda lib: lib.cat([]), ("non-empty",)),
    "stack of unequal shapes": (
        lambda lib: lib.stack([lib.ones(2, 3), lib.ones(2, 4)]),
        ("[2, 3] at entry 0", "[2, 4] at entry 1"),
    ),
    "shapes that do not broadcast": (
        lambda lib: lib.ones(2, 3) + lib.ones(4),
        ("size of tensor a (3)", "tensor b (4)", "dimension 1", "(2, 3) and (4,)"),
    ),
    "index out of range": (
        lambda lib: lib.ones(3)[5],
        ("index 5 is out of bounds for dimension 0 with size 3",),
    ),
    "one of many indices out of range": (
        lambda lib: lib.ones(3)[lib.tensor([0, 7])],
        ("index 7 is out of bounds for dimension 0 with size 3",),
    ),
    "too many indices": (
        lambda lib: lib.ones(3)[0, 0],
        ("too many indices for tensor of dimension 1",),
    ),
    "mask of another shape": (
        lambda lib: lib.ones(3)[lib.ones(4) > 0],
        ("[4]", "[3]"),
    ),
    "gather out of range": (
        lambda lib: lib.ones(2, 3).gather(1, lib.tensor([[5]])),
        ("index 5 is out of bounds for dimension 1 with size 3",),
    ),
    "a dimension that is not there": (
        lambda lib: lib.ones(3, 4).sum(2),
        ("Dimension out of range", "[-2, 1]", "got 2"),
    ),
    "transpose of a dimension that is not there": (
        lambda lib: lib.ones(3, 4).transpose(0, 2),
        ("Dimension out of range", "[-2, 1]", "got 2"),
    ),
    "permute with too few dimensions": (
        lambda lib: lib.ones(2, 3, 4).permute(0, 1),
        ("2", "3"),
    ),
    "expand of a size that is not 1": (
        lambda lib: lib.ones(2, 3).expand(2, 4),
        ("4", "3"),
    ),
    "truth of many elements": (
        lambda lib: bool(lib.ones(3) > 0),
        ("more than one value is ambiguous", "[3]", ".any() or .all()"),
    ),
    "item of many elements": (
        lambda lib: lib.ones(3).item(),
        ("a Tensor with 3 elements cannot be converted to Scalar",),
    ),
    "length of a number": (lambda lib: len(lib.tensor(1.0)), ("len() of a 0-d tensor",)),
    "loop over a number": (lambda lib: list(lib.tensor(1.0)), ("iteration over a 0-d tensor",)),
    "device that is not there, at creation": (
        lambda lib: lib.ones(3, device="cuda"),
        ("'cuda'", "tensors live on 'cpu'", "device='cpu'"),
    ),
    "device that is not there, by method": (lambda lib: lib.ones(3).cuda(), ("'cuda'", "'cpu'")),
    "device that is not there, by to": (lambda lib: lib.ones(3).to("cuda:0"), ("'cuda'", "'cpu'")),
    "a device nobody knows": (lambda lib: lib.ones(3, device="gpu"), ("device type", "gpu")),
    "ragged list": (lambda lib: lib.tensor([[1, 2], [3]]), ("length 2 at dim 1", "got 1")),
    "negative size": (lambda lib: lib.ones(-1), ("negative dimension", "-1")),
    "mean of integers": (
        lambda lib: lib.tensor([1, 2]).mean(),
        ("floating point or complex", "dtype"),
    ),
    "a list where a tensor stands": (
        lambda lib: lib.exp([1.0, 2.0]),
        ("exp(): argument 'input' (position 1) must be Tensor, not list",),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake(mistake: str) -> None:
    program, words = MISTAKES[mistake]
    says(message_of(program, torch), *words)


def test_a_missing_device_is_both_of_pytorchs_exceptions() -> None:
    with pytest.raises(RuntimeError, match="no 'cuda' device"):
        rushlight.ones(1, device="cuda")
    with pytest.raises(AssertionError, match="no 'cuda' device"):
        rushlight.ones(1, device="cuda")


def test_refused_assignment_leaves_data_as_it_was() -> None:
    x = rushlight.zeros(3)
    with pytest.raises(RuntimeError, match=r"\[2\]|\(2"):
        x[:] = rushlight.ones(2)
    with pytest.raises(IndexError, match="index 9"):
        x[9] = 1.0
    with pytest.raises(IndexError, match="index 4"):
        x[rushlight.tensor([0, 4])] = 1.0
    assert x.tolist() == [0.0, 0.0, 0.0]
