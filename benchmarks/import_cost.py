"""What `import rushlight` costs: seconds and resident memory of fresh processes, beside torch's and NumPy's.

    python benchmarks/import_cost.py [--rounds 10]

Asked: at most 0.1 s and 60 MB, and no llvmlite before the first compiled kernel.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = """
import json, sys, time
sys.path.insert(0, {root!r})
started = time.perf_counter()
import {name}
seconds = time.perf_counter() - started
with open("/proc/self/status") as status:
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(json.dumps([seconds, resident / 1024, "llvmlite" in sys.modules]))
"""


def once(name: str) -> tuple[float, float, bool]:
    """Seconds, MB resident, and whether llvmlite was loaded, in a fresh process."""
    program = PROGRAM.format(root=str(ROOT), name=name)
    # With bytecode, as an installed package has it, also where the environment forbids to write it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    seconds, megabytes, llvm = json.loads(done.stdout)
    return seconds, megabytes, llvm


def main() -> int:
    """Prints a line a library; 1 where rushlight is over its limits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    figures: dict[str, list[tuple[float, float, bool]]] = {
        "numpy": [],
        "rushlight": [],
        "torch": [],
    }
    for i in range(options.rounds + 1):
        for name, found in figures.items():
            try:
                measured = once(name)
                if i:  # the first writes the bytecode
                    found.append(measured)
            except subprocess.CalledProcessError:
                continue  # not installed here
    for name, found in figures.items():
        if found:
            seconds = statistics.median(f[0] for f in found)
            megabytes = statistics.median(f[1] for f in found)
            print(
                f"import {name:9s} {seconds * 1e3:7.1f} ms  {megabytes:6.1f} MB resident  llvmlite "
                f"loaded: {found[0][2]}"
            )
    ours = figures["rushlight"]
    seconds, megabytes = (statistics.median(f[i] for f in ours) for i in (0, 1))
    return int(seconds > 0.1 or megabytes > 60 or ours[0][2])


if __name__ == "__main__":
    sys.exit(main())
