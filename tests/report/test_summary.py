"""`rushlight.summary`: torchinfo's numbers and form, and a model that is left as it was."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rushlight
from rushlight import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import models

COLUMNS = (
    "input_size", "output_size", "num_params", "params_percent", "kernel_size", "mult_adds", "trainable",
)  # fmt: skip


def mixed(lib: Any) -> tuple[Any, Any]:
    """Recursion, a list of modules, a child that is called without its parent, dicts, a recurrent layer."""

    class Mixed(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a = lib.nn.Linear(3, 4)
            self.b = lib.nn.Bilinear(4, 4, 2)
            self.parts = lib.nn.ModuleList([lib.nn.Linear(2, 2) for _ in range(2)])
            self.seq = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.ReLU())
            self.rnn = lib.nn.GRU(3, 5, 2, bidirectional=True)
            self.unused = lib.nn.Linear(7, 7)
            self.own = lib.nn.Parameter(lib.ones(5))
            self.listed = lib.nn.ParameterList([lib.nn.Parameter(lib.ones(2))])
            self.frozen = lib.nn.Linear(4, 4).requires_grad_(False)
            self.acts = lib.nn.ModuleDict({"tanh": lib.nn.Tanh()})

        def forward(self, x: Any, y: Any) -> Any:
            h = self.b(self.a(x), self.frozen(self.a(y)))
            for part in self.parts:
                h = part(h)
            output, hidden = self.rnn(self.seq[0](self.acts["tanh"](h))[None])
            return {"output": output, "hidden": hidden}

    return Mixed(), [lib.ones(2, 3), lib.ones(2, 3)]


def convolutions(lib: Any) -> tuple[Any, Any]:
    layers = lib.nn
    net = layers.Sequential(
        layers.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), layers.BatchNorm1d(6),
        layers.ConvTranspose1d(6, 3, 4), layers.MaxPool1d(2), layers.Flatten(), layers.LazyLinear(5),
    )  # fmt: skip
    return net, [lib.ones(2, 4, 12)]


def program(name: str) -> Callable[[Any], tuple[Any, Any]]:
    def make(lib: Any) -> tuple[Any, Any]:
        _, net, _, x, _, _ = models.build(lib, name, 2)
        return net, [x]

    return make


NETS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "mixed": mixed, "convolutions": convolutions, **{n: program(n) for n in models.NAMES},
}  # fmt: skip


def oracle() -> tuple[Any, Any]:
    return pytest.importorskip("torch"), pytest.importorskip("torchinfo")


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "mode"),
    [*((name, "eval") for name in NETS), ("mixed", "train"), ("convolutions", "train")],
)
def test_every_number_is_torchinfos(name: str, mode: str) -> None:
    torch, torchinfo = oracle()
    net, inputs = NETS[name](torch)
    theirs = torchinfo.summary(net, input_data=inputs, mode=mode, verbose=0)
    net, inputs = NETS[name](rushlight)
    ours = rushlight.summary(net, inputs, mode=mode, verbose=0)
    fields = (
        "class_name", "var_name", "depth", "depth_index", "input_size", "output_size", "num_params",
        "trainable_params", "trainable", "kernel_size", "macs", "output_bytes", "is_recursive", "is_leaf_layer",
        "executed",
    )  # fmt: skip
    assert len(ours.summary_list) == len(theirs.summary_list)
    for have, want in zip(ours.summary_list, theirs.summary_list, strict=True):
        for field in fields:
            assert getattr(have, field) == getattr(want, field), (want.var_name, field)
        assert have.leftover_params() == want.leftover_params()
    for total in ("total_params", "trainable_params", "total_mult_adds", "total_output_bytes"):
        assert getattr(ours, total) == getattr(theirs, total), total
    if name != "mixed":  # torchinfo leaves out what containers hold themselves
        assert ours.total_param_bytes == theirs.total_param_bytes


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("rows", "depth"),
    [(("depth",), 1), (("var_names",), 2), (("ascii_only", "depth", "var_names"), 4)],
)
def test_the_table_is_torchinfos(rows: tuple[str, ...], depth: int) -> None:
    torch, torchinfo = oracle()
    form = {"col_names": COLUMNS, "col_width": 17, "row_settings": rows, "depth": depth}
    for name in ("resnet20", "lenet"):
        net, inputs = NETS[name](torch)
        theirs = str(torchinfo.summary(net, input_data=inputs, verbose=0, **form)).splitlines()
        net, inputs = NETS[name](rushlight)
        ours = str(rushlight.summary(net, inputs, verbose=0, **form)).splitlines()
        assert [line for line in ours if not line.startswith("Total FLOPs")][:-7] == theirs[:-7]
        assert ours[-5:] == theirs[-5:]


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["mixed", "resnet20", "gpt"])
def test_a_model_that_is_not_called(name: str) -> None:
    torch, torchinfo = oracle()
    theirs = str(torchinfo.summary(NETS[name](torch)[0], verbose=0))
    assert str(rushlight.summary(NETS[name](rushlight)[0], verbose=0)) == theirs


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["lenet", "mlp", "vae", "convnet"])
def test_flops_are_those_of_torchs_counter(name: str) -> None:
    torch, _ = oracle()
    counters = importlib.import_module("torch.utils.flop_counter")
    net, inputs = NETS[name](torch)
    with counters.FlopCounterMode(display=False) as counter:
        net(*inputs)
    net, inputs = NETS[name](rushlight)
    found = rushlight.summary(net, inputs, verbose=0)
    assert found.total_flops == counter.get_total_flops()
    assert (
        sum(layer.flops for layer in found.summary_list if layer.is_leaf_layer) == found.total_flops
    )


def test_the_model_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.ReLU())
    net[2].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = rushlight.get_rng_state()
    found = rushlight.summary(net, (2, 1, 8, 8), mode="train", verbose=0)
    assert found.was_run
    assert all(bool((before[name] == value).all()) for name, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == [True, True, True, False, True]
    assert bool((random == rushlight.get_rng_state()).all())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not importlib.import_module("rushlight.nn.hooks").global_hooks.active
    assert not importlib.import_module("rushlight.core.watch").watch.on
    assert all(p.grad is None for p in net.parameters())


def test_a_forward_that_fails_names_the_layer() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(5, 6))
    with pytest.raises(
        RuntimeError, match=r"failed in 2 \(Linear\)(.|\n)*<Linear \(0\): \[2, 3\] -> \[2, 4\]>"
    ):
        rushlight.summary(net, (2, 3), mode="train", verbose=0)
    assert float(net[1].running_mean.abs().sum()) == 0
    assert not importlib.import_module("rushlight.nn.hooks").global_hooks.active

    class Broken(nn.Module):
        def forward(self, x: Any) -> Any:
            raise KeyError("nothing here")

    with pytest.raises(RuntimeError, match="No layer ran before it") as found:
        rushlight.summary(Broken(), (1,), verbose=0)
    assert isinstance(found.value.__cause__, KeyError)


def test_inputs_in_every_form() -> None:
    class Sum(nn.Module):
        def forward(self, x: Any, y: Any, scale: float = 1.0) -> Any:
            return (x + y) * scale

    x = rushlight.ones(2, 3)
    for arguments in (
        {"input": [x, x]}, {"input_data": (x, x)}, {"input": {"x": x, "y": x}}, {"input": [(2, 3), (2, 3)]},
        {"input_size": ((2, 3), [2, 3])}, {"input": x, "y": x}, {"input": [x, x], "scale": 2.0},
        {"input_size": [(3,), (3,)], "batch_dim": 0},
    ):  # fmt: skip
        found = rushlight.summary(Sum(), verbose=0, **arguments)
        assert found.summary_list[0].output_size[-1] == 3
    ids = rushlight.summary(nn.Embedding(5, 2), (4, 6), dtypes=[rushlight.long], verbose=0)
    assert ids.summary_list[0].output_size == [4, 6, 2]
    assert ids.total_input == 4 * 6 * 8
    packed = nn.utils.rnn.pack_sequence([rushlight.ones(3, 2), rushlight.ones(1, 2)])
    assert rushlight.summary(nn.LSTM(2, 3), [packed], verbose=0).summary_list[0].input_size == [
        4,
        2,
    ]


def test_a_tied_parameter_counts_once() -> None:
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    net[1].weight = net[0].weight
    found = rushlight.summary(net, (1, 4), verbose=0)
    assert found.total_params == 16
    assert found.total_param_bytes == 64
    assert found.total_flops == 64


def test_compiled_modules_show_their_layers() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    want = str(rushlight.summary(net, (2, 3), verbose=0))
    compiled = rushlight.compile(net)
    compiled(rushlight.ones(2, 3))
    assert str(rushlight.summary(compiled, (2, 3), verbose=0)) == want
    net[0].compile()
    forward = net[0].forward
    assert str(rushlight.summary(net, (2, 3), verbose=0)) == want
    assert net[0].forward is forward


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))
    found = rushlight.summary(
        net, (2, 3), verbose=2, col_names=("num_params", "kernel_size", "flops", "output_bytes")
    )
    text = capsys.readouterr().out
    assert text == f"{found}\n"
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if "─" in line}
    assert rows["│"] == ["└─weight", "└─8", "[2,", "4]"]
    assert "├─bias" not in rows
    hidden = rushlight.summary(
        nn.Sequential(net[0], nn.Linear(4, 3), net[0]), (2, 3), verbose=0, row_settings=["hide_recursive_layers"]
    )  # fmt: skip
    assert "(recursive)" not in str(hidden)
    assert len(hidden.summary_list) == 4


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"input": (2, 3), "input_size": (2, 3)}, RuntimeError, "Only one of"),
        ({"input_size": (2, 3), "input_data": 1}, RuntimeError, "Only one of"),
        ({"input_size": (2, 0)}, ValueError, "positive"),
        ({"input_size": "2x3"}, TypeError, "should be a size"),
        ({"input": (2, 3), "dtypes": []}, ValueError, "as many as the inputs"),
        ({"input": (2, 3), "mode": "test"}, ValueError, "'train' or 'eval'"),
        ({"input": (2, 3), "verbose": 3}, ValueError, "verbose"),
        ({"input": (2, 3), "col_width": 0}, ValueError, "col_width=0"),
        ({"input": (2, 3), "col_names": ["size"]}, ValueError, "col_names should be some of"),
        ({"input": (2, 3), "row_settings": ["names"]}, ValueError, "row_settings should be some of"),
        ({"col_names": ["mult_adds"]}, ValueError, "must pass an input"),
        ({"input": (2, 3), "depth": -1}, ValueError, "depth"),
    ],
)  # fmt: skip
def test_mistakes(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        rushlight.summary(nn.Linear(3, 4), **arguments)


def test_only_modules() -> None:
    with pytest.raises(TypeError, match="takes a module"):
        rushlight.summary(lambda x: x, (2, 3))
