"""One process, one library: the median time of one program's whole training step. Prints JSON.

python benchmarks/time_step.py torch|rushlight eager|compile PROGRAM [BATCH]
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models

sys.path.insert(0, str(Path(__file__).parents[1]))

BUDGET_S = 1.5  # spent on timing, after the warm-up


def median_ms(call: Callable[[], Any]) -> float:
    """Milliseconds of one call: the median of five runs of as many calls as fit the budget."""
    for _ in range(3):
        call()
    started = time.perf_counter()
    call()
    count = max(1, int(BUDGET_S / 5 / max(time.perf_counter() - started, 1e-6)))
    runs = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(count):
            call()
        runs.append((time.perf_counter() - started) / count * 1e3)
    return sorted(runs)[2]


def main(name: str, mode: str, program: str, batch: str | None = None) -> None:
    """Builds the program and prints what its steps take and give."""
    started = time.perf_counter()
    library = importlib.import_module(name)
    imported = time.perf_counter() - started
    if name == "torch":
        library.set_num_threads(2)
    step, net, _, x, y, size = models.build(library, program, batch and int(batch))

    def call() -> Any:
        return step(x, y)

    if mode == "compile":
        if name == "torch":
            compiled = library.compile(net)

            def call():
                return step(x, y, compiled)
        else:
            whole = library.compile(step)

            def call():
                return whole(x, y)

    started = time.perf_counter()
    losses = [float(call().item()) for _ in range(3)]
    warm = time.perf_counter() - started
    print(
        json.dumps(
            {
                "library": name, "mode": mode, "program": program, "batch": size, "ms": median_ms(call),
                "import_s": imported, "warm_s": warm, "first_losses": losses,
            }
        )
    )  # fmt: skip


main(*sys.argv[1:])
