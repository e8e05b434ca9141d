"""The tutorial that rushlight grew from, cell by cell, with only the name `torch` replaced."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

import rushlight

DOCUMENT = Path(__file__).parents[2] / "docs" / "seed" / "neural_networks.md"

CELL = re.compile(r"In \[\d+\]:\s*```python\n(.*?)```(?:\s*```sh\n(.*?)```)?", re.DOTALL)


def cells() -> list[tuple[str, str]]:
    """The code of each cell and what the document shows below it."""
    return [(code, shown or "") for code, shown in CELL.findall(DOCUMENT.read_text())]


def run(name: str, alias: bool) -> tuple[list[str], dict[str, Any]]:
    """What each cell prints when `torch` is `name` (or, with `alias`, imported `as torch`)."""
    scope: dict[str, Any] = {}
    printed = []
    for code, _ in cells():
        if alias:
            code = re.sub(r"import torch\.(\S+) as", rf"import {name}.\1 as", code)
            code = re.sub(r"^import torch$", f"import {name} as torch", code, flags=re.MULTILINE)
            code = code.replace("from torch.", f"from {name}.")
        else:
            code = re.sub(r"\btorch\b", name, code)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, "<cell>", "exec"), scope)
            if "import" in code:
                scope[name if not alias else "torch"].manual_seed(0)
        printed.append(out.getvalue())
    return printed, scope


def test_the_document_has_its_cells() -> None:
    assert len(cells()) == 7


@pytest.mark.parametrize("alias", [False, True])
def test_cells_run_and_print(alias: bool) -> None:
    printed, scope = run("rushlight", alias)
    assert printed[2].splitlines() == [
        "Net(",
        "  (conv1): Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1))",
        "  (conv2): Conv2d(6, 16, kernel_size=(5, 5), stride=(1, 1))",
        "  (fc1): Linear(in_features=400, out_features=120, bias=True)",
        "  (fc2): Linear(in_features=120, out_features=84, bias=True)",
        "  (fc3): Linear(in_features=84, out_features=10, bias=True)",
        ")",
    ]
    assert printed[3] == cells()[3][1].strip() + "\n"
    assert printed[4] == cells()[4][1].strip() + "\n"
    assert printed[5].startswith("tensor([[") and printed[5].endswith("grad_fn=<AddmmBackward0>)\n")
    assert all(p.grad is not None and p.grad.shape == p.shape for p in scope["net"].parameters())


@pytest.mark.oracle
def test_cells_print_what_pytorch_prints() -> None:
    pytest.importorskip("torch", reason="PyTorch is the oracle: pip install -e '.[oracle]'")
    ours, here = run("rushlight", False)
    theirs, there = run("torch", False)
    assert ours == theirs
    for a, b in zip(here["net"].parameters(), there["net"].parameters(), strict=True):
        assert abs(a.grad.numpy() - b.grad.numpy()).max() < 1e-5


def net_of_the_document() -> Any:
    _, scope = run("rushlight", False)
    return scope["net"]


def test_one_sample_needs_no_batch() -> None:
    net = net_of_the_document()
    image = rushlight.randn(1, 32, 32)
    features = rushlight.nn.functional.relu(net.conv1(image))
    assert features.shape == (6, 28, 28)
    assert rushlight.allclose(
        features, rushlight.nn.functional.relu(net.conv1(image.unsqueeze(0)))[0]
    )


def test_backward_of_many_elements_wants_a_gradient() -> None:
    out = net_of_the_document()(rushlight.randn(1, 1, 32, 32))
    with pytest.raises(
        RuntimeError, match="grad can be implicitly created only for scalar outputs"
    ):
        out.backward()


def test_what_the_document_leaves_over() -> None:
    """A loss, the update rule by hand in both forms, and by an optimizer: all three give the same weights."""
    results = []
    for way in ("data", "no_grad", "optim"):
        rushlight.manual_seed(0)
        net = net_of_the_document()
        out = net(rushlight.randn(2, 1, 32, 32))
        loss = rushlight.nn.MSELoss()(out, rushlight.zeros(2, 10))
        optimizer = rushlight.optim.SGD(net.parameters(), lr=0.01)
        net.zero_grad()
        loss.backward()
        if way == "data":
            for weight in net.parameters():
                weight.data.sub_(weight.grad.data * 0.01)
        elif way == "no_grad":
            with rushlight.no_grad():
                for weight in net.parameters():
                    weight -= 0.01 * weight.grad
        else:
            optimizer.step()
        results.append([p.detach().numpy().copy() for p in net.parameters()])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert abs(a - b).max() < 1e-7


def test_a_function_of_ones_own() -> None:
    class Cube(rushlight.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * x**2 * grad

    x = rushlight.tensor([2.0, -1.0], requires_grad=True)
    Cube.apply(x).sum().backward()
    assert x.grad.tolist() == [12.0, 3.0]
