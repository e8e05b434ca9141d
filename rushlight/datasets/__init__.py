"""Data sets of pictures, and `transforms` that prepare them. See README.md."""

from __future__ import annotations

import importlib
from typing import Any

from rushlight.datasets.cifar import CIFAR10
from rushlight.datasets.digits import Digits
from rushlight.datasets.download import DownloadError
from rushlight.datasets.folder import ImageFolder
from rushlight.datasets.idx import IdxError, read_idx, write_idx
from rushlight.datasets.mnist import KMNIST, MNIST, FashionMNIST
from rushlight.datasets.pictures import PictureError
from rushlight.datasets.vision import VisionDataset

__all__ = [
    "CIFAR10",
    "KMNIST",
    "MNIST",
    "Digits",
    "DownloadError",
    "FashionMNIST",
    "IdxError",
    "ImageFolder",
    "PictureError",
    "VisionDataset",
    "read_idx",
    "transforms",
    "write_idx",
]


def __getattr__(name: str) -> Any:
    """`transforms` is loaded when it is first used."""
    if name == "transforms":
        return importlib.import_module("rushlight.datasets.transforms")
    raise AttributeError(f"module 'rushlight.datasets' has no attribute '{name}'")
