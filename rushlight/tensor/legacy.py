"""The constructors of old: `Tensor(2, 3)`, `FloatTensor([1, 2])`, `isinstance(x, LongTensor)`.

Ints (or a Size) are sizes, whose elements are not set; a sequence is data. New code uses
`rushlight.tensor` and
`rushlight.zeros`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.tensor import tensor as tensor_module
from rushlight.tensor.device import device as Device
from rushlight.tensor.memory import UntypedStorage
from rushlight.tensor.nested import array_of
from rushlight.tensor.size import Size
from rushlight.tensor.tensor import Tensor, alias, wrap


def construct(
    dtype: Any, args: tuple[Any, ...], kwargs: dict[str, Any], strict: bool = True
) -> Tensor:
    """The tensor that an old constructor of this NumPy dtype gives for these arguments."""
    kwargs = dict(kwargs)
    place = kwargs.pop("device", None)
    if place is not None and Device(place).type != "cpu":
        raise RuntimeError(
            f"legacy constructor expects device type: cpu but device type: {Device(place).type} "
            "was passed"
        )
    if "size" in kwargs:
        args = (Size(kwargs.pop("size")), *args)
    if "data" in kwargs:
        args = (kwargs.pop("data"), *args)
    if kwargs:
        raise TypeError(
            f"new() received an invalid combination of arguments: '{next(iter(kwargs))}' is none "
            "of them"
        )
    if not args:
        return wrap(np.empty(0, dtype))
    first = args[0]
    if len(args) == 1 and not isinstance(first, Size) and not _is_size(first):
        return _from_data(dtype, first, strict)
    shape = tuple(first) if len(args) == 1 and isinstance(first, Size) else args
    sizes = []
    for i, n in enumerate(shape):
        if not _is_size(n):
            raise TypeError(
                f"new(): argument 'size' failed to unpack the object at pos {i + 1}: it must be an "
                f"int, not {type(n).__name__}"
            )
        sizes.append(n.__index__())
    if min(sizes, default=0) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(sizes)}: {sizes}")
    return wrap(np.zeros(sizes, dtype))


def _is_size(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, Tensor)


def _from_data(dtype: Any, data: Any, strict: bool) -> Tensor:
    if isinstance(data, Tensor):
        if strict and data._array.dtype != dtype:
            raise TypeError(
                f"expected a tensor of dtype {dtypes.of_numpy(dtype)!r} (got {data.dtype!r}): use "
                "tensor.to(dtype)"
            )
        return alias(data)
    if isinstance(data, UntypedStorage):
        return wrap(data._memory.view(dtype))
    if isinstance(data, (list, tuple, range, np.ndarray)) or (
        isinstance(data, str) or hasattr(data, "__getitem__")
    ):
        if isinstance(data, np.ndarray):
            return wrap(np.array(data, dtype))
        return wrap(array_of(data, dtype))
    raise TypeError(f"new(): data must be a sequence (got {type(data).__name__})")


class TensorType:
    """An old type of tensors, such as `rushlight.FloatTensor`: a constructor that `isinstance`
    understands.
    """

    is_cuda = False

    def __init__(self, name: str, dtype: dtypes.dtype) -> None:
        self.__name__, self.dtype = name, dtype

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return construct(self.dtype.numpy, args, kwargs)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is self.dtype

    def __repr__(self) -> str:
        return f"<class 'torch.{self.__name__}'>"

    def __reduce__(self) -> str:
        return self.__name__


#: The old types by name, for the package root.
TYPES = {
    name + "Tensor": TensorType(name + "Tensor", dtype)
    for name, dtype in (
        ("Float", dtypes.float32), ("Double", dtypes.float64), ("Half", dtypes.float16),
        ("BFloat16", dtypes.bfloat16), ("Byte", dtypes.uint8), ("Char", dtypes.int8),
        ("Short", dtypes.int16), ("Int", dtypes.int32), ("Long", dtypes.int64),
        ("Bool", dtypes.bool_),
    )
}  # fmt: skip
globals().update(TYPES)  # pickle finds them here by name

_NAME_OF = {t.dtype: f"torch.{name}" for name, t in TYPES.items()}
_NAME_OF |= {
    dtypes.complex64: "torch.ComplexFloatTensor",
    dtypes.complex128: "torch.ComplexDoubleTensor",
}
_NAME_OF |= {
    d: f"torch.{d.name.replace('ui', 'UI')}Tensor"
    for d in (dtypes.uint16, dtypes.uint32, dtypes.uint64)
}
_DTYPE_OF = {name.removeprefix("torch."): d for d, name in _NAME_OF.items()}


def type_name_of(tensor: Tensor) -> str:
    """What `tensor.type()` gives: 'torch.FloatTensor'."""
    return _NAME_OF[tensor.dtype]


def dtype_named(wanted: Any) -> dtypes.dtype:
    """The dtype that `tensor.type(wanted)` asks for: a dtype, an old type, or the name of one."""
    if isinstance(wanted, dtypes.dtype):
        return wanted
    if isinstance(wanted, TensorType):
        return wanted.dtype
    if isinstance(wanted, str):
        name = wanted.rpartition(".")[2]
        if name in _DTYPE_OF:
            return _DTYPE_OF[name]
        if name == "Tensor" and wanted != name:
            return dtypes.get_default_dtype()
        raise ValueError(f"invalid type: '{wanted}': it must be a name like 'torch.FloatTensor'")
    if wanted is Tensor:
        return dtypes.get_default_dtype()
    if isinstance(wanted, type):
        raise ValueError(f"invalid type: '{wanted.__name__}': use a dtype such as rushlight.int64")
    raise TypeError(f"dtype must be a type, str, or dtype object, not {type(wanted).__name__}")


def new(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The old constructor for the dtype of this tensor: sizes, or data."""
    return construct(self._array.dtype, args, kwargs, strict=False)


def as_subclass(self: Tensor, cls: type[Tensor]) -> Tensor:
    """The same memory as a tensor of a subclass."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"as_subclass(): argument 'cls' must be a subclass of Tensor, not {cls!r}")
    made = object.__new__(cls)
    made.__dict__.update(alias(self).__dict__)
    made._grad_fn, made._output, made._requires_grad = (
        self.history(),
        self._output,
        self.requires_grad,
    )
    return made


def make_subclass(cls: type[Tensor], data: Tensor, require_grad: bool = False) -> Tensor:
    """A leaf of a subclass with the memory of `data`."""
    made = object.__new__(cls)
    made._array = data._array
    return made.requires_grad_(require_grad)


tensor_module.install(
    legacy_new=lambda *args, **kwargs: construct(
        dtypes.get_default_dtype().numpy, args, kwargs, strict=False
    )
)

#: What the package root ties onto Tensor.
METHODS = {"new": new, "as_subclass": as_subclass, "_make_subclass": classmethod(make_subclass)}
