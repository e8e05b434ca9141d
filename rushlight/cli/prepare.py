"""Pictures as LeNet's input: 32 x 32 pixels, light ink on a dark ground, as MNIST has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rushlight.datasets.folder import load_picture
from rushlight.datasets.pictures import PictureError, pillow
from rushlight.models.lenet import SIDE

INNER, BOX = 28, 20  # MNIST's pictures, and the box that its digits were fitted into
_CONTRAST = 8  # brightest less darkest: below it there is nothing to see


def centred(images: Any) -> Any:
    """Pictures (N, H, W) uint8 as (N, 32, 32): in the middle of black, or scaled down to fit."""
    height, width = images.shape[1:]
    if max(height, width) > SIDE:
        from rushlight.datasets.transforms.on_tensors import weights

        scale = SIDE / max(height, width)
        size = [max(1, round(n * scale)) for n in (height, width)]
        rows, columns = (
            weights(n, m, "bilinear", antialias=True).astype(np.float32)
            for n, m in zip((height, width), size)
        )
        images = np.rint(rows @ images.astype(np.float32) @ columns.T).astype(np.uint8)
        height, width = size
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    result = np.zeros((len(images), SIDE, SIDE), np.uint8)
    result[:, top : top + height, left : left + width] = images
    return result


def picture_file(path: str | Path, fit: str) -> Any:
    """A picture file as the network's input (32, 32) uint8.

    A picture of MNIST's size is taken as it is. Any other is scaled: with fit "digit" its ink is
    fitted into 20 x 20 pixels and centred by weight, as MNIST's makers did; with "whole" all of the
    picture into 28 x 28. Dark ink on a light ground is inverted. Raises PictureError, OSError.
    """
    gray = _gray(load_picture(path, None))
    if np.ptp(gray) < _CONTRAST:
        raise PictureError(f"{path}: nothing to see: all pixels are alike")
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    ground = float(np.median(border))
    if ground > 127.5:
        gray, ground = 255.0 - gray, 255.0 - ground
    if gray.shape in ((INNER, INNER), (SIDE, SIDE)):
        return centred(np.rint(gray).astype(np.uint8)[None])[0]
    ink = np.clip(gray - ground, 0.0, None)
    if ink.max() <= 0:
        raise PictureError(
            f"{path}: nothing to see: no ink that is lighter or darker than its edge"
        )
    ink *= 255.0 / ink.max()
    return _as_digit(ink) if fit == "digit" else centred(_scaled(ink, INNER)[None])[0]


def _gray(picture: Any) -> Any:
    """Brightness as floats of [0, 255], transparent parts being paper."""
    Image = pillow()
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, np.float64)
        return values * (255.0 / max(float(values.max()), 255.0))
    if "A" in picture.getbands() or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        for paper in ("white", "black"):
            ground = Image.new("RGBA", layered.size, paper)
            ground.alpha_composite(layered)
            values = np.asarray(ground.convert("L"), np.float64)
            if np.ptp(values) >= _CONTRAST:  # white ink on white paper would vanish
                return values
    return np.asarray(picture.convert("L"), np.float64)


def _scaled(ink: Any, side: int) -> Any:
    """Scaled so that the longer edge has `side` pixels."""
    height, width = ink.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    Image = pillow()
    small = Image.fromarray(ink.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    return np.clip(np.rint(np.asarray(small)), 0, 255).astype(np.uint8)


def _as_digit(ink: Any) -> Any:
    """The ink in a box of 20 x 20, its centre of mass in the middle of the picture."""
    rows, columns = np.nonzero(ink > 0.2 * ink.max())
    inside = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    digit = _scaled(inside, BOX)
    height, width = digit.shape
    weight = max(float(digit.sum()), 1.0)
    middle = (SIDE - 1) / 2
    top = round(middle - float(digit.sum(1) @ np.arange(height)) / weight)
    left = round(middle - float(digit.sum(0) @ np.arange(width)) / weight)
    top, left = (int(np.clip(v, 0, SIDE - n)) for v, n in ((top, height), (left, width)))
    result = np.zeros((SIDE, SIDE), np.uint8)
    result[top : top + height, left : left + width] = digit
    return result
