"""What is on in this thread: recording of gradients, inference mode, anomaly mode; and their context managers."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any


class State(threading.local):
    """The switches of one thread. Class attributes are what a new thread starts with."""

    grad_enabled: bool = True
    inference: bool = False
    #: True while gradient formulas run on bare arrays: ops then take and give arrays.
    bare: bool = False
    #: The modules whose forward is running, innermost first: (module, outer scope) or None.
    scope: Any = None


state = State()

# Anomaly mode is one switch for the process, as in PyTorch.
anomaly = {"enabled": False, "check_nan": True}


class _Switch:
    """A context manager that is a decorator too, for functions, generators and classes' methods."""

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import inspect

        if inspect.isclass(function):
            raise TypeError(f"{type(self).__name__} can't decorate a class; decorate its methods")
        if inspect.isgeneratorfunction(function):
            return self._wrap_generator(function)

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return function(*args, **kwargs)

        return inside

    def _wrap_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            sent: Any = None
            try:
                while True:
                    with self.clone():
                        try:
                            value = generator.send(sent)
                        except StopIteration as stop:
                            return stop.value
                    try:
                        sent = yield value
                    except GeneratorExit:
                        raise
                    except (
                        BaseException
                    ) as error:  # the caller threw into the generator: pass it on
                        with self.clone():
                            value = generator.throw(error)
                        sent = yield value
            finally:
                generator.close()

        return inside

    def clone(self) -> Any:
        """A fresh manager with the same setting."""
        return type(self)()

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, *exc: object) -> None:
        raise NotImplementedError


class no_grad(_Switch):
    """Nothing computed inside is recorded for backward.

    >>> import rushlight
    >>> x = rushlight.ones(2, requires_grad=True)
    >>> with rushlight.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    _value = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = object.__new__(cls)
        return self if function is None else self(function)

    def __enter__(self) -> None:
        self._before = state.grad_enabled
        state.grad_enabled = self._value

    def __exit__(self, *exc: object) -> None:
        state.grad_enabled = self._before


class enable_grad(no_grad):
    """What is computed inside is recorded again, also within `no_grad`."""

    _value = True


class set_grad_enabled(_Switch):
    """Turns recording on or off, at once and until the end of a `with`."""

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self._before = state.grad_enabled
        state.grad_enabled = self.mode

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        state.grad_enabled = self._before
        return super().__call__(function)

    def clone(self) -> set_grad_enabled:
        return type(self)(self.mode)

    def __enter__(self) -> None:
        state.grad_enabled = self.mode

    def __exit__(self, *exc: object) -> None:
        state.grad_enabled = self._before


class inference_mode(_Switch):
    """`no_grad`, and what is made inside can never take part in autograd later."""

    def __new__(cls, mode: Any = True) -> Any:
        self = object.__new__(cls)
        if callable(mode) and not isinstance(mode, bool):
            self.mode = True
            return self(mode)
        return self

    def __init__(self, mode: bool = True) -> None:
        self.mode = bool(mode)

    def clone(self) -> inference_mode:
        return type(self)(self.mode)

    def __enter__(self) -> None:
        self._before = state.grad_enabled, state.inference
        if self.mode:
            state.grad_enabled = False
        else:
            state.grad_enabled = True
        state.inference = self.mode

    def __exit__(self, *exc: object) -> None:
        state.grad_enabled, state.inference = self._before


class detect_anomaly:
    """Backward raises where a gradient becomes NaN, naming the forward's line.

    The lines are kept with every node anyway, so this costs only the look for NaNs.
    """

    _value = True

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan

    def __enter__(self) -> None:
        self._before = dict(anomaly)
        anomaly.update(enabled=self._value, check_nan=self.check_nan)

    def __exit__(self, *exc: object) -> None:
        anomaly.update(self._before)


class set_detect_anomaly(detect_anomaly):
    """Turns anomaly mode on or off, at once and until the end of a `with`."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__(check_nan)
        self._before = dict(anomaly)
        self._value = bool(mode)
        anomaly.update(enabled=self._value, check_nan=check_nan)

    def __enter__(self) -> None:
        anomaly.update(enabled=self._value, check_nan=self.check_nan)


def is_grad_enabled() -> bool:
    """Whether ops are being recorded in this thread."""
    return state.grad_enabled


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on in this thread."""
    return state.inference


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return bool(anomaly["enabled"])
