"""Products that sum: matmul and its kin, linear, einsum, tensordot, distances. All stand on one primitive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.core.dtypes import FLOAT32, HALF
from rushlight.ops.comparison import clamp
from rushlight.ops.complex_numbers import conjugate, is_complex_dtype
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.norms import vector_norm
from rushlight.ops.operands import promote, to
from rushlight.ops.reduction import sum
from rushlight.ops.shape import (
    diagonal,
    expand,
    matrix_transpose,
    permute,
    select,
    t,
    to_shape,
    transpose,
    unsqueeze,
)
from rushlight.ops.turning import roll
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
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


# -- layers -------------------------------------------------------------------------------------------------


@op(module="nn.functional", node="AddmmBackward0")
def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """`input @ weight.T + bias`: input (..., in_features), weight (out_features, in_features).

    >>> import rushlight
    >>> rushlight.nn.functional.linear(
    ...     rushlight.ones(1, 2), rushlight.ones(3, 2), rushlight.ones(3)
    ... )
    tensor([[3., 3., 3.]])
    """
    if weight.ndim not in (1, 2):
        raise RuntimeError(
            f"linear(): weight must have one or two dimensions, not shape {list(weight.shape)}"
        )
    if not input.ndim or input.shape[-1] != weight.shape[-1]:
        rows, columns = (
            (shapes.size_of(input.shape[:-1]), input.shape[-1]) if input.ndim else (1, 1)
        )
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{columns} and "
            f"{weight.shape[-1]}x{weight.shape[0]}): an input of "
            f"shape {list(input.shape)} has {columns} features in its last dimension, the weight of shape "
            f"{list(weight.shape)} takes {weight.shape[-1]}"
        )
    if input.dtype != weight.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {_upper(input.dtype)} and {_upper(weight.dtype)}"
        )
    out = contract(
        input, weight, axes_a=(input.ndim - 1,), axes_b=(weight.ndim - 1,), batch_a=(), batch_b=()
    )
    if bias is None:
        return out
    if not shapes.can_broadcast(bias.shape, out.shape):
        raise RuntimeError(
            f"linear(): a bias of shape {list(bias.shape)} does not fit outputs of shape {list(out.shape)}"
        )
    return p.add(out, bias)


def _upper(dtype: Any) -> str:
    from rushlight.ops.record import type_name

    return type_name(dtype)


@linear.gradient("input")
def linear_gradient_input(grad: Array, weight: Array) -> Array:
    if weight.ndim == 1:
        return unsqueeze(grad, -1) * conjugate(weight)
    return fold_product(grad, conjugate(weight))


@op(function=False, node="MmBackward0")
def fold_product(input: Array, other: Array) -> Array:
    """(..., n) by (n, m): (..., m)."""
    return contract(input, other, axes_a=(input.ndim - 1,), axes_b=(0,), batch_a=(), batch_b=())


@fold_product.gradient("input")
def fold_product_gradient_input(grad: Array, other: Array) -> Array:
    return linear(grad, conjugate(other))


@fold_product.gradient("other")
def fold_product_gradient_other(grad: Array, input: Array) -> Array:
    return sum_outer(conjugate(input), grad)


@op(function=False, node="MmBackward0")
def sum_outer(input: Array, other: Array) -> Array:
    """(..., n) by (..., m), summed over all dimensions but the last: (n, m)."""
    lead = tuple(range(input.ndim - 1))
    if len(lead) > 1:
        rows = shapes.size_of(input.shape[:-1])
        input = s.reshape(input, shape=(rows, input.shape[-1]))
        other = s.reshape(other, shape=(rows, other.shape[-1]))
        lead = (0,)
    return contract(input, other, axes_a=lead, axes_b=lead, batch_a=(), batch_b=())


@sum_outer.gradient("input")
def sum_outer_gradient_input(grad: Array, other: Array) -> Array:
    return (
        linear(other, conjugate(grad))
        if not is_complex_dtype(grad.dtype)
        else conjugate(linear(conjugate(other), conjugate(grad)))
    )


@sum_outer.gradient("other")
def sum_outer_gradient_other(grad: Array, input: Array) -> Array:
    return fold_product(conjugate(input), grad)


@linear.gradient("weight")
def linear_gradient_weight(grad: Array, input: Array, weight_shape: Any) -> Array:
    if len(weight_shape) == 1:
        return unsqueeze(grad, -1) * conjugate(input)
    return sum_outer(grad, conjugate(input))


@linear.gradient("bias")
def linear_gradient_bias(grad: Array) -> Array:
    return grad


@linear.samples
def linear_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(4, 3), make(4))
    yield Sample(make(2, 3), make(4, 3))
    yield Sample(make(2, 2, 3), make(4, 3), make(4))
    yield Sample(make(3), make(4, 3), make(4))
    yield Bad(
        make(2, 5), make(4, 3), raises=RuntimeError, says="cannot be multiplied (2x5 and 3x4)"
    )


@fold_product.samples
def fold_product_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 5, 3), make(3, 4))


@sum_outer.samples
def sum_outer_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 5, 3), make(2, 5, 4))
    yield Sample(make(5, 3), make(5, 4))


@op(module="nn.functional", composite=True)
def bilinear(input1: Array, input2: Array, weight: Array, bias: Any = None) -> Array:
    """x1^T W_k x2 + b_k for each output k: inputs (..., n) and (..., m), weight (k, n, m)."""
    if tuple(input1.shape)[:-1] != tuple(input2.shape)[:-1]:
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: shapes {list(input1.shape)} and {list(input2.shape)}"
        )
    k, n, m = tuple(weight.shape)
    if tuple(input1.shape)[-1] != n or tuple(input2.shape)[-1] != m:
        raise RuntimeError(
            f"bilinear(): inputs have {tuple(input1.shape)[-1]} and {tuple(input2.shape)[-1]} features, "
            f"the weight takes {n} and {m}"
        )
    lead = tuple(input1.shape)[:-1]
    left = fold_product(input1, to_shape(transpose(weight, 0, 1), (n, k * m)))
    product = to_shape(left, (*lead, k, m)) * unsqueeze(input2, -2)
    out = sum(product, -1)
    return out if bias is None else out + bias


@bilinear.samples
def bilinear_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(2, 4), make(5, 3, 4), make(5))
    yield Sample(make(3), make(4), make(5, 3, 4))
    yield Bad(make(2, 3), make(3, 4), make(5, 3, 4), raises=RuntimeError, says="batch dimensions")


# -- any dimensions -----------------------------------------------------------------------------------------


@op(composite=True)
def tensordot(a: Array, b: Array, dims: Any = 2, out: Any = None) -> Array:
    """The sum over pairs of dimensions: the last `dims` of a with the first of b, or two lists of dimensions."""
    ra, rb = len(a.shape), len(b.shape)
    if hasattr(dims, "tolist"):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(ra, rb):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        left, right = list(range(ra - dims, ra)), list(range(dims))
    else:
        left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
    left, right = [shapes.dimension(d, ra) for d in left], [shapes.dimension(d, rb) for d in right]
    sa, sb = tuple(a.shape), tuple(b.shape)
    for i, j in zip(left, right, strict=True):
        if (
            sa[i] != sb[j] and sa[i] == 1
        ):  # as in PyTorch, size 1 broadcasts: the other side is summed first
            b = sum(b, j, True)
        elif sa[i] != sb[j] and sb[j] == 1:
            a = sum(a, i, True)
        elif sa[i] != sb[j]:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {sa[i]} in dim {i} and second "
                f"has size {sb[j]} in dim {j}"
            )
    letters = list(range(ra))
    others = [ra + j for j in range(rb)]
    for i, j in zip(left, right, strict=True):
        others[j] = letters[i]
    kept = [i for i in letters if i not in left] + [ra + j for j in range(rb) if j not in right]
    result = _contract_pair(a, letters, b, others, kept)
    return result if out is None else out.copy_(result)


@tensordot.samples
def tensordot_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3, 4), make(3, 4, 5))
    yield Sample(make(2, 3), make(4, 3), ([1], [1]))
    yield Sample(make(2), make(3), 0)
    yield Bad(make(2, 3), make(4, 3), 1, raises=RuntimeError, says="need to match")


def _contract_pair(a: Any, la: list[int], b: Any, lb: list[int], kept: list[int]) -> Any:
    """Sums over labels that are not kept; the result's dimensions are in the order of `kept`."""
    for x in [x for x in la if x not in lb and x not in kept]:
        a = sum(a, la.index(x))
        la = [y for y in la if y != x]
    for x in [x for x in lb if x not in la and x not in kept]:
        b = sum(b, lb.index(x))
        lb = [y for y in lb if y != x]
    batch = [x for x in la if x in lb and x in kept]
    summed = [x for x in la if x in lb and x not in kept]
    rows, columns = [x for x in la if x not in lb], [x for x in lb if x not in la]
    size: dict[int, int] = {}
    for x, n in (*zip(la, tuple(a.shape)), *zip(lb, tuple(b.shape))):
        if size.get(x, 1) == 1:  # where one side has size 1 it broadcasts
            size[x] = n

    def count(labels):
        return shapes.size_of(size[x] for x in labels)

    left = permute(a, tuple(la.index(x) for x in (*batch, *rows, *summed)))
    left = to_shape(
        expand(left, tuple(size[x] for x in (*batch, *rows, *summed))),
        (count(batch), count(rows), count(summed)),
    )
    right = permute(b, tuple(lb.index(x) for x in (*batch, *summed, *columns)))
    right = to_shape(
        expand(right, tuple(size[x] for x in (*batch, *summed, *columns))),
        (count(batch), count(summed), count(columns)),
    )
    order = (*batch, *rows, *columns)
    out = to_shape(bmm(left, right), tuple(size[x] for x in order))
    return permute(out, tuple(order.index(x) for x in kept)) if kept else out


_ELLIPSIS = 1000  # labels from here on stand for the dimensions of "..."


def _labels(equation: str, operands: list[Any]) -> tuple[list[list[int]], list[int]]:
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(
            f"einsum(): more operands were provided than specified in the equation: {len(operands)} for {equation!r}"
            if len(operands) > len(terms)
            else f"einsum(): fewer operands were provided than specified in the equation: {len(operands)} "
            f"for {equation!r}"
        )
    labels, widest = [], 0
    for i, (term, x) in enumerate(zip(terms, operands, strict=True)):
        rank = len(x.shape)
        before, dots, after = term.partition("...")
        for c in before + after:
            if not c.isalpha():
                raise RuntimeError(
                    f"einsum(): invalid subscript given at index {text.index(c)} in the equation string, "
                    "subscripts must be in [a-zA-Z]"
                )
        hidden = rank - len(before) - len(after)
        if hidden < 0 or (hidden and not dots):
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({len(before) + len(after)}) does not "
                "match the number of "
                f"dimensions ({rank}) for operand {i}"
                + (" and no ellipsis was given" if not dots else "")
            )
        widest = max(widest, hidden)
        labels.append(
            [*map(ord, before), *range(_ELLIPSIS + hidden - 1, _ELLIPSIS - 1, -1), *map(ord, after)]
        )
    dotted = list(range(_ELLIPSIS + widest - 1, _ELLIPSIS - 1, -1))
    if arrow:
        before, dots, after = right.partition("...")
        result = [*map(ord, before), *(dotted if dots else ()), *map(ord, after)]
    else:
        plain = [x for term in labels for x in term if x < _ELLIPSIS]
        result = dotted + sorted(x for x in set(plain) if plain.count(x) == 1)
    known = {x for term in labels for x in term}
    for x in result:
        if x not in known:
            raise RuntimeError(
                f"einsum(): output subscript {chr(x)} does not appear in the equation for any input operand"
            )
        if result.count(x) > 1:
            raise RuntimeError(
                f"einsum(): output subscript {chr(x)} appears more than once in the output"
            )
    return labels, result


def _listed_labels(args: tuple[Any, ...]) -> tuple[list[Any], list[list[int]], list[int] | None]:
    """Einsum's other form: tensor, [0, 1], tensor, [1, 2], ..., [0, 2]."""
    operands, labels = list(args[: len(args) // 2 * 2 : 2]), [list(x) for x in args[1::2]]
    return operands, labels, list(args[-1]) if len(args) % 2 else None


@op(composite=True)
def einsum(*args: Any) -> Array:
    """Sums of products by index letters: einsum("ij,jk->ik", a, b) is a @ b. Also einsum(a, [0, 1], b, [1, 2], [0, 2]).

    >>> import rushlight
    >>> rushlight.einsum("ii->i", rushlight.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    if not args:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand "
            "and its subscripts list"
        )
    if isinstance(args[0], str):
        operands = (
            list(args[1])
            if len(args) == 2 and isinstance(args[1], (list, tuple))
            else list(args[1:])
        )
        if not operands:
            raise RuntimeError("einsum(): must provide at least one operand")
        labels, result = _labels(args[0], operands)
    else:
        operands, listed, wanted = _listed_labels(args)
        letters = [
            ["..." if x is Ellipsis else chr(97 + x if x < 26 else 39 + x) for x in term]
            for term in listed
        ]
        text = ",".join("".join(term) for term in letters)
        if wanted is not None:
            text += "->" + "".join(
                "..." if x is Ellipsis else chr(97 + x if x < 26 else 39 + x) for x in wanted
            )
        labels, result = _labels(text, operands)
    _check_sizes(labels, operands)
    for i, (x, term) in enumerate(zip(operands, labels, strict=True)):
        operands[i], labels[i] = _without_repeats(x, term)
    while len(operands) > 1:
        left, right = operands[:2]
        later = {y for term in labels[2:] for y in term} | set(result)
        kept = [y for y in dict.fromkeys([*labels[0], *labels[1]]) if y in later]
        if len(operands) == 2:
            kept = list(result)
        operands[:2] = [_contract_pair(left, list(labels[0]), right, list(labels[1]), kept)]
        labels[:2] = [kept]
    return _arranged(operands[0], labels[0], result)


def _check_sizes(labels: list[list[int]], operands: list[Any]) -> None:
    size: dict[int, int] = {}
    for i, (term, x) in enumerate(zip(labels, operands, strict=True)):
        for label, n in zip(term, tuple(x.shape), strict=True):
            have = size.get(label, 1)
            if n != 1 and have not in (1, n):
                name = "..." if label >= _ELLIPSIS else chr(label)
                raise RuntimeError(
                    f"einsum(): subscript {name} has size {n} for operand {i} which does not broadcast "
                    f"with previously seen size {have}"
                )
            size[label] = max(have, n) if n else 0


def _without_repeats(x: Any, term: list[int]) -> tuple[Any, list[int]]:
    for label in list(dict.fromkeys(term)):
        while term.count(label) > 1:
            i = term.index(label)
            j = term.index(label, i + 1)
            x = diagonal(x, 0, i, j)
            term = [y for k, y in enumerate(term) if k not in (i, j)] + [label]
    return x, term


def _arranged(x: Any, term: list[int], result: list[int]) -> Any:
    gone = tuple(i for i, label in enumerate(term) if label not in result)
    if gone:
        x = sum(x, gone)
        term = [label for label in term if label in result]
    order = tuple(term.index(label) for label in result)
    return permute(x, order) if order != tuple(range(len(order))) else x


@einsum.samples
def einsum_samples(make: Any) -> Iterator[Any]:
    yield Sample("ij,jk->ik", make(2, 3), make(3, 4))
    yield Sample("...ij,...jk->...ik", make(2, 2, 3), make(3, 4))
    yield Sample("ii", make(3, 3))
    yield Sample("bn,anm,bm->ba", make(2, 3), make(4, 3, 5), make(2, 5))
    yield Sample("i,j", make(2), make(3))
    yield Sample(make(2, 3), [0, 1], make(3, 4), [1, 2], [0, 2])
    yield Bad("ij,jk", make(2, 3), make(4, 5), raises=RuntimeError, says="does not broadcast")
    yield Bad("ij->ik", make(2, 3), raises=RuntimeError, says="output subscript k")


@op(composite=True)
def chain_matmul(*matrices: Any) -> Array:
    """The product of several matrices, in the order that costs least."""
    return multi_dot(list(matrices))


@op(module="linalg", composite=True)
def multi_dot(tensors: Any, *, out: Any = None) -> Array:
    """The product of several matrices (the first and last may be vectors), in the order that costs least."""
    items = list(tensors)
    if len(items) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(items)}")
    first, last = len(items[0].shape) == 1, len(items[-1].shape) == 1
    items[0] = unsqueeze(items[0], 0) if first else items[0]
    items[-1] = unsqueeze(items[-1], 1) if last else items[-1]
    sizes = [next(iter(x.shape)) for x in items] + [tuple(items[-1].shape)[1]]
    count = len(items)
    cost: dict[tuple[int, int], tuple[int, int]] = {(i, i): (0, i) for i in range(count)}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i, j] = min(
                (cost[i, k][0] + cost[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )

    def product(i: int, j: int) -> Any:
        if i == j:
            return items[i]
        k = cost[i, j][1]
        return mm(product(i, k), product(k + 1, j))

    result = product(0, count - 1)
    if first:
        result = select(result, 0, 0)
    if last:
        result = select(result, -1, 0)
    return result if out is None else out.copy_(result)


@chain_matmul.samples
def chain_matmul_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(3, 4), make(4, 2))


@multi_dot.samples
def multi_dot_samples(make: Any) -> Iterator[Any]:
    yield Sample([make(3), make(3, 4), make(4)])
    yield Bad([make(3, 3)], raises=RuntimeError, says="at least 2")


@op(method=True, composite=True)
def trace(input: Array) -> Array:
    """The sum of a matrix's diagonal."""
    if len(input.shape) != 2:
        raise RuntimeError(
            "trace: expected a matrix, but got tensor with dim " + str(len(input.shape))
        )
    return sum(diagonal(input))


@trace.samples
def trace_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4))
    yield Bad(make(3), raises=RuntimeError, says="expected a matrix")


@op(module="linalg", composite=True, aliases=("cross",))
def cross(input: Array, other: Array, *, dim: int = -1) -> Array:
    """The cross product of vectors of size 3 along `dim`."""
    axis = shapes.dimension(dim, max(len(input.shape), len(other.shape)))
    if tuple(input.shape)[dim] != 3 or tuple(other.shape)[dim] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {tuple(input.shape)[dim]} and "
            f"{tuple(other.shape)[dim]}"
        )
    shape = shapes.broadcast(tuple(input.shape), tuple(other.shape))
    a, b = expand(input, shape), expand(other, shape)
    return roll(a, -1, axis) * roll(b, -2, axis) - roll(a, -2, axis) * roll(b, -1, axis)


@cross.samples
def cross_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(2, 3))
    yield Sample(make(3, 2), make(3, 1), dim=0)


# -- distances ----------------------------------------------------------------------------------------------


@op(module="nn.functional", composite=True)
def cosine_similarity(x1: Array, x2: Array, dim: int = 1, eps: float = 1e-8) -> Array:
    """x1 . x2 / (|x1| |x2|) along `dim`; norms are not below eps."""
    shape = shapes.broadcast(tuple(x1.shape), tuple(x2.shape))
    axis = shapes.dimension(dim, len(shape))
    a, b = expand(x1, shape), expand(x2, shape)
    return sum(
        a
        / clamp(vector_norm(a, 2, axis, True), eps)
        * (b / clamp(vector_norm(b, 2, axis, True), eps)),
        axis,
    )


@op(module="nn.functional", composite=True)
def pairwise_distance(
    x1: Array, x2: Array, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Array:
    """The norm of x1 - x2 + eps along the last dimension."""
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)


def _pair_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(3, 4))
    yield Sample(make(3, 4), make(1, 4))


cosine_similarity.samples(_pair_samples)
pairwise_distance.samples(_pair_samples)


@op(composite=True)
def cdist(x1: Array, x2: Array, p: float = 2.0, compute_mode: Any = None) -> Array:
    """Norms of the differences of all rows of x1 (..., n, m) and of x2 (..., k, m): (..., n, k)."""
    if len(x1.shape) < 2 or len(x2.shape) < 2 or tuple(x1.shape)[-1] != tuple(x2.shape)[-1]:
        raise RuntimeError(
            f"cdist: X1 and X2 must have the same number of columns. X1: {list(x1.shape)} X2: {list(x2.shape)}"
        )
    return vector_norm(unsqueeze(x1, -2) - unsqueeze(x2, -3), p, -1)


@cdist.samples
def cdist_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make(2, 4))
    yield Sample(make(2, 3, 4), make(2, 4), 1.0)
    yield Bad(make(3, 4), make(2, 3), raises=RuntimeError, says="same number of columns")
