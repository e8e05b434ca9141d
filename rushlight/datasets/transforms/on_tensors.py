"""The transforms of tensors (..., C, H, W), written in ops: gradients flow through them.

Where a result pixel is taken from is computed in NumPy; the taking is indexing, and resizing is a
product with a matrix of weights on either side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import rushlight
from rushlight.tensor.tensor import Tensor, wrap


def numpy_kind(dtype: Any) -> Any:
    """NumPy's dtype of one of ours."""
    return dtype.numpy


def _is_integer(dtype: Any) -> bool:
    return numpy_kind(dtype).kind in "iu"


def _computable(image: Any) -> Any:
    """The picture in a dtype that positions and weights are computed in: float32 or float64."""
    if numpy_kind(image.dtype) in (np.float32, np.float64):
        return image
    return image.to(rushlight.float32)


def checked(image: Any) -> Any:
    """The tensor, if it can be a picture. Raises TypeError otherwise."""
    if not isinstance(image, Tensor):
        raise TypeError(f"img should be PIL Image or Tensor. Got {type(image)}")
    if image.ndim < 2:
        raise TypeError(
            f"Tensor is not a torch image: it has {image.ndim} dimensions, a picture (..., H, W) "
            "has at least 2"
        )
    return image


def dimensions(image: Any) -> list[int]:
    """Channels, height, width."""
    shape = checked(image).shape
    return [1 if len(shape) == 2 else shape[-3], shape[-2], shape[-1]]


def check_channels(image: Any, permitted: Sequence[int]) -> None:
    """Raises TypeError unless the number of channels is one of `permitted`."""
    count = dimensions(image)[0]
    if count not in permitted:
        raise TypeError(
            f"Input image tensor permitted channel values are {list(permitted)}, but found {count}"
        )


def largest(dtype: Any) -> int:
    """The value that means full brightness: the largest of an integer type, 1 of the others."""
    return int(np.iinfo(numpy_kind(dtype)).max) if _is_integer(dtype) else 1


def normalize(image: Any, mean: Sequence[float], std: Sequence[float], inplace: bool) -> Any:
    """(image - mean) / std for each channel."""
    if not checked(image).is_floating_point():
        raise TypeError(f"Input tensor should be a float tensor. Got {image.dtype}.")
    if image.ndim < 3:
        raise ValueError(
            "Expected tensor to be a tensor image of size (..., C, H, W). Got tensor.size() = "
            f"{image.shape}"
        )
    per_channel = []
    for name, values in (("mean", mean), ("std", std)):
        array = np.asarray(values, numpy_kind(image.dtype))
        if name == "std" and (array == 0).any():
            raise ValueError(
                f"std evaluated to zero after conversion to {image.dtype}, leading to division by "
                "zero."
            )
        per_channel.append(wrap(array.reshape(-1, 1, 1) if array.ndim == 1 else array))
    if inplace:
        return image.sub_(per_channel[0]).div_(per_channel[1])
    return (image - per_channel[0]) / per_channel[1]


def convert(image: Any, dtype: Any) -> Any:
    """Another dtype, the values scaled so that full brightness stays full brightness."""
    source: Any = image
    if image.dtype == dtype:
        return image
    to_integer = _is_integer(dtype)
    top = largest(dtype)
    if image.is_floating_point():
        if not to_integer:
            return source.to(dtype)
        exact = {"float32": ("int32", "int64"), "float64": ("int64",)}
        if numpy_kind(dtype).name in exact.get(numpy_kind(image.dtype).name, ()):
            raise RuntimeError(
                f"The cast from {image.dtype} to {dtype} cannot be performed safely."
            )
        # Just under top + 1: every integer then gets an equally wide range of floats.
        return source.mul(top + 1.0 - 1e-3).to(dtype)
    from_top = largest(image.dtype)
    if not to_integer:
        return source.to(dtype) / from_top
    if from_top > top:
        return source.div((from_top + 1) // (top + 1), rounding_mode="floor").to(dtype)
    return source.to(dtype) * ((top + 1) // (from_top + 1))


def hflip(image: Any) -> Any:
    """Left and right exchanged."""
    return checked(image).flip(-1)


def vflip(image: Any) -> Any:
    """Top and bottom exchanged."""
    return checked(image).flip(-2)


def crop(image: Any, top: int, left: int, height: int, width: int) -> Any:
    """The box, zero where it reaches over the edge."""
    _, rows, columns = dimensions(image)
    bottom, right = top + height, left + width
    source: Any = image
    inside = source[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if left >= 0 and top >= 0 and right <= columns and bottom <= rows:
        return inside
    border = (
        max(min(right, 0) - left, 0),
        max(min(bottom, 0) - top, 0),
        max(right - max(columns, left), 0),
        max(bottom - max(rows, top), 0),
    )
    return pad(inside, border, 0, "constant")


def pad(image: Any, border: Sequence[int], fill: float | None, padding_mode: str) -> Any:
    """With a border of (left, top, right, bottom) pixels; negative ones cut off."""
    left, top, right, bottom = border
    if fill is None:
        fill = 0
    if not isinstance(fill, (int, float)):
        raise TypeError(f"Got inappropriate fill arg: tensors take one number, not {fill!r}")
    if padding_mode == "constant":
        return rushlight.nn.functional.pad(
            checked(image), [left, right, top, bottom], mode="constant", value=float(fill)
        )
    _, height, width = dimensions(image)
    rows = _padded_range(height, top, bottom, padding_mode)
    columns = _padded_range(width, left, right, padding_mode)
    source: Any = image
    return source[..., wrap(rows[:, None]), wrap(columns[None, :])]


def _padded_range(size: int, before: int, after: int, mode: str) -> Any:
    """Which of `size` pixels stands at each place of a padded row."""
    kept = np.arange(max(-before, 0), size - max(-after, 0), dtype=np.int64)
    if mode == "reflect" and max(before, after) >= len(kept):
        raise RuntimeError(
            f"Padding size should be less than the corresponding input dimension: padding "
            f"({before}, {after}) reflects a dimension of size {size}"
        )
    pad_any: Any = np.pad  # its types know no mode that is a plain str
    return pad_any(kept, (max(before, 0), max(after, 0)), mode=mode)


def resize(image: Any, size: Sequence[int], mode: str, antialias: bool) -> Any:
    """Resized to (height, width)."""
    _, height, width = dimensions(image)
    source: Any = image
    if mode in ("nearest", "nearest-exact"):
        rows, columns = (_nearest(n, m, mode) for n, m in ((height, size[0]), (width, size[1])))
        return source[..., wrap(rows[:, None]), wrap(columns[None, :])]
    if mode not in ("bilinear", "bicubic"):
        raise ValueError(f"Interpolation mode '{mode}' is unsupported with Tensor input")
    working = _computable(image)
    kind = numpy_kind(working.dtype)
    vertical = wrap(weights(height, size[0], mode, antialias).astype(kind))
    horizontal = wrap(np.ascontiguousarray(weights(width, size[1], mode, antialias).T.astype(kind)))
    result = rushlight.matmul(rushlight.matmul(vertical, working), horizontal)
    if mode == "bicubic" and numpy_kind(image.dtype) == np.uint8:
        result = result.clamp(0, 255)
    return _back(result, image.dtype)


def _nearest(old: int, new: int, mode: str) -> Any:
    """The old pixel at each new one."""
    places = np.arange(new, dtype=np.float64) + (0.5 if mode == "nearest-exact" else 0.0)
    return np.minimum((places * (old / new)).astype(np.int64), old - 1)


def weights(old: int, new: int, mode: str, antialias: bool) -> Any:
    """The matrix (new, old) that resizes a row: how much of each old pixel is in each new one.

    With antialias the kernel widens when the row shrinks, so that no old pixel is passed over
    (and the cubic is that of a = -1/2, as in Pillow); without it the kernel spans two or four
    pixels (and a = -3/4). Source: R. Keys, "Cubic convolution interpolation for digital image
    processing", 1981.
    """
    scale = old / new
    matrix = np.zeros((new, old))
    cubic = mode == "bicubic"
    if not antialias:
        place = (np.arange(new) + 0.5) * scale - 0.5
        if not cubic:
            place = np.maximum(place, 0.0)
        first = np.floor(place)
        for step in range(-1, 3) if cubic else range(2):
            share = (
                _kernel(place - (first + step), -0.75) if cubic else _tent(place - (first + step))
            )
            column = np.clip(first + step, 0, old - 1).astype(np.int64)
            np.add.at(matrix, (np.arange(new), column), share)
        return matrix
    widening = max(scale, 1.0)
    support = (2.0 if cubic else 1.0) * widening
    for row in range(new):
        centre = scale * (row + 0.5)
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), old)
        distance = (np.arange(low, high) - centre + 0.5) / widening
        share = _kernel(distance, -0.5) if cubic else _tent(distance)
        matrix[row, low:high] = share / share.sum()
    return matrix


def _tent(distance: Any) -> Any:
    return np.maximum(1.0 - np.abs(distance), 0.0)


def _kernel(distance: Any, a: float) -> Any:
    """Keys' cubic convolution kernel."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _back(result: Any, dtype: Any) -> Any:
    """A computed picture in the dtype that it came in: integers are rounded."""
    if result.dtype == dtype:
        return result
    return (result.round() if _is_integer(dtype) else result).to(dtype)


def warp(
    image: Any,
    matrix: Sequence[float],
    mode: str,
    fill: Any,
    size: tuple[int, int] | None = None,
) -> Any:
    """Every pixel of a result of `size` (height, width) taken from where `matrix` says.

    matrix: the inverse map about the centres, in pixels. Beyond the edge is `fill` (a number, or
    one a channel; None is zero).
    """
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"Interpolation mode '{mode}' is unsupported with Tensor input")
    channels, height, width = dimensions(image)
    if isinstance(fill, (int, float)):
        fill = [float(fill)]
    if fill is not None and len(fill) not in (1, channels):
        raise ValueError(
            "The number of elements in 'fill' cannot broadcast to match the number of channels of "
            f"the image ({len(fill)} != {channels})"
        )
    rows, columns = size or (height, width)
    x = np.arange(columns)[None, :] - (columns - 1) / 2
    y = np.arange(rows)[:, None] - (rows - 1) / 2
    from_x = matrix[0] * x + matrix[1] * y + (matrix[2] + (width - 1) / 2)
    from_y = matrix[3] * x + matrix[4] * y + (matrix[5] + (height - 1) / 2)
    working = _computable(image)
    kind = numpy_kind(working.dtype)
    if mode == "nearest":
        # Rounded first to a grid far finer than float32's: a tie must not hang on the last bit.
        near_x, near_y = (np.rint(np.round(place, 6)) for place in (from_x, from_y))
        corners = [(near_y, near_x, np.ones(near_x.shape))]
    else:
        left, top = np.floor(from_x), np.floor(from_y)
        right_share, low_share = from_x - left, from_y - top
        corners = [
            (top, left, (1 - low_share) * (1 - right_share)),
            (top, left + 1, (1 - low_share) * right_share),
            (top + 1, left, low_share * (1 - right_share)),
            (top + 1, left + 1, low_share * right_share),
        ]
    result: Any = None
    covered = np.zeros((rows, columns))
    for row, column, share in corners:
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        share = np.where(inside, share, 0.0)
        covered += share
        taken = working[
            ...,
            wrap(np.clip(row, 0, height - 1).astype(np.int64)),
            wrap(np.clip(column, 0, width - 1).astype(np.int64)),
        ]
        term = taken * wrap(share.astype(kind))
        result = term if result is None else result + term
    if fill is not None:
        colour = np.asarray(fill, kind).reshape((-1, 1, 1) if image.ndim > 2 else (1, 1))
        result = result * wrap(covered.astype(kind)) + wrap(((1.0 - covered) * colour).astype(kind))
    return _back(result, image.dtype)


def expanded_size(matrix: Sequence[float], width: int, height: int) -> tuple[int, int]:
    """The (height, width) that holds all of a turned picture."""
    x = np.array([-0.5, -0.5, 0.5, 0.5]) * width
    y = np.array([-0.5, 0.5, 0.5, -0.5]) * height
    sizes = []
    for a, b, c, half in ((*matrix[3:], height / 2), (*matrix[:3], width / 2)):
        places = a * x + b * y + c + half
        # Cut to four digits: rounding must not add a row of nothing.
        low, high = (math.trunc(float(v) * 1e4) / 1e4 for v in (places.min(), places.max()))
        sizes.append(math.ceil(high) - math.floor(low))
    return sizes[0], sizes[1]


def erase(
    image: Any, top: int, left: int, height: int, width: int, value: Any, inplace: bool
) -> Any:
    """The box painted over."""
    result: Any = checked(image) if inplace else image.clone()
    result[..., top : top + height, left : left + width] = value
    return result
