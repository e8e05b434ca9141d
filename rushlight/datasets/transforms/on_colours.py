"""The colours of tensors (..., 3, H, W): gray, brightness, contrast, saturation, hue."""

from __future__ import annotations

from typing import Any

import rushlight
from rushlight.datasets.transforms.on_tensors import (
    check_channels,
    checked,
    convert,
    dimensions,
    largest,
)


def grayscale(image: Any, channels: int) -> Any:
    """Luminance by the weights of ITU-R 601-2, in one channel or three times."""
    if checked(image).ndim < 3:
        raise TypeError(
            f"Input image tensor should have at least 3 dimensions, but found {image.ndim}"
        )
    check_channels(image, (1, 3))
    if channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    if image.shape[-3] == 3:
        red, green, blue = (image[..., i : i + 1, :, :] for i in range(3))
        gray = (0.2989 * red + 0.587 * green + 0.114 * blue).to(image.dtype)
    else:
        gray = image.clone()
    return gray.expand(*image.shape[:-3], 3, *image.shape[-2:]) if channels == 3 else gray


def _blend(image: Any, other: Any, factor: float) -> Any:
    """Factor of `image`, 1 - factor of `other`, within the values of the dtype."""
    mixed = factor * image + (1.0 - factor) * other
    return mixed.clamp(0, largest(image.dtype)).to(image.dtype)


def brightness(image: Any, factor: float) -> Any:
    """Blended with black."""
    check_channels(image, (1, 3))
    return _blend(image, rushlight.zeros_like(image), factor)


def contrast(image: Any, factor: float) -> Any:
    """Blended with its own mean gray."""
    check_channels(image, (1, 3))
    gray = grayscale(image, 1) if dimensions(image)[0] == 3 else image
    if not image.is_floating_point():
        gray = gray.to(rushlight.float32)
    over = (-3, -2, -1) if image.ndim > 2 else (-2, -1)
    return _blend(image, gray.mean(dim=over, keepdim=True), factor)


def saturation(image: Any, factor: float) -> Any:
    """Blended with its own grayscale; a gray picture stays as it is."""
    check_channels(image, (1, 3))
    if dimensions(image)[0] == 1:
        return image
    return _blend(image, grayscale(image, 1), factor)


def hue(image: Any, factor: float) -> Any:
    """The hue turned by a fraction of the circle; a gray picture stays as it is.

    In the hexcone model (A. R. Smith, "Color gamut transform pairs", 1978) each channel is
    value - chroma * ramp(hue + its own offset): so turning needs the value, the chroma and the hue.
    """
    check_channels(image, (1, 3))
    if dimensions(image)[0] == 1:
        return image
    floats = convert(image, rushlight.float32)
    red, green, blue = (floats[..., i, :, :] for i in range(3))
    value = floats.amax(dim=-3)
    chroma = value - floats.amin(dim=-3)
    divisor = rushlight.where(chroma == 0, rushlight.ones_like(chroma), chroma)
    of_red = (green - blue) / divisor
    of_green = 2.0 + (blue - red) / divisor
    of_blue = 4.0 + (red - green) / divisor
    sector = rushlight.where(
        value == red, of_red, rushlight.where(value == green, of_green, of_blue)
    )
    turned = (sector + 6.0 * factor).remainder(6.0)
    channels = []
    for offset in (5.0, 3.0, 1.0):
        place = (turned + offset).remainder(6.0)
        ramp = rushlight.minimum(place, 4.0 - place).clamp(0.0, 1.0)
        channels.append(value - chroma * ramp)
    return convert(rushlight.stack(channels, dim=-3), image.dtype)
