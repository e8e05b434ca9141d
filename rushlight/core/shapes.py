"""Shapes as tuples of ints: broadcasting, dimension numbers, products; with the errors users see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Shape = tuple[int, ...]


def size_of(shape: Iterable[int]) -> int:
    """The number of elements: 1 for an empty shape."""
    total = 1
    for n in shape:
        total *= n
    return total


def contiguous_strides(shape: Sequence[int]) -> Shape:
    """Strides, in elements, of an array whose elements lie in the order of their indices."""
    strides: list[int] = []
    step = 1
    for n in reversed(tuple(shape)):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def broadcast(*shapes: Shape) -> Shape:
    """The shape that all broadcast to; RuntimeError naming the dimension that does not fit."""
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    rank = max(map(len, shapes))
    result = [1] * rank
    for shape in shapes:
        for back, n in enumerate(reversed(shape), 1):
            have = result[-back]
            if have == 1:
                result[-back] = n
            elif n not in (1, have):
                raise RuntimeError(
                    f"The size of tensor a ({have}) must match the size of tensor b ({n}) at non-singleton "
                    f"dimension {rank - back}: shapes "
                    + " and ".join(str(tuple(s)) for s in shapes)
                )
    return tuple(result)


def can_broadcast(source: Shape, target: Shape) -> bool:
    """Whether `source` expands to exactly `target`."""
    if len(source) > len(target):
        return False
    return all(s in (1, t) for s, t in zip(reversed(source), reversed(target), strict=False))


def dimension(dim: Any, rank: int) -> int:
    """`dim` as 0..rank-1 (a scalar counts as one dimension); IndexError out of range, TypeError if no int."""
    try:
        d = dim.__index__()
    except AttributeError:
        raise TypeError(f"dimension must be an int, not {type(dim).__name__}") from None
    span = max(rank, 1)
    if not -span <= d < span:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], but got {d})"
        )
    return int(d + span if d < 0 else d)


def dimensions(dim: Any, rank: int) -> Shape:
    """One dimension, several, or None (all) as a tuple of 0..rank-1; RuntimeError on a repetition."""
    if dim is None:
        return tuple(range(rank))
    if not isinstance(dim, (tuple, list)):
        d = dimension(dim, rank)
        return (d,) if rank else ()
    found = tuple(dimension(d, rank) for d in dim)
    if len(set(found)) != len(found):
        repeated = next(d for d in found if found.count(d) > 1)
        raise RuntimeError(f"dim {repeated} appears multiple times in the list of dims")
    return found if rank else ()


def reduced(shape: Shape, axes: Shape, keepdim: bool) -> Shape:
    """The shape that is left when `axes` are reduced."""
    if keepdim:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def inferred(shape: Sequence[int], count: int) -> Shape:
    """`shape` with its one -1 filled in for `count` elements; RuntimeError where that is impossible."""
    wanted = tuple(n.__index__() for n in shape)
    known = 1
    unknown = -1
    for i, n in enumerate(wanted):
        if n == -1:
            if unknown >= 0:
                raise RuntimeError("only one dimension can be inferred")
            unknown = i
        elif n < 0:
            raise RuntimeError(f"invalid shape dimension {n} at index {i} of shape {list(wanted)}")
        else:
            known *= n
    if unknown < 0:
        if known != count:
            raise RuntimeError(f"shape '{list(wanted)}' is invalid for input of size {count}")
        return wanted
    if known == 0:
        if count == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(wanted)} because the unspecified "
                "dimension size -1 can be any value and is ambiguous"
            )
        raise RuntimeError(f"shape '{list(wanted)}' is invalid for input of size {count}")
    if count % known:
        raise RuntimeError(f"shape '{list(wanted)}' is invalid for input of size {count}")
    return (*wanted[:unknown], count // known, *wanted[unknown + 1 :])
