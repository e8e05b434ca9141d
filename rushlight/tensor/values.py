"""Reading a tensor's elements from Python: numbers, lists, NumPy arrays. Nothing here is recorded
for gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from rushlight.core.dtypes import BFLOAT16, FLOAT32, INTEGRAL
from rushlight.core.shapes import broadcast
from rushlight.core.sites import warn_user
from rushlight.core.traced import needs_values
from rushlight.primitives.interpreter import slot
from rushlight.tensor.tensor import Tensor, wrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

ndarray = np.ndarray


def is_readable(tensor: Tensor) -> bool:
    """Whether the elements exist now: they do not while a trace is being recorded."""
    return slot.recorder is None and isinstance(tensor._array, ndarray)


def values(tensor: Tensor, reader: str) -> NDArray[Any]:
    """The tensor's array, for code that reads elements; RuntimeError under a trace, where there are
    none.
    """
    if slot.recorder is not None or not isinstance(tensor._array, ndarray):
        raise needs_values(
            f"{reader} needs the elements of a tensor of shape {list(tensor._array.shape)}."
        )
    return tensor._array


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The same values in a dtype whose elements Python knows as numbers."""
    return array.astype(FLOAT32) if array.dtype is BFLOAT16 or array.dtype == BFLOAT16 else array


def item(self: Tensor) -> Any:
    """The value of a tensor with one element, as a Python number.

    Raises RuntimeError if there is not exactly one element.

    >>> import rushlight
    >>> rushlight.tensor([2.5]).item()
    2.5
    """
    array = values(self, "item()")
    if array.size != 1:
        raise RuntimeError(f"a Tensor with {array.size} elements cannot be converted to Scalar")
    return _plain(array).item()


def tolist(self: Tensor) -> Any:
    """The elements as nested lists of Python numbers; a number for a 0-d tensor.

    >>> import rushlight
    >>> rushlight.tensor([[1, 2], [3, 4]]).tolist()
    [[1, 2], [3, 4]]
    """
    return _plain(values(self, "tolist()")).tolist()


def check_exportable(tensor: Tensor, reader: str) -> NDArray[Any]:
    """The array behind a tensor that other libraries may look into; RuntimeError if it requires a
    gradient.
    """
    array = values(tensor, reader)
    if tensor.requires_grad:
        raise RuntimeError(
            f"Can't call {reader} on Tensor that requires grad. Use tensor.detach().{reader} "
            "instead."
        )
    if array.dtype == BFLOAT16:
        raise TypeError(
            "Got unsupported ScalarType BFloat16: NumPy has no such type of its own. Use "
            "tensor.float() first"
        )
    return array


def numpy(self: Tensor, *, force: bool = False) -> Any:
    """A NumPy array that looks at the same memory: a change of one shows in the other.

    Raises RuntimeError for a tensor that requires a gradient, unless `force` is set; TypeError for
    bfloat16.

    >>> import rushlight
    >>> x = rushlight.zeros(2)
    >>> x.numpy()[0] = 5
    >>> x
    tensor([5., 0.])
    """
    if force:
        self = wrap(values(self, "numpy()"))
    return check_exportable(self, "numpy()").view()


def array_protocol(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
    """What `numpy.asarray(tensor)` and `numpy.array(tensor)` call."""
    array = check_exportable(self, "numpy()")
    if dtype is None or array.dtype == dtype:
        return array.copy() if copy else array.view()
    if copy is False:
        raise ValueError(
            f"a tensor of dtype {array.dtype} can't become an array of dtype {dtype} without a copy"
        )
    return array.astype(dtype)


def to_bool(self: Tensor) -> bool:
    """The truth of the only element."""
    array = values(self, "a condition (`if tensor:`, bool(tensor))")
    if array.size != 1:
        many = "more than one value" if array.size else "no values"
        raise RuntimeError(
            f"Boolean value of Tensor with {many} is ambiguous: its shape is {list(array.shape)}. "
            "Use .any() or .all()"
        )
    return bool(array.item() if array.dtype != BFLOAT16 else _plain(array).item())


def _number(self: Tensor, reader: str) -> Any:
    array = values(self, reader)
    if array.size != 1:
        raise ValueError(
            f"only one element tensors can be converted to Python scalars: {reader} was given "
            f"shape {list(array.shape)}"
        )
    value = _plain(array).item()
    if self._requires_grad:
        warn_user(
            "Converting a tensor with requires_grad=True to a scalar may lead to unexpected "
            f"behavior.\nConsider using tensor.detach() first: {reader} reads the value, and no "
            "gradient flows through it.",
        )
    return value


def _real(value: Any, wanted: str) -> Any:
    if isinstance(value, complex):
        if value.imag != 0:
            raise RuntimeError(
                f"value cannot be converted to type {wanted} without overflow: it is {value}"
            )
        return value.real
    return value


def to_int(self: Tensor) -> int:
    """The only element, cut to an integer."""
    return int(_real(_number(self, "int()"), "int64_t"))


def to_float(self: Tensor) -> float:
    """The only element as a float."""
    return float(_real(_number(self, "float()"), "double"))


def to_complex(self: Tensor) -> complex:
    """The only element as a complex number."""
    return complex(_number(self, "complex()"))


def to_index(self: Tensor) -> int:
    """The only element of an integer tensor, where Python wants an index."""
    array = values(self, "an index")
    if array.size != 1 or array.dtype not in INTEGRAL:
        raise TypeError(
            "only integer tensors of a single element can be converted to an index, not one of "
            f"dtype {self.dtype} and shape {list(array.shape)}"
        )
    return int(array.item())


def iterate(self: Tensor) -> Iterator[Tensor]:
    """The parts along the first dimension, one by one."""
    if not self._array.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))  # type: ignore[attr-defined]


def contains(self: Tensor, element: Any) -> bool:
    """Whether some element equals `element`, a number or a tensor that broadcasts."""
    array = values(self, "`in`")
    if isinstance(element, Tensor):
        other = values(element, "`in`")
        broadcast(array.shape, other.shape)
        return bool(np.any(array == other))
    if isinstance(element, (bool, int, float, complex, np.generic)):
        return bool(np.any(array == element))
    raise RuntimeError(
        f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
    )


#: What the package root ties onto Tensor.
METHODS = {
    "item": item,
    "tolist": tolist,
    "numpy": numpy,
    "__array__": array_protocol,
    "__bool__": to_bool,
    "__int__": to_int,
    "__float__": to_float,
    "__complex__": to_complex,
    "__index__": to_index,
    "__iter__": iterate,
    "__contains__": contains,
}
