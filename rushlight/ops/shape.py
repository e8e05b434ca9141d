"""Views of a tensor: other shapes, orders of dimensions, parts. Bodies answer with the steps to the view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes, shapes
from rushlight.core.shapes import dimension
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import sequence
from rushlight.ops.sampling import unary_samples
from rushlight.primitives import structural as s
from rushlight.primitives.interpreter import slot
from rushlight.primitives.views import Steps


def is_viewable(x: Array, shape: tuple[int, ...]) -> bool:
    """Whether this memory can be seen in another shape without a copy. Traced values always can."""
    if slot.recorder is not None or x.flags.c_contiguous:
        return True
    try:
        x.reshape(shape, copy=False)
    except ValueError:
        return False
    return True


def check_viewable(x: Array, shape: tuple[int, ...]) -> None:
    """RuntimeError where this memory can't be seen in another shape without a copy."""
    if not is_viewable(x, shape):
        raise RuntimeError(
            f"view size is not compatible with input tensor's size and stride: shape {list(x.shape)} can't be seen "
            f"as {list(shape)} without a copy (at least one dimension spans across two contiguous subspaces). "
            "Use .reshape(...) instead."
        )


def _reshape(shape: tuple[int, ...]) -> Steps:
    return ((s.reshape, {"shape": shape}),)


def _permute(axes: tuple[int, ...]) -> Steps:
    return ((s.permute, {"axes": axes}),)


def _slice(shape: tuple[int, ...], dim: int, start: int, stop: int, step: int = 1) -> tuple[Any, dict[str, Any]]:
    starts, stops, steps = [0] * len(shape), list(shape), [1] * len(shape)
    starts[dim], stops[dim], steps[dim] = start, stop, step
    return s.slice_, {"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)}


@op(view=True, method=True, function=False)
def view(input: Array, *size: Any) -> Steps:
    """The same elements in another shape; one size may be -1. Also `view(dtype)`: the same bytes as another type.

    Raises RuntimeError where the shape does not fit the number of elements or the memory.
    """
    if len(size) == 1 and isinstance(size[0], dtypes.dtype):
        return ((s.bitcast, {"dtype": size[0].numpy}),)
    shape = shapes.inferred(sequence(size), input.size)
    check_viewable(input, shape)
    return _reshape(shape)


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
    return _reshape(shape)


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


def _count(x: Any) -> int:
    return shapes.size_of(tuple(x.shape))


@op(method=True, composite=True)
def reshape(input: Array, *shape: Any) -> Array:
    """The same elements in another shape: a view where the memory allows, else a copy. One size may be -1.

    >>> import rushlight
    >>> rushlight.reshape(rushlight.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    return to_shape(input, shapes.inferred(sequence(shape), _count(input)))


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
    return to_shape(input, shapes.inferred(tuple(other.shape), _count(input)))


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
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} ({shape[d]}) in the input tensor"
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
    return to_shape(input, (_count(input),))


ravel.samples(unary_samples())


@op(view=True, method=True)
def squeeze(input: Array, dim: Any = None) -> Steps:
    """Without the dimensions of size 1, or without those of `dim` (an int or a tuple) that have size 1."""
    shape = input.shape
    which = range(len(shape)) if dim is None else shapes.dimensions(dim, len(shape))
    return _reshape(tuple(n for i, n in enumerate(shape) if n != 1 or i not in which))


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
    return _reshape((*input.shape[:d], 1, *input.shape[d:]))


@unsqueeze.samples
def unsqueeze_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 1)
    yield Sample(make(2, 3), -1)
    yield Sample(make(()), 0)
    yield Bad(make(2), 2, raises=IndexError, says="out of range")


# -- orders of dimensions -----------------------------------------------------------------------------------


@op(view=True, method=True, aliases=("swapaxes", "swapdims"))
def transpose(input: Array, dim0: int, dim1: int) -> Steps:
    """Dimensions `dim0` and `dim1` exchanged."""
    a, b = dimension(dim0, input.ndim), dimension(dim1, input.ndim)
    axes = list(range(input.ndim))
    if axes:
        axes[a], axes[b] = axes[b], axes[a]
    return _permute(tuple(axes))


@transpose.samples
def transpose_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4), 0, 2)
    yield Sample(make(2, 3), -1, -2)
    yield Sample(make(()), 0, 0)
    yield Bad(make(2, 3), 0, 2, raises=IndexError, says="out of range")


@op(view=True, method=True, node="TBackward0")
def t(input: Array) -> Steps:
    """A matrix transposed; vectors and scalars as they are. Raises RuntimeError for more dimensions."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return _permute(tuple(reversed(range(input.ndim))))


@t.samples
def t_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
    yield Sample(make(3))
    yield Bad(make(2, 3, 4), raises=RuntimeError, says="<= 2 dimensions")


@op(view=True, method=True)
def permute(input: Array, *dims: Any) -> Steps:
    """The dimensions in another order."""
    wanted = sequence(dims)
    if len(wanted) != input.ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {input.ndim} is not equal to len(dims) = {len(wanted)}"
        )
    axes = tuple(dimension(d, input.ndim) for d in wanted)
    if len(set(axes)) != len(axes):
        raise RuntimeError(f"permute(): duplicate dims are not allowed: {list(wanted)}")
    return _permute(axes)


@permute.samples
def permute_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4), (2, 0, 1))
    yield Sample(make(2, 3), (-1, 0))
    yield Sample(make(()), ())
    yield Bad(make(2, 3), (0, 0), raises=RuntimeError, says="duplicate")


@op(view=True, method=True, aliases=("moveaxis",), node="PermuteBackward0")
def movedim(input: Array, source: Any, destination: Any) -> Steps:
    """Dimensions moved from `source` to `destination` (ints or tuples); the others keep their order."""
    sources, targets = sequence((source,)) if isinstance(source, (tuple, list)) else (source,), None
    targets = sequence((destination,)) if isinstance(destination, (tuple, list)) else (destination,)
    if len(sources) != len(targets):
        raise RuntimeError(f"movedim: Invalid source or destination dims: {source} and {destination} differ in length")
    rank = input.ndim
    sources, targets = tuple(dimension(d, rank) for d in sources), tuple(dimension(d, rank) for d in targets)
    if len(set(sources)) != len(sources) or len(set(targets)) != len(targets):
        raise RuntimeError("movedim: repeated dim in `source` or `destination`")
    rest = iter(i for i in range(rank) if i not in sources)
    placed = dict(zip(targets, sources, strict=True))
    return _permute(tuple(placed[i] if i in placed else next(rest) for i in range(rank)))


@movedim.samples
def movedim_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4), 0, 2)
    yield Sample(make(2, 3, 4), (0, 1), (2, 0))
    yield Bad(make(2, 3), (0, 0), (0, 1), raises=RuntimeError, says="repeated dim")


@op(view=True, method=False, function=False, node="PermuteBackward0")
def reversed_dims(input: Array) -> Steps:
    """What `Tensor.T` gives."""
    return _permute(tuple(reversed(range(input.ndim))))


@op(view=True, method=False, function=False, node="TransposeBackward0")
def matrix_transpose(input: Array) -> Steps:
    """What `Tensor.mT` gives: the last two dimensions exchanged."""
    if input.ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor.")
    return _permute((*range(input.ndim - 2), input.ndim - 1, input.ndim - 2))


# -- expansion ----------------------------------------------------------------------------------------------


@op(view=True, method=True, function=False)
def expand(input: Array, *size: Any) -> Steps:
    """Dimensions of size 1 repeated without a copy, and new ones put before; -1 keeps a size."""
    wanted = sequence(size)
    extra = len(wanted) - input.ndim
    if extra < 0:
        raise RuntimeError(
            f"expand({list(input.shape)}, size={list(wanted)}): the number of sizes provided ({len(wanted)}) must be "
            f"greater or equal to the number of dimensions in the tensor ({input.ndim})"
        )
    shape = []
    for i, n in enumerate(wanted):
        have = input.shape[i - extra] if i >= extra else None
        if n == -1:
            if have is None:
                raise RuntimeError(f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}")
            n = have
        elif have not in (None, 1, n):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at non-singleton dimension "
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


# -- parts --------------------------------------------------------------------------------------------------


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
    return (_slice(input.shape, d, start, start + length),)


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
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {d}"
        )
    index = index + size if index < 0 else index
    cut = _slice(input.shape, d, index, index + 1)
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
    """All windows of `size` along a dimension, `step` apart; their elements form a new last dimension."""
    d = shapes.dimension(dimension, input.ndim)
    if not input.ndim:
        return _reshape((size,))
    if size > input.shape[d]:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {input.shape[d]} but size is {size}")
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
            f"{name} expects split_sizes to sum exactly to {x.shape[d]} (input tensor's size at dimension {d}), but got "
            f"split_sizes={list(sizes)}"
        )
    start, chains = 0, []
    for n in sizes:
        chains.append((_slice(x.shape, d, start, start + n),))
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


@op(view=True, method=True, node="SplitBackward0")
def tensor_split(input: Array, indices_or_sections: Any, dim: int = 0) -> list[Steps]:
    """Views along `dim`: a number of nearly equal ones, or cut at the listed indices."""
    if not input.ndim:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    d = dimension(dim, input.ndim)
    total = input.shape[d]
    if hasattr(indices_or_sections, "tolist"):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, (tuple, list)):
        edges = [slice(None, i).indices(total)[1] for i in indices_or_sections]
        edges = [0, *edges, total]
        chains = []
        for start, stop in zip(edges, edges[1:]):
            chains.append((_slice(input.shape, d, min(start, total), max(start, stop)),))
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
            raise RuntimeError(f"torch.{name} requires a tensor with at least {needed} dimension, but got a tensor with {input.ndim} dimensions!")
        d = dim_of(input)
        if isinstance(indices_or_sections, int) and input.shape[d] % indices_or_sections:
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {d}, but the size of the dimension {input.shape[d]} "
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


hsplit = _split_along("hsplit", 1, lambda x: 0 if x.ndim == 1 else 1, "`tensor_split` along columns.")
vsplit = _split_along("vsplit", 2, lambda x: 0, "`tensor_split` along rows.")
dsplit = _split_along("dsplit", 3, lambda x: 2, "`tensor_split` along the third dimension.")


@op(view=True, method=True)
def unbind(input: Array, dim: int = 0) -> list[Steps]:
    """All parts along `dim`, without that dimension."""
    if not input.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    d = dimension(dim, input.ndim)
    rest = (*input.shape[:d], *input.shape[d + 1 :])
    return [(_slice(input.shape, d, i, i + 1), (s.reshape, {"shape": rest})) for i in range(input.shape[d])]


@unbind.samples
def unbind_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 2))
    yield Sample(make(3, 2), 1)
    yield Bad(make(()), raises=IndexError, says="no dimensions")


def _at_least(name: str, rank: int, shape_of: Any) -> Any:
    def body(*tensors: Any) -> Any:
        if len(tensors) == 1 and not isinstance(tensors[0], (tuple, list)):
            x = tensors[0]
            return x if len(x.shape) >= rank else to_shape(x, shape_of(tuple(x.shape)))
        items = tensors[0] if len(tensors) == 1 else tensors
        return tuple(body(x) for x in items)

    body.__name__, body.__doc__ = name, f"Tensors with at least {rank} dimension{'s' * (rank > 1)}."
    declared = op(body, composite=True)

    @declared.samples
    def samples(make: Any) -> Iterator[Any]:
        yield Sample(make(3))
        yield Sample(make(()))
        yield Sample(make(2, 3))
        yield Sample((make(2), make(())))

    return declared


atleast_1d = _at_least("atleast_1d", 1, lambda shape: (1,))
atleast_2d = _at_least("atleast_2d", 2, lambda shape: (1, *(shape or (1,))))
atleast_3d = _at_least("atleast_3d", 3, lambda shape: (1, *shape, 1) if len(shape) == 1 else (*(shape or (1, 1)), 1))
