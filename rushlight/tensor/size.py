"""`Size`, the shape of a tensor: a tuple of ints that prints as torch.Size does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, SupportsIndex

from rushlight.core.shapes import size_of


class Size(tuple[int, ...]):
    """The sizes of a tensor's dimensions: a tuple of ints with `numel()`. Parts and sums of it are
    Sizes too.

    Raises TypeError where an item is not an int.

    >>> import rushlight
    >>> rushlight.zeros(2, 3).shape
    torch.Size([2, 3])
    >>> rushlight.Size([2, 3]).numel()
    6
    """

    __slots__ = ()

    def __new__(cls, sizes: Iterable[SupportsIndex] = (), /) -> Size:
        if type(sizes) is tuple and all(type(n) is int for n in sizes):
            return tuple.__new__(cls, sizes)
        found: list[int] = []
        for i, n in enumerate(sizes):
            if isinstance(n, str) or not hasattr(n, "__index__"):
                raise TypeError(
                    f"torch.Size() takes an iterable of 'int' (item {i} is '{type(n).__name__}')"
                )
            try:
                found.append(n.__index__())
            except TypeError:
                raise TypeError(
                    f"torch.Size() takes an iterable of 'int' (item {i} is '{type(n).__name__}')"
                ) from None
        return tuple.__new__(cls, found)

    def numel(self) -> int:
        """The number of elements of a tensor of this size."""
        return size_of(self)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    __str__ = __repr__

    def __getitem__(self, key: Any) -> Any:
        found = tuple.__getitem__(self, key)
        return tuple.__new__(Size, found) if isinstance(key, slice) else found

    def __add__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            raise TypeError(
                f"can only concatenate tuple (not {type(other).__name__}) to torch.Size"
            )
        return Size(tuple.__add__(self, other))

    def __radd__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            return NotImplemented  # so that a list can be extended by +=
        return Size(tuple.__add__(other, self))

    def __mul__(self, times: Any) -> Size:
        return tuple.__new__(Size, tuple.__mul__(self, times))

    __rmul__ = __mul__

    def __reduce__(self) -> tuple[Any, ...]:
        return Size, (tuple(self),)
