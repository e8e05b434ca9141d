from __future__ import annotations

import random

import numpy as np
import pytest

import rushlight
from rushlight.datasets import transforms as T
from rushlight.datasets.transforms import functional as F
from tests.datasets.transform_cases import (
    CALLS,
    SEED,
    as_array,
    build,
    cases,
    inputs,
    pixels,
    read_record,
)

REPRESENTATIONS, OUTPUTS = read_record()


@pytest.mark.parametrize(("text", "kind"), cases(), ids=[f"{k}-{t}" for t, k in cases()])
def test_as_torchvision(text, kind):
    """Same seed, same pictures: Pillow's bit for bit, integers to 1, floats to rounding."""
    transform = build(text, T, rushlight)
    picture = inputs(rushlight.from_numpy)[kind]
    rushlight.manual_seed(SEED)
    random.seed(SEED)
    for call in range(CALLS):
        found = as_array(transform(picture))
        wanted = OUTPUTS[f"{kind}|{call}|{text}"]
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        if kind in ("gray", "rgb") and found.dtype == np.uint8:
            np.testing.assert_array_equal(found, wanted)
        elif found.dtype.kind in "iu":
            assert abs(found.astype(np.int64) - wanted.astype(np.int64)).max() <= 1
        else:
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("text", list(REPRESENTATIONS))
def test_prints_as_torchvision(text):
    wanted = REPRESENTATIONS[text]
    assert repr(build(text, T, rushlight)) == wanted.replace("torch.", "rushlight.") or (
        repr(build(text, T, rushlight)) == wanted
    )


def test_to_tensor_of_arrays_and_modes():
    from PIL import Image

    rgb = pixels()["rgb"]
    tensor = T.ToTensor()(rgb)
    assert tensor.dtype is rushlight.float32 and tensor.is_contiguous()
    np.testing.assert_array_equal(tensor.numpy(), rgb.transpose(2, 0, 1) / np.float32(255))
    assert T.ToTensor()(rgb[:, :, 0].astype(np.int32)).dtype is rushlight.int32
    one_bit = Image.fromarray(rgb[:, :, 0]).convert("1")
    assert set(np.unique(T.ToTensor()(one_bit).numpy())) == {0.0, 1.0}
    assert T.ToTensor()(Image.new("I", (3, 2), 70000)).numpy().tolist() == [[[70000] * 3] * 2]
    assert T.ToTensor()(Image.new("LA", (3, 2))).shape == (2, 2, 3)
    with pytest.raises(TypeError, match="PIL Image or ndarray"):
        T.ToTensor()([1])
    with pytest.raises(ValueError, match="2/3 dimensional"):
        T.ToTensor()(np.zeros(3))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK", "HSV", "YCbCr", "I", "F"])
def test_pictures_there_and_back(mode):
    from PIL import Image

    picture = Image.fromarray(pixels()["rgb"]).convert(mode)
    chosen = mode if mode in ("CMYK", "HSV", "YCbCr") else None
    back = (
        T.ToPILImage(chosen)(T.PILToTensor()(picture))
        if mode != "F"
        else (T.ToPILImage("F")(T.PILToTensor()(picture)))
    )
    assert back.mode == mode
    np.testing.assert_array_equal(np.asarray(back), np.asarray(picture))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: T.Resize(6.5), TypeError, "int or sequence"),
        (lambda: T.Resize((1, 2, 3)), ValueError, "1 or 2 values"),
        (lambda: T.Resize(4, interpolation="bilinear"), TypeError, "InterpolationMode"),
        (lambda: F.resize(rushlight.rand(3, 4, 4), 3, max_size=2), ValueError, "strictly greater"),
        (lambda: F.resize(rushlight.rand(3, 4, 4), [3, 3], max_size=5), ValueError, "max_size"),
        (
            lambda: F.resize(rushlight.rand(3, 4, 4), 3, T.InterpolationMode.LANCZOS),
            ValueError,
            "unsupported with Tensor",
        ),
        (lambda: T.CenterCrop((1, 2, 3)), ValueError, "two dimensions"),
        (lambda: T.Pad("2"), TypeError, "padding"),
        (lambda: T.Pad((1, 2, 3)), ValueError, "1, 2, or 4"),
        (lambda: T.Pad(2, padding_mode="wrap"), ValueError, "constant, edge"),
        (lambda: T.RandomCrop(9)(rushlight.rand(1, 8, 8)), ValueError, "larger than input"),
        (lambda: T.Normalize([0.5], [0.0])(rushlight.rand(1, 2, 2)), ValueError, "zero"),
        (lambda: T.Normalize([0.5], [1.0])(rushlight.ones(1, 2, 2).int()), TypeError, "float"),
        (lambda: T.Normalize([0.5], [1.0])(pixels()["rgb"]), TypeError, "Tensor Image"),
        (lambda: T.Grayscale()(rushlight.rand(2, 4, 4)), TypeError, "permitted channel"),
        (lambda: T.Lambda(3), TypeError, "callable"),
        (lambda: T.RandomRotation(-3), ValueError, "positive"),
        (lambda: T.RandomRotation((1, 2, 3)), ValueError, "length 2"),
        (lambda: T.RandomAffine(0, translate=(2, 0)), ValueError, "between 0 and 1"),
        (lambda: T.RandomAffine(0, scale=(0, 1)), ValueError, "positive"),
        (lambda: T.ColorJitter(brightness=-1), ValueError, "non negative"),
        (lambda: T.ColorJitter(hue=0.7), ValueError, "hue values"),
        (lambda: T.RandomErasing(2), ValueError, "probability"),
        (lambda: T.RandomErasing(value="noise"), ValueError, "random"),
        (lambda: T.RandomErasing(1, value=(1, 2))(rushlight.rand(3, 9, 9)), ValueError, "channels"),
        (
            lambda: T.ConvertImageDtype(rushlight.int32)(rushlight.rand(1, 2, 2)),
            RuntimeError,
            "cast",
        ),
        (lambda: T.ToPILImage()(rushlight.rand(5, 2, 2)), ValueError, "4 channels"),
        (lambda: T.ToPILImage("RGB")(rushlight.rand(1, 2, 2)), ValueError, "Incorrect mode"),
        (lambda: F.hflip("picture"), TypeError, "PIL Image or Tensor"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_gradients_flow_through_tensors():
    image = rushlight.rand(3, 8, 8, requires_grad=True)
    chain = T.Compose(
        [T.Resize(10), T.RandomCrop(8), T.RandomRotation(20), T.Normalize([0.5], [2])]
    )
    chain(image).sum().backward()
    assert (image.grad != 0).any().item()


def test_chains_of_modules():
    chain = rushlight.nn.Sequential(T.CenterCrop(6), T.Normalize([0.0], [0.5]))
    image = rushlight.rand(2, 3, 8, 8)
    np.testing.assert_allclose(chain(image).numpy(), image.numpy()[..., 1:7, 1:7] * 2, rtol=1e-6)
