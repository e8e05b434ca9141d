"""Compares every op's samples compiled with eager: results, and gradients taken inside and outside of the program.

python tools/compare_compiled.py               all ops: the totals, and what differs
python tools/compare_compiled.py conv2d relu   these ops, sample by sample where they differ
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> int:
    """Runs the comparison and prints its figures; 1 if anything differs that is not in the ledger of known gaps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="ops (all if none is given)")
    options = parser.parse_args()

    import rushlight
    from rushlight.ops.declare import OPS
    from tests.support import compiled
    from tests.support.ledger import gaps

    known = gaps().get("compiled_samples", {})
    every = compiled.names()
    chosen = [
        n for n in every if not options.names or n in options.names or OPS[n].name in options.names
    ]
    samples = equal = untraceable = listed = 0
    failed: list[str] = []
    for name in chosen:
        if not OPS[name].traceable:
            untraceable += 1
            continue
        problems = []
        for dtype in (rushlight.float32, rushlight.float64):
            for inside in (True, False) if OPS[name].differentiable else (False,):
                words, count = outcome(compiled, name, dtype, inside, bool(options.names))
                samples += count
                problems += [f"{dtype} {'inside' if inside else 'outside'}: {w}" for w in words]
        if not problems:
            equal += 1
        elif name in known:
            listed += 1
        else:
            failed.append(name)
            for line in problems[: 40 if options.names else 2]:
                print(f"{name}: {line}", flush=True)
    print(
        f"{len(chosen)} ops, {samples} samples: {equal} ops equal, {len(failed)} differ, {listed} in the ledger; "
        f"{untraceable} have results whose shapes depend on values and are refused"
    )
    return 1 if failed else 0


def outcome(
    compiled: object, name: str, dtype: object, inside: bool, singly: bool
) -> tuple[list[str], int]:
    """What differs, in words, and the number of samples."""
    calls = compiled.samples_of(name, dtype)  # type: ignore[attr-defined]
    groups: list[tuple[str, list[object]]] = [("", calls)]
    words: list[str] = []
    while groups:
        at, group = groups.pop(0)
        try:
            compiled.compare_calls(name, group, inside)  # type: ignore[attr-defined]
        except Exception as error:  # whatever it is, it is reported
            if singly and len(group) > 1:
                groups = [(f"sample {i}: ", [call]) for i, call in enumerate(group)]
                continue
            words.append(f"{at}{type(error).__name__}: {str(error)[:300]}")
    return words, len(calls)


if __name__ == "__main__":
    sys.exit(main())
