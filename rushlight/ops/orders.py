"""Other orders of the dimensions: transpose, permute, movedim, and the properties T, mT, H, mH."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.core.shapes import dimension
from rushlight.core.sites import warn_user
from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import sequence
from rushlight.primitives import structural as s
from rushlight.primitives.views import Steps


def _permute(axes: tuple[int, ...]) -> Steps:
    return ((s.permute, {"axes": axes}),)


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
    """A matrix transposed; vectors and scalars as they are.

    Raises RuntimeError for more dimensions.
    """
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
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            "length of the desired "
            f"ordering of dimensions i.e. input.dim() = {input.ndim} is not equal to len(dims) = "
            f"{len(wanted)}"
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
    """Dimensions moved from `source` to `destination` (ints or tuples).

    The others keep their order.
    """
    sources, targets = sequence((source,)) if isinstance(source, (tuple, list)) else (source,), None
    targets = sequence((destination,)) if isinstance(destination, (tuple, list)) else (destination,)
    if len(sources) != len(targets):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: {source} and {destination} differ in "
            "length"
        )
    rank = input.ndim
    sources, targets = (
        tuple(dimension(d, rank) for d in sources),
        tuple(dimension(d, rank) for d in targets),
    )
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


@op(view=True, function=False, node="PermuteBackward0")
def reversed_dims(input: Array) -> Steps:
    """All dimensions in reversed order."""
    return _permute(tuple(reversed(range(input.ndim))))


@reversed_dims.samples
def reversed_dims_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4))
    yield Sample(make(()))


@op(view=True, function=False, node="TransposeBackward0")
def matrix_transpose(input: Array) -> Steps:
    """The last two dimensions exchanged."""
    return _permute((*range(input.ndim - 2), input.ndim - 1, input.ndim - 2))


@matrix_transpose.samples
def matrix_transpose_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
    yield Sample(make(2, 3, 4))


def _matrices(x: Any, name: str, instead: str) -> bool:
    """Whether there are two dimensions to exchange; a scalar is let through with a warning."""
    if x.ndim >= 2:
        return True
    if x.ndim == 1:
        raise RuntimeError(
            f"{name} is only supported on matrices or batches of matrices. Got 1-D tensor."
        )
    warn_user(f"{name} is deprecated on 0-D tensors. {instead}")
    return False


@op(composite=True, function=False, property="T")
def transposed(input: Array) -> Array:
    """The matrix transposed (of other tensors, all dimensions reversed: deprecated)."""
    if input.ndim != 2:
        warn_user(
            f"The use of `x.T` on tensors of dimension other than 2 (here {input.ndim}) to reverse "
            "their shape is "
            "deprecated and it will throw an error in a future release. Write `x.mT` for batches "
            "of matrices, or "
            "`x.permute(...)`."
        )
    return reversed_dims(input)


@op(composite=True, function=False, property="mT")
def matrices_transposed(input: Array) -> Array:
    """Matrices transposed: the last two dimensions exchanged. Raises RuntimeError for vectors."""
    return (
        matrix_transpose(input)
        if _matrices(input, "tensor.mT", "It is the tensor itself.")
        else input
    )


@op(composite=True, method=True)
def adjoint(input: Array) -> Array:
    """Matrices transposed and conjugated. Raises RuntimeError for vectors.

    >>> import rushlight
    >>> rushlight.adjoint(rushlight.tensor([[1 + 2j, 3j]]))
    tensor([[1.-2.j],
            [0.-3.j]])
    """
    if not _matrices(input, "tensor.adjoint()", "Use x.conj()."):
        return conjugate(input)
    return conjugate(matrix_transpose(input))


@op(composite=True, function=False, property="mH")
def matrices_adjoint(input: Array) -> Array:
    """Matrices transposed and conjugated. Raises RuntimeError for vectors."""
    if not _matrices(input, "tensor.mH", "Use x.conj()."):
        return conjugate(input)
    return conjugate(matrix_transpose(input))


@op(composite=True, function=False, property="H")
def hermitian(input: Array) -> Array:
    """The matrix transposed and conjugated. Raises RuntimeError for other tensors."""
    if input.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {input.ndim}-D tensor. For "
            "batches of "
            "matrices, use tensor.mH."
        )
    return matrices_adjoint(input)


def _matrix_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
    yield Sample(make(2, 3, dtype=dtypes.complex128))
    yield Bad(make(3), raises=RuntimeError, says="only supported on matrices")


for _call in (matrices_transposed, adjoint, matrices_adjoint, hermitian):
    _call.samples(_matrix_samples)


@transposed.samples
def transposed_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
