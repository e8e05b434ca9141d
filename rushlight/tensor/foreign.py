"""Memory that is not ours: what is asked of an array before a tensor looks into it, and what keeps it alive."""

from __future__ import annotations

from typing import Any

from rushlight.core import dtypes

_SUPPORTED = (
    "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, "
    "uint16, uint8, and bool"
)


class Foreign:
    """Keeps memory alive that is not ours, and ends the chain by which a tensor finds the start of
    its memory.
    """

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, array: Any) -> None:
        self.__array_interface__ = array.__array_interface__
        self.owner = array


def checked_array(array: Any) -> Any:
    """The array, if a tensor can look into it.

    Raises TypeError for its kind of elements, ValueError for foreign byte order and for strides
    that are negative or no whole elements.
    """
    if array.dtype not in dtypes._OF_NUMPY:
        if array.dtype.newbyteorder("=") in dtypes._OF_NUMPY:
            raise ValueError(
                "given numpy array has byte order different from the native byte order. Conversion "
                "between byte orders is currently not supported: use "
                "array.astype(array.dtype.newbyteorder('='))"
            )
        name = getattr(array.dtype.type, "__name__", str(array.dtype))
        raise TypeError(
            f"can't convert np.ndarray of type numpy.{name}. The only supported types are: "
            f"{_SUPPORTED}."
        )
    if any(s < 0 for s in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported: give array.copy()"
        )
    if array.size and any(s % array.dtype.itemsize for s in array.strides):
        raise ValueError(
            "given numpy array strides not a multiple of the element byte size. Copy the numpy "
            "array to reallocate the memory."
        )
    return array
