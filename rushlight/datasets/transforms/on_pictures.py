"""The transforms of PIL images. Pillow does the work; `functional` decides when these are meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.datasets.pictures import pillow

Fill = Any  # a number, or one number a channel


def channels_of(picture: Any) -> int:
    """The number of bands of a PIL image."""
    return len(picture.getbands())


def dimensions(picture: Any) -> list[int]:
    """Channels, height, width."""
    return [channels_of(picture), picture.height, picture.width]


def pixels(picture: Any) -> Any:
    """The pixels (H, W, C) in the dtype that holds them: a copy."""
    kinds = {"I": np.int32, "I;16": np.int16, "I;16B": np.int16, "F": np.float32}
    array = np.array(picture, kinds.get(picture.mode, np.uint8))
    if picture.mode == "1":
        array = array * np.uint8(255)
    return array.reshape(picture.height, picture.width, channels_of(picture))


def of_pixels(array: Any, mode: str | None) -> Any:
    """A PIL image of an array (H, W) or (H, W, C), whose bytes mean `mode`."""
    Image = pillow()
    if mode is None or mode in ("L", "RGB", "RGBA", "LA", "I", "F"):
        return Image.fromarray(array)
    height, width = array.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(array).tobytes())


def fitting_fill(fill: Fill, picture: Any) -> Any:
    """`fill` as Pillow wants it for this picture: one number, or a tuple with one for each band."""
    count = channels_of(picture)
    if fill is None:
        fill = 0
    if isinstance(fill, (int, float)) and count > 1:
        fill = (fill,) * count
    if isinstance(fill, (list, tuple)):
        if len(fill) == 1:
            fill = tuple(fill) * count
        elif len(fill) != count:
            raise ValueError(
                "The number of elements in 'fill' does not match the number of channels of the "
                f"image ({len(fill)} != {count})"
            )
        return tuple(fill) if picture.mode == "F" else tuple(int(value) for value in fill)
    return fill if picture.mode == "F" else int(fill)


def resize(picture: Any, size: Sequence[int], number: int) -> Any:
    """Resized to (height, width)."""
    return picture.resize((size[1], size[0]), number)


def pad(picture: Any, border: Sequence[int], fill: Fill, padding_mode: str) -> Any:
    """With a border of (left, top, right, bottom) pixels; negative ones cut off."""
    from PIL import ImageOps

    palette = picture.getpalette() if picture.mode == "P" else None
    if padding_mode == "constant":
        padded = ImageOps.expand(picture, border=tuple(border), fill=fitting_fill(fill, picture))
    else:
        left, top, right, bottom = border
        kept = picture.crop(
            (
                max(-left, 0),
                max(-top, 0),
                picture.width - max(-right, 0),
                picture.height - max(-bottom, 0),
            )
        )
        array = np.asarray(kept)
        widths = [(max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)), (0, 0)]
        pad_any: Any = np.pad  # its types know no mode that is a plain str
        padded = pillow().fromarray(pad_any(array, widths[: array.ndim], mode=padding_mode))
    if palette is not None:
        padded.putpalette(palette)
    return padded


def crop(picture: Any, top: int, left: int, height: int, width: int) -> Any:
    """The box, black where it reaches over the edge."""
    return picture.crop((left, top, left + width, top + height))


def hflip(picture: Any) -> Any:
    """Left and right exchanged."""
    return picture.transpose(pillow().Transpose.FLIP_LEFT_RIGHT)


def vflip(picture: Any) -> Any:
    """Top and bottom exchanged."""
    return picture.transpose(pillow().Transpose.FLIP_TOP_BOTTOM)


def rotate(picture: Any, angle: float, number: int, expand: bool, center: Any, fill: Fill) -> Any:
    """Turned counter-clockwise by degrees."""
    return picture.rotate(angle, number, expand, center, fillcolor=fitting_fill(fill, picture))


def affine(picture: Any, matrix: Sequence[float], number: int, fill: Fill) -> Any:
    """Every pixel taken from where `matrix`, the inverse map in pixels, says."""
    return picture.transform(
        picture.size,
        pillow().Transform.AFFINE,
        matrix,
        number,
        fillcolor=fitting_fill(fill, picture),
    )


def grayscale(picture: Any, channels: int) -> Any:
    """Luminance, in one band or three times."""
    gray = picture.convert("L")
    if channels == 1:
        return gray
    if channels == 3:
        return pillow().merge("RGB", (gray, gray, gray))
    raise ValueError("num_output_channels should be either 1 or 3")


def brightness(picture: Any, factor: float) -> Any:
    """Blended with black."""
    from PIL import ImageEnhance

    return ImageEnhance.Brightness(picture).enhance(factor)


def contrast(picture: Any, factor: float) -> Any:
    """Blended with its own mean gray."""
    from PIL import ImageEnhance

    return ImageEnhance.Contrast(picture).enhance(factor)


def saturation(picture: Any, factor: float) -> Any:
    """Blended with its own grayscale."""
    from PIL import ImageEnhance

    return ImageEnhance.Color(picture).enhance(factor)


def hue(picture: Any, factor: float) -> Any:
    """The hue turned by a fraction of the circle; a gray picture stays as it is."""
    mode = picture.mode
    if mode in ("L", "1", "I", "F"):
        return picture
    Image = pillow()
    bands = picture.convert("HSV").split()
    turned = np.array(bands[0], np.uint8)
    turned += np.int32(factor * 255).astype(np.uint8)  # wraps around, as hues do
    return Image.merge("HSV", (Image.fromarray(turned), *bands[1:])).convert(mode)
