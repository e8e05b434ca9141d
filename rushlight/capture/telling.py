"""What RUSHLIGHT_DEBUG=1 tells of compiling: each trace with its cause, and what of it runs on the host."""

from __future__ import annotations

import sys
from typing import Any


def told(name: str, program: Any, reason: str, seconds: float) -> None:
    """Prints that a program was made, to stderr."""
    lines = [f"{name}: compiled in {seconds * 1e3:.1f} ms: {reason}"]
    executable = program.executable
    lines.append("  " + size_of(executable))
    for step in host_steps(executable):
        lines.append(f"  on the host: {step}")
    print("\n".join(lines), file=sys.stderr)  # noqa: T201 - this is what was asked for


def kept_eager(name: str, reason: str) -> None:
    """Prints that a function is not compiled, to stderr."""
    print(f"{name}: stays eager: {reason}", file=sys.stderr)  # noqa: T201 - this is what was asked for


def size_of(executable: Any) -> str:
    """How much a program is."""
    count = len(executable.graph.equations)
    segments = getattr(executable, "segments", None)
    if segments is None:
        return f"{count} equations, each by its NumPy reference: llvmlite is not installed"
    calls = sum(len(s.kernels) for s in segments if hasattr(s, "kernels"))
    return (
        f"{count} equations, {calls} calls of {executable.kernel_count} kernels, "
        f"arena of {executable.arena_bytes / 1e6:.1f} MB"
    )


def host_steps(executable: Any) -> list[str]:
    """The equations that run by their reference inside a program, with module and line."""
    found = []
    for step in getattr(executable, "segments", ()):
        if not hasattr(step, "kernels"):
            equation = step.equation
            where = ", ".join(part for part in (equation.scope, equation.site) if part)
            found.append(equation.primitive.name + (f" ({where})" if where else ""))
    return found
