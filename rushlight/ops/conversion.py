"""Copies and casts: clone, detach, to and its short forms, and copy_, fill_, zero_ that overwrite a
tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.core import dtypes, shapes
from rushlight.core.dtypes import COMPLEX, of_numpy
from rushlight.core.shapes import can_broadcast
from rushlight.core.sites import warn_user
from rushlight.ops import links, tape
from rushlight.ops.creation import zeros_like
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.layouts import copied, memory_order
from rushlight.ops.operands import fitting
from rushlight.ops.operands import to as as_dtype
from rushlight.primitives import structural as s
from rushlight.tensor.device import check_available, device
from rushlight.tensor.legacy import dtype_named, type_name_of
from rushlight.tensor.tensor import (
    Tensor,
    alias,
    channels_last,
    contiguous_format,
    memory_format,
    preserve_format,
)

ndarray = np.ndarray


@op(method=True)
def clone(input: Array, *, memory_format: Any = None) -> Array:
    """A copy; the gradient flows through it to `input`.

    `memory_format` is preserve_format (the default: dimensions keep their order in memory),
    contiguous_format, channels_last or channels_last_3d.

    >>> import rushlight
    >>> x = rushlight.ones(2, requires_grad=True)
    >>> x.clone()
    tensor([1., 1.], grad_fn=<CloneBackward0>)
    """
    return copied(input, memory_format)


@clone.gradient("input")
def clone_gradient(grad: Array) -> Array:
    return grad


@clone.samples
def clone_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
    yield Sample(make(()))
    yield Sample(make(0, 2))
    yield Sample(make(2, 3, 4, 5), memory_format=contiguous_format)
    yield Bad([1.0], raises=TypeError, says="argument 'input'")


# -- cut from the graph ----------------------------------------------------------------------------


@op(method=True, composite=True, differentiable=False)
def detach(input: Array) -> Array:
    """The same memory as a tensor that no gradient flows through: writes to one show in the other,
    and autograd notices them.

    >>> import rushlight
    >>> x = rushlight.ones(2, requires_grad=True)
    >>> x.detach()
    tensor([1., 1.])
    """
    return alias(input) if isinstance(input, Tensor) else input


@detach.samples
def detach_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
    yield Sample(make(()))
    yield Bad([1.0], raises=TypeError, says="argument 'input'")


def detach_(self: Tensor) -> Tensor:
    """Cuts this tensor itself from the graph that made it, and makes it a leaf.

    Raises RuntimeError for a view, whose history is that of its base.
    """
    if self._base is not None and (self._base.requires_grad or self._requires_grad):
        raise RuntimeError(
            "Can't detach views in-place: use detach() instead, or detach the tensor it looks into"
        )
    self._grad_fn, self._output, self._requires_grad, self._retains_grad = None, 0, False, False
    self._accumulator = None
    self._generation += 1
    return self


# -- memory order ----------------------------------------------------------------------------------


def _is_ordered(x: Any, wanted: Any) -> bool:
    """Whether a tensor or array lies in memory as wanted; under a trace, whether it may be taken
    to.
    """
    array = x._array if isinstance(x, Tensor) else x
    order = memory_order(array, wanted)
    if isinstance(array, ndarray):
        return bool((array if order is None else array.transpose(order)).flags.c_contiguous)
    if order is not None:
        return False
    flags = getattr(array, "flags", None)
    return flags is None or bool(flags.c_contiguous)


@op(method=True, function=False, composite=True)
def contiguous(input: Array, memory_format: Any = contiguous_format) -> Array:
    """The tensor itself if its elements lie in memory in the order of their indices, else such a
    copy.
    """
    if memory_format is preserve_format and not _is_ordered(input, contiguous_format):
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    return input if _is_ordered(input, memory_format) else clone(input, memory_format=memory_format)


@contiguous.samples
def contiguous_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
    yield Sample(make(3, 2).t() if hasattr(Tensor, "t") else make(3, 2))
    yield Bad(make(2), channels_last, raises=RuntimeError, says="required rank 4")


# -- casts -----------------------------------------------------------------------------------------

_NAMES = ("dtype", "device", "non_blocking", "copy", "memory_format", "other", "tensor")


def parse_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dtypes.dtype | None, bool, Any]:
    """dtype, copy and memory format out of all forms of `to`.

    `to(dtype, non_blocking, copy)`, `to(device, dtype, non_blocking, copy)`, `to(other,
    non_blocking, copy)`, each with names, and `memory_format`. Raises TypeError for another form,
    RuntimeError for a device that is not here.
    """
    for name in kwargs:
        if name not in _NAMES:
            raise TypeError(f"to() got an unexpected keyword argument '{name}'")
    rest = list(args)
    dtype, place, other = (
        kwargs.get("dtype"),
        kwargs.get("device"),
        kwargs.get("other", kwargs.get("tensor")),
    )
    if rest:
        first = rest.pop(0)
        if isinstance(first, Tensor):
            other = first
        elif isinstance(first, dtypes.dtype) or first in (bool, int, float, complex):
            dtype = _once(dtype, first, "dtype")
        elif first is None or isinstance(first, (str, int, device)):
            place = _once(place, first, "device")
            if rest and not isinstance(rest[0], bool):
                dtype = _once(dtype, rest.pop(0), "dtype")
        else:
            raise TypeError(
                "to() received an invalid combination of arguments: the first must be a dtype, a "
                f"device or a Tensor, not {_kind(first)}"
            )
    if len(rest) > 2:
        raise TypeError(
            f"to() received an invalid combination of arguments: {len(args)} positional ones are "
            "too many"
        )
    copy = rest[1] if len(rest) == 2 else kwargs.get("copy", False)
    order = kwargs.get("memory_format")
    if order is not None and not isinstance(order, memory_format):
        raise TypeError(
            f"to(): argument 'memory_format' must be torch.memory_format, not {_kind(order)}"
        )
    check_available(place)
    if other is not None:
        if not isinstance(other, Tensor):
            raise TypeError(f"to(): argument 'other' must be Tensor, not {_kind(other)}")
        dtype = other.dtype
    if dtype is not None and not isinstance(dtype, dtypes.dtype):
        if dtype not in (bool, int, float, complex):
            raise TypeError(f"to(): argument 'dtype' must be torch.dtype, not {_kind(dtype)}")
        dtype = of_numpy(dtypes.to_numpy(dtype))
    return dtype, bool(copy), order


def _kind(value: Any) -> str:
    return str(value.__class__.__name__)


def _once(have: Any, value: Any, name: str) -> Any:
    if have is not None:
        raise TypeError(f"to() got multiple values for argument '{name}'")
    return value


def parse_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dtypes.dtype | None, Any]:
    """Dtype and memory format out of the arguments of `to`."""
    dtype, _, order = parse_arguments(args, kwargs)
    return dtype, order


@op(function=False, node="ToCopyBackward0")
def to_copy(input: Array, dtype: Any, order: Any = None) -> Array:
    """A copy in another dtype (a NumPy dtype) and memory order."""
    out = copied(input, order) if order not in (None, preserve_format) else input
    return s.cast(out, dtype=dtype) if out.dtype != dtype else s.copy(out) if out is input else out


@to_copy.gradient("input")
def to_copy_gradient(grad: Array) -> Array:
    return grad


def converted(x: Any, dtype: Any, copy: bool = False, order: Any = None) -> Any:
    """A tensor (or array) in a NumPy dtype and memory order; itself where nothing changes and no
    copy is asked.
    """
    array = x._array if isinstance(x, Tensor) else x
    same = dtype is None or array.dtype == dtype
    if same and not copy and (order in (None, preserve_format) or _is_ordered(x, order)):
        return x
    if not same and array.dtype in COMPLEX and dtype not in COMPLEX and dtype != dtypes.BOOL:
        warn_user(
            "Casting complex values to real discards the imaginary part: take .real or .abs() if "
            "that is what you want",
        )
    return to_copy(x, array.dtype if dtype is None else dtype, order)


def cast_to(x: Any, dtype: np.dtype[Any]) -> Any:
    """A tensor (or array, in a gradient formula) in a NumPy dtype, with its gradient; itself if it
    has that.
    """
    return converted(x, dtype)


def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor in another dtype: `to(dtype)`, `to(device)`, `to(device, dtype)`, `to(other)`.

    It is the tensor itself where nothing changes, unless `copy=True`. `memory_format` asks for an
    order in memory. Raises RuntimeError for any device but the CPU.

    >>> import rushlight
    >>> rushlight.ones(2).to(rushlight.int64)
    tensor([1, 1])
    """
    dtype, copy, order = parse_arguments(args, kwargs)
    return converted(self, None if dtype is None else dtype.numpy, copy, order)  # type: ignore[no-any-return]


def _short_form(name: str, dtype: dtypes.dtype) -> Any:
    wanted = dtype.numpy

    def cast(self: Tensor, memory_format: Any = None) -> Tensor:
        return converted(self, wanted, False, memory_format)  # type: ignore[no-any-return]

    cast.__name__ = cast.__qualname__ = name
    cast.__doc__ = f"The tensor as {dtype.name}; itself if it is that already."
    return cast


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of `other`."""
    if not isinstance(other, Tensor):
        raise TypeError(
            f"type_as(): argument 'other' (position 1) must be Tensor, not {_kind(other)}"
        )
    return converted(self, other._array.dtype)  # type: ignore[no-any-return]


def type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The old name of the tensor's type, as 'torch.FloatTensor'; given a type or its name, the
    tensor cast to it.

    >>> import rushlight
    >>> rushlight.ones(2).type()
    'torch.FloatTensor'
    >>> rushlight.ones(2).type("torch.LongTensor")
    tensor([1, 1])
    """
    if dtype is None:
        return type_name_of(self)
    return converted(self, dtype_named(dtype).numpy)


def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself: it is on the CPU."""
    return converted(self, None, False, memory_format)  # type: ignore[no-any-return]


def cuda(
    self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None
) -> Tensor:
    """RuntimeError: there is no such device."""
    check_available("cuda" if device is None else device)
    return self


# -- overwriting -----------------------------------------------------------------------------------


@op(name="copy", function=False, inplace=True, node="CopyBackwards")
def copy(input: Array, src: Operand, non_blocking: bool = False) -> Array:
    """`src`, broadcast to the shape of `input` and cast to its dtype."""
    if not hasattr(src, "dtype"):
        return s.full(fitting(src, input.dtype), shape=tuple(input.shape), dtype=input.dtype)
    if src.dtype != input.dtype:
        if src.dtype in COMPLEX and input.dtype not in COMPLEX:
            warn_user(
                "Casting complex values to real discards the imaginary part: copy from src.real if "
                "that is meant",
            )
        src = as_dtype(src, input.dtype)
    if src.shape != input.shape:
        if not can_broadcast(src.shape, input.shape):
            shapes.broadcast(tuple(input.shape), tuple(src.shape))
            raise RuntimeError(
                f"output with shape {list(input.shape)} doesn't match the broadcast shape of the "
                f"source, {list(src.shape)}"
            )
        src = s.expand(src, shape=tuple(input.shape))
    return src


@copy.gradient("input")
def copy_gradient_input(grad: Array) -> Array:
    return zeros_like(grad)


@copy.gradient("src")
def copy_gradient_src(grad: Array) -> Array:
    return grad


@copy.samples
def copy_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), make(2, 3))
    yield Sample(make(2, 3), make(3))
    yield Sample(make(()), make(()))
    yield Bad(make(2), make(3), raises=RuntimeError, says="must match the size")
    yield Bad(make(2), "text", raises=TypeError, says="argument 'src'")


tape.slots.copy_to = copy.inplace


def _fill_name(node: Any = None) -> str:
    """FillBackward3 where the value is a tensor, FillBackward2 where it is a number."""
    return "FillBackward2" if node is None or node.edges[1] is None else "FillBackward3"


@op(function=False, method=False, inplace=True, node=_fill_name)
def fill(input: Array, value: Operand) -> Array:
    """`value`, a number or a 0-d tensor, everywhere. Raises RuntimeError where the number does not
    fit the dtype.
    """
    if hasattr(value, "dtype"):
        if value.ndim:
            raise RuntimeError(
                "fill_ only supports 0-dimension value tensor but got tensor with "
                f"{value.ndim} dimensions: expand a tensor with copy_() instead"
            )
        return s.expand(as_dtype(value, input.dtype), shape=tuple(input.shape))
    return s.full(fitting(value, input.dtype), shape=tuple(input.shape), dtype=input.dtype)


fill.gradient("input")(copy_gradient_input)


@fill.gradient("value")
def fill_gradient_value(grad: Array) -> Array:
    return links.sum_to(grad, ())


@fill.samples
def fill_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3), 1.5)
    yield Sample(make(2, 3), make(()))
    yield Sample(make(()), 2)
    yield Bad(make(2), make(2), raises=RuntimeError, says="0-dimension value tensor")


@op(function=False, inplace=True)
def zero(input: Array) -> Array:
    """Zero everywhere."""
    return s.full(0, shape=tuple(input.shape), dtype=input.dtype)


zero.gradient("input")(copy_gradient_input)


@zero.samples
def zero_samples(make: Any) -> Iterator[Any]:
    yield Sample(make(2, 3))
    yield Sample(make(()))


def set_data(self: Tensor, new_data: Tensor) -> None:
    """The same as `tensor.data = new_data`."""
    self.data = new_data


#: What the package root ties onto Tensor, beside the ops.
METHODS: dict[str, Any] = {
    name: _short_form(name, dtype)
    for name, dtype in (
        ("half", dtypes.float16), ("bfloat16", dtypes.bfloat16), ("float", dtypes.float32),
        ("double", dtypes.float64), ("byte", dtypes.uint8), ("char", dtypes.int8),
        ("short", dtypes.int16), ("int", dtypes.int32), ("long", dtypes.int64),
        ("bool", dtypes.bool_), ("cfloat", dtypes.complex64), ("cdouble", dtypes.complex128),
    )
}  # fmt: skip
METHODS |= {
    "to": to,
    "type": type,
    "type_as": type_as,
    "cpu": cpu,
    "cuda": cuda,
    "detach_": detach_,
    "set_data": set_data,
}

__all__ = [
    "METHODS",
    "clone",
    "contiguous",
    "converted",
    "copy",
    "detach",
    "fill",
    "parse_to",
    "to",
    "zero",
]
