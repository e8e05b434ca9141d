"""Recurrent networks of several layers and both directions: RNN, LSTM, GRU.

How is it computed?
    The inputs of all time steps are multiplied by a layer's weight_ih in one product. What is left, the product with
    the hidden state and what follows from it, is one op for all steps of a layer in one direction
    (rushlight/ops/recurrent.py). Only projections of the hidden state are computed step by step.
"""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

from rushlight.nn import functional as F
from rushlight.nn import init
from rushlight.nn.making import parameter
from rushlight.nn.module import Module
from rushlight.nn.utils.rnn import PackedSequence
from rushlight.ops import public
from rushlight.ops.recurrent import elman_layer, gru_layer, lstm_layer
from rushlight.ops.recurrent_steps import State, lstm_step, unrolled
from rushlight.tensor.tensor import Tensor

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class Weights:
    """The weights of one layer in one direction."""

    __slots__ = ("bias_hh", "bias_ih", "hh", "hr", "ih")

    def __init__(self, weights: list[Any], bias: bool, projected: bool) -> None:
        """From a list in the order of their names."""
        self.ih, self.hh = weights[:2]
        self.bias_ih = weights[2] if bias else None
        self.bias_hh = weights[3] if bias else None
        self.hr = weights[-1] if projected else None

    @property
    def bias(self) -> Any:
        """Both biases in one, where they are only ever added."""
        return None if self.bias_ih is None else self.bias_ih + self.bias_hh


class RNNBase(Module):
    """What RNN, LSTM and GRU share: weights, checks, layers and directions. `mode` says which step is taken."""

    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_sizes(dropout)
        if mode not in _GATES:
            raise ValueError(f"Unrecognized RNN mode: {mode}")
        rows = _GATES[mode] * hidden_size
        state_size = proj_size if proj_size > 0 else hidden_size
        directions = 2 if bidirectional else 1
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            columns = input_size if layer == 0 else state_size * directions
            for direction in range(directions):
                suffix = f"l{layer}" + ("_reverse" if direction else "")
                shapes: dict[str, tuple[int, ...]] = {
                    f"weight_ih_{suffix}": (rows, columns),
                    f"weight_hh_{suffix}": (rows, state_size),
                }
                if bias:
                    shapes[f"bias_ih_{suffix}"] = (rows,)
                    shapes[f"bias_hh_{suffix}"] = (rows,)
                if proj_size > 0:
                    shapes[f"weight_hr_{suffix}"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    setattr(self, name, parameter(*shape, device=device, dtype=dtype))
                self._all_weights.append(list(shapes))
        self.reset_parameters()

    def _check_sizes(self, dropout: Any) -> None:
        if (
            not isinstance(dropout, numbers.Number)
            or isinstance(dropout, bool)
            or not 0 <= dropout <= 1  # type: ignore[operator]
        ):
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being "
                f"zeroed, not {dropout}"
            )
        if dropout > 0 and self.num_layers == 1:  # type: ignore[operator]
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={self.num_layers}",
                stacklevel=4,
            )
        for name in ("input_size", "hidden_size"):
            value = getattr(self, name)
            if not isinstance(value, int):
                raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
        if self.hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if self.num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if self.proj_size < 0:
            raise ValueError(
                "proj_size should be a positive integer or zero to disable projections"
            )
        if self.proj_size >= self.hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")

    def reset_parameters(self) -> None:
        """Draws all weights anew: even in ±1/sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: weights need not lie side by side here."""

    @property
    def all_weights(self) -> list[list[Any]]:
        """The weights of each layer and direction, in the order of their names."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def extra_repr(self) -> str:
        """The sizes and what is not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            text += f", bidirectional={self.bidirectional}"
        return text

    # -- checks --------------------------------------------------------------------------------------

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """RuntimeError or ValueError unless dtype, rank and features of the input fit."""
        weight: Tensor = getattr(self, self._all_weights[0][0])
        if input.dtype != weight.dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({input.dtype})"
            )
        rank = 2 if batch_sizes is not None else 3
        if input.dim() != rank:
            raise RuntimeError(f"input must have {rank} dimensions, got {input.dim()}")
        if self.input_size != input.size(-1):
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.size(-1)}"
            )

    def _state_size(self, batch: int, size: int) -> tuple[int, int, int]:
        return (self.num_layers * (2 if self.bidirectional else 1), batch, size)

    def check_hidden_size(
        self,
        hx: Tensor,
        expected: tuple[int, int, int],
        message: str = "Expected hidden size {}, got {}",
    ) -> None:
        """RuntimeError unless a hidden state has the expected shape."""
        if tuple(hx.shape) != expected:
            raise RuntimeError(message.format(expected, list(hx.shape)))

    def check_forward_args(self, input: Tensor, hidden: Any, batch: int, packed: bool) -> None:
        """RuntimeError unless the hidden state fits the input."""
        size = self.proj_size if self.proj_size > 0 else self.hidden_size
        self.check_hidden_size(hidden, self._state_size(batch, size))

    # -- computing -----------------------------------------------------------------------------------

    def _zero_state(self, input: Tensor, batch: int) -> Any:
        size = self.proj_size if self.proj_size > 0 else self.hidden_size
        return input.new_zeros(self._state_size(batch, size))  # type: ignore[attr-defined]

    def _rank_of_state(self, hx: Any, rank: int) -> None:
        if hx.dim() != rank:
            kind = "batched 3-D" if rank == 3 else "unbatched 2-D"
            raise RuntimeError(
                f"For {kind} input, hx should also be {rank}-D but got {hx.dim()}-D tensor"
            )

    def _permuted(self, hx: Any, order: Any) -> Any:
        """The states of the batch in another order."""
        return hx if order is None else hx.index_select(1, order)

    def _split(self, hx: Any) -> list[tuple[Any, ...]]:
        """The state of each layer and direction."""
        return [(h,) for h in hx.unbind(0)]

    def _joined(self, states: list[tuple[Any, ...]]) -> Any:
        """The last states of all layers and directions."""
        return public.stack([s[0] for s in states], 0)

    def _with_batch(self, hx: Any) -> Any:
        return hx.unsqueeze(1)

    def _without_batch(self, hx: Any) -> Any:
        return hx.squeeze(1)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """(L, N, input_size), (N, L, input_size) with `batch_first`, (L, input_size), or a PackedSequence.

        Gives the last layer's outputs at all steps, and the last state of every layer and direction.
        """
        if isinstance(input, PackedSequence):
            data, sizes, order, back = input
            batch = int(sizes[0])
            hx = self._zero_state(data, batch) if hx is None else self._permuted(hx, order)
            self.check_input(data, sizes)
            self.check_forward_args(data, hx, batch, True)
            result, last = self._run(data, hx, tuple(sizes.tolist()))  # type: ignore[attr-defined]
            return PackedSequence(result, sizes, order, back), self._permuted(last, back)
        if input.dim() not in (2, 3):
            raise ValueError(
                f"{self._get_name()}: Expected input to be 2D or 3D, got {input.dim()}D instead"
            )
        batched = input.dim() == 3
        if hx is not None:
            self._rank_of_state(hx, 3 if batched else 2)
        if not batched:
            input = input.unsqueeze(1)
            hx = None if hx is None else self._with_batch(hx)
        elif self.batch_first:
            input = input.transpose(0, 1)
        batch = input.size(1)
        hx = self._zero_state(input, batch) if hx is None else hx
        self.check_input(input, None)
        self.check_forward_args(input, hx, batch, False)
        result, last = self._run(input, hx, None)
        if not batched:
            return result.squeeze(1), self._without_batch(last)
        return (result.transpose(0, 1) if self.batch_first else result), last

    def _run(self, input: Any, hx: Any, batches: tuple[int, ...] | None) -> tuple[Any, Any]:
        if not input.size(0):
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        states = self._split(hx)
        weights = self.all_weights
        directions = 2 if self.bidirectional else 1
        last: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                i = layer * directions + direction
                w = Weights(weights[i], self.bias, self.proj_size > 0)
                result, state = self._layer(input, states[i], w, batches, direction == 1)
                outputs.append(result)
                last.append(state)
            input = outputs[0] if directions == 1 else public.cat(outputs, -1)
            if self.dropout > 0 and layer < self.num_layers - 1:
                input = F.dropout(input, self.dropout, self.training)
        return input, self._joined(last)

    def _layer(
        self,
        input: Any,
        state: State,
        w: Weights,
        batches: tuple[int, ...] | None,
        reverse: bool,
    ) -> tuple[Any, State]:
        """One layer in one direction: the outputs of all steps, and the last state."""
        raise NotImplementedError


class RNN(RNNBase):
    """h_t = tanh(x_t W_ih^T + b_ih + h_{t-1} W_hh^T + b_hh), or with relu: Elman's network.

    Weights are `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, and so on for each layer; those of the
    other direction end in `_reverse`. ValueError for a nonlinearity other than 'tanh' and 'relu'.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        **others: Any,
    ) -> None:
        _refuse(others, "RNN")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        self.nonlinearity = nonlinearity
        super().__init__(
            f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, 0, device, dtype,
        )  # fmt: skip

    def _layer(
        self, input: Any, state: State, w: Weights, batches: Any, reverse: bool
    ) -> tuple[Any, State]:
        steps = F.linear(input, w.ih, w.bias)
        relu = self.nonlinearity == "relu"
        output, *last = elman_layer(steps, w.hh, *state, batches, reverse, relu)
        return output, tuple(last)


class GRU(RNNBase):
    """Gated recurrent units: h_t = (1 - z) n + z h_{t-1}, with reset gate r, update gate z and candidate n.

    r = sigmoid(x W_ir + h W_hr), z = sigmoid(x W_iz + h W_hz), n = tanh(x W_in + r (h W_hn)), each with biases;
    rows of the weights are in the order r, z, n. Source: Cho et al., EMNLP 2014.

    >>> import rushlight
    >>> output, last = rushlight.nn.GRU(10, 20, 2)(rushlight.ones(5, 3, 10))
    >>> output.shape, last.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        **others: Any,
    ) -> None:
        _refuse(others, "GRU")
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )  # fmt: skip

    def _layer(
        self, input: Any, state: State, w: Weights, batches: Any, reverse: bool
    ) -> tuple[Any, State]:
        steps = F.linear(input, w.ih, w.bias_ih)
        output, *last = gru_layer(steps, w.hh, w.bias_hh, *state, batches, reverse)
        return output, tuple(last)


class LSTM(RNNBase):
    """Long short-term memory: c_t = f c_{t-1} + i g and h_t = o tanh(c_t), with gates i, f, o and candidate g.

    Rows of the weights are in the order i, f, g, o. With `proj_size` h is projected to that size (Sak et al., 2014).
    Source: Hochreiter and Schmidhuber, Neural Computation 1997.

    >>> import rushlight
    >>> output, (h, c) = rushlight.nn.LSTM(10, 20)(rushlight.ones(5, 3, 10))
    >>> output.shape, h.shape, c.shape
    (torch.Size([5, 3, 20]), torch.Size([1, 3, 20]), torch.Size([1, 3, 20]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device,
            dtype,
        )  # fmt: skip

    def _layer(
        self, input: Any, state: State, w: Weights, batches: Any, reverse: bool
    ) -> tuple[Any, State]:
        if w.hr is None:
            steps = F.linear(input, w.ih, w.bias)
            output, *last = lstm_layer(steps, w.hh, *state, batches, reverse)
            return output, tuple(last)
        steps = F.linear(input, w.ih, w.bias_ih)
        return unrolled(
            lambda x, s: lstm_step(x, s[0], s[1], w.hh, w.bias_hh, w.hr),
            steps,
            state,
            batches,
            reverse,
        )

    def check_forward_args(self, input: Tensor, hidden: Any, batch: int, packed: bool) -> None:
        """RuntimeError unless both states fit the input."""
        size = self.proj_size if self.proj_size > 0 else self.hidden_size
        for i, expected in enumerate((size, self.hidden_size)):
            self.check_hidden_size(
                hidden[i],
                self._state_size(batch, expected),
                f"Expected hidden[{i}] size {{}}, got {{}}",
            )

    def _zero_state(self, input: Tensor, batch: int) -> Any:
        cell = input.new_zeros(self._state_size(batch, self.hidden_size))  # type: ignore[attr-defined]
        return super()._zero_state(input, batch), cell

    def _rank_of_state(self, hx: Any, rank: int) -> None:
        if not isinstance(hx, (tuple, list)) or len(hx) != 2:
            raise TypeError(
                f"LSTM's state is a tuple of two tensors, (h, c), but hx is {type(hx).__name__}"
            )
        if hx[0].dim() != rank or hx[1].dim() != rank:
            kind = "batched 3-D" if rank == 3 else "unbatched 2-D"
            raise RuntimeError(
                f"For {kind} input, hx and cx should also be {rank}-D but got ({hx[0].dim()}-D, "
                f"{hx[1].dim()}-D) tensors"
            )

    def _permuted(self, hx: Any, order: Any) -> Any:
        return tuple(super(LSTM, self)._permuted(h, order) for h in hx)

    def _split(self, hx: Any) -> list[tuple[Any, ...]]:
        return list(zip(hx[0].unbind(0), hx[1].unbind(0)))

    def _joined(self, states: list[tuple[Any, ...]]) -> Any:
        return tuple(public.stack(list(parts), 0) for parts in zip(*states))

    def _with_batch(self, hx: Any) -> Any:
        return tuple(h.unsqueeze(1) for h in hx)

    def _without_batch(self, hx: Any) -> Any:
        return tuple(h.squeeze(1) for h in hx)


def _refuse(others: dict[str, Any], name: str) -> None:
    """ValueError for a projection, TypeError for what no network of this kind takes."""
    if others.pop("proj_size", 0):
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
    if others:
        raise TypeError(
            f"{name}.__init__() got an unexpected keyword argument '{next(iter(others))}'"
        )


__all__ = ["GRU", "LSTM", "RNN", "RNNBase"]
