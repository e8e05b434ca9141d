"""Who watches what runs: nobody, unless a profiler or a counter of operations is on.

Every place that is worth seeing (the call of an op, a node of backward, an optimizer's step, a loader's next batch, a
compiled program) asks one attribute, `watch.on`. While it is False nothing else is done; that is all that looking
inside costs a program that nobody looks into (benchmarks/op_overhead.py). While it is True, observers are told when
the call begins and when it ends.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

#: What is observed: the call of an op, a node of backward, the call of a user's Function, anything else with a name.
OP, NODE, FUNCTION, REGION = range(4)


class Observer(Protocol):
    """What an observer offers. Calls nest; each thread has its own."""

    def begin(self, kind: int, subject: Any, args: Any, kwargs: Any) -> Any:
        """A call begins: of an op (`subject` is its function), a node (given `args`), else of what has a name."""
        ...

    def end(self, token: Any, result: Any) -> None:
        """It has ended; `token` is what `begin` gave, `result` None after an exception."""
        ...

    def ran(self, executable: Any, figures: Any) -> None:
        """A compiled program has run with the clock on; the figures of its kernels are compiler.profile's."""
        ...


class _Watch:
    """The switch, and the observers."""

    __slots__ = ("observers", "on")

    def __init__(self) -> None:
        self.on = False
        self.observers: tuple[Observer, ...] = ()

    def add(self, observer: Observer) -> None:
        """From now on this observer is told."""
        self.observers += (observer,)
        self.on = True

    def remove(self, observer: Observer) -> None:
        """From now on it is not."""
        self.observers = tuple(o for o in self.observers if o is not observer)
        self.on = bool(self.observers)

    def clear(self) -> None:
        """Nobody watches any more: in a forked child, whose parent does the looking."""
        self.observers, self.on = (), False


watch = _Watch()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=watch.clear)


class _Thread(threading.local):
    """The function that `observed` is about to call: that call is seen already."""

    seen: Any = None


_thread = _Thread()


def unseen(function: Any) -> bool:
    """Whether this call is to be handed to `observed`: not if it comes from there."""
    if _thread.seen is function:
        _thread.seen = None
        return False
    return True


def observed(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Makes the call of an op's function, and tells the observers."""
    begun = [(o, o.begin(OP, function, args, kwargs)) for o in watch.observers]
    result = None
    _thread.seen = function
    try:
        result = function(*args, **kwargs)
        return result
    finally:
        _thread.seen = None
        for observer, token in begun[::-1]:
            observer.end(token, result)


def observed_as(
    kind: int, subject: Any, seen: Any, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Makes a call that observers know as `subject`; of its arguments they see `seen`."""
    begun = [(o, o.begin(kind, subject, seen, {})) for o in watch.observers]
    result = None
    try:
        result = function(*args, **kwargs)
        return result
    finally:
        for observer, token in reversed(begun):
            observer.end(token, result)


def seen_as(name: Callable[[Any], str]) -> Callable[[F], F]:
    """For a method that is called once a step: while somebody watches, it is seen as the region `name(self)`."""

    def decorate(method: F) -> F:
        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if watch.on:
                return observed_as(REGION, name(self), (), method, self, *args, **kwargs)
            return method(self, *args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate


__all__ = [
    "NODE",
    "OP",
    "REGION",
    "Observer",
    "observed",
    "observed_as",
    "seen_as",
    "unseen",
    "watch",
]
