"""How pixels between pixels are found."""

from __future__ import annotations

from enum import Enum
from typing import Any


class InterpolationMode(Enum):
    """Interpolation of pictures. Tensors know the first four; PIL images all."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


# Pillow's own numbers, which users may pass in place of a mode.
_PILLOW = {
    InterpolationMode.NEAREST: 0,
    InterpolationMode.LANCZOS: 1,
    InterpolationMode.BILINEAR: 2,
    InterpolationMode.BICUBIC: 3,
    InterpolationMode.BOX: 4,
    InterpolationMode.HAMMING: 5,
    InterpolationMode.NEAREST_EXACT: 0,
}
_OF_NUMBER = {
    number: mode for mode, number in _PILLOW.items() if mode is not InterpolationMode.NEAREST_EXACT
}


def as_mode(interpolation: Any) -> InterpolationMode:
    """A mode from a mode or from Pillow's number. Raises TypeError for anything else."""
    if isinstance(interpolation, InterpolationMode):
        return interpolation
    if isinstance(interpolation, int) and interpolation in _OF_NUMBER:
        return _OF_NUMBER[interpolation]
    raise TypeError(
        "Argument interpolation should be a InterpolationMode or a corresponding Pillow integer "
        f"constant (0 to 5), but got {interpolation!r}"
    )


def pillow_number(mode: InterpolationMode) -> int:
    """Pillow's number of a mode."""
    return _PILLOW[mode]
