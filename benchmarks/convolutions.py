"""Every kind of convolution beside PyTorch: nanoseconds for a thousand operations, forward and with both gradients.

python benchmarks/convolutions.py            the table; libraries run in processes of their own, one after the other
python benchmarks/convolutions.py rushlight  one library, as JSON
"""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

#: name: (batch, channels, size, result channels, kernel, options)
VARIANTS: dict[str, tuple[int, int, tuple[int, ...], int, tuple[int, ...], dict[str, Any]]] = {
    "3x3": (16, 64, (32, 32), 64, (3, 3), {"padding": 1}),
    "3x3, one image": (1, 64, (32, 32), 64, (3, 3), {"padding": 1}),
    "1x1": (16, 64, (32, 32), 64, (1, 1), {}),
    "5x5": (16, 32, (32, 32), 32, (5, 5), {"padding": 2}),
    "7x7, stride 2, 3 channels": (16, 3, (64, 64), 64, (7, 7), {"padding": 3, "stride": 2}),
    "3x3, 3 channels": (16, 3, (32, 32), 64, (3, 3), {"padding": 1}),
    "3x3, 1 to 6 channels": (64, 1, (32, 32), 6, (3, 3), {}),
    "1x9": (16, 64, (32, 32), 64, (1, 9), {"padding": (0, 4)}),
    "stride 2": (16, 64, (32, 32), 64, (3, 3), {"padding": 1, "stride": 2}),
    "dilation 2": (16, 64, (32, 32), 64, (3, 3), {"padding": 2, "dilation": 2}),
    "4 groups": (16, 64, (32, 32), 64, (3, 3), {"padding": 1, "groups": 4}),
    "depthwise": (16, 64, (32, 32), 64, (3, 3), {"padding": 1, "groups": 64}),
    "1-D": (16, 64, (1024,), 64, (3,), {"padding": 1}),
    "1-D, one signal": (1, 64, (4096,), 64, (9,), {"padding": 4}),
    "3-D": (4, 32, (12, 16, 16), 32, (3, 3, 3), {"padding": 1}),
    "transposed": (16, 64, (16, 16), 64, (4, 4), {"padding": 1, "stride": 2, "transposed": True}),
}
BUDGET_S = 0.4


def best_seconds(call: Callable[[], Any]) -> float:
    """The shortest of the calls that fit the budget."""
    for _ in range(3):
        call()
    best, end = float("inf"), time.perf_counter() + BUDGET_S
    while time.perf_counter() < end:
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best


def measure(library: Any, name: str) -> tuple[float, float]:
    """Nanoseconds for a thousand operations: forward; forward and backward."""
    batch, channels, size, outer, kernel, options = VARIANTS[name]
    options = dict(options)
    functional = importlib.import_module(f"{library.__name__}.nn.functional")
    transposed = options.pop("transposed", False)
    convolve = getattr(functional, f"conv{'_transpose' if transposed else ''}{len(size)}d")
    random = np.random.default_rng(0)
    groups = options.get("groups", 1)
    shape = (channels, outer, *kernel) if transposed else (outer, channels // groups, *kernel)
    x = library.from_numpy(random.standard_normal((batch, channels, *size)).astype(np.float32))
    weight = library.from_numpy(random.standard_normal(shape).astype(np.float32))
    grads = [library.from_numpy(v.numpy().copy()).requires_grad_() for v in (x, weight)]

    def forward(x: Any, weight: Any) -> Any:
        return functional.relu(convolve(functional.relu(x), weight, **options))

    def step(x: Any, weight: Any) -> Any:
        x.grad = weight.grad = None
        y = forward(x, weight)
        y.sum().backward()
        return y

    result = forward(x, weight)
    pixels = math.prod(size) if transposed else math.prod(result.shape[2:])
    flops = 2 * batch * channels * outer // groups * math.prod(kernel) * pixels
    if library.__name__ == "rushlight":
        forward, step = library.compile(forward), library.compile(step)
    once = best_seconds(lambda: forward(x, weight))
    both = best_seconds(lambda: step(*grads))
    return once / flops * 1e12, both / (3 * flops) * 1e12


def main(*arguments: str) -> None:
    """Prints the table, or what one library takes."""
    if arguments:
        library = importlib.import_module(arguments[0])
        if arguments[0] == "torch":
            library.set_num_threads(2)
        chosen = arguments[1:] or VARIANTS
        print(json.dumps({name: measure(library, name) for name in chosen}))
        return
    results = {}
    for library in ("torch", "rushlight"):
        done = subprocess.run(
            [sys.executable, __file__, library], capture_output=True, text=True, check=True
        )
        results[library] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{'ns for 1000 operations':28} {'torch':>8} {'ours':>8} {'of 3x3':>7}   {'torch':>8} {'ours':>8} {'of 3x3':>7}"
    )
    plain = results["rushlight"]["3x3"]
    for name in VARIANTS:
        line = f"{name:28}"
        for i in (0, 1):
            ours = results["rushlight"][name][i]
            line += f" {results['torch'][name][i]:8.2f} {ours:8.2f} {ours / plain[i]:7.1f}  "
        print(line)


main(*sys.argv[1:])
