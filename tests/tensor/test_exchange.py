from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref

import numpy as np
import pytest

import rushlight
from rushlight import nn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

SAME = [
    "T.tensor(np.float64(1))", "T.tensor([np.float64(1)])", "T.tensor([np.float32(1), 2.0])",
    "T.tensor([np.int8(1)])", "T.tensor(np.int8(1))", "T.tensor([1, 2.5, True])",
    "T.tensor([True, 2])", "T.tensor([1, 2j])", "T.tensor(True)",
    "T.tensor([T.tensor(1., dtype=T.float64), 2])", "T.tensor([T.tensor([1.]), T.tensor([2.])])",
    "T.tensor(range(3))", "T.tensor(())", "T.tensor([[], []])",
    "T.tensor([[[1], [2]], [[3], [4]]])", "T.tensor(2**63, dtype=T.uint64)",
    "T.tensor([2**64 - 1], dtype=T.uint64)", "T.tensor(-1, dtype=T.uint8)",
    "T.tensor([1.5, 2.5], dtype=T.int64)", "T.tensor(1e39)", "T.tensor(1e6, dtype=T.float16)",
    "T.tensor([0.0, 2.], dtype=T.bool)", "T.tensor([1.], dtype=float)",
    "T.tensor([float('nan')], dtype=T.bool)", "T.tensor(data=[1])",
    "T.tensor([1.5], requires_grad=True)", "T.tensor([1, 2], dtype=T.complex64)",
    "T.tensor(np.arange(6).reshape(2, 3).T)", "T.tensor(np.ones(2), dtype=T.int32)",
    "T.tensor([np.zeros(2), np.ones(2)][1])", "T.from_numpy(np.array([1, 2], dtype='u2'))",
    "T.as_tensor([1, 2.])", "T.as_tensor(np.float32(2))", "T.as_tensor([1], dtype=T.float64)",
    "T.as_tensor(one) is one", "T.as_tensor(one, dtype=T.float64)", "T.asarray([1, 2])",
    "T.asarray(2.5)", "T.asarray(np.ones(2), copy=True)",
    "T.asarray(bytearray(b'abcd'), dtype=T.uint8)", "T.asarray(one * 2, requires_grad=False)",
    "T.asarray([1, 2], dtype=T.float64, requires_grad=True)",
    "T.frombuffer(bytearray(8), dtype=T.int32)",
    "T.frombuffer(bytearray(range(8)), dtype=T.int16, count=1, offset=4)",
    "T.frombuffer(bytearray(8), dtype=T.float32, requires_grad=True)", "one.item()", "bool(one)",
    "[1, 2][T.tensor(1)]", "[1, 2][T.tensor(True)]", "int(T.tensor(1+0j))", "float(T.tensor(1+0j))",
    "complex(T.tensor(2.))", "int(T.tensor(-2.7))", "x.numpy()", "one.numpy(force=True)",
    "np.asarray(x, dtype='int8')", "np.array(x)", "2 in x", "9 in x", "T.ones(1) in x",
    "T.tensor(2).tolist()", "T.ones(2).bfloat16().tolist()", "T.zeros(2, 0).tolist()",
    "'{:.2f}'.format(T.tensor(1.234))", "list(x)", "[r.tolist() for r in x.view(2, 3)]",
    "T.Tensor(2, 3).shape", "T.Tensor([1, 2])", "T.Tensor(5).shape",
    "T.Tensor(T.Size([2, 1])).shape", "T.Tensor(T.ones(2, dtype=T.int32))", "T.Tensor(np.ones(2))",
    "T.Tensor()", "T.Tensor([])", "T.Tensor((2, 3))", "T.Tensor([2.5, True])", "T.Tensor(range(3))",
    "T.FloatTensor(2).shape", "T.LongTensor([1, 2])", "T.LongTensor([1.5])",
    "isinstance(x, T.FloatTensor)", "isinstance(x, T.LongTensor)", "T.FloatTensor.dtype",
    "T.FloatTensor", "T.BoolTensor([0, 1])", "T.HalfTensor([0, 1])", "x.type()", "x.type(T.int32)",
    "x.type('torch.LongTensor')", "x.type(T.DoubleTensor)", "x.bool().type()", "x.new(3).shape",
    "x.new([1, 2])", "x.new_tensor([1, 2])", "x.int().new_tensor([1.5])", "x.storage()",
    "x.untyped_storage()", "x.untyped_storage().nbytes()", "x.storage().size()", "x.storage()[1]",
    "x.storage().tolist()", "len(x.storage())", "x[2:].untyped_storage().nbytes()",
    "x[2:].storage_offset()", "bytes(T.ones(1).untyped_storage())",
    "x.clone().untyped_storage().resize_(8)", "T.is_storage(x.storage())",
    "T.ones(4).resize_(2, 2)", "T.ones(4).resize_(2)", "T.ones(2).resize_(6)[:2]",
    "T.ones(2, 3).t().resize_(2, 2)", "T.arange(9)[2:].resize_(2)",
    "T.ones(4).resize_as_(T.ones(2, 2))", "T.zeros(1).set_(T.ones(3))", "T.zeros(1).set_()",
    "T.zeros(1).set_(x.untyped_storage())", "T.zeros(1).set_(x.storage(), 1, (2, 2), (1, 2))",
    "T.zeros(1).set_(x, 1, (2, 2), (1, 2))", "T.ones(2).share_memory_().is_shared()",
    "x.is_shared()", "T.is_tensor(x)", "T.is_tensor(1)", "T.is_floating_point(x)",
    "T.is_complex(x)", "T.numel(x)", "T.is_nonzero(T.ones(1))", "x.is_same_size(x)",
    "T.result_type(x, 1j)", "T.result_type(T.ones(2, dtype=T.int8), 300)",
    "T.can_cast(T.float32, T.int32)", "T.can_cast(T.int8, T.uint8)", "T.can_cast(T.uint8, T.int8)",
    "T.can_cast(T.bool, T.int8)", "T.promote_types(T.int8, T.uint8)", "copy.copy(one)",
    "copy.copy(one * 2)", "pickle.loads(pickle.dumps(one * 2))",
    "copy.copy(x).data_ptr() == x.data_ptr()", "np.from_dlpack(x)", "T.from_dlpack(np.ones(2))",
    "T.from_dlpack(x)", "T.from_dlpack(x.__dlpack__())", "T.from_dlpack(T.ones(2, dtype=T.bool))",
]  # fmt: skip

REFUSED = [
    "T.tensor([T.tensor([1., 2])])", "T.tensor([[1, 2], [3]])", "T.tensor([[1], 2])",
    "T.tensor([1, [2]])", "T.tensor('a')", "T.tensor(['a'])", "T.tensor([[1], 'a'])",
    "T.tensor(None)", "T.tensor([None])", "T.tensor([1, None])", "T.tensor({})", "T.tensor({1, 2})",
    "T.tensor([[1, 2], [3, 'a']])", "T.tensor(2**63)", "T.tensor([2**63])",
    "T.tensor(300, dtype=T.uint8)", "T.tensor([300], dtype=T.uint8)",
    "T.tensor(float('nan'), dtype=T.int64)", "T.tensor(1e20, dtype=T.int64)",
    "T.tensor([1e10], dtype=T.int32)", "T.tensor([2**40], dtype=T.int32)",
    "T.tensor([1j], dtype=T.float32)", "T.tensor([1], requires_grad=True)",
    "T.tensor([1.], dtype='float32')", "T.tensor()", "T.tensor([1], 2)",
    "T.tensor(np.array([1, 2], dtype='>i4'))", "T.tensor(np.array(['a']))",
    "T.tensor(np.array([1, 2])[::-1])", "T.from_numpy(np.array([1, 2])[::-1])",
    "T.from_numpy(np.array([1, 2], dtype='>i4'))", "T.from_numpy([1])",
    "T.from_numpy(np.float32(1))", "T.from_numpy(np.array([1.], dtype='longdouble'))",
    "T.asarray([1], copy=False)", "T.asarray(x, dtype=T.int32, copy=False)", "T.asarray('a')",
    "T.frombuffer(bytearray(7), dtype=T.int32)",
    "T.frombuffer(bytearray(8), dtype=T.int32, offset=3)",
    "T.frombuffer(bytearray(8), dtype=T.int32, offset=8)",
    "T.frombuffer(bytearray(8), dtype=T.int32, count=3)",
    "T.frombuffer(bytearray(8), dtype=T.int32, count=0)",
    "T.frombuffer(bytearray(0), dtype=T.int32)", "T.frombuffer(3, dtype=T.int32)", "float(x)",
    "bool(x)", "bool(T.ones(0))", "int(T.ones(0))", "x.item()", "one.__index__()",
    "[1, 2][T.tensor(1.)]", "int(T.tensor(1j))", "float(T.tensor(1+2j))",
    "int(T.tensor(float('nan')))", "int(T.tensor(float('inf')))", "one.numpy()", "np.asarray(one)",
    "x.bfloat16().numpy()", "'a' in x", "None in x", "T.ones(2) in x", "len(T.tensor(1))",
    "iter(T.tensor(1))", "f'{x:.2f}'", "T.Tensor(2.5)", "T.Tensor('a')", "T.Tensor(None)",
    "T.Tensor(2, dtype=T.float64)", "T.LongTensor(T.ones(2))", "T.Tensor({1})", "T.Tensor(2, 2.5)",
    "T.Tensor(-1)", "x.type('a')", "x.type(int)", "x.type(3)", "one.resize_(3)",
    "(one * 2).resize_(3)", "T.ones(4).resize_(-1)", "T.zeros(1).set_(T.ones(3).int())",
    "T.zeros(1, requires_grad=True).set_(T.ones(3))", "x.pin_memory()", "T.numel(3)",
    "T.is_floating_point(3)", "T.is_nonzero(x)", "copy.deepcopy(one * 2)", "one.__dlpack__()",
    "T.from_dlpack(3)", "x.__dlpack__(stream=1)",
]  # fmt: skip


def world(lib: object) -> dict[str, object]:
    return {
        "T": lib, "np": np, "copy": copy, "pickle": pickle, "x": lib.arange(6.0),
        "one": lib.ones(1, requires_grad=True),
    }  # fmt: skip


@pytest.mark.parametrize("expression", SAME)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_as_in_torch(expression: str) -> None:
    assert repr(eval(expression, world(rushlight))) == repr(eval(expression, world(torch)))


@pytest.mark.parametrize("expression", REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_refuses_what_torch_refuses(expression: str) -> None:
    with pytest.raises(Exception) as theirs:
        eval(expression, world(torch))
    with pytest.raises(theirs.type) as ours:
        eval(expression, world(rushlight))
    assert type(ours.value) is theirs.type


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rushlight.tensor(rushlight.ones(2)), "copy construct"),
        (lambda: rushlight.tensor([np.ones(2), np.ones(2)]), "extremely slow"),
        (lambda: rushlight.from_numpy(np.broadcast_to(np.ones(1), (3,))), "not writable"),
        (lambda: rushlight.frombuffer(b"abcd", dtype=rushlight.uint8), "not writable"),
        (lambda: float(rushlight.ones(1, requires_grad=True)), "requires_grad=True to a scalar"),
    ],
)
def test_warnings(make: object, says: str) -> None:
    with pytest.warns(UserWarning, match=says):
        make()


def test_memory_is_shared_with_numpy() -> None:
    a = np.zeros((2, 3))
    t = rushlight.from_numpy(a)
    a[0, 0] = 5
    t.add_(1)
    assert t[0, 0].item() == 6 and a[1, 2] == 1
    t.numpy()[1, 1] = 9
    assert a[1, 1] == 9
    assert rushlight.as_tensor(a).data_ptr() == rushlight.asarray(a).data_ptr() == a.ctypes.data
    assert rushlight.tensor(a).data_ptr() != a.ctypes.data
    assert np.asarray(t).ctypes.data == np.from_dlpack(t).ctypes.data == a.ctypes.data


def test_a_tensor_keeps_foreign_memory_alive() -> None:
    class Buffer(np.ndarray):
        pass

    a = np.arange(4.0).view(Buffer)
    alive = weakref.ref(a)
    t = rushlight.from_numpy(a)[1:]
    del a
    gc.collect()
    assert alive() is not None
    assert t.tolist() == [1, 2, 3]
    del t
    gc.collect()
    assert alive() is None


def test_the_array_given_away_is_not_the_tensors_own() -> None:
    t = rushlight.zeros(4)
    t.numpy().shape = (2, 2)
    assert t.shape == (4,)


def test_read_only_memory_is_not_written() -> None:
    a = np.ones(3)
    a.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        t = rushlight.from_numpy(a)
    with pytest.raises(RuntimeError, match="read-only"):
        t.add_(1)
    assert a.tolist() == [1, 1, 1]


def test_gradients_flow_through_as_tensor() -> None:
    x = rushlight.ones(2, requires_grad=True)
    rushlight.as_tensor(x, dtype=rushlight.float64).sum().backward()
    assert x.grad.tolist() == [1, 1]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int64", "float16", "bfloat16", "float64", "complex64"]
)
def test_pickle(dtype: str, protocol: int) -> None:
    for t in (rushlight.arange(6).view(2, 3).t(), rushlight.tensor(3), rushlight.zeros(2, 0)):
        t = t.to(getattr(rushlight, dtype))
        made = pickle.loads(pickle.dumps(t, protocol))
        assert repr(made) == repr(t) and made.stride() == t.stride()
        made.zero_()  # its memory may be written


def test_pickle_keeps_class_and_attributes() -> None:
    x = rushlight.ones(2, requires_grad=True)
    x.name = "weight"
    made = pickle.loads(pickle.dumps(x))
    assert made.requires_grad and made.name == "weight"
    p = pickle.loads(pickle.dumps(nn.Parameter(rushlight.ones(2), requires_grad=False)))
    assert type(p) is nn.Parameter and not p.requires_grad
    kind = rushlight.FloatTensor
    assert pickle.loads(pickle.dumps(kind)) is kind


def test_deepcopy() -> None:
    x = rushlight.arange(6.0).requires_grad_()
    (x * 2).sum().backward()
    with rushlight.no_grad():
        view = x[2:4]
    made, made_view, again = copy.deepcopy([x, view, x])
    assert made is again and made.requires_grad and made.is_leaf
    assert made.grad.tolist() == [2] * 6 and made.grad is not x.grad
    assert made.data_ptr() != x.data_ptr()
    with rushlight.no_grad():
        made_view.fill_(7)
    assert made.tolist() == [0, 1, 7, 7, 4, 5] and x.tolist() == [0, 1, 2, 3, 4, 5]
    p = nn.Parameter(rushlight.ones(2))
    assert isinstance(copy.deepcopy(p), nn.Parameter)


def test_subclasses() -> None:
    class Mine(rushlight.Tensor):
        pass

    assert type(Mine([1, 2])) is Mine and Mine(2, 3).shape == (2, 3)
    assert type(copy.deepcopy(Mine([1.0]))) is Mine
    assert type(rushlight.ones(2).as_subclass(Mine)) is Mine


def test_set_shares_memory() -> None:
    x = rushlight.arange(6.0)
    y = rushlight.zeros(1).set_(x, 2, (2,), (2,))
    y.fill_(-1)
    assert x.tolist() == [0, 1, -1, 3, -1, 5]
    with pytest.raises(RuntimeError, match="out of bounds for storage"):
        y.set_(x, 1, (7,), (1,))


def test_old_types_print_and_construct() -> None:
    assert repr(rushlight.ByteTensor) == repr(torch.ByteTensor)
    assert rushlight.IntTensor(2, 2).dtype is rushlight.int32
