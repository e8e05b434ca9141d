"""Products of every shape and layout, beside NumPy's in float64."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")

from rushlight.compiler.processor import host_target
from rushlight.primitives.contraction import contract
from tests.support import kernels
from tests.support.kernels import Bench

TOLERANCES = {"float32": 2e-6, "float64": 1e-14, "bfloat16": 1e-2, "float16": 2e-3}
DTYPES = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in TOLERANCES}
SIZES = st.sampled_from([0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 48, 64, 65, 100, 130])


def laid_out(rng, shape, order, dtype):
    """Random numbers of a shape whose dimensions lie in memory in some order."""
    values = rng.standard_normal([shape[d] for d in order]).astype(np.float32).astype(dtype)
    return values.transpose(np.argsort(order))


def computed(a, b, result, params):
    """The product by its kernels, on arrays that lie as these do; `result` says how its own lies."""
    bench = Bench((1 << 20) + 16 * (a.nbytes + b.nbytes + result.nbytes))

    def placed(x):
        order = sorted(range(x.ndim), key=lambda d: (-x.strides[d], -x.shape[d], d))
        return bench.array(x, order)

    *operands, out = map(placed, (a, b, result))
    assert bench.run(contract.primitive.lowering, [out], operands, params)
    return bench.view(out)


def compare(a, b, result, axes_a, axes_b, batch_a=(), batch_b=()):
    letters = iter("abcdefghijklmnop")
    left = [next(letters) for _ in range(a.ndim)]
    right = [next(letters) for _ in range(b.ndim)]
    for i, j in zip((*axes_a, *batch_a), (*axes_b, *batch_b), strict=True):
        right[j] = left[i]
    out = [left[i] for i in batch_a]
    out += [c for i, c in enumerate(left) if i not in (*axes_a, *batch_a)]
    out += [c for j, c in enumerate(right) if j not in (*axes_b, *batch_b)]
    spec = f"{''.join(left)},{''.join(right)}->{''.join(out)}"
    wide = [x.astype(np.float64) for x in (a, b)]
    want = np.einsum(spec, *wide)
    scale = np.einsum(spec, *map(np.abs, wide)) + 1e-30
    params = {"axes_a": axes_a, "axes_b": axes_b, "batch_a": batch_a, "batch_b": batch_b}
    got = computed(a, b, result, params).astype(np.float64)
    assert (np.abs(got - want) <= TOLERANCES[a.dtype.name] * scale).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=SIZES, columns=SIZES, terms=SIZES, turned=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    dtype=st.sampled_from(sorted(DTYPES)), seed=st.integers(0, 99),
)  # fmt: skip
@example(1, 130, 100, (False, False, False), "float32", 0)
@example(1, 130, 100, (False, True, False), "float32", 0)
@example(130, 1, 100, (True, False, False), "float32", 0)
@example(64, 33, 0, (False, False, False), "float32", 0)
@example(5, 7, 1, (False, False, True), "float64", 0)
def test_matrices_in_any_layout(rows, columns, terms, turned, dtype, seed):
    rng = np.random.default_rng(seed)
    kind = DTYPES[dtype]
    order = [(1, 0) if t else (0, 1) for t in turned]
    a, b = (
        laid_out(rng, (rows, terms), order[0], kind),
        laid_out(rng, (terms, columns), order[1], kind),
    )
    if rows and columns:
        result = laid_out(rng, (rows, columns), order[2], kind)
        compare(a, b, result, (1,), (0,))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    batch=st.sampled_from([1, 2, 5]), rows=st.tuples(SIZES, st.sampled_from([1, 3])),
    columns=st.tuples(st.sampled_from([1, 4]), SIZES), terms=st.tuples(st.sampled_from([1, 2, 6]), SIZES),
    orders=st.tuples(*[st.permutations(range(4)) for _ in range(3)]), seed=st.integers(0, 99),
)  # fmt: skip
def test_several_dimensions_of_each_kind(batch, rows, columns, terms, orders, seed):
    rng = np.random.default_rng(seed)
    rows = (min(rows[0], 17), rows[1])
    columns, terms = (columns[0], min(columns[1], 33)), (terms[0], min(terms[1], 17))
    a = laid_out(rng, (batch, rows[0], *terms), orders[0], np.dtype(np.float32))
    b = laid_out(rng, (batch, *terms, columns[1]), orders[1], np.dtype(np.float32))
    if rows[0] and columns[1]:
        result = laid_out(rng, (batch, rows[0], columns[1]), np.argsort([0, 1, 2]), a.dtype)
        compare(a, b, result, (2, 3), (1, 2), (0,), (0,))


@pytest.mark.parametrize(
    "shape", [(768, 512, 128), (128, 512, 784), (300, 70, 2000), (2048, 65, 128), (257, 259, 263)]
)
@pytest.mark.parametrize("turned", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_large_products(shape, turned):
    rng = np.random.default_rng(0)
    rows, columns, terms = shape
    order = [(1, 0) if t else (0, 1) for t in turned]
    a = laid_out(rng, (rows, terms), order[0], np.dtype(np.float32))
    b = laid_out(rng, (terms, columns), order[1], np.dtype(np.float32))
    compare(a, b, np.empty((rows, columns), np.float32), (1,), (0,))


def test_what_is_no_number_flows():
    a, b = np.ones((3, 40), np.float32), np.ones((40, 20), np.float32)
    a[1, 3], b[5, 7], b[6, 8] = np.nan, np.inf, -np.inf
    result = np.empty((3, 20), np.float32)
    params = {"axes_a": (1,), "axes_b": (0,), "batch_a": (), "batch_b": ()}
    got = computed(a, b, result, params)
    want = a @ b
    assert np.array_equal(np.isnan(got), np.isnan(want))
    assert np.array_equal(got[np.isfinite(want)], want[np.isfinite(want)])
    assert np.isinf(got[0, 7])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
@pytest.mark.parametrize("shape", [(1, 20, 33), (17, 40, 9), (3, 2, 5), (6, 6, 1)])
def test_whole_numbers_wrap_as_numpys(dtype, shape):
    rng = np.random.default_rng(0)
    rows, columns, terms = shape
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    a = rng.integers(low, high, (rows, terms), dtype, endpoint=True)
    b = rng.integers(low, high, (columns, terms), dtype, endpoint=True).T
    params = {"axes_a": (1,), "axes_b": (0,), "batch_a": (), "batch_b": ()}
    got = computed(a, b, np.empty((rows, columns), dtype), params)
    assert np.array_equal(got, a @ b)


def test_long_sums_of_small_results_are_cut_into_parts():
    rng = np.random.default_rng(0)
    a = laid_out(rng, (5000, 12), (0, 1), np.dtype(np.float32)).T
    b = laid_out(rng, (5000, 7), (0, 1), np.dtype(np.float32))
    compare(a, b, np.empty((12, 7), np.float32), (1,), (0,))
    row, matrix = a[:1], laid_out(rng, (5000, 600), (0, 1), np.dtype(np.float32))
    compare(np.ascontiguousarray(row), matrix, np.empty((1, 600), np.float32), (1,), (0,))
    vector = laid_out(rng, (9001,), (0,), np.dtype(np.float32))
    compare(vector, vector[::-1].copy(), np.empty((), np.float32), (0,), (0,))


def test_depths_that_overflow_the_cache_are_summed_in_passes(monkeypatch):
    small = dataclasses.replace(host_target(), second_cache=64 * 1024)
    monkeypatch.setattr(kernels, "host_target", lambda: small)
    rng = np.random.default_rng(0)
    for turned in (False, True):
        a = laid_out(rng, (70, 900), (0, 1), np.dtype(np.float32))
        b = laid_out(rng, (900, 130), (1, 0) if turned else (0, 1), np.dtype(np.float32))
        compare(a, b, np.empty((70, 130), np.float32), (1,), (0,))


@pytest.mark.parametrize("target", ["avx2", "sse2"])
def test_processors_with_fewer_features(target):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "matrices or number or passes",
        __file__,
    ]
    environment = {**os.environ, "RUSHLIGHT_TARGET": target}
    done = subprocess.run(
        command,
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
