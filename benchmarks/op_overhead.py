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
    "linear 2x4 (recorded)": "linear(h)",
    "linear 1x512 to 10": "wide(x)",
    "cross_entropy 1x10": "F.cross_entropy(scores, label)",
    "layer_norm 64x128": "norm(rows)",
    "batch_norm 64x8x8": "batch(image)",
    "conv2d 16x32x32, 3x3": "conv(picture)",
    "attention 4x64x32, causal": "F.scaled_dot_product_attention(q, q, q, is_causal=True)",
    "embedding 64 of 65x128": "embedding(ids)",
}


def microseconds(library: Any, statement: str) -> float:
    """The best of seven runs: what is left is the cost without the machine's noise."""
    nn = importlib.import_module(library.__name__ + ".nn")

    def wanted(*shape: int) -> Any:
        return library.ones(*shape, requires_grad=True)

    scope = {
        "a": library.ones(4), "m": library.ones(4, 4), "w": wanted(4), "F": nn.functional,
        "h": library.ones(2, 4), "linear": nn.Linear(4, 4), "x": wanted(1, 512), "wide": nn.Linear(512, 10),
        "scores": wanted(1, 10), "label": library.zeros(1, dtype=library.int64),
        "rows": wanted(1, 64, 128), "norm": nn.LayerNorm(128), "image": wanted(1, 64, 8, 8),
        "batch": nn.BatchNorm2d(64), "picture": wanted(1, 16, 32, 32), "conv": nn.Conv2d(16, 16, 3, padding=1),
        "q": wanted(1, 4, 64, 32), "ids": library.arange(64), "embedding": nn.Embedding(65, 128),
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
