"""Transforms without chance: chains, conversions of pictures and tensors, scaling of values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rushlight.datasets.transforms import functional as F
from rushlight.nn import Module


def nested_repr(name: str, lines: Iterable[Any]) -> str:
    """`Name(` with each line indented below it."""
    return f"{name}(" + "".join(f"\n    {line}" for line in lines) + "\n)"


class Compose:
    """Transforms one after another.

    >>> from rushlight.datasets import transforms
    >>> transforms.Compose([transforms.Pad(2), transforms.ToTensor()])
    Compose(
        Pad(padding=2, fill=0, padding_mode=constant)
        ToTensor()
    )
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        """The transformed picture."""
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return nested_repr(type(self).__name__, self.transforms)


class ToTensor:
    """A PIL image or an array (H, W) or (H, W, C) as a tensor (C, H, W); bytes become [0, 1].

    >>> import numpy as np
    >>> from rushlight.datasets import transforms
    >>> transforms.ToTensor()(np.full((2, 3), 255, np.uint8)).shape
    torch.Size([1, 2, 3])
    """

    def __call__(self, pic: Any) -> Any:
        """The transformed picture."""
        return F.to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PILToTensor:
    """A PIL image as a tensor (C, H, W) of its own dtype, unscaled."""

    def __call__(self, pic: Any) -> Any:
        """The transformed picture."""
        return F.pil_to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToPILImage:
    """A tensor (C, H, W) or array (H, W, C) as a PIL image of `mode` or of the mode that fits."""

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        """The transformed picture."""
        return F.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.mode is None else f'mode={self.mode}'})"


class ConvertImageDtype(Module):
    """A tensor in another dtype, scaled so that full brightness stays full brightness."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, image: Any) -> Any:
        """The converted tensor."""
        return F.convert_image_dtype(image, self.dtype)


class Normalize(Module):
    """(tensor - mean) / std for each channel of a float tensor (..., C, H, W).

    >>> import rushlight
    >>> from rushlight.datasets import transforms
    >>> transforms.Normalize((0.5,), (0.25,))(rushlight.ones(1, 1, 2))
    tensor([[[2., 2.]]])
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.std = std
        self.inplace = inplace

    def forward(self, tensor: Any) -> Any:
        """The normalised tensor."""
        return F.normalize(tensor, self.mean, self.std, self.inplace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mean={self.mean}, std={self.std})"


class Grayscale(Module):
    """Luminance, in one channel or three times."""

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__()
        self.num_output_channels = num_output_channels

    def forward(self, img: Any) -> Any:
        """The gray picture."""
        return F.rgb_to_grayscale(img, self.num_output_channels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_output_channels={self.num_output_channels})"


class Lambda:
    """A function of the user's as a transform. Raises TypeError if it cannot be called."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        """The transformed picture."""
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
