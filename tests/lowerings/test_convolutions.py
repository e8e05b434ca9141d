"""Convolution kernels against the NumPy reference: all three directions, any shape and layout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")

from rushlight.primitives import convolution as c
from tests.support.kernels import Bench

DIRECTIONS = {"forward": c.convolve, "input": c.convolve_input, "weight": c.convolve_weight}


def order_of(layout: str, ndim: int) -> tuple[int, ...]:
    """The order of the dimensions of pictures."""
    rest = tuple(range(2, ndim))
    return {"images": (1, *rest, 0), "channels": (0, *rest, 1), "plain": (0, 1, *rest)}[layout]


def check(
    direction: str, case: dict[str, Any], layouts: tuple[str, str], dtype: Any = np.float32
) -> None:
    """One direction of one convolution, from random numbers."""
    random = np.random.default_rng(1)
    where = {k: case[k] for k in ("stride", "before", "after", "dilation", "groups")}
    places = c.output_size(
        case["size"],
        case["kernel"],
        case["stride"],
        case["before"],
        case["after"],
        case["dilation"],
    )
    x = random.standard_normal((case["batch"], case["inner"] * case["groups"], *case["size"]))
    weight = random.standard_normal(
        (case["outer"] * case["groups"], case["inner"], *case["kernel"])
    )
    grad = random.standard_normal((case["batch"], weight.shape[0], *places))
    bench = Bench()
    arrays = {
        "x": bench.array(x.astype(dtype), order_of(layouts[0], x.ndim)),
        "weight": bench.array(weight.astype(dtype)),
        "grad": bench.array(grad.astype(dtype), order_of(layouts[1], x.ndim)),
    }
    operands, result = {
        "forward": (("x", "weight"), "grad"), "input": (("grad", "weight"), "x"), "weight": (("x", "grad"), "weight"),
    }[direction]  # fmt: skip
    params: dict[str, Any] = dict(where)
    if direction != "forward":
        params["size"] = case["size"] if direction == "input" else case["kernel"]
    primitive = DIRECTIONS[direction].primitive
    given_ = tuple({"x": x, "weight": weight, "grad": grad}[o].astype(dtype) for o in operands)
    want = primitive.evaluate(tuple(g.astype(np.float64) for g in given_), params)
    bench.view(arrays[result])[...] = np.nan
    assert bench.run(primitive.lowering, [arrays[result]], [arrays[o] for o in operands], params)
    got = bench.view(arrays[result])
    bound = (1e-5 if dtype == np.float32 else 1e-13) * max(1.0, float(np.abs(want).max(initial=0)))
    assert np.abs(got - want).max(initial=0) < bound


@st.composite
def cases(draw: Any) -> dict[str, Any]:
    """A convolution whose kernel fits its padded pictures."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3]))

    def sizes(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, dilation = sizes(1, 5 if rank < 3 else 3), sizes(1, 3)
    before, after = sizes(0, 3), sizes(0, 3)
    most = {1: 40, 2: 12, 3: 5}[rank]
    size = tuple(
        draw(st.integers(max(1, d * (k - 1) + 1 - b - a), max(most, d * (k - 1) + 1)))
        for k, d, b, a in zip(kernel, dilation, before, after)
    )
    return {
        "batch": draw(st.sampled_from([1, 2, 3, 16, 16, 32, 48])),
        "groups": draw(st.sampled_from([1, 1, 1, 2, 5])),
        "inner": draw(st.sampled_from([1, 2, 3, 7, 16, 18])),
        "outer": draw(st.sampled_from([1, 2, 6, 15, 16, 17, 33])),
        "size": size, "kernel": kernel, "stride": sizes(1, 3), "before": before, "after": after, "dilation": dilation,
    }  # fmt: skip


LAYOUTS = st.tuples(*[st.sampled_from(["images", "channels", "plain"])] * 2)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(), LAYOUTS, st.sampled_from([np.float32, np.float32, np.float64]))
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_any_convolution(
    direction: str, case: dict[str, Any], layouts: tuple[str, str], dtype: Any
) -> None:
    check(direction, case, layouts, dtype)


FEW = {
    "batch": 16, "groups": 1, "inner": 3, "outer": 6, "size": (9, 9), "kernel": (3, 3), "stride": (1, 1),
    "before": (1, 1), "after": (1, 1), "dilation": (1, 1),
}  # fmt: skip
CASES = [
    FEW,
    FEW | {"inner": 18, "outer": 34, "batch": 2},
    FEW | {"stride": (2, 2), "dilation": (2, 1)},
    FEW | {"groups": 3, "inner": 1, "outer": 2, "batch": 1},
    FEW
    | {
        "size": (1, 40),
        "kernel": (1, 7),
        "before": (0, 3),
        "after": (0, 3),
        "batch": 1,
        "inner": 1,
    },
]


@pytest.mark.parametrize("target", ["avx2", "sse2"])
def test_processors_with_fewer_features(target: str, tmp_path: Path) -> None:
    """Kernels for narrower vectors and fewer registers give the same results."""
    program = (
        "from tests.lowerings.test_convolutions import *\n"
        "for case in CASES:\n"
        "    for direction in DIRECTIONS:\n"
        "        for layout in ('images', 'channels', 'plain'):\n"
        "            check(direction, case, (layout, layout))\n"
    )
    environment = os.environ | {
        "RUSHLIGHT_TARGET": target,
        "RUSHLIGHT_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", ["images", "channels", "plain"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_chosen_convolutions(direction: str, layout: str, case: dict[str, Any]) -> None:
    check(direction, case, (layout, layout), np.float64)
