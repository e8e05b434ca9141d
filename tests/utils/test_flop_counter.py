"""`FlopCounterMode`: PyTorch's counts, module by module, forward and backward."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

import rushlight
from rushlight import nn
from rushlight.core.watch import watch
from rushlight.utils.checkpoint import checkpoint
from rushlight.utils.flop_counter import FlopCounterMode, register_flop_formula

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import floors
import models


def counted(lib: Any, call: Any) -> dict[str, dict[str, int]]:
    mode = importlib.import_module(f"{lib.__name__}.utils.flop_counter").FlopCounterMode
    with mode(display=False) as counter:
        call(lib)
    return {k: {str(op): n for op, n in v.items()} for k, v in counter.get_flop_counts().items()}


#: Attention, which torch's counter leaves out on a CPU; of its formulas see below.
ATTENTION = "aten._scaled_dot_product_flash_attention_for_cpu"


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["lenet", "mlp", "convnet", "gpt"])
def test_training_steps_module_by_module(name: str) -> None:
    torch = pytest.importorskip("torch")

    def step(lib: Any) -> None:
        train, _, _, x, y, _ = models.build(lib, name, 2)
        train(x, y)

    ours = {
        path: {op: n for op, n in counts.items() if not op.startswith(ATTENTION)}
        for path, counts in counted(rushlight, step).items()
    }
    assert ours == counted(torch, step)


@pytest.mark.parametrize("name", ["lenet", "gpt"])
def test_compiled_steps_count_as_eager_ones(name: str) -> None:
    pytest.importorskip("llvmlite")
    step, _, _, x, y, _ = models.build(rushlight, name, 2)
    compiled = rushlight.compile(step)
    for _ in range(2):
        compiled(x, y)
    totals = []
    for call in (step, compiled, compiled):
        with FlopCounterMode(display=False) as counter:
            call(x, y)
        totals.append({path: sum(ops.values()) for path, ops in counter.get_flop_counts().items()})
    assert totals[0] == totals[1] == totals[2]
    assert compiled.stats()["compiles"] == 1


def linear(lib: Any) -> Any:
    x = lib.ones(3, 5, 4, requires_grad=True)
    return lib.nn.functional.linear(x, lib.ones(2, 4, requires_grad=True))


CALLS = {
    # Forward alone: of a grouped convolution's backward torch counts the weight's gradient too high.
    "grouped": lambda lib: lib.nn.Conv2d(4, 8, 3, 2, 1, groups=2)(lib.ones(2, 4, 9, 8)).detach(),
    "transposed": lambda lib: lib.nn.ConvTranspose2d(4, 6, 3, stride=2)(lib.ones(2, 4, 5, 6, requires_grad=True)),
    "three": lambda lib: lib.nn.Conv3d(2, 3, 2, dilation=2)(lib.ones(1, 2, 5, 6, 7)),
    "one": lambda lib: lib.nn.Conv1d(2, 3, 2)(lib.ones(4, 2, 9, requires_grad=True)),
    "mm": lambda lib: lib.ones(2, 3, requires_grad=True) @ lib.ones(3, 4, requires_grad=True),
    "bmm": lambda lib: lib.bmm(lib.ones(2, 3, 4, requires_grad=True), lib.ones(2, 4, 5, requires_grad=True)),
    "broadcast": lambda lib: lib.ones(2, 1, 3, 4, requires_grad=True) @ lib.ones(5, 4, 6, requires_grad=True),
    "addmm": lambda lib: lib.addmm(lib.ones(4), lib.ones(2, 3, requires_grad=True), lib.ones(3, 4)),
    "baddbmm": lambda lib: lib.baddbmm(lib.ones(2, 3, 5), lib.ones(2, 3, 4), lib.ones(2, 4, 5, requires_grad=True)),
    "einsum": lambda lib: lib.einsum("bij,bkj->bik", lib.ones(2, 3, 4, requires_grad=True), lib.ones(2, 5, 4)),
    "linear": linear,
    "half of it": lambda lib: lib.nn.Linear(3, 4)(lib.ones(2, 3)),
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", CALLS)
def test_totals_of_ops(name: str) -> None:
    torch = pytest.importorskip("torch")

    def call(lib: Any) -> None:
        result = CALLS[name](lib).sum()
        if result.requires_grad:
            result.backward()

    totals = [sum(counted(lib, call)["Global"].values()) for lib in (rushlight, torch)]
    assert totals[0] == totals[1] > 0


@pytest.mark.oracle
def test_attention_is_counted_by_torchs_formulas() -> None:
    pytest.importorskip("torch")
    formulas = importlib.import_module("torch.utils.flop_counter")
    shapes = (2, 4, 8, 16), (2, 4, 6, 16), (2, 4, 6, 10)
    q, k, v = (rushlight.ones(*shape, requires_grad=True) for shape in shapes)
    with FlopCounterMode(display=False) as counter:
        result = nn.functional.scaled_dot_product_attention(q, k, v)
        assert counter.get_total_flops() == formulas.sdpa_flop_count(*shapes)
        result.sum().backward()
    backward = formulas.sdpa_backward_flop_count(tuple(result.shape), *shapes)
    assert counter.get_total_flops() == formulas.sdpa_flop_count(*shapes) + backward


def test_recurrent_layers_are_counted_too() -> None:
    for layer, gates in ((nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)):
        with FlopCounterMode(display=False) as counter:
            layer(3, 5)(rushlight.ones(7, 2, 3))
        assert counter.get_total_flops() == 2 * 7 * 2 * gates * 5 * (3 + 5)


@pytest.mark.parametrize("name", [n for n in models.NAMES if n != "gpt"])
def test_the_floors_of_benchmarks_are_these_counts(name: str) -> None:
    """Counted by hand there; of the first layer's input nobody wants a gradient in either."""
    step, _, _, x, y, _ = models.build(rushlight, name, 2)
    with FlopCounterMode(display=False) as counter:
        step(x, y)
    assert counter.get_total_flops() == pytest.approx(floors.flops(name, 2), rel=0.06)


def test_what_is_computed_again_counts_again() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    x = rushlight.ones(2, 4, requires_grad=True)
    product = 2 * 2 * 4 * 4
    with FlopCounterMode(display=False) as plain:
        net(x).sum().backward()
    with FlopCounterMode(display=False) as again:
        checkpoint(net, x, use_reentrant=False).sum().backward()
    assert plain.get_total_flops() == 6 * product
    assert again.get_total_flops() == 8 * product


def test_counting_does_not_unpack_what_hooks_have_packed() -> None:
    unpacked = []

    def unpack(tensor: Any) -> Any:
        unpacked.append(tensor.shape)
        return tensor

    with FlopCounterMode(display=False) as counter:
        with rushlight.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
            y = rushlight.ones(2, 3, requires_grad=True) @ rushlight.ones(3, 4, requires_grad=True)
        y.sum().backward()
    assert len(unpacked) == 2
    assert counter.get_total_flops() == 3 * 2 * 2 * 3 * 4


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 2)))
    with FlopCounterMode(depth=2) as counter:
        net(rushlight.ones(3, 4))
    text = capsys.readouterr().out
    assert text.rstrip("\n") == counter.get_table()
    rows = [line.split() for line in text.splitlines()]
    assert rows[0] == ["Module", "FLOP", "%", "Total"]
    assert rows[2:] == [
        ["Sequential", "288", "100.00%"], ["-", "aten.addmm", "288", "100.00%"],
        ["Sequential.0", "192", "66.67%"], ["-", "aten.addmm", "192", "66.67%"],
        ["Sequential.1", "96", "33.33%"], ["-", "aten.addmm", "96", "33.33%"],
    ]  # fmt: skip
    assert "Sequential.1.1" in counter.get_table(3)
    with FlopCounterMode(display=False) as empty:
        pass
    assert empty.get_total_flops() == 0
    assert empty.get_table().splitlines()[0].split() == ["Module", "FLOP", "%", "Total"]
    assert not watch.on


def test_formulas_of_users() -> None:
    def count(x: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
        return 10 * x[0] + out_shape[0]

    with FlopCounterMode(display=False, custom_mapping={rushlight.exp: count}) as counter:
        rushlight.ones(3).exp()
    assert counter.get_flop_counts() == {"Global": {"aten.exp": 33}}
    from rushlight.utils import flop_counter

    try:
        register_flop_formula(rushlight.log, get_raw=True)(lambda x, out_val: int(x.sum().item()))
        with FlopCounterMode(display=False) as counter:
            rushlight.ones(4).log()
        assert counter.get_total_flops() == 4
    finally:
        flop_counter._formulas.clear()
    with pytest.raises(TypeError, match="functions of ops"):
        register_flop_formula(len)(count)
