"""Other shapes of the same elements: view, reshape, flatten, squeeze, expand.

Bodies of view ops answer with steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.core import dtypes, shapes
from rushlight.core.shapes import dimension
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import sequence
from rushlight.ops.sampling import unary_samples
from rushlight.primitives import structural as s
from rushlight.primitives.views import Steps
from rushlight.tensor.size import Size


def is_viewable(x: Array, shape: tuple[int, ...]) -> bool:
    """Whether this memory can be seen in another shape without a copy."""
    flags = getattr(x, "flags", None)
    if flags is None or flags.c_contiguous:
        return True
    try:
        (x if isinstance(x, np.ndarray) else x.outline()).reshape(shape, copy=False)
    except ValueError:
        return False
    return True


def check_viewable(x: Array, shape: tuple[int, ...]) -> None:
    """RuntimeError where this memory can't be seen in another shape without a copy."""
    if not is_viewable(x, shape):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride: shape "
            f"{list(x.shape)} can't be seen "
            f"as {list(shape)} without a copy (at least one dimension spans across two contiguous "
            "subspaces). "
            "Use .reshape(...) instead."
        )


def reshape_step(shape: tuple[int, ...]) -> Steps:
    return ((s.reshape, {"shape": shape}),)


@op(view=True, method=True, function=False)
def view(input: Array, *size: Any) -> Steps:
    """The same elements in another shape; one size may be -1.

    `view(dtype)` shows the same bytes as another type.

    Raises RuntimeError where the shape does not fit the number of elements or the memory.
    """
    if len(size) == 1 and isinstance(size[0], dtypes.dtype):
        return ((s.bitcast, {"dtype": size[0].numpy}),)
    shape = shapes.inferred(sequence(size), input.size)
    check_viewable(input, shape)
    return reshape_step(shape)


@view.samples
def view_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), 2, 6)
    yield Sample(make(3, 4), (-1, 2))
    yield Sample(make(()), 1, 1)
    yield Sample(make(0, 3), 3, 0)
    yield Bad(make(3, 4), 5, -1, raises=RuntimeError, says="invalid for input of size 12")


@op(view=True, function=False, node="ViewBackward0")
def reshaped(input: Array, shape: tuple[int, ...]) -> Steps:
    """The view of `reshape`, where one is possible."""
    return reshape_step(shape)


@op(function=False, node="UnsafeViewBackward0")
def reshaped_copy(input: Array, shape: tuple[int, ...]) -> Array:
    """The copy of `reshape`, where no view is possible."""
    return s.reshape(input, shape=shape)


@reshaped_copy.gradient("input")
def reshaped_copy_gradient(grad: Array, input_shape: tuple[int, ...]) -> Array:
    return reshaped_copy(grad, input_shape)


def to_shape(x: Any, shape: tuple[int, ...]) -> Any:
    """A tensor (or array) in another shape: a view where the memory allows, else a copy."""
    array = getattr(x, "_array", x)
    return reshaped(x, shape) if is_viewable(array, shape) else reshaped_copy(x, shape)


def count_of(x: Any) -> int:
    return shapes.size_of(tuple(x.shape))


@op(method=True, composite=True)
def reshape(input: Array, *shape: Any) -> Array:
    """The same elements in another shape: a view where the memory allows, else a copy.

    One size may be -1.

    >>> import rushlight
    >>> rushlight.reshape(rushlight.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    return to_shape(input, shapes.inferred(sequence(shape), count_of(input)))


@reshape.samples
def reshape_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), (2, 6))
    yield Sample(make(3, 4), (-1,))
    yield Sample(make(0, 3), (3, 0))
    yield Bad(make(3, 4), (5, -1), raises=RuntimeError, says="invalid for input of size 12")


@op(method=True, composite=True, function=False)
def view_as(input: Array, other: Array) -> Array:
    """`view` in the other tensor's shape."""
    return view(input, tuple(other.shape))


@op(method=True, composite=True, function=False)
def reshape_as(input: Array, other: Array) -> Array:
    """`reshape` to the other tensor's shape."""
    return to_shape(input, shapes.inferred(tuple(other.shape), count_of(input)))


def _as_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(2, 6))


view_as.samples(_as_samples)
reshape_as.samples(_as_samples)


@op(method=True, composite=True)
def flatten(input: Array, start_dim: int = 0, end_dim: int = -1) -> Array:
    """Dimensions `start_dim` to `end_dim` as one.

    >>> import rushlight
    >>> rushlight.flatten(rushlight.zeros(2, 3, 4), 1).shape
    torch.Size([2, 12])
    """
    shape = tuple(input.shape)
    if not shape:
        return to_shape(input, (1,))
    first, last = dimension(start_dim, len(shape)), dimension(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if first == last:
        return input
    merged = (*shape[:first], shapes.size_of(shape[first : last + 1]), *shape[last + 1 :])
    return to_shape(input, merged)


@flatten.samples
def flatten_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4))
    yield Sample(make(2, 3, 4), 1)
    yield Sample(make(()))
    yield Bad(make(2, 3, 4), 2, 1, raises=RuntimeError, says="start_dim cannot come after end_dim")


@op(method=True, composite=True)
def unflatten(input: Array, dim: int, sizes: Any) -> Array:
    """One dimension as several; one of `sizes` may be -1."""
    shape = tuple(input.shape)
    d = dimension(dim, len(shape))
    sizes = sequence((sizes,))
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    known = shapes.size_of(n for n in sizes if n != -1)
    if -1 in sizes and known and shape[d] % known == 0:
        sizes = tuple(shape[d] // known if n == -1 else n for n in sizes)
    if shapes.size_of(sizes) != shape[d]:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} "
            f"({shape[d]}) in the input tensor"
        )
    return to_shape(input, (*shape[:d], *sizes, *shape[d + 1 :]))


@unflatten.samples
def unflatten_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 6), 1, (2, 3))
    yield Sample(make(6), 0, (-1, 2))
    yield Bad(make(2, 6), 1, (4, 2), raises=RuntimeError, says="multiply up")


@op(method=True, composite=True)
def ravel(input: Array) -> Array:
    """All elements in one dimension: a view where the memory allows."""
    return to_shape(input, (count_of(input),))


ravel.samples(unary_samples())


@op(view=True, function=False, node="SqueezeBackward0")
def squeeze_all(input: Array) -> Steps:
    """`squeeze` without a dim."""
    return reshape_step(tuple(n for n in input.shape if n != 1))


@op(view=True, function=False, node="SqueezeBackward1")
def squeeze_one(input: Array, dim: int) -> Steps:
    """`squeeze` of one dimension."""
    d = dimension(dim, input.ndim)
    return reshape_step(tuple(n for i, n in enumerate(input.shape) if i != d or n != 1))


@op(view=True, function=False, node="SqueezeBackward2")
def squeeze_several(input: Array, dim: tuple[int, ...]) -> Steps:
    """`squeeze` of several dimensions."""
    which = shapes.dimensions(tuple(dim), input.ndim)
    return reshape_step(tuple(n for i, n in enumerate(input.shape) if i not in which or n != 1))


@op(method=True, composite=True)
def squeeze(input: Array, dim: Any = None) -> Array:
    """Without the dimensions of size 1, or without those of `dim` (an int or a tuple) that have it.

    >>> import rushlight
    >>> rushlight.squeeze(rushlight.zeros(2, 1, 3, 1)).shape
    torch.Size([2, 3])
    """
    if dim is None:
        return squeeze_all(input)
    return (squeeze_several if isinstance(dim, (tuple, list)) else squeeze_one)(input, dim)


@squeeze.samples
def squeeze_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 1, 3, 1))
    yield Sample(make(2, 1, 3, 1), 1)
    yield Sample(make(2, 1, 3, 1), (1, -1))
    yield Sample(make(2, 1), 0)
    yield Bad(make(2, 1), 2, raises=IndexError, says="out of range")


@op(view=True, method=True)
def unsqueeze(input: Array, dim: int) -> Steps:
    """With a new dimension of size 1 at `dim`."""
    d = dimension(dim, input.ndim + 1)
    return reshape_step((*input.shape[:d], 1, *input.shape[d:]))


@unsqueeze.samples
def unsqueeze_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 1)
    yield Sample(make(2, 3), -1)
    yield Sample(make(()), 0)
    yield Bad(make(2), 2, raises=IndexError, says="out of range")


# -- expansion -------------------------------------------------------------------------------------


@op(view=True, method=True, function=False)
def expand(input: Array, *size: Any) -> Steps:
    """Dimensions of size 1 repeated without a copy, and new ones put before; -1 keeps a size."""
    wanted = sequence(size)
    extra = len(wanted) - input.ndim
    if extra < 0:
        raise RuntimeError(
            f"expand({list(input.shape)}, size={list(wanted)}): the number of sizes provided "
            f"({len(wanted)}) must be "
            f"greater or equal to the number of dimensions in the tensor ({input.ndim})"
        )
    shape = []
    for i, n in enumerate(wanted):
        have = input.shape[i - extra] if i >= extra else None
        if n == -1:
            if have is None:
                raise RuntimeError(
                    "The expanded size of the tensor (-1) isn't allowed in a leading, "
                    f"non-existing dimension {i}"
                )
            n = have
        elif have not in (None, 1, n):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                "non-singleton dimension "
                f"{i}.  Target sizes: {list(wanted)}.  Tensor sizes: {list(input.shape)}"
            )
        shape.append(n)
    return ((s.expand, {"shape": tuple(shape)}),)


@expand.samples
def expand_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 1), 3, 4)
    yield Sample(make(1, 3), (2, -1, -1))
    yield Sample(make(()), 2)
    yield Bad(make(3), 4, raises=RuntimeError, says="must match the existing size")


@op(method=True, composite=True, function=False)
def expand_as(input: Array, other: Array) -> Array:
    """`expand` to the other tensor's shape."""
    return expand(input, tuple(other.shape))


@expand_as.samples
def expand_as_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 1), make(2, 3, 4))


@op(method=True, composite=True)
def broadcast_to(input: Array, size: Any) -> Array:
    """`expand` as a function."""
    return expand(input, size)


@broadcast_to.samples
def broadcast_to_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 1), (2, 3, 4))


@op(composite=True)
def broadcast_tensors(*tensors: Any) -> Any:
    """The tensors expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    shape = shapes.broadcast(*(tuple(x.shape) for x in tensors))
    return tuple(expand(x, shape) for x in tensors)


@broadcast_tensors.samples
def broadcast_tensors_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 1), make(4))
    yield Bad(make(3), make(4), raises=RuntimeError, says="must match")


@op(composite=True, differentiable=False)
def broadcast_shapes(*shapes_: Any) -> Any:
    """The shape that all the given shapes (or sizes of vectors) broadcast to.

    Raises RuntimeError if there is none.

    >>> import rushlight
    >>> rushlight.broadcast_shapes((2, 1), 3)
    torch.Size([2, 3])
    """
    return Size(shapes.broadcast((), *(sequence((n,)) for n in shapes_)))


@broadcast_shapes.samples
def broadcast_shapes_samples(make: Any) -> Iterator[Any]:
    yield Sample((2, 1), (3,), ())
    yield Bad((2,), (3,), raises=RuntimeError, says="must match")


def _at_least(name: str, rank: int, dims: Any) -> Any:
    def raised(x: Any) -> Any:
        for at in dims[x.ndim] if x.ndim < rank else ():
            x = unsqueeze(x, at)
        return x

    def body(*tensors: Any) -> Any:
        if len(tensors) == 1 and not isinstance(tensors[0], (tuple, list)):
            return raised(tensors[0])
        return tuple(map(raised, tensors[0] if len(tensors) == 1 else tensors))

    body.__name__, body.__doc__ = name, f"Tensors with at least {rank} dimension{'s' * (rank > 1)}."
    declared = op(body, composite=True)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make(3))
        yield Sample(make(()))
        yield Sample(make(2, 3))
        yield Sample((make(2), make(())))

    return declared


# For each number of dimensions a tensor has: where new ones go, one after the other.
atleast_1d = _at_least("atleast_1d", 1, ((0,),))
atleast_2d = _at_least("atleast_2d", 2, ((0, 0), (0,)))
atleast_3d = _at_least("atleast_3d", 3, ((0, 0, 0), (0, 2), (2,)))
