"""Matrix products in float32, compiled rushlight beside PyTorch's matmul: GFLOP/s of both, case by case.

    python benchmarks/products.py [--cases 1024,1000,512:TN,1x4096x4096] [--rounds 3] [--need 0.9]

A case is rows x columns x terms, after an optional batch and `*`, then how the operands lie (T: transposed). Two
processes stay alive and measure in turn, so that both see the same machine; the median of their rounds counts. The last
column is the share of what this machine's multiply-adds reach in registers. Exits 1 where a ratio is under --need.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

CASES = (
    "512,1024,2048,1000,1023x1025x511,333x777x555,2048x128x512,"
    "512:NT,512:TN,512:TT,1024:NT,1024:TN,1024:TT,2048:NT,2048:TN,2048:TT,"
    "128x512x784:NT,512x784x128:TN,768x512x128:NT,768x128x512:NT,128x512x768:TN,"
    "1x4096x4096,1x4096x4096:NT,4096x1x4096,8x2048x2048:NT,"
    "48*64x64x32:NT,48*64x32x64,256*32x32x32"
)
#: Seconds of one measurement, and of rest after it: PyTorch's threads spin for a while.
LASTS, RESTS = 0.15, 0.25


class Case(NamedTuple):
    """One product: `batch` of (rows, terms) by (terms, columns)."""

    batch: int
    rows: int
    columns: int
    terms: int
    turned: tuple[bool, bool]

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * self.rows * self.columns * self.terms


def parse(text: str) -> Case:
    """`[batch*]rows[xcolumnsxterms][:NT]`."""
    sizes, _, letters = text.partition(":")
    batch, _, sizes = sizes.rpartition("*")
    numbers = [int(n) for n in sizes.split("x")]
    rows, columns, terms = numbers * 3 if len(numbers) == 1 else numbers
    letters = letters or "NN"
    return Case(int(batch or 1), rows, columns, terms, (letters[0] == "T", letters[1] == "T"))


def operands(lib: Any, case: Case) -> tuple[Any, Any]:
    """The two factors as tensors, as they lie in memory."""
    rng = np.random.default_rng(0)

    def factor(rows: int, columns: int, turned: bool) -> Any:
        shape = (columns, rows) if turned else (rows, columns)
        shape = shape if case.batch == 1 else (case.batch, *shape)
        return lib.from_numpy(rng.standard_normal(shape, np.float32))

    return factor(case.rows, case.terms, case.turned[0]), factor(
        case.terms, case.columns, case.turned[1]
    )


def product_of(lib: Any, case: Case) -> Callable[[Any, Any], Any]:
    """The function that is timed: factors are turned in it where the case says so, as views."""

    def multiply(a: Any, b: Any) -> Any:
        a = a.transpose(-1, -2) if case.turned[0] else a
        b = b.transpose(-1, -2) if case.turned[1] else b
        return lib.matmul(a, b)

    return multiply


def serve(name: str) -> None:
    """A process that reads cases, one a line, and answers with the median seconds of one product.

    The first answer, once it is ready, is this machine's peak where the library can tell.
    """
    lib = importlib.import_module(name)
    compiled: dict[str, Any] = {}
    ready = 0.0
    if name == "rushlight":
        from rushlight.compiler.peak import machine

        ready = machine().flops
    print(ready, flush=True)
    for line in sys.stdin:
        text = line.strip()
        case = parse(text)
        if text not in compiled:
            factors = operands(lib, case)
            multiply = product_of(lib, case)
            if name == "rushlight":
                multiply = lib.compile(multiply)
            compiled[text] = (multiply, factors)
        multiply, (a, b) = compiled[text]
        for _ in range(3):
            multiply(a, b)
        times: list[float] = []
        until = time.perf_counter() + LASTS
        while len(times) < 3 or time.perf_counter() < until:
            started = time.perf_counter()
            multiply(a, b)
            times.append(time.perf_counter() - started)
        print(statistics.median(times), flush=True)


class Server:
    """A process with one of the libraries."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> float:
        """The next number that it prints."""
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return float(line)

    def seconds(self, case: str) -> float:
        """The median seconds of a case, measured now."""
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        print(case, file=self.process.stdin, flush=True)
        taken = self.answer()
        time.sleep(RESTS)
        return taken


def main() -> int:
    """Prints one line for each case, then the smallest ratio and the geometric mean."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--need", type=float, default=0.0)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    ours = Server("rushlight")
    peak = ours.answer()
    theirs = Server("torch")
    theirs.answer()
    print(f"peak of multiply-adds {peak / 1e9:.0f} GFLOP/s")
    print(
        f"{'case':20} {'rushlight us':>12} {'GFLOP/s':>9} {'torch':>9} {'ratio':>7} {'of peak':>8}"
    )
    ratios = []
    for text in options.cases.split(","):
        pairs = [(theirs.seconds(text), ours.seconds(text)) for _ in range(options.rounds)]
        torch, rushlight = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios.append(statistics.median(t / r for t, r in pairs))
        flops = parse(text).flops
        print(
            f"{text:20} {rushlight * 1e6:12.1f} {flops / rushlight / 1e9:9.1f} "
            f"{flops / torch / 1e9:9.1f} {ratios[-1]:7.2f} {flops / rushlight / peak:8.0%}",
            flush=True,
        )
    print(f"least ratio {min(ratios):.2f}, geometric mean {statistics.geometric_mean(ratios):.2f}")
    return int(min(ratios) < options.need)


if __name__ == "__main__":
    sys.exit(main())
