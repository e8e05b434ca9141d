"""Places for boxes of a directed picture: rows by depth, few crossings, neighbours above each other.

Rows by longest paths; the order in a row by the mean place of the neighbours, sweep by sweep (Sugiyama, Tagawa and
Toda, "Methods for visual understanding of hierarchical system structures", 1981); then boxes are pulled towards their
neighbours as far as the boxes beside them allow.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Sweeps over all rows: to order them, then to pull boxes into place.
ORDERING, PULLING = 12, 16
#: Between boxes of a row, and between rows.
GAP_X, GAP_Y = 18.0, 30.0

Edge = tuple[int, int]


def rows_of(count: int, edges: Sequence[Edge]) -> list[int]:
    """The row of each box: below all that it needs, and no higher than just above the first that needs it.

    Edges lead from smaller to larger numbers, as a program's order gives them.
    """
    rows = [0] * count
    for a, b in sorted(edges, key=lambda e: e[1]):
        rows[b] = max(rows[b], rows[a] + 1)
    needs = [0] * count
    lowest: list[int | None] = [None] * count
    for _, b in edges:
        needs[b] += 1
    for a, b in sorted(edges, key=lambda e: -e[0]):
        below = rows[b] - 1
        lowest[a] = below if lowest[a] is None else min(lowest[a] or 0, below)
    for i in range(count):
        low = lowest[i]
        if not needs[i] and low is not None:
            rows[i] = max(low, 0)
    return rows


def place(sizes: Sequence[tuple[float, float]], edges: Sequence[Edge]) -> list[tuple[float, float]]:
    """The upper left corner of each box; `sizes` are (width, height)."""
    count = len(sizes)
    if not count:
        return []
    rows = rows_of(count, edges)
    members: list[list[int]] = [[] for _ in range(max(rows) + 1)]
    for i, number in enumerate(rows):
        members[number].append(i)
    around: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        around[a].append(b)
        around[b].append(a)
    _order(members, around, rows)
    x = _pull(members, around, [width for width, _ in sizes])
    left = min(x[i] for i in range(count))
    places = [(0.0, 0.0)] * count
    y = 0.0
    for row in members:
        height = max((sizes[i][1] for i in row), default=0.0)
        for i in row:
            places[i] = (x[i] - left, y)
        y += height + (GAP_Y if row else 0.0)
    return places


def _order(members: list[list[int]], around: list[list[int]], rows: list[int]) -> None:
    """Sorts every row by where its neighbours are, downwards and upwards in turn."""
    at = {i: float(k) for row in members for k, i in enumerate(row)}
    for sweep in range(ORDERING):
        down = sweep % 2 == 0
        for row in members if down else reversed(members):

            def wish(i: int, down: bool = down) -> float:
                near = [at[j] for j in around[i] if (rows[j] < rows[i]) == down]
                return sum(near) / len(near) if near else at[i]

            row.sort(key=lambda i: (wish(i), i))
            middle = (len(row) - 1) / 2
            for k, i in enumerate(row):
                at[i] = k - middle


def _pull(
    members: list[list[int]], around: list[list[int]], widths: list[float]
) -> dict[int, float]:
    """The left edge of each box."""
    x: dict[int, float] = {}
    for row in members:
        at = -(sum(widths[i] for i in row) + GAP_X * (len(row) - 1)) / 2
        for i in row:
            x[i] = at
            at += widths[i] + GAP_X
    for sweep in range(PULLING):
        for row in members if sweep % 2 == 0 else reversed(members):
            wishes = []
            for i in row:
                near = [x[j] + widths[j] / 2 for j in around[i]]
                wishes.append(
                    (sum(near) / len(near) if near else x[i] + widths[i] / 2) - widths[i] / 2
                )
            to_right = list(wishes)
            for k in range(1, len(row)):
                to_right[k] = max(wishes[k], to_right[k - 1] + widths[row[k - 1]] + GAP_X)
            to_left = list(wishes)
            for k in range(len(row) - 2, -1, -1):
                to_left[k] = min(wishes[k], to_left[k + 1] - widths[row[k]] - GAP_X)
            # Between the two there is room for all, as each keeps the gaps.
            for k, i in enumerate(row):
                x[i] = (to_right[k] + to_left[k]) / 2
    return x
