"""Tensors made from what Python and NumPy hold: nested lists, numbers, arrays, buffers, DLPack
capsules.

`tensor` always copies; `from_numpy`, `frombuffer` and `from_dlpack` share memory; `as_tensor` and
`asarray` share where they can.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.core.dtypes import BFLOAT16, INEXACT
from rushlight.core.sites import warn_user
from rushlight.primitives import structural
from rushlight.tensor.device import check_available
from rushlight.tensor.dlpack import dlpack, dlpack_device, from_dlpack, to_dlpack
from rushlight.tensor.foreign import Foreign, checked_array
from rushlight.tensor.nested import array_of
from rushlight.tensor.tensor import Tensor, wrap

ndarray = np.ndarray


def checked_dtype(dtype: Any, caller: str) -> Any:
    """The NumPy dtype behind a `dtype=` argument, None for None; TypeError for anything that is no
    dtype.
    """
    if dtype is None:
        return None
    try:
        return dtypes.to_numpy(dtype)
    except TypeError:
        raise TypeError(
            f"{caller}(): argument 'dtype' must be torch.dtype (as rushlight.float32), not "
            f"{type(dtype).__name__}"
        ) from None


def finished(tensor: Tensor, requires_grad: bool, pin_memory: bool = False) -> Tensor:
    """A new tensor with the flags its maker was asked for."""
    if pin_memory:
        raise RuntimeError(
            "Cannot access accelerator device when none is available: pin_memory=True serves "
            "copies to a GPU, and tensors here live on the CPU"
        )
    if requires_grad:
        if tensor._array.dtype not in INEXACT:
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients"
            )
        tensor._requires_grad = True
    return tensor


# -- public makers ---------------------------------------------------------------------------------


def tensor(
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A new leaf tensor with a copy of `data`: a number, nested sequences of numbers, an array, a
    tensor.

    Without `dtype`, bools give bool, ints int64, floats the default dtype, complex numbers its
    complex type, mixtures the promoted type, arrays and tensors their own.

    Raises ValueError where nested sequences have unequal lengths, TypeError for data that are no
    numbers, RuntimeError for numbers that do not fit an integer `dtype`.

    >>> import rushlight
    >>> rushlight.tensor([[1, 2], [3, 4.5]])
    tensor([[1.0000, 2.0000],
            [3.0000, 4.5000]])
    """
    check_available(device)
    target = checked_dtype(dtype, "tensor")
    if isinstance(data, Tensor):
        warn_user(
            "To copy construct from a tensor, it is recommended to use "
            "sourceTensor.detach().clone() or sourceTensor.detach().clone().requires_grad_(True), "
            "rather than rushlight.tensor(sourceTensor).",
        )
        array = data._array
        array = (
            structural.copy(array)
            if target is None or array.dtype == target
            else structural.cast(array, dtype=target)
        )
    elif isinstance(data, (ndarray, np.generic)):
        array = checked_array(np.asarray(data))
        array = np.array(array, array.dtype if target is None else target, order="C")
    else:
        if isinstance(data, (list, tuple)) and data and isinstance(data[0], ndarray):
            warn_user(
                "Creating a tensor from a list of numpy.ndarrays is extremely slow. Please "
                "consider converting the list to a single numpy.ndarray with numpy.array() before "
                "converting to a tensor.",
            )
        array = array_of(data, target)
    return finished(wrap(array), requires_grad, pin_memory)


def _cast(found: Tensor, target: Any) -> Tensor:
    """The tensor in a NumPy dtype, with its gradient; itself if it has that."""
    if target is None or found._array.dtype == target:
        return found
    return found.to(dtypes.of_numpy(target))  # type: ignore[attr-defined, no-any-return]


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, without a copy where that is possible: a tensor itself, an array's
    memory.

    Gradients flow through it where `data` is a tensor. Raises as `tensor` and `from_numpy` do.
    """
    check_available(device)
    target = checked_dtype(dtype, "as_tensor")
    if isinstance(data, Tensor):
        return _cast(data, target)
    if isinstance(data, ndarray):
        shared = from_numpy(data)
        return _cast(shared, target)
    if isinstance(data, np.generic):
        return tensor(data, dtype=dtype)
    if hasattr(data, "__dlpack__"):
        return _cast(from_dlpack(data), target)
    return finished(wrap(array_of(data, target)), False)


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor that looks at the memory of a NumPy array: a change of one shows in the other.

    Raises TypeError for anything but an array, and for element types that tensors do not have;
    ValueError for negative strides and foreign byte order. An array that may not be written gives a
    warning and a tensor that refuses to be written.

    >>> import numpy, rushlight
    >>> a = numpy.zeros(2)
    >>> t = rushlight.from_numpy(a)
    >>> a[0] = 3
    >>> t
    tensor([3., 0.], dtype=torch.float64)
    """
    if not isinstance(ndarray, np.ndarray):
        kind = type(ndarray)
        name = (
            kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        )
        raise TypeError(f"expected np.ndarray (got {name})")
    array = checked_array(ndarray)
    if not array.flags.writeable:
        warn_user(
            "The given NumPy array is not writable: writing to the tensor will raise RuntimeError. "
            "You may want to copy the array, or make it writable, before converting it to a "
            "tensor.",
        )
    return wrap(np.asarray(Foreign(array)) if array.dtype != BFLOAT16 else array.view(np.ndarray))


def _share_buffer(buffer: Any, caller: str) -> Any:
    try:
        view = memoryview(buffer)
    except TypeError:
        raise ValueError(
            f"object does not implement Python buffer protocol: {type(buffer).__name__}"
        ) from None
    if view.readonly:
        warn_user(
            f"{caller}: the given buffer is not writable: writing to the tensor will raise "
            "RuntimeError. You may want to copy the buffer, as bytearray(buffer), first.",
        )
    return view


def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A 1-d tensor that looks at the bytes of an object with Python's buffer protocol, such as a
    bytearray.

    `offset` bytes are passed over; `count` elements are taken, all by default. Raises ValueError
    where they do not fit the buffer.

    >>> import rushlight
    >>> rushlight.frombuffer(bytearray([1, 0, 2, 0]), dtype=rushlight.int16)
    tensor([1, 2], dtype=torch.int16)
    """
    target = checked_dtype(dtype, "frombuffer")
    if target is None:
        raise TypeError(
            "frombuffer(): argument 'dtype' must be torch.dtype (as rushlight.float32), not None"
        )
    view = _share_buffer(buffer, "frombuffer")
    length, size = view.nbytes, target.itemsize
    if length == 0 or count == 0:
        raise ValueError(f"both buffer length ({length}) and count ({count}) must not be 0")
    if not 0 <= offset < length:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length "
            f"({length} bytes) minus 1"
        )
    if count < 0:
        if (length - offset) % size:
            raise ValueError(
                f"buffer length ({length - offset} bytes) after offset ({offset} bytes) must be a "
                f"multiple of element size ({size})"
            )
        count = (length - offset) // size
    elif count * size > length - offset:
        raise ValueError(
            f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must "
            f"not be greater than actual buffer length ({length} bytes)"
        )
    return finished(wrap(np.frombuffer(view, target, count, offset)), requires_grad)


def asarray(
    obj: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool | None = None,
) -> Tensor:
    """`obj` (tensor, array, buffer, number, nested sequence) as a tensor, sharing memory where it
    can.

    `copy=True` always copies; `copy=False` raises ValueError where sharing is impossible. Without
    `requires_grad` a tensor keeps its own.
    """
    check_available(device)
    target = checked_dtype(dtype, "asarray")
    if isinstance(obj, Tensor):
        found = obj
    elif isinstance(obj, ndarray):
        found = from_numpy(obj) if obj.flags.writeable or not copy else wrap(checked_array(obj))
    elif not isinstance(obj, np.generic) and hasattr(obj, "__dlpack__"):
        found = from_dlpack(obj)
    elif not isinstance(obj, np.generic) and _has_buffer(obj):
        found = frombuffer(obj, dtype=dtype or dtypes.get_default_dtype())
    else:
        if copy is False:
            raise ValueError(
                f"can't alias arbitrary sequence into a tensor: {type(obj).__name__} has no memory "
                "to share"
            )
        made = np.array(obj) if isinstance(obj, np.generic) else array_of(obj, target)
        return finished(
            wrap(made if target is None else made.astype(target, copy=False)), bool(requires_grad)
        )
    changes = target is not None and found._array.dtype != target
    if changes and copy is False:
        raise ValueError(
            f"can't alias tensor with dtype '{found.dtype}' into dtype '{dtypes.of_numpy(target)}'."
        )
    if changes or copy:
        found = found.to(found.dtype if target is None else dtypes.of_numpy(target), copy=True)  # type: ignore[attr-defined]
    if requires_grad is not None and found.requires_grad != requires_grad:
        if not found.is_leaf:
            found = found.detach()  # type: ignore[attr-defined]
        found.requires_grad_(requires_grad)
    return found


def _has_buffer(obj: Any) -> bool:
    try:
        memoryview(obj).release()
    except TypeError:
        return False
    return True


# -- Tensor.new_tensor, and questions about tensors ------------------------------------------------


def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """As `rushlight.tensor`, in the dtype of this tensor unless said otherwise."""
    return tensor(
        data,
        dtype=self.dtype if dtype is None else dtype,
        device=device,
        requires_grad=requires_grad,
    )


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a Tensor."""
    return isinstance(obj, Tensor)


def _question(name: str, about: str) -> Any:
    def ask(input: Tensor) -> Any:
        if not isinstance(input, Tensor):
            raise TypeError(
                f"{name}(): argument 'input' (position 1) must be Tensor, not "
                f"{type(input).__name__}"
            )
        return getattr(input, name)()

    ask.__name__ = ask.__qualname__ = name
    ask.__doc__ = f"As `Tensor.{name}()`: {about}"
    return ask


def is_nonzero(self: Tensor) -> bool:
    """Whether the only element is not zero; RuntimeError if there is not exactly one."""
    return bool(self)


def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether both tensors have the same shape."""
    return self.shape == other.shape


#: What the package root ties onto Tensor.
def array_wrap(
    self: Tensor, array: Any, context: Any = None, return_scalar: bool = False
) -> Tensor:
    """What NumPy's functions call to give a tensor back for a tensor."""
    array = np.asarray(array)
    return from_numpy(array if array.dtype != bool else array.astype(np.bool_))


METHODS = {
    "__array_wrap__": array_wrap,
    "__dlpack__": dlpack,
    "__dlpack_device__": dlpack_device,
    "new_tensor": new_tensor,
    "is_nonzero": is_nonzero,
    "is_same_size": is_same_size,
}

#: What is public at the package root.
FUNCTIONS: dict[str, Any] = {
    "tensor": tensor,
    "as_tensor": as_tensor,
    "asarray": asarray,
    "from_numpy": from_numpy,
    "frombuffer": frombuffer,
    "from_dlpack": from_dlpack,
    "to_dlpack": to_dlpack,
    "is_tensor": is_tensor,
    "is_same_size": is_same_size,
}
FUNCTIONS |= {
    name: _question(name, about)
    for name, about in (
        ("numel", "the number of elements."),
        ("is_floating_point", "whether the dtype is a floating point type."),
        ("is_complex", "whether the dtype is complex."),
        ("is_signed", "whether the dtype has negative numbers."),
        ("is_inference", "whether it was made under inference_mode."),
        ("is_conj", "False, conjugates are computed at once."),
        ("is_neg", "False, negatives are computed at once."),
        ("is_nonzero", "whether the only element is not zero."),
    )
}
