"""What registering a hook answers with: a handle that takes it off again."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

_ids = itertools.count()


class RemovableHandle:
    """Takes a hook off again: `handle.remove()`, or at the end of a `with`."""

    def __init__(self, hooks: dict[int, Any], *, extra_dict: Any = None) -> None:
        self.id = next(_ids)
        self._hooks = _Weak(hooks)
        self._extra = [
            _Weak(d)
            for d in (extra_dict if isinstance(extra_dict, list) else [extra_dict])
            if d is not None
        ]

    @classmethod
    def add(cls, hooks: dict[int, Any], hook: Callable[..., Any]) -> RemovableHandle:
        """Adds `hook` at the end of `hooks`."""
        if not callable(hook):
            raise TypeError(f"a hook must be callable, not {type(hook).__name__}")
        handle = cls(hooks)
        hooks[handle.id] = hook
        return handle

    def remove(self) -> None:
        """Takes the hook off; a second call does nothing."""
        for held in (self._hooks, *self._extra):
            hooks = held()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class _Weak:
    """A weak reference where the container allows one (OrderedDict does, dict does not)."""

    __slots__ = ("_get",)

    def __init__(self, target: Any) -> None:
        try:
            self._get: Callable[[], Any] = weakref.ref(target)
        except TypeError:
            self._get = lambda: target

    def __call__(self) -> Any:
        return self._get()
