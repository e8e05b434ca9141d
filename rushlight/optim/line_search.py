"""A search along a line for a step with the strong Wolfe conditions, by bracketing and cubic interpolation.

Source: Nocedal and Wright, "Numerical Optimization", 2nd ed., algorithms 3.5 and 3.6 and equation 3.59. The safeguards
(how far a bracket may grow at once, how near to its ends a trial may come) are those of PyTorch's search, so that both
try the same points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A step along the line: its length, and the value, gradient and slope there."""

    t: float
    value: float
    gradient: Any
    slope: float


def cubic_minimum(a: Point, b: Point, low: float | None = None, high: float | None = None) -> float:
    """Where the cubic through both points with their slopes is least, held between `low` and `high`.

    Without bounds, between the two points; the middle if the cubic has no minimum.
    """
    if low is None or high is None:
        low, high = min(a.t, b.t), max(a.t, b.t)
    if a.t > b.t:
        a, b = b, a
    if a.t == b.t:
        return (low + high) / 2.0
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    divisor = b.slope - a.slope + 2 * d2
    if divisor == 0:
        return (low + high) / 2.0
    least = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / divisor)
    return min(max(least, low), high)


def strong_wolfe(
    evaluate: Callable[[float], Point],
    start: Point,
    t: float,
    longest: float,
    decrease: float = 1e-4,
    curvature: float = 0.9,
    least_change: float = 1e-9,
    most: int = 25,
) -> tuple[Point, int]:
    """A point whose value has fallen enough and whose slope is flat enough, and how often `evaluate` was called.

    `start` is the point at 0, `t` the first trial, `longest` the greatest element of the direction (a bracket whose
    ends are closer than `least_change` along it is as good as found), `most` the number of trials.
    """

    def rises(point: Point) -> bool:
        return point.value > start.value + decrease * point.t * start.slope

    def is_flat(point: Point) -> bool:
        return abs(point.slope) <= -curvature * start.slope

    trial, calls, rounds = evaluate(t), 1, 0
    before = start
    while rounds < most:
        if rises(trial) or (rounds > 1 and trial.value >= before.value):
            break
        if is_flat(trial):
            return trial, calls
        if trial.slope >= 0:
            break
        least, greatest = trial.t + 0.01 * (trial.t - before.t), trial.t * 10
        t = cubic_minimum(before, trial, least, greatest)
        before, trial = trial, evaluate(t)
        calls += 1
        rounds += 1
    ends = [before, trial] if rounds < most else [start, trial]
    return _zoom(evaluate, ends, rises, is_flat, longest, least_change, most, rounds, calls)


def _zoom(
    evaluate: Callable[[float], Point],
    ends: list[Point],
    rises: Callable[[Point], bool],
    is_flat: Callable[[Point], bool],
    longest: float,
    least_change: float,
    most: int,
    rounds: int,
    calls: int,
) -> tuple[Point, int]:
    """Narrows a bracket until a point in it fulfils the conditions; the best end otherwise."""
    best, worst = (ends[0], ends[1]) if ends[0].value <= ends[1].value else (ends[1], ends[0])
    stalled = False
    while rounds < most and not abs(best.t - worst.t) * longest < least_change:
        low, high = min(best.t, worst.t), max(best.t, worst.t)
        t = cubic_minimum(best, worst)
        margin = 0.1 * (high - low)
        if min(high - t, t - low) < margin:  # too near to an end: once is let pass
            if stalled or t >= high or t <= low:
                t = high - margin if abs(t - high) < abs(t - low) else low + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        trial = evaluate(t)
        calls += 1
        rounds += 1
        if rises(trial) or trial.value >= best.value:
            worst = trial
            if worst.value < best.value:
                best, worst = worst, best
            continue
        if is_flat(trial):
            return trial, calls
        if trial.slope * (worst.t - best.t) >= 0:
            worst = best
        best = trial
    return best, calls
