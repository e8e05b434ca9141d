"""CIFAR-10: 32 x 32 colour pictures of ten classes."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rushlight.datasets.pictures import as_picture
from rushlight.datasets.vision import Transform, VisionDataset


class CIFAR10(VisionDataset):
    """CIFAR-10: 50,000 colour pictures to train on and 10,000 to test.

    root: the folder that has or gets cifar-10-batches-py. train, transform, target_transform,
    download: as for `MNIST`. `data` is a uint8 array (N, 32, 32, 3) and `targets` a list of ints,
    as PyTorch's users know them; items are (PIL image, int), the image a NumPy array where Pillow
    is not installed. Raises RuntimeError where files are missing or not the right ones,
    DownloadError where no mirror answers.
    Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009
    """

    base_folder = "cifar-10-batches-py"
    mirrors: ClassVar[list[str]] = ["https://www.cs.toronto.edu/~kriz/"]
    filename = "cifar-10-python.tar.gz"
    url = mirrors[0] + filename
    tgz_md5 = "c58f30108f718f92721af3b95e74349a"
    train_list: ClassVar[list[list[str]]] = [
        ["data_batch_1", "c99cafc152244af753f735de768cd75f"],
        ["data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"],
        ["data_batch_3", "54ebc095f3ab1f0389bbae665268c751"],
        ["data_batch_4", "634d18415352ddfa80567beed471001a"],
        ["data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"],
    ]
    test_list: ClassVar[list[list[str]]] = [["test_batch", "40351d587109b95175f43aff81a1287e"]]
    classes: ClassVar[list[str]] = [
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ]  # fmt: skip
    class_to_idx: ClassVar[dict[str, int]] = {name: label for label, name in enumerate(classes)}

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
        if not self._complete():
            raise RuntimeError(
                f"Dataset not found or corrupted in {self._folder}. "
                "You can use download=True to download it"
            )
        rows: list[Any] = []
        self.targets: list[int] = []
        for name, _ in self.train_list if train else self.test_list:
            data, labels = read_batch(self._folder / name)
            rows.append(data)
            self.targets += labels
        self.data = np.ascontiguousarray(
            np.concatenate(rows).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        )

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._transformed(as_picture(self.data[index]), self.targets[index])

    def __len__(self) -> int:
        return len(self.data)

    @property
    def _folder(self) -> Path:
        return Path(self.root or ".") / self.base_folder

    def _complete(self) -> bool:
        from rushlight.datasets.download import sums_match

        return all(
            sums_match(self._folder / name, md5) for name, md5 in self.train_list + self.test_list
        )

    def download(self) -> None:
        """Fetches the archive and unpacks the files that this class reads. Raises DownloadError."""
        from rushlight.core.files import write_whole
        from rushlight.datasets.download import fetch

        if self._complete():
            return
        archive = fetch(self.filename, self.mirrors, Path(self.root or "."), md5=self.tgz_md5)
        self._folder.mkdir(parents=True, exist_ok=True)
        wanted = {f"{self.base_folder}/{name}" for name, _ in self.train_list + self.test_list}
        with tarfile.open(archive) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.name in wanted else None
                if stream is not None:
                    write_whole(self._folder / Path(member.name).name, stream.read())
        archive.unlink()

    def extra_repr(self) -> str:
        """Which of the two sets it is."""
        return f"Split: {'Train' if self.train is True else 'Test'}"


class _Batch(pickle.Unpickler):
    """Reads the dictionaries of arrays that the batches are, and builds nothing else: code in a
    file never runs.
    """

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray"):
            if name == "_reconstruct":
                return _empty_array
            if name in ("ndarray", "dtype"):
                return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise pickle.UnpicklingError(f"a batch of CIFAR-10 does not need {module}.{name}")


def _empty_array(kind: type, shape: tuple[int, ...], code: Any) -> Any:
    """The blank array whose contents follow in the stream."""
    return np.ndarray.__new__(np.ndarray, shape, "b")


def _encode(text: str, encoding: str) -> bytes:
    """How newer pickles write bytes: as text in latin-1."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes written as {encoding}")
    return text.encode("latin-1")


def read_batch(path: Path) -> tuple[Any, list[int]]:
    """The pixels (N, 3072) uint8 and the labels of one batch file. Raises RuntimeError where it is
    something else.
    """
    try:
        entry = _Batch(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        data, labels = entry["data"], [int(label) for label in entry["labels"]]
        if data.dtype == np.uint8 and data.shape == (len(labels), 3072):
            return data, labels
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
    ) as problem:
        raise RuntimeError(f"{path} is not a batch of CIFAR-10: {problem}") from None
    raise RuntimeError(
        f"{path} is not a batch of CIFAR-10: its pixels are not rows of 3,072 bytes, one a label"
    )
