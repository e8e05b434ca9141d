"""What the views of one piece of memory share: the version counter; and the one place where tensors are written.

Every in-place change of a tensor's elements goes through `write`. It is where a trace hears of writes, where the
version counter rises, and where the user's line is noted for the error that may follow much later in backward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rushlight.core.memory import Block
from rushlight.core.sites import Site, user_site
from rushlight.primitives.interpreter import slot

if TYPE_CHECKING:
    from rushlight.tensor.tensor import Tensor


class Version:
    """How often a piece of memory has been written, and by what, where, the last time."""

    __slots__ = ("count", "operation", "site")

    def __init__(self) -> None:
        self.count = 0
        self.operation = ""
        self.site: Site | None = None


def version_of(tensor: Tensor) -> Version:
    """The counter that this tensor shares with all its views; made when first asked for."""
    version = tensor._version_counter
    if version is None:
        version = tensor._version_counter = Version()
    return version


def write(tensor: Tensor, value: Any, operation: str) -> None:
    """Replaces all elements of `tensor` in its memory by those of `value`, an array that broadcasts to its shape."""
    array = tensor._array
    if slot.recorder is not None:
        slot.recorder.write(tensor, value)  # type: ignore[attr-defined]
    else:
        if not array.flags.writeable:
            raise RuntimeError(
                f"{operation}: this tensor's memory is read-only (it was made from an array that may not be "
                "written); clone() it first"
            )
        if array is not value:
            np.copyto(array, value, casting="unsafe")
    note_write(tensor, operation)


def note_write(tensor: Tensor, operation: str) -> None:
    """Raises the version of the tensor's memory; for writers that have changed it themselves."""
    version = tensor._version_counter
    if version is None:
        version = tensor._version_counter = Version()
    version.count += 1
    version.operation = operation
    version.site = user_site(1)


def memory_of(array: Any) -> Any:
    """The array that owns the memory which `array` looks into (or the first one of foreign memory)."""
    owner = array
    while True:
        base = owner.base
        if type(base) is Block:  # it is there so that `owner` begins at a cache line
            return owner
        if not isinstance(base, np.ndarray):
            base = getattr(
                base, "base", None
            )  # NumPy's as_strided puts an object of its own in between
            if not isinstance(base, np.ndarray):
                return owner
        owner = base
