"""Products of matrices and vectors: mm, bmm, matmul, dot, addmm and their kin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.core.dtypes import FLOAT32, HALF
from rushlight.ops.complex_numbers import conjugate
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.operands import promote, to
from rushlight.ops.reduction import sum
from rushlight.ops.shape import (
    expand,
    matrix_transpose,
    select,
    t,
    to_shape,
    unsqueeze,
)
from rushlight.primitives import elementwise as p
from rushlight.primitives.contraction import contract


def _same_dtype(name: str, *operands: Any) -> None:
    first = operands[0].dtype
    for x in operands[1:]:
        if x.dtype != first:
            raise RuntimeError(
                f"{name}: expected m1 and m2 to have the same dtype, but got: {_name(first)} != {_name(x.dtype)}"
            )


def _name(dtype: Any) -> str:
    from rushlight.ops.record import type_name

    return {
        "Float": "float",
        "Double": "double",
        "Long": "long int",
        "Int": "int",
        "Bool": "bool",
    }.get(type_name(dtype), type_name(dtype))


# -- two operands -------------------------------------------------------------------------------------------


@op(method=True)
def mm(input: Array, mat2: Array) -> Array:
    """The product of two matrices (n, m) and (m, k)."""
    if input.ndim != 2 or mat2.ndim != 2:
        which = "self" if input.ndim != 2 else "mat2"
        raise RuntimeError(
            f"{which} must be a matrix: mm got shapes {list(input.shape)} and {list(mat2.shape)}"
        )
    _check_product(input, mat2)
    _same_dtype("mm", input, mat2)
    return contract(input, mat2, axes_a=(1,), axes_b=(0,), batch_a=(), batch_b=())


def _check_product(a: Any, b: Any) -> None:
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({a.shape[-2]}x{a.shape[-1]} and "
            f"{b.shape[-2]}x{b.shape[-1]}): the "
            f"{a.shape[-1]} columns of the first must be as many as the {b.shape[-2]} rows of the second"
        )


@mm.gradient("input")
def mm_gradient_input(grad: Array, mat2: Array) -> Array:
    return mm(grad, t(conjugate(mat2)))


@mm.gradient("mat2")
def mm_gradient_mat2(grad: Array, input: Array) -> Array:
    return mm(t(conjugate(input)), grad)


@mm.samples
def mm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(3, 4))
    yield Sample(make(2, 0), make(0, 4))
    yield Bad(
        make(2, 3), make(4, 5), raises=RuntimeError, says="cannot be multiplied (2x3 and 4x5)"
    )
    yield Bad(make(3), make(3, 4), raises=RuntimeError, says="must be a matrix")


@op(method=True)
def bmm(input: Array, mat2: Array) -> Array:
    """Products of matrices in two batches (b, n, m) and (b, m, k)."""
    if input.ndim != 3 or mat2.ndim != 3:
        raise RuntimeError(
            f"batch1 must be a 3D tensor: bmm got shapes {list(input.shape)} and {list(mat2.shape)}"
        )
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{input.shape[0]}, "
            f"{input.shape[2]}] but got: "
            f"[{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    _same_dtype("bmm", input, mat2)
    return contract(input, mat2, axes_a=(2,), axes_b=(1,), batch_a=(0,), batch_b=(0,))


@bmm.gradient("input")
def bmm_gradient_input(grad: Array, mat2: Array) -> Array:
    return bmm(grad, matrix_transpose(conjugate(mat2)))


@bmm.gradient("mat2")
def bmm_gradient_mat2(grad: Array, input: Array) -> Array:
    return bmm(matrix_transpose(conjugate(input)), grad)


@bmm.samples
def bmm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4), make(2, 4, 5))
    yield Sample(make(0, 3, 4), make(0, 4, 5))
    yield Bad(
        make(2, 3, 4),
        make(2, 3, 4),
        raises=RuntimeError,
        says="Expected size for first two dimensions",
    )


@op(method=True)
def mv(input: Array, vec: Array) -> Array:
    """A matrix (n, m) times a vector (m)."""
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {vec.ndim}, {input.ndim}, {vec.ndim}"
        )
    if input.shape[1] != vec.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({input.shape[0]}), mat ({input.shape[0]}x{input.shape[1]}), vec "
            f"({vec.shape[0]})"
        )
    _same_dtype("mv", input, vec)
    return contract(input, vec, axes_a=(1,), axes_b=(0,), batch_a=(), batch_b=())


@mv.gradient("input")
def mv_gradient_input(grad: Array, vec: Array) -> Array:
    return outer(grad, conjugate(vec))


@mv.gradient("vec")
def mv_gradient_vec(grad: Array, input: Array) -> Array:
    return mv(t(conjugate(input)), grad)


@mv.samples
def mv_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(3))
    yield Bad(make(2, 3), make(2), raises=RuntimeError, says="size mismatch")


@op(method=True)
def dot(input: Array, tensor: Array) -> Array:
    """The sum of products of two vectors."""
    if input.ndim != 1 or tensor.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {tensor.ndim}D tensors")
    if input.shape != tensor.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{input.shape[0]}] and src [{tensor.shape[0]}] to "
            "have the same number of elements"
        )
    if input.dtype != tensor.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {_name(input.dtype)} and {_name(tensor.dtype)}"
        )
    return contract(input, tensor, axes_a=(0,), axes_b=(0,), batch_a=(), batch_b=())


@dot.gradient("input")
def dot_gradient_input(grad: Array, tensor: Array) -> Array:
    return grad * conjugate(tensor)


@dot.gradient("tensor")
def dot_gradient_tensor(grad: Array, input: Array) -> Array:
    return grad * conjugate(input)


@dot.samples
def dot_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(4), make(4))
    yield Bad(make(4), make(3), raises=RuntimeError, says="inconsistent tensor size")


@op(method=True, composite=True)
def vdot(input: Array, other: Array) -> Array:
    """`dot` with the first vector conjugated."""
    return dot(conjugate(input), other)


vdot.samples(dot_samples)


@op(method=True, composite=True, aliases=("ger",))
def outer(input: Array, vec2: Array) -> Array:
    """All products of an element of one vector and one of the other: (n, m)."""
    if len(tuple(input.shape)) != 1 or len(tuple(vec2.shape)) != 1:
        raise RuntimeError(
            f"outer: Expected 1-D arguments, but got {len(input.shape)}-D and {len(vec2.shape)}-D"
        )
    return to_shape(input, (next(iter(input.shape)), 1)) * vec2


@outer.samples
def outer_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3), make(4))
    yield Bad(make(3, 1), make(4), raises=RuntimeError, says="1-D")


def _flag_type(x: Any, name: str) -> None:
    if not hasattr(x, "ndim"):
        raise TypeError(f"{name}: operands must be tensors, not {type(x).__name__}")


@op(method=True, composite=True, operators=("__matmul__",), aliases=("linalg.matmul",))
def matmul(input: Array, other: Array) -> Array:
    """The matrix product of the last two dimensions, batched and broadcast over the others; vectors as in NumPy.

    >>> import rushlight
    >>> rushlight.matmul(rushlight.tensor([[1.0, 2.0]]), rushlight.tensor([3.0, 4.0]))
    tensor([11.])
    """
    _flag_type(other, "matmul")
    a, b = len(input.shape), len(other.shape)
    if a == 2 and b == 2:
        return mm(input, other)
    if a == 0 or b == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {a}D and {b}D"
        )
    if a == 1 and b == 1:
        return dot(input, other)
    if a == 2 and b == 1:
        return mv(input, other)
    if a == 1 and b == 2:
        if next(iter(input.shape)) != next(iter(other.shape)):
            n = next(iter(input.shape))
            k, m = tuple(other.shape)
            raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied (1x{n} and {k}x{m})")
        return mv(t(other), input)
    return _batched(input, other)


def _batched(a: Any, b: Any) -> Any:
    one_row, one_column = len(a.shape) == 1, len(b.shape) == 1
    a = unsqueeze(a, 0) if one_row else a
    b = unsqueeze(b, 1) if one_column else b
    sa, sb = tuple(a.shape), tuple(b.shape)
    if sa[-1] != sb[-2]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({shapes.size_of(sa[:-1])}x{sa[-1]} and "
            f"{sb[-2]}x{sb[-1]}): the "
            f"{sa[-1]} columns of {list(sa)} must be as many as the {sb[-2]} rows of {list(sb)}"
        )
    if len(sb) == 2:  # one product of all rows
        out = to_shape(mm(to_shape(a, (shapes.size_of(sa[:-1]), sa[-1])), b), (*sa[:-1], sb[-1]))
    else:
        lead = shapes.broadcast(sa[:-2], sb[:-2])
        count = shapes.size_of(lead)
        left = to_shape(expand(a, (*lead, *sa[-2:])), (count, *sa[-2:]))
        right = to_shape(expand(b, (*lead, *sb[-2:])), (count, *sb[-2:]))
        out = to_shape(bmm(left, right), (*lead, sa[-2], sb[-1]))
    if one_row:
        out = select(out, -2, 0)
    return select(out, -1, 0) if one_column else out


@matmul.samples
def matmul_samples(make: Any) -> Iterator[Any]:
    for a, b in (((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((2, 2, 3), (3, 4)),
                 ((2, 1, 2, 3), (4, 3, 2)), ((3,), (2, 3, 4)), ((2, 4, 3), (3,))):  # fmt: skip
        yield Sample(make(a), make(b))
    yield Bad(
        make(2, 3), make(4, 5), raises=RuntimeError, says="cannot be multiplied (2x3 and 4x5)"
    )
    yield Bad(make(()), make(3), raises=RuntimeError, says="at least 1D")


@op(function=False, operators=("__rmatmul__",), composite=True)
def rmatmul(input: Array, other: Array) -> Array:
    """Other @ input."""
    return matmul(other, input)


@rmatmul.samples
def rmatmul_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(2, 3))


# -- with a third -------------------------------------------------------------------------------------------


@op(method=True, inplace=True)
def addmm(input: Array, mat1: Array, mat2: Array, *, beta: float = 1, alpha: float = 1) -> Array:
    """`beta * input + alpha * (mat1 @ mat2)`."""
    if mat1.ndim != 2 or mat2.ndim != 2:
        raise RuntimeError(
            f"mat1 and mat2 must be matrices, got {mat1.ndim}-D and {mat2.ndim}-D tensors"
        )
    _check_product(mat1, mat2)
    _same_dtype("addmm", mat1, mat2)
    dtype = mat1.dtype
    if dtype in HALF and input.dtype == dtype:  # as PyTorch: rounded once, after the sum
        input, mat1, mat2 = (to(x, FLOAT32) for x in (input, mat1, mat2))
    out = contract(mat1, mat2, axes_a=(1,), axes_b=(0,), batch_a=(), batch_b=())
    out = _plus(input, out, beta, alpha)
    return out if out.dtype == dtype or dtype not in HALF else to(out, dtype)


def _plus(input: Any, out: Any, beta: Any, alpha: Any) -> Any:
    if not shapes.can_broadcast(input.shape, out.shape):
        raise RuntimeError(
            f"The expanded size of the tensor {list(out.shape)} must match the existing size: input has "
            f"shape {list(input.shape)}"
        )
    if alpha != 1:
        out = p.mul(*promote(out, alpha))
    if beta == 0:
        return out
    return p.add(out, input if beta == 1 else p.mul(*promote(input, beta)))


@addmm.gradient("input")
def addmm_gradient_input(grad: Array, beta: Any) -> Array:
    return grad if beta == 1 else grad * beta


@addmm.gradient("mat1")
def addmm_gradient_mat1(grad: Array, mat2: Array, alpha: Any) -> Array:
    out = mm(grad, t(conjugate(mat2)))
    return out if alpha == 1 else out * alpha


@addmm.gradient("mat2")
def addmm_gradient_mat2(grad: Array, mat1: Array, alpha: Any) -> Array:
    out = mm(t(conjugate(mat1)), grad)
    return out if alpha == 1 else out * alpha


@addmm.samples
def addmm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 4), make(2, 3), make(3, 4))
    yield Sample(make(4), make(2, 3), make(3, 4), beta=0.5, alpha=2.0)
    yield Bad(make(4), make(2, 3), make(4, 4), raises=RuntimeError, says="cannot be multiplied")


@op(method=True, inplace=True, composite=True)
def addmv(input: Array, mat: Array, vec: Array, *, beta: float = 1, alpha: float = 1) -> Array:
    """`beta * input + alpha * (mat @ vec)`."""
    return _combined(input, mv(mat, vec), beta, alpha)


def _combined(input: Any, out: Any, beta: Any, alpha: Any) -> Any:
    out = out if alpha == 1 else out * alpha
    return out if beta == 0 else out + (input if beta == 1 else input * beta)


@addmv.samples
def addmv_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2), make(2, 3), make(3))
    yield Sample(make(2), make(2, 3), make(3), beta=0.5, alpha=2.0)


@op(method=True, inplace=True, composite=True)
def addr(input: Array, vec1: Array, vec2: Array, *, beta: float = 1, alpha: float = 1) -> Array:
    """`beta * input + alpha * outer(vec1, vec2)`."""
    return _combined(input, outer(vec1, vec2), beta, alpha)


@addr.samples
def addr_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(2), make(3), beta=0.5, alpha=2.0)


@op(method=True, inplace=True, composite=True)
def baddbmm(
    input: Array, batch1: Array, batch2: Array, *, beta: float = 1, alpha: float = 1
) -> Array:
    """`beta * input + alpha * bmm(batch1, batch2)`."""
    return _combined(input, bmm(batch1, batch2), beta, alpha)


@op(method=True, inplace=True, composite=True)
def addbmm(
    input: Array, batch1: Array, batch2: Array, *, beta: float = 1, alpha: float = 1
) -> Array:
    """`beta * input + alpha *` the sum of `bmm(batch1, batch2)` over the batch."""
    return _combined(input, sum(bmm(batch1, batch2), 0), beta, alpha)


@baddbmm.samples
def baddbmm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 5), make(2, 3, 4), make(2, 4, 5), beta=0.5, alpha=2.0)


@addbmm.samples
def addbmm_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 5), make(2, 3, 4), make(2, 4, 5))
