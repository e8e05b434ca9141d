"""Runs kernels on odd shapes with every array against closed pages: an access outside of an array ends the process.

    python tools/guard_kernels.py [--families products,rows] [--sizes 1,3,7]

Prints, for each family, how many programs and kernels ran, and each fault with the kernel's name. What programs give is
compared with what eager calls give. Exits with 1 if anything was wrong. RUSHLIGHT_TARGET=avx2 or sse2 tries the code of
other processors.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SIZES = (1, 3, 7, 17, 33, 65)
FAMILIES = (
    "elementwise", "reductions", "products", "convolutions", "windows", "gathers", "rows", "copies", "recurrent",
    "steps",
)  # fmt: skip


class Run:
    """One process's way through a family; a journal tells the parent what was going on when it died."""

    def __init__(self, journal: TextIO) -> None:
        self.journal = journal
        self.number, self.label = 0, ""
        self.wrong: list[str] = []

    def note(self, kernel: str) -> None:
        """Says which kernel runs now."""
        self.journal.write(json.dumps([self.number, self.label, kernel]) + "\n")
        self.journal.flush()

    def family(self, name: str, sizes: list[int], start: int) -> None:
        """All cases behind number `start`."""
        from tests.support.guard_cases import FAMILIES as cases

        for size in sizes:
            for case in cases[name](size):
                for high in (True, False):
                    self.number += 1
                    if self.number > start:
                        self.label = f"{name} {size}: {case.name}"
                        self.note("")
                        self.one(case, high)

    def one(self, case, high: bool) -> None:
        """A case under guard, compared with itself run eagerly."""
        import numpy as np

        import rushlight
        from tests.support.guarded import guarded

        compiled = rushlight.compile(case.compiled)
        eager = case.eager or case.compiled
        for _ in range(case.calls):
            theirs = eager(*case.arguments)
            try:
                with guarded(self.note, high):
                    ours = compiled(*case.arguments)
            except Exception as error:
                self.wrong.append(f"{self.label}: {type(error).__name__}: {str(error)[:200]}")
                return
            for i, (a, b) in enumerate(zip(_several(ours), _several(theirs), strict=True)):
                bound = 3e-2 if a.dtype.itemsize == 2 else 3e-4
                one, two = (t.detach().double().numpy() for t in (a, b))
                if not np.allclose(one, two, rtol=bound, atol=bound, equal_nan=True):
                    worst = np.nanmax(np.abs(one - two))
                    self.wrong.append(f"{self.label}: output {i} differs by {worst:.3g}")


def _several(value):
    return value if isinstance(value, tuple) else (value,)


def guard(family: str, sizes: list[int]) -> tuple[int, set[str], int, list[str]]:
    """Programs, kernels, calls and faults of a family, run in processes of its own."""
    start, kernels, calls = 0, set(), 0
    wrong: list[str] = []
    while True:
        with tempfile.NamedTemporaryFile("r", suffix=".journal") as journal:
            command = [sys.executable, __file__, "--child", family, journal.name, str(start)]
            done = subprocess.run(
                [*command, "--sizes", ",".join(map(str, sizes))], capture_output=True, text=True, check=False
            )  # fmt: skip
            entries = [json.loads(line) for line in journal]
        ran = [kernel for _, _, kernel in entries if kernel]
        kernels |= set(ran)
        calls += len(ran)
        if done.returncode > 0 or not ran:
            raise RuntimeError(f"{family}: no kernel ran under guard\n{done.stdout}{done.stderr}")
        if done.returncode == 0:
            return entries[-1][0], kernels, calls, wrong + json.loads(done.stdout.splitlines()[-1])
        start, label, kernel = entries[-1]
        wrong.append(f"{label}: {signal.Signals(-done.returncode).name} in {kernel or 'no kernel'}")


def main() -> int:
    """Prints a line for each family, and the faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument(
        "--child", nargs=3, metavar=("FAMILY", "JOURNAL", "START"), help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    sizes = [int(n) for n in args.sizes.split(",")]
    if args.child:
        warnings.simplefilter("ignore")
        family, journal, start = args.child
        with Path(journal).open("a") as file:
            run = Run(file)
            run.family(family, sizes, int(start))
        print(json.dumps(run.wrong))
        return 0
    faults = 0
    every: set[str] = set()
    print(f"sizes {sizes}; each program twice: arrays end at a closed page, then begin at one")
    for family in args.families.split(","):
        programs, kernels, calls, wrong = guard(family, sizes)
        print(
            f"{family:13} {programs:5} programs {len(kernels):5} kernels {calls:6} calls {len(wrong):4} faults",
            flush=True,
        )
        print(*(f"    {line}" for line in wrong), sep="\n", end="\n" if wrong else "")
        faults += len(wrong)
        every |= kernels
    print(f"{len(every)} kernels, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
