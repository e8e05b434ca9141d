"""One process, one library: the median time of one program's whole training step. Prints JSON.

python benchmarks/time_step.py torch|rushlight eager|compile PROGRAM BATCH SECONDS [THREADS]     (BATCH 0: the table's)
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

import models
from common import median_ms, processors


def main(name: str, mode: str, program: str, batch: int, seconds: float, threads: int) -> None:
    """Builds the program and prints what its steps take and give."""
    started = time.perf_counter()
    library = importlib.import_module(name)
    imported = time.perf_counter() - started
    if threads or name == "torch":
        library.set_num_threads(threads or processors())
    step, net, _, x, y, size = models.build(library, program, batch or None)

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
                "library": name, "mode": mode, "program": program, "batch": size,
                "ms": median_ms(call, seconds), "import_s": imported, "warm_s": warm, "first_losses": losses,
                "version": library.__version__,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    library_name, mode_name, program_name, batch_size, budget, *rest = sys.argv[1:]
    main(
        library_name, mode_name, program_name, int(batch_size), float(budget), int(rest[0]) if rest else 0
    )  # fmt: skip
