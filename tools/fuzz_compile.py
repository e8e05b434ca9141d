"""Runs random small programs eager against compiled, and prints those that differ, shrunk, as Python that runs.

python tools/fuzz_compile.py --count 2000 --seed 0

Where results differ, the program runs again eagerly with every operation rounded up or down by chance
(tests/support/rounding.py): what moves as far by that alone is counted apart.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> int:
    """Prints counts at the end; 1 if a program differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--length", type=int, default=9, help="lines of a program, about")
    parser.add_argument("--keep-whole", action="store_true", help="do not shrink what fails")
    options = parser.parse_args()

    from tests.fuzz import programs

    started = time.perf_counter()
    failed = rounded = lines = 0
    for seed in programs.seeds(options.count, options.seed):
        program = programs.draw(seed, options.length)
        lines += len(program.lines)
        words = programs.check(program)
        if words == programs.ROUNDING:
            rounded += 1
            print(f"# seed {seed}: {words}", flush=True)
        elif words:
            failed += 1
            small = program if options.keep_whole else programs.shrink(program)
            print(f"# seed {seed}: {programs.check(small) or words}\n{small.source()}", flush=True)
    seconds = time.perf_counter() - started
    print(
        f"{options.count} programs of {lines / max(options.count, 1):.1f} lines: "
        f"{options.count - failed - rounded} equal, {rounded} apart as rounding is, {failed} differ ({seconds:.0f} s)"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
