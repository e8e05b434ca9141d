"""Whether many objects are still the same, at a nanosecond or two each.

CPython keeps the addresses of a tuple's items side by side, behind its header, so that the items of two tuples can be
compared as bytes. Where that does not hold, ids are compared one by one.
"""

from __future__ import annotations

import gc
import struct
import sys
from collections.abc import Sequence
from ctypes import string_at
from typing import Any

_HEADER = tuple.__basicsize__
_WORD = struct.calcsize("P")


def _read(objects: tuple[Any, ...]) -> bytes:
    return string_at(id(objects) + _HEADER, _WORD * len(objects))


def _listed(objects: tuple[Any, ...]) -> bytes:
    return struct.pack(f"{len(objects)}P", *map(id, objects))


def _is_laid_out_so() -> bool:
    sample = (object(), None, 7, "text")
    return sys.implementation.name == "cpython" and _read(sample) == _listed(sample)


#: The identities of objects as bytes. They mean something while the objects live.
identities = _read if _is_laid_out_so() else _listed


class Snapshot:
    """All objects that some containers (dicts, lists, cells, ...) refer to, to be found again later."""

    __slots__ = ("_held", "_holders", "_identities")

    def __init__(self, holders: Sequence[Any]) -> None:
        self._holders = tuple(holders)
        self.renew()

    def renew(self) -> None:
        """Takes what the containers hold now."""
        self._held = tuple(
            gc.get_referents(*self._holders)
        )  # kept: a freed object's address may come back
        self._identities = identities(self._held)

    def same(self) -> bool:
        """Whether they hold the same objects, in the same order."""
        return identities(tuple(gc.get_referents(*self._holders))) == self._identities
