"""How each type of object is called in a file: by PyTorch's names, so that PyTorch reads it.

A description is a small expression (a name called with arguments), and what is set on the object
afterwards. It is data; `emitter.py` writes it down. Plain values and the plain containers, which
pickle streams have operations for, are written there.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import types
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np

from rushlight.core import dtypes
from rushlight.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter
from rushlight.random.generator import Generator
from rushlight.serialization import trusted
from rushlight.serialization.constructors import check_key, plain_attributes
from rushlight.serialization.storages import NAMES
from rushlight.tensor.copying import user_attributes
from rushlight.tensor.device import device
from rushlight.tensor.memory import TypedStorage, UntypedStorage
from rushlight.tensor.size import Size
from rushlight.tensor.storage import memory_of
from rushlight.tensor.tensor import Tensor, layout
from rushlight.tensor.values import values

# -- expressions -----------------------------------------------------------------------------------


class Name(NamedTuple):
    """A class or a function, by its module and name."""

    module: str
    name: str


class Call(NamedTuple):
    """What a function makes of arguments; `new` for a class whose `__new__` is called alone."""

    function: Name
    arguments: tuple[Any, ...] = ()
    new: bool = False


class Persistent(NamedTuple):
    """A storage, by its number; `dtype` is NumPy's, None for an untyped one."""

    number: int
    dtype: Any


class Group(NamedTuple):
    """A tuple that holds expressions."""

    items: tuple[Any, ...]


class Description(NamedTuple):
    """How an object is made, and the items, elements and state that it gets then."""

    made: Name | Call | Persistent
    items: Iterable[tuple[Any, Any]] | None = None
    elements: Iterable[Any] | None = None
    state: Any = None


class Numbering(Protocol):
    """What gives storages their numbers."""

    dtypes: list[Any]

    def number(self, array: Any, dtype: Any) -> int:
        """The number of the memory that an array looks into."""

    def offset(self, array: Any, number: int) -> int:
        """At which of its elements an array begins in its memory."""


def describe(value: Any, storages: Numbering) -> Description | None:
    """How an object is called in a file; None where no checkpoint can hold it."""
    kind = type(value)
    function = _DESCRIBED.get(kind)
    if function is not None:
        return function(value)
    if kind in _TENSORS:
        return _TENSORS[kind](value, storages)
    if isinstance(value, np.generic):
        return _numpy_scalar(value)
    if isinstance(value, np.dtype):
        return _numpy_dtype(value)
    if trusted.name_in_files(kind) is not None:
        return _user_object(value)
    if trusted.name_in_files(value) is not None:
        return Description(_user_name(value))
    return None


def refusal(value: Any, path: str, why: str = "") -> TypeError:
    """The error that says what cannot be saved, where it is, and what to do."""
    kind = type(value)
    at = f" (at {path!r})" if path else ""
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return TypeError(
            f"{value.__module__}.{value.__qualname__}{at} cannot be saved: no file can name what is "
            "to be called when it is loaded. Save a word that stands for it"
        )
    if isinstance(value, Tensor) and not why:
        return TypeError(
            f"a tensor of the class {kind.__module__}.{kind.__qualname__}{at} cannot be saved, as only "
            "code could build it again. Save the plain tensor, its .data"
        )
    if hasattr(value, "state_dict"):
        what = "network" if hasattr(value, "named_parameters") else "object"
        return TypeError(
            f"a whole {kind.__name__}{at} is not saved: only code could build it again, and a file "
            "that runs code is a danger to whoever loads it. Save its state_dict(), and load that "
            f"into a new one: {what}.load_state_dict(rushlight.load(file)). PyTorch reads such a "
            "file too"
        )
    return TypeError(
        f"a {kind.__module__}.{kind.__qualname__}{at} cannot be saved{why and f': {why}'}. Files "
        "hold tensors, arrays, numbers, strings, None, and dicts, lists, tuples and sets of these. "
        "Save what it is made of (dict(...), tuple(...), vars(...)), or allow its class, here and "
        "where the file is loaded: "
        f"rushlight.serialization.add_safe_globals([{kind.__qualname__}])"
    )


_DESCRIBED: dict[type, Callable[[Any], Description | None]] = {}
_TENSORS: dict[type, Callable[[Any, Numbering], Description | None]] = {}


def _describes(*kinds: type) -> Callable[[Any], Any]:
    def note(function: Any) -> Any:
        _DESCRIBED.update(dict.fromkeys(kinds, function))
        return function

    return note


def _builtin(name: str, *arguments: Any) -> Call:
    """Python's own; the module has the name that protocol 2 knows it by."""
    return Call(Name("__builtin__", name), arguments)


# -- Python's own types ----------------------------------------------------------------------------


@_describes(complex)
def _complex(value: complex) -> Description:
    return Description(_builtin("complex", value.real, value.imag))


def _encoded(data: bytes) -> Call:
    """Protocol 2 has no bytes: they are text with a character for each."""
    return Call(Name("_codecs", "encode"), (data.decode("latin1"), "latin1"))


@_describes(bytes)
def _bytes(value: bytes) -> Description:
    return Description(_encoded(value))


@_describes(bytearray)
def _byte_array(value: bytearray) -> Description:
    return Description(_builtin("bytearray", *([_encoded(bytes(value))] if value else [])))


@_describes(slice)
def _slice(value: slice) -> Description:
    return Description(_builtin("slice", value.start, value.stop, value.step))


@_describes(range)
def _range(value: range) -> Description:
    return Description(_builtin("xrange", value.start, value.stop, value.step))


@_describes(set, frozenset)
def _set(value: set[Any] | frozenset[Any]) -> Description:
    for item in value:
        check_key(item)
    return Description(_builtin(type(value).__name__, list(value)))


@_describes(OrderedDict)
def _ordered_dict(value: OrderedDict[Any, Any]) -> Description:
    """With its attributes: a state_dict keeps the versions of its modules in one, `_metadata`."""
    made = Call(Name("collections", "OrderedDict"))
    attributes = plain_attributes(dict(vars(value)), OrderedDict)
    return Description(made, items=value.items(), state=attributes or None)


@_describes(Counter)
def _counter(value: Counter[Any]) -> Description:
    return Description(Call(Name("collections", "Counter"), (dict(value),)))


_FACTORIES: dict[Any, Name] = {
    **{kind: Name("__builtin__", kind.__name__)
       for kind in (list, dict, set, tuple, int, float, str, bool)},
    OrderedDict: Name("collections", "OrderedDict"),
    Counter: Name("collections", "Counter"),
}  # fmt: skip


@_describes(defaultdict)
def _default_dict(value: defaultdict[Any, Any]) -> Description | None:
    factory = value.default_factory
    if factory is not None and factory not in _FACTORIES:
        return None
    arguments = () if factory is None else (_FACTORIES[factory],)
    return Description(Call(Name("collections", "defaultdict"), arguments), items=value.items())


@_describes(deque)
def _deque(value: deque[Any]) -> Description:
    return Description(Call(Name("collections", "deque"), ((), value.maxlen)), elements=value)


@_describes(argparse.Namespace, types.SimpleNamespace)
def _namespace(value: Any) -> Description:
    kind = type(value)
    attributes = plain_attributes(dict(vars(value)), kind)
    return Description(Call(Name(kind.__module__, kind.__name__)), state=attributes)


@_describes(pathlib.PurePosixPath, pathlib.PureWindowsPath, type(pathlib.Path()))
def _path(value: pathlib.PurePath) -> Description:
    return Description(Call(Name("pathlib", type(value).__name__), value.parts))


@_describes(datetime.datetime, datetime.date, datetime.time, datetime.timedelta)
def _moment(value: Any) -> Description | None:
    if type(getattr(value, "tzinfo", None)) not in (type(None), datetime.timezone):
        return None  # a zone with rules of its own
    return Description(Call(Name("datetime", type(value).__name__), value.__reduce_ex__(2)[1]))


@_describes(datetime.timezone)
def _timezone(value: Any) -> Description:
    return Description(Call(Name("datetime", "timezone"), value.__getinitargs__()))


# -- NumPy -----------------------------------------------------------------------------------------


def _numpy_dtype(value: np.dtype[Any]) -> Description | None:
    """Plain elements of one kind only: no objects, and no records."""
    if value == dtypes.BFLOAT16:
        name: Any = Name("ml_dtypes", "bfloat16")
    elif value.kind in "biufcSU":
        name = value.str[1:]
    else:
        return None
    order = {"=": "<" if np.little_endian else ">"}.get(value.byteorder, value.byteorder)
    sized = (value.itemsize, value.alignment, value.flags) if value.kind in "SU" else (-1, -1, 0)
    made = Call(Name("numpy", "dtype"), (name, False, True))
    return Description(made, state=(3, order, None, None, None, *sized))


def _numpy_scalar(value: np.generic) -> Description | None:
    if _numpy_dtype(value.dtype) is None:
        return None
    function = Name("numpy._core.multiarray", "scalar")
    return Description(Call(function, (value.dtype, _encoded(value.tobytes()))))


@_describes(np.ndarray)
def _numpy_array(value: np.ndarray[Any, Any]) -> Description | None:
    if _numpy_dtype(value.dtype) is None:
        return None
    fortran = bool(value.flags.f_contiguous and not value.flags.c_contiguous)
    made = Call(
        Name("numpy._core.multiarray", "_reconstruct"),
        (Name("numpy", "ndarray"), (0,), _encoded(b"b")),
    )
    data = _encoded(value.tobytes("F" if fortran else "C"))
    return Description(made, state=Group((1, value.shape, value.dtype, fortran, data)))


# -- PyTorch's small types -------------------------------------------------------------------------


@_describes(Size)
def _size(value: Size) -> Description:
    return Description(Call(Name("torch", "Size"), (tuple(value),)))


@_describes(dtypes.dtype)
def _dtype(value: dtypes.dtype) -> Description:
    return Description(Name("torch", value.name))


@_describes(device)
def _device(value: device) -> Description:
    arguments = (value.type,) if value.index is None else (value.type, value.index)
    return Description(Call(Name("torch", "device"), arguments))


@_describes(layout)
def _layout(value: layout) -> Description:
    return Description(Call(Name("torch.serialization", "_get_layout"), (repr(value),)))


@_describes(Generator)
def _generator(value: Generator) -> Description:
    made = Call(Name("torch._C", "Generator"), (device("cpu"),))
    return Description(made, state=(value.initial_seed(), None, value.get_state()))


# -- tensors ---------------------------------------------------------------------------------------

_NO_HOOKS = Call(Name("collections", "OrderedDict"))


def _rebuilt(tensor: Any, storages: Numbering, requires_grad: bool) -> Call:
    """The call that makes a plain tensor."""
    if tensor._hooks:
        warnings.warn(
            "the hooks of a tensor that is saved are not in the file", UserWarning, stacklevel=2
        )
    array = values(tensor, "save")
    number = storages.number(array, array.dtype)
    same = storages.dtypes[number] == array.dtype and array.dtype in NAMES
    arguments = (
        Persistent(number, storages.dtypes[number]),
        storages.offset(array, number),
        tuple(tensor.shape),
        tuple(tensor.stride()),
        requires_grad,
        _NO_HOOKS,
    )
    if same:
        return Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)
    return Call(Name("torch._utils", "_rebuild_tensor_v3"), (*arguments, tensor.dtype))


def _tensor(value: Tensor, storages: Numbering) -> Description:
    call = _rebuilt(value, storages, value.requires_grad)
    attributes = plain_attributes(user_attributes(value), type(value))
    if attributes:
        call = _with_attributes(call, attributes)
    return Description(call)


def _with_attributes(call: Call, attributes: dict[str, Any]) -> Call:
    return Call(
        Name("torch._tensor", "_rebuild_from_type_v2"),
        (call.function, Name("torch", "Tensor"), Group(call.arguments), attributes),
    )


def _parameter(value: Parameter, storages: Numbering) -> Description:
    call = _rebuilt(value, storages, False)
    attributes = plain_attributes(user_attributes(value), type(value))
    end, rest = ("_with_state", (attributes,)) if attributes else ("", ())
    name = Name("torch._utils", "_rebuild_parameter" + end)
    return Description(Call(name, (call, value.requires_grad, _NO_HOOKS, *rest)))


def _buffer(value: Buffer, storages: Numbering) -> Description:
    call = _rebuilt(value, storages, value.requires_grad)
    attributes = {
        **user_attributes(value), "persistent": value.persistent, "_is_buffer": True
    }  # fmt: skip
    return Description(_with_attributes(call, attributes))


def _uninitialized(value: Any, storages: Numbering) -> Description:
    name = Name("torch.nn.parameter", type(value).__name__)
    return Description(Call(name, (value.requires_grad,)))


def _storage(value: UntypedStorage, storages: Numbering) -> Description:
    memory = value._memory
    if memory_of(memory).nbytes != memory.size:  # a slice of a storage is a storage of its own
        memory = memory.copy()
    typed = value._dtype if isinstance(value, TypedStorage) else None
    number = storages.number(memory, typed)
    return Description(Persistent(number, typed if typed in NAMES else None))


_TENSORS.update(
    {
        Tensor: _tensor,
        Parameter: _parameter,
        Buffer: _buffer,
        UninitializedParameter: _uninitialized,
        UninitializedBuffer: _uninitialized,
        UntypedStorage: _storage,
        TypedStorage: _storage,
    }
)


# -- what the user has allowed ---------------------------------------------------------------------


def _user_name(value: Any) -> Name:
    name = trusted.name_in_files(value)
    if name is None:
        raise refusal(value, "")
    if name == trusted.name_of(value):
        return Name(value.__module__, value.__qualname__)
    module, _, own = name.rpartition(".")
    return Name(module, own)


def _user_object(value: Any) -> Description:
    """An object of a class that the user has allowed, as its `__reduce_ex__` says."""
    reduced = value.__reduce_ex__(2)
    if not isinstance(reduced, tuple) or not 2 <= len(reduced) <= 5:
        raise refusal(value, "", "its __reduce_ex__ gives no tuple of 2 to 5 items")
    function, arguments, *rest = reduced
    state, elements, items = [*rest, None, None, None][:3]
    if getattr(function, "__name__", "") == "__newobj__":
        made = Call(_user_name(arguments[0]), tuple(arguments[1:]), new=True)
    else:
        made = Call(_user_name(function), tuple(arguments))
    return Description(made, items, elements, state)
