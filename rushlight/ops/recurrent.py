"""Recurrent layers in one direction over whole sequences, each as one op: what nn.LSTM, nn.GRU and nn.RNN are made of.

How are they differentiated twice?
    A gradient formula on bare arrays runs the primitive that walks through the steps from the last to the first. Under
    create_graph the layer is computed again, step by step in ops, and that is what is differentiated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rushlight.autograd.modes import state
from rushlight.core.dtypes import FLOAT32, HALF
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import to
from rushlight.ops.recurrent_steps import elman_step, gru_step, lstm_step, unrolled
from rushlight.ops.replaying import replayed
from rushlight.primitives import recurrent as p
from rushlight.primitives.contraction import contract
from rushlight.primitives.reduction import reduce_sum
from rushlight.primitives.structural import full

Batches = tuple[int, ...] | None


def _wide(*arrays: Array) -> tuple[Array, ...]:
    """Arrays of 16-bit floats as float32: the state is rounded when all steps are done, not after each."""
    return tuple(to(x, FLOAT32) if x.dtype in HALF else x for x in arrays)


def _narrow(dtype: Any, results: Sequence[Array], count: int) -> tuple[Array, ...]:
    """The first `count` results in the layer's own dtype; the others stay as they are."""
    return (*(to(x, dtype) for x in results[:count]), *results[count:])


def _weight_gradient(grad_steps: Array, hidden: Array) -> Array:
    """The sum over steps and sequences of each pre-activation's gradient times the state before it."""
    axes = tuple(range(hidden.ndim - 1))
    return contract(grad_steps, hidden, axes_a=axes, axes_b=axes, batch_a=(), batch_b=())


# -- LSTM --------------------------------------------------------------------------------------------------


@op(
    function=False,
    outputs=("output", "last_h", "last_c", "gates", "hidden", "cells"),
    kept=3,
    node="LstmBackward0",
)
def lstm_layer(
    steps: Array, weight: Array, h: Array, c: Array, batches: Batches, reverse: bool
) -> Any:
    """Hidden states of all steps, the last hidden state, the last cell state."""
    results = p.lstm(*_wide(steps, weight, h, c), batches=batches, reverse=reverse)
    return _narrow(steps.dtype, results, 3)


@lstm_layer.gradient("steps", "weight", "h", "c")
def lstm_layer_gradient(
    grads: Any, needs: Any, steps: Array, weight: Array, h: Array, c: Array, gates: Array, hidden: Array,
    cells: Array, batches: Batches, reverse: bool,
) -> Any:  # fmt: skip
    if not state.bare:

        def layer(steps: Any, weight: Any, h: Any, c: Any) -> tuple[Any, ...]:
            output, last = unrolled(
                lambda x, s: lstm_step(x, s[0], s[1], weight, None), steps, (h, c), batches, reverse
            )
            return output, *last

        return replayed(layer, (steps, weight, h, c), needs, grads[:3])
    given = _wide(*grads[:3], weight)
    to_steps, to_h, to_c = p.lstm_adjoint(*given, gates, cells, batches=batches, reverse=reverse)
    return to_steps, _weight_gradient(to_steps, hidden) if needs[1] else None, to_h, to_c


@lstm_layer.samples
def lstm_layer_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 2, 12), make(12, 3), make(2, 3), make(2, 3), None, False)
    yield Sample(make(3, 2, 12), make(12, 3), make(2, 3), make(2, 3), None, True)
    yield Sample(make(6, 8), make(8, 2), make(3, 2), make(3, 2), (3, 2, 1), False)
    yield Sample(make(6, 8), make(8, 2), make(3, 2), make(3, 2), (3, 2, 1), True)
    yield Bad(
        make(3, 2, 12), make(8, 2), make(2, 2), make(2, 2), None, False,
        raises=RuntimeError, says="cannot have inputs of shape",
    )  # fmt: skip


# -- GRU ---------------------------------------------------------------------------------------------------


@op(
    function=False,
    outputs=("output", "last_h", "gates", "hidden"),
    kept=2,
    node="GruBackward0",
)
def gru_layer(
    steps: Array, weight: Array, bias: Array | None, h: Array, batches: Batches, reverse: bool
) -> Any:
    """Hidden states of all steps, and the last one."""
    own = full(0, shape=weight.shape[:1], dtype=weight.dtype) if bias is None else bias
    results = p.gru(*_wide(steps, weight, own, h), batches=batches, reverse=reverse)
    return _narrow(steps.dtype, results, 2)


@gru_layer.gradient("steps", "weight", "bias", "h")
def gru_layer_gradient(
    grads: Any, needs: Any, steps: Array, weight: Array, bias: Array | None, h: Array, gates: Array,
    hidden: Array, batches: Batches, reverse: bool,
) -> Any:  # fmt: skip
    if not state.bare:

        def layer(steps: Any, weight: Any, bias: Any, h: Any) -> tuple[Any, ...]:
            output, last = unrolled(
                lambda x, s: (gru_step(x, s[0], weight, bias),), steps, (h,), batches, reverse
            )
            return output, *last

        return replayed(layer, (steps, weight, bias, h), needs, grads[:2])
    given = _wide(*grads[:2], weight)
    to_steps, through, to_h = p.gru_adjoint(*given, gates, hidden, batches=batches, reverse=reverse)
    return (
        to_steps,
        _weight_gradient(through, hidden) if needs[1] else None,
        reduce_sum(through, axes=tuple(range(through.ndim - 1)), keepdim=False)
        if needs[2]
        else None,
        to_h,
    )


@gru_layer.samples
def gru_layer_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 2, 9), make(9, 3), make(9), make(2, 3), None, False)
    yield Sample(make(3, 2, 9), make(9, 3), None, make(2, 3), None, True)
    yield Sample(make(6, 6), make(6, 2), make(6), make(3, 2), (3, 2, 1), False)
    yield Sample(make(6, 6), make(6, 2), make(6), make(3, 2), (3, 2, 1), True)
    yield Bad(
        make(3, 2, 9), make(9, 3), None, make(3, 3), None, False,
        raises=RuntimeError, says="hidden state of shape",
    )  # fmt: skip


# -- Elman's network ---------------------------------------------------------------------------------------


@op(function=False, outputs=("output", "last_h", "hidden"), kept=1, node="ElmanBackward0")
def elman_layer(
    steps: Array, weight: Array, h: Array, batches: Batches, reverse: bool, relu: bool
) -> Any:
    """Hidden states of all steps, and the last one."""
    results = p.elman(*_wide(steps, weight, h), batches=batches, reverse=reverse, relu=relu)
    return _narrow(steps.dtype, results, 2)


@elman_layer.gradient("steps", "weight", "h")
def elman_layer_gradient(
    grads: Any, needs: Any, steps: Array, weight: Array, h: Array, output: Array, hidden: Array,
    batches: Batches, reverse: bool, relu: bool,
) -> Any:  # fmt: skip
    if not state.bare:

        def layer(steps: Any, weight: Any, h: Any) -> tuple[Any, ...]:
            output, last = unrolled(
                lambda x, s: (elman_step(x, s[0], weight, None, relu),),
                steps,
                (h,),
                batches,
                reverse,
            )
            return output, *last

        return replayed(layer, (steps, weight, h), needs, grads[:2])
    given = _wide(*grads[:2], weight, output)
    to_steps, to_h = p.elman_adjoint(*given, batches=batches, reverse=reverse, relu=relu)
    return to_steps, _weight_gradient(to_steps, hidden) if needs[1] else None, to_h


@elman_layer.samples
def elman_layer_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 2, 3), make(3, 3), make(2, 3), None, False, False)
    yield Sample(make(3, 2, 3), make(3, 3), make(2, 3), None, True, True)
    yield Sample(make(6, 2), make(2, 2), make(3, 2), (3, 2, 1), False, False)
    yield Sample(make(6, 2), make(2, 2), make(3, 2), (3, 2, 1), True, False)
    yield Bad(
        make(5, 2), make(2, 2), make(3, 2), (3, 2, 1), False, False,
        raises=RuntimeError, says="sequences a step make",
    )  # fmt: skip
