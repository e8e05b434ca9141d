"""The transforms that are compared with torchvision: each is built by the same text in both.

`tools/record_transforms.py` runs them in torchvision and writes what came out beside this file.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np

RECORD = Path(__file__).with_name("torchvision_outputs.xz")
SEED, CALLS = 7, 2

ANY = (  # for pictures and tensors
    "Resize(6)",
    "Resize((5, 12))",
    "Resize((13, 15), interpolation=M.NEAREST)",
    "Resize((4, 15), interpolation=M.BICUBIC)",
    "Resize(6, max_size=7)",
    "Resize(11, 0)",
    "CenterCrop(5)",
    "CenterCrop((12, 4))",
    "CenterCrop((20, 21))",
    "Pad(2)",
    "Pad((1, 2), fill=3)",
    "Pad((1, 2, 3, 0), padding_mode='edge')",
    "Pad([2, 1, 0, 3], padding_mode='reflect')",
    "Pad(2, padding_mode='symmetric')",
    "RandomCrop(5)",
    "RandomCrop((4, 6), padding=2)",
    "RandomCrop(12, pad_if_needed=True, fill=9)",
    "RandomCrop(9, padding=(2, 1), padding_mode='reflect')",
    "RandomHorizontalFlip()",
    "RandomVerticalFlip(0.7)",
    "RandomRotation(40)",
    "RandomRotation((80, 110), interpolation=M.BILINEAR, fill=5)",
    "RandomRotation(30, expand=True)",
    "RandomRotation(30, center=(2, 3))",
    "RandomRotation((180, 180))",
    "RandomAffine(20)",
    "RandomAffine(10, translate=(0.2, 0.3), scale=(0.7, 1.4), shear=15)",
    "RandomAffine(0, shear=(-10, 10, -20, 20), interpolation=M.BILINEAR, fill=7)",
    "RandomAffine((5, 9), center=(1, 1), fill=1)",
    "RandomResizedCrop(6)",
    "RandomResizedCrop((5, 7), scale=(0.3, 0.9), ratio=(0.5, 2.0), interpolation=M.NEAREST)",
    "Grayscale()",
    "Grayscale(3)",
    "RandomGrayscale(0.5)",
    "ColorJitter(brightness=0.4)",
    "ColorJitter(contrast=(0.5, 1.5))",
    "RandomApply([T.Pad(1), T.CenterCrop(8)], p=0.4)",
    "RandomChoice([T.Pad(1), T.CenterCrop(8), T.Resize(4)])",
    "RandomChoice([T.Pad(1), T.CenterCrop(8)], p=[0.2, 0.8])",
    "RandomOrder([T.Pad(1), T.CenterCrop(8)])",
    "Lambda(lambda picture: picture)",
    "Compose([T.Pad(2), T.RandomCrop(8), T.RandomHorizontalFlip()])",
)
PICTURES = (
    "ToTensor()",
    "PILToTensor()",
    "RandomRotation((90, 90))",  # on tensors of 10 x 9 the last bit of float32 would decide
    "Resize(6, interpolation=M.LANCZOS)",
    "Resize((7, 4), interpolation=M.BOX)",
    "Compose([T.Resize(8), T.ToTensor(), T.Normalize((0.5,), (0.25,))])",
)
COLOURS = (
    "ColorJitter(saturation=0.8)",
    "ColorJitter(hue=0.3)",
    "ColorJitter(0.3, 0.3, 0.3, 0.1)",
    "Pad(1, fill=(1, 2, 3))",
    "RandomRotation(30, fill=(9, 8, 7))",
)
TENSORS = (
    "Resize((4, 15), antialias=False)",
    "Resize((4, 15), interpolation=M.BICUBIC, antialias=False)",
    "Resize((5, 13), interpolation=M.NEAREST_EXACT)",
    "ConvertImageDtype(X.uint8)",
    "ConvertImageDtype(X.int16)",
    "ConvertImageDtype(X.int32)",
    "ConvertImageDtype(X.float64)",
    "ConvertImageDtype(X.int8)",
    "ToPILImage()",
)
FLOATS = (
    "Normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))",
    "Normalize([0.4], [2.0], inplace=True)",
    "RandomErasing()",
    "RandomErasing(0.9, scale=(0.1, 0.2), ratio=(0.5, 2.0), value=(0.1, 0.2, 0.3))",
    "RandomErasing(1.0, value='random')",
    "RandomErasing(1, value=0.5, inplace=True)",
)


def pixels() -> dict[str, Any]:
    """The pictures: smooth enough that no rounding decides, rough enough that order shows."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[0:10, 0:9]
    planes = [
        127 + 90 * np.sin(rows * a + columns * b) + rng.normal(0, 12, (10, 9))
        for a, b in ((0.5, 0.3), (0.2, -0.6), (-0.4, 0.4))
    ]
    colour = np.clip(np.stack(planes, 2), 0, 255).astype(np.uint8)
    return {"gray": colour[:, :, 0].copy(), "rgb": colour}


def inputs(from_numpy: Any) -> dict[str, Any]:
    """Fresh inputs: PIL images, and tensors of bytes and of floats."""
    from PIL import Image

    arrays = pixels()
    planes = np.ascontiguousarray(arrays["rgb"].transpose(2, 0, 1))
    return {
        "gray": Image.fromarray(arrays["gray"]),
        "rgb": Image.fromarray(arrays["rgb"]),
        "bytes": from_numpy(planes.copy()),
        "floats": from_numpy((planes / 255).astype(np.float32)),
    }


def cases() -> list[tuple[str, str]]:
    """(text, kind of input), all of them."""
    both = [(text, kind) for text in ANY for kind in ("gray", "rgb", "bytes", "floats")]
    both += [(text, kind) for text in PICTURES for kind in ("gray", "rgb")]
    both += [(text, "rgb") for text in COLOURS]
    both += [(text, kind) for text in COLOURS[:3] for kind in ("bytes", "floats")]
    both += [(text, kind) for text in TENSORS for kind in ("bytes", "floats")]
    both += [(text, "floats") for text in FLOATS]
    unsafe = {("ConvertImageDtype(X.int32)", "floats")}
    return [case for case in both if case not in unsafe]


def build(text: str, transforms: Any, library: Any) -> Any:
    """The transform, made by this text from one library's names."""
    names = {"T": transforms, "M": transforms.InterpolationMode, "X": library}
    return eval("T." + text, names)


def as_array(value: Any) -> Any:
    """What a transform gave, as an array of its own."""
    return np.array(value if not hasattr(value, "numpy") else value.numpy())


def write_record(representations: dict[str, str], arrays: dict[str, Any]) -> None:
    """A line of JSON that says what follows, then the bytes of all arrays."""
    index = [(key, array.dtype.str, array.shape) for key, array in arrays.items()]
    head = json.dumps({"repr": representations, "arrays": index}).encode() + b"\n"
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    RECORD.write_bytes(lzma.compress(head + body, preset=9))


def read_record() -> tuple[dict[str, str], dict[str, Any]]:
    """The representations by text, the outputs by "kind|call|text"."""
    head, body = lzma.decompress(RECORD.read_bytes()).split(b"\n", 1)
    index = json.loads(head)
    arrays, at = {}, 0
    for key, kind, shape in index["arrays"]:
        count = int(np.prod(shape))
        arrays[key] = np.frombuffer(body, kind, count, at).reshape(shape)
        at += arrays[key].nbytes
    return index["repr"], arrays
