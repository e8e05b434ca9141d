"""Finds what a function may touch: the tensors it can reach, and every Python value that may steer it.

From the function's closure, the globals it names, its defaults, the object it is bound to and its arguments, `Scan`
walks through modules, optimizers, containers and objects of the user's classes. It gives
    tensors   with a locator each, by which the tensor is found again at a later call
    key       everything that a trace depends on: shapes, dtypes, flags, constants
    watches   containers with what they held, compared by identity: a cheap sign that nothing has changed
"""

from __future__ import annotations

import functools
import re
import sysconfig
import types
from collections.abc import Iterator
from operator import is_
from typing import Any

import numpy as np

from rushlight.core.dtypes import dtype as Dtype
from rushlight.core.sites import is_own
from rushlight.nn.module import Module
from rushlight.optim.lr_scheduler.base import LRScheduler
from rushlight.optim.optimizer import Optimizer
from rushlight.random.generator import Generator
from rushlight.tensor.tensor import Tensor

CONSTANTS = (
    int,
    float,
    complex,
    str,
    bytes,
    bool,
    type(None),
    Dtype,
    range,
    slice,
    type(Ellipsis),
    np.dtype,
    np.generic,
)
_LIBRARIES = tuple(sysconfig.get_paths()[k] for k in ("stdlib", "platstdlib", "purelib", "platlib"))

#: Hyper-parameters that may change at every call of a program without a new trace.
ALWAYS_NUMBERS = frozenset({"lr"})


_HYPER_PARAMETER = re.compile(r"\.param_groups\[\d+\]\['(\w+)'\](?:\[\d+\])*$")


def hyper_parameter(path: str) -> str:
    """The name of the hyper-parameter that a path of the structure leads to; "" for anything else."""
    found = _HYPER_PARAMETER.search(path)
    return found[1] if found else ""


def is_user_function(value: Any) -> bool:
    """Whether a value is a Python function that is neither rushlight's nor a library's."""
    if not isinstance(value, types.FunctionType):
        return False
    code = value.__code__
    return not is_own(code) and not code.co_filename.startswith(_LIBRARIES)


def _is_user_class(kind: type) -> bool:
    return any(is_user_function(v) for v in vars(kind).values()) or any(
        any(is_user_function(v) for v in vars(base).values()) for base in kind.__mro__[1:-1]
    )


class Watch:
    """A container and what it held: `same` says whether it still does."""

    __slots__ = ("before", "container", "keys", "size", "values")

    def __init__(
        self, container: Any, keys: tuple[Any, ...] | None, values: tuple[Any, ...], size: int
    ) -> None:
        self.container, self.keys, self.values, self.size = container, keys, values, size
        #: All that it held, until it is known that nothing has to be undone.
        self.before: Any = dict(container) if isinstance(container, dict) else None

    def undo(self) -> None:
        """Puts back what the container held."""
        container = self.container
        if type(container) is types.CellType:
            container.cell_contents = self.values[0]
        elif self.keys is None:
            container[:] = self.values
        elif self.before is not None:
            for key in [k for k in container if k not in self.before]:
                del container[key]
            container.update(self.before)

    def drop(self, key: Any) -> None:
        """Does not look at an entry any more: its tensor comes and goes."""
        if self.keys is None:
            self.keys, self.values = tuple(range(0)), ()
            return
        pairs = [
            (k, v)
            for k, v in zip(self.keys, self.values, strict=True)
            if k is not key and (not isinstance(key, (str, int)) or k != key)
        ]
        self.keys, self.values = tuple(k for k, _ in pairs), tuple(v for _, v in pairs)

    def same(self) -> bool:
        """Whether the values are the same objects as before."""
        container = self.container
        if type(container) is types.CellType:
            return container.cell_contents is self.values[0]
        if len(container) != self.size:
            return False
        if self.keys is None:
            return all(map(is_, container, self.values))
        if isinstance(container, list):
            return True
        return all(map(is_, map(container.get, self.keys), self.values))


class Found:
    """A tensor that was reached."""

    __slots__ = ("locator", "path", "tensor")

    def __init__(self, tensor: Tensor, locator: tuple[Any, ...], path: str) -> None:
        self.tensor, self.locator, self.path = tensor, locator, path

    def belongs(self, tensor: Tensor) -> None:
        """Notes that an argument is part of the state too: it is the same tensor at every call."""
        if self.locator[0] == "argument":
            self.locator = ("fixed", tensor)


class Scan:
    """One walk. `dynamic` names the group entries that are numbers; `loose` the slots whose tensors come and go."""

    def __init__(
        self,
        function: Any,
        arguments: tuple[Any, dict[str, Any]],
        dynamic: frozenset[str],
        loose: set[tuple[int, Any]],
    ) -> None:
        self.tensors: list[Found] = []
        self.key: list[Any] = []
        self.structure: dict[str, Any] = {}
        self.state_paths: set[str] = set()  # of optimizers
        self.watches: list[Watch] = []
        self.slots: list[tuple[Any, Any, Tensor, str]] = []
        self.groups: list[dict[str, Any]] = []
        self.schedulers: list[Any] = []
        self.optimizers: list[Optimizer] = []
        self.arguments: list[Tensor] = []
        self._number: dict[int, int] = {}
        self._found: dict[int, Found] = {}
        self._seen: set[int] = set()
        self._kept: list[Any] = []
        self.dynamic, self._loose = dynamic, loose
        self._stack: list[tuple[Any, str, Any]] = []
        self.function = function
        self._argument(arguments[0], "argument ")
        self._argument(arguments[1], "argument ")
        self._run([(function, getattr(function, "__name__", "function"), None)])
        for tensor in self.arguments:
            if tensor._base is not None and id(tensor._base) in self._found:
                self.key.append(("view", self._number[id(tensor._base)], repr(tensor._steps)))
        self.hashed = tuple(self.key)

    def undo(self) -> None:
        """Puts back what all containers held when the walk passed them."""
        for watch in self.watches:
            watch.undo()

    def settle(self) -> None:
        """Forgets what was only needed to undo."""
        for watch in self.watches:
            watch.before = None
        self._kept.clear()
        self.slots.clear()

    # -- arguments -----------------------------------------------------------------------------------------

    def _argument(self, value: Any, path: str) -> None:
        """Arguments: tensors by their place among all tensors, constants by value, objects as state."""
        if isinstance(value, Tensor):
            self.key.append(("argument", path))
            place = len(self.arguments)
            self.arguments.append(value)
            self._tensor(value, ("argument", place), path)
            self._finish_stack()
        elif isinstance(value, (list, tuple)):
            self.key.append((type(value), len(value)))
            for i, item in enumerate(value):
                self._argument(item, f"{path}{i}")
        elif isinstance(value, dict) and type(value) in (dict,):
            self.key.append(("dict", tuple(value)))
            for k, item in value.items():
                self._argument(item, f"{path}{k}")
        else:
            self._run([(value, path, None)])

    # -- walking -------------------------------------------------------------------------------------------

    def _run(self, todo: list[tuple[Any, str, Any]]) -> None:
        self._stack += reversed(todo)
        self._finish_stack()

    def _finish_stack(self) -> None:
        while self._stack:
            self._visit(*self._stack.pop())

    def _push(self, items: Iterator[tuple[Any, str, Any]]) -> None:
        self._stack += reversed(list(items))

    def _visit(self, value: Any, path: str, locator: Any) -> None:
        if isinstance(value, Tensor):
            self._tensor(value, locator or ("fixed", value), path)
            return
        if isinstance(value, CONSTANTS):
            self.key.append((type(value), value if value == value else "nan"))
            self.structure[path] = repr(value)
            return
        if id(value) in self._seen:
            self.key.append(("again", self._number.setdefault(id(value), len(self._number))))
            return
        self._seen.add(id(value))
        self._kept.append(value)
        self._number.setdefault(id(value), len(self._number))
        self.key.append(type(value))
        if isinstance(value, Module):
            self._attributes(value, path)
            if _is_user_class(type(value)):
                self._methods(type(value), path)
        elif isinstance(value, Optimizer):
            self._optimizer(value, path)
        elif isinstance(value, LRScheduler):
            self.schedulers.append(value)
            self._push(iter([(value.optimizer, path + ".optimizer", None)]))
        elif isinstance(value, dict):
            self._dict(value, path, value)
        elif isinstance(value, (list, tuple)) or type(value).__name__ == "deque":
            self._sequence(value, path)
        elif isinstance(value, (set, frozenset)):
            self.key.append(len(value))
            self.structure[path] = len(value)
        elif isinstance(value, functools.partial):
            self._push(
                iter(
                    [
                        (value.func, path, None),
                        (value.args, path, None),
                        (value.keywords, path, None),
                    ]
                )
            )
        elif isinstance(value, types.MethodType):
            self._push(iter([(value.__func__, path, None), (value.__self__, path, None)]))
        elif isinstance(value, types.FunctionType):
            if is_user_function(value) or value.__closure__:
                self._function(value, path)
            else:
                self.key.append(id(value))
        elif isinstance(
            value, (type, types.ModuleType, types.BuiltinFunctionType, Generator, np.ndarray)
        ):
            self.key.append(id(value))
        elif hasattr(value, "__dict__") and _is_user_class(type(value)):
            self._attributes(value, path)
            self._methods(type(value), path)
        else:
            self.key.append(id(value))

    def _tensor(self, tensor: Tensor, locator: tuple[Any, ...], path: str) -> None:
        known = self._number.get(id(tensor))
        if known is not None and id(tensor) in self._seen:
            self.key.append(("tensor again", known))
            if locator[0] != "argument":
                self._found[id(tensor)].belongs(tensor)
            return
        self._seen.add(id(tensor))
        self._kept.append(tensor)
        number = self._number[id(tensor)] = len(self._number)
        found = self._found[id(tensor)] = Found(tensor, locator, path)
        self.tensors.append(found)
        array = tensor._array
        grad = tensor._grad
        self.key.append(
            (number, array.shape, array.dtype, tensor._requires_grad, tensor._grad_fn is None, grad is None,
             array.flags.c_contiguous)
        )  # fmt: skip
        if tensor._base is not None and locator[0] != "argument":
            self._push(iter([(tensor._base, path + "._base", None)]))
        if grad is not None:
            self._tensor(grad, ("grad", len(self.tensors) - 1), path + ".grad")

    def _dict(
        self,
        value: dict[Any, Any],
        path: str,
        container: Any,
        dynamic: frozenset[str] = frozenset(),
    ) -> None:
        keys, values = [], []
        self.structure[path] = tuple(k if isinstance(k, (str, int)) else "key" for k in value)
        self.key.append(
            tuple(k if isinstance(k, CONSTANTS) else self._number.get(id(k), "key") for k in value)
        )
        for k, item in value.items():
            if k in dynamic if isinstance(k, str) else False:
                continue
            if (
                not isinstance(item, Tensor)
                or (id(container), k if isinstance(k, CONSTANTS) else id(k)) not in self._loose
            ):
                keys.append(k)
                values.append(item)
        self.watches.append(Watch(container, tuple(keys), tuple(values), len(value)))
        self._push(self._entries(value, path, container, dynamic))

    def _entries(
        self, value: dict[Any, Any], path: str, container: Any, dynamic: frozenset[str]
    ) -> Iterator[tuple[Any, str, Any]]:
        for k, item in value.items():
            if isinstance(k, str) and k in dynamic:
                continue
            name = f"{path}[{k!r}]" if isinstance(k, (str, int)) else f"{path}[...]"
            if isinstance(item, Tensor):
                self.slots.append((container, k, item, name))
                loose = (id(container), k if isinstance(k, CONSTANTS) else id(k)) in self._loose
                yield item, name, ("slot", container, k) if loose else None
            else:
                yield item, name, None

    def _sequence(self, value: Any, path: str) -> None:
        self.key.append(len(value))
        self.structure[path] = len(value)
        kept = isinstance(value, tuple)
        if not kept and not any((id(value), i) in self._loose for i in range(len(value))):
            self.watches.append(Watch(value, None, tuple(value), len(value)))

        def entries() -> Iterator[tuple[Any, str, Any]]:
            for i, item in enumerate(value):
                name = f"{path}[{i}]"
                if isinstance(item, Tensor) and isinstance(value, list):
                    self.slots.append((value, i, item, name))
                    yield item, name, ("slot", value, i) if (id(value), i) in self._loose else None
                else:
                    yield item, name, None

        self._push(entries())

    def _attributes(self, value: Any, path: str) -> None:
        self._dict(vars(value), path, vars(value))

    def _optimizer(self, value: Optimizer, path: str) -> None:
        self.optimizers.append(value)
        hooks = {k: v for k, v in vars(value).items() if k.startswith("_optimizer_")}
        self.watches.append(
            Watch(value.param_groups, None, tuple(value.param_groups), len(value.param_groups))
        )
        for i, group in enumerate(value.param_groups):
            self.groups.append(group)
            self._dict(group, f"{path}.param_groups[{i}]", group, self.dynamic)
            self._finish_numbers(group)
        for hook in hooks.values():
            if hook:
                self._stack.append((hook, path + ".hooks", None))
        self.watches.append(Watch(vars(value), ("state",), (value.state,), len(vars(value))))
        self._dict(value.state, path + ".state", value.state)
        self.state_paths.add(path + ".state")

    def _finish_numbers(self, group: dict[str, Any]) -> None:
        for k in sorted(self.dynamic):
            if k in group:
                item = group[k]
                self.key.append((k, type(item), isinstance(item, Tensor)))
                if isinstance(item, Tensor):
                    self._stack.append((item, f"group[{k!r}]", None))

    def _function(self, value: types.FunctionType, path: str) -> None:
        names = value.__code__.co_freevars
        for name, cell in zip(names, value.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            self.watches.append(Watch(cell, None, (content,), 1))
            self._stack.append((content, name, None))
        self._stack.append((value.__defaults__ or (), path + " defaults", None))
        self._stack.append((value.__kwdefaults__ or {}, path + " defaults", None))
        self.key.append(value.__code__)
        space = value.__globals__
        used = [n for n in _names(value.__code__) if n in space]
        watched = []
        for name in used:
            content = space[name]
            if isinstance(content, types.ModuleType) or content is value:
                continue
            watched.append(name)
            self._stack.append((content, name, None))
        if watched:
            self.watches.append(Globals(space, tuple(watched), tuple(space[n] for n in watched)))

    def _methods(self, kind: type, path: str) -> None:
        for base in kind.__mro__[:-1]:
            for name, member in vars(base).items():
                if is_user_function(member) and member not in self._kept:
                    self._stack.append((member, f"{path}.{name}", None))


class Globals(Watch):
    """Names of a module's namespace, which may grow and shrink otherwise."""

    __slots__ = ()

    def __init__(self, container: Any, keys: tuple[Any, ...], values: tuple[Any, ...]) -> None:
        self.container, self.keys, self.values, self.size, self.before = (
            container,
            keys,
            values,
            0,
            None,
        )

    def same(self) -> bool:
        """Whether the names still mean the same objects."""
        return all(map(is_, map(self.container.get, self.keys or ()), self.values))

    def undo(self) -> None:
        """Gives the names their objects again."""
        self.container.update(zip(self.keys or (), self.values, strict=True))


def _names(code: types.CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant)
    return names
