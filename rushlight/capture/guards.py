"""`Guards`: whether a program still fits the state it was traced with, asked before every call.

Everything is compared by identity with what it was, in flat lists that C loops work through: some ten nanoseconds an
object. A difference is no mistake: then the state is walked again, and a program found or made for it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import is_
from typing import Any

from rushlight.autograd.modes import state as modes
from rushlight.capture.state import Globals, Scan, Watch
from rushlight.core import dtypes

Kind = tuple[Any, ...]


def mode_of_now() -> Kind:
    """The switches that decide how a function is traced."""
    return modes.grad_enabled, modes.inference, dtypes.get_default_dtype()


def kind_of(array: Any) -> Kind:
    """What kernels depend on of an array."""
    return array.shape, array.dtype


class Watched:
    """What all watched containers held, laid out by the way in which it is looked at."""

    def __init__(self, watches: Iterable[Watch]) -> None:
        self._empty: list[Any] = []  # containers that hold nothing
        self._sized: list[Any] = []  # containers whose size counts
        self._whole: list[
            Iterable[Any]
        ] = []  # containers (or values of dicts) all of whose entries count
        self._cells: list[types.CellType] = []
        self._entries: list[tuple[Callable[[Any], Any], Any]] = []  # (get, key) of single entries
        whole: list[Any] = []
        cells: list[Any] = []
        entries: list[Any] = []
        for watch in watches:
            container, keys, values = watch.container, watch.keys, watch.values
            if isinstance(container, types.CellType):
                self._cells.append(container)
                cells.append(values[0])
                continue
            if not isinstance(watch, Globals):
                (self._sized if watch.size else self._empty).append(container)
            if keys is None:
                self._whole.append(container)
                whole += values
            elif isinstance(container, dict):
                if len(keys) == watch.size:
                    self._whole.append(container.values())
                    whole += values
                else:
                    self._entries += [(container.get, k) for k in keys]
                    entries += values
        self._sizes = [len(c) for c in self._sized]
        self._values = [*whole, *cells, *entries]

    def same(self) -> bool:
        """Whether all of it is still there."""
        if any(self._empty) or list(map(len, self._sized)) != self._sizes:
            return False
        try:
            cells = [cell.cell_contents for cell in self._cells]
        except ValueError:  # a variable that was deleted
            return False
        entries = [get(key) for get, key in self._entries]
        return all(map(is_, chain(*self._whole, cells, entries), self._values))


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
        self._watched = Watched(scan.watches)

    def hold(self) -> bool:
        """Whether nothing that the trace depended on has changed, as far as identity tells."""
        tensors = self.tensors
        if (
            mode_of_now() != self._mode
            or [t._requires_grad for t in tensors] != self._flags
            or [t._grad is None for t in tensors] != self._gradless
            or not self._watched.same()
        ):
            return False
        arrays = [t._array for t in tensors]
        if not all(map(is_, arrays, self.arrays)):
            if [kind_of(a) for a in arrays] != self._kinds:
                return False
            self.arrays = arrays
        return self.conditions_hold()

    def conditions_hold(self) -> bool:
        """Whether comparisons of numbers come out as they did."""
        return not self._conditions or all(condition() for condition in self._conditions)
