"""Where Pillow is met: made only here, so that everything else works without it."""

from __future__ import annotations

import sys
from typing import Any


class PictureError(ValueError):
    """A file that is not a picture, or one with nothing on it. The message names the file."""


def pillow() -> Any:
    """The module PIL.Image. Raises ImportError that says how to get it."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            "this needs Pillow, which is not installed: pip install 'rushlight[vision]'"
        ) from None
    return Image


def is_picture(value: Any) -> bool:
    """Whether it is a PIL image. Costs nothing where Pillow was never loaded: then nothing can be
    one.
    """
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def as_picture(array: Any) -> Any:
    """A uint8 array (H, W) or (H, W, C) as a PIL image; the array itself where Pillow is not
    installed.

    Both are what `transforms` take: `ToTensor` makes the same tensor of either.
    """
    try:
        from PIL import Image
    except ImportError:
        return array
    return Image.fromarray(array)
