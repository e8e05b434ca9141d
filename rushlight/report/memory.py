"""The plan of the arena as a chart: steps to the right, addresses upwards, a bar for each value."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rushlight.report.explain import Block

WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 1200.0, 300.0, 64.0, 26.0, 12.0
#: How many hues bars take in turn: neighbours differ.
HUES = 9
#: Marks on the axis of addresses.
MARKS = 4


def chart(blocks: Sequence[Block], total: int, steps: int) -> str:
    """SVG text."""
    steps, whole = max(steps, 1), max(total, 1)
    wide, tall = WIDTH - LEFT - 12, HEIGHT - BELOW - ABOVE
    parts = [
        f'<svg class="memory" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="memory over time">'
    ]
    for mark in range(MARKS + 1):
        y = ABOVE + tall * (1 - mark / MARKS)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 12}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_size(whole * mark / MARKS)}</text>'
        )
    for n, block in enumerate(sorted(blocks, key=lambda b: (b.first, b.offset))):
        x, width = LEFT + wide * block.first / steps, wide * (block.last + 1 - block.first) / steps
        height = max(tall * block.bytes / whole, 0.75)
        y = ABOVE + tall * (1 - (block.offset + block.bytes) / whole)
        title = f"{block.label}: {_size(block.bytes)}, steps {block.first + 1} to {block.last + 1}"
        parts.append(
            f'<rect class="block" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="hsl({205 + n % HUES * 17} 62% 56%)"><title>{escape(title)}</title></rect>'
        )
    for mark in range(MARKS + 1):
        x = LEFT + wide * mark / MARKS
        anchor = "end" if mark == MARKS else "middle" if mark else "start"
        step = round(steps * mark / MARKS)
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">step {step}</text>'
        )
    return "".join([*parts, "</svg>"])


def _size(count: float) -> str:
    if count >= 1e6:
        return f"{count / 1e6:.1f} MB"
    return f"{count / 1e3:.0f} KB" if count >= 1e3 else f"{count:.0f} B"
