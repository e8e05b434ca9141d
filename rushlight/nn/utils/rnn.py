"""Batches of sequences of unequal length: padded, or packed step by step.

What is a packed batch?
    `data` holds all first elements of the sequences, then all second ones, ...; `batch_sizes[t]` says how many
    sequences have a t-th element. Longer sequences come first: `sorted_indices` is the order that brings them there,
    `unsorted_indices` leads back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rushlight.core import dtypes
from rushlight.ops import public
from rushlight.tensor.device import check_available
from rushlight.tensor.tensor import Tensor, wrap


class PackedSequence_(NamedTuple):
    """The fields of a packed batch."""

    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(PackedSequence_):
    """A packed batch: made by `pack_padded_sequence`, taken and given by recurrent networks."""

    __slots__ = ()

    def __new__(
        cls,
        data: Any,
        batch_sizes: Any = None,
        sorted_indices: Any = None,
        unsorted_indices: Any = None,
    ) -> PackedSequence:
        if batch_sizes is None:  # made from (data, batch_sizes)
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError(
                    "PackedSequence needs batch_sizes, or a pair of data and batch_sizes"
                )
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def _with(self, data: Any) -> PackedSequence:
        return self if data is self.data else type(self)(data, *self[1:])

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The batch with data of another dtype."""
        return self._with(self.data.to(*args, **kwargs))

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Itself: batches live on the CPU."""
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """RuntimeError: there is no such device."""
        check_available("cuda")
        return self

    def pin_memory(self) -> PackedSequence:
        """Itself: there is no device to pin memory for."""
        return self

    def double(self) -> PackedSequence:
        """In float64."""
        return self.to(dtypes.float64)

    def float(self) -> PackedSequence:
        """In float32."""
        return self.to(dtypes.float32)

    def half(self) -> PackedSequence:
        """In float16."""
        return self.to(dtypes.float16)

    def long(self) -> PackedSequence:
        """In int64."""
        return self.to(dtypes.int64)

    def int(self) -> PackedSequence:
        """In int32."""
        return self.to(dtypes.int32)

    def short(self) -> PackedSequence:
        """In int16."""
        return self.to(dtypes.int16)

    def char(self) -> PackedSequence:
        """In int8."""
        return self.to(dtypes.int8)

    def byte(self) -> PackedSequence:
        """In uint8."""
        return self.to(dtypes.uint8)

    @property
    def is_cuda(self) -> bool:
        """False: batches live on the CPU."""
        return False

    def is_pinned(self) -> bool:
        """False: there is no device to pin memory for."""
        return False


def invert_permutation(permutation: Any) -> Any:
    """The permutation that undoes this one."""
    if permutation is None:
        return None
    order = permutation._array
    inverse = np.empty_like(order)
    inverse[order] = np.arange(order.size, dtype=order.dtype)
    return wrap(inverse)


def _lengths(lengths: Any) -> np.ndarray[Any, Any]:
    if isinstance(lengths, Tensor):
        return lengths._array
    return np.asarray([int(n) for n in lengths], np.int64)


def _places(lengths: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Of each packed row its time step and its sequence, for sequences sorted by falling length."""
    steps = int(lengths[0]) if lengths.size else 0
    there = np.arange(steps)[:, None] < lengths[None, :]
    step, sequence = np.nonzero(there)
    return step, sequence


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Packs (T, N, *), or (N, T, *) with `batch_first`, of sequences with these lengths.

    With `enforce_sorted` they must come by falling length. RuntimeError for lengths that are not positive, not
    sorted, or not one per sequence.

    >>> import rushlight
    >>> from rushlight.nn.utils import rnn
    >>> packed = rnn.pack_padded_sequence(
    ...     rushlight.tensor([[1, 2], [3, 0]]), [2, 1], batch_first=True
    ... )
    >>> packed.data, packed.batch_sizes
    (tensor([1, 3, 2]), tensor([2, 1]))
    """
    x: Any = input
    sizes = _lengths(lengths)
    order = None
    if not enforce_sorted:
        indices = np.argsort(-sizes, kind="stable")
        sizes, order = sizes[indices], wrap(indices.astype(np.int64))
        x = x.index_select(0 if batch_first else 1, order)
    if batch_first:
        x = x.transpose(0, 1)
    steps, batch = x.shape[:2]
    if sizes.size != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {sizes.size} (batch_size={batch})"
        )
    if sizes.size and sizes.min() <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if (np.diff(sizes) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement."
        )
    if sizes[0] > steps:
        raise RuntimeError(
            f"Expected lengths of at most {steps}, the length of the padded input, but got {int(sizes[0])}"
        )
    step, sequence = _places(sizes)
    flat = x.reshape(steps * batch, *x.shape[2:])
    data = flat.index_select(0, wrap((step * batch + sequence).astype(np.int64)))
    counts = np.bincount(step, minlength=int(sizes[0])).astype(np.int64)
    return PackedSequence(data, wrap(counts), order, None)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded batch (T, N, *), or (N, T, *), and the lengths; `total_length` pads further.

    ValueError for a `total_length` below the longest sequence.
    """
    data, batch_sizes, _, back = sequence
    counts = batch_sizes._array
    steps = longest = counts.size
    if total_length is not None:
        if total_length < longest:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {longest}"
            )
        steps = total_length
    batch = int(counts[0])
    lengths = (counts[:, None] > np.arange(batch)[None, :]).sum(0).astype(np.int64)
    step, row = _places(lengths)
    rows = data.shape[0]
    source = np.full(steps * batch, rows, np.int64)  # the row after the last is padding
    source[step * batch + row] = np.arange(rows)
    blank = data.new_full((1, *data.shape[1:]), padding_value)
    padded = public.cat([data, blank], 0).index_select(0, wrap(source))
    padded = padded.view(steps, batch, *data.shape[1:])
    if batch_first:
        padded = padded.transpose(0, 1)
    if back is not None:
        return padded.index_select(0 if batch_first else 1, back), wrap(lengths[back._array])
    return padded, wrap(lengths)


def pad_sequence(
    sequences: Any,
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stacks sequences (L_i, *) into (T, N, *), or (N, T, *), with `padding_value` after (or before) the shorter ones.

    RuntimeError for what is no sequence of tensors, or a side other than 'left' and 'right'.
    """
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)  # type: ignore[attr-defined]
    if not isinstance(sequences, Sequence) and not hasattr(sequences, "__iter__"):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"pad_sequence: padding_side must be 'left' or 'right', but got '{padding_side}'"
        )
    parts: list[Any] = list(sequences)
    if not parts:
        raise RuntimeError("received an empty list of sequences")
    longest = max(p.shape[0] for p in parts)
    full = []
    for p in parts:
        missing = longest - p.shape[0]
        if missing:
            blank = p.new_full((missing, *p.shape[1:]), padding_value)
            p = public.cat([blank, p] if padding_side == "left" else [p, blank], 0)
        full.append(p)
    return public.stack(full, 0 if batch_first else 1)  # type: ignore[no-any-return]


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of a padded batch, each cut to its length."""
    padded: Any = padded_sequences
    if not batch_first:
        padded = padded.transpose(0, 1)
    return [p[: int(n)] for p, n in zip(padded.unbind(0), _lengths(lengths))]


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Packs a list of sequences (L_i, *); with `enforce_sorted` they must come by falling length."""
    lengths = [s.shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences of a packed batch."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
    "pad_sequence", "unpack_sequence", "unpad_sequence",
]  # fmt: skip
