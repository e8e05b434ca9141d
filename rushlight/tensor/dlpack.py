"""DLPack: memory shared with other libraries (NumPy, PyTorch, JAX, CuPy's host arrays) without a copy.

NumPy makes and takes the capsules. It does not know bfloat16: such memory passes through it as uint16, and the byte of
the capsule that names the kind of number is set before or after.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core.dtypes import BFLOAT16
from rushlight.tensor.device import check_available
from rushlight.tensor.foreign import Foreign, checked_array
from rushlight.tensor.tensor import Tensor, wrap
from rushlight.tensor.values import values

_VERSION = (1, 0)  # of the protocol, that we ask others for
_CPU = (1, 0)


# -- giving ----------------------------------------------------------------------------------------


def dlpack(
    self: Tensor,
    *,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A DLPack capsule with this tensor's memory, for `numpy.from_dlpack(tensor)` and its like.

    With `max_version` of 1 and above it says whether the memory may be written. Raises BufferError
    for a tensor that requires a gradient, and for a device that is not the CPU.
    """
    if stream not in (None, -1):
        raise AssertionError("stream should be None on cpu.")
    if dl_device is not None and tuple(dl_device) != _CPU:
        raise BufferError(f"a tensor on the CPU can't be exported to the device {dl_device}")
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    return _capsule(self, max_version=max_version, dl_device=dl_device, copy=copy)


def _capsule(tensor: Tensor, **wishes: Any) -> Any:
    array = values(tensor, "DLPack")
    if array.dtype != BFLOAT16:
        return array.__dlpack__(**wishes)
    from rushlight.tensor.capsules import BFLOAT, type_in

    capsule = array.view(np.uint16).__dlpack__(**wishes)
    type_in(capsule).code = BFLOAT
    return capsule


def dlpack_device(self: Tensor) -> tuple[Any, int]:
    """DLPack's numbers for the CPU."""
    from rushlight.tensor.capsules import DLDeviceType

    return (DLDeviceType.kDLCPU, 0)


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule with the tensor's memory; each can be taken once.

    It does not follow gradients. Others' `from_dlpack(tensor)` does without it, and can tell memory
    that must not be written.

    >>> import rushlight
    >>> x = rushlight.zeros(2)
    >>> rushlight.from_dlpack(rushlight.to_dlpack(x)).add_(1)
    tensor([1., 1.])
    >>> x
    tensor([1., 1.])
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"to_dlpack() needs a Tensor, not {type(tensor).__name__}")
    return _capsule(tensor)


# -- taking ----------------------------------------------------------------------------------------


class _Offer:
    """A capsule, as the objects that NumPy asks for one."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **wishes: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that looks at the memory of another library's array, or of a DLPack capsule, on the
    CPU.

    Memory that its owner says is read-only gives a tensor that refuses to be written. `copy=True`
    gives memory of its own, and `copy=False` fails where the owner would have to copy.

    Raises RuntimeError for what is neither, and for a capsule that was taken before; BufferError
    where the owner refuses; TypeError for element types that rushlight does not have; ValueError for
    negative strides.

    >>> import numpy, rushlight
    >>> a = numpy.zeros(2)
    >>> rushlight.from_dlpack(a).add_(1)
    tensor([1., 1.], dtype=torch.float64)
    >>> a
    array([1., 1.])
    """
    check_available(device)
    if isinstance(ext_tensor, Tensor):
        if ext_tensor.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        array = values(ext_tensor, "DLPack")
        return wrap(array.copy() if copy else array)
    bare = type(ext_tensor).__name__ == "PyCapsule"
    if not bare and not hasattr(ext_tensor, "__dlpack__"):
        raise RuntimeError(
            f"from_dlpack received an invalid capsule: {type(ext_tensor).__name__} has no "
            "__dlpack__ method"
        )
    foreign, is_bfloat = _array_of(ext_tensor if bare else _asked(ext_tensor, copy))
    memory = Foreign(checked_array(foreign))
    if bare:
        # A capsule of the old kind cannot say whether it may be written: as in PyTorch, it may.
        address, _ = memory.__array_interface__["data"]
        memory.__array_interface__["data"] = (address, False)
    array = np.asarray(memory)
    if is_bfloat:
        array = array.view(BFLOAT16)
    return wrap(array.copy() if copy else array)


def _asked(owner: Any, copy: bool | None) -> Any:
    """The capsule of an array's owner, of the new kind if it knows that."""
    try:
        if copy is None:
            return owner.__dlpack__(max_version=_VERSION)
        return owner.__dlpack__(max_version=_VERSION, copy=copy)
    except TypeError:
        return owner.__dlpack__()


def _array_of(capsule: Any) -> tuple[Any, bool]:
    """The array that a capsule brings, and whether its uint16 are bfloat16."""
    try:
        return np.from_dlpack(_Offer(capsule)), False
    except ValueError as problem:
        raise RuntimeError(
            "from_dlpack received an invalid capsule: each can be taken once, and this one was taken before"
        ) from problem
    except (RuntimeError, BufferError):  # NumPy does not know something; the capsule is as it was
        from rushlight.tensor.capsules import BFLOAT, STRANGE, UNSIGNED, type_in

        kind = type_in(capsule)
        if (kind.code, kind.bits, kind.lanes) == (BFLOAT, 16, 1):
            kind.code = UNSIGNED
            return np.from_dlpack(_Offer(capsule)), True
        if kind.code in STRANGE:
            raise TypeError(f"from_dlpack: rushlight has no {STRANGE[kind.code]}") from None
        raise


__all__ = ["dlpack", "dlpack_device", "from_dlpack", "to_dlpack"]
