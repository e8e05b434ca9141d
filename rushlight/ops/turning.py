"""The same elements in other places: flip, rot90, roll."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core.shapes import dimension
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import copied
from rushlight.ops.operands import sequence
from rushlight.ops.orders import transpose
from rushlight.primitives import structural as s
from rushlight.primitives.structural import concatenate


@op(method=True)
def flip(input: Array, *dims: Any) -> Array:
    """The order of elements reversed along each of `dims`."""
    axes = tuple(dimension(d, input.ndim) for d in sequence(dims))
    if len(set(axes)) != len(axes):
        raise RuntimeError(
            f"dim appears multiple times in the list of dims: {list(sequence(dims))}"
        )
    return s.flip(input, axes=axes) if axes and input.ndim else s.copy(input)


@flip.gradient("input")
def flip_gradient(grad: Array, dims: Any) -> Array:
    return flip(grad, *dims)


@flip.samples
def flip_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 0)
    yield Sample(make(2, 3, 4), (0, -1))
    yield Bad(make(2, 3), (0, 0), raises=RuntimeError, says="multiple times")


@op(method=True, composite=True)
def fliplr(input: Array) -> Array:
    """Columns in reversed order."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


@op(method=True, composite=True)
def flipud(input: Array) -> Array:
    """Rows in reversed order."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


def _matrix(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
    yield Bad(make(()), raises=RuntimeError, says="Input must be")


fliplr.samples(_matrix)
flipud.samples(_matrix)


@op(method=True, composite=True)
def rot90(input: Array, k: int = 1, dims: Any = (0, 1)) -> Array:
    """Turned k times by 90 degrees, from the first of `dims` towards the second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    a, b = dimension(dims[0], input.ndim), dimension(dims[1], input.ndim)
    if a == b:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}"
        )
    turns = k % 4
    if turns == 1:
        return transpose(flip(input, b), a, b)
    if turns == 2:
        return flip(input, (a, b))
    if turns == 3:
        return transpose(flip(input, a), a, b)
    return copied(input)


@rot90.samples
def rot90_samples(make: Any) -> Iterator[Any]:
    for k in range(4):
        yield Sample(make(2, 3), k)
    yield Bad(make(2, 3), 1, (0, 0), raises=RuntimeError, says="different")


@op(method=True)
def roll(input: Array, shifts: Any, dims: Any = None) -> Array:
    """Elements moved by `shifts` along `dims`; what falls off the end comes back at the start."""
    moves = sequence((shifts,)) if isinstance(shifts, (tuple, list)) else (int(shifts),)
    if dims is None or dims == ():
        if len(moves) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:0")
        flat = s.reshape(input, shape=(input.size,))
        return s.reshape(_rolled(flat, moves[0], 0), shape=input.shape)
    axes = sequence((dims,)) if isinstance(dims, (tuple, list)) else (int(dims),)
    if len(axes) != len(moves):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(axes)}"
        )
    for shift, d in zip(moves, axes, strict=True):
        input = _rolled(input, shift, dimension(d, input.ndim))
    return input


def _rolled(x: Any, shift: int, axis: int) -> Any:
    size = x.shape[axis] if x.ndim else 0
    if not size or not shift % size:
        return s.copy(x)
    cut = size - shift % size
    start, stop = [0] * x.ndim, list(x.shape)
    tail = s.slice_(
        x,
        starts=tuple(cut if a == axis else 0 for a in range(x.ndim)),
        stops=x.shape,
        steps=(1,) * x.ndim,
    )
    stop[axis] = cut
    head = s.slice_(x, starts=tuple(start), stops=tuple(stop), steps=(1,) * x.ndim)
    return concatenate(tail, head, axis=axis)


@roll.gradient("input")
def roll_gradient(grad: Array, shifts: Any, dims: Any) -> Array:
    back = [-n for n in shifts] if isinstance(shifts, (tuple, list)) else -shifts
    return roll(grad, back, dims)


@roll.samples
def roll_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 2)
    yield Sample(make(2, 3), 1, 1)
    yield Sample(make(2, 3), (1, -4), (0, 1))
    yield Bad(make(2, 3), (1, 2), 0, raises=RuntimeError, says="must align")
