"""What the kernels of a program took, one by one: times from the processor's clock, beside what the machine can do.

`with rushlight.debug(2):` prints the table for every call; `rushlight.explain` keeps its figures.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rushlight.compiler.assembly import HostStep
from rushlight.compiler.peak import Machine, machine
from rushlight.core.flags import verbosity
from rushlight.core.watch import watch
from rushlight.loops.kernel import Kernel

if TYPE_CHECKING:
    from rushlight.compiler.executable import Executable

#: Columns of the table that hold names; longer ones are cut in the middle.
NAME_WIDTH, MODULE_WIDTH, LOOPS_WIDTH = 34, 22, 44


class Figures(NamedTuple):
    """One kernel (or one equation on the host) in one run."""

    name: str
    module: str  # the path of the module whose forward asked for it
    line: str  # the user's
    loops: str
    seconds: float
    flops: int
    bytes: int
    on_host: bool = False
    started: int = 0  # on the clock of time.perf_counter_ns
    ended: int = 0

    @property
    def gflops(self) -> float:
        """Billions of operations a second."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def gbytes(self) -> float:
        """Billions of bytes a second; data that lies in caches moves faster than memory does."""
        return self.bytes / self.seconds / 1e9 if self.seconds else 0.0

    def shares(self, peak: Machine) -> tuple[float, float]:
        """Of the measured arithmetic, and of the measured way to memory, each 1 at the peak."""
        return self.gflops * 1e9 / peak.flops, self.gbytes * 1e9 / peak.bytes


#: What `loops_of` has said: a profiler asks at every call.
_loops: weakref.WeakKeyDictionary[Kernel, str] = weakref.WeakKeyDictionary()


def loops_of(kernel: Kernel) -> str:
    """A kernel's loops in one line: `a 4 > b 5; c 3` is c after b, inside of nothing but the items."""
    said = _loops.get(kernel)
    if said is None:
        said = _loops[kernel] = _loops_text(kernel)
    return said


def _loops_text(kernel: Kernel) -> str:
    parts: list[str] = []
    before = -1
    for line in kernel.outline:
        depth = (len(line) - len(line.lstrip())) // 2
        label, _, extent = line.strip().partition(": ")
        extent = extent.replace("%low..%high", str(kernel.items))
        extent = " ".join("..." if "%" in word else word for word in extent.split())
        parts.append(
            ("" if before < 0 else " > " if depth > before else "; ") + f"{label} {extent}"
        )
        before = depth
    return "".join(parts)


def run_timed(executable: Executable) -> list[Figures]:
    """Makes the calls of a program whose arrays are bound, as its own loop does, with the clock on."""
    found: list[Figures] = []
    for step in executable.segments:
        if isinstance(step, HostStep):
            started = time.perf_counter_ns()
            executable.run_host(step)
            ended = time.perf_counter_ns()
            seconds = (ended - started) * 1e-9
            equation = step.equation
            found.append(
                Figures(equation.primitive.name, equation.scope, equation.site, "", seconds, 0, 0, True, started, ended)
            )  # fmt: skip
            continue
        started = time.perf_counter_ns()
        clock = step.program.timed(executable.slots)
        ended = time.perf_counter_ns()
        executable.check()
        # The processor's clock and Python's may differ by some parts in a thousand; events must nest all the same.
        places = started + clock * min(1.0, (ended - started) / max(clock[-1], 1.0))
        at, spent = places.astype(int).tolist(), ((clock[1:] - clock[:-1]) * 1e-9).tolist()
        for n, kernel in enumerate(step.kernels):
            origin = executable.assembly.scopes.get(id(kernel))
            found.append(
                Figures(
                    kernel.name, origin.scope if origin else "", origin.site if origin else "", loops_of(kernel),
                    spent[n], kernel.flops, kernel.bytes, False, at[n], at[n + 1],
                )
            )  # fmt: skip
    return found


def table(figures: Sequence[Figures], peak: Machine, title: str = "") -> str:
    """The figures for people, one line a kernel, and their sum."""
    rows = [("kernel", "module", "line", "loops", "us", "rate", "of peak")]
    for f in figures:
        rows.append(
            (
                _cut(("host: " if f.on_host else "") + f.name, NAME_WIDTH), _cut(f.module, MODULE_WIDTH), f.line,
                _cut(f.loops, LOOPS_WIDTH), f"{f.seconds * 1e6:.1f}", *rate(f, peak),
            )
        )  # fmt: skip
    total = sum(f.seconds for f in figures)
    flops, moved = sum(f.flops for f in figures), sum(f.bytes for f in figures)
    whole = Figures("", "", "", "", total, flops, moved)
    rows.append(
        (f"{len(figures)} kernels", "", "", f"{flops / 1e6:.1f} MFLOP, {moved / 1e6:.1f} MB", f"{total * 1e6:.1f}",
         *rate(whole, peak))
    )  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if i >= len(widths) - 3 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([f"{title or 'program'} on {peak}", *("  " + line for line in lines)])


def rate(figures: Figures, peak: Machine) -> tuple[str, str]:
    """How fast, and the share of the peak that is nearer: of arithmetic, or of the way to memory."""
    if figures.on_host or not figures.seconds or not (figures.flops or figures.bytes):
        return "", ""
    arithmetic, memory = figures.shares(peak)
    if arithmetic >= memory:
        return f"{figures.gflops:.1f} GFLOP/s", f"{arithmetic:.0%}"
    return f"{figures.gbytes:.1f} GB/s", f"{memory:.0%}"


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    half = (width - 3) // 2
    return text[: width - 3 - half] + "..." + text[len(text) - half :]


#: Programs whose code has been printed.
_shown: weakref.WeakSet[Any] = weakref.WeakSet()


class watching:
    """`with watching() as runs:` gathers (program, figures) of each run in this block; no table is printed."""

    runs: list[tuple[Executable, list[Figures]]] | None = None  # of the innermost block

    def __enter__(self) -> list[tuple[Executable, list[Figures]]]:
        self._before = watching.runs, verbosity.level
        watching.runs, verbosity.level = [], 2
        return watching.runs

    def __exit__(self, *_: object) -> None:
        watching.runs, verbosity.level = self._before


def run_told(executable: Executable) -> None:
    """Runs with the clock on, tells observers, and prints the table to stderr if that is wanted.

    From level 3 on also the code is printed, once for a program.
    """
    figures = run_timed(executable)
    for observer in watch.observers:
        observer.ran(executable, figures)
    if verbosity.level < 2:
        return
    if watching.runs is not None:
        watching.runs.append((executable, figures))
        return
    lines = [table(figures, machine(), executable.title)]
    if verbosity.level > 2 and executable not in _shown:
        _shown.add(executable)
        lines.append(executable.text)
        if verbosity.level > 3:
            lines.append(assembly_of(executable.text))
    print("\n".join(lines), file=sys.stderr)  # noqa: T201 - this is what was asked for


def assembly_of(text: str) -> str:
    """Kernels' text as this processor's assembly."""
    from rushlight.compiler.processor import llvm, machine

    module = llvm().parse_assembly(text)
    result: str = machine().emit_assembly(module)
    return result
