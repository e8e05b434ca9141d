"""The closed list: every name that a file may mention, and what is made of it here.

A name leads to a `Constructor`, whose function checks its arguments and builds plain data, or to a
value (a dtype). Nothing is imported by a name out of a file. Names of classes that the user has
allowed are looked up in `trusted.py`.
"""

from __future__ import annotations

import argparse
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.serialization import trusted
from rushlight.serialization.errors import UnpicklingError


class Constructor:
    """A function of ours under the name that files call it by."""

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        self.name = name
        self.make = make


#: The list. `constructors_tensor.py` and `constructors_numpy.py` add theirs.
KNOWN: dict[str, Any] = {}

#: Names that are well known and cannot be built: why, and what to do.
REFUSED: dict[str, str] = {}


def constructor(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Puts a function on the list under these names."""

    def note(make: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            KNOWN[name] = Constructor(name, make)
        return make

    return note


# -- finding ---------------------------------------------------------------------------------------

#: Where Python 2, older versions of PyTorch and of NumPy had the same things.
_MOVED = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "torch.tensor": "torch._tensor",
    "pathlib._local": "pathlib",
}


def full_name(module: str, name: str) -> str:
    """The dotted name of what a file means, where it is today."""
    return f"{_MOVED.get(module, module)}.{name}"


def find(module: str, name: str) -> Any:
    """What a file means by this name; UnpicklingError for a name that is not on the list."""
    full = full_name(module, name)
    if trusted.never_safe(full):
        raise UnpicklingError(
            f"Unsupported global: GLOBAL {full}, whose module is blocked: it can run programs, and "
            "no checkpoint needs it. Do not trust this file"
        )
    found = KNOWN.get(full)
    if found is None:
        found = trusted.find(full)
    if found is None:
        found = trusted.find(f"{module}.{name}")
    if found is not None:
        return found
    reason = REFUSED.get(full)
    if reason is not None:
        raise UnpicklingError(f"Unsupported global: GLOBAL {full}: {reason}")
    raise UnpicklingError(
        f"Unsupported global: GLOBAL {full} is not on the list of what a checkpoint may build, and "
        f"was not called. {_advice(full)}"
    )


def is_known(name: str) -> bool:
    """Whether a dotted name is on the list, or was allowed by the user."""
    return name in KNOWN or trusted.find(name) is not None


def _advice(name: str) -> str:
    first = name.partition(".")[0]
    if name.startswith(("torch.nn.", "torchvision.models.", "torch.optim.")):
        return (
            "The file holds a whole module or optimizer, which only code can rebuild: save "
            "net.state_dict() in PyTorch, and load that into a network made here"
        )
    if first in ("torch", "numpy", "builtins", "copyreg"):
        return "No function beyond the list is called for a file (weights_only=False included)"
    return (
        f"If it is a class of yours (a whole network is better saved as its state_dict()), allow it "
        f"by rushlight.serialization.add_safe_globals([{name.rpartition('.')[2]}]) or in a block "
        "with rushlight.serialization.safe_globals(...)"
    )


# -- checks ----------------------------------------------------------------------------------------

_PLAIN_KEYS = (str, bytes, float, bool, type(None), complex)

#: Keys are hashed, which Python does by recursion and for all parts again: so they are kept small.
_LARGEST_KEY = 256
_DEEPEST_KEY = 20


def check_key(key: Any) -> None:
    """UnpicklingError unless it can be the key of a dict without harm: small, and of plain parts."""
    kind = type(key)
    if kind is str or kind in _PLAIN_KEYS:
        return
    parts, level = 0, [key]
    for _ in range(_DEEPEST_KEY):
        below: list[Any] = []
        for part in level:
            kind = type(part)
            if kind is int:
                if not -(1 << 63) <= part < 1 << 64:
                    raise UnpicklingError("an integer beyond 64 bits cannot be a dict's key")
            elif kind in (tuple, frozenset) or (isinstance(part, tuple) and len(part) < 100):
                below.extend(part)
            elif kind not in _PLAIN_KEYS and not _is_value(part):
                raise UnpicklingError(
                    f"{kind.__name__} cannot be a key of a dict or an item of a set in a checkpoint"
                )
        parts += len(below)
        if parts > _LARGEST_KEY:
            break
        if not below:
            return
        level = below
    raise UnpicklingError("a key of a dict or an item of a set is too large")


def _is_value(part: Any) -> bool:
    """Other things with a hash of their own: dtypes, devices, tensors, NumPy's numbers, paths."""
    kind = type(part)
    if kind is Constructor or kind.__hash__ is None:
        return False
    return kind.__module__.partition(".")[0] in ("rushlight", "numpy", "pathlib", "datetime") or (
        trusted.is_named(kind)
    )


def _expect(kind: Any, *values: Any) -> None:
    for value in values:
        if type(value) is not kind:
            raise UnpicklingError(f"{kind.__name__} is wanted, not {type(value).__name__}")


def plain_attributes(state: Any, kind: Any) -> dict[str, Any]:
    """A dict of attributes to set on a `kind`; UnpicklingError where one is part of the class."""
    _expect(dict, state)
    for name in state:
        _expect(str, name)
        if name.startswith("__") or hasattr(kind, name):
            raise UnpicklingError(f"the attribute {name!r} of {kind.__name__} cannot be set")
    return dict(state)


# -- Python's own types ----------------------------------------------------------------------------


@constructor("collections.OrderedDict")
def _ordered_dict(pairs: Any = ()) -> OrderedDict[Any, Any]:
    made: OrderedDict[Any, Any] = OrderedDict()
    if pairs == ():
        return made
    _expect(list, pairs)  # as Python 2 wrote it
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise UnpicklingError("an OrderedDict is built of pairs")
        check_key(pair[0])
        made[pair[0]] = pair[1]
    return made


@constructor("collections.Counter")
def _counter(counts: Any = None) -> Counter[Any]:
    if counts is not None:
        _expect(dict, counts)
    return Counter(counts)


@constructor("collections.defaultdict")
def _default_dict(factory: Any = None) -> defaultdict[Any, Any]:
    if factory is None:
        return defaultdict()
    if type(factory) is not Constructor or factory.name not in _FACTORIES:
        raise UnpicklingError(
            f"a defaultdict's factory can be {', '.join(_FACTORIES)}, and nothing else"
        )
    return defaultdict(_FACTORIES[factory.name])


@constructor("collections.deque")
def _deque(items: Any = (), longest: Any = None) -> deque[Any]:
    if longest is not None:
        _expect(int, longest)
    if type(items) not in (list, tuple):
        raise UnpicklingError("a deque is built of a list")
    return deque(items, longest)


@constructor("builtins.set")
def _set(items: Any = ()) -> set[Any]:
    return set(_checked_items(items))


@constructor("builtins.frozenset")
def _frozen_set(items: Any = ()) -> frozenset[Any]:
    return frozenset(_checked_items(items))


def _checked_items(items: Any) -> Any:
    if type(items) not in (list, tuple):
        raise UnpicklingError("a set is built of a list")
    for item in items:
        check_key(item)
    return items


@constructor("builtins.complex")
def _complex(real: Any, imaginary: Any) -> complex:
    _expect(float, real, imaginary)
    return complex(real, imaginary)


@constructor("builtins.slice")
def _slice(start: Any, stop: Any, step: Any) -> slice:
    return slice(start, stop, step)


@constructor("builtins.range", "builtins.xrange")
def _range(start: Any, stop: Any, step: Any) -> range:
    _expect(int, start, stop, step)
    return range(start, stop, step)


@constructor("builtins.bytes")
def _bytes() -> bytes:
    """Python writes the empty bytes so in protocol 2; others are encoded text."""
    return b""


@constructor("_codecs.encode")
def _encode(text: Any, encoding: Any) -> bytes:
    _expect(str, text, encoding)
    if encoding not in ("latin1", "latin-1"):
        raise UnpicklingError(f"bytes are encoded as latin1 in checkpoints, not {encoding[:40]!r}")
    return text.encode("latin1")


@constructor("builtins.bytearray")
def _byte_array(data: Any = b"", encoding: Any = None) -> bytearray:
    if encoding is not None:
        data = _encode(data, encoding)
    _expect(bytes, data)
    return bytearray(data)


def _only_as_factory(*arguments: Any) -> Any:
    raise UnpicklingError("a type of Python can only stand as a defaultdict's factory here")


for _type in (list, dict, tuple, int, float, str, bool):
    constructor(f"builtins.{_type.__name__}")(_only_as_factory)

_FACTORIES: dict[str, Any] = {
    "builtins.list": list, "builtins.dict": dict, "builtins.set": set, "builtins.tuple": tuple,
    "builtins.int": int, "builtins.float": float, "builtins.str": str, "builtins.bool": bool,
    "collections.OrderedDict": OrderedDict, "collections.Counter": Counter,
}  # fmt: skip


@constructor("argparse.Namespace")
def _namespace() -> argparse.Namespace:
    return argparse.Namespace()


@constructor("types.SimpleNamespace")
def _simple_namespace() -> types.SimpleNamespace:
    return types.SimpleNamespace()


def _path(kind: str) -> Callable[..., Any]:
    def make(*parts: Any) -> Any:
        import pathlib

        _expect(str, *parts)
        here = kind.startswith("Pure") or kind == type(pathlib.Path()).__name__
        return getattr(pathlib, kind if here else f"Pure{kind}")(*parts)

    return make


for _kind in ("PosixPath", "WindowsPath"):
    constructor(f"pathlib.{_kind}")(_path(_kind))
    constructor(f"pathlib.Pure{_kind}")(_path(f"Pure{_kind}"))


def _moment(kind: str) -> Callable[..., Any]:
    def make(*parts: Any) -> Any:
        import datetime

        for part in parts:
            if type(part) not in (int, bytes, str, datetime.timedelta, datetime.timezone):
                raise UnpicklingError(f"a {kind} is not made of {type(part).__name__}")
        return getattr(datetime, kind)(*parts)

    return make


for _kind in ("datetime", "date", "time", "timedelta", "timezone"):
    constructor(f"datetime.{_kind}")(_moment(_kind))


# -- state -----------------------------------------------------------------------------------------

#: Types whose objects take a state, and how.
STATES: dict[type, Callable[[Any, Any], None]] = {}


def takes_state(*kinds: type) -> Callable[[Callable[[Any, Any], None]], Any]:
    """Says that objects of these types take a state, by this function."""

    def note(function: Callable[[Any, Any], None]) -> Any:
        STATES.update(dict.fromkeys(kinds, function))
        return function

    return note


def set_state(target: Any, state: Any) -> None:
    """What BUILD does: gives an object its state. UnpicklingError for objects that take none."""
    kind = type(target)
    if isinstance(target, np.dtype):
        kind = np.dtype
    function = STATES.get(kind)
    if function is not None:
        function(target, state)
    elif trusted.is_named(kind):
        _set_user_state(target, state)
    else:
        raise UnpicklingError(
            f"Can only set the state of containers, arrays and classes allowed by "
            f"rushlight.serialization.add_safe_globals, but got {kind.__name__}"
        )


def _set_user_state(target: Any, state: Any) -> None:
    """As Python's unpickler does it, for a class that the user trusts."""
    own = getattr(target, "__setstate__", None)
    if own is not None:
        own(state)
        return
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    for part in (state, slots):
        if part is not None:
            _expect(dict, part)
            for name, value in part.items():
                _expect(str, name)
                if name in ("__class__", "__dict__"):
                    raise UnpicklingError(f"a file cannot set {name} of an object")
                setattr(target, name, value)


@takes_state(OrderedDict, Counter, argparse.Namespace, types.SimpleNamespace)
def _set_attributes(target: Any, state: Any) -> None:
    """The `_metadata` of a state_dict, the entries of a Namespace."""
    vars(target).update(plain_attributes(state, type(target)))
