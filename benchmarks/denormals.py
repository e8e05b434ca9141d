"""A training step whose weights are subnormal numbers (1e-39), beside a normal one.

    python benchmarks/denormals.py [--programs lenet,mlp] [--torch]

Arithmetic on subnormal numbers takes processors many times longer. Compiled programs count them as zero, inside of
their own calls; asked: at most 1.2 times a normal step. With `set_flush_denormal(False)` they count as they are.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from typing import Any

import models

SCALE = 1e-39


def step_time(lib: Any, program: str, batch: int, scale: float, flush: bool, rounds: int) -> float:
    """Milliseconds of a step with all weights scaled anew before each."""
    step, net, _, x, y, _ = models.build(lib, program, batch)
    lib.set_flush_denormal(flush)
    if lib.__name__ == "rushlight":
        step = lib.compile(step)
    start = [p.detach().clone() * scale for p in net.parameters()]
    times = []
    for n in range(rounds + 3):
        with lib.no_grad():
            for p, value in zip(net.parameters(), start):
                p.copy_(value)
        began = time.perf_counter()
        step(x, y)
        if n >= 3:
            times.append(time.perf_counter() - began)
    lib.set_flush_denormal(lib.__name__ == "rushlight")
    return statistics.median(times) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default="lenet,mlp")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--torch", action="store_true", help="PyTorch beside, which does not flush by default"
    )
    args = parser.parse_args()
    rows = [("rushlight", True), ("rushlight", False), *([("torch", False)] * args.torch)]
    for program in args.programs.split(","):
        for name, flush in rows:
            lib = importlib.import_module(name)
            times = [
                step_time(lib, program, args.batch, scale, flush, args.rounds)
                for scale in (1.0, SCALE)
            ]
            print(
                f"{program:8} {name:10} {'flushed' if flush else 'kept':8} normal {times[0]:8.2f} ms, subnormal "
                f"{times[1]:8.2f} ms: {times[1] / times[0]:6.2f}x{'   (asked: at most 1.2)' * flush}",
                flush=True,
            )


if __name__ == "__main__":
    main()
