"""Resident memory while batches change their size at every step: it must stop growing once every size was seen.

    python benchmarks/memory_growth.py [--program lenet] [--steps 10000] [--eager]

Asked: after step 1,000 it grows by less than 2% in 10,000 steps with random batch sizes from 1 to 64. Exits with 1
where it grows by more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import models
import numpy as np

import rushlight

SIZES, SETTLED = 64, 1000


def resident() -> float:
    """Megabytes of this process that lie in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="lenet")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument(
        "--settled", type=int, default=SETTLED, help="growth counts from this step on"
    )
    parser.add_argument("--eager", action="store_true")
    args = parser.parse_args()
    step, _, _, x, y, _ = models.build(rushlight, args.program, SIZES)
    run = step if args.eager else rushlight.compile(step)
    rng = np.random.default_rng(0)
    base = resident()
    print(f"before the first step {base:8.1f} MB")
    settled = 0.0
    report = max(1, args.steps // 10)
    for n in range(1, args.steps + 1):
        batch = int(rng.integers(1, SIZES + 1))
        run(x[:batch].clone(), None if y is None else y[:batch].clone())
        if n == args.settled:
            settled = resident()
            print(f"after step {n:6}     {settled:8.1f} MB", flush=True)
        elif n % report == 0:
            print(f"after step {n:6}     {resident():8.1f} MB", flush=True)
    grown = resident() / settled - 1
    if not args.eager:
        print(f"programs compiled: {run.stats()['compiles']}")
    print(f"grown since step {args.settled}: {grown:.2%}   (asked: under 2%)")
    return int(grown >= 0.02)


if __name__ == "__main__":
    sys.exit(main())
