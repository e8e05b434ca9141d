"""Something to do once another library has been imported, whoever imports it, and without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


def when_imported(name: str, act: Callable[[], None]) -> None:
    """Calls `act` once the top-level module `name` is there: now, or right after its import.

    Where nobody imports it, nothing happens and nothing is paid.
    """
    if name in sys.modules:
        act()
    else:
        sys.meta_path.insert(0, _Waiting(name, act))


class _Waiting:
    """A finder that finds nothing itself; it notices the one import it waits for, and goes."""

    def __init__(self, name: str, act: Callable[[], None]) -> None:
        self._name = name
        self._act = act

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> Any:
        """None, but for the module that is waited for: how all others find it."""
        if name != self._name:
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is None or spec.loader is None:
            sys.meta_path.insert(0, self)
            return None
        loader: Any = spec.loader
        execute = loader.exec_module
        another_waits = "exec_module" in vars(loader)

        def exec_module(module: ModuleType) -> None:
            if another_waits:
                loader.exec_module = execute
            else:
                del loader.exec_module  # the loader is its own again
            execute(module)
            self._act()

        loader.exec_module = exec_module
        return spec
