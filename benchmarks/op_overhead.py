"""Microseconds of small ops, where the arithmetic costs nothing: what a call itself costs, beside torch's.

python benchmarks/op_overhead.py
"""

from __future__ import annotations

import importlib
import sys
import timeit
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

PROGRAMS = {
    "a + a": "a + a",
    "a * 2.0": "a * 2.0",
    "w * a (recorded)": "w * a",
    "a.view(2, 2)": "a.view(2, 2)",
    "a[1:]": "a[1:]",
    "a.sum()": "a.sum()",
    "m @ m": "m @ m",
    "relu(m)": "F.relu(m)",
    "a.mul_(1.0)": "a.mul_(1.0)",
    "(w * a).sum().backward()": "(w * a).sum().backward()",
}


def microseconds(library: Any, statement: str) -> float:
    """The best of seven runs: what is left is the cost without the machine's noise."""
    scope = {
        "a": library.ones(4), "m": library.ones(4, 4), "w": library.ones(4, requires_grad=True),
        "F": importlib.import_module(library.__name__ + ".nn.functional"),
    }  # fmt: skip
    timer = timeit.Timer(statement, globals=scope)
    count, _ = timer.autorange()
    return min(timer.repeat(7, max(1, count // 4))) / max(1, count // 4) * 1e6


def main() -> None:
    """Prints one line a statement."""
    import rushlight

    libraries = {"rushlight": rushlight}
    try:
        import torch

        torch.set_num_threads(1)
        libraries["torch"] = torch
    except ImportError:
        print("PyTorch is not installed: no figures beside rushlight's")
    for label, statement in PROGRAMS.items():
        figures = {name: microseconds(library, statement) for name, library in libraries.items()}
        print(f"{label:26s} " + "  ".join(f"{name} {us:7.2f} us" for name, us in figures.items()))


if __name__ == "__main__":
    main()
