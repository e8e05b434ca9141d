"""The same seed gives the same bits: whole processes with 1, 2 and 4 threads, and 2 once more, eager and compiled.

    python benchmarks/same_bits.py [--programs lenet,gpt] [--steps 5]

Each process takes some steps at the program's batch and prints a digest of losses, parameters, buffers and optimizer
state. Asked: one digest for a program and mode, whatever the number of threads.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from typing import Any

import models
from common import Table, in_process, met

THREADS = (1, 2, 4, 2)


def one(program: str, mode: str, threads: int, steps: int) -> None:
    """Inside a process: prints the digest."""
    import numpy as np

    import rushlight

    rushlight.set_num_threads(threads)
    step, net, optimizer, x, y, _ = models.build(rushlight, program)
    call: Any = rushlight.compile(step) if mode == "compiled" else step
    digest = hashlib.sha256()
    for _ in range(steps):
        digest.update(np.float64(call(x, y).item()).tobytes())
    tensors = [*net.parameters(), *net.buffers()]
    for state in optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, rushlight.Tensor)]
    for tensor in tensors:
        digest.update(np.ascontiguousarray(tensor.detach().numpy()).tobytes())
    print(json.dumps(digest.hexdigest()))


def main() -> int:
    """Prints the table; 1 where a digest differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", default=",".join(models.NAMES))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        program, mode, threads = options.one
        one(program, mode, int(threads), options.steps)
        return 0
    table = Table(
        ("program  ", "mode    ", *(f"{count} threads" for count in THREADS), ""), names=2
    )
    good = True
    for program in options.programs.split(","):
        for mode in ("compiled", "eager"):
            digests = [
                in_process("same_bits.py", "--one", program, mode, count, "--steps", options.steps)
                for count in THREADS
            ]
            same = len(set(digests)) == 1
            good &= same
            table.row(program, mode, *(digest[:8] for digest in digests), met(same))
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
