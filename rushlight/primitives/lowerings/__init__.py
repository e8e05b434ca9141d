"""How primitives become kernels: one file for each family, loaded when something is first compiled. See README.md."""

from __future__ import annotations

import importlib
import pkgutil


def load_all() -> None:
    """Loads every family: each hands its lowerings to the primitives."""
    for found in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{found.name}")
