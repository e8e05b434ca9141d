"""The classes and functions that a user has named as safe to build from files.

They come on top of the closed list of `constructors.py`. Naming one means: a file may call it with
any arguments, and set any state on what it made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: Modules whose functions run programs, reach the system, or find any object by its name.
_NEVER = frozenset((
    "os", "posix", "nt", "sys", "subprocess", "pty", "shutil", "socket", "ctypes", "_ctypes",
    "importlib", "importlib._bootstrap", "pickle", "_pickle", "marshal", "runpy", "code", "codeop",
    "operator", "_operator", "functools", "_functools", "pdb", "bdb", "timeit", "builtins.eval",
    "builtins.exec", "builtins.compile", "builtins.open", "builtins.__import__", "builtins.getattr",
    "builtins.setattr", "builtins.delattr", "builtins.globals", "builtins.vars", "builtins.input",
    "builtins.breakpoint", "builtins.apply", "builtins.type", "builtins.map", "builtins.filter",
    "io.open", "io.open_code", "_io.open", "_io.open_code", "copyreg._reconstructor",
))  # fmt: skip

_named: dict[str, Any] = {}


def name_of(thing: Any) -> str:
    """The dotted name under which a class or a function stands in a pickle stream.

    >>> import argparse
    >>> name_of(argparse.Namespace)
    'argparse.Namespace'
    """
    return f"{thing.__module__}.{thing.__qualname__}"


def never_safe(name: str) -> bool:
    """Whether this name is refused even if the user asks for it."""
    module = name.rpartition(".")[0]
    return name in _NEVER or module in _NEVER or module.partition(".")[0] in ("os", "ctypes")


def _entries(safe_globals: Iterable[Any]) -> dict[str, Any]:
    if isinstance(safe_globals, (str, bytes)) or not isinstance(safe_globals, Iterable):
        raise TypeError(
            "safe globals are a list of classes and functions, or of pairs (class, 'module.name'), "
            f"not {type(safe_globals).__name__}"
        )
    found = {}
    for entry in safe_globals:
        if isinstance(entry, tuple):
            if len(entry) != 2:
                raise ValueError(
                    f"a pair (class, 'module.name') has two items, this one has {len(entry)}"
                )
            thing, name = entry
            if not isinstance(name, str):
                raise TypeError(
                    f"the second item of a pair is the name in the file, as a str, not {name!r}"
                )
        elif hasattr(entry, "__qualname__"):
            thing, name = entry, name_of(entry)
        else:
            raise TypeError(
                f"a safe global is a class or a function, not {type(entry).__name__}: a file names "
                "it by its module and its name"
            )
        own = name_of(thing) if hasattr(thing, "__qualname__") else name
        if not callable(thing) or never_safe(name) or never_safe(own):
            raise ValueError(
                f"{own} can never be safe to call from a file: it runs programs or reaches any "
                "object by name"
            )
        found[name] = thing
    return found


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Lets files build these classes, and call these functions, from now on.

    Each is a class or a function, or a pair of one and its name in the file ("module.name"), for a
    class that has moved. Raises ValueError for what can run programs, such as `eval`.

    >>> import rushlight
    >>> class Config:
    ...     pass
    >>> rushlight.serialization.add_safe_globals([Config])
    >>> rushlight.serialization.get_safe_globals()
    [<class 'rushlight.serialization.trusted.Config'>]
    >>> rushlight.serialization.clear_safe_globals()
    """
    _named.update(_entries(safe_globals))


def get_safe_globals() -> list[Any]:
    """What `add_safe_globals` was given: classes and functions, and pairs where names differ."""
    return [thing if name == name_of(thing) else (thing, name) for name, thing in _named.items()]


def clear_safe_globals() -> None:
    """Forgets all that `add_safe_globals` was given."""
    _named.clear()


class safe_globals:
    """Lets files build these classes inside of a `with` block; see `add_safe_globals`.

    >>> import collections, io, rushlight
    >>> Point = collections.namedtuple("Point", "x y", module="shapes")
    >>> file = io.BytesIO()
    >>> with rushlight.serialization.safe_globals([Point]):
    ...     rushlight.save(Point(1, 2), file)
    ...     _ = file.seek(0)
    ...     rushlight.load(file)
    Point(x=1, y=2)
    """

    def __init__(self, safe_globals: list[Any]) -> None:
        self._entries = _entries(safe_globals)
        self._before: list[dict[str, Any]] = []  # what these names meant outside of the block

    def __enter__(self) -> None:
        self._before.append({name: _named[name] for name in self._entries if name in _named})
        _named.update(self._entries)

    def __exit__(self, *exception: Any) -> None:
        before = self._before.pop()
        for name in self._entries:
            _named.pop(name, None)
        _named.update(before)


def find(name: str) -> Any:
    """What the user has named so; None for nothing."""
    return _named.get(name)


def is_named(thing: Any) -> bool:
    """Whether the user has named this class or function."""
    return any(thing is known for known in _named.values())


def name_in_files(thing: Any) -> str | None:
    """The name that a class or a function which the user has named has in files, or None."""
    return next((name for name, known in _named.items() if known is thing), None)
