"""einops on rushlight's tensors: functions as on NumPy's arrays, layers as einops' own for PyTorch."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

einops = pytest.importorskip("einops", reason="einops is not installed: the test extra brings it")

import rushlight  # noqa: E402
from rushlight import nn  # noqa: E402
from rushlight.utils.einops import EinMix, Rearrange, Reduce  # noqa: E402

X = np.arange(2 * 6 * 4 * 3, dtype=np.float32).reshape(2, 6, 4, 3)


def tensor(array=X):
    return rushlight.from_numpy(np.array(array))


def same(ours, array):
    np.testing.assert_allclose(ours.detach().numpy(), array, rtol=1e-6)


REARRANGED = (
    "b h w c -> b h w c", "b h w c -> b c h w", "b h w c -> (b h) w c", "b h w c -> h (b w) c",
    "b h w c -> (b h w c)", "b (h2 h) w c -> b h2 h (w c)", "b h w c -> b 1 (h w) c 1",
    "b (h h2) (w w2) c -> b h w (c h2 w2)", "... c -> c ...", "b ... -> ... b", "b h ... -> (b h) ...",
    "(b b2) h w c -> b b2 h w c",
)  # fmt: skip


@pytest.mark.parametrize("pattern", REARRANGED)
def test_rearrange(pattern):
    sizes = {k: 2 for k in ("h2", "w2", "b2") if k in pattern}
    same(einops.rearrange(tensor(), pattern, **sizes), einops.rearrange(X, pattern, **sizes))


@pytest.mark.parametrize("how", ["min", "max", "sum", "mean", "prod"])
@pytest.mark.parametrize(
    "pattern",
    ["b h w c -> b c", "b h w c -> ", "b (h h2) w c -> h b", "... c -> ...", "b h w c -> b 1 1 c"],
)
def test_reduce(pattern, how):
    array = 1 + X / 1000
    sizes = {"h2": 2} if "h2" in pattern else {}
    same(einops.reduce(tensor(array), pattern, how, **sizes),
         einops.reduce(array, pattern, how, **sizes))  # fmt: skip


@pytest.mark.parametrize("how", ["any", "all"])
def test_reduce_bools(how):
    array = X % 5 > 0
    same(einops.reduce(tensor(array), "b h w c -> b c", how),
         einops.reduce(array, "b h w c -> b c", how))  # fmt: skip


def test_repeat_shares_and_matches():
    for pattern, sizes in (
        ("b h w c -> b h w c k", {"k": 3}),
        ("b h w c -> (k b) h w c", {"k": 3}),
        ("b h w c -> b (h 2) (w 2) c", {}),
    ):
        same(einops.repeat(tensor(), pattern, **sizes), einops.repeat(X, pattern, **sizes))
    x = tensor()
    assert einops.repeat(x, "b h w c -> k b h w c", k=1000).data_ptr() == x.data_ptr()
    assert einops.rearrange(x, "b h w c -> c b h w").data_ptr() == x.data_ptr()


def test_lists_einsum_pack_and_unpack():
    x = tensor()
    same(einops.rearrange([x, x + 1], "n b h w c -> b n (h w) c"),
         einops.rearrange([X, X + 1], "n b h w c -> b n (h w) c"))  # fmt: skip
    a, b = np.ones((2, 3), np.float32), np.arange(12, dtype=np.float32).reshape(3, 4)
    same(einops.einsum(tensor(a), tensor(b), "i j, j k -> i k"), a @ b)
    packed, shapes = einops.pack([x, x[..., 0]], "b h *")
    expected, expected_shapes = einops.pack([X, X[..., 0]], "b h *")
    same(packed, expected)
    assert shapes == expected_shapes
    for ours, theirs in zip(
        einops.unpack(packed, shapes, "b h *"), einops.unpack(expected, shapes, "b h *")
    ):
        same(ours, theirs)
    assert einops.parse_shape(x, "b _ w c") == {"b": 2, "w": 4, "c": 3}
    assert isinstance(einops.asnumpy(x), np.ndarray)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int64", "bool", "complex64"])
def test_other_dtypes(dtype):
    x = tensor().to(getattr(rushlight, dtype))
    y = einops.rearrange(x, "b h w c -> c (h w) b")
    assert y.dtype is x.dtype and y.shape == (3, 24, 2)
    if not (x.is_floating_point() or x.is_complex()):
        with pytest.raises(NotImplementedError, match="mean"):
            einops.reduce(x, "b h w c -> b", "mean")


def test_mistakes_are_einops_own():
    with pytest.raises(einops.EinopsError, match="Wrong shape"):
        einops.rearrange(tensor(), "b c -> c b")
    with pytest.raises(einops.EinopsError, match="can't divide"):
        einops.rearrange(tensor(), "b (h h2) w c -> b h h2 w c", h2=5)


def test_gradients_flow():
    x = tensor().requires_grad_()
    y = einops.reduce(einops.rearrange(x, "b h w c -> b c (h w)"), "b c n -> b c", "mean")
    einops.repeat(y, "b c -> b c k", k=3).sum().backward()
    same(x.grad, np.full(X.shape, 3 / 24, np.float32))
    assert isinstance(
        einops.rearrange(nn.Parameter(rushlight.ones(2, 3)), "a b -> b a"), rushlight.Tensor
    )


def test_compiled():
    def f(x):
        return einops.reduce(einops.rearrange(x, "b h w c -> b c h w") * 2, "b c h w -> b c", "sum")

    same(rushlight.compile(f)(tensor()), f(tensor()).numpy())


# -- layers ----------------------------------------------------------------------------------------


def test_layers_in_a_network_that_trains():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        Reduce("b c (h 2) (w 2) -> b c h w", "max"),
        Rearrange("b c h w -> b (c h w)"),
        EinMix("b c -> b d", weight_shape="c d", bias_shape="d", c=36, d=2),
    )
    x = rushlight.randn(5, 1, 6, 6)
    assert model(x).shape == (5, 2)
    assert set(model.state_dict()) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    optimizer = rushlight.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other(x).detach().numpy(), model(x).detach().numpy())
    assert "Rearrange('b c h w -> b (c h w)')" in repr(model)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("pattern", "weight", "bias", "sizes"),
    [
        ("t b c -> t b d", "c d", "d", {"c": 3, "d": 5}),
        ("t b c -> t b d", "c d", None, {"c": 3, "d": 5}),
        ("b (g c) h -> b h (g d)", "g c d", "g d", {"g": 2, "c": 3, "d": 4}),
        ("b ... c -> b ... c", "c", "c", {"c": 3}),
        ("b h c -> b k c", "h k", "k", {"h": 4, "k": 2}),
    ],
)
def test_einmix_is_torchs(pattern, weight, bias, sizes):
    torch = pytest.importorskip("torch")
    from einops.layers.torch import EinMix as TheirMix

    torch.manual_seed(3)
    rushlight.manual_seed(3)
    theirs, ours = (kind(pattern, weight, bias, **sizes) for kind in (TheirMix, EinMix))
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), value.numpy())
    assert set(ours.state_dict()) == set(theirs.state_dict()) and repr(ours) == repr(theirs)
    shape = {"t b c -> t b d": (2, 4, 3), "b (g c) h -> b h (g d)": (2, 6, 3)}.get(
        pattern, (2, 4, 3)
    )
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(
        ours(tensor(x)).detach().numpy(),
        theirs(torch.from_numpy(x)).detach().numpy(),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("order", ["import rushlight, einops", "import einops, rushlight"])
def test_whichever_is_imported_first(order):
    program = f"{order}\nx = rushlight.zeros(2, 3)\nprint(einops.rearrange(x, 'a b -> b a').shape)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=os.environ,
    )  # fmt: skip
    assert done.stdout == "torch.Size([3, 2])\n"


def test_rushlight_does_not_import_einops():
    program = "import sys, rushlight; print('einops' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == "False\n"
