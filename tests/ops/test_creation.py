from __future__ import annotations

import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

SAME = [
    "T.zeros(2, 3)", "T.zeros((2, 0))", "T.zeros(())", "T.zeros(size=(2, 3))",
    "T.zeros([3], dtype=T.int32)", "T.zeros(2, requires_grad=True)",
    "T.zeros(2, device='cpu', layout=T.strided, pin_memory=False)", "T.zeros(3, out=T.ones(3))",
    "T.ones(2, dtype=T.bool)", "T.empty(2, 3).shape", "T.full((2,), 3)", "T.full((2,), True)",
    "T.full((), 1.5)", "T.full((2,), 1j)", "T.full((2,), T.tensor(3))",
    "T.full((2,), 2.7, dtype=T.int32)", "T.full((2,), -1, dtype=T.uint8)",
    "T.full((2,), 0.1, dtype=T.bfloat16)", "T.full((2,), 1.0, requires_grad=True)",
    "T.scalar_tensor(2)", "T.scalar_tensor(2, dtype=T.int32)", "T.scalar_tensor(True)",
    "T.zeros_like(x)", "T.ones_like(x, dtype=T.int32)", "T.full_like(x.int(), 2.5)",
    "T.full_like(x, T.tensor(2))", "T.zeros_like(x, requires_grad=True)",
    "T.empty_like(T.ones(2, 3).t()).stride()", "T.zeros_like(T.ones(2, 1).expand(2, 3)).stride()",
    "T.zeros_like(T.ones(3).expand(2, 3)).stride()",
    "T.ones_like(img, memory_format=T.channels_last).stride()",
    "T.ones_like(img.contiguous(memory_format=T.channels_last)).stride()",
    "T.ones_like(img.contiguous(memory_format=T.channels_last), "
    "memory_format=T.contiguous_format).stride()",
    "T.zeros_like(T.ones(2, 3, 4)[:, :, ::2].transpose(0, 2)).stride()", "x.new_zeros(2, 3)",
    "x.new_zeros(size=(2,))", "x.new_full((2,), 1, dtype=T.int8)",
    "x.new_ones((2,), requires_grad=True)", "x.new_empty(2, 0)", "x.int().new_ones(2)",
    "T.arange(5)", "T.arange(1, 10, 3)", "T.arange(5, 0, -2)", "T.arange(0, 1, 0.1)",
    "T.arange(3, dtype=T.float16)", "T.arange(1.5, 5, dtype=T.int64)",
    "T.arange(0.5, 5.5, 1.7, dtype=T.int64)", "T.arange(0, 1, 0.1, dtype=T.int32)",
    "T.arange(T.tensor(3))", "T.arange(end=3)", "T.arange(0, 2, out=T.zeros(0))",
    "T.arange(3., requires_grad=True)", "T.arange(True)", "T.arange(300, dtype=T.uint8)",
    "T.arange(-3, 3.5, 0.25)", "T.arange(2, 2)", "T.range(1, 3)", "T.range(0, 1, 0.25)",
    "T.linspace(0, 1, 5)", "T.linspace(0, 10, 4, dtype=T.int32)",
    "T.linspace(-5, 7, 9, dtype=T.int64)", "T.linspace(0.5, 3.7, 4, dtype=T.int32)",
    "T.linspace(0, 1, 1)", "T.linspace(0, 1, 0)", "T.linspace(0, 1j, 3)",
    "T.linspace(T.tensor(0.), T.tensor(2.), 3)", "T.linspace(3, -2.5, 8, dtype=T.float64)",
    "T.linspace(0, 1, steps=3, dtype=T.float16)", "T.logspace(0, 2, 3)",
    "T.logspace(0, 2, 3, base=2)", "T.logspace(0, 2, 3, dtype=T.int32)",
    "T.logspace(-1, 1, 4, base=-2)", "T.logspace(-2, 2, 5, dtype=T.float64)", "T.eye(3)",
    "T.eye(2, 3)", "T.eye(3, 2, dtype=T.bool)", "T.eye(0)", "T.tril_indices(3, 3)",
    "T.tril_indices(2, 4, 1)", "T.tril_indices(4, 2, -1)",
    "T.triu_indices(3, 2, -1, dtype=T.int32)", "T.triu_indices(2, 2, 5)", "T.tril_indices(0, 3)",
    "T.empty_strided((2, 3), (1, 2)).stride()", "T.empty_strided((), ()).shape",
    "T.empty_strided((2, 3), (0, 1)).stride()", "T.complex(T.ones(2), T.zeros(2))",
    "T.complex(T.ones(2, 1).double(), T.zeros(3).double())",
    "T.polar(T.ones(2), T.tensor([0.5, 2.0]))",
    "T.complex(T.ones(2, requires_grad=True), T.zeros(1))",
    "T.polar(T.ones(2, requires_grad=True), T.zeros(1))",
]  # fmt: skip

REFUSED = [
    "T.zeros(-1)", "T.zeros('a')", "T.zeros(2.0)",
    "T.zeros((2, 3), dtype=T.int32, requires_grad=True)", "T.zeros(2, foo=1)",
    "T.zeros(2, dtype='float32')", "T.full((2,), 1e39)", "T.full((2,), 1e6, dtype=T.half)",
    "T.full((2,), -300, dtype=T.uint8)", "T.full((2,), 2**70)",
    "T.full((2,), float('nan'), dtype=T.int32)", "T.full((2,), 1j, dtype=T.float32)",
    "T.full(2, 3)", "T.zeros_like(x, memory_format=T.channels_last)", "T.ones_like(1)",
    "T.full_like(x, 2**70)", "T.arange(0, 3, 0)", "T.arange(0, 3, -1)",
    "T.arange(3., dtype=T.bool)", "T.arange(3, dtype=T.complex64)", "T.arange(1j)", "T.arange('a')",
    "T.arange()", "T.arange(0, float('inf'))", "T.arange(float('nan'))", "T.arange(1, 2, 3, 4)",
    "T.arange(3, requires_grad=True)", "T.linspace(0, 1, -1)", "T.linspace(0, 1)",
    "T.linspace(T.tensor([0.]), 2, 3)", "T.eye(-1)", "T.eye(2.5)", "T.eye(2, -1)",
    "T.triu_indices(3, 2, dtype=T.float32)", "T.tril_indices(-1, 2)",
    "T.empty_strided((2, 3), (1,))", "T.empty_strided((2, 3), (-1, 2))",
    "T.complex(T.ones(2), T.zeros(2).double())", "T.complex(T.ones(2).int(), T.zeros(2).int())",
    "T.complex(T.ones(2), 1.)", "T.polar(T.ones(2), T.zeros(2).double())",
    "T.ones(2, pin_memory=True)",
]  # fmt: skip


def world(lib: object) -> dict[str, object]:
    return {"T": lib, "x": lib.tensor([1.0, 2.0, 3.0]), "img": lib.ones(2, 3, 4, 5)}


@pytest.mark.parametrize("expression", SAME)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_as_in_torch(expression: str) -> None:
    assert repr(eval(expression, world(rushlight))) == repr(eval(expression, world(torch)))


@pytest.mark.parametrize("expression", REFUSED)
def test_refuses_what_torch_refuses(expression: str) -> None:
    with pytest.raises(Exception) as theirs:
        eval(expression, world(torch))
    with pytest.raises(theirs.type):
        eval(expression, world(rushlight))


@pytest.mark.parametrize("ends", [(0.0, 1.0), (-3.7, 12.9), (1e6, 1e6 + 1)])
@pytest.mark.parametrize("steps", [2, 7, 100, 1001])
def test_linspace_is_exact(ends: tuple[float, float], steps: int) -> None:
    ours = rushlight.linspace(*ends, steps, dtype=rushlight.float64)
    theirs = torch.linspace(*ends, steps, dtype=torch.float64)
    torch.testing.assert_close(torch.from_numpy(ours.numpy()), theirs, rtol=1e-15, atol=1e-15)
    assert ours.tolist()[0] == ends[0] and ours.tolist()[-1] == ends[1]


def test_no_other_device() -> None:
    with pytest.raises(RuntimeError, match="cuda"):
        rushlight.zeros(2, device="cuda")


def test_range_warns() -> None:
    with pytest.warns(UserWarning, match="arange") as caught:
        rushlight.range(0, 2)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", ["complex", "polar"])
def test_gradients_of_complex_parts(name: str) -> None:
    def run(lib: object) -> list[list[float]]:
        a = lib.tensor([[0.5], [1.5]], dtype=lib.float64, requires_grad=True)
        b = lib.tensor([0.3, -2.0, 1.0], dtype=lib.float64, requires_grad=True)
        out = getattr(lib, name)(a, b)
        (out * lib.tensor(1.5 - 2j, dtype=lib.complex128)).abs().pow(3).sum().backward()
        return [a.grad.tolist(), b.grad.tolist()]

    torch.testing.assert_close(run(rushlight), run(torch))


def test_inference_mode_marks_new_tensors() -> None:
    with rushlight.inference_mode():
        assert rushlight.zeros(2).is_inference() and rushlight.arange(2).is_inference()
