"""`Guards`: whether a program still fits the state it was traced with, asked before every call.

Everything is compared by identity with what it was. A difference is no mistake: then the state is walked again, and a
program found or made for it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

from rushlight.autograd.modes import state as modes
from rushlight.capture.identity import Snapshot
from rushlight.capture.state import Globals, Scan, Watch
from rushlight.core import dtypes

Kind = tuple[Any, ...]


def mode_of_now() -> Kind:
    """The switches that decide how a function is traced."""
    return modes.grad_enabled, modes.inference, dtypes.get_default_dtype()


def kind_of(array: Any) -> Kind:
    """What kernels depend on of an array."""
    return array.shape, array.dtype


class Guards:
    """The conditions of one program. `conditions` are comparisons of numbers whose answers the trace used."""

    def __init__(self, scan: Scan, conditions: Sequence[Callable[[], bool]]) -> None:
        self._mode = mode_of_now()
        self._conditions = conditions
        self.adopt(scan)

    def adopt(self, scan: Scan) -> None:
        """Takes the tensors and containers of a walk that came out the same."""
        #: Tensors that are the same objects at every call, and the arrays they had when they were last looked at.
        self.tensors = [f.tensor for f in scan.tensors if f.locator[0] == "fixed"]
        self.arrays = [t._array for t in self.tensors]
        self._kinds = [kind_of(a) for a in self.arrays]
        self._flags = [t._requires_grad for t in self.tensors]
        self._gradless = [t._grad is None for t in self.tensors]
        #: Numbers that may change from call to call, as (group, key); the list of their values is replaced then.
        self._numbers = [(g, k) for g in scan.groups for k in scan.dynamic if k in g]
        self.numbers = self._numbers_of_now()
        groups = {id(g) for g in scan.groups}
        whole: list[Any] = []  # containers all of whose entries count
        partial: list[Any] = []  # groups: all entries but the numbers
        self._empty: list[Any] = []
        self._sized: list[Any] = []
        self._entries = Entries()
        self._group_entries = Entries()
        for watch in scan.watches:
            container, keys = watch.container, watch.keys
            if isinstance(watch, Globals):
                self._entries.add(watch)
            elif isinstance(container, types.CellType) or (keys is None and watch.size):
                whole.append(container)
            elif not watch.size:
                self._empty.append(container)
            elif len(keys or ()) == watch.size:
                whole.append(container)
            elif id(container) in groups:
                partial.append(container)
                self._group_entries.add(watch)
            else:
                self._sized.append(container)
                self._entries.add(watch)
        self._sizes = [len(c) for c in self._sized]
        self._state = Snapshot(whole)
        self._all = Snapshot([*whole, *partial, *map(vars, self.tensors)])

    def _numbers_of_now(self) -> list[Any]:
        return [group.get(key) for group, key in self._numbers]

    def hold(self) -> bool:
        """Whether nothing that the trace depended on has changed, as far as identity tells."""
        return (
            mode_of_now() == self._mode
            and not any(self._empty)
            and [len(c) for c in self._sized] == self._sizes
            and self._entries.same()
            and (self._all.same() or self._changed_but_fits())
        )

    def _changed_but_fits(self) -> bool:
        """Whether what has changed (numbers, arrays, gradients) is still what the program takes."""
        tensors = self.tensors
        if (
            not self._state.same()
            or not self._group_entries.same()
            or [t._requires_grad for t in tensors] != self._flags
            or [t._grad is None for t in tensors] != self._gradless
        ):
            return False
        arrays = [t._array for t in tensors]
        if not all(map(is_, arrays, self.arrays)):
            if [kind_of(a) for a in arrays] != self._kinds:
                return False
            self.arrays = arrays
        numbers = self._numbers_of_now()
        if not all(map(is_, numbers, self.numbers)):
            self.numbers = numbers
        if not all(holds() for holds in self._conditions):
            return False
        self._all.renew()
        return True


class Entries:
    """Single entries of dicts, and what they were."""

    def __init__(self) -> None:
        self._places: list[tuple[Callable[[Any], Any], Any]] = []  # (get, key)
        self._values: list[Any] = []

    def add(self, watch: Watch) -> None:
        """Takes the entries that a watch names."""
        if isinstance(watch.container, dict):
            self._places += [(watch.container.get, key) for key in watch.keys or ()]
            self._values += watch.values

    def same(self) -> bool:
        """Whether they are the same objects."""
        return all(map(is_, [get(key) for get, key in self._places], self._values))
