"""Memory of training steps beside PyTorch: what a process holds at its peak, beyond what it held before its first step.

    python benchmarks/memory.py [--programs lenet,gpt] [--steps 20]

Asked: a compiled step needs no more than PyTorch's. Counted is the resident memory of the whole process (the network,
its batch and the library are in both figures and not in the difference); machine code comes from the cache on disk,
which a first process fills.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import sys
from typing import Any

import models
from common import Table, in_process, met, processors


def peak_mb() -> float:
    """The largest resident memory of this process so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


def one(name: str, mode: str, program: str, steps: int) -> None:
    """Inside a process: prints the growth."""
    library = importlib.import_module(name)
    if name == "torch":
        library.set_num_threads(processors())
    else:  # what compiling and running load anyway, before the count begins
        library.compile(lambda x: x * 2)(library.ones(2))
    step, _, _, x, y, _ = models.build(library, program)
    call: Any = library.compile(step) if mode == "compile" else step
    before = peak_mb()
    for _ in range(steps):
        call(x, y)
    print(json.dumps({"before": before, "grown": peak_mb() - before}))


def main() -> int:
    """Prints the table; 1 where a compiled step needs more than PyTorch's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", default=",".join(models.NAMES))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(*options.one, options.steps)
        return 0
    table = Table(
        ("program  ", "torch MB", "compiled MB", "eager MB", "whole torch", "whole ours", "")
    )
    good = True
    for program in options.programs.split(","):
        found = {}
        for name, mode in (("torch", "eager"), ("rushlight", "compile"), ("rushlight", "eager")):
            for _ in range(1 + (name == "rushlight")):  # the second finds the machine code on disk
                found[name, mode] = in_process(
                    "memory.py", "--one", name, mode, program, "--steps", options.steps
                )
        torch, compiled, eager = found.values()
        holds = compiled["grown"] <= torch["grown"]
        good &= holds
        table.row(
            program, *(f"{each['grown']:.1f}" for each in (torch, compiled, eager)),
            *(f"{each['before'] + each['grown']:.0f}" for each in (torch, compiled)), met(holds),
        )  # fmt: skip
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
