"""Which files declare ops, and when they are loaded.

A family is any file of this folder that declares ops: there is no list to enter a new one in. Those imported here are
loaded with the package (do not add to them: an import should take 0.1 s). For the others `names.py`, which
tools/make_stubs.py writes, says which public names they declare; such a file is loaded when one of them is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from rushlight.ops import (
    arithmetic,
    comparison,
    conversion,
    creation,
    indexing,
    links,
    names,
    random,
    strided,
)
from rushlight.ops.declare import FUNCTIONS, OPS, Op
from rushlight.ops.tape import slots


def load(family: str) -> None:
    """Loads one family, and what it imports."""
    importlib.import_module("rushlight.ops." + family)


def load_all() -> None:
    """Loads every family: OPS and FUNCTIONS are complete then."""
    import pkgutil

    import rushlight.ops

    for found in pkgutil.iter_modules(rushlight.ops.__path__):
        load(found.name)


def function(name: str) -> Any:
    """What users call, by the name of its declaration; KeyError where there is none."""
    if name not in FUNCTIONS and name in names.FUNCTIONS:
        load(names.FUNCTIONS[name])
    if name not in FUNCTIONS:
        load_all()
    return FUNCTIONS[name]


def find(qualified_name: str) -> Op:
    """The declaration of this name, as 'linalg.svd'."""
    if qualified_name not in OPS:
        load_all()
    return OPS[qualified_name]


slots.find_op, slots.function = find, function

__all__ = [
    "arithmetic",
    "comparison",
    "conversion",
    "creation",
    "find",
    "function",
    "indexing",
    "links",
    "load",
    "load_all",
    "random",
    "strided",
]
