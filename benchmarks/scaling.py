"""How a compiled step's time grows: with the batch, and with threads.

    python benchmarks/scaling.py [--program lenet] [--seconds 1]

Asked: time per image level or falling from batch 64 to 4096, and two threads at least 1.8 times as fast as one at batch
256. Each figure comes from a process of its own; one and two threads are measured in turn.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from common import Table, in_process, met, processors

BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
#: What counts as level: the noise of a figure.
LEVEL = 1.05
THREADS_BATCH, THREADS_ASKED = 256, 1.8


def ms(
    program: str, batch: int, seconds: float, threads: int = 0, library: str = "rushlight"
) -> float:
    """Milliseconds of a step in a new process."""
    mode = "compile" if library == "rushlight" else "eager"
    found = in_process("time_step.py", library, mode, program, batch, seconds, threads)
    return float(found["ms"])


def batches(program: str, seconds: float) -> bool:
    """Prints time per image for each batch; whether it never rises from 64 on."""
    table = Table(("batch ", "step ms", "us per image", "torch us", "ratio", ""))
    good, lowest = True, float("inf")
    for batch in BATCHES:
        step = ms(program, batch, seconds)
        peer = ms(program, batch, seconds, library="torch")
        each = step / batch * 1e3
        level = batch <= 64 or each <= lowest * LEVEL
        good &= level
        if batch >= 64:
            lowest = min(lowest, each)
        table.row(
            batch, f"{step:.3f}", f"{each:.2f}", f"{peer / batch * 1e3:.2f}", f"{peer / step:.1f}x",
            met(level) if batch > 64 else "",
        )  # fmt: skip
    return good


def threads(program: str, seconds: float, rounds: int) -> bool:
    """Prints one thread beside all; whether two give what is asked."""
    most = processors()
    table = Table(("threads", "step ms", "speed", "asked", ""))
    found = {
        count: statistics.median(ms(program, THREADS_BATCH, seconds, count) for _ in range(rounds))
        for count in range(1, most + 1)
    }
    good = True
    for count, step in found.items():
        gain = found[1] / step
        wanted = THREADS_ASKED if count == 2 else 0
        good &= gain >= wanted
        table.row(
            count, f"{step:.3f}", f"{gain:.2f}x", f"{wanted}x" if wanted else "", met(gain >= wanted) if wanted else ""
        )  # fmt: skip
    return good


def main() -> int:
    """Prints both tables; 1 where a figure is not what is asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--program", default="lenet")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.program}, compiled, beside PyTorch's eager step")
    good = batches(options.program, options.seconds)
    print(f"\n{options.program}, compiled, batch {THREADS_BATCH}")
    good &= threads(options.program, options.seconds, options.rounds)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
