from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rushlight
from rushlight.datasets import CIFAR10, KMNIST, MNIST, Digits, FashionMNIST, ImageFolder, write_idx
from rushlight.datasets import transforms as T


def test_the_shipped_digits():
    train, test = Digits(), Digits(train=False)
    assert (len(train), len(test)) == (4000, 1000)
    assert train.data.shape == (4000, 28, 28) and train.data.dtype is rushlight.uint8
    assert train.targets.dtype is rushlight.int64
    assert np.bincount(train.targets.numpy()).tolist() == [400] * 10
    assert np.bincount(test.targets.numpy()).tolist() == [100] * 10
    pictures = {p.tobytes() for d in (train, test) for p in d.data.numpy()}
    assert len(pictures) == 5000  # none twice: nothing of the test is in the training
    means = [train.data.numpy()[train.targets.numpy() == d].mean() for d in range(10)]
    assert int(np.argmin(means)) == 1  # a one takes the least ink
    folder = Path(rushlight.__file__).parent / "datasets" / "data"
    assert (folder / "digits.idx.gz").stat().st_size < 1_200_000
    licence = (folder / "LICENSE-digits.txt").read_text()
    assert all(
        word in licence for word in ("LeCun", "Cortes", "Burges", "ShareAlike 3.0", "Raschka")
    )


def test_items_and_transforms():
    picture, label = Digits()[5]
    assert picture.size == (28, 28) and picture.mode == "L" and label == 0
    data = Digits(transform=T.Compose([T.Pad(2), T.ToTensor()]), target_transform=str)
    tensor, label = data[-1]
    assert tensor.shape == (1, 32, 32) and label == "9"
    with pytest.raises(IndexError):
        data[4000]
    assert data.class_to_idx["9 - nine"] == 9
    assert repr(data) == (
        "Dataset Digits\n    Number of datapoints: 4000\n    Split: Train\n    StandardTransform\n"
        "Transform: Compose(\n               Pad(padding=2, fill=0, padding_mode=constant)\n"
        "               ToTensor()\n           )\nTarget transform: <class 'str'>"
    )


def test_two_copies_are_apart():
    one = Digits()
    one.data.zero_()
    assert Digits().data.sum().item() > 0


def mnist_files(folder, sizes=(6, 4), suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in zip(("train", "t10k"), sizes):
        pictures = np.arange(count * 16, dtype=np.uint8).reshape(count, 4, 4)
        write_idx(folder / f"{name}-images-idx3-ubyte{suffix}", pictures)
        write_idx(
            folder / f"{name}-labels-idx1-ubyte{suffix}", np.arange(count, dtype=np.uint8) % 10
        )


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST, KMNIST])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_and_its_kin(tmp_path, kind, suffix):
    mnist_files(tmp_path / kind.__name__ / "raw", suffix=suffix)
    train, test = kind(str(tmp_path)), kind(tmp_path, train=False, transform=T.ToTensor())
    assert (len(train), len(test)) == (6, 4)
    assert train.data.dtype is rushlight.uint8 and train.targets.tolist() == list(range(6))
    assert test[2][0].shape == (1, 4, 4) and test[2][1] == 2
    assert len(kind.classes) == 10 and train.class_to_idx[kind.classes[3]] == 3
    assert repr(train) == (
        f"Dataset {kind.__name__}\n    Number of datapoints: 6\n    Root location: {tmp_path}\n"
        "    Split: Train"
    )


def test_labels_that_do_not_fit(tmp_path):
    mnist_files(tmp_path / "MNIST" / "raw")
    write_idx(tmp_path / "MNIST/raw/train-labels-idx1-ubyte", np.zeros(5, np.uint8))
    with pytest.raises(ValueError, match="5 labels for the 6 pictures"):
        MNIST(tmp_path)
    with pytest.raises(RuntimeError, match="Dataset not found"):
        KMNIST(tmp_path)
    with pytest.raises(ValueError, match="not both"):
        rushlight.datasets.VisionDataset(transforms=max, transform=min)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


def test_cifar_runs_no_code(tmp_path, monkeypatch):
    import hashlib

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lists = []
    for i, names in enumerate((CIFAR10.train_list, CIFAR10.test_list)):
        lists.append([])
        for name, _ in names:
            data = rng.integers(0, 256, (3 - i, 3072), dtype=np.uint8)
            content = pickle.dumps({"data": data, "labels": [1, 2, 3][: 3 - i]}, protocol=2)
            (folder / name).write_bytes(content)
            sum_ = hashlib.md5(content, usedforsecurity=False).hexdigest()
            lists[-1].append([name, sum_])
    with pytest.raises(RuntimeError, match="corrupted"):
        CIFAR10(tmp_path)
    monkeypatch.setattr(CIFAR10, "train_list", lists[0])
    monkeypatch.setattr(CIFAR10, "test_list", lists[1])
    train = CIFAR10(tmp_path, transform=T.ToTensor())
    assert len(train) == 15 and train.targets == [1, 2, 3] * 5
    assert train.data.shape == (15, 32, 32, 3) and train[0][0].shape == (3, 32, 32)
    np.testing.assert_array_equal(
        train.data[14].transpose(2, 0, 1).ravel(),
        pickle.loads((folder / "data_batch_5").read_bytes())["data"][2],
    )
    assert CIFAR10(tmp_path, train=False)[1][0].size == (32, 32)
    evil = pickle.dumps({"data": Evil(), "labels": []})
    (folder / "test_batch").write_bytes(evil)
    sum_ = hashlib.md5(evil, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sum_]])
    with pytest.raises(RuntimeError, match="does not need"):
        CIFAR10(tmp_path, train=False)
    assert not (tmp_path / "touched").exists()


def test_image_folder(tmp_path):
    from PIL import Image

    for name in ("dog", "cat"):
        (tmp_path / name / "deep").mkdir(parents=True)
        Image.new("RGB", (4, 3), (name == "dog" and "red") or "blue").save(
            tmp_path / name / "a.png"
        )
        Image.new("L", (4, 3), 9).save(tmp_path / name / "deep" / "b.jpg")
        (tmp_path / name / "notes.txt").write_text("no picture")
    data = ImageFolder(tmp_path, transform=T.ToTensor())
    assert data.classes == ["cat", "dog"] and data.class_to_idx == {"cat": 0, "dog": 1}
    assert data.targets == [0, 0, 1, 1] and data.imgs is data.samples
    assert data[2][0][:, 0, 0].tolist() == [1.0, 0.0, 0.0] and data[2][1] == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="class empty"):
        ImageFolder(tmp_path)
    assert ImageFolder(tmp_path, allow_empty=True).classes == ["cat", "dog", "empty"]
    with pytest.raises(FileNotFoundError, match="any class folder"):
        ImageFolder(tmp_path / "empty")
    (tmp_path / "dog" / "a.png").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"a\.png: not a picture"):
        data[2]


def test_without_pillow():
    program = (
        "import sys; sys.modules['PIL'] = None\n"
        "from rushlight.datasets import Digits, transforms as T\n"
        "picture, label = Digits()[0]\n"
        "print(type(picture).__name__, T.ToTensor()(picture).shape)\n"
        "try:\n    T.ToPILImage()(picture)\nexcept ImportError as problem:\n    print(problem)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert out.splitlines()[0] == "ndarray torch.Size([1, 28, 28])"
    assert "pip install 'rushlight[vision]'" in out
