"""Modules that hold modules: Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from itertools import groupby
from typing import Any, TypeVar

from rushlight.nn.module import Module, _indent

S = TypeVar("S", bound="Sequential")
L = TypeVar("L", bound="ModuleList")


def absolute(index: Any, length: int) -> int:
    """A place in a list, counted from the front; IndexError outside, TypeError for what is no integer."""
    place: int = index.__index__() if hasattr(index, "__index__") else _no_integer(index)
    if not -length <= place < length:
        raise IndexError(f"index {place} is out of range: there are {length}")
    return place % length


def _no_integer(index: Any) -> int:
    raise TypeError(f"'{type(index).__name__}' object cannot be interpreted as an integer")


def check_pairs(given: Any, kind: str) -> None:
    """TypeError or ValueError unless `given` can update a dict: a mapping, or pairs."""
    if not isinstance(given, Iterable):
        raise TypeError(
            f"{kind}.update should be called with an iterable of key/value pairs, but got {type(given).__name__}"
        )


def check_pair(pair: Any, place: int, kind: str) -> None:
    """TypeError or ValueError unless `pair` is a key and a value."""
    if not isinstance(pair, Iterable):
        raise TypeError(
            f"{kind} update sequence element #{place} should be Iterable; is {type(pair).__name__}"
        )
    if len(list(pair)) != 2:
        raise ValueError(
            f"{kind} update sequence element #{place} has length {len(list(pair))}; 2 is required"
        )


class _Listed(Module):
    """What the two lists share: places, slices, deletion with renumbering."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def _name_at(self, index: Any) -> str:
        return list(self._modules)[absolute(index, len(self))]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name_at(index), module)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)[index] if isinstance(index, slice) else [self._name_at(index)]
        for name in names:
            delattr(self, name)
        self._renumber(list(self._modules.values()))

    def _renumber(self, modules: list[Any]) -> None:
        self._modules.clear()
        self._modules.update((str(i), m) for i, m in enumerate(modules))

    def pop(self, key: int | slice) -> Any:
        """Removes the module at that place, and gives it."""
        module = self[key]  # type: ignore[index]
        del self[key]
        return module


class Sequential(_Listed):
    """Calls its modules one after the other, each with the result of the one before.

    Arguments: modules, or one dict of names and modules.

    >>> import rushlight
    >>> net = rushlight.nn.Sequential(rushlight.nn.Linear(4, 2), rushlight.nn.ReLU())
    >>> net(rushlight.ones(3, 4)).shape
    torch.Size([3, 2])
    >>> net
    Sequential(
      (0): Linear(in_features=4, out_features=2, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], dict):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            for i, module in enumerate(args):
                self.add_module(str(i), module)

    def forward(self, input: Any) -> Any:
        """The result of the last module."""
        for module in self._modules.values():
            input = module(input)  # type: ignore[misc]
        return input

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.__class__(dict(list(self._modules.items())[index]))
        return self._modules[self._name_at(index)]

    def __add__(self, other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(
                f"add operator supports only objects of Sequential class, but {type(other)} is given."
            )
        return Sequential(*self, *other)

    def __iadd__(self: S, other: Any) -> S:
        if not isinstance(other, Sequential):
            raise ValueError(
                f"add operator supports only objects of Sequential class, but {type(other)} is given."
            )
        return self.extend(list(other))

    def _times(self, other: Any) -> int:
        if not isinstance(other, int):
            raise TypeError(f"unsupported operand type(s) for *: {type(self)} and {type(other)}")
        if other <= 0:
            raise ValueError(f"Non-positive multiplication factor {other} for {type(self)}")
        return other

    def __mul__(self, other: int) -> Sequential:
        return Sequential(*(m for _ in range(self._times(other)) for m in self))

    __rmul__ = __mul__

    def __imul__(self: S, other: int) -> S:
        own = list(self)
        for _ in range(self._times(other) - 1):
            self.extend(own)
        return self

    def append(self: S, module: Module) -> S:
        """Adds a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def insert(self: S, index: int, module: Module) -> S:
        """Puts a module before the one at `index`; IndexError outside, AssertionError for what is no module."""
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}, not {type(module)}")
        count = len(self)
        if not -count <= index <= count:
            raise IndexError(f"Index out of range: {index}")
        modules = list(self)
        modules.insert(index + count if index < 0 else index, module)
        self._renumber(modules)
        return self

    def extend(self: S, sequential: Iterable[Module]) -> S:
        """Adds several modules at the end."""
        for module in list(sequential):
            self.append(module)
        return self


class ModuleList(_Listed):
    """A list of modules whose parameters are the module's.

    >>> from rushlight import nn
    >>> nn.ModuleList(nn.Linear(10, 10) for _ in range(3))
    ModuleList(
      (0-2): 3 x Linear(in_features=10, out_features=10, bias=True)
    )
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.__class__(list(self._modules.values())[index])  # type: ignore[arg-type]
        return self._modules[self._name_at(index)]

    def __iadd__(self: L, modules: Iterable[Module]) -> L:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        """As every module's, but equal neighbours are one line: `(0-2): 3 x Linear(...)`."""
        lines = [repr(m) for m in self]
        if not lines:
            return self._get_name() + "()"
        shown, start = [], 0
        for text, group in groupby(lines):
            count = len(list(group))
            if count == 1:
                shown.append(f"({start}): {_indent(text)}")
            else:
                shown.append(f"({start}-{start + count - 1}): {count} x {_indent(text)}")
            start += count
        return self._get_name() + "(\n  " + "\n  ".join(shown) + "\n)"

    def append(self: L, module: Module) -> L:
        """Adds a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Puts a module before the one at `index`, as list.insert does."""
        modules = list(self)
        modules.insert(index, module)
        if not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._renumber(modules)

    def extend(self: L, modules: Iterable[Module]) -> L:
        """Adds several modules at the end; TypeError for what can't be iterated over."""
        if not isinstance(modules, Iterable):
            raise TypeError(
                f"ModuleList.extend should be called with an iterable, but got {type(modules).__name__}"
            )
        for module in list(modules):
            self.append(module)
        return self


class ModuleDict(Module):
    """A dict of modules whose parameters are the module's; it keeps the order of insertion."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Removes all."""
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Removes the module of that name, and gives it."""
        return self._modules.pop(key)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules.keys()

    def items(self) -> ItemsView[str, Any]:
        """Names and modules."""
        return self._modules.items()

    def values(self) -> ValuesView[Any]:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Adds or replaces modules: from a mapping, or from pairs of name and module."""
        check_pairs(modules, "ModuleDict")
        if isinstance(modules, (Mapping, ModuleDict)):
            for name, module in modules.items():
                self[name] = module
            return
        for i, pair in enumerate(modules):
            check_pair(pair, i, "ModuleDict")
            name, module = pair
            self[name] = module


__all__ = ["ModuleDict", "ModuleList", "Sequential"]
