"""Seven training programs, rushlight beside PyTorch: whole steps, processes in turn, the ratio pair by pair.

    python benchmarks/speed.py [--mode eager|compile] [--programs lenet,gpt] [--batch 1] [--rounds 3] [--need 1.0]

A ratio above 1 means that rushlight is faster. Exits 1 where the geometric mean is under --need.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import models


def once(name: str, mode: str, program: str, batch: str | None) -> Any:
    """One process: the JSON that time_step.py prints."""
    script = Path(__file__).with_name("time_step.py")
    command = [sys.executable, str(script), name, mode, program, *([batch] if batch else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no output").splitlines()[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> int:
    """Prints one line for each program, then the geometric mean."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", default="eager", choices=("eager", "compile"))
    parser.add_argument("--peer-mode", default="eager", choices=("eager", "compile"))
    parser.add_argument("--programs", default=",".join(models.NAMES))
    parser.add_argument("--batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--need", type=float, default=0.0)
    options = parser.parse_args()
    ratios = []
    for program in options.programs.split(","):
        try:
            pairs = [
                (
                    once("torch", options.peer_mode, program, options.batch),
                    once("rushlight", options.mode, program, options.batch),
                )
                for _ in range(options.rounds)
            ]
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{program:9s} failed: {str(error)[:150]}", flush=True)
            ratios.append(1e-3)
            continue
        ratio = statistics.median(t["ms"] / r["ms"] for t, r in pairs)
        ratios.append(ratio)
        t, r = pairs[-1]
        apart = max(
            abs(u - v) / max(1.0, abs(u))
            for u, v in zip(t["first_losses"], r["first_losses"], strict=True)
        )
        print(
            f"{program:9s} B={r['batch']:<4d} torch {t['ms']:8.2f} ms  rushlight {r['ms']:8.2f} ms "
            f" ratio {ratio:5.2f}  "
            f"first losses differ by {apart:.1e}",
            flush=True,
        )
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(
        f"{options.mode} vs torch {options.peer_mode}: geometric mean {mean:.2f}x over {len(ratios)} programs"
    )
    return int(mean < options.need)


if __name__ == "__main__":
    sys.exit(main())
