"""What benchmark programs share: processes one after the other, the middle of some runs, tables, floors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))


def in_process(script: str, *arguments: Any, timeout: float = 900, **environment: str) -> Any:
    """Runs a program of this folder in a process of its own; gives the JSON of its last line."""
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, env={**os.environ, **environment}
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no output").splitlines()[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def median_ms(call: Callable[[], Any], budget: float = 1.5, runs: int = 5) -> float:
    """Milliseconds of one call: the median of some runs of as many calls as fit the budget (in seconds)."""
    for _ in range(3):
        call()
    started = time.perf_counter()
    call()
    count = max(1, int(budget / runs / max(time.perf_counter() - started, 1e-6)))
    found = []
    for _ in range(runs):
        started = time.perf_counter()
        for _ in range(count):
            call()
        found.append((time.perf_counter() - started) / count * 1e3)
    return sorted(found)[runs // 2]


def processors() -> int:
    """How many processors this process may use: what both libraries are given."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Table:
    """Rows printed as they come, in columns as wide as the headings say; names to the left, figures to the right."""

    def __init__(self, headings: Sequence[str], names: int = 1) -> None:
        self.widths = [max(len(h), 9) for h in headings]
        self._names = names
        self.row(*headings)

    def row(self, *cells: Any) -> None:
        """Prints one row."""
        shown = [
            str(cell).ljust(width) if i < self._names else str(cell).rjust(width)
            for i, (cell, width) in enumerate(zip(cells, self.widths, strict=False))
        ]
        print("  ".join(shown).rstrip(), flush=True)


def met(holds: bool) -> str:
    """The last cell of a row."""
    return "met" if holds else "NOT MET"
