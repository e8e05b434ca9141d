"""What a machine has built, looked at before the user gets it."""

from __future__ import annotations

import argparse
import types
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

from rushlight.serialization.constructors import Constructor
from rushlight.serialization.errors import UnpicklingError
from rushlight.serialization.storages import StorageType

#: How deeply containers may stand in each other.
DEEPEST = 1000

#: The kinds of dicts that a file can build.
DICTS = (dict, OrderedDict, Counter, defaultdict)


def _children(value: Any) -> Any:
    kind = type(value)
    if kind in (list, tuple, set, frozenset, deque):
        return value
    if kind in DICTS:
        attributes = vars(value).values() if kind is OrderedDict else ()
        return (*value.keys(), *value.values(), *attributes)
    if kind in (argparse.Namespace, types.SimpleNamespace):
        return vars(value).values()
    return ()


def check_finished(result: Any) -> None:
    """UnpicklingError where containers stand too deeply in each other, or a name was left as data.

    Goes level by level: an object's level is the shortest way to it, and every one is seen once.
    """
    seen: set[int] = set()
    level = [result]
    for _ in range(DEEPEST + 1):
        below = []
        for value in level:
            if type(value) in (Constructor, StorageType):
                raise UnpicklingError(
                    f"the file holds {value.name} itself as a value, which nothing in a checkpoint "
                    "needs"
                )
            if id(value) not in seen:
                children = _children(value)
                if len(children):
                    seen.add(id(value))
                    below.extend(children)
        if not below:
            return
        level = below
    raise UnpicklingError(f"containers stand more than {DEEPEST} levels deep in each other")
