"""Which data a run uses: the shipped digits, a data set by name, or a folder of the user's."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rushlight.cli.errors import CommandError
from rushlight.cli.prepare import centred, picture_file
from rushlight.core.flags import setting
from rushlight.datasets.digits import Digits
from rushlight.datasets.folder import IMG_EXTENSIONS, ImageFolder, find_classes
from rushlight.datasets.mnist import (
    KMNIST,
    MNIST,
    FashionMNIST,
    download_idx,
    has_idx_files,
    idx_files,
    read_idx_folder,
)

NAMED = {"mnist": MNIST, "fashion-mnist": FashionMNIST, "kmnist": KMNIST}
_SYSTEM = Path("/usr/share/datasets")  # where Debian's data packages put theirs
_TEST_FOLDERS = ("test", "val", "valid", "validation")


@dataclass
class Pictures:
    """Pictures (N, 32, 32) uint8 and labels (N,) int64, to train on and to test."""

    name: str
    source: str
    classes: list[str]
    fit: str  # how a picture file is fitted: see prepare.picture_file
    train_images: Any
    train_labels: Any
    test_images: Any
    test_labels: Any

    @functools.cached_property
    def fingerprint(self) -> str:
        """A sum over all of it: a resumed run must have the very same data."""
        total = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            total.update(str(array.shape).encode())
            total.update(np.ascontiguousarray(array).data)
        return total.hexdigest()[:16]


def data_folder() -> Path:
    """Where downloaded data lies: RUSHLIGHT_DATA, or the user's cache."""
    named = setting("RUSHLIGHT_DATA")
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or (Path.home() / ".cache")
    return Path(cache) / "rushlight" / "datasets"


def find(name: str) -> Pictures:
    """The data of `--data`: "digits", a name of `NAMED`, or a folder.

    Raises CommandError, FileNotFoundError, IdxError, PictureError, DownloadError: one line each.
    """
    if name == "digits":
        return _digits()
    if name in NAMED:
        return _named(name)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "is neither"
        raise CommandError(f"--data takes digits, {', '.join(NAMED)} or a folder; {name!r} {kind}")
    if any(path is not None for train in (True, False) for path in idx_files(folder, train)):
        return _idx_folder(folder.name, folder, None, "whole")
    return _picture_folder(folder)


def _digits() -> Pictures:
    train, test = Digits(train=True), Digits(train=False)
    return Pictures(
        "digits",
        "5,000 digits of MNIST, shipped with rushlight",
        list(Digits.classes),
        "digit",
        centred(train.data.numpy()),
        train.targets.numpy(),
        centred(test.data.numpy()),
        test.targets.numpy(),
    )


def _named(name: str) -> Pictures:
    """A data set by name: where its files are found first, or downloaded."""
    kind = NAMED[name]
    root = data_folder()
    own = root / kind.__name__ / "raw"
    folders = [own, root / name, _SYSTEM / name]
    found = next((f for f in folders if has_idx_files(f, True) and has_idx_files(f, False)), None)
    if found is None:
        download_idx(kind.mirrors, kind.resources, own)
        found = own
    fit = "digit" if name == "mnist" else "whole"
    return _idx_folder(name, found, list(kind.classes), fit)


def _idx_folder(name: str, folder: Path, classes: list[str] | None, fit: str) -> Pictures:
    """A folder with the four IDX files of MNIST's kind."""
    sets = []
    for train in (True, False):
        images, labels = read_idx_folder(folder, train)
        if not len(images):
            raise CommandError(f"{folder}: no pictures to {'train on' if train else 'test'}")
        sets += [centred(images), labels]
    top = int(max(sets[1].max(), sets[3].max()))
    if classes is None:
        classes = [str(label) for label in range(top + 1)]
    elif top >= len(classes):
        raise CommandError(f"{folder}: a label {top}, but {name} has {len(classes)} classes")
    return Pictures(name, str(folder.resolve()), classes, fit, *sets)


def _picture_folder(folder: Path) -> Pictures:
    """A folder of pictures, one folder a class, or train/ and test/ with such folders in them.

    Without a test folder every fifth picture of a class is of the test set.
    """
    try:
        names, _ = find_classes(folder)
    except FileNotFoundError:
        raise CommandError(
            f"{folder}: neither IDX files (train-images-idx3-ubyte...) nor a folder of pictures "
            "for each class"
        ) from None
    test = next((name for name in _TEST_FOLDERS if name in names), None)
    if "train" in names and test is not None:
        train_set, test_set = (ImageFolder(folder / part) for part in ("train", test))
        if train_set.classes != test_set.classes:
            raise CommandError(f"{folder}: train and {test} have different classes")
        parts = [train_set.samples, test_set.samples]
    else:
        train_set = ImageFolder(folder)
        order = np.array(train_set.targets)
        rank = np.arange(len(order)) - np.searchsorted(order, order)  # its place in its class
        parts = [
            [sample for sample, r in zip(train_set.samples, rank) if (r % 5 == 4) == tested]
            for tested in (False, True)
        ]
    if len(train_set.classes) < 2:
        raise CommandError(
            f"{folder}: one class only ({train_set.classes[0]}): nothing to tell apart"
        )
    if not parts[1]:
        raise CommandError(
            f"{folder}: too few pictures ({', '.join(IMG_EXTENSIONS)}): every fifth of a class is "
            "kept to test, so a class needs five"
        )
    arrays = []
    for samples in parts:
        arrays.append(np.stack([picture_file(path, "whole") for path, _ in samples]))
        arrays.append(np.array([label for _, label in samples], np.int64))
    return Pictures(folder.name, str(folder.resolve()), train_set.classes, "whole", *arrays)
