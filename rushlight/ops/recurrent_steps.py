"""Recurrent networks step by step, in ops: cells, layers with projections, and gradients of gradients.

`x` is the product of a step's input with weight_ih, bias added; `weight` and `bias` are weight_hh and bias_hh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.ops.joining import cat, stack
from rushlight.ops.linear import linear

State = tuple[Any, ...]
#: (x, state) -> the next state, whose first member is the hidden one.
Step = Callable[[Any, State], State]


def elman_step(x: Any, h: Any, weight: Any, bias: Any, relu: bool) -> Any:
    """H of the next step."""
    z = x + linear(h, weight, bias)
    return z.relu() if relu else z.tanh()


def gru_step(x: Any, h: Any, weight: Any, bias: Any) -> Any:
    """H of the next step."""
    size = h.size(-1)
    own = linear(h, weight, bias)
    gates = (x[..., : 2 * size] + own[..., : 2 * size]).sigmoid()
    reset, update = gates[..., :size], gates[..., size:]
    fresh = (x[..., 2 * size :] + reset * own[..., 2 * size :]).tanh()
    return (h - fresh) * update + fresh


def lstm_step(
    x: Any, h: Any, c: Any, weight: Any, bias: Any, projection: Any = None
) -> tuple[Any, Any]:
    """H and c of the next step."""
    i, f, g, o = (x + linear(h, weight, bias)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if projection is None else linear(h, projection)), c


def unrolled(
    step: Step, steps: Any, state: State, batches: Sequence[int] | None, reverse: bool
) -> tuple[Any, State]:
    """All steps, one after the other: the hidden states of all of them, and the last state.

    As in rushlight/primitives/recurrent.py, `steps` are (steps, batch, features), or packed where `batches` is given.
    """
    if batches is None:
        inputs, state = list(steps.unbind(0)), tuple(state)
        outputs: list[Any] = []
        for x in reversed(inputs) if reverse else inputs:
            state = step(x, state)
            outputs.append(state[0])
        return stack(outputs[::-1] if reverse else outputs, 0), state
    inputs = list(steps.split(list(batches), 0))
    if reverse:
        return _unrolled_backwards(step, inputs, state, batches)
    outputs = []
    ended: list[State] = []
    for x, size in zip(inputs, batches, strict=True):
        if size < state[0].size(0):
            ended.append(tuple(s[size:] for s in state))
            state = tuple(s[:size] for s in state)
        state = step(x, state)
        outputs.append(state[0])
    ended.append(state)
    ended.reverse()
    last = tuple(cat(list(parts), 0) for parts in zip(*ended, strict=True))
    return cat(outputs, 0), last


def _unrolled_backwards(
    step: Step, inputs: list[Any], first: State, batches: Sequence[int]
) -> tuple[Any, State]:
    """From the last step of packed rows to the first: sequences begin to be read where they end."""
    outputs: list[Any] = []
    state = tuple(s[: batches[-1]] for s in first)
    for x, size in zip(reversed(inputs), reversed(batches), strict=True):
        have = state[0].size(0)
        if size > have:
            state = tuple(cat([s, f[have:size]], 0) for s, f in zip(state, first, strict=True))
        state = step(x, state)
        outputs.append(state[0])
    outputs.reverse()
    return cat(outputs, 0), state
