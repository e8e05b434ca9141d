"""What the first eager call of a signature waits for: milliseconds, beside the calls that follow.

    python benchmarks/first_call.py

Cold: in a process that finds no machine code on the disk. From disk: in the next one. Each is the first call of its
kind after a warm-up by calls of other ops, so that what a process loads once is not counted.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from typing import Any

from common import Table, in_process

OPS = ("relu", "linear", "layer_norm", "cross_entropy", "conv2d", "attention", "batch_norm")


def one(name: str) -> None:
    """Inside a process: prints milliseconds of the first call and of a later one."""
    import rushlight as rl

    nn, functional = rl.nn, rl.nn.functional
    picture, rows, heads = rl.randn(8, 16, 32, 32), rl.randn(8, 64, 128), rl.randn(2, 4, 64, 32)
    scores, labels = rl.randn(64, 10), rl.zeros(64, dtype=rl.int64)
    linear, norm = nn.Linear(128, 512), nn.LayerNorm(128)
    convolution, batch_norm = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
    calls: dict[str, Any] = {
        "relu": lambda: rl.relu(picture),
        "linear": lambda: linear(rows),
        "layer_norm": lambda: norm(rows),
        "cross_entropy": lambda: functional.cross_entropy(scores, labels),
        "conv2d": lambda: convolution(picture),
        "attention": lambda: functional.scaled_dot_product_attention(heads, heads, heads),
        "batch_norm": lambda: batch_norm(picture),
    }
    for _ in range(2):
        rl.tanh(rl.ones(100_000))
    times = []
    for _ in range(6):
        started = time.perf_counter()
        calls[name]()
        times.append((time.perf_counter() - started) * 1e3)
    print(json.dumps({"first": times[0], "later": min(times[1:])}))


def main() -> None:
    """Prints one line an op."""
    table = Table(("op           ", "cold ms", "from disk", "later ms"))
    for name in OPS:
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = (
                in_process("first_call.py", name, RUSHLIGHT_CACHE_DIR=folder) for _ in range(2)
            )
        table.row(name, f"{cold['first']:.1f}", f"{warm['first']:.1f}", f"{warm['later']:.3f}")


if __name__ == "__main__":
    one(sys.argv[1]) if sys.argv[1:] else main()
