"""Arrays and numbers of NumPy in files: built through checked dtypes, shapes and lengths."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np

from rushlight.core.shapes import size_of
from rushlight.serialization.constructors import Constructor, constructor, takes_state
from rushlight.serialization.errors import UnpicklingError

#: Plain elements: bool, numbers, text and bytes of fixed length. No objects, and no records.
_ELEMENTS = re.compile(r"[biufc](1|2|4|8|16)|[US][0-9]{1,6}")

_EXTRA = {"ml_dtypes.bfloat16": ml_dtypes.bfloat16}


def _not_called(*arguments: Any) -> Any:
    raise UnpicklingError("NumPy's types are not called by checkpoints")


for _name in ("numpy.ndarray", *_EXTRA):
    constructor(_name)(_not_called)


@constructor("numpy.dtype")
def _dtype(name: Any, align: Any = False, copy: Any = True) -> Any:
    if type(name) is Constructor and name.name in _EXTRA:
        return np.dtype(_EXTRA[name.name])
    if type(name) is not str or not _ELEMENTS.fullmatch(name):
        raise UnpicklingError(
            f"NumPy arrays of {name[:20]!r} are not read from checkpoints"
            if type(name) is str
            else "a NumPy dtype needs a name"
        )
    return np.dtype(name, False, True)  # type: ignore[call-overload]


@takes_state(np.dtype)
def _set_byte_order(dtype: Any, state: Any) -> None:
    """The state of a plain dtype says nothing more than its byte order."""
    plain = (
        type(state) is tuple
        and len(state) == 8
        and state[0] == 3
        and state[1] in ("<", ">", "|", "=")
        and state[2:5] == (None, None, None)
        and state[5] in (-1, dtype.itemsize)
    )
    if not plain:
        raise UnpicklingError("the state of a NumPy dtype is not that of a plain one")
    if state[1] in "<>" and dtype.newbyteorder(state[1]) != dtype:
        wanted = dtype.newbyteorder(state[1])
        if dtype is np.dtype(dtype.str):
            raise UnpicklingError("the byte order of a shared NumPy dtype cannot be changed")
        dtype.__setstate__(wanted.__reduce__()[2])


def _check_data(dtype: Any, shape: Any, data: Any) -> None:
    if not isinstance(dtype, np.dtype):
        raise UnpicklingError("a NumPy array needs a NumPy dtype")
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise UnpicklingError("the shape of a NumPy array must be a tuple of ints >= 0")
    if type(data) not in (bytes, bytearray) or len(data) != size_of(shape) * dtype.itemsize:
        raise UnpicklingError(
            f"a NumPy array of shape {list(shape)} and dtype {dtype} does not fit its data"
        )
    if len(shape) > 64:
        raise UnpicklingError(f"a NumPy array of {len(shape)} dimensions")


@constructor("numpy._core.multiarray._reconstruct")
def _reconstruct(kind: Any, shape: Any, letter: Any) -> Any:
    """An array that is still empty; its state comes by BUILD."""
    if type(kind) is not Constructor or kind.name != "numpy.ndarray" or shape != (0,):
        raise UnpicklingError("an array of NumPy begins as an empty ndarray")
    return np.empty(0, np.int8)


@takes_state(np.ndarray)
def _fill(array: Any, state: Any) -> None:
    if array.shape != (0,) or array.dtype != np.int8:
        raise UnpicklingError("the state of a NumPy array is set twice")
    if type(state) is not tuple or len(state) != 5 or type(state[3]) is not bool:
        raise UnpicklingError("the state of a NumPy array has five parts")
    _, shape, dtype, fortran, data = state
    _check_data(dtype, shape, data)
    array.__setstate__((1, shape, dtype, fortran, bytes(data)))


@constructor("numpy._core.numeric._frombuffer")
def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Any:
    _check_data(dtype, shape, data)
    array = np.frombuffer(bytearray(data), dtype)
    if order in ("C", "F"):
        return array.reshape(shape, order=order)
    if order == "K" and type(axes) is tuple and sorted(axes) == list(range(len(shape))):
        return array.reshape(shape).transpose(axes)
    raise UnpicklingError("the order of a NumPy array's elements must be C or F")


@constructor("numpy._core.multiarray.scalar")
def _scalar(dtype: Any, data: Any) -> Any:
    _check_data(dtype, (), data)
    return np.frombuffer(bytes(data), dtype)[0] if data else np.zeros((), dtype)[()]
