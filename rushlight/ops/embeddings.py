"""Rows of a table by number: embeddings, bags of them, one-hot."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from rushlight.autograd.modes import no_grad
from rushlight.core import shapes
from rushlight.core.dtypes import BOOL, INT64, INTEGRAL
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.gathering import zeros_shaped
from rushlight.ops.joining import stack
from rushlight.ops.norms import vector_norm
from rushlight.ops.operands import to
from rushlight.ops.reduction import mean, sum
from rushlight.ops.scattering import scatter
from rushlight.ops.shape import to_shape, unsqueeze
from rushlight.primitives import elementwise as p
from rushlight.primitives import gather as g
from rushlight.primitives import structural as s
from rushlight.primitives.checks import within

# -- embeddings ---------------------------------------------------------------------------------------------


@op(function=False, node="EmbeddingBackward0")
def embedding_rows(
    weight: Array, input: Array, padding_idx: int, scale_grad_by_freq: bool
) -> Array:
    """The rows of `weight` at the indices `input`."""
    if input.dtype not in INTEGRAL or input.dtype == BOOL:
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got {input.dtype} instead (while checking arguments for embedding)"
        )
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    try:
        return g.take(weight, to(input, INT64), axes=(0,), front=False)
    except IndexError as error:
        raise IndexError(
            f"index out of range in self: {error}; the embedding has {weight.shape[0]} rows"
        ) from None


@embedding_rows.gradient("weight")
def embedding_rows_gradient(
    grad: Array, weight_shape: Any, input: Array, padding_idx: int, scale_grad_by_freq: bool
) -> Array:
    return embedding_sums(grad, input, weight_shape[0], padding_idx, scale_grad_by_freq)


@op(function=False)
def embedding_sums(
    grad: Array, input: Array, rows: int, padding_idx: int, scale_grad_by_freq: bool
) -> Array:
    """The gradients of all uses of each row, added (divided by their number if asked); none for the padding row."""
    places = to(input, INT64)
    width = grad.shape[-1]
    zero = s.full(0, shape=(rows, width), dtype=grad.dtype)
    if padding_idx >= 0:
        keep = s.reshape(p.not_equal(places, padding_idx), shape=(*places.shape, 1))
        grad = s.select(keep, grad, s.full(0, shape=(), dtype=grad.dtype))
    if scale_grad_by_freq:
        ones = s.full(1, shape=places.shape, dtype=grad.dtype)
        counts = g.put_add(
            s.full(0, shape=(rows,), dtype=grad.dtype), ones, places, axes=(0,), front=False
        )
        grad = p.div(
            grad,
            s.reshape(g.take(counts, places, axes=(0,), front=False), shape=(*places.shape, 1)),
        )
    return g.put_add(zero, grad, places, axes=(0,), front=False)


@embedding_sums.gradient("grad")
def embedding_sums_gradient(
    grad: Array, input: Array, padding_idx: int, scale_grad_by_freq: bool
) -> Array:
    if scale_grad_by_freq or padding_idx >= 0:
        raise NotImplementedError(
            "the second derivative of embedding with padding_idx or scale_grad_by_freq is not implemented"
        )
    return embedding_rows(grad, input, padding_idx, scale_grad_by_freq)


@embedding_rows.samples
def embedding_rows_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5, 3), make.ints(2, 4, high=5), -1, False)


@embedding_sums.samples
def embedding_sums_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4, 3), make.ints(4, high=5), 5, -1, False)


def _renormed(weight: Any, index: Any, max_norm: float, norm_type: float) -> None:
    """Rows in use with a norm above `max_norm` are scaled down to it, in place."""
    with no_grad():
        for row in sorted(set(index.reshape(-1).tolist())):
            part = weight[row]
            size = vector_norm(part, norm_type).item()
            if size > max_norm:
                part.mul_(max_norm / (size + 1e-7))


@op(module="nn.functional", composite=True)
def embedding(
    input: Array, weight: Array, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Array:  # fmt: skip
    """The rows of `weight` (rows, width) at the indices `input` (...): (..., width). `padding_idx` gets no gradient."""
    rows = next(iter(weight.shape))
    padding = -1
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding = padding_idx + rows if padding_idx < 0 else padding_idx
    if sparse:
        raise NotImplementedError(
            "embedding: sparse gradients are not built; leave out sparse=True"
        )
    if max_norm is not None:
        _renormed(weight, input, max_norm, norm_type)
    return embedding_rows(weight, input, padding, scale_grad_by_freq)


@embedding.samples
def embedding_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(2, 3, high=5), make(5, 4))
    yield Sample(make.ints(4, high=5), make(5, 4))
    yield Bad(make(3), make(5, 4), raises=RuntimeError, says="scalar types")
    yield Bad(make.ints(3, low=7, high=8), make(5, 4), raises=IndexError, says="out of range")


@op(module="nn.functional", composite=True, traceable=False)
def embedding_bag(
    input: Array, weight: Array, offsets: Any = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Array:  # fmt: skip
    """The sum, mean or largest of the rows of each bag of indices: bags are rows of `input`, or start at `offsets`."""
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode has to be one of sum, mean or max, got {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            f"for mode='sum' (got mode='{mode}')."
        )
    if len(input.shape) == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                "of fixed length sequences."
            )
        count, length = tuple(input.shape)
        starts = [i * length for i in range(count + 1)]
        weights = (
            None if per_sample_weights is None else to_shape(per_sample_weights, (count * length,))
        )
    elif len(input.shape) == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        starts = offsets.tolist()
        if not include_last_offset:
            starts = [*starts, next(iter(input.shape))]
        weights = per_sample_weights
    else:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {len(input.shape)}"
        )
    rows = next(iter(weight.shape))
    padding = None if padding_idx is None else padding_idx % rows
    flat = to_shape(input, (shapes.size_of(tuple(input.shape)),))
    if max_norm is not None:
        _renormed(weight, flat, max_norm, norm_type)
    found = embedding_rows(weight, flat, -1 if padding is None else padding, scale_grad_by_freq)
    if weights is not None:
        found = found * unsqueeze(weights, 1)
    listed = flat.tolist()
    bags = []
    for start, stop in itertools.pairwise(starts):
        used = [i for i in range(start, stop) if listed[i] != padding]
        if not used:
            bags.append(sum(weight[:1], 0) * 0)
            continue
        bag = found[start:stop] if len(used) == stop - start else found[used]
        bags.append(
            sum(bag, 0) if mode == "sum" else mean(bag, 0) if mode == "mean" else bag.max(0)[0]
        )
    return stack(bags)


@embedding_bag.samples
def embedding_bag_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(2, 3, high=5), make(5, 4))
    yield Sample(make.ints(2, 3, high=5), make(5, 4), mode="sum", per_sample_weights=make(2, 3))
    yield Bad(
        make.ints(2, 3, high=5), make(5, 4), mode="some", raises=ValueError, says="mode has to be"
    )


@op(function=False, differentiable=False)
def classes_below(input: Array, num_classes: int) -> Array:
    """The classes as they are; RuntimeError where one is not in [0, num_classes)."""
    input = within(input, low=0, high=None, message="Class values must be non-negative.")
    below = num_classes - 1
    return within(
        input, low=None, high=below, message="Class values must be smaller than num_classes."
    )


@classes_below.samples
def classes_below_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(2, 3, high=4), 4)
    yield Bad(make.ints(3, low=-3, high=-1), 4, raises=RuntimeError, says="non-negative")


@op(module="nn.functional", composite=True, traceable=False, differentiable=False)
def one_hot(tensor: Array, num_classes: int = -1) -> Array:
    """Classes as rows with a one: (...) in int64 to (..., num_classes), the largest class + 1 where that is -1."""
    if getattr(tensor.dtype, "name", "") != "int64":
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if not shapes.size_of(tuple(tensor.shape)):
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return zeros_shaped(tensor, (*tuple(tensor.shape), num_classes))
    if num_classes == -1:
        num_classes = int(tensor.max()) + 1
    tensor = classes_below(tensor, num_classes)
    return scatter(
        zeros_shaped(tensor, (*tuple(tensor.shape), num_classes)), -1, unsqueeze(tensor, -1), 1
    )


@one_hot.samples
def one_hot_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(2, 3, high=4), 4)
    yield Sample(make.ints(3, high=4))
    yield Bad(make.ints(3, low=5, high=6), 4, raises=RuntimeError, says="smaller than num_classes")
