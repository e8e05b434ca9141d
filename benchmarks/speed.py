"""Seven training programs, rushlight beside PyTorch: whole steps, processes in turn, the ratio pair by pair.

    python benchmarks/speed.py [--mode eager|compile] [--programs lenet,gpt] [--batch 1] [--rounds 3] [--need 1.0]
    python benchmarks/speed.py --table            eager and compiled, the table's batches and batch 1

A ratio above 1 means that rushlight is faster. The floor is the time that the step's arithmetic takes at the peak that
a loop of multiply-adds reaches on this machine, measured here first (rushlight/compiler/peak.py); the share of peak is
the floor over the time. Exits 1 where the geometric mean is under --need.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
from typing import Any, NamedTuple

import floors
import models
from common import Table, in_process, met


class Asked(NamedTuple):
    """What is asked of a program: a ratio to PyTorch, and a share of the arithmetic peak."""

    ratio: float
    share: float = 0.0


#: By mode and whether the batch is 1.
ASKED: dict[tuple[str, bool], dict[str, Asked]] = {
    ("compile", False): {
        "lenet": Asked(8, 0.7), "mlp": Asked(1.5), "convnet": Asked(2.2), "resnet20": Asked(1.6),
        "charlstm": Asked(1.6), "gpt": Asked(1.8), "vae": Asked(2),
    },
    ("compile", True): {"lenet": Asked(20)},
    ("eager", False): dict.fromkeys(models.NAMES, Asked(1)),
    ("eager", True): dict.fromkeys(models.NAMES, Asked(1)),
}  # fmt: skip
#: The geometric mean that is asked of compiled steps at batch 1.
MEAN_AT_ONE = 8.0
HEADINGS = (
    "program  ", "batch", "torch ms", "ours ms", "ratio", "asked", "floor ms", "of peak", "losses apart", "",
)  # fmt: skip


def pairs(
    program: str, options: argparse.Namespace, mode: str, batch: int
) -> list[tuple[Any, Any]]:
    """Both libraries' figures, measured in turn."""
    return [
        (
            in_process("time_step.py", "torch", options.peer_mode, program, batch, options.seconds),
            in_process("time_step.py", "rushlight", mode, program, batch, options.seconds),
        )
        for _ in range(options.rounds)
    ]


def apart(torch: Any, ours: Any) -> float:
    """The largest difference among the losses of the first steps, relative where they are large."""
    both = zip(torch["first_losses"], ours["first_losses"], strict=True)
    return max(abs(u - v) / max(1.0, abs(u)) for u, v in both)


def judged(asked: Asked, ratio: float, share: float, floor: float, torch_ms: float) -> str:
    """Whether it is met. A ratio that would lie below the floor cannot be asked; then the share of peak is."""
    possible = torch_ms / asked.ratio >= floor
    return met((ratio >= asked.ratio or not possible) and share >= asked.share)


def compare(
    mode: str, batch: int, options: argparse.Namespace, peak: float
) -> tuple[float, dict[str, float]]:
    """Prints one table; gives the geometric mean of its ratios, and our milliseconds."""
    kind = "compiled" if mode == "compile" else "eager"
    print(f"\n{kind} steps, {f'batch {batch}' if batch else 'the batches of the issue'}")
    table = Table(HEADINGS)
    ratios, ours = [], {}
    for program in options.programs.split(","):
        try:
            found = pairs(program, options, mode, batch)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{program:9s} failed: {str(error)[:150]}", flush=True)
            ratios.append(1e-3)
            continue
        ratio = statistics.median(t["ms"] / r["ms"] for t, r in found)
        torch_ms, ours_ms = (statistics.median(pair[i]["ms"] for pair in found) for i in (0, 1))
        size = found[0][1]["batch"]
        floor = floors.flops(program, size) / peak * 1e3
        asked = ASKED[mode, batch == 1].get(program, Asked(0))
        wanted = "" if not asked.ratio else f"{asked.ratio:g}x"
        if asked.share:
            wanted += f" {asked.share:.0%}"
        ratios.append(ratio)
        ours[program] = ours_ms
        table.row(
            program, size, f"{torch_ms:.3f}", f"{ours_ms:.3f}", f"{ratio:.2f}x", wanted, f"{floor:.3f}",
            f"{floor / ours_ms:.0%}", f"{max(apart(t, r) for t, r in found):.1e}",
            judged(asked, ratio, floor / ours_ms, floor, torch_ms) if asked.ratio else "",
        )  # fmt: skip
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    line = f"geometric mean {mean:.2f}x over {len(ratios)} programs"
    if mode == "compile" and batch == 1:
        line += f" (asked: {MEAN_AT_ONE:g}x) {met(mean >= MEAN_AT_ONE)}"
    print(line, flush=True)
    return mean, ours


def compare_modes(compiled: dict[str, float], eager: dict[str, float], batches: str) -> None:
    """Prints how many times as fast as eager steps compiled ones are: never less than one is asked."""
    ratios = {name: eager[name] / ms for name, ms in compiled.items() if name in eager}
    shown = ", ".join(f"{name} {ratio:.1f}x" for name, ratio in ratios.items())
    print(f"{batches}: {shown} {met(min(ratios.values()) >= 1)}")


def main() -> int:
    """Measures the machine, then prints the tables that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", default="eager", choices=("eager", "compile"))
    parser.add_argument("--peer-mode", default="eager", choices=("eager", "compile"))
    parser.add_argument("--programs", default=",".join(models.NAMES))
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of timing in each process")
    parser.add_argument("--need", type=float, default=0.0)
    parser.add_argument("--table", action="store_true", help="both modes, both batches")
    options = parser.parse_args()

    from rushlight.compiler.peak import machine

    here = machine()
    version = in_process("time_step.py", "torch", "eager", "lenet", 1, 0.01)["version"]
    print(
        f"measured here: {here}. Beside PyTorch {version} ({options.peer_mode}); "
        f"medians of {options.rounds} pairs of processes in turn"
    )
    wanted = [(options.mode, options.batch)]
    if options.table:
        wanted = [("compile", 0), ("compile", 1), ("eager", 0), ("eager", 1)]
    found = [compare(mode, batch, options, here.flops) for mode, batch in wanted]
    if options.table:
        ours = [times for _, times in found]
        print("\ncompiled beside eager steps of rushlight (asked: never slower)")
        compare_modes(ours[0], ours[2], "the batches of the issue")
        compare_modes(ours[1], ours[3], "batch 1")
    return int(min(mean for mean, _ in found) < options.need)


if __name__ == "__main__":
    sys.exit(main())
