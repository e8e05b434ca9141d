"""`record_function`: a name for a part of a program, in tables and traces."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rushlight.core.watch import REGION, watch


class record_function:
    """What runs in `with record_function(name):` is shown under that name; it also decorates functions.

    While no profiler is on, it does nothing.

    >>> import rushlight
    >>> from rushlight.profiler import profile, record_function
    >>> with profile() as found:
    ...     with record_function("my part"):
    ...         y = rushlight.ones(3) + 1
    >>> [event.key for event in found.key_averages()]
    ['my part', 'aten::ones', 'aten::add']
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"record_function expects a name, not {type(name).__name__}")
        self.name, self.args = name, args
        self._begun: list[tuple[Any, Any]] = []

    def __enter__(self) -> record_function:
        if watch.on:
            self._begun = [(o, o.begin(REGION, self.name, (), {})) for o in watch.observers]
        return self

    def __exit__(self, *_: object) -> None:
        begun, self._begun = self._begun, []
        for observer, token in reversed(begun):
            observer.end(token, None)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)

        return inside


__all__ = ["record_function"]
