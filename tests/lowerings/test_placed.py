"""Gradients through a max pooling, and convolutions with pixels in lanes, against the NumPy references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("llvmlite")

import rushlight
from rushlight.primitives import convolution, placed
from tests.lowerings.test_convolutions import order_of
from tests.support.kernels import Bench

#: batch, channels, picture, result channels, kernel, border before and behind, window
CASES: dict[str, tuple[Any, ...]] = {
    "as in LeNet": (5, 6, (14, 14), 16, (5, 5), (0, 0), (0, 0), (2, 2)),
    "one channel": (20, 1, (12, 32), 6, (5, 5), (0, 0), (0, 0), (2, 2)),
    "whole vectors of channels": (3, 32, (10, 10), 20, (3, 3), (1, 1), (1, 1), (2, 2)),
    "many channels": (2, 40, (7, 9), 5, (3, 3), (1, 0), (0, 2), (2, 2)),
    "windows leave pixels over": (3, 5, (11, 12), 7, (3, 2), (2, 1), (1, 2), (2, 3)),
    "long rows": (2, 3, (6, 45), 4, (3, 5), (0, 2), (0, 2), (1, 4)),
    "one pixel": (1, 2, (2, 2), 3, (1, 1), (0, 0), (0, 0), (2, 2)),
    "wide kernel": (2, 7, (12, 12), 3, (7, 7), (3, 3), (3, 3), (3, 3)),
}


def operands(case: tuple[Any, ...], dtype: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Random operands of a case, and the parameters of both gradients."""
    batch, channels, size, outer, kernel, before, after, window = case
    shape = convolution.output_size(size, kernel, (1, 1), before, after, (1, 1))
    counts = tuple(n // k for n, k in zip(shape, window, strict=True))
    random = np.random.default_rng(0)
    arrays = {
        "x": random.standard_normal((batch, channels, *size)).astype(dtype),
        "weight": random.standard_normal((outer, channels, *kernel)).astype(dtype),
        "grad": random.standard_normal((batch, outer, *counts)).astype(dtype),
        "places": random.integers(0, np.prod(window), (batch, outer, *counts)).astype(np.uint8),
    }
    return arrays, {"before": before, "after": after, "window": window, "shape": shape}


def run(name: str, case: tuple[Any, ...], layout: str, arrays: dict[str, Any], where: Any) -> Any:
    """What a kernel gives, and the reference in float64."""
    order = order_of(layout, 4)
    if name == "weight":
        primitive, names, result = (
            placed.convolve_weight_placed.primitive,
            "x grad places",
            "weight",
        )
        params = {**where, "size": case[4]}
    else:
        primitive, names, result = placed.convolve_input_placed.primitive, "grad places weight", "x"
        params = {**where, "size": case[2]}
    bench = Bench()
    given = {
        k: bench.array(v, None if k == "weight" else order) for k, v in arrays.items()
    }  # fmt: skip
    values = [arrays[k] if k == "places" else arrays[k].astype(float) for k in names.split()]
    want = primitive.evaluate(tuple(values), params)
    bench.view(given[result])[...] = np.nan
    assert bench.run(primitive.lowering, [given[result]], [given[k] for k in names.split()], params)
    return bench.view(given[result]).copy(), want


@pytest.mark.parametrize("name", ["weight", "input"])
@pytest.mark.parametrize(
    ("case", "layout"), [*zip(CASES, ["plain", "channels", "images"] * 3), ("as in LeNet", "channels")]
)  # fmt: skip
def test_gradients_of_what_was_placed(case: str, name: str, layout: str) -> None:
    """Every shape, whatever the layout."""
    dtype = np.float64 if layout == "images" else np.float32
    arrays, where = operands(CASES[case], dtype)
    got, want = run(name, CASES[case], layout, arrays, where)
    bound = (1e-5 if dtype == np.float32 else 1e-13) * max(1.0, float(np.abs(want).max()))
    assert np.abs(got - want).max() < bound


@pytest.mark.parametrize("layout", ["plain", "channels"])
@pytest.mark.parametrize("case", ["as in LeNet", "whole vectors of channels"])
def test_what_is_not_finite_stays_where_it_belongs(case: str, layout: str) -> None:
    """An infinite gradient reaches the pixels of its place, and no others."""
    arrays, where = operands(CASES[case], np.float32)
    arrays["weight"] = np.abs(arrays["weight"])
    arrays["grad"][0, 1, 1, 1] = np.inf
    arrays["grad"][1, 2, 0, 1] = np.nan
    got, _ = run("input", CASES[case], layout, arrays, where)
    with np.errstate(invalid="ignore"):
        want = _without_noughts(arrays, where, CASES[case])
    assert_array_equal(np.isnan(got), np.isnan(want))
    assert_array_equal(np.isinf(got), np.isinf(want))


def _without_noughts(arrays: dict[str, Any], where: dict[str, Any], case: tuple[Any, ...]) -> Any:
    """The gradient of the input, term by term."""
    batch, channels, size, _, kernel, before, after, window = case
    out = np.zeros((batch, channels, *(n + b + a for n, b, a in zip(size, before, after))))
    for n, o, y, x in np.ndindex(*arrays["grad"].shape):
        down, right = divmod(int(arrays["places"][n, o, y, x]), window[1])
        top, left = y * window[0] + down, x * window[1] + right
        part = out[n, :, top : top + kernel[0], left : left + kernel[1]]
        part += arrays["grad"][n, o, y, x] * arrays["weight"][o].astype(float)
    return out[:, :, before[0] : before[0] + size[0], before[1] : before[1] + size[1]]


@pytest.mark.parametrize(
    ("size", "border", "outer"),
    [((6, 14), 0, 5), ((5, 28), 2, 1), ((7, 45), 2, 5), ((3, 70), 0, 20), ((4, 31), 1, 20)],
)
def test_pixels_in_lanes(size: tuple[int, int], border: int, outer: int) -> None:
    """Rows of any length, with and without a border."""
    random = np.random.default_rng(0)
    x = random.standard_normal((3, 2, *size)).astype(np.float32)
    weight = random.standard_normal((outer, 2, 3, 4)).astype(np.float32)
    params = {
        "stride": (1, 1), "before": (border, border), "after": (0, border), "dilation": (1, 1), "groups": 1,
    }  # fmt: skip
    want = convolution.convolve(x, weight, **params)
    bench = Bench()
    result = bench.array(np.full_like(want, np.nan))
    lowering = convolution.convolve.primitive.lowering
    assert bench.run(lowering, [result], [bench.array(x), bench.array(weight)], params)
    assert np.abs(bench.view(result) - want).max() < 1e-4


class Step:
    """A training step of a convolution, a pooling and a loss."""

    def __init__(self, channels: int, outer: int, relu: bool, window: int, border: int) -> None:
        rushlight.manual_seed(0)
        self.conv = rushlight.nn.Conv2d(channels, outer, 3, padding=border)
        self.relu, self.window = relu, window

    def __call__(self, x: Any) -> Any:
        self.conv.zero_grad()
        x.grad = None
        y = self.conv(x)
        if self.relu:
            y = rushlight.relu(y)
        y = rushlight.nn.functional.max_pool2d(y, self.window)
        (y * y).sum().backward()
        return y


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(
    ("batch", "channels", "outer", "width"), [(2, 1, 6, 20), (3, 3, 20, 11), (16, 2, 4, 8), (2, 17, 3, 9)]
)  # fmt: skip
def test_convolution_that_pools(
    batch: int, channels: int, outer: int, width: int, relu: bool
) -> None:
    """Results and all gradients, compiled and not, whichever kernel is chosen."""
    for window, border in ((2, 0), (3, 1)):
        random = np.random.default_rng(1)
        x = random.standard_normal((batch, channels, 9, width)).astype(np.float32)
        seen = []
        for compiled in (False, True):
            step = Step(channels, outer, relu, window, border)
            call = rushlight.compile(step) if compiled else step
            given = rushlight.tensor(x, requires_grad=True)
            y = call(given)
            y = call(given)
            grads = [given.grad, step.conv.weight.grad, step.conv.bias.grad]
            seen.append([t.detach().numpy() for t in (y, *grads)])
        for eager, native in zip(*seen, strict=True):
            np.testing.assert_allclose(native, eager, rtol=1e-4, atol=1e-4 * np.abs(eager).max())


def test_places_that_are_returned_are_those_behind_the_relu() -> None:
    """Windows without a positive number choose their first pixel, as eager has it."""
    rushlight.manual_seed(0)
    conv = rushlight.nn.Conv2d(1, 4, 3)
    with rushlight.no_grad():
        conv.bias.fill_(-0.4)
    x = rushlight.randn(3, 1, 12, 18)

    def call(x: Any) -> Any:
        y = rushlight.relu(conv(x))
        return rushlight.nn.functional.max_pool2d(y, 2, return_indices=True)

    with rushlight.no_grad():
        (values, places), (native_values, native_places) = call(x), rushlight.compile(call)(x)
    assert (values == 0).any()
    assert_array_equal(native_places.numpy(), places.numpy())
    np.testing.assert_allclose(native_values.numpy(), values.numpy(), atol=1e-5)


def test_gradients_of_overlapping_windows_are_placed() -> None:
    """Only windows side by side leave the noughts out: where others overlap, a pixel may be chosen twice."""
    rushlight.manual_seed(0)
    conv = rushlight.nn.Conv2d(3, 8, 3)
    x = rushlight.randn(2, 3, 11, 13)

    def step(x: Any) -> Any:
        conv.zero_grad()
        y = rushlight.nn.functional.max_pool2d(rushlight.relu(conv(x)), 3, stride=2)
        (y * y).sum().backward()
        return y

    step(x)
    want = conv.weight.grad.numpy().copy()
    compiled = rushlight.compile(step)
    compiled(x)
    assert "convolve_weight" in str(compiled.graph)
    np.testing.assert_allclose(conv.weight.grad.numpy(), want, rtol=1e-4, atol=1e-4)


def test_pixels_that_windows_leave_over_are_there_for_others() -> None:
    """A tanh's gradient reads the whole result of a convolution, also behind the last window."""
    rushlight.manual_seed(0)
    conv = rushlight.nn.Conv2d(2, 16, 3)
    x = rushlight.randn(2, 2, 9, 13)

    def call(x: Any) -> Any:
        y = rushlight.tanh(conv(x))
        return y, rushlight.nn.functional.max_pool2d(y, (2, 4))

    with rushlight.no_grad():
        for eager, native in zip(call(x), rushlight.compile(call)(x), strict=True):
            np.testing.assert_allclose(native.numpy(), eager.numpy(), atol=1e-5)
