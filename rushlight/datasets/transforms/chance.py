"""Transforms that leave things to chance: which transform is applied, colours, erased boxes."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.datasets.transforms import draws
from rushlight.datasets.transforms import functional as F
from rushlight.datasets.transforms.conversions import nested_repr
from rushlight.datasets.transforms.geometry import random_boxes
from rushlight.nn import Module
from rushlight.tensor.tensor import wrap


class RandomApply(Module):
    """All of the transforms with probability p, or none."""

    def __init__(self, transforms: Any, p: float = 0.5) -> None:
        super().__init__()
        self.transforms = transforms
        self.p = p

    def forward(self, img: Any) -> Any:
        """The picture, transformed or not."""
        if self.p < draws.chance():
            return img
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return nested_repr(type(self).__name__, [f"p={self.p}", *self.transforms])


class RandomTransforms:
    """What a choice among transforms has in common."""

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        if not isinstance(transforms, Sequence):
            raise TypeError("Argument transforms should be a sequence")
        self.transforms = transforms

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The transformed picture."""
        raise NotImplementedError(f"{type(self).__name__} does not say which transform it chooses")

    def __repr__(self) -> str:
        return nested_repr(type(self).__name__, self.transforms)


class RandomChoice(RandomTransforms):
    """One of the transforms, by the weights p. As in torchvision, Python's own `random` chooses."""

    def __init__(
        self, transforms: Sequence[Callable[..., Any]], p: Sequence[float] | None = None
    ) -> None:
        super().__init__(transforms)
        if p is not None and not isinstance(p, Sequence):
            raise TypeError("Argument p should be a sequence")
        self.p = p

    def __call__(self, *args: Any) -> Any:
        """The transformed picture."""
        return random.choices(self.transforms, weights=self.p)[0](*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()}(p={self.p})"


class RandomOrder(RandomTransforms):
    """All transforms in random order. As in torchvision, Python's own `random` shuffles."""

    def __call__(self, img: Any) -> Any:
        """The transformed picture."""
        order = list(range(len(self.transforms)))
        random.shuffle(order)
        for i in order:
            img = self.transforms[i](img)
        return img


class RandomGrayscale(Module):
    """Gray with probability p; the number of channels stays."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The picture in gray or as it was."""
        channels = F.get_dimensions(img)[0]
        return F.rgb_to_grayscale(img, channels) if draws.chance() < self.p else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class ColorJitter(Module):
    """Brightness, contrast, saturation and hue changed by random factors, in random order.

    brightness, contrast, saturation: a range of factors, or x for [max(0, 1 - x), 1 + x].
    hue: a range within [-0.5, 0.5], or x for [-x, x].
    """

    def __init__(
        self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0
    ) -> None:
        super().__init__()
        self.brightness = _range(brightness, "brightness")
        self.contrast = _range(contrast, "contrast")
        self.saturation = _range(saturation, "saturation")
        self.hue = _range(hue, "hue", center=0.0, bound=(-0.5, 0.5))

    @staticmethod
    def get_params(
        brightness: Any, contrast: Any, saturation: Any, hue: Any
    ) -> tuple[Any, float | None, float | None, float | None, float | None]:
        """The order of the four changes (a tensor), and the factor of each or None."""
        order = wrap(np.array(draws.order(4), np.int64))
        factors = [
            None if limits is None else draws.uniform(limits[0], limits[1])
            for limits in (brightness, contrast, saturation, hue)
        ]
        return order, factors[0], factors[1], factors[2], factors[3]

    def forward(self, img: Any) -> Any:
        """The picture in other colours."""
        order, *factors = self.get_params(self.brightness, self.contrast, self.saturation, self.hue)
        changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        for i in order.tolist():
            factor = factors[i]
            if factor is not None:
                img = changes[i](img, factor)
        return img

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, "
            f"saturation={self.saturation}, hue={self.hue})"
        )


def _range(
    value: Any, name: str, center: float = 1.0, bound: tuple[float, float] = (0.0, math.inf)
) -> tuple[float, float] | None:
    """The range of factors that an argument of ColorJitter means; None where it changes nothing."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"If {name} is a single number, it must be non negative.")
        low, high = center - float(value), center + float(value)
        if center == 1.0:
            low = max(low, 0.0)
    elif isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = float(value[0]), float(value[1])
    else:
        raise TypeError(f"{name} should be a single number or a list/tuple with length 2.")
    if not bound[0] <= low <= high <= bound[1]:
        raise ValueError(f"{name} values should be between {bound}, but got {[low, high]}.")
    return None if low == high == center else (low, high)


class RandomErasing(Module):
    """With probability p, a box of a tensor (..., C, H, W) painted over.

    scale: the range of its area, as a part of the picture's. ratio: the range of height to width.
    value: a number, one a channel, or "random" for normal noise. inplace: paint in the tensor
    given.
    Source: Z. Zhong et al., "Random erasing data augmentation", arXiv:1708.04896.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: Any = 0,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(value, (int, float, str, tuple, list)):
            raise TypeError("Argument value should be either a number or str or a sequence")
        if isinstance(value, str) and value != "random":
            raise ValueError("If value is str, it should be 'random'")
        for name, values in (("Scale", scale), ("Ratio", ratio)):
            if not isinstance(values, Sequence):
                raise TypeError(f"{name} should be a sequence")
        if scale[0] > scale[1] or ratio[0] > ratio[1]:
            warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=2)
        if scale[0] < 0 or scale[1] > 1:
            raise ValueError("Scale should be between 0 and 1")
        if p < 0 or p > 1:
            raise ValueError("Random erasing probability should be between 0 and 1")
        self.p = p
        self.scale = scale
        self.ratio = ratio
        self.value = value
        self.inplace = inplace

    @staticmethod
    def get_params(
        img: Any, scale: Sequence[float], ratio: Sequence[float], value: Any = None
    ) -> tuple[int, int, int, int, Any]:
        """(top, left, height, width, paint) of a box; after ten misses the picture itself."""
        channels, rows, columns = img.shape[-3:]
        for area, proportion in random_boxes(rows * columns, scale, ratio):
            height = round(math.sqrt(area * proportion))
            width = round(math.sqrt(area / proportion))
            if height >= rows or width >= columns:
                continue
            if value is None:
                paint = draws.normal((channels, height, width))
            else:
                paint = wrap(np.asarray(value, np.float32).reshape(-1, 1, 1))
            top = draws.below(rows - height + 1)
            return top, draws.below(columns - width + 1), height, width, paint
        return 0, 0, rows, columns, img

    def forward(self, img: Any) -> Any:
        """The tensor with or without its box."""
        if draws.chance() >= self.p:
            return img
        value = None if isinstance(self.value, str) else self.value
        if value is not None:
            value = [float(v) for v in ([value] if isinstance(value, (int, float)) else value)]
            if len(value) not in (1, img.shape[-3]):
                raise ValueError(
                    "If value is a sequence, it should have either a single value or "
                    f"{img.shape[-3]} (number of input channels)"
                )
        top, left, height, width, paint = self.get_params(img, self.scale, self.ratio, value)
        return F.erase(img, top, left, height, width, paint, self.inplace)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(p={self.p}, scale={self.scale}, ratio={self.ratio}, "
            f"value={self.value}, inplace={self.inplace})"
        )
