"""A graph as a picture (SVG): one box for the equations that a module's line asked for, arrows for what flows.

Equations of one module and line that follow each other share a box. Parameters and values from far above are named
inside the box that reads them; only near neighbours are joined by lines, so that the picture stays legible.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from rushlight.compiler.grammar import type_text
from rushlight.compiler.layering import GAP_Y, place, rows_of

if TYPE_CHECKING:
    from rushlight.compiler.graph import Equation, Graph, Var

#: Pixels: a character's width, a line's height, the space inside a box; characters of a line, lines of a box.
CHARACTER, LINE, INSIDE = 6.65, 16.0, 9.0
MOST_CHARACTERS, MOST_LINES = 46, 9
#: Rows that a drawn line may go down; what comes from further above is named instead.
NEAR = 3
MARGIN = 16.0
#: A picture is folded into columns of about this width, none shorter than this.
COLUMN_WIDTH, SHORTEST = 380.0, 1100.0

#: Which primitives give a box its colour, the most important kind first.
KINDS = {
    "product": ("contract", "convolve", "convolve_input", "convolve_weight", "lstm", "gru", "elman"),
    "reduction": ("reduce_", "max_windows", "sum_windows", "place_windows", "spread_windows", "log_softmax", "softmax",
                  "argmax", "argmin", "cumulative_", "class_", "sort"),
    "movement": ("gather", "scatter", "index_", "take", "concatenate", "slice_update", "pad", "flip", "copy"),
}  # fmt: skip

STYLE = """
.graph text { font: 11px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #24292f; }
.graph .head { font-weight: 600; }
.graph .quiet { fill: #6e7781; }
.graph .box { fill: #ffffff; stroke: #d0d7de; }
.graph .edge { fill: none; stroke: #8c959f; stroke-width: 1.2; }
.graph .tip { fill: #8c959f; }
.graph .product { fill: #2f6feb; } .graph .reduction { fill: #1f883d; }
.graph .movement { fill: #bf8700; } .graph .elementwise { fill: #8c959f; }
@media (prefers-color-scheme: dark) {
  .graph text { fill: #e6edf3; } .graph .quiet { fill: #9198a1; }
  .graph .box { fill: #161b22; stroke: #3d444d; } .graph .edge { stroke: #6e7681; } .graph .tip { fill: #6e7681; }
  .graph .product { fill: #4493f8; } .graph .reduction { fill: #3fb950; } .graph .movement { fill: #d29922; }
}
"""


class Box:
    """Equations that follow each other and belong to one module and line."""

    def __init__(self, scope: str, site: str) -> None:
        self.scope, self.site = scope, site
        self.equations: list[Equation] = []
        self.lines: list[tuple[str, str]] = []  # (class, text)

    @property
    def kind(self) -> str:
        """What its colour says."""
        for kind, names in KINDS.items():
            if any(e.primitive.name.startswith(names) for e in self.equations):
                return kind
        return "elementwise"

    @property
    def size(self) -> tuple[float, float]:
        """Width and height."""
        longest = max(len(text) for _, text in self.lines)
        return longest * CHARACTER + 2 * INSIDE + 4, len(self.lines) * LINE + 2 * INSIDE - 4


def boxes_of(graph: Graph) -> list[Box]:
    """The boxes, in the program's order."""
    boxes: list[Box] = []
    for equation in graph.equations:
        if not boxes or (boxes[-1].scope, boxes[-1].site) != (equation.scope, equation.site):
            boxes.append(Box(equation.scope, equation.site))
        boxes[-1].equations.append(equation)
    return boxes


def svg(graph: Graph) -> str:
    """The picture as SVG text."""
    boxes = boxes_of(graph)
    maker = {o: n for n, box in enumerate(boxes) for e in box.equations for o in e.outputs}
    reads: list[dict[Var, None]] = []
    for n, box in enumerate(boxes):
        found = (o for e in box.equations for o in e.operands)
        reads.append({o: None for o in found if hasattr(o, "aval") and maker.get(o) != n})
    rows = rows_of(
        len(boxes), [(maker[v], n) for n, vs in enumerate(reads) for v in vs if v in maker]
    )
    columns = _columns(boxes, rows)
    returned = set(graph.outputs)
    edges = []
    for n, box in enumerate(boxes):
        near, named = [], []
        for v in reads[n]:
            source = maker.get(v)
            if source is None:
                named.append(_input(v))
            elif columns[n] == columns[source] and rows[n] - rows[source] <= NEAR:
                near.append(source)
            else:
                named.append(_far(boxes[source], v))
        edges += [(source, n) for source in dict.fromkeys(near)]
        box.lines = list(_lines(box, list(dict.fromkeys(named)), returned))
    places = _placed(boxes, edges, columns)
    width = max((x + b.size[0] for (x, _), b in zip(places, boxes, strict=True)), default=0.0)
    height = max((y + b.size[1] for (_, y), b in zip(places, boxes, strict=True)), default=0.0)
    parts = [
        f'<svg class="graph" xmlns="http://www.w3.org/2000/svg" width="{width + 2 * MARGIN:.0f}" '
        f'height="{height + 2 * MARGIN:.0f}" viewBox="{-MARGIN:.0f} {-MARGIN:.0f} {width + 2 * MARGIN:.0f} '
        f'{height + 2 * MARGIN:.0f}" role="img" aria-label="graph of {len(graph.equations)} equations">',
        f"<style>{STYLE}</style>",
    ]
    for a, b in edges:
        parts.append(_edge(places[a], boxes[a].size, places[b], boxes[b].size))
    for (x, y), box in zip(places, boxes, strict=True):
        parts += _drawn(box, x, y)
    return "\n".join([*parts, "</svg>"])


def _columns(boxes: list[Box], rows: list[int]) -> list[int]:
    """The column of each box: a long program goes on at the top of the next one."""
    heights = [0.0] * (max(rows, default=-1) + 1)
    for box, row in zip(boxes, rows, strict=True):
        lines = min(len(box.equations), MOST_LINES) + 3
        heights[row] = max(heights[row], lines * LINE + INSIDE + GAP_Y)
    most = max(SHORTEST, math.sqrt(sum(heights) * COLUMN_WIDTH * 0.6))
    count = max(1, round(sum(heights) / most))
    most = sum(heights) / count
    of_row, so_far = [], 0.0
    for height in heights:
        of_row.append(min(int(so_far / most), count - 1))
        so_far += height
    return [of_row[row] for row in rows]


def _placed(
    boxes: list[Box], edges: list[tuple[int, int]], columns: list[int]
) -> list[tuple[float, float]]:
    """Columns side by side, each with boxes in rows."""
    places = [(0.0, 0.0)] * len(boxes)
    left = 0.0
    for column in range(max(columns, default=-1) + 1):
        members = [n for n, c in enumerate(columns) if c == column]
        numbers = {n: k for k, n in enumerate(members)}
        inside = [(numbers[a], numbers[b]) for a, b in edges if a in numbers]
        sizes = [boxes[n].size for n in members]
        found = place(sizes, inside)
        for n, (x, y) in zip(members, found, strict=True):
            places[n] = (left + x, y)
        left += max(x + w for (x, _), (w, _) in zip(found, sizes, strict=True)) + 2 * MARGIN
    return places


def _input(value: Var) -> str:
    """An input of the graph, by the end of its path."""
    name = value.name or "constant"
    return name if "[" in name else ".".join(name.split(".")[-2:])


def _far(box: Box, value: Var) -> str:
    """A value that was made far above."""
    name = value.equation.primitive.name if value.equation else ""
    return f"{name} of {_short(box.scope)}" if box.scope else f"{name} {box.site}"


def _short(scope: str) -> str:
    """A module's path without its class."""
    return scope.partition(" (")[0]


def _lines(box: Box, named: list[str], returned: set[Var]) -> Iterator[tuple[str, str]]:
    yield "head", _cut(box.scope or box.site or "equations")
    if box.scope and box.site:
        yield "quiet", _cut(box.site)
    text = ""
    for name in named[:6]:
        text += (", " if text else "reads ") + name
    if named:
        yield "quiet", _cut(text + (f" and {len(named) - 6} more" if len(named) > 6 else ""))
    equations = box.equations
    if len(equations) <= MOST_LINES:
        for e in equations:
            yield (
                "",
                _cut(f"{e.primitive.name}  " + ", ".join(type_text(o.aval) for o in e.outputs)),
            )
    else:
        counts = Counter(e.primitive.name for e in equations)
        for name, times in counts.most_common(MOST_LINES - 1):
            yield "", _cut(f"{name} x{times}" if times > 1 else name)
        if len(counts) >= MOST_LINES:
            yield "quiet", f"{len(counts) - MOST_LINES + 1} more primitives"
    given = sum(o in returned for e in equations for o in e.outputs)
    if given:
        yield "quiet", f"gives {given} result{'s' * (given > 1)}"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def _edge(
    start: tuple[float, float], size: tuple[float, float], end: tuple[float, float], below: tuple[float, float]
) -> str:  # fmt: skip
    x, y = start[0] + size[0] / 2, start[1] + size[1]
    u, v = end[0] + below[0] / 2, end[1]
    bend = max(14.0, (v - y) / 2)
    return (
        f'<path class="edge" d="M{x:.0f} {y:.0f} C{x:.0f} {y + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v - 5:.0f}"/>'
        f'<path class="tip" d="M{u - 3.5:.1f} {v - 6:.0f} h7 l-3.5 6 z"/>'
    )


def _drawn(box: Box, x: float, y: float) -> Iterator[str]:
    width, height = box.size
    names = ", ".join(
        f"{e.primitive.name} {type_text(e.outputs[0].aval)}" for e in box.equations[:30]
    )
    yield f'<g transform="translate({x:.0f} {y:.0f})"><title>{escape(names)}</title>'
    yield f'<rect class="box" width="{width:.0f}" height="{height:.0f}" rx="6"/>'
    yield f'<rect class="{box.kind}" x="0" y="0" width="4" height="{height:.0f}" rx="2"/>'
    for k, (style, text) in enumerate(box.lines):
        yield f'<text class="{style}" x="{INSIDE + 4:.0f}" y="{INSIDE + 8 + k * LINE:.0f}">{escape(text)}</text>'
    yield "</g>"
