"""Recurrent layers: one layer in one direction over whole sequences, and the gradients of each.

    lstm(steps, weight, h, c)          output, last h, last c, and what the adjoint and the weights' gradients read:
                                       gates, hidden (h before each step), cells (c before each step)
    lstm_adjoint(grad, grad_h, grad_c, weight, gates, cells)
                                       gradients of steps, h, c
    gru(steps, weight, bias, h)        output, last h, gates, hidden
    gru_adjoint(grad, grad_h, weight, gates, hidden)
                                       gradients of steps, of the product with the hidden state, of h
    elman(steps, weight, h)            output, last h, hidden
    elman_adjoint(grad, grad_h, weight, output)
                                       gradients of steps, h

`steps` are the inputs' products with weight_ih, biases added, of all steps; `weight` is weight_hh. So all products but
those with the hidden state are made for all steps at once, outside.

How do sequences lie in memory?
    `batches` is None: (steps, batch, features), every sequence as long as all others. Else they are packed: (rows,
    features), where `batches` says how many sequences have a step 0, a step 1, ..., longest first; the rows of one
    step lie together. `reverse` reads from the last step to the first; a sequence then begins at its own last step.

The gates of an LSTM are i, f, g, o; those of a GRU r, z, n, and the hidden state's part of n. They are saved as the
functions left them, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rushlight.primitives.primitive import Aval, dtype_of, primitive

Array = Any
Batches = tuple[int, ...] | None

_HOW = ("batches", "reverse")
lstm = primitive("lstm", params=_HOW, outputs=6, reuses=((3, 0),))
lstm_adjoint = primitive("lstm_adjoint", params=_HOW, outputs=3, reuses=((0, 4),))
gru = primitive("gru", params=_HOW, outputs=4)
gru_adjoint = primitive("gru_adjoint", params=_HOW, outputs=3)
elman = primitive("elman", params=(*_HOW, "relu"), outputs=3, reuses=((0, 0),))
elman_adjoint = primitive("elman_adjoint", params=(*_HOW, "relu"), outputs=2, reuses=((0, 3),))


# -- shapes ------------------------------------------------------------------------------------------------


def _checked(steps: Any, weight: Any, h: Any, gates: int, batches: Batches) -> tuple[int, ...]:
    """The dimensions before the features; RuntimeError where operands do not fit each other."""
    lead: tuple[int, ...] = tuple(steps.shape[:-1])
    size = weight.shape[1]
    if steps.shape[-1] != gates * size or tuple(weight.shape) != (gates * size, size):
        raise RuntimeError(
            f"a recurrent layer of {gates} gates cannot have inputs of shape {list(steps.shape)} and weights of "
            f"shape {list(weight.shape)}"
        )
    if len(lead) != (2 if batches is None else 1):
        raise RuntimeError(f"inputs of all steps cannot have shape {list(steps.shape)}")
    if batches is not None and sum(batches) != lead[0]:
        raise RuntimeError(f"{lead[0]} rows are not what {list(batches)} sequences a step make")
    batch = lead[1] if batches is None else (batches[0] if batches else 0)
    if tuple(h.shape) != (batch, size):
        raise RuntimeError(
            f"hidden state of shape {list(h.shape)} for a batch of {batch}, size {size}"
        )
    return lead


@lstm.define_rule
def _(
    steps: Any, weight: Any, h: Any, c: Any, *, batches: Batches, reverse: bool
) -> tuple[Aval, ...]:
    lead, dtype = _checked(steps, weight, h, 4, batches), dtype_of(steps, weight, h, c)
    size = weight.shape[1]
    row, last = Aval((*lead, size), dtype), Aval(tuple(h.shape), dtype)
    return row, last, last, Aval((*lead, 4 * size), dtype), row, row


@lstm_adjoint.define_rule
def _(
    grad: Any, grad_h: Any, grad_c: Any, weight: Any, gates: Any, cells: Any, **how: Any
) -> tuple[Aval, ...]:
    last = Aval(tuple(grad_h.shape), gates.dtype)
    return Aval(tuple(gates.shape), gates.dtype), last, last


@gru.define_rule
def _(
    steps: Any, weight: Any, bias: Any, h: Any, *, batches: Batches, reverse: bool
) -> tuple[Aval, ...]:
    lead, dtype = _checked(steps, weight, h, 3, batches), dtype_of(steps, weight, bias, h)
    size = weight.shape[1]
    row, last = Aval((*lead, size), dtype), Aval(tuple(h.shape), dtype)
    return row, last, Aval((*lead, 4 * size), dtype), row


@gru_adjoint.define_rule
def _(grad: Any, grad_h: Any, weight: Any, gates: Any, hidden: Any, **how: Any) -> tuple[Aval, ...]:
    steps = Aval((*hidden.shape[:-1], weight.shape[0]), gates.dtype)
    return steps, steps, Aval(tuple(grad_h.shape), gates.dtype)


@elman.define_rule
def _(
    steps: Any, weight: Any, h: Any, *, batches: Batches, reverse: bool, relu: bool
) -> tuple[Aval, ...]:
    lead, dtype = _checked(steps, weight, h, 1, batches), dtype_of(steps, weight, h)
    row = Aval((*lead, weight.shape[1]), dtype)
    return row, Aval(tuple(h.shape), dtype), row


@elman_adjoint.define_rule
def _(grad: Any, grad_h: Any, weight: Any, output: Any, **how: Any) -> tuple[Aval, ...]:
    return Aval(tuple(output.shape), output.dtype), Aval(tuple(grad_h.shape), output.dtype)


# -- references --------------------------------------------------------------------------------------------


def _order(
    lead: Sequence[int], batches: Batches, backwards: bool
) -> Iterator[tuple[int | slice, int]]:
    """Each step's place in the arrays and how many sequences have it, in the order of computing."""
    places: list[tuple[int | slice, int]] = []
    if batches is None:
        places = [(t, lead[1]) for t in range(lead[0])]
    else:
        start = 0
        for count in batches:
            places.append((slice(start, start + count), count))
            start += count
    return reversed(places) if backwards else iter(places)


def _sigmoid(xp: Any, x: Array) -> None:
    """1 / (1 + e^-x), in place."""
    xp.negative(x, out=x)
    xp.exp(x, out=x)
    x += 1
    xp.reciprocal(x, out=x)


@lstm.define_reference
def _(
    xp: Any, steps: Array, weight: Array, h: Array, c: Array, *, batches: Batches, reverse: bool
) -> tuple[Array, ...]:
    lead, size, dtype = steps.shape[:-1], weight.shape[1], steps.dtype
    gates = xp.empty((*lead, 4 * size), dtype)
    output, hidden, cells = (xp.empty((*lead, size), dtype) for _ in range(3))
    h, c = xp.array(h, order="C"), xp.array(c, order="C")
    columns = xp.ascontiguousarray(weight.T)
    for at, count in _order(lead, batches, reverse):
        before, cell, z = h[:count], c[:count], gates[at]
        hidden[at], cells[at] = before, cell
        xp.matmul(before, columns, out=z)
        z += steps[at]
        g = xp.tanh(z[:, 2 * size : 3 * size])
        _sigmoid(xp, z)
        z[:, 2 * size : 3 * size] = g
        cell *= z[:, size : 2 * size]
        g *= z[:, :size]
        cell += g
        xp.tanh(cell, out=before)
        before *= z[:, 3 * size :]
        output[at] = before
    return output, h, c, gates, hidden, cells


@lstm_adjoint.define_reference
def _(
    xp: Any, grad: Array, grad_h: Array, grad_c: Array, weight: Array, gates: Array, cells: Array, *,
    batches: Batches, reverse: bool,
) -> tuple[Array, ...]:  # fmt: skip
    size = weight.shape[1]
    result = xp.empty(gates.shape, gates.dtype)
    dh, dc = xp.array(grad_h, order="C"), xp.array(grad_c, order="C")
    for at, count in _order(grad.shape[:-1], batches, not reverse):
        i, f, g, o = (gates[at][:, k * size : (k + 1) * size] for k in range(4))
        to_i, to_f, to_g, to_o = (result[at][:, k * size : (k + 1) * size] for k in range(4))
        before, dcell, dout = cells[at], dc[:count], dh[:count]
        dout += grad[at]
        bent = xp.tanh(f * before + i * g)
        xp.multiply(dout, bent, out=to_o)
        to_o *= o * (1 - o)
        dcell += dout * o * (1 - bent * bent)
        xp.multiply(dcell, g, out=to_i)
        to_i *= i * (1 - i)
        xp.multiply(dcell, before, out=to_f)
        to_f *= f * (1 - f)
        xp.multiply(dcell, i, out=to_g)
        to_g *= 1 - g * g
        dcell *= f
        xp.matmul(result[at], weight, out=dout)
    return result, dh, dc


@gru.define_reference
def _(
    xp: Any, steps: Array, weight: Array, bias: Array, h: Array, *, batches: Batches, reverse: bool
) -> tuple[Array, ...]:
    lead, size, dtype = steps.shape[:-1], weight.shape[1], steps.dtype
    gates = xp.empty((*lead, 4 * size), dtype)
    output, hidden = xp.empty((*lead, size), dtype), xp.empty((*lead, size), dtype)
    h = xp.array(h, order="C")
    columns = xp.ascontiguousarray(weight.T)
    for at, count in _order(lead, batches, reverse):
        state, x = h[:count], steps[at]
        hidden[at] = state
        own = state @ columns
        own += bias
        both, fresh = gates[at][:, : 2 * size], gates[at][:, 2 * size : 3 * size]
        xp.add(x[:, : 2 * size], own[:, : 2 * size], out=both)
        _sigmoid(xp, both)
        gates[at][:, 3 * size :] = own[:, 2 * size :]
        xp.multiply(both[:, :size], own[:, 2 * size :], out=fresh)
        fresh += x[:, 2 * size :]
        xp.tanh(fresh, out=fresh)
        state -= fresh
        state *= both[:, size:]
        state += fresh
        output[at] = state
    return output, h, gates, hidden


@gru_adjoint.define_reference
def _(
    xp: Any, grad: Array, grad_h: Array, weight: Array, gates: Array, hidden: Array, *,
    batches: Batches, reverse: bool,
) -> tuple[Array, ...]:  # fmt: skip
    size = weight.shape[1]
    result = xp.empty((*hidden.shape[:-1], 3 * size), gates.dtype)
    through = xp.empty_like(result)
    dh = xp.array(grad_h, order="C")
    for at, count in _order(grad.shape[:-1], batches, not reverse):
        r, z, n, own = (gates[at][:, k * size : (k + 1) * size] for k in range(4))
        to_r, to_z, to_n = (result[at][:, k * size : (k + 1) * size] for k in range(3))
        dout = dh[:count]
        dout += grad[at]
        xp.multiply(dout, hidden[at] - n, out=to_z)
        to_z *= z * (1 - z)
        xp.multiply(dout, 1 - z, out=to_n)
        to_n *= 1 - n * n
        xp.multiply(to_n, own, out=to_r)
        to_r *= r * (1 - r)
        through[at] = result[at]
        through[at][:, 2 * size :] *= r
        dout *= z
        dout += through[at] @ weight
    return result, through, dh


@elman.define_reference
def _(
    xp: Any, steps: Array, weight: Array, h: Array, *, batches: Batches, reverse: bool, relu: bool
) -> tuple[Array, ...]:
    lead, size, dtype = steps.shape[:-1], weight.shape[1], steps.dtype
    output, hidden = xp.empty((*lead, size), dtype), xp.empty((*lead, size), dtype)
    h = xp.array(h, order="C")
    columns = xp.ascontiguousarray(weight.T)
    for at, count in _order(lead, batches, reverse):
        state = h[:count]
        hidden[at] = state
        z = output[at]
        xp.matmul(state, columns, out=z)
        z += steps[at]
        if relu:
            xp.maximum(z, 0, out=z)
        else:
            xp.tanh(z, out=z)
        state[...] = z
    return output, h, hidden


@elman_adjoint.define_reference
def _(
    xp: Any, grad: Array, grad_h: Array, weight: Array, output: Array, *,
    batches: Batches, reverse: bool, relu: bool,
) -> tuple[Array, ...]:  # fmt: skip
    result = xp.empty(output.shape, output.dtype)
    dh = xp.array(grad_h, order="C")
    for at, count in _order(grad.shape[:-1], batches, not reverse):
        dout, to, z = dh[:count], result[at], output[at]
        dout += grad[at]
        if relu:
            to[...] = xp.where(z <= 0, 0, dout)
        else:
            xp.multiply(dout, 1 - z * z, out=to)
        xp.matmul(to, weight, out=dout)
    return result, dh


__all__ = [
    "elman",
    "elman_adjoint",
    "gru",
    "gru_adjoint",
    "lstm",
    "lstm_adjoint",
]
