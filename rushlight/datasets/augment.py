"""Small random deformations of a whole array of pictures at once: what the command line trains on.

`transforms` deforms picture after picture, as users compose it. Here every picture of an epoch is
turned, scaled, sheared and shifted in a few NumPy calls, so that light augmentation costs a
fraction of the training step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_CHUNK = 256  # pictures warped together: their coordinates stay in the cache


def warp(images: Any, angle: Any, scale: Any, shear: Any, shift: Any) -> Any:
    """Each picture turned, scaled, sheared and shifted about its centre, by bilinear interpolation;
    outside is zero.

    images: (N, H, W), any real dtype. angle, shear: (N,) radians. scale: (N,) factors. shift: (N,
    2) pixels (right, down). Returns float32 (N, H, W) in the units of `images`.

    >>> import numpy as np
    >>> from rushlight.datasets.augment import warp
    >>> picture = np.zeros((1, 3, 3), np.uint8)
    >>> picture[0, 1, 1] = 9
    >>> warp(picture, np.zeros(1), np.ones(1), np.zeros(1), np.array([[1.0, 0.0]]))[0, 1]
    array([0., 0., 9.], dtype=float32)
    """
    images = np.asarray(images)
    if images.ndim != 3:
        raise ValueError(f"warp takes pictures of shape (N, H, W), not {images.shape}")
    count, height, width = images.shape
    rows = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    columns = np.arange(width, dtype=np.float32)[None, :] - (width - 1) / 2
    cos, sin = np.cos(angle), np.sin(angle)
    slant = np.tan(shear)
    # The inverse map: where in the original each pixel of the result comes from.
    x_of_x, x_of_y = cos / scale, (sin + slant * cos) / scale
    y_of_x, y_of_y = -sin / scale, (cos - slant * sin) / scale
    result = np.empty(images.shape, np.float32)
    stride = width + 2
    for start in range(0, count, _CHUNK):
        part = slice(start, min(start + _CHUNK, count))
        n = part.stop - part.start
        # A border of zeros on every side: a source beyond the picture is clipped into it.
        bordered = np.zeros((n, height + 2, stride), np.float32)
        bordered[:, 1:-1, 1:-1] = images[part]
        coefficients = [
            np.asarray(c[part], np.float32)[:, None, None] for c in (x_of_x, x_of_y, y_of_x, y_of_y)
        ]
        right = np.asarray(shift[part, 0], np.float32)[:, None, None]
        down = np.asarray(shift[part, 1], np.float32)[:, None, None]
        x = (
            coefficients[0] * (columns - right)
            + coefficients[1] * (rows - down)
            + ((width - 1) / 2 + 1)
        )
        y = (
            coefficients[2] * (columns - right)
            + coefficients[3] * (rows - down)
            + ((height - 1) / 2 + 1)
        )
        np.clip(x, 0, width + 0.999, out=x)
        np.clip(y, 0, height + 0.999, out=y)
        left, top = x.astype(np.int32), y.astype(np.int32)
        x -= left
        y -= top
        index = (
            top * stride
            + left
            + (np.arange(n, dtype=np.int32) * ((height + 2) * stride))[:, None, None]
        )
        flat = bordered.reshape(-1)
        upper = flat.take(index)
        upper += x * (flat.take(index + 1) - upper)
        lower = flat.take(index + stride)
        lower += x * (flat.take(index + (stride + 1)) - lower)
        result[part] = upper + y * (lower - upper)
    return result


def random_warp(
    images: Any,
    draws: Any,
    *,
    degrees: float = 15.0,
    zoom: float = 0.15,
    shear: float = 0.2,
    pixels: float = 2.0,
) -> Any:
    """`warp` by random amounts: within +-degrees, 1 +- zoom, +-shear radians and +-pixels each way.

    draws: (N, 5) numbers of [0, 1): the caller decides which stream they come from.
    """
    draw = 2.0 * np.asarray(draws, np.float64) - 1.0
    return warp(
        images,
        angle=np.deg2rad(degrees) * draw[:, 0],
        scale=1.0 + zoom * draw[:, 1],
        shear=shear * draw[:, 2],
        shift=pixels * draw[:, 3:5],
    )
