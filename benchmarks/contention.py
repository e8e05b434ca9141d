"""A training step on a busy machine: alone, and beside processes that multiply matrices in NumPy with all its cores.

    python benchmarks/contention.py [--seconds 2] [--libs rushlight,torch] [--programs lenet:64,lenet:1,mlp:128]

A fair share beside one and two such processes makes a step 2 and 3 times as long; asked are at most 3 and 4.5 times.
Threads that wait for each other at barriers do far worse: each waits for one that the system has put aside.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import time

import models

LIMITS = {1: 3.0, 2: 4.5}
BUSY = "import numpy as np; a = np.random.rand(1024, 1024)\nwhile True: a @ a"


def measure(lib: str, program: str, seconds: float, eager: bool) -> float:
    """Milliseconds a step, the mean over some seconds: what a user would wait, stalls and all."""
    name, _, batch = program.partition(":")
    module = importlib.import_module(lib)
    step, _, _, x, y, _ = models.build(module, name, int(batch or 0) or None)
    if lib == "rushlight" and not eager:
        step = module.compile(step)
    for _ in range(5):
        step(x, y)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        step(x, y)
        count += 1
    return (time.perf_counter() - started) / count * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument(
        "--rounds", type=int, default=3, help="measurements, of which the median counts"
    )
    parser.add_argument("--libs", default="rushlight,torch")
    parser.add_argument("--programs", default="lenet:64,lenet:1,mlp:128")
    parser.add_argument(
        "--one", nargs=3, metavar=("LIB", "PROGRAM", "EAGER"), help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    if args.one:
        lib, program, eager = args.one
        print(measure(lib, program, args.seconds, eager == "1"))
        return
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores; milliseconds a step, and how many times as long as alone")
    print(f"{'':30} {'alone':>9} {'beside 1':>17} {'beside 2':>17}")
    kinds = [(lib, eager) for lib in args.libs.split(",") for eager in (False, True)]
    for lib, eager in kinds:
        if lib == "torch" and not eager:
            continue  # its eager steps are the faster ones on this kind of machine
        for program in args.programs.split(","):
            line, alone = f"{lib + (' eager' if eager else ' compiled'):19} {program:10}", 0.0
            for busy in (0, *LIMITS):
                others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
                try:
                    time.sleep(0.5 * bool(busy))
                    found = statistics.median(
                        float(
                            subprocess.run(
                                [sys.executable, __file__, "--seconds", str(args.seconds), "--one", lib, program,
                                 str(int(eager))],
                                capture_output=True, text=True, check=True,
                            ).stdout
                        )
                        for _ in range(args.rounds)
                    )  # fmt: skip
                finally:
                    for other in others:
                        other.kill()
                        other.wait()
                alone = alone or found
                line += f" {found:9.2f}"
                if busy:
                    line += f" {found / alone:6.1f}x"
            print(line, flush=True)


if __name__ == "__main__":
    main()
