"""Recurrent layers: compiled against eager, and eager against the steps written in ops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight import nn
from rushlight.nn.utils.rnn import pack_padded_sequence
from rushlight.ops import recurrent
from rushlight.ops.recurrent_steps import elman_step, gru_step, lstm_step, unrolled

#: (steps, batch, size): a row, odd sizes, more than a vector, several blocks and one that is not full.
SHAPES = [(1, 1, 1), (4, 3, 5), (3, 2, 16), (5, 33, 20), (2, 17, 70)]
LAYERS: dict[str, tuple[int, Any, Any]] = {
    "lstm": (4, recurrent.lstm_layer, lambda x, s, w, b: lstm_step(x, *s, w, None)),
    "gru": (3, recurrent.gru_layer, lambda x, s, w, b: (gru_step(x, *s, w, b),)),
    "tanh": (1, recurrent.elman_layer, lambda x, s, w, b: (elman_step(x, *s, w, None, False),)),
    "relu": (1, recurrent.elman_layer, lambda x, s, w, b: (elman_step(x, *s, w, None, True),)),
}
TOLERANCE = {rushlight.float32: 1e-5, rushlight.float64: 1e-12}


def _batches(steps: int, batch: int) -> tuple[int, ...]:
    """How many sequences have each step, some of them as long as others."""
    return tuple(max(1, batch - batch * t // (steps + 1)) for t in range(steps))


class Case:
    """A layer with its inputs, and a loss in which every element of every result has its own weight."""

    def __init__(self, name: str, shape: tuple[int, int, int], packed: bool, dtype: Any) -> None:
        steps, batch, size = shape
        self.name = name
        self.gates, self.layer, self.step = LAYERS[name]
        self.batches = _batches(steps, batch) if packed else None
        rng = np.random.default_rng(len(name) + size)

        def make(*shape: int) -> Any:
            x = rushlight.tensor(rng.standard_normal(shape), dtype=dtype)
            return x.requires_grad_()

        lead = (steps, batch) if self.batches is None else (sum(self.batches),)
        self.x = make(*lead, self.gates * size)
        self.weight = make(self.gates * size, size)
        self.bias = make(3 * size) if name == "gru" else None
        self.state = tuple(make(batch, size) for _ in range(2 if name == "lstm" else 1))
        self.inputs = [self.x, self.weight, *self.state, *([self.bias] if name == "gru" else [])]
        self.scales = [
            make(*lead, size).detach(),
            *(make(batch, size).detach() for _ in self.state),
        ]

    def forward(self, reverse: bool) -> Any:
        how: tuple[Any, ...] = (self.batches, reverse)
        if self.name == "gru":
            return self.layer(self.x, self.weight, self.bias, *self.state, *how)
        if self.name != "lstm":
            how = (*how, self.name == "relu")
        return self.layer(self.x, self.weight, *self.state, *how)

    def by_steps(self, reverse: bool) -> Any:
        output, last = unrolled(
            lambda x, s: self.step(x, s, self.weight, self.bias),
            self.x,
            self.state,
            self.batches,
            reverse,
        )
        return (output, *last)

    def all_of(self, forward: Any, reverse: bool) -> list[Any]:
        results = forward(reverse)
        loss = sum((r * s).sum() for r, s in zip(results, self.scales, strict=True))
        return [*results, *rushlight.autograd.grad(loss, self.inputs)]


def _compare(found: list[Any], expected: list[Any], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        a, b = a.detach().numpy(), b.detach().numpy()
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, abs(b).max()))


CASES = list(product(LAYERS, SHAPES, (False, True), (False, True), TOLERANCE))


@pytest.mark.parametrize(("name", "shape", "packed", "reverse", "dtype"), CASES)
def test_layer_is_its_steps(
    name: str, shape: tuple[int, int, int], packed: bool, reverse: bool, dtype: Any
) -> None:
    case = Case(name, shape, packed, dtype)
    expected = case.all_of(case.by_steps, reverse)
    _compare(case.all_of(case.forward, reverse), expected, 4 * TOLERANCE[dtype])


@pytest.mark.parametrize(("name", "shape", "packed", "reverse", "dtype"), CASES)
def test_compiled_layer_is_the_eager_one(
    name: str, shape: tuple[int, int, int], packed: bool, reverse: bool, dtype: Any
) -> None:
    pytest.importorskip("llvmlite")
    case = Case(name, shape, packed, dtype)
    compiled = rushlight.compile(lambda: case.all_of(case.forward, reverse))
    found = compiled()
    _compare(found, case.all_of(case.forward, reverse), 4 * TOLERANCE[dtype])
    before = rushlight.get_num_threads()
    try:
        rushlight.set_num_threads(1)
        alone = compiled()
    finally:
        rushlight.set_num_threads(before)
    for a, b in zip(found, alone, strict=True):
        assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_compiled_network(name: str) -> None:
    """Two layers in both directions; all results and gradients."""
    pytest.importorskip("llvmlite")
    net = getattr(nn, name)(6, 9, 2, bidirectional=True, batch_first=True)
    x = rushlight.randn(5, 4, 6)
    parameters = list(net.parameters())

    def step() -> list[Any]:
        output, last = net(x)
        states = last if name == "LSTM" else (last,)
        loss = (output**2).sum() + sum((s**3).sum() for s in states)
        return [output, *states, *rushlight.autograd.grad(loss, parameters)]

    _compare(rushlight.compile(step)(), step(), 1e-5)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_packed_network_is_each_sequence_alone(name: str) -> None:
    """Two layers in both directions, over sequences of three lengths."""
    net = getattr(nn, name)(6, 9, 2, bidirectional=True)
    lengths = [5, 3, 3, 1]
    x = rushlight.randn(5, 4, 6)
    output, last = net(pack_padded_sequence(x, rushlight.tensor(lengths)))
    states = last if name == "LSTM" else (last,)
    starts = np.cumsum([0, *output.batch_sizes.numpy()])
    for i, length in enumerate(lengths):
        expected, single = net(x[:length, i : i + 1])
        found = rushlight.stack([output.data[int(starts[t]) + i] for t in range(length)])
        _compare([found], [expected[:, 0]], 1e-5)
        alone = single if name == "LSTM" else (single,)
        _compare([s[:, i] for s in states], [s[:, 0] for s in alone], 1e-5)


@pytest.mark.parametrize("dtype", [rushlight.bfloat16, rushlight.float16])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_sixteen_bits(name: str, dtype: Any) -> None:
    """Within some roundings of the same network in float32."""
    wide = getattr(nn, name)(4, 8)
    narrow = getattr(nn, name)(4, 8, dtype=dtype)
    narrow.load_state_dict(wide.state_dict())
    x = rushlight.randn(6, 3, 4)
    output, _ = narrow(x.to(dtype))
    output.sum().backward()
    assert output.dtype is dtype
    expected, _ = wide(x)
    expected.sum().backward()
    _compare([output.float()], [expected], 0.03)
    for a, b in zip(narrow.parameters(), wide.parameters(), strict=True):
        assert a.grad.dtype is dtype
        _compare([a.grad.float()], [b.grad], 0.05)


def test_what_is_kept_for_backward_is_protected() -> None:
    """An output that is written in place is missed by the gradient that reads it."""
    net = nn.RNN(3, 4)
    output, _ = net(rushlight.randn(5, 2, 3))
    output.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_no_steps() -> None:
    for name in ("LSTM", "GRU", "RNN"):
        with pytest.raises(
            RuntimeError, match="Expected sequence length to be larger than 0 in RNN"
        ):
            getattr(nn, name)(3, 4)(rushlight.zeros(0, 2, 3))


def test_no_sequences() -> None:
    net = nn.LSTM(3, 4)
    output, (h, c) = net(rushlight.zeros(5, 0, 3))
    assert output.shape == (5, 0, 4)
    assert h.shape == c.shape == (1, 0, 4)
    output.sum().backward()
    assert not net.weight_hh_l0.grad.any()


def test_not_a_number_stays_in_its_sequence() -> None:
    net = nn.LSTM(3, 4)
    x = rushlight.randn(5, 3, 3)
    x[2, 1] = float("nan")
    output, _ = net(x)
    bad = np.isnan(output.detach().numpy()).any(-1)
    assert bad[2:, 1].all()
    assert not bad[:, [0, 2]].any()
    assert not bad[:2].any()
