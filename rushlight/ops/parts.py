"""Parts of a tensor as views: narrow, select, diagonal, windows, and the many ways to split."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.core.shapes import dimension
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import sequence
from rushlight.ops.reshaping import reshape_step
from rushlight.primitives import structural as s
from rushlight.primitives.views import Steps


def slice_step(
    shape: tuple[int, ...], dim: int, start: int, stop: int, step: int = 1
) -> tuple[Any, dict[str, Any]]:
    starts, stops, steps = [0] * len(shape), list(shape), [1] * len(shape)
    starts[dim], stops[dim], steps[dim] = start, stop, step
    return s.slice_, {"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)}


@op(view=True, method=True, node="SliceBackward0")
def narrow(input: Array, dim: int, start: Any, length: int) -> Steps:
    """`length` elements along `dim` from `start` on."""
    d = dimension(dim, input.ndim)
    size = input.shape[d]
    start = int(start)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -size <= start <= size:
        raise IndexError(f"Dimension out of range: start {start} is outside [-{size}, {size}]")
    start = start + size if start < 0 else start
    if start + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return (slice_step(input.shape, d, start, start + length),)


@narrow.samples
def narrow_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 1, 1, 2)
    yield Sample(make(3, 4), 0, -2, 1)
    yield Bad(make(3, 4), 1, 3, 2, raises=RuntimeError, says="exceeds dimension size")


@op(view=True, method=True)
def select(input: Array, dim: int, index: int) -> Steps:
    """The part at `index` along `dim`, without that dimension."""
    if not input.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = dimension(dim, input.ndim)
    size = input.shape[d]
    index = int(index)
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at "
            f"dimension {d}"
        )
    index = index + size if index < 0 else index
    cut = slice_step(input.shape, d, index, index + 1)
    return (cut, (s.reshape, {"shape": (*input.shape[:d], *input.shape[d + 1 :])}))


@select.samples
def select_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 1, 2)
    yield Sample(make(3, 4), 0, -1)
    yield Bad(make(3, 4), 0, 3, raises=IndexError, says="out of range")


@op(view=True, method=True)
def diagonal(input: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Steps:
    """The diagonal of two dimensions as a new last one."""
    a, b = dimension(dim1, input.ndim), dimension(dim2, input.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return ((s.diagonal, {"offset": offset, "axis1": a, "axis2": b}),)


@diagonal.samples
def diagonal_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Sample(make(3, 4), 1)
    yield Sample(make(2, 3, 4), -1, 0, 2)
    yield Bad(make(3, 4), 0, 1, 1, raises=RuntimeError, says="identical")


@op(view=True, method=True, function=False)
def unfold(input: Array, dimension: int, size: int, step: int) -> Steps:
    """All windows of `size` along a dimension, `step` apart.

    Their elements form a new last dimension.
    """
    d = shapes.dimension(dimension, input.ndim)
    if not input.ndim:
        return reshape_step((size,))
    if size > input.shape[d]:
        raise RuntimeError(
            f"maximum size for tensor at dimension {d} is {input.shape[d]} but size is {size}"
        )
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return ((s.windows, {"axis": d, "size": size, "step": step}),)


@unfold.samples
def unfold_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(7), 0, 3, 2)
    yield Sample(make(2, 5), 1, 2, 1)
    yield Bad(make(3), 0, 4, 1, raises=RuntimeError, says="maximum size")


@op(view=True, method=True, node="SplitBackward0")
def split(input: Array, split_size_or_sections: Any, dim: int = 0) -> list[Steps]:
    """Views of equal size along `dim` (the last may be smaller), or of the listed sizes."""
    d = dimension(dim, input.ndim)
    if isinstance(split_size_or_sections, (tuple, list)):
        return _pieces(input, d, sequence((split_size_or_sections,)), "split_with_sizes")
    size = int(split_size_or_sections)
    total = input.shape[d]
    if size < 0 or (size == 0 and total):
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    count = max(1, -(-total // size)) if size else 1
    return _pieces(input, d, tuple(min(size, total - i * size) for i in range(count)), "split")


def _pieces(x: Array, d: int, sizes: tuple[int, ...], name: str) -> list[Steps]:
    if sum(sizes) != x.shape[d] or min(sizes, default=0) < 0:
        raise RuntimeError(
            f"{name} expects split_sizes to sum exactly to {x.shape[d]} (input tensor's size at "
            f"dimension {d}), but got "
            f"split_sizes={list(sizes)}"
        )
    start = 0
    chains: list[Steps] = []
    for n in sizes:
        chains.append((slice_step(x.shape, d, start, start + n),))
        start += n
    return chains


@split.samples
def split_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5, 2), 2)
    yield Sample(make(5, 2), [1, 4])
    yield Sample(make(2, 6), 3, 1)
    yield Bad(make(5), [1, 2], raises=RuntimeError, says="sum exactly")


@op(view=True, method=True, node="SplitWithSizesBackward0")
def split_with_sizes(input: Array, split_sizes: Any, dim: int = 0) -> list[Steps]:
    """Views of the listed sizes along `dim`."""
    return _pieces(input, dimension(dim, input.ndim), sequence((split_sizes,)), "split_with_sizes")


@split_with_sizes.samples
def split_with_sizes_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5, 2), [1, 4])


@op(view=True, method=True, node="SplitBackward0")
def chunk(input: Array, chunks: int, dim: int = 0) -> list[Steps]:
    """At most `chunks` views of equal size along `dim` (the last may be smaller)."""
    if chunks < 1:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    if not input.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    d = dimension(dim, input.ndim)
    total = input.shape[d]
    size = max(1, -(-total // chunks))
    count = max(1, -(-total // size))
    if total == 0:
        return _pieces(input, d, (0,) * chunks, "chunk")
    return _pieces(input, d, tuple(min(size, total - i * size) for i in range(count)), "chunk")


@chunk.samples
def chunk_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5, 2), 2)
    yield Sample(make(2, 7), 3, 1)
    yield Bad(make(3), 0, raises=RuntimeError, says="greater than 0")


@op(view=True, method=True, node="SliceBackward0")
def tensor_split(input: Array, indices_or_sections: Any, dim: int = 0) -> list[Steps]:
    """Views along `dim`: a number of nearly equal ones, or cut at the listed indices."""
    if not input.ndim:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    d = dimension(dim, input.ndim)
    total = input.shape[d]
    if hasattr(indices_or_sections, "tolist"):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, (tuple, list)):
        edges = [slice(None, i).indices(total)[1] for i in indices_or_sections]
        edges = [0, *edges, total]
        chains: list[Steps] = []
        for start, stop in itertools.pairwise(edges):
            chains.append((slice_step(input.shape, d, min(start, total), max(start, stop)),))
        return chains
    sections = int(indices_or_sections)
    if sections <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {sections}")
    small, larger = divmod(total, sections)
    return _pieces(input, d, tuple(small + (i < larger) for i in range(sections)), "tensor_split")


@tensor_split.samples
def tensor_split_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5, 2), 3)
    yield Sample(make(5, 2), (1, 3))
    yield Sample(make(2, 5), 2, -1)


def _split_along(name: str, needed: int, dim_of: Any, says: str) -> Any:
    def body(input: Array, indices_or_sections: Any) -> Any:
        if input.ndim < needed:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {needed} dimension, but got a "
                f"tensor with {input.ndim} dimensions!"
            )
        d = dim_of(input)
        if isinstance(indices_or_sections, int) and input.shape[d] % indices_or_sections:
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {d}, but the size of the "
                f"dimension {input.shape[d]} "
                f"is not divisible by the split_size {indices_or_sections}!"
            )
        return tensor_split(input, indices_or_sections, d)

    body.__name__, body.__doc__ = name, says
    declared = op(body, method=True, composite=True)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make(4, 4, 4), 2)
        yield Sample(make(4, 4, 4), (1, 3))
        yield Bad(make(3, 3, 3), 2, raises=RuntimeError, says="divisible")

    return declared


hsplit = _split_along(
    "hsplit", 1, lambda x: 0 if x.ndim == 1 else 1, "`tensor_split` along columns."
)
vsplit = _split_along("vsplit", 2, lambda x: 0, "`tensor_split` along rows.")
dsplit = _split_along("dsplit", 3, lambda x: 2, "`tensor_split` along the third dimension.")


@op(view=True, method=True)
def unbind(input: Array, dim: int = 0) -> list[Steps]:
    """All parts along `dim`, without that dimension."""
    if not input.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    d = dimension(dim, input.ndim)
    rest = (*input.shape[:d], *input.shape[d + 1 :])
    return [
        (slice_step(input.shape, d, i, i + 1), (s.reshape, {"shape": rest}))
        for i in range(input.shape[d])
    ]


@unbind.samples
def unbind_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 2))
    yield Sample(make(3, 2), 1)
    yield Bad(make(()), raises=IndexError, says="no dimensions")
