"""Transforms that move pixels: resize, crop, pad, flip, turn."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from rushlight.datasets.transforms import draws
from rushlight.datasets.transforms import functional as F
from rushlight.datasets.transforms.modes import InterpolationMode, as_mode
from rushlight.nn import Module
from rushlight.tensor.tensor import Tensor


def _fill(fill: Any) -> Any:
    """None is 0; anything but numbers is an error."""
    if fill is None:
        return 0
    if not isinstance(fill, (int, float, Sequence)):
        raise TypeError("Fill should be either a sequence or a number.")
    return fill


def _fill_of(fill: Any, img: Any) -> Any:
    """For a tensor, one number a channel."""
    if not isinstance(img, Tensor):
        return fill
    if isinstance(fill, (int, float)):
        return [float(fill)] * F.get_dimensions(img)[0]
    return [float(value) for value in fill]


def _sequence_of(values: Any, name: str, lengths: tuple[int, ...]) -> None:
    """Raises unless it is a sequence of one of these lengths."""
    message = f"{name} should be a sequence of length {' or '.join(str(n) for n in lengths)}."
    if not isinstance(values, Sequence):
        raise TypeError(message)
    if len(values) not in lengths:
        raise ValueError(message)


def _angles(values: Any, name: str, lengths: tuple[int, ...]) -> list[float]:
    """A range of angles; a number means from minus it to it."""
    if isinstance(values, (int, float)):
        if values < 0:
            raise ValueError(f"If {name} is a single number, it must be positive.")
        values = [-values, values]
    else:
        _sequence_of(values, name, lengths)
    return [float(value) for value in values]


class Resize(Module):
    """Resized to (height, width), or with an int to that shorter edge, the ratio kept.

    max_size: the most that the longer edge may get. antialias: for tensors; Pillow always does it.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: Any = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        if not isinstance(size, (int, Sequence)):
            raise TypeError(f"Size should be int or sequence. Got {type(size)}")
        if isinstance(size, Sequence) and len(size) not in (1, 2):
            raise ValueError("If size is a sequence, it should have 1 or 2 values")
        self.size = size
        self.max_size = max_size
        self.interpolation = as_mode(interpolation)
        self.antialias = antialias

    def forward(self, img: Any) -> Any:
        """The resized picture."""
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(size={self.size}, interpolation={self.interpolation.value}, "
            f"max_size={self.max_size}, antialias={self.antialias})"
        )


class CenterCrop(Module):
    """The middle (height, width) of the picture, padded with zeros where it is smaller."""

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = F.two(size)

    def forward(self, img: Any) -> Any:
        """The cropped picture."""
        return F.center_crop(img, self.size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"


class Pad(Module):
    """A border: one number, (left/right, top/bottom), or (left, top, right, bottom).

    padding_mode: "constant" (with `fill`), "edge", "reflect" or "symmetric".
    """

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> None:
        super().__init__()
        if not isinstance(fill, (int, float, tuple, list)):
            raise TypeError(f"Got inappropriate fill arg: {fill!r}")
        if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
            raise ValueError(
                "Padding mode should be either constant, edge, reflect or symmetric, "
                f"not {padding_mode!r}"
            )
        F.borders(padding)
        self.padding = padding
        self.fill = fill
        self.padding_mode = padding_mode

    def forward(self, img: Any) -> Any:
        """The padded picture."""
        return F.pad(img, self.padding, self.fill, self.padding_mode)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(padding={self.padding}, fill={self.fill}, "
            f"padding_mode={self.padding_mode})"
        )


class RandomCrop(Module):
    """A box of `size` somewhere in the picture, which is padded first where that is asked for.

    pad_if_needed: pad a picture that is smaller than the box; otherwise it is a ValueError.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: Any = None,
        pad_if_needed: bool = False,
        fill: Any = 0,
        padding_mode: str = "constant",
    ) -> None:
        super().__init__()
        self.size = tuple(F.two(size))
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = padding_mode

    @staticmethod
    def get_params(img: Any, output_size: Sequence[int]) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a random box."""
        _, rows, columns = F.get_dimensions(img)
        height, width = output_size
        if rows < height or columns < width:
            raise ValueError(
                f"Required crop size {(height, width)} is larger than input image size "
                f"{(rows, columns)}"
            )
        if (rows, columns) == (height, width):
            return 0, 0, rows, columns
        top = draws.below(rows - height + 1)
        return top, draws.below(columns - width + 1), height, width

    def forward(self, img: Any) -> Any:
        """The cropped picture."""
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        if self.pad_if_needed:
            _, rows, columns = F.get_dimensions(img)
            for border in ([self.size[1] - columns, 0], [0, self.size[0] - rows]):
                if max(border) > 0:
                    img = F.pad(img, border, self.fill, self.padding_mode)
        return F.crop(img, *self.get_params(img, self.size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, padding={self.padding})"


class RandomResizedCrop(Module):
    """A box of random area and ratio, resized to `size`.

    scale: the range of its area, as a part of the picture's. ratio: the range of width to height.
    Source: C. Szegedy et al., "Going deeper with convolutions", 2015.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: Any = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        self.size = F.two(size)
        for name, values in (("Scale", scale), ("Ratio", ratio)):
            if not isinstance(values, Sequence):
                raise TypeError(f"{name} should be a sequence")
        if scale[0] > scale[1] or ratio[0] > ratio[1]:
            warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=2)
        self.interpolation = as_mode(interpolation)
        self.antialias = antialias
        self.scale = scale
        self.ratio = ratio

    @staticmethod
    def get_params(
        img: Any, scale: Sequence[float], ratio: Sequence[float]
    ) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a random box; after ten misses the middle."""
        _, rows, columns = F.get_dimensions(img)
        for area, proportion in random_boxes(rows * columns, scale, ratio):
            width = round(math.sqrt(area * proportion))
            height = round(math.sqrt(area / proportion))
            if 0 < width <= columns and 0 < height <= rows:
                top = draws.below(rows - height + 1)
                return top, draws.below(columns - width + 1), height, width
        height, width = rows, columns
        if columns / rows < min(ratio):
            height = round(columns / min(ratio))
        elif columns / rows > max(ratio):
            width = round(rows * max(ratio))
        return (rows - height) // 2, (columns - width) // 2, height, width

    def forward(self, img: Any) -> Any:
        """The cropped and resized picture."""
        top, left, height, width = self.get_params(img, self.scale, self.ratio)
        box = F.crop(img, top, left, height, width)
        return F.resize(box, self.size, self.interpolation, antialias=self.antialias)

    def __repr__(self) -> str:
        scale, ratio = (tuple(round(v, 4) for v in values) for values in (self.scale, self.ratio))
        return (
            f"{type(self).__name__}(size={self.size}, scale={scale}, ratio={ratio}, "
            f"interpolation={self.interpolation.value}, antialias={self.antialias})"
        )


def random_boxes(area: int, scale: Sequence[float], ratio: Sequence[float]) -> Any:
    """Ten tries of (area, ratio): the ratio is uniform in its logarithm."""
    import numpy as np

    low, high = (float(np.log(np.float32(value))) for value in ratio)
    for _ in range(10):
        chosen = area * draws.uniform(scale[0], scale[1])
        yield chosen, float(np.exp(np.float32(draws.uniform(low, high))))


class RandomHorizontalFlip(Module):
    """Left and right exchanged, with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The picture or its mirror image."""
        return F.hflip(img) if draws.chance() < self.p else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomVerticalFlip(Module):
    """Top and bottom exchanged, with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The picture or its mirror image."""
        return F.vflip(img) if draws.chance() < self.p else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomRotation(Module):
    """Turned by a random angle: from -degrees to degrees, or from degrees[0] to degrees[1].

    expand: make the result large enough for all of it. center: (x, y) in pixels, or the middle.
    fill: what stands beyond the edge.
    """

    def __init__(
        self,
        degrees: Any,
        interpolation: Any = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        self.degrees = _angles(degrees, "degrees", (2,))
        if center is not None:
            _sequence_of(center, "center", (2,))
        self.center = center
        self.interpolation = as_mode(interpolation)
        self.expand = expand
        self.fill = _fill(fill)

    @staticmethod
    def get_params(degrees: Sequence[float]) -> float:
        """A random angle."""
        return draws.uniform(float(degrees[0]), float(degrees[1]))

    def forward(self, img: Any) -> Any:
        """The turned picture."""
        fill = _fill_of(self.fill, img)
        angle = self.get_params(self.degrees)
        return F.rotate(img, angle, self.interpolation, self.expand, self.center, fill)

    def __repr__(self) -> str:
        parts = [
            f"degrees={self.degrees}",
            f"interpolation={self.interpolation.value}",
            f"expand={self.expand}",
        ]
        if self.center is not None:
            parts.append(f"center={self.center}")
        return f"{type(self).__name__}({', '.join([*parts, f'fill={self.fill}'])})"


class RandomAffine(Module):
    """Turned, moved, scaled and sheared at random, the middle kept in place.

    degrees: as for RandomRotation. translate: the most to move, as parts of width and height.
    scale: a range. shear: a range for x, or two ranges, in degrees.
    """

    def __init__(
        self,
        degrees: Any,
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: Any = None,
        interpolation: Any = InterpolationMode.NEAREST,
        fill: Any = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.degrees = _angles(degrees, "degrees", (2,))
        if translate is not None:
            _sequence_of(translate, "translate", (2,))
            if not all(0.0 <= part <= 1.0 for part in translate):
                raise ValueError("translation values should be between 0 and 1")
        if scale is not None:
            _sequence_of(scale, "scale", (2,))
            if min(scale) <= 0:
                raise ValueError("scale values should be positive")
        if center is not None:
            _sequence_of(center, "center", (2,))
        self.translate = translate
        self.scale = scale
        self.shear = shear if shear is None else _angles(shear, "shear", (2, 4))
        self.interpolation = as_mode(interpolation)
        self.fill = _fill(fill)
        self.center = center

    @staticmethod
    def get_params(
        degrees: Sequence[float],
        translate: Sequence[float] | None,
        scale_ranges: Sequence[float] | None,
        shears: Sequence[float] | None,
        img_size: Sequence[int],
    ) -> tuple[float, tuple[int, int], float, tuple[float, float]]:
        """(angle, (right, down), scale, (shear x, shear y)) for a picture of (width, height)."""
        angle = draws.uniform(float(degrees[0]), float(degrees[1]))
        moved = (0, 0)
        if translate is not None:
            most = [part * size for part, size in zip(translate, img_size)]
            right = round(draws.uniform(-most[0], most[0]))
            moved = (right, round(draws.uniform(-most[1], most[1])))
        scale = 1.0 if scale_ranges is None else draws.uniform(scale_ranges[0], scale_ranges[1])
        by_x = by_y = 0.0
        if shears is not None:
            by_x = draws.uniform(shears[0], shears[1])
            by_y = draws.uniform(shears[2], shears[3]) if len(shears) == 4 else 0.0
        return angle, moved, scale, (by_x, by_y)

    def forward(self, img: Any) -> Any:
        """The changed picture."""
        fill = _fill_of(self.fill, img)
        drawn = self.get_params(
            self.degrees, self.translate, self.scale, self.shear, F.get_image_size(img)
        )
        return F.affine(
            img, *drawn, interpolation=self.interpolation, fill=fill, center=self.center
        )

    def __repr__(self) -> str:
        parts = [f"degrees={self.degrees}"]
        parts += [
            f"{name}={value}"
            for name, value in (
                ("translate", self.translate),
                ("scale", self.scale),
                ("shear", self.shear),
            )
            if value is not None
        ]
        if self.interpolation is not InterpolationMode.NEAREST:
            parts.append(f"interpolation={self.interpolation.value}")
        if self.fill != 0:
            parts.append(f"fill={self.fill}")
        if self.center is not None:
            parts.append(f"center={self.center}")
        return f"{type(self).__name__}({', '.join(parts)})"
