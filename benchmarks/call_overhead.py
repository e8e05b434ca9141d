"""Microseconds that a call of a compiled LeNet takes from Python at batch 1, beside PyTorch.

python benchmarks/call_overhead.py

inference  the forward alone, without gradients
step       a whole training step (SGD with momentum)
Of ours also the part that is not native code: finding out that nothing has changed, and handing over results.
"""

import importlib
import statistics
import time

import models

import rushlight


def microseconds(call, seconds=1.0):
    """The median time of a call, of batches of calls."""
    for _ in range(20):
        call()
    begin = time.perf_counter()
    call()
    count = max(1, int(0.02 / (time.perf_counter() - begin)))
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        for _ in range(count):
            call()
        times.append((time.perf_counter() - begin) / count)
    return statistics.median(times) * 1e6


def python_part(compiled, call):
    """The time of a call whose native part is left out."""
    executable = compiled.programs[-1].executable
    kept, executable.segments = executable.segments, []
    try:
        return microseconds(call, 0.3)
    finally:
        executable.segments = kept


def measure(lib):
    """Inference, its Python part, a step, its Python part."""
    ours = lib is rushlight
    step, net, _, x, y, _ = models.build(lib, "lenet", 1)
    run_step = lib.compile(step) if ours else step
    forward = lib.compile(net.forward) if ours else net
    with lib.no_grad():
        row = [microseconds(lambda: forward(x))]
        row.append(python_part(forward, lambda: forward(x)) if ours else None)
    row.append(microseconds(lambda: run_step(x, y)))
    row.append(python_part(run_step, lambda: run_step(x, y)) if ours else None)
    return row


def main():
    widths = (12, 14, 10, 14)
    heads = ("inference", "of it Python", "step", "of it Python")
    rows = [("us a call", heads)]
    for name in ("torch", "rushlight"):
        row = measure(importlib.import_module(name))
        rows.append((name, ["" if v is None else f"{v:.1f}" for v in row]))
    for name, cells in rows:
        print(f"{name:12s}" + "".join(f"{c:>{w}s}" for c, w in zip(cells, widths, strict=True)))


if __name__ == "__main__":
    main()
