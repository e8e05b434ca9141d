from __future__ import annotations

import copy

import pytest

import rushlight
from rushlight.ops.conversion import parse_to

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

SAME = [
    "x.to(T.float64)", "x.to('cpu')", "x.to('cpu', T.int32)", "x.to(T.ones(1, dtype=T.int8))",
    "x.to(dtype=T.int32, device='cpu')", "x.to(float)", "x.to() is x", "x.to(T.float32) is x",
    "x.to(T.float32, copy=True) is x", "x.to(T.float32, False, True) is x", "x.to(None, T.float64)",
    "x.to(tensor=T.ones(1).double())", "one.to(T.float32) is one", "one.to(T.float32, copy=True)",
    "one.double()", "one.half()", "one.bfloat16()", "one.long()", "one.cfloat()",
    "one.type(T.float64)", "x.byte()", "x.char()", "x.short()", "x.int()", "x.long()", "x.bool()",
    "x.cdouble()", "x.float() is x", "x.type_as(T.ones(1).int())", "x.cpu() is x",
    "one.contiguous() is one", "one.clone()", "one.clone(memory_format=T.contiguous_format)",
    "one.detach()", "x.detach().data_ptr() == x.data_ptr()", "T.ones(2, 3).t().clone().stride()",
    "T.ones(2, 3).t().contiguous().stride()", "T.ones(3).expand(2, 3).clone().stride()",
    "T.ones(2, 3).t().clone(memory_format=T.contiguous_format).stride()",
    "img.contiguous(memory_format=T.channels_last).stride()",
    "img.contiguous(memory_format=T.channels_last).contiguous().stride()",
    "img.to(memory_format=T.channels_last).stride()",
    "img.to(T.float64, memory_format=T.channels_last).stride()",
    "img.clone(memory_format=T.channels_last).stride()",
    "x.contiguous(memory_format=T.preserve_format)", "T.zeros(3).copy_(x)",
    "T.zeros(2, 3).copy_(x)", "T.zeros(3, dtype=T.int8).copy_(x)", "T.zeros(3).copy_(T.tensor(2))",
    "T.zeros(1).copy_(one)", "x.copy_(1)", "(one * 1).fill_(2)", "(one * 1).fill_(one.sum())",
    "(one * 1).zero_()", "x.fill_(T.tensor(2))", "x.int().fill_(1.7)",
    "x.int().fill_(T.tensor(2.5))", "x.bool().fill_(3)", "x.zero_()", "(one * 1).detach_()",
    "(one * 1).detach_().requires_grad", "T.tensor([1.7, -1.7, 300.]).to(T.int16)",
    "T.tensor([0.1, float('nan'), 0.]).to(T.bool)", "T.tensor([2, 0, -1]).to(T.bool)",
    "T.tensor([1+2j]).to(T.bool)", "T.tensor([70000., 1e-9]).half()",
    "T.tensor([1.00390625, 3.3e38]).bfloat16()", "T.tensor([300, -1]).to(T.uint8)",
    "T.tensor([2**40 + 3]).int()", "T.zeros(0, 3).to(T.int64)",
]  # fmt: skip

REFUSED = [
    "x.to('x')", "x.to(T.int32, dtype=T.int32)", "x.to(T.int32, True, True, True)", "x.to(foo=1)",
    "x.to(list)", "x.type_as(1)", "x.copy_(T.ones(2))", "T.ones(2, 3).copy_(T.ones(4, 2, 3))",
    "one.copy_(one)", "one.fill_(1)", "one.zero_()", "x.fill_(1j)", "x.fill_(2**70)",
    "x.char().fill_(200)", "x.fill_(T.tensor([1.]))", "x.copy_('a')", "x.fill_('a')",
    "one.expand(3).detach_()", "(one * 1).view(1, 1).detach_()",
    "x.clone(memory_format=T.channels_last)", "x.clone(memory_format=3)",
    "T.ones(3, 2).t().contiguous(memory_format=T.preserve_format)", "x.cuda(-7, 3, 4, 5)",
]  # fmt: skip


def world(lib: object) -> dict[str, object]:
    return {
        "T": lib, "x": lib.tensor([1.0, 2.0, 3.0]), "one": lib.ones(1, requires_grad=True),
        "copy": copy, "img": lib.ones(2, 3, 4, 5),
    }  # fmt: skip


@pytest.mark.parametrize("expression", SAME)
def test_as_in_torch(expression: str) -> None:
    assert repr(eval(expression, world(rushlight))) == repr(eval(expression, world(torch)))


@pytest.mark.parametrize("expression", REFUSED)
def test_refuses_what_torch_refuses(expression: str) -> None:
    with pytest.raises(Exception) as theirs:
        eval(expression, world(torch))
    with pytest.raises(theirs.type):
        eval(expression, world(rushlight))


PROGRAMS = {
    "copy into the whole": lambda T, a, b: (a * 2).copy_(b * 3),
    "copy with a broadcast": lambda T, a, b: (a * 2).copy_(b[0] * 3),
    "copy with a cast": lambda T, a, b: (a * 2).copy_((b * 3).float()),
    "copy into a view": lambda T, a, b: _into_view(a * 2, lambda v: v.copy_(b[1] * 3)),
    "fill a view with a tensor": lambda T, a, b: _into_view(a * 2, lambda v: v.fill_(b.sum())),
    "zero a view": lambda T, a, b: _into_view(a * 2, lambda v: v.zero_()) + b,
    "cast there and back": lambda T, a, b: (a.float() * 2).double() * b,
    "clone": lambda T, a, b: a.clone() * b.contiguous(),
    "other memory order": lambda T, a, b: a.t().contiguous().t() * b,
}


def _into_view(base: object, write: object) -> object:
    write(base[0])
    return base * 5


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients(name: str) -> None:
    def run(T: object) -> list[object]:
        a = (T.arange(6, dtype=T.float64) - 2).view(2, 3).requires_grad_()
        b = (T.arange(6, dtype=T.float64) * 0.5).view(2, 3).requires_grad_()
        out = PROGRAMS[name](T, a, b)
        (out * out).sum().backward()
        return [out.tolist(), a.grad.tolist(), b.grad.tolist()]

    torch.testing.assert_close(run(rushlight), run(torch))


def test_detached_tensors_share_memory_and_version() -> None:
    x = rushlight.ones(2, requires_grad=True)
    y = x * 2
    z = y * y
    y.detach().zero_()
    assert y.tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_casting_away_the_imaginary_part_warns() -> None:
    with pytest.warns(UserWarning, match="imaginary part") as caught:
        rushlight.tensor([1j]).to(rushlight.float32)
    assert caught[0].filename == __file__


def test_parse_to() -> None:
    assert parse_to((rushlight.float64,), {}) == (rushlight.float64, None)
    assert parse_to(("cpu",), {"memory_format": rushlight.channels_last}) == (
        None,
        rushlight.channels_last,
    )
    with pytest.raises(RuntimeError, match="cuda"):
        parse_to(("cuda",), {})
