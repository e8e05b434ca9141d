"""An explanation as one page of HTML: nothing is loaded from elsewhere, and it reads in light and in dark."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from rushlight.report.memory import chart

if TYPE_CHECKING:
    from rushlight.report.explain import Explanation, Part

#: Lines of a graph that stand around a changed one.
CONTEXT = 2
#: Shares of the peak from which a bar is green, and from which it is no longer red.
GOOD, POOR = 0.6, 0.2
#: Equations up to which a picture is drawn at once, not when it is asked for.
PICTURED = 400


def page(found: Explanation) -> str:
    """The whole page."""
    template = Template(Path(__file__).with_name("page.html").read_text())
    several = len(found.parts) > 1
    body = "".join(
        _part(part, found, f" of program {n} of {len(found.parts)}" if several else "", n == 1)
        for n, part in enumerate(found.parts, 1)
    )
    return template.substitute(
        title=escape(found.name),
        subtitle=f"compiled by rushlight, measured on {escape(str(found.machine))}",
        cards="".join(_cards(found)),
        body=body + _compiling(found),
    )


def _cards(found: Explanation) -> Iterator[str]:
    native = sum(part.seconds for part in found.parts)
    floor = found.flops / found.machine.flops
    figures = [
        (_time(found.seconds), "a call from Python"),
        (_time(native), "in its kernels"),
        (_time(floor), "floor: its arithmetic at the measured peak"),
        (f"{floor / found.seconds:.0%}" if found.seconds else "", "of the arithmetic peak"),
        (f"{found.flops / 1e6:,.1f}", "million operations"),
        (str(len(found.kernels)), "calls of kernels"),
        (_bytes(sum(part.arena_bytes for part in found.parts)), "arena"),
        (str(found.stats["compiles"]), "compiled since it was made"),
    ]
    for value, name in figures:
        yield f'<div class="card"><b>{value}</b><span>{name}</span></div>'


def _part(part: Part, found: Explanation, which: str, first: bool) -> str:
    anchor = (lambda name: f' id="{name}"') if first else (lambda name: "")
    return "".join(
        [
            f"<h2{anchor('kernels')}>Kernels{which}</h2>",
            "<p>In the order in which they run; a heading sorts. Share of peak: of the arithmetic, or of the way to "
            "memory, whichever is nearer. Data that lies in caches moves faster than memory does, so that a share can "
            "pass 100%.</p>",
            _strip(part),
            _kernels(part, found.machine),
            _hosts(part),
            f"<h2{anchor('memory')}>Memory over time{which}</h2>",
            f"<p>The arena of {_bytes(part.arena_bytes)}: each bar is a value, from the kernel that makes it to the "
            "last that reads it; values whose lives do not meet share their place.</p>",
            f'<div class="frame">{chart(part.blocks, part.arena_bytes, len(part.kernels))}</div>',
            f"<h2{anchor('graph')}>Graph{which}</h2>",
            _graph(part),
            f"<h2{anchor('passes')}>Passes{which}</h2>",
            *_passes(part),
        ]
    )  # fmt: skip


def _strip(part: Part) -> str:
    """The call as a strip of time, a piece for each kernel."""
    total = part.seconds or 1.0
    pieces = "".join(
        f'<i style="width:{k.seconds / total:.4%}" title="{escape(k.name)}: {_time(k.seconds)}"></i>'
        for k in part.kernels
    )
    return f'<div class="strip" role="img" aria-label="time of each kernel">{pieces}</div>'


def _kernels(part: Part, machine: Any) -> str:
    from rushlight.compiler.profile import rate

    total = part.seconds or 1.0
    heads = [("", "number"), ("kernel", ""), ("module", ""), ("line", ""), ("loops", ""), ("time", "number"),
             ("share of time", "number"), ("rate", "number"), ("of peak", "number")]  # fmt: skip
    head = "".join(
        f'<th class="{style}"><button type="button">{name or "#"}</button></th>'
        for name, style in heads
    )
    rows = []
    for n, k in enumerate(part.kernels, 1):
        speed, share = rate(k, machine)
        peak = max(k.shares(machine)) if share else 0.0
        name = re.sub(r"_[0-9a-f]{12}$", "", k.name)
        rows.append(
            f'<tr><td class="number" data-value="{n}">{n}</td>'
            f'<td class="code name{" host" if k.on_host else ""}" title="{escape(k.name)}">'
            f"{'host: ' if k.on_host else ''}{escape(name)}</td>"
            f'<td>{escape(k.module)}</td><td class="code">{escape(k.line)}</td>'
            f'<td class="code loops" title="{escape(k.loops)}">{escape(k.loops)}</td>'
            f'<td class="number" data-value="{k.seconds}">{_time(k.seconds)}</td>'
            f'<td class="number" data-value="{k.seconds}">{k.seconds / total:.1%}{_bar(k.seconds / total, "")}</td>'
            f'<td class="number" data-value="{k.gflops or k.gbytes}">{speed}</td>'
            f'<td class="number" data-value="{peak}">{share}{_bar(peak, _grade(peak)) if share else ""}</td></tr>'
        )
    return (
        f'<div class="frame tall"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _grade(share: float) -> str:
    return "good" if share >= GOOD else "low" if share < POOR else "mid"


def _bar(share: float, style: str) -> str:
    return f'<span class="bar {style}"><i style="width:{min(share, 1.0):.0%}"></i></span>'


def _hosts(part: Part) -> str:
    if not part.on_host:
        return ""
    items = "".join(f"<li>{escape(step)}</li>" for step in part.on_host)
    return f"<p>These run by their NumPy reference, between native calls:</p><ul>{items}</ul>"


def _graph(part: Part) -> str:
    graph = part.graph
    count = len(graph.equations)
    return (
        f"<details{' open' if count <= PICTURED else ''}><summary>Picture<small>{count} equations</small></summary>"
        f'<div class="frame tall">{graph.svg()}</div></details>'
        f'<details><summary>Text<small>parses back to the same graph</small></summary><div class="frame tall">'
        f"<pre>{_quiet_comments(str(graph))}</pre></div></details>"
    )


def _quiet_comments(text: str) -> str:
    lines = []
    for line in text.splitlines():
        code, mark, comment = line.partition("  # ")
        lines.append(
            escape(code) + (f'<span class="quiet">  # {escape(comment)}</span>' if mark else "")
        )
    return "\n".join(lines)


def _passes(part: Part) -> Iterator[str]:
    """What each pass changed. Names of values are left out of the comparison: they move with every line."""
    before = part.traced
    yield f"<p>The trace gave {len(before.equations)} equations.</p>"
    for name, after in part.passes:
        lines = list(changes(str(before), str(after)))
        count, left = len(before.equations), len(after.equations)
        said = "no change" if not lines else f"{count} &rarr; {left} equations"
        shown = f'<div class="frame tall"><pre>{"".join(lines)}</pre></div>' if lines else ""
        yield f"<details><summary><code>{escape(name)}</code><small>{said}</small></summary>{shown}</details>"
        before = after


def changes(before: str, after: str) -> Iterator[str]:
    """The lines that differ between two graphs' texts, marked, with a few around them."""
    old, new = before.splitlines(), after.splitlines()
    left, right = ([re.sub(r"%\d+", "%", line) for line in text] for text in (old, new))
    if left == right:
        return
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for group in matcher.get_grouped_opcodes(CONTEXT):
        yield '<span class="quiet">  ...</span>\n'
        for tag, i, j, k, m in group:
            if tag == "equal":
                yield from (f"  {escape(line)}\n" for line in new[k:m])
                continue
            yield from (f'<span class="removed">- {escape(line)}</span>\n' for line in old[i:j])
            yield from (f'<span class="added">+ {escape(line)}</span>\n' for line in new[k:m])


def _compiling(found: Explanation) -> str:
    stats = found.stats
    reasons = (
        "".join(f"<li>{escape(reason)}</li>" for reason in stats["reasons"]) or "<li>none</li>"
    )
    cache = found.cache
    return (
        '<h2 id="compiling">Compiling</h2>'
        f"<p>{stats['calls']} calls, {stats['compiles']} of them compiled, {stats['eager_calls']} ran eagerly. "
        f"In this process LLVM compiled {cache.get('compiled', 0)} modules; {cache.get('loaded', 0)} came from the "
        "cache on disk.</p>"
        f"<p>Why it was traced:</p><ul>{reasons}</ul>"
    )


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} &micro;s"


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
