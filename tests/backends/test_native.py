"""Large eager calls: native kernels beside NumPy."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import rushlight as rl
import rushlight.nn.functional as F
from rushlight.backends import native
from rushlight.backends.tracing import Traced
from rushlight.primitives import elementwise as p

TOLERANCE = {rl.float32: 2e-5, rl.float64: 1e-11, rl.float16: 4e-3, rl.bfloat16: 3e-2}


def native_calls():
    return sum(call is not None for call in native._calls.known.values())


def close(a, b, dtype):
    a, b = (np.asarray(t.detach().double()._array) for t in (a, b))
    assert a.shape == b.shape
    scale = max(1.0, float(np.abs(b).max(initial=0)))
    np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE.get(dtype, 0) * scale)


FUNCTIONS = {
    "conv2d": (lambda x, w: F.conv2d(x, w, padding=1), (4, 3, 20, 21), (8, 3, 3, 3)),
    "conv1d": (lambda x, w: F.conv1d(x, w, stride=2, dilation=2, groups=2), (4, 6, 200), (8, 3, 3)),
    "conv_transpose2d": (lambda x, w: F.conv_transpose2d(x, w, stride=2), (2, 4, 17, 16), (4, 6, 3, 3)),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), (3, 5, 20, 22)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, stride=2, padding=1), (3, 5, 20, 22)),
    "linear": (F.linear, (64, 90), (70, 90), (70,)),
    "linear 3-d": (F.linear, (5, 33, 40), (30, 40), (30,)),
    "matmul": (lambda a, b: a @ b, (5, 33, 40), (5, 40, 31)),
    "transposed": (lambda a, b: a.transpose(1, 2) @ b.permute(0, 2, 1), (5, 40, 33), (5, 31, 40)),
    "sliced": (lambda a: F.gelu(a[:, 3:, ::2]), (7, 50, 60)),
    "expanded": (lambda a: F.softmax(a.expand(30, 40, 50) * 2, -1), (40, 1)),
    "gelu": (F.gelu, (60, 70)),
    "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), (60, 70)),
    "silu": (F.silu, (60, 70)),
    "sigmoid": (rl.sigmoid, (60, 70)),
    "softmax": (lambda x: F.softmax(x, 1), (40, 50, 6)),
    "log_softmax": (lambda x: F.log_softmax(x, -1), (40, 500)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (90,), w, b), (64, 90), (90,), (90,)),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (16, 6, 9, 11), (6,), (6,)),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), (16, 6, 9, 11), (6,), (6,)),
    "sums": (lambda x: x.sum(0) + x.mean(0) + x.var(0), (90, 70)),
    "amax": (lambda x: x.amax(1), (900, 70)),
    "attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
                  (2, 4, 33, 16), (2, 4, 33, 16), (2, 4, 33, 16)),
    "smooth loss": (F.smooth_l1_loss, (90, 70), (90, 70)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [rl.float32, rl.float64, rl.bfloat16, rl.float16], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_native_results_and_gradients_are_numpys(name, dtype, on_numpy):
    function, *shapes = FUNCTIONS[name]
    rl.manual_seed(0)
    inputs = [rl.randn(*s).to(dtype) for s in shapes]

    def results():
        leaves = [t.clone().requires_grad_() for t in inputs]
        out = function(*leaves)
        out.backward(rl.linspace(-1, 1, out.numel()).to(dtype).reshape(out.shape))
        return [out, *(t.grad for t in leaves)]

    with on_numpy():
        expected = results()
    before = native_calls()
    found = results()
    assert native_calls() > before or dtype in (rl.float16, rl.bfloat16)
    for a, b in zip(found, expected, strict=True):
        close(a, b, dtype)
    again = results()  # the same bits, call after call
    for a, b in zip(again, found, strict=True):
        assert rl.equal(a, b)


def test_integers_and_booleans(on_numpy):
    rl.manual_seed(0)
    x = rl.randint(-9, 9, (70, 80))

    def results():
        return [x @ x.T, x.sum(1), x.amax(0), (x > 3).any(1), (x > 3).sum(), x.cumsum(0), x // 3]

    with on_numpy():
        expected = results()
    for a, b in zip(results(), expected, strict=True):
        assert rl.equal(a, b) and a.dtype == b.dtype


def test_special_values_flow(on_numpy):
    x = rl.randn(64, 64)
    x[0, 0], x[1, 1], x[2, 2] = float("nan"), float("inf"), -float("inf")
    with on_numpy():
        expected = [F.softmax(x, 1), F.gelu(x), x @ x, F.layer_norm(x, (64,))]
    for a, b in zip(
        [F.softmax(x, 1), F.gelu(x), x @ x, F.layer_norm(x, (64,))], expected, strict=True
    ):
        assert np.array_equal(np.isnan(a.numpy()), np.isnan(b.numpy()))


def test_results_have_their_own_memory():
    x = rl.randn(64, 64)
    first = F.gelu(x)
    kept = first.clone()
    F.gelu(rl.randn(64, 64))
    assert rl.equal(first, kept)


def test_memory_that_is_not_aligned(on_numpy):
    raw = np.zeros(4 * 64 * 64 + 1, np.uint8)
    x = np.ndarray((64, 64), np.float32, raw.data, 1)
    x[...] = np.random.default_rng(0).standard_normal((64, 64))
    with on_numpy():
        expected = F.gelu(rl.from_numpy(x))
    close(F.gelu(rl.from_numpy(x)), expected, rl.float32)


def test_errors_are_those_of_numpy(on_numpy):
    bad = [
        lambda: F.linear(rl.randn(64, 90), rl.randn(70, 91)),
        lambda: rl.randn(64, 64) @ rl.randn(65, 64),
        lambda: F.embedding(rl.full((64, 64), 99), rl.randn(50, 64)),
        lambda: F.conv2d(rl.randn(4, 3, 20, 20), rl.randn(8, 4, 3, 3)),
        lambda: rl.randn(64, 64) + rl.randn(65, 64),
    ]
    for call in bad:
        with on_numpy(), pytest.raises(Exception) as expected:
            call()
        for _ in range(2):
            with pytest.raises(type(expected.value)) as found:
                call()
            assert str(found.value) == str(expected.value)


def test_a_good_call_after_a_bad_index():
    table, good, bad = rl.randn(50, 64), rl.full((64, 64), 3), rl.full((64, 64), 50)
    out = F.embedding(good, table)
    with pytest.raises(IndexError):
        F.embedding(bad, table)
    assert rl.equal(F.embedding(good, table), out)


def test_numbers_keep_their_kind():
    x = rl.randn(200, 200)
    for number in (0.0, -0.0, 0, 1, 1.0, True):
        assert rl.equal(rl.copysign(x, number), rl.copysign(x.clone()[:3], number)[:0].new_tensor(
            np.copysign(x.numpy(), number)))  # fmt: skip


def test_ever_new_shapes_do_not_compile_for_ever(monkeypatch):
    monkeypatch.setattr(native, "MOST_SHAPES", 3)
    x = rl.randn(300, 41)
    before = native_calls()
    for n in range(100, 120):
        F.silu(x[:n].clone())
    assert native_calls() <= before + 3 + 3  # clone may be native too


def test_ever_new_numbers_do_not_compile_for_ever():
    x = rl.randn(300, 301)
    before = native_calls()
    for n in range(20):
        F.elu(x, alpha=0.5 + n / 100)
    assert native_calls() <= before + native.MOST_NUMBERS


def test_kernels_come_back_when_there_were_too_many(monkeypatch):
    monkeypatch.setattr(native, "MOST_KERNELS", 2)
    xs = [rl.randn(100 + n, 43) for n in range(5)]
    first = [F.softplus(x) for x in xs]
    for x, y in zip(xs, first, strict=True):
        assert rl.equal(F.softplus(x), y)


def test_small_calls_are_numpys():
    before = len(native._calls.known)
    F.softmax(rl.randn(7, 9), 1)
    assert len(native._calls.known) == before


# -- autograd around native gradients ------------------------------------------------------------------------


def test_a_saved_tensor_that_was_written_is_an_error():
    x = rl.randn(64, 64, requires_grad=True)
    y = F.sigmoid(x * 1)
    out = y.sum()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_hooks_see_and_change_native_gradients(on_numpy):
    def results():
        seen = []
        x = rl.linspace(-2, 2, 4096).reshape(64, 64).requires_grad_()
        y = F.gelu(x)
        y.register_hook(lambda g: seen.append(g.shape) or g * 2)
        y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] * 3,))
        (y @ y).sum().backward()
        return [*seen, x.grad]

    with on_numpy():
        expected = results()
    found = results()
    assert found[0] == expected[0]
    close(found[1], expected[1], rl.float32)


def test_backward_twice_over_a_retained_graph():
    x = rl.randn(64, 64, requires_grad=True)
    loss = F.gelu(x @ x).sum()
    loss.backward(retain_graph=True)
    first = x.grad.clone()
    x.grad = None
    loss.backward()
    assert rl.equal(x.grad, first)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_gradients_of_gradients(on_numpy):
    x = rl.randn(64, 64, dtype=rl.float64, requires_grad=True)

    def second():
        (g,) = rl.autograd.grad(F.silu(x @ x).sum(), x, create_graph=True)
        return rl.autograd.grad(g.pow(2).sum(), x)[0]

    with on_numpy():
        expected = second()
    close(second(), expected, rl.float64)


def test_anomaly_mode_finds_a_native_nan():
    x = rl.zeros(64, 64, requires_grad=True)
    with rl.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="returned nan"):
        (rl.sqrt(x @ x) * 0).sum().backward()


# -- threads and processes -----------------------------------------------------------------------------------


def test_python_threads_share_kernels():
    xs = [rl.randn(64, 128) for _ in range(4)]
    w = rl.randn(96, 128)
    expected = [F.gelu(F.linear(x, w)) for x in xs]
    wrong = []

    def work(n):
        for _ in range(50):
            if not rl.equal(F.gelu(F.linear(xs[n], w)), expected[n]):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on():
    x = rl.randn(64, 128)
    expected = F.gelu(x)
    child = os.fork()
    if not child:
        os._exit(0 if rl.equal(F.gelu(x), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


PROGRAM = """
import hashlib, sys
if "numpy-only" in sys.argv:
    sys.modules["llvmlite"] = None
import rushlight as rl
import rushlight.nn as nn, rushlight.nn.functional as F
if "one" in sys.argv:
    rl.set_num_threads(1)
digest = hashlib.sha256()
for _ in range(2):
    rl.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                        nn.Linear(8 * 15 * 15, 40), nn.GELU(), nn.Dropout(0.1), nn.Linear(40, 10))
    optimizer = rl.optim.Adam(net.parameters())
    x, y = rl.randn(16, 3, 32, 32), rl.randint(0, 10, (16,))
    here = hashlib.sha256()
    for _ in range(4):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        here.update(loss.detach().numpy().tobytes())
    for p in net.parameters():
        here.update(p.detach().numpy().tobytes())
    print(here.hexdigest())
from rushlight.backends.settings import settings
print(settings.native, file=sys.stderr)
"""


def run_program(*words, **environment):
    root = str(Path(rl.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": root, **environment}, timeout=300,
    )  # fmt: skip
    return done.stdout.split(), done.stderr


def test_the_same_bits_in_every_process(tmp_path):
    folder = {"RUSHLIGHT_CACHE_DIR": str(tmp_path)}
    cold, _ = run_program(**folder)
    warm, _ = run_program(**folder)
    alone, _ = run_program("one", **folder)
    assert len({*cold, *warm, *alone}) == 1


def test_without_llvmlite_and_when_told_so():
    bare, native_after = run_program("numpy-only")
    told, _ = run_program(RUSHLIGHT_EAGER="numpy")
    assert len({*bare, *told}) == 1 and "False" in native_after


def test_constants_that_a_function_makes_are_told_apart():
    """Each is gone when the next is made, which may then lie where it lay."""

    def polynomial(x):
        for n in range(1, 40):
            x = p.add(x, np.float32(n) / np.float32(128))
        return x

    x = np.zeros(4096, np.float32)
    traced = Traced(polynomial, (x,), {})
    assert [float(c) for c in traced.constants] == [n / 128 for n in range(1, 40)]
    assert all(c.shape == () for c in traced.constants)
