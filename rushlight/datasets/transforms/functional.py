"""Each transform as a function of a picture: PIL images go to Pillow, tensors to ops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.datasets.pictures import is_picture, pillow
from rushlight.datasets.transforms import on_colours, on_pictures, on_tensors
from rushlight.datasets.transforms.modes import InterpolationMode, as_mode, pillow_number
from rushlight.tensor.tensor import Tensor, wrap

_PADDING_MODES = ("constant", "edge", "reflect", "symmetric")
_MODES_OF_CHANNELS = {2: ("LA",), 3: ("RGB", "YCbCr", "HSV"), 4: ("RGBA", "CMYK", "RGBX")}
_MODES_OF_GRAY = {"uint8": "L", "int16": "I;16", "int32": "I", "float32": "F"}


def get_dimensions(img: Any) -> list[int]:
    """Channels, height and width of a PIL image or a tensor (..., C, H, W)."""
    return on_pictures.dimensions(img) if is_picture(img) else on_tensors.dimensions(img)


def get_image_num_channels(img: Any) -> int:
    """The number of channels."""
    return get_dimensions(img)[0]


def get_image_size(img: Any) -> list[int]:
    """Width and height."""
    _, height, width = get_dimensions(img)
    return [width, height]


def to_tensor(pic: Any) -> Any:
    """A PIL image or an array (H, W) or (H, W, C) as a tensor (C, H, W).

    Bytes become floats of the default dtype in [0, 1]; other dtypes are kept as they are. Raises
    TypeError for anything else, ValueError for an array of another rank.
    """
    if is_picture(pic):
        array = on_pictures.pixels(pic)
    elif isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        array = pic if pic.ndim == 3 else pic[:, :, None]
    else:
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    planes = np.array(array.transpose(2, 0, 1), order="C")
    if planes.dtype == np.uint8:
        scalar = dtypes.get_default_dtype().numpy
        return wrap(np.divide(planes, scalar.type(255), dtype=scalar))
    return wrap(planes)


def pil_to_tensor(pic: Any) -> Any:
    """A PIL image as a tensor (C, H, W) of its own dtype, unscaled."""
    if not is_picture(pic):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    array = np.array(pic)
    return wrap(array.reshape(pic.height, pic.width, -1).transpose(2, 0, 1))


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A tensor (C, H, W) or (H, W), or an array (H, W, C) or (H, W), as a PIL image.

    Floats are taken to lie in [0, 1]. Without `mode` it follows from channels and dtype. Raises
    TypeError for another dtype, ValueError for another shape or a mode that does not fit.
    """
    array: Any = pic
    if isinstance(pic, Tensor):
        array = array.detach().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    elif not isinstance(pic, np.ndarray):
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    if array.ndim not in (2, 3):
        raise ValueError(f"pic should be 2/3 dimensional. Got {array.ndim} dimensions.")
    array = array[:, :, None] if array.ndim == 2 else array
    channels = array.shape[2]
    if channels > 4:
        raise ValueError(f"pic should not have > 4 channels. Got {channels} channels.")
    pillow()
    if array.dtype.kind == "f" and mode != "F":
        array = (array * 255).astype(np.uint8)
    kind = array.dtype.name
    if channels == 1:
        fitting = _MODES_OF_GRAY.get(kind)
        if mode is not None and mode != fitting:
            raise ValueError(
                f"Incorrect mode ({mode}) supplied for input type {kind}. Should be {fitting}"
            )
        mode, array = fitting, array[:, :, 0]
    else:
        permitted = _MODES_OF_CHANNELS[channels]
        if mode is not None and mode not in permitted:
            raise ValueError(
                f"Only modes {list(permitted)} are supported for inputs of {channels} channels"
            )
        if mode is None and kind == "uint8":
            mode = permitted[0]
    if mode is None:
        raise TypeError(f"Input type {kind} is not supported")
    return on_pictures.of_pixels(np.ascontiguousarray(array), mode)


def convert_image_dtype(image: Any, dtype: Any = dtypes.float32) -> Any:
    """A tensor in another dtype, scaled so that full brightness stays full brightness."""
    if not isinstance(image, Tensor):
        raise TypeError("Input img should be Tensor Image")
    return on_tensors.convert(image, dtype)


def normalize(
    tensor: Any, mean: Sequence[float], std: Sequence[float], inplace: bool = False
) -> Any:
    """(tensor - mean) / std for each channel of a float tensor (..., C, H, W)."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}")
    return on_tensors.normalize(tensor, mean, std, inplace)


def resized_size(height: int, width: int, size: Sequence[int], max_size: int | None) -> list[int]:
    """The (height, width) that `size` asks for: both, or the shorter edge and the ratio kept."""
    if len(size) == 2:
        return [size[0], size[1]]
    short, long = sorted((height, width))
    new_short, new_long = size[0], int(size[0] * long / short)
    if max_size is not None:
        if max_size <= size[0]:
            raise ValueError(
                f"max_size = {max_size} must be strictly greater than the requested size for the "
                f"smaller edge size = {size[0]}"
            )
        if new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return [new_long, new_short] if width <= height else [new_short, new_long]


def resize(
    img: Any,
    size: int | Sequence[int],
    interpolation: Any = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """Resized to (height, width), or with an int to that shorter edge, the ratio kept.

    max_size: the most that the longer edge may get (only with an int). antialias: for tensors;
    Pillow always does it. Raises ValueError for a size of another length or a mode that tensors do
    not know.
    """
    mode = as_mode(interpolation)
    wanted = [size] if isinstance(size, int) else list(size)
    if len(wanted) not in (1, 2):
        raise ValueError(
            f"Size must be an int or a 1 or 2 element tuple/list, not a {len(wanted)} element "
            "tuple/list"
        )
    if max_size is not None and len(wanted) != 1:
        raise ValueError(
            "max_size should only be passed if size specifies the length of the smaller edge, "
            "i.e. size should be an int or a sequence of length 1"
        )
    _, height, width = get_dimensions(img)
    target = resized_size(height, width, wanted, max_size)
    if target == [height, width]:
        return img
    if is_picture(img):
        return on_pictures.resize(img, target, pillow_number(mode))
    return on_tensors.resize(img, target, mode.value, bool(antialias))


def borders(padding: Any) -> list[int]:
    """(left, top, right, bottom) from one, two or four numbers."""
    if isinstance(padding, int):
        return [padding] * 4
    if not isinstance(padding, (tuple, list)):
        raise TypeError(f"Got inappropriate padding arg: {padding!r}")
    if len(padding) not in (1, 2, 4):
        raise ValueError(
            f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(padding)} element "
            "tuple"
        )
    return list(padding) * (4 // len(padding))


def pad(img: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    """A border around the picture: one number, (left/right, top/bottom) or all four from the left.

    padding_mode: "constant" (with `fill`), "edge", "reflect" or "symmetric". Raises ValueError for
    another mode.
    """
    if padding_mode not in _PADDING_MODES:
        raise ValueError(
            "Padding mode should be either constant, edge, reflect or symmetric, "
            f"not {padding_mode!r}"
        )
    on = on_pictures if is_picture(img) else on_tensors
    return on.pad(img, borders(padding), fill, padding_mode)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """The box of the picture, zero where it reaches over the edge."""
    on = on_pictures if is_picture(img) else on_tensors
    return on.crop(img, top, left, height, width)


def center_crop(img: Any, output_size: Any) -> Any:
    """The middle of the picture, padded with zeros where it is smaller than asked."""
    height, width = two(output_size)
    _, rows, columns = get_dimensions(img)
    if height > rows or width > columns:
        down, across = max(height - rows, 0), max(width - columns, 0)
        img = pad(img, [across // 2, down // 2, (across + 1) // 2, (down + 1) // 2])
        _, rows, columns = get_dimensions(img)
        if (height, width) == (rows, columns):
            return img
    return crop(img, round((rows - height) / 2.0), round((columns - width) / 2.0), height, width)


def two(size: Any, message: str = "Please provide only two dimensions (h, w) for size.") -> Any:
    """(height, width) from a number or a sequence of one or two."""
    if isinstance(size, (int, float)):
        return int(size), int(size)
    if len(size) == 1:
        return size[0], size[0]
    if len(size) != 2:
        raise ValueError(message)
    return size


def hflip(img: Any) -> Any:
    """Left and right exchanged."""
    return on_pictures.hflip(img) if is_picture(img) else on_tensors.hflip(img)


def vflip(img: Any) -> Any:
    """Top and bottom exchanged."""
    return on_pictures.vflip(img) if is_picture(img) else on_tensors.vflip(img)


def inverse_affine(
    center: Sequence[float],
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: Sequence[float],
) -> list[float]:
    """The first two rows of the inverse of: shear, turn clockwise and scale about `center`, move.

    The forward map is T C R S H C^-1 (move, centre, turn, scale, shear by x then by y); its 2 x 2
    part has determinant scale^2, so the inverse is written down.
    """
    turn, by_x, by_y = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    cos, sin = math.cos(turn - by_y) / math.cos(by_y), math.sin(turn - by_y) / math.cos(by_y)
    forward = (
        (cos, -cos * math.tan(by_x) - math.sin(turn)),
        (sin, -sin * math.tan(by_x) + math.cos(turn)),
    )
    rows = (
        (forward[1][1] / scale, -forward[0][1] / scale),
        (-forward[1][0] / scale, forward[0][0] / scale),
    )
    away = (-center[0] - translate[0], -center[1] - translate[1])
    matrix: list[float] = []
    for (a, b), middle in zip(rows, center):
        matrix += [a, b, a * away[0] + b * away[1] + middle]
    return matrix


def _about_centre(img: Any, center: Any) -> list[float]:
    """A point in pixels, seen from the middle of the picture."""
    if center is None:
        return [0.0, 0.0]
    _, height, width = get_dimensions(img)
    return [center[0] - width * 0.5, center[1] - height * 0.5]


def rotate(
    img: Any,
    angle: float,
    interpolation: Any = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Any = None,
) -> Any:
    """Turned counter-clockwise by `angle` degrees about `center` (x, y) in pixels, or the middle.

    expand: make the result large enough for all of it. fill: what stands beyond the edge.
    """
    mode = as_mode(interpolation)
    if not isinstance(angle, (int, float)):
        raise TypeError("Argument angle should be int or float")
    if center is not None and not isinstance(center, (list, tuple)):
        raise TypeError("Argument center should be a sequence")
    if is_picture(img):
        return on_pictures.rotate(img, angle, pillow_number(mode), expand, center, fill)
    _, height, width = get_dimensions(img)
    matrix = inverse_affine(_about_centre(img, center), -angle, (0.0, 0.0), 1.0, (0.0, 0.0))
    size = on_tensors.expanded_size(matrix, width, height) if expand else None
    return on_tensors.warp(img, matrix, mode.value, fill, size)


def affine(
    img: Any,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: Any,
    interpolation: Any = InterpolationMode.NEAREST,
    fill: Any = None,
    center: Sequence[float] | None = None,
) -> Any:
    """Turned clockwise by degrees, moved by pixels, scaled and sheared by degrees (x, or x and y).

    The middle of the picture, or `center`, stays in place. Raises TypeError or ValueError for
    arguments of another kind or length, and for a scale that is not positive.
    """
    mode = as_mode(interpolation)
    if not isinstance(angle, (int, float)):
        raise TypeError("Argument angle should be int or float")
    if not isinstance(translate, (list, tuple)):
        raise TypeError("Argument translate should be a sequence")
    if len(translate) != 2:
        raise ValueError("Argument translate should be a sequence of length 2")
    if scale <= 0.0:
        raise ValueError("Argument scale should be positive")
    if isinstance(shear, (int, float)):
        shear = (shear, 0.0)
    elif not isinstance(shear, (list, tuple)):
        raise TypeError("Shear should be either a single value or a sequence of two values")
    if len(shear) == 1:
        shear = (shear[0], shear[0])
    if len(shear) != 2:
        raise ValueError(f"Shear should be a sequence containing two values. Got {shear}")
    if center is not None and not isinstance(center, (list, tuple)):
        raise TypeError("Argument center should be a sequence")
    if is_picture(img):
        middle = center if center is not None else (img.width * 0.5, img.height * 0.5)
        matrix = inverse_affine(middle, angle, translate, scale, shear)
        return on_pictures.affine(img, matrix, pillow_number(mode), fill)
    matrix = inverse_affine(_about_centre(img, center), angle, translate, scale, shear)
    return on_tensors.warp(img, matrix, mode.value, fill)


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """Luminance, in one channel or three times."""
    on = on_pictures if is_picture(img) else on_colours
    return on.grayscale(img, num_output_channels)


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """A PIL image of any mode as a gray one, of one band or three."""
    if not is_picture(img):
        raise TypeError(f"Input should be PIL Image, not {type(img)}: see rgb_to_grayscale")
    return on_pictures.grayscale(img, num_output_channels)


def _checked_factor(name: str, factor: float) -> float:
    if factor < 0:
        raise ValueError(f"{name} ({factor}) is not non-negative.")
    return float(factor)


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """0 is black, 1 the picture, 2 twice as bright."""
    on = on_pictures if is_picture(img) else on_colours
    return on.brightness(img, _checked_factor("brightness_factor", brightness_factor))


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """0 is one gray, 1 the picture, 2 twice the contrast."""
    on = on_pictures if is_picture(img) else on_colours
    return on.contrast(img, _checked_factor("contrast_factor", contrast_factor))


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """0 is black and white, 1 the picture, 2 twice the saturation."""
    on = on_pictures if is_picture(img) else on_colours
    return on.saturation(img, _checked_factor("saturation_factor", saturation_factor))


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """The hue turned by a fraction of the circle, from -0.5 to 0.5."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    on = on_pictures if is_picture(img) else on_colours
    return on.hue(img, float(hue_factor))


def erase(img: Any, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Any:
    """A tensor with the box whose top left corner is (i, j) painted over with v."""
    if not isinstance(img, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(img)}")
    return on_tensors.erase(img, i, j, h, w, v, inplace)
