"""What every data set of pictures has: where it lies, its transforms, and how it prints."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Transform = Callable[[Any], Any]


class VisionDataset:
    """A data set of (picture, target) pairs.

    root: its folder (None for what needs none). transforms(picture, target) or, not both,
    transform(picture) and target_transform(target). Subclasses define `__getitem__` and `__len__`.
    Raises ValueError where both are given.
    """

    _repr_indent = 4

    def __init__(
        self,
        root: str | Path | None = None,
        transforms: Callable[[Any, Any], Any] | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
    ) -> None:
        self.root = os.path.expanduser(root) if isinstance(root, str) else root  # noqa: PTH111 - a str stays a str
        apart = transform is not None or target_transform is not None
        if transforms is not None and apart:
            raise ValueError("give either transforms, or transform and target_transform, not both")
        self.transform = transform
        self.target_transform = target_transform
        self.transforms = StandardTransform(transform, target_transform) if apart else transforms

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(
            f"{type(self).__name__} does not say what its items are: define __getitem__"
        )

    def __len__(self) -> int:
        raise NotImplementedError(
            f"{type(self).__name__} does not say how many items it has: define __len__"
        )

    def _transformed(self, picture: Any, target: Any) -> tuple[Any, Any]:
        """The pair as the user wants it."""
        if self.transforms is None:
            return picture, target
        return self.transforms(picture, target)

    def extra_repr(self) -> str:
        """Lines that a subclass adds to how it prints."""
        return ""

    def __repr__(self) -> str:
        lines = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            lines.append(f"Root location: {self.root}")
        lines += self.extra_repr().splitlines()
        if self.transforms is not None:
            lines.append(repr(self.transforms))
        indent = " " * self._repr_indent
        return "\n".join([f"Dataset {type(self).__name__}", *(indent + line for line in lines)])


class StandardTransform:
    """A transform for the picture and one for the target, either of them None."""

    def __init__(
        self, transform: Transform | None = None, target_transform: Transform | None = None
    ) -> None:
        self.transform = transform
        self.target_transform = target_transform

    def __call__(self, input: Any, target: Any) -> tuple[Any, Any]:
        """Both, transformed."""
        if self.transform is not None:
            input = self.transform(input)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return input, target

    def __repr__(self) -> str:
        lines = [type(self).__name__]
        for head, transform in (
            ("Transform: ", self.transform),
            ("Target transform: ", self.target_transform),
        ):
            if transform is not None:
                first, *others = repr(transform).splitlines()
                lines += [head + first, *(" " * len(head) + line for line in others)]
        return "\n".join(lines)
