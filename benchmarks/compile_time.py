"""How long the first compiled step takes: without a cache, then in a second process that finds object code on disk.

    python benchmarks/compile_time.py [--programs lenet,gpt] [--rounds 3]

Timed is the call that traces, compiles and runs. A step with an optimizer is traced in its second call, as the first
one makes the optimizer's state. The last column is the whole process: import, both calls, everything.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from typing import Any

import models
from common import Table, in_process, met

#: Seconds asked: (cold, with a cache).
ASKED = {"lenet": (1.0, 0.15), "gpt": (5.0, None)}


def one(program: str) -> None:
    """Inside a process: prints what the first steps took, and how often LLVM was asked."""
    begun = time.perf_counter()
    import rushlight

    imported = time.perf_counter() - begun
    step, _, _, x, y, _ = models.build(rushlight, program)
    compiled = rushlight.compile(step)
    started = time.perf_counter()
    compiled(x, y)
    first = time.perf_counter() - started
    started = time.perf_counter()
    compiled(x, y)
    second = time.perf_counter() - started
    started = time.perf_counter()
    compiled(x, y)
    third = time.perf_counter() - started
    from rushlight.compiler.objects import counts

    print(
        json.dumps(
            {
                "import": imported, "first": first, "compile": second - third, "whole": time.perf_counter() - begun,
                "compiled": counts["compiled"], "loaded": counts["loaded"],
            }
        )
    )  # fmt: skip


def measured(program: str, rounds: int) -> tuple[Any, Any]:
    """The middle of some cold processes, and of some that find a cache."""
    cold = [
        in_process("compile_time.py", "--one", program, RUSHLIGHT_CACHE="0") for _ in range(rounds)
    ]
    with tempfile.TemporaryDirectory() as folder:
        in_process("compile_time.py", "--one", program, RUSHLIGHT_CACHE_DIR=folder)
        warm = [
            in_process("compile_time.py", "--one", program, RUSHLIGHT_CACHE_DIR=folder)
            for _ in range(rounds)
        ]
    return tuple(
        {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for runs in (cold, warm)
    )  # type: ignore[return-value]


def main() -> int:
    """Prints the table; 1 where a figure is over what is asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", default=",".join(models.NAMES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", metavar="PROGRAM", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return 0
    table = Table(
        ("program  ", "cold s", "asked", "cached s", "asked", "compiled by LLVM", "from disk", "process s", "")
    )  # fmt: skip
    failed = False
    for program in options.programs.split(","):
        cold, warm = measured(program, options.rounds)
        most = ASKED.get(program, (None, None))
        good = all(
            limit is None or run["compile"] <= limit
            for run, limit in zip((cold, warm), most, strict=True)
        )
        good = good and not warm["compiled"]
        failed |= not good
        table.row(
            program, f"{cold['compile']:.2f}", most[0] or "", f"{warm['compile']:.3f}", most[1] or "",
            f"{cold['compiled']:.0f}, {warm['compiled']:.0f}", f"{warm['loaded']:.0f}", f"{warm['whole']:.2f}",
            met(good),
        )  # fmt: skip
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
