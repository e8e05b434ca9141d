"""Products of sets: grids, tuples, choices, and Kronecker's product."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from rushlight.core import shapes
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import stack, take_listed
from rushlight.ops.orders import transpose
from rushlight.ops.reshaping import expand, to_shape
from rushlight.ops.triangles import zeros_of


@op(composite=True)
def meshgrid(*tensors: Any, indexing: str | None = None) -> Any:
    """Vectors expanded to a common grid; `indexing` is "ij" (rows first, the default) or "xy"."""
    items: Sequence[Any] = (
        tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    )
    if not items:
        raise ValueError("meshgrid expects a non-empty TensorList")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    if any(x.ndim > 1 for x in items):
        raise RuntimeError(
            "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: "
            f"{[x.ndim for x in items]}"
        )
    sizes = tuple(shapes.size_of(tuple(x.shape)) for x in items)
    grids = [
        expand(to_shape(x, tuple(n if j == i else 1 for j, n in enumerate(sizes))), sizes)
        for i, x in enumerate(items)
    ]
    return (
        tuple(transpose(g, 0, 1) for g in grids)
        if indexing == "xy" and len(items) > 1
        else tuple(grids)
    )


@meshgrid.samples
def meshgrid_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2), make(3))
    yield Sample(make(2), make(3), make(()), indexing="xy")
    yield Bad(make(2), indexing="up", raises=RuntimeError, says="indexing must be")


@op(composite=True)
def cartesian_prod(*tensors: Any) -> Array:
    """All tuples of elements of vectors, one a row."""
    if len(tensors) == 1:
        return tensors[0]
    return stack(
        [to_shape(g, (shapes.size_of(tuple(g.shape)),)) for g in meshgrid(*tensors, indexing="ij")],
        1,
    )


@cartesian_prod.samples
def cartesian_prod_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2), make(3))


@op(composite=True)
def combinations(input: Array, r: int = 2, with_replacement: bool = False) -> Array:
    """All choices of r elements of a vector, one a row."""
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    (size,) = tuple(input.shape)
    rows = list(choose(range(size), r))
    if r == 0:
        return zeros_of(input, (0,))
    places = tuple(i for row in rows for i in row)
    return to_shape(take_listed(input, places, 0), (len(rows), r))


@combinations.samples
def combinations_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4))
    yield Sample(make(3), 2, True)


@op(method=True, composite=True)
def kron(input: Array, other: Array) -> Array:
    """Kronecker's product: each element of `input` times all of `other`."""
    rank = max(input.ndim, other.ndim)
    a = (1,) * (rank - input.ndim) + tuple(input.shape)
    b = (1,) * (rank - other.ndim) + tuple(other.shape)
    left = to_shape(input, tuple(n for x in a for n in (x, 1)))
    right = to_shape(other, tuple(n for x in b for n in (1, x)))
    return to_shape(left * right, tuple(x * y for x, y in zip(a, b, strict=True)))


@kron.samples
def kron_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(3, 2))
    yield Sample(make(2), make(3, 2))
