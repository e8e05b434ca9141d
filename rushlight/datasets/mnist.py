"""MNIST and the data sets of its shape: Fashion-MNIST and Kuzushiji-MNIST."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rushlight.datasets.idx import IdxError, read_idx
from rushlight.datasets.pictures import as_picture
from rushlight.datasets.vision import Transform, VisionDataset
from rushlight.tensor.tensor import wrap

DIGIT_CLASSES = [
    "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four",
    "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine",
]  # fmt: skip
_PARTS = ("images-idx3-ubyte", "labels-idx1-ubyte")


class MNIST(VisionDataset):
    """The MNIST handwritten digits: 60,000 to train on, 10,000 to test.

    root: the folder that has or gets MNIST/raw/train-images-idx3-ubyte and its three fellows, plain
    or with .gz.
    train: which of the two sets. transform, target_transform: called on the picture and on the
    label of an item.
    download: fetch what is missing.
    `data` (N, 28, 28) uint8 and `targets` (N,) int64 are tensors; items are (PIL image, int), the
    image a NumPy array where Pillow is not installed. Raises RuntimeError where the files are
    missing, IdxError (a ValueError) where they are damaged, DownloadError where no mirror answers.
    Source: http://yann.lecun.com/exdb/mnist/
    """

    mirrors: ClassVar[list[str]] = [
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ]
    resources: ClassVar[list[tuple[str, str]]] = [  # each file and its md5
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ]
    classes: ClassVar[list[str]] = DIGIT_CLASSES

    def __init__(
        self,
        root: str | Path,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        folder = Path(self.raw_folder)
        if not has_idx_files(folder, train):
            raise RuntimeError(
                f"Dataset not found in {folder}. You can use download=True to download it, "
                "or put the IDX files there"
            )
        images, labels = read_idx_folder(folder, train)
        self.data: Any = wrap(images)
        self.targets: Any = wrap(labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._transformed(
            as_picture(self.data.numpy()[index]), int(self.targets.numpy()[index])
        )

    def __len__(self) -> int:
        return len(self.data)

    @property
    def raw_folder(self) -> str:
        """Where the IDX files lie: root/NAME/raw."""
        return str(Path(self.root or ".") / type(self).__name__ / "raw")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class name."""
        return {name: label for label, name in enumerate(self.classes)}

    def download(self) -> None:
        """Fetches and unpacks the files that are missing. Raises DownloadError."""
        download_idx(self.mirrors, self.resources, Path(self.raw_folder))

    def extra_repr(self) -> str:
        """Which of the two sets it is."""
        return f"Split: {'Train' if self.train is True else 'Test'}"


class FashionMNIST(MNIST):
    """Fashion-MNIST: 28 x 28 pictures of clothes, 60,000 to train on and 10,000 to test. Arguments
    as for `MNIST`.

    Debian's package dataset-fashion-mnist has its files in /usr/share/datasets/fashion-mnist.
    Source: H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747
    """

    mirrors: ClassVar[list[str]] = [
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ]
    resources: ClassVar[list[tuple[str, str]]] = [
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ]
    classes: ClassVar[list[str]] = [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ]  # fmt: skip


class KMNIST(MNIST):
    """Kuzushiji-MNIST: ten cursive Japanese characters, 60,000 to train on and 10,000 to test.
    Arguments as for `MNIST`.

    Source: T. Clanuwat et al., "Deep Learning for Classical Japanese Literature", arXiv:1812.01718
    """

    mirrors: ClassVar[list[str]] = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    resources: ClassVar[list[tuple[str, str]]] = [
        ("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    ]
    classes: ClassVar[list[str]] = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


def download_idx(mirrors: list[str], resources: list[tuple[str, str]], folder: Path) -> None:
    """Fetches gzip-ed IDX files, each with its md5, and unpacks those that are not there yet."""
    from rushlight.core.files import whole_file
    from rushlight.datasets.download import fetch

    for name, md5 in resources:
        plain = folder / name.removesuffix(".gz")
        if plain.is_file():
            continue
        packed = fetch(name, mirrors, folder, md5=md5)
        with gzip.open(packed) as source, whole_file(plain) as target:
            shutil.copyfileobj(source, target)
        packed.unlink()


def idx_files(folder: Path, train: bool) -> list[Path | None]:
    """The files of pictures and of labels in a folder, plain or gzip-ed, each None where it is
    missing.
    """
    prefix = "train" if train else "t10k"
    found: list[Path | None] = []
    for part in _PARTS:
        plain = folder / f"{prefix}-{part}"
        candidates = (plain, plain.with_name(plain.name + ".gz"))
        found.append(next((path for path in candidates if path.is_file()), None))
    return found


def has_idx_files(folder: Path, train: bool) -> bool:
    """Whether both files of the set are there."""
    return all(path is not None for path in idx_files(folder, train))


def read_idx_folder(folder: Path, train: bool) -> tuple[Any, Any]:
    """Pictures (N, H, W) uint8 and labels (N,) int64 of a folder of IDX files. Raises
    FileNotFoundError, IdxError.
    """
    pictures, labels = idx_files(folder, train)
    if pictures is None or labels is None:
        name = f"{'train' if train else 't10k'}-{_PARTS[0] if pictures is None else _PARTS[1]}"
        raise FileNotFoundError(f"{folder} has no file {name} (nor {name}.gz)")
    images = read_idx(pictures, ndim=3, dtype=np.uint8)
    targets = read_idx(labels, ndim=1, dtype=np.uint8)
    if len(images) != len(targets):
        raise IdxError(
            f"{labels}: {len(targets):,} labels for the {len(images):,} pictures of {pictures.name}"
        )
    return images, targets.astype(np.int64)
