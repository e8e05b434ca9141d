"""Pictures in folders, one folder a class."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rushlight.datasets.pictures import PictureError, pillow
from rushlight.datasets.vision import Transform, VisionDataset

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class ImageFolder(VisionDataset):
    """Pictures laid out as root/CLASS/anything.png: the names of the folders, sorted, are the
    classes.

    loader(path) gives the picture (default: a PIL image in RGB). is_valid_file(path) chooses files
    (default: by the extension). allow_empty: whether a class may have no picture. `samples` (also
    `imgs`) is the list of (path, label), `targets` the labels, `classes` and `class_to_idx` the
    names. Raises FileNotFoundError where there is no folder of a class, or one without pictures.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        loader: Callable[[str], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.loader = loader or load_picture
        self.classes, self.class_to_idx = find_classes(self.root or ".")
        valid = is_valid_file or _has_extension
        self.samples: list[tuple[str, int]] = []
        for name in self.classes:
            files = [
                os.path.join(folder, file)  # noqa: PTH118 - os.walk gives text, and text is wanted
                for folder, _, names in sorted(
                    os.walk(Path(self.root or ".") / name, followlinks=True)
                )
                for file in sorted(names)
            ]
            chosen = [file for file in files if valid(file)]
            if not chosen and not allow_empty:
                raise FileNotFoundError(
                    f"Found no valid file for the class {name} in {self.root}. "
                    f"Supported extensions are: {', '.join(IMG_EXTENSIONS)}"
                )
            self.samples += [(file, self.class_to_idx[name]) for file in chosen]
        self.imgs = self.samples
        self.targets = [label for _, label in self.samples]
        self.extensions = None if is_valid_file is not None else IMG_EXTENSIONS

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        return self._transformed(self.loader(path), target)

    def __len__(self) -> int:
        return len(self.samples)


def find_classes(root: str | Path) -> tuple[list[str], dict[str, int]]:
    """The sorted names of the folders in `root`, and the label of each. Raises FileNotFoundError
    where there is none.
    """
    classes = sorted(
        entry.name
        for entry in os.scandir(root)
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if not classes:
        raise FileNotFoundError(f"Couldn't find any class folder in {root}.")
    return classes, {name: label for label, name in enumerate(classes)}


def load_picture(path: str | Path, mode: str | None = "RGB") -> Any:
    """A picture file as a PIL image, wholly read; mode None leaves the mode that it has.

    Raises FileNotFoundError; PictureError (a ValueError) where it is no picture, or a damaged one.
    """
    Image = pillow()
    with Path(path).open("rb") as stream:
        try:
            with Image.open(stream) as picture:
                picture.load()
                return picture.copy() if mode is None else picture.convert(mode)
        except Image.UnidentifiedImageError:
            raise PictureError(f"{path}: not a picture, or of a kind that is not known") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
            raise PictureError(f"{path}: a picture that cannot be read: {problem}") from None


def _has_extension(path: str) -> bool:
    return path.lower().endswith(IMG_EXTENSIONS)
