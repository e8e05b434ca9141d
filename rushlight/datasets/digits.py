"""The 5,000 handwritten digits that come with rushlight: no download, no folder."""

from __future__ import annotations

import functools
import gzip
import io
import pkgutil
from typing import Any, BinaryIO, cast

import numpy as np

from rushlight.datasets.idx import read_idx_stream
from rushlight.datasets.mnist import DIGIT_CLASSES, MNIST
from rushlight.datasets.pictures import as_picture
from rushlight.datasets.vision import Transform, VisionDataset
from rushlight.tensor.tensor import wrap

FILE = "data/digits.idx.gz"


@functools.lru_cache(maxsize=1)
def _all_digits() -> tuple[Any, Any]:
    """Pictures (5000, 28, 28) and labels (5000,) as they are stored, 500 of each digit in order."""
    packed = pkgutil.get_data("rushlight.datasets", FILE)
    if packed is None:
        raise RuntimeError(f"this installation of rushlight lacks its file datasets/{FILE}")
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        both = cast(BinaryIO, stream)
        name = f"rushlight/datasets/{FILE}"
        return read_idx_stream(both, name), read_idx_stream(both, name)


class Digits(VisionDataset):
    """5,000 real digits of MNIST, shipped with rushlight: 4,000 to train on and 1,000 to test, 400
    and 100 of each.

    The split is by index and never changes: every fifth stored digit is of the test set. `data` (N,
    28, 28) uint8 and `targets` (N,) int64 are tensors; `classes` and `class_to_idx` are MNIST's.
    Items are (PIL image, int), the image a NumPy array where Pillow is not installed. Source and
    licence: datasets/data/LICENSE-digits.txt.

    >>> from rushlight.datasets import Digits
    >>> digits = Digits(train=False)
    >>> len(digits), digits.data.shape, digits.classes[3]
    (1000, torch.Size([1000, 28, 28]), '3 - three')
    """

    classes = DIGIT_CLASSES
    class_to_idx = MNIST.class_to_idx
    extra_repr = MNIST.extra_repr

    def __init__(
        self,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
    ) -> None:
        super().__init__(None, transform=transform, target_transform=target_transform)
        self.train = train
        images, labels = _all_digits()
        chosen = (np.arange(len(labels)) % 5 == 4) != bool(train)
        self.data: Any = wrap(images[chosen])
        self.targets: Any = wrap(labels[chosen].astype(np.int64))

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._transformed(
            as_picture(self.data.numpy()[index]), int(self.targets.numpy()[index])
        )

    def __len__(self) -> int:
        return len(self.data)
