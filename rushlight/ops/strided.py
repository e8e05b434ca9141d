"""Views by strides, views taken in place, and the copying twins of the view ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.core.shapes import dimension, size_of
from rushlight.ops import record as recording
from rushlight.ops.declare import Array, Bad, Sample, op
from rushlight.ops.joining import copied
from rushlight.ops.operands import sequence
from rushlight.ops.orders import permute, t, transpose
from rushlight.ops.parts import (
    chunk,
    diagonal,
    narrow,
    select,
    slice_step,
    split,
    split_with_sizes,
    unbind,
    unfold,
)
from rushlight.ops.reshaping import (
    expand,
    squeeze,
    squeeze_all,
    squeeze_one,
    squeeze_several,
    unsqueeze,
    view,
)
from rushlight.ops.sampling import unary_samples
from rushlight.ops.triangles import written
from rushlight.primitives import structural as s
from rushlight.primitives.strided import strided
from rushlight.primitives.views import Steps
from rushlight.tensor.storage import memory_of
from rushlight.tensor.tensor import Tensor, wrap


def _geometry(x: Array) -> tuple[tuple[int, ...], int, int]:
    """The strides of `x`, where it starts in its memory, and how long that is, all in elements."""
    if isinstance(x, np.ndarray):
        memory, step = memory_of(x), x.dtype.itemsize
        start = x.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
        return tuple(n // step for n in x.strides), start // step, memory.nbytes // step
    strides, step = [], 1
    for n in reversed(x.shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides)), 0, x.size


@op(view=True, method=True)
def as_strided(input: Array, size: Any, stride: Any, storage_offset: int | None = None) -> Steps:
    """Any walk through the memory of `input`.

    Element [i, j, ...] lies at storage_offset + i * stride[0] + j * stride[1] + ...

    Elements of the view may share memory; then it can be read, not written.
    Raises RuntimeError where the walk would leave the memory.

    >>> import rushlight
    >>> rushlight.as_strided(rushlight.arange(5), (3, 2), (1, 2))
    tensor([[0, 2],
            [1, 3],
            [2, 4]])
    """
    shape, strides = sequence((size,)), sequence((stride,))
    if len(shape) != len(strides):
        raise RuntimeError(
            f"mismatch in length of strides and shape: {list(strides)} for {list(shape)}"
        )
    if min(strides, default=0) < 0:
        raise RuntimeError(
            "as_strided: Negative strides are not supported at the moment, got strides: "
            f"{list(strides)}"
        )
    if min(shape, default=0) < 0:
        raise RuntimeError(f"as_strided: sizes must not be negative, got {list(shape)}")
    origin, start, length = _geometry(input)
    offset = start if storage_offset is None else int(storage_offset)
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    needed = (
        offset + 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if size_of(shape)
        else 0
    )
    if needed > length:
        item = input.dtype.itemsize
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}, "
            f"and itemsize {item} "
            f"requiring a storage size of {needed * item} are out of bounds for storage of size "
            f"{length * item}"
        )
    return (
        (strided, {"shape": shape, "strides": strides, "offset": offset - start, "origin": origin}),
    )


def _dense(x: Tensor) -> Tensor:
    """The same elements next to each other: of others a walk shows other elements."""
    return wrap(x._array.copy("C")).requires_grad_(x.requires_grad)


@as_strided.samples
def as_strided_samples(make: Any) -> Iterator[Any]:
    yield Sample(_dense(make(7)), (3, 2), (1, 2))
    yield Sample(_dense(make(3, 4)), (2, 2), (4, 1), 3)
    yield Sample(_dense(make(3, 4)), (12,), (1,))
    yield Sample(_dense(make(3)), (), (), 1)
    yield Bad(_dense(make(6)), (4,), (1,), 3, raises=RuntimeError, says="out of bounds")
    yield Bad(make(6), (4,), (1, 1), raises=RuntimeError, says="mismatch in length")
    yield Bad(make(6), (4,), (-1,), raises=RuntimeError, says="Negative strides")


@op(method=True, composite=True)
def as_strided_scatter(
    input: Array, src: Array, size: Any, stride: Any, storage_offset: int | None = None
) -> Array:
    """A copy of `input` in which the view that `as_strided` gives is `src`."""
    return written(
        input,
        src,
        as_strided.op.body(getattr(input, "_array", input), size, stride, storage_offset),
    )


@as_strided_scatter.samples
def as_strided_scatter_samples(make: Any) -> Iterator[Any]:
    yield Sample(_dense(make(7)), make(2, 2), (2, 2), (3, 1))
    yield Sample(_dense(make(3, 4)), make(3), (3,), (2,), 1)
    yield Bad(make(7), make(3), (2,), (1,), raises=RuntimeError, says="size equal")


# -- in place --------------------------------------------------------------------------------------


def _taken_in_place(call: Any, view_of: Any = None) -> None:
    """Gives a view op its in-place form: the tensor itself becomes the view."""
    this, view_of = call.op, view_of or call
    name = this.name + "_"

    def form(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if kwargs:
            args, kwargs = this.bind((self, *args), kwargs)
            args = tuple(args[1:])
        return recording.adopt(self, view_of(self, *args, **kwargs), name)

    form.__name__ = form.__qualname__ = name
    form.__doc__ = f"In-place form of `{this.name}`: the tensor itself takes the view's shape."
    form.op = this  # type: ignore[attr-defined]
    call.inplace, this.inplace = form, True


def _squeezed(x: Tensor, dim: Any = None) -> Tensor:
    found: Tensor
    if dim is None:
        found = squeeze_all(x)
    else:
        found = (squeeze_several if isinstance(dim, (tuple, list)) else squeeze_one)(x, dim)
    return found


_taken_in_place(squeeze, _squeezed)
for _call in (unsqueeze, transpose, t, as_strided):
    _taken_in_place(_call)


# -- copies ----------------------------------------------------------------------------------------


@op(view=True, function=False, node="SliceBackward0")
def slice_view(
    input: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Steps:
    """The slice [start:end:step] along one dimension."""
    if step < 1:
        raise RuntimeError(f"slice step must be positive, not {step}")
    d = dimension(dim, input.ndim)
    first, last, _ = slice(start, end, step).indices(input.shape[d])
    return (slice_step(input.shape, d, first, max(first, last), step),)


@slice_view.samples
def slice_view_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(5, 2), 0, 1, 4, 2)
    yield Sample(make(2, 5), 1, -2)
    yield Bad(make(3), 0, 0, 2, 0, raises=RuntimeError, says="must be positive")


def _copy_of(views: Any) -> Any:
    return tuple(map(copied, views)) if isinstance(views, (tuple, list)) else copied(views)


def _copying(call: Any, name: str, *, method: bool = False) -> Any:
    """The op that gives what a view op gives, but in memory of its own."""

    def body(input: Array, *args: Any) -> Any:
        return _copy_of(call(input, *args))

    body.__name__ = name
    body.__doc__ = f"`{call.op.name}`, but the result has memory of its own."
    declared = op(body, composite=True, method=method)
    plain = declared.op.bind

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The keywords of the view op are those of its twin."""
        placed, rest = call.op.bind(args, kwargs)
        return plain(tuple(placed), rest)

    declared.op.bind = bind
    declared.samples(call.op.samples)
    return declared


@op(node="AliasBackward0_copy")
def alias_copy(input: Array) -> Array:
    """The tensor in memory of its own."""
    return s.copy(input)


alias_copy.gradient("input")(lambda grad: grad)
alias_copy.samples(unary_samples())

for _call, _name in (
    (as_strided, "as_strided_copy"),
    (diagonal, "diagonal_copy"),
    (expand, "expand_copy"),
    (permute, "permute_copy"),
    (select, "select_copy"),
    (slice_view, "slice_copy"),
    (split, "split_copy"),
    (split_with_sizes, "split_with_sizes_copy"),
    (squeeze, "squeeze_copy"),
    (t, "t_copy"),
    (transpose, "transpose_copy"),
    (unbind, "unbind_copy"),
    (unfold, "unfold_copy"),
    (unsqueeze, "unsqueeze_copy"),
    (view, "view_copy"),
):
    _copying(_call, _name)

for _call, _name in (
    (narrow, "narrow_copy"),
    (split, "unsafe_split"),
    (chunk, "unsafe_chunk"),
    (split_with_sizes, "unsafe_split_with_sizes"),
):
    _copying(_call, _name, method=True)
