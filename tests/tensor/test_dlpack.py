"""DLPack with NumPy, PyTorch and JAX: memory is shared both ways, and what cannot be shared is refused."""

from __future__ import annotations

import gc
import importlib.util
import weakref

import ml_dtypes
import numpy as np
import pytest

import rushlight
from rushlight.utils import dlpack
from rushlight.utils.dlpack import DLDeviceType, from_dlpack, to_dlpack

NUMPYS = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
    "complex64", "complex128",
)  # fmt: skip
ALL = (*NUMPYS, "bfloat16")
LAYOUTS = {
    "plain": lambda x: x,
    "transposed": lambda x: x.T,
    "steps": lambda x: x[::2, 1:],
    "one row": lambda x: x[1],
    "0-d": lambda x: x[1, 1],
    "empty": lambda x: x[:0],
}

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="the oracle extra is not installed"
)
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed: no extra brings it"
)


def ones(*shape, dtype):
    return rushlight.ones(*shape, dtype=getattr(rushlight, dtype))


def numbers(dtype):
    return rushlight.arange(12).reshape(3, 4).to(getattr(rushlight, dtype))


# -- NumPy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", NUMPYS)
def test_numpy_both_ways(dtype, layout):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    view = np.asarray(LAYOUTS[layout](array))
    if view.ndim == 0:
        view = array[1, 1:2].reshape(())
    tensor = rushlight.from_dlpack(view)
    assert tensor.dtype is getattr(rushlight, dtype) and tensor.tolist() == view.tolist()
    assert tensor.data_ptr() == view.ctypes.data or not view.size
    if view.size:
        assert [s * view.itemsize for s in tensor.stride()] == list(view.strides)
    back = np.from_dlpack(tensor)
    assert back.ctypes.data == view.ctypes.data or not view.size
    assert back.shape == view.shape and back.dtype == view.dtype
    view[...] = 1
    assert tensor.tolist() == view.tolist() == back.tolist()


def test_what_may_not_be_written():
    array = np.arange(3.0)
    array.flags.writeable = False
    tensor = rushlight.from_dlpack(array)
    with pytest.raises(RuntimeError, match="read-only"):
        tensor.add_(1)
    assert array.tolist() == [0, 1, 2]
    assert not np.from_dlpack(tensor).flags.writeable
    with pytest.raises(BufferError):
        to_dlpack(tensor)  # the old protocol cannot say it
    copy = rushlight.from_dlpack(array, copy=True)
    assert copy.add_(1).tolist() == [1, 2, 3] and array.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: np.arange(3.0)[::-1], ValueError, "negative"),
        (lambda: np.ones(2, np.longdouble), BufferError, "IEEE"),
        (lambda: np.ones(2, ">f8"), BufferError, "byte order"),
        (lambda: np.array(["a"]), BufferError, ""),
        (lambda: 3, RuntimeError, "int has no __dlpack__"),
        (lambda: [1.0], RuntimeError, "list has no __dlpack__"),
        (lambda: ones(2, dtype="float32").requires_grad_(), BufferError, "require gradient"),
    ],
)
def test_what_cannot_be_taken(make, kind, says):
    with pytest.raises(kind, match=says or None):
        rushlight.from_dlpack(make())


def test_the_memory_lives_as_long_as_a_tensor_sees_it():
    class Counted(np.ndarray):
        pass

    array = np.arange(1000.0).view(Counted)
    ended = weakref.ref(array)
    tensor = rushlight.from_dlpack(array)
    del array
    gc.collect()
    assert ended() is not None and tensor.sum().item() == 499500
    del tensor
    gc.collect()
    assert ended() is None


def test_numpy_keeps_our_memory():
    array = np.from_dlpack(rushlight.arange(1000.0) * 2)
    gc.collect()
    assert array.sum() == 999000


# -- the protocol ----------------------------------------------------------------------------------


def test_the_protocols_arguments():
    x = ones(2, 3, dtype="float32")
    assert x.__dlpack_device__() == (1, 0) and x.__dlpack_device__()[0] is DLDeviceType.kDLCPU
    for wishes, name in (
        ({}, '"dltensor"'),
        ({"max_version": (1, 0)}, '"dltensor_versioned"'),
        ({"max_version": (1, 9)}, '"dltensor_versioned"'),
        ({"max_version": (0, 8)}, '"dltensor"'),
        ({"stream": -1}, '"dltensor"'),
        ({"dl_device": (1, 0)}, '"dltensor"'),
        ({"copy": False}, '"dltensor"'),
    ):
        assert name in repr(x.__dlpack__(**wishes))
    with pytest.raises(AssertionError, match="stream"):
        x.__dlpack__(stream=1)
    with pytest.raises(BufferError):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="require gradient"):
        ones(2, dtype="float32").requires_grad_().__dlpack__()
    with pytest.raises(TypeError, match="needs a Tensor"):
        to_dlpack(3)


@pytest.mark.parametrize("dtype", ALL)
def test_capsules_share_and_copies_do_not(dtype):
    x = numbers(dtype)
    shared = from_dlpack(to_dlpack(x))
    assert shared.data_ptr() == x.data_ptr() and shared.dtype is x.dtype
    apart = from_dlpack(x.__dlpack__(max_version=(1, 0), copy=True))
    apart.fill_(1)
    shared.t()[0].fill_(0)
    assert x[:, 0].tolist() == [0, 0, 0] and x.tolist() == shared.tolist()
    assert from_dlpack(x, copy=True).data_ptr() != x.data_ptr()
    assert from_dlpack(x, copy=False).data_ptr() == x.data_ptr()


def test_a_capsule_is_taken_once():
    for dtype in ("float32", "bfloat16"):
        capsule = to_dlpack(ones(2, dtype=dtype))
        from_dlpack(capsule)
        with pytest.raises(RuntimeError, match="can be taken once"):
            from_dlpack(capsule)


def test_a_capsule_that_nobody_takes_lets_go():
    x = ones(1000, dtype="bfloat16")
    array = weakref.ref(x._array.base) if x._array.base is not None else None
    capsules = [to_dlpack(x) for _ in range(100)]
    del x, capsules
    gc.collect()
    assert array is None or array() is None


def test_owners_of_the_older_protocol():
    class Old:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, stream=None):
            return self.array.__dlpack__()

        def __dlpack_device__(self):
            return (1, 0)

    array = np.arange(3.0)
    rushlight.from_dlpack(Old(array))
    assert rushlight.from_dlpack(Old(array)).tolist() == [0, 1, 2]


def test_the_module_is_torchs():
    assert set(dlpack.__all__) == {"DLDeviceType", "from_dlpack", "to_dlpack"}
    assert rushlight.utils.dlpack.from_dlpack is rushlight.from_dlpack
    assert rushlight.to_dlpack is to_dlpack


# -- PyTorch ---------------------------------------------------------------------------------------


@needs_torch
@pytest.mark.oracle
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ALL)
def test_torch_both_ways(dtype, layout):
    import torch

    theirs = LAYOUTS[layout](torch.arange(12).reshape(3, 4).to(getattr(torch, dtype)))
    ours = rushlight.from_dlpack(theirs)
    assert ours.dtype is getattr(rushlight, dtype) and ours.tolist() == theirs.tolist()
    back = torch.from_dlpack(ours)
    assert back.dtype is theirs.dtype and back.shape == theirs.shape
    if theirs.numel():
        assert ours.data_ptr() == theirs.data_ptr() == back.data_ptr()
        assert ours.stride() == theirs.stride() == back.stride()
    assert torch.utils.dlpack.from_dlpack(to_dlpack(ours)).tolist() == theirs.tolist()
    assert from_dlpack(torch.utils.dlpack.to_dlpack(theirs)).tolist() == theirs.tolist()
    ours.fill_(1)
    assert theirs.tolist() == back.tolist() == ours.tolist()


@needs_torch
@pytest.mark.oracle
def test_torchs_types_that_we_lack_are_named():
    import torch

    for name in ("float8_e4m3fn", "float8_e5m2"):
        with pytest.raises(TypeError, match=name):
            rushlight.from_dlpack(torch.ones(2).to(getattr(torch, name)))
    with pytest.raises(BufferError):
        rushlight.from_dlpack(torch.ones(2, device="meta"))
    with pytest.raises(BufferError, match="require"):
        rushlight.from_dlpack(torch.ones(2, requires_grad=True))


# -- JAX -------------------------------------------------------------------------------------------


@needs_jax
@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", "float16", "int32", "uint8", "bool", "complex64"]
)
def test_jax_both_ways(dtype):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    theirs = jnp.arange(12).reshape(3, 4).astype(dtype)
    ours = rushlight.from_dlpack(theirs)
    assert ours.dtype is getattr(rushlight, dtype) and ours.tolist() == theirs.tolist()
    assert ours.data_ptr() == theirs.unsafe_buffer_pointer()
    with pytest.raises(RuntimeError, match="read-only"):  # JAX's arrays never change
        ours.fill_(0)
    for view in (numbers(dtype), numbers(dtype).t(), ones(0, 3, dtype=dtype)):
        assert jnp.from_dlpack(view).tolist() == view.tolist()


def test_bfloat16_is_ml_dtypes():
    x = numbers("bfloat16")
    assert from_dlpack(to_dlpack(x))._array.dtype == ml_dtypes.bfloat16
