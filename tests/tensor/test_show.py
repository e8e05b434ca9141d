from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rushlight
from rushlight import nn
from rushlight.primitives.interpreter import recording

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

DTYPES = (
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 float64 "
    "complex64 complex128"
).split()
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.5,
    1e-5,
    1e5,
    123456.0,
    1e9,
    1e-30,
    math.inf,
    -math.inf,
    math.nan,
]


def both(values: np.ndarray, dtype: str) -> tuple[rushlight.Tensor, torch.Tensor]:
    """The same elements in both libraries."""
    kind = getattr(torch, dtype)
    oracle = torch.tensor(values).to(kind)
    if kind in (torch.uint16, torch.uint32, torch.uint64):
        ours = rushlight.from_numpy(oracle.numpy().copy())
    elif kind is torch.bfloat16:
        ours = rushlight.from_numpy(oracle.float().numpy().copy()).to(rushlight.bfloat16)
    else:
        ours = rushlight.from_numpy(oracle.numpy().copy())
    return ours, oracle


@st.composite
def arrays(draw: st.DrawFn) -> tuple[np.ndarray, str]:
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    size = math.prod(shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    style = draw(st.sampled_from(["normal", "wide", "whole", "special", "large"]))
    if style == "normal":
        values = rng.normal(size=size)
    elif style == "wide":
        values = rng.normal(size=size) * 10.0 ** rng.integers(-6, 7, size)
    elif style == "whole":
        values = rng.integers(-200, 2000, size).astype(float)
    elif style == "special":
        values = rng.choice(np.array(SPECIAL), size)
    else:
        values = rng.normal(size=size) * 1e8
    if "int" in dtype or dtype == "bool":
        values = np.nan_to_num(values, nan=3, posinf=7, neginf=0) % 120
    elif dtype.startswith("complex"):
        parts, values = (values, rng.permutation(values)), np.empty(size, np.complex128)
        values.real, values.imag = parts
    return values.reshape(shape), dtype


@settings(max_examples=400, deadline=None)
@given(arrays())
def test_any_tensor_prints_as_in_torch(drawn: tuple[np.ndarray, str]) -> None:
    ours, oracle = both(*drawn)
    assert repr(ours) == repr(oracle)
    assert str(ours) == str(oracle)


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "precision": st.integers(0, 8),
        "threshold": st.integers(0, 40),
        "edgeitems": st.integers(0, 3),
        "linewidth": st.integers(10, 120),
        "sci_mode": st.sampled_from([True, False, None]),
        "profile": st.sampled_from(["default", "short", "full"]),
    },
)


@settings(max_examples=400, deadline=None)
@given(arrays(), OPTIONS)
def test_options_mean_what_they_mean_in_torch(drawn: tuple[np.ndarray, str], options: dict) -> None:
    ours, oracle = both(*drawn)
    try:
        torch.set_printoptions(**options)
        rushlight.set_printoptions(**options)
        assert repr(ours) == repr(oracle)
    finally:
        torch.set_printoptions(profile="default")
        rushlight.set_printoptions(profile="default")


@pytest.mark.parametrize(
    "shape", [(2000,), (50, 60), (7, 20, 30), (1, 1001), (3, 7, 2, 90), (1001, 1)]
)
@pytest.mark.parametrize("dtype", ["int64", "float32", "complex64", "bool"])
def test_long_tensors_are_summarised(shape: tuple[int, ...], dtype: str) -> None:
    values = np.arange(math.prod(shape)).reshape(shape) * 0.5
    ours, oracle = both(values % 2 if dtype == "bool" else values, dtype)
    assert repr(ours) == repr(oracle)


@pytest.mark.parametrize("width", [10, 30, 38, 60, 80])
def test_suffixes(width: int) -> None:
    def texts(lib: object, parameter: object) -> list[str]:
        x = lib.ones(2, requires_grad=True)
        y = lib.zeros(3, dtype=lib.float64, requires_grad=True)
        return [
            repr(t)
            for t in (
                x, x * 2, y, y + 1, lib.zeros(0, 2), lib.zeros(0), lib.zeros(0, dtype=lib.int64),
                x.clone(), lib.zeros(2, 0, dtype=lib.float64, requires_grad=True),
                parameter(lib.ones(2, 2)),
                parameter(lib.ones(2), requires_grad=False), x.to(lib.float16), x.detach(), x.sum(),
            )
        ]  # fmt: skip

    try:
        torch.set_printoptions(linewidth=width)
        rushlight.set_printoptions(linewidth=width)
        assert texts(rushlight, nn.Parameter) == texts(torch, torch.nn.Parameter)
    finally:
        torch.set_printoptions(profile="default")
        rushlight.set_printoptions(profile="default")


def test_default_dtype_is_not_named() -> None:
    try:
        torch.set_default_dtype(torch.float64)
        rushlight.set_default_dtype(rushlight.float64)
        for make in ("float32", "float64", "complex64", "complex128"):
            ours, oracle = both(np.array([1.5, 2]), make)
            assert repr(ours) == repr(oracle)
            assert repr(ours.new_zeros(0)) == repr(oracle.new_zeros(0))
    finally:
        torch.set_default_dtype(torch.float32)
        rushlight.set_default_dtype(rushlight.float32)


def test_subclasses_print_their_name() -> None:
    class Mine(rushlight.Tensor):
        pass

    class Theirs(torch.Tensor):
        pass

    assert repr(Mine([1, 2])) == repr(Theirs([1, 2])).replace("Theirs", "Mine")


def test_printoptions_end_with_the_block() -> None:
    x = rushlight.tensor([0.123456])
    before = repr(x)
    with rushlight.printoptions(precision=2):
        assert repr(x) == "tensor([0.12])"
    assert repr(x) == before


def test_unknown_profile() -> None:
    with pytest.raises(ValueError, match="profile must be one of"):
        rushlight.set_printoptions(profile="long")


def test_under_a_trace_there_are_no_values_to_print() -> None:
    x = rushlight.ones(2, 3)
    with recording(object()):
        for ask in (repr, str, "{}".format, rushlight.Tensor.item):
            with pytest.raises(
                RuntimeError, match=r"while a function is traced|while the program is traced"
            ):
                ask(x)
