"""where, and elements that a mask chooses: filled, selected, found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rushlight.core import shapes
from rushlight.core.dtypes import BOOL, INTEGRAL, UINT8
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.indexing import index_written
from rushlight.ops.operands import number, to
from rushlight.ops.reduction import sum
from rushlight.ops.selection import choose
from rushlight.ops.shape import expand, to_shape, unsqueeze
from rushlight.primitives import gather as g
from rushlight.primitives import structural as s

# -- where --------------------------------------------------------------------------------------------------


@op(composite=True)
def where(condition: Array, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`; with the condition alone, `nonzero(as_tuple=True)`.

    >>> import rushlight
    >>> rushlight.where(rushlight.tensor([True, False]), 1.0, 0.0)
    tensor([1., 0.])
    """
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    if input is None or other is None:
        raise TypeError("where() needs both `input` and `other`, or neither")
    return choose(condition, input, other)


@op(method=True, name="where", module="Tensor", function=False, composite=True)
def where_method(input: Array, condition: Array, other: Any) -> Any:
    """The tensor's elements where the condition holds, else `other`."""
    return choose(condition, input, other)


@where.samples
def where_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.bools(3, 4), make(3, 4), make(4))
    yield Sample(make.bools(3), make(3), 2.0)
    yield Bad(make.bools(3), make(3), raises=TypeError, says="both")


@where_method.samples
def where_method_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.bools(3, 4), make(4))


# -- masks --------------------------------------------------------------------------------------------------


def _mask(name: str, mask: Any) -> Any:
    if mask.dtype == UINT8:
        return s.cast(mask, dtype=BOOL)
    if mask.dtype != BOOL:
        raise RuntimeError(
            f"{name} only supports boolean masks, but got mask with dtype {mask.dtype}"
        )
    return mask


@op(method=True, inplace=True)
def masked_fill(input: Array, mask: Array, value: Operand) -> Array:
    """A copy with one value where the mask holds."""
    condition = _mask("masked_fill_", mask)
    if hasattr(value, "dtype"):
        if value.ndim:
            raise RuntimeError(
                "masked_fill only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        filled = to(value, input.dtype)
    else:
        if input.dtype in INTEGRAL and isinstance(value, float) and value != int(value):
            raise RuntimeError("value cannot be converted to type int64_t without overflow")
        filled = s.full(number(value, input.dtype), shape=(), dtype=input.dtype)
    return s.select(condition, filled, input)


@masked_fill.gradient("input")
def masked_fill_gradient_input(grad: Array, mask: Array) -> Array:
    return masked_fill(grad, mask, 0)


@masked_fill.gradient("value")
def masked_fill_gradient_value(grad: Array, mask: Array) -> Array:
    return sum(choose(mask, grad, 0))


@masked_fill.samples
def masked_fill_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.bools(3, 4), 1.5)
    yield Sample(make(3, 4), make.bools(4), make(()))
    yield Bad(make(3), make(3), 1.0, raises=RuntimeError, says="boolean masks")


@op(method=True, composite=True, traceable=False)
def masked_select(input: Array, mask: Array) -> Array:
    """The elements where the mask holds, in one dimension."""
    if getattr(mask.dtype, "name", "") != "bool":
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = shapes.broadcast(tuple(input.shape), tuple(mask.shape))
    picked = expand(input, shape)[expand(mask, shape)]
    return to_shape(picked, (shapes.size_of(tuple(picked.shape)),))


@op(method=True, inplace=True, composite=True, traceable=False)
def masked_scatter(input: Array, mask: Array, source: Array) -> Array:
    """A copy with the elements of `source`, in order, where the mask holds."""
    if source.dtype != input.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}"
        )
    shape = shapes.broadcast(tuple(input.shape), tuple(mask.shape))
    x, m = expand(input, shape), expand(mask, shape)
    places = nonzero(to_shape(m, (shapes.size_of(shape),)))
    count = next(iter(places.shape))
    flat = to_shape(source, (shapes.size_of(tuple(source.shape)),))
    if count > next(iter(flat.shape)):
        raise RuntimeError(
            f"masked_scatter: expected self to have at least {count} elements in source, but it "
            f"has {next(iter(flat.shape))}"
        )
    rows = to_shape(x, (shapes.size_of(shape),))
    written = index_written(rows, flat[:count], [to_shape(places, (count,))], (0,), False, False)
    return to_shape(written, shape)


@masked_select.samples
def masked_select_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.bools(3, 4))
    yield Sample(make(3, 4), make.bools(4))


@masked_scatter.samples
def masked_scatter_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(3, 4), make.bools(3, 4), make(12))


@op(method=True, composite=True, traceable=False, differentiable=False)
def nonzero(input: Array, *, as_tuple: bool = False) -> Any:
    """The indices of all elements that are not zero: a row for each, or with `as_tuple` one tensor a dimension."""
    found = nonzero_rows(input)
    if not as_tuple:
        return found
    if not len(input.shape):
        return (nonzero_rows(unsqueeze(input, 0))[:, 0],)
    return tuple(found[:, i] for i in range(len(input.shape)))


@op(function=False, differentiable=False, traceable=False)
def nonzero_rows(input: Array) -> Array:
    """The indices of the elements that are not zero, a row for each."""
    return g.nonzero(input)


@op(method=True, composite=True, traceable=False, differentiable=False)
def argwhere(input: Array) -> Array:
    """The indices of all elements that are not zero, a row for each."""
    return nonzero_rows(input)


def _nonzero_samples(make: Any) -> Iterator[Any]:
    yield Sample(make.ints(3, 4, high=2))
    yield Sample(make.ints((), high=2))


for _call in (nonzero, nonzero_rows, argwhere):
    _call.samples(_nonzero_samples)
