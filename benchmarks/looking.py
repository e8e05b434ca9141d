"""The summary and the profile of LeNet, ResNet-20 and the GPT beside torchinfo's and torch.profiler's figures.

python benchmarks/looking.py             a table of figures, and whether each is equal; exits 1 where one differs
python benchmarks/looking.py --show      also the summaries, and the profile of a training step, eager and compiled
python benchmarks/looking.py --cost      what an op costs while a profiler looks, in microseconds

Attention stands apart: torch's counters leave it out on a CPU; its formulas for it are in torch.utils.flop_counter.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import timeit
from collections.abc import Callable, Iterator
from typing import Any

import models
from common import Table

import rushlight

PROGRAMS = ("lenet", "resnet20", "gpt")
#: Names under which either library has its products, and attention.
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::linear", "AddmmBackward0")
ATTENTION = "aten._scaled_dot_product_flash_attention_for_cpu"
#: What both libraries call the same in a training step.
CALLS = (
    "aten::conv2d", "aten::linear", "aten::relu", "aten::gelu", "aten::layer_norm", "aten::batch_norm",
    "aten::embedding", "aten::cross_entropy_loss", "aten::scaled_dot_product_attention", "ConvolutionBackward0",
    "ReluBackward0", "GeluBackward0", "AddBackward0", "torch::autograd::AccumulateGrad",
)  # fmt: skip

Figure = tuple[str, Any, Any]


def summaries(torch: Any, torchinfo: Any, program: str, batch: int) -> Iterator[Figure]:
    """Totals, and every figure of every layer."""
    _, net, _, x, _, _ = models.build(torch, program, batch)
    theirs = torchinfo.summary(net, input_data=x, verbose=0)
    _, net, _, x, _, _ = models.build(rushlight, program, batch)
    ours = rushlight.summary(net, x, verbose=0)
    for total in (
        "total_params", "trainable_params", "total_mult_adds", "total_output_bytes", "total_param_bytes",
    ):  # fmt: skip
        yield total.replace("_", " "), getattr(ours, total), getattr(theirs, total)
    fields = ("class_name", "depth", "input_size", "output_size", "num_params", "macs")
    layers = [
        sum(hash(str([getattr(layer, f) for f in fields])) for layer in found.summary_list)
        for found in (ours, theirs)
    ]
    count = len(ours.summary_list), len(theirs.summary_list)
    yield "layers, all their figures", count[0], count[1] if layers[0] == layers[1] else "others"


def counted(lib: Any, program: str, batch: int, training: bool) -> dict[str, int]:
    """Operations by op, of a forward or of a training step."""
    counters = importlib.import_module(f"{lib.__name__}.utils.flop_counter")
    step, net, _, x, y, _ = models.build(lib, program, batch)
    with counters.FlopCounterMode(display=False) as counter:
        step(x, y) if training else net(x)
    return {str(op): n for op, n in counter.get_flop_counts()["Global"].items()}


def operations(torch: Any, program: str, batch: int) -> Iterator[Figure]:
    """Of a forward and of a training step, by torch's counter and its formulas for attention."""
    formulas = importlib.import_module("torch.utils.flop_counter")
    for training, what in ((False, "forward"), (True, "training step")):
        ours, theirs = (counted(lib, program, batch, training) for lib in (rushlight, torch))
        attention = sum(n for op, n in ours.items() if op.startswith(ATTENTION))
        yield f"flops, {what}", sum(ours.values()) - attention, sum(theirs.values())
        if attention:
            shape = (batch, 4, 64, 32)  # of queries, keys and values, in each of four blocks
            want = 4 * formulas.sdpa_flop_count(shape, shape, shape)
            if training:
                want += 4 * formulas.sdpa_backward_flop_count(shape, shape, shape, shape)
            yield f"flops, {what}, attention", attention, want


def profiled(lib: Any, program: str, batch: int) -> dict[str, Any]:
    """The averages of a training step by name; its second, as the first makes an optimizer's state."""
    profiler = importlib.import_module(f"{lib.__name__}.profiler")
    step, _, _, x, y, _ = models.build(lib, program, batch)
    step(x, y)
    with profiler.profile(record_shapes=True, with_flops=True) as found:
        step(x, y)
    return {event.key: event for event in found.key_averages()}


def profiles(torch: Any, program: str, batch: int) -> Iterator[Figure]:
    """Operations by torch.profiler's count, and how often things are called."""
    ours, theirs = (profiled(lib, program, batch) for lib in (rushlight, torch))

    def total(events: dict[str, Any], names: tuple[str, ...]) -> int:
        return sum(events[name].flops for name in names if name in events)

    for what, names in (
        ("convolutions", ("aten::conv2d",)), ("products", PRODUCTS), ("additions", ("aten::add",)),
    ):  # fmt: skip
        figures = total(ours, names), total(theirs, names)
        if any(figures):
            yield f"profile: flops, {what}", *figures
    for name in CALLS:
        if name in ours or name in theirs:
            counts = [events[name].count if name in events else 0 for events in (ours, theirs)]
            yield f"profile: calls of {name}", *counts


def show(program: str, batch: int) -> None:
    """The summary, and the profile of a step, as they print."""
    step, net, _, x, y, _ = models.build(rushlight, program, batch)
    rushlight.summary(
        net, x, col_names=("input_size", "output_size", "num_params", "mult_adds", "flops"), col_width=20,
        verbose=1,
    )  # fmt: skip
    for title, function in (("eager", step), ("compiled", rushlight.compile(step))):
        for _ in range(3):
            function(x, y)
        with rushlight.profiler.profile(with_flops=True) as found:
            function(x, y)
        header = f"a training step of {program}, batch {batch}, {title}"
        print(found.key_averages().table("self_cpu_time_total", row_limit=15, header=header))


def microseconds(call: Callable[[], Any]) -> float:
    """The best of five runs."""
    timer = timeit.Timer(call)
    count = max(1, timer.autorange()[0] // 8)
    return min(timer.repeat(5, count)) / count * 1e6


def cost() -> None:
    """What the calls of three ops cost: nobody looks, a profiler looks, it notes all that it can."""
    a, w = rushlight.ones(4), rushlight.ones(4, requires_grad=True)
    calls = {
        "a + a": lambda: a + a, "w * a, recorded": lambda: w * a, "a.view(2, 2)": lambda: a.view(2, 2),
        "(w * a).sum().backward()": lambda: (w * a).sum().backward(),
    }  # fmt: skip
    everything = {
        "record_shapes": True, "profile_memory": True, "with_stack": True, "with_flops": True, "with_modules": True,
    }  # fmt: skip
    table = Table(["microseconds of a call   ", "off", "on", "on, everything"])
    for name, call in calls.items():
        figures = [microseconds(call)]
        for options in ({}, everything):
            with rushlight.profiler.profile(**options):
                figures.append(microseconds(call))
        table.row(name, *(f"{figure:.2f}" for figure in figures))


def main() -> int:
    """Prints what was asked for; 1 where a figure differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="also print summaries and profiles")
    parser.add_argument("--cost", action="store_true", help="print what a profiler costs")
    options = parser.parse_args()
    if options.cost:
        cost()
        return 0
    if options.show:
        for program in PROGRAMS:
            show(program, options.batch)
    import torch
    import torchinfo

    torch.set_num_threads(1)
    table = Table(
        ["program ", "figure" + " " * 40, "rushlight   ", "PyTorch     ", "        "], names=2
    )
    differing = 0
    for program in PROGRAMS:
        for name, ours, theirs in (
            *summaries(torch, torchinfo, program, options.batch),
            *operations(torch, program, options.batch),
            *profiles(torch, program, options.batch),
        ):
            differing += ours != theirs
            word = "equal" if ours == theirs else "DIFFERS"
            shown = [f"{n:,}" if isinstance(n, int) else n for n in (ours, theirs)]
            table.row(program, name, *shown, word)
    print(f"{differing} of the figures differ" if differing else "all figures are equal")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
