"""`rushlight.explain`: compiles a function, runs it with the clock on, and says what it does and how long it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rushlight.capture.api import Compiled
from rushlight.capture.api import compile as compiled_form
from rushlight.capture.telling import host_steps
from rushlight.core.files import write_whole
from rushlight.nn.module import Module

#: Calls until a program must be there: an optimizer's first step makes its state, and is not traced.
MOST_CALLS = 4


@dataclass(frozen=True)
class Block:
    """A piece of the arena: what lies there, from which step to which, and where."""

    label: str
    first: int
    last: int
    offset: int
    bytes: int


@dataclass(frozen=True)
class Part:
    """One native program of the call (a compiled forward has another for its backward)."""

    traced: Any  # the Graph as the trace gave it
    passes: list[tuple[str, Any]]  # (name, Graph after it)
    kernels: list[Any]  # compiler.profile.Figures, in the order in which they run
    blocks: list[Block]
    arena_bytes: int
    on_host: list[str]
    code: str  # LLVM IR

    @property
    def graph(self) -> Any:
        """The graph after all passes."""
        return self.passes[-1][1] if self.passes else self.traced

    @property
    def seconds(self) -> float:
        """What its kernels take together."""
        return sum(k.seconds for k in self.kernels)


@dataclass(frozen=True)
class Explanation:
    """What is known of a compiled call; `save(path)` writes it as one page, print() as tables."""

    name: str
    machine: Any  # compiler.peak.Machine: what this machine can do, measured
    seconds: float  # of a whole call from Python, the clock off
    parts: list[Part]
    stats: dict[str, Any]  # compiles, calls, eager_calls, reasons
    cache: dict[str, int] = field(
        default_factory=dict
    )  # modules compiled and loaded in this process

    @property
    def kernels(self) -> list[Any]:
        """The kernels of all parts, in the order in which they run."""
        return [kernel for part in self.parts for kernel in part.kernels]

    @property
    def flops(self) -> int:
        """Operations that the kernels count."""
        return sum(kernel.flops for kernel in self.kernels)

    def __str__(self) -> str:
        from rushlight.compiler.profile import table

        lines = [f"{self.name}: {self.seconds * 1e3:.3f} ms a call"]
        lines += [f"  {reason}" for reason in self.stats["reasons"]]
        lines += [table(part.kernels, self.machine) for part in self.parts]
        return "\n".join(lines)

    __repr__ = __str__

    def html(self) -> str:
        """The page."""
        from rushlight.report.page import page

        return page(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: the page in a frame, so that its style stays inside."""
        from html import escape

        return f'<iframe style="width:100%;height:720px;border:0" srcdoc="{escape(self.html())}"></iframe>'

    def save(self, path: str | Path) -> None:
        """Writes the page: one file that needs no others."""
        write_whole(path, self.html().encode())


def explain(
    function: Callable[..., Any], /, *args: Any, runs: int = 10, **kwargs: Any
) -> Explanation:
    """What `function(*args, **kwargs)` does when it is compiled: kernels, times, graphs, memory, and why it retraced.

    The function is called some times (`runs`, and a few before): a training step trains. Given a compiled function,
    that one is explained, with its history. RuntimeError where it cannot be compiled.

    >>> import rushlight
    >>> found = rushlight.explain(lambda x: (x * 2 + 1).sum(), rushlight.ones(1000))
    >>> [kernel.on_host for kernel in found.kernels]
    [False]
    """
    if runs < 1:
        raise ValueError(f"explain expects at least one run, not {runs}")
    call, compiled = _compiled(function)
    for _ in range(MOST_CALLS):
        call(*args, **kwargs)
        if compiled.programs and compiled.stats()["kept_eager"] is None:
            break
    kept = compiled.stats()["kept_eager"]
    if kept is not None:
        raise RuntimeError(f"{compiled.name} stays eager, so there is nothing to explain: {kept}")
    try:
        from rushlight.compiler.objects import counts
        from rushlight.compiler.peak import machine
        from rushlight.compiler.profile import watching
    except ImportError:
        raise RuntimeError(
            "explain needs llvmlite: without it programs run by NumPy alone"
        ) from None
    call(*args, **kwargs)
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        call(*args, **kwargs)
        seconds.append(time.perf_counter() - started)
    here = machine()
    with watching() as found:
        for _ in range(runs):
            call(*args, **kwargs)
    by_program: dict[int, tuple[Any, list[Any]]] = {}
    for executable, figures in found:
        by_program.setdefault(id(executable), (executable, []))[1].append(figures)
    parts = [_part(executable, each) for executable, each in by_program.values()]
    return Explanation(
        compiled.name, here, statistics.median(seconds), parts, compiled.stats(), dict(counts)
    )


def _compiled(function: Any) -> tuple[Callable[..., Any], Compiled]:
    """What to call, and what is compiled of it."""
    if not callable(function):
        raise TypeError(f"explain takes a function or a module, not {type(function).__name__}")
    if isinstance(function, Module):
        inside = getattr(type(function), "_compiled", None) or vars(function).get("forward")
        if not isinstance(inside, Compiled):
            function = compiled_form(function)
            inside = type(function)._compiled
        return function, inside
    compiled = function if isinstance(function, Compiled) else compiled_form(function)
    return compiled, compiled


def _part(executable: Any, runs: list[list[Any]]) -> Part:
    from rushlight.compiler.passes import optimize

    passes: list[tuple[str, Any]] = []
    optimize(executable.traced, lambda name, graph: passes.append((name, graph)))
    kernels = [
        each[0]._replace(seconds=statistics.median(k.seconds for k in each))
        for each in zip(*runs, strict=True)
    ]
    return Part(
        executable.traced, passes, kernels, _blocks(executable), executable.arena_bytes,
        host_steps(executable), executable.text,
    )  # fmt: skip


def _blocks(executable: Any) -> list[Block]:
    """The arena's pieces, by the steps that touch them first and last."""
    labels: dict[int, str] = {}
    for var, array in executable.assembly.arrays.items():
        if var.equation is not None:
            origin = var.equation.scope or var.equation.site
            labels.setdefault(id(array.memory), f"{var.equation.primitive.name} {origin}".strip())
    spans: dict[int, list[Any]] = {}
    for step, memories in enumerate(executable.uses):
        for memory in memories:
            spans.setdefault(id(memory), [memory, step, step])[2] = step
    return [
        Block(
            labels.get(key) or memory.name or "scratch", first, last, memory.place[1], memory.bytes
        )
        for key, (memory, first, last) in spans.items()
        if memory.place is not None and memory.place[0] == "arena"
    ]
