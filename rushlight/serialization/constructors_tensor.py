"""Tensors, parameters, generators and PyTorch's small types in files."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter
from rushlight.random.generator import Generator
from rushlight.serialization.constructors import (
    KNOWN,
    REFUSED,
    Constructor,
    constructor,
    plain_attributes,
    takes_state,
)
from rushlight.serialization.errors import UnpicklingError
from rushlight.serialization.storages import QUANTIZED, TYPES, StorageType, make_tensor
from rushlight.tensor.copying import OWN_STATE
from rushlight.tensor.device import device
from rushlight.tensor.memory import TypedStorage, UntypedStorage
from rushlight.tensor.size import Size
from rushlight.tensor.tensor import Tensor, strided, wrap

# -- names that are values -------------------------------------------------------------------------

for _dtype in dtypes.ALL:
    KNOWN[f"torch.{_dtype.name}"] = _dtype
for _name, _dtype in TYPES.items():
    KNOWN[f"torch.{_name}"] = StorageType(f"torch.{_name}", _dtype)
for _name in ("torch.storage.UntypedStorage", "torch.UntypedStorage"):
    KNOWN[_name] = StorageType(_name, None)
KNOWN["torch.strided"] = strided

# -- names that are refused with a reason ----------------------------------------------------------

_NO_SPARSE = "a sparse tensor, which rushlight does not have: save tensor.to_dense() in PyTorch"
_NO_QUANTIZED = (
    "a quantized tensor, which rushlight does not have: save tensor.dequantize() in PyTorch"
)
REFUSED.update(dict.fromkeys((f"torch.{name}" for name in QUANTIZED), _NO_QUANTIZED))
REFUSED.update(
    {
        "torch._utils._rebuild_qtensor": _NO_QUANTIZED,
        "torch._utils._rebuild_sparse_tensor": _NO_SPARSE,
        "torch._utils._rebuild_sparse_csr_tensor": _NO_SPARSE,
        "torch._utils._rebuild_meta_tensor_no_storage": "a tensor on the meta device, which has no "
        "values: save the network's state_dict() after it has been given values",
        "torch._utils._rebuild_nested_tensor": "a nested tensor, which rushlight does not have: "
        "save tensor.unbind() in PyTorch",
        "torch._utils._rebuild_wrapper_subclass": "a tensor subclass without memory of its own, "
        "which rushlight does not have: save a plain tensor in PyTorch",
        "torch.complex32": "dtype complex32, which rushlight does not have: save "
        "tensor.to(torch.complex64) in PyTorch",
    }
)
REFUSED.update(
    {
        f"torch.float8_{kind}": f"dtype float8_{kind}, which rushlight does not have: save "
        "tensor.to(torch.bfloat16) in PyTorch, which loses nothing"
        for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")
    }
)

# -- tensors ---------------------------------------------------------------------------------------


@constructor("torch._utils._rebuild_tensor")
def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    return _tensor_v2(storage, offset, size, stride, False, None)


@constructor("torch._utils._rebuild_tensor_v2")
def _tensor_v2(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    metadata: Any = None,
) -> Tensor:
    if not isinstance(storage, UntypedStorage):
        raise UnpicklingError(f"a tensor needs a storage, not {type(storage).__name__}")
    dtype = storage.dtype if isinstance(storage, TypedStorage) else dtypes.uint8
    return _tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)


@constructor("torch._utils._rebuild_tensor_v3")
def _tensor_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Tensor:
    if type(dtype) is not dtypes.dtype:
        raise UnpicklingError(f"a tensor's dtype must be one, not {type(dtype).__name__}")
    for mark in ("conj", "neg"):
        if type(metadata) is dict and metadata.get(mark) is True:
            storage = _changed(storage, dtype, mark)
    return make_tensor(storage, dtype, offset, size, stride, requires_grad)


def _changed(storage: Any, dtype: dtypes.dtype, mark: str) -> Any:
    """The storage with conjugated or negated elements: tensors here have no such marks."""
    known = vars(storage).setdefault("changed", {}) if isinstance(storage, TypedStorage) else None
    if known is None or not (dtype.is_complex or mark == "neg"):
        raise UnpicklingError(f"a tensor of {dtype} cannot be marked {mark}")
    if mark not in known:
        elements = storage._elements()
        values = np.conj(elements) if mark == "conj" else np.negative(elements)
        known[mark] = made = object.__new__(TypedStorage)
        made._memory, made._dtype = values.view(np.uint8), storage._dtype
    return known[mark]


def _expect_tensor(data: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise UnpicklingError(f"a tensor is wanted, not {type(data).__name__}")
    return data


@constructor("torch._utils._rebuild_parameter")
def _parameter(data: Any, requires_grad: Any, hooks: Any) -> Parameter:
    if type(requires_grad) is not bool:
        raise UnpicklingError("requires_grad must be a bool")
    if requires_grad and not (_expect_tensor(data).is_floating_point() or data.is_complex()):
        raise UnpicklingError(f"a parameter of {data.dtype} cannot require a gradient")
    made: Parameter = Parameter(_expect_tensor(data), requires_grad)
    return made


@constructor("torch._utils._rebuild_parameter_with_state")
def _parameter_with_state(data: Any, requires_grad: Any, hooks: Any, state: Any) -> Parameter:
    made = _parameter(data, requires_grad, hooks)
    _set_attributes(made, state)
    return made


@constructor("torch.nn.parameter.Parameter")
def _new_parameter(data: Any, requires_grad: Any = True) -> Parameter:
    return _parameter(data, requires_grad, None)


@constructor("torch.nn.parameter.Buffer")
def _new_buffer(data: Any, persistent: Any = True) -> Buffer:
    made: Buffer = Buffer(_expect_tensor(data), persistent=persistent is True)
    return made


@constructor("torch.nn.parameter.UninitializedParameter")
def _uninitialized_parameter(requires_grad: Any = True, *place: Any) -> UninitializedParameter:
    made: UninitializedParameter = UninitializedParameter(requires_grad is True)
    return made


@constructor("torch.nn.parameter.UninitializedBuffer")
def _uninitialized_buffer(requires_grad: Any = False, *place: Any) -> UninitializedBuffer:
    made: UninitializedBuffer = UninitializedBuffer()
    return made


#: Classes of tensors, one for each dtype: tar files say what a tensor was.
_CLASSES = tuple(f"torch.{name.removesuffix('Storage')}Tensor" for name in TYPES)


@constructor("torch.Tensor", "torch._tensor.Tensor", *_CLASSES)
def _no_tensor(*arguments: Any) -> Tensor:
    raise UnpicklingError("the class of a tensor is not called by checkpoints")


def _set_attributes(tensor: Tensor, state: Any) -> None:
    """What the user has set on a tensor, `tensor.name = ...`."""
    if type(state) is tuple and len(state) == 2 and state[1] in (None, {}):
        state = state[0]
    attributes = plain_attributes({} if state is None else state, type(tensor))
    if OWN_STATE.intersection(attributes):
        raise UnpicklingError("a file cannot set what a tensor keeps for itself")
    vars(tensor).update(attributes)


@constructor("torch._tensor._rebuild_from_type_v2")
def _from_type(function: Any, kind: Any, arguments: Any, state: Any) -> Tensor:
    """A tensor with attributes, or a Buffer."""
    if type(function) is not Constructor or type(kind) is not Constructor:
        raise UnpicklingError("a tensor of a subclass can only be rebuilt as Tensor or Parameter")
    if not function.name.startswith("torch._utils._rebuild_") or type(arguments) is not tuple:
        raise UnpicklingError(f"{function.name} does not rebuild tensors")
    made = _expect_tensor(function.make(*arguments))
    if type(state) is dict and state.get("_is_buffer") is True:
        state = {k: v for k, v in state.items() if k != "_is_buffer"}
        made = _new_buffer(made, state.pop("persistent", True))
    elif kind.name == "torch.nn.parameter.Parameter" and type(made) is Tensor:
        made = _parameter(made, made.requires_grad, None)
    _set_attributes(made, state)
    return made


@constructor(
    "torch._utils._rebuild_device_tensor_from_cpu_tensor",
    "torch._utils._rebuild_device_tensor_from_numpy",
)
def _from_another_device(data: Any, dtype: Any, place: Any, requires_grad: Any) -> Tensor:
    if type(dtype) is not dtypes.dtype or type(requires_grad) is not bool:
        raise UnpicklingError("a tensor of another device needs a dtype and requires_grad")
    array = data if type(data) is np.ndarray else _expect_tensor(data)._array
    if array.dtype != dtype.numpy or (requires_grad and array.dtype not in dtypes.INEXACT):
        raise UnpicklingError(f"an array of {array.dtype} does not make a tensor of {dtype}")
    made = wrap(array)
    made._requires_grad = requires_grad
    return made


# -- small types -----------------------------------------------------------------------------------


@constructor("torch.Size")
def _size(sizes: Any = ()) -> Size:
    if type(sizes) is not tuple or not all(type(n) is int for n in sizes):
        raise UnpicklingError("a Size is made of a tuple of ints")
    return Size(sizes)


@constructor("torch.device")
def _device(kind: Any, index: Any = None) -> device:
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise UnpicklingError("a device is made of a name and a number")
    return device(kind, index)


@constructor("torch.serialization._get_layout")
def _layout(name: Any) -> Any:
    if name != "torch.strided":
        raise UnpicklingError(_NO_SPARSE)
    return strided


@constructor("torch.torch_version.TorchVersion")
def _version(text: Any) -> str:
    if type(text) is not str:
        raise UnpicklingError("a version is text")
    return text


@constructor("torch._C.Generator", "torch.Generator")
def _generator(place: Any = None) -> Generator:
    return Generator()


@takes_state(Generator)
def _set_generator(generator: Generator, state: Any) -> None:
    if type(state) is not tuple or len(state) != 3:
        raise UnpicklingError("the state of a generator is its seed, an offset and a tensor")
    generator.set_state(_expect_tensor(state[2]))
