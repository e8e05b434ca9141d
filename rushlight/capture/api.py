"""`rushlight.compile`: functions, modules and whole training steps as native programs."""

from __future__ import annotations

import functools
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import numpy as np

from rushlight.autograd.modes import state as modes
from rushlight.backends.heap import give_back
from rushlight.capture import telling
from rushlight.capture.program import Program
from rushlight.capture.recorder import MovingNumbers, NewState, Unsuitable
from rushlight.capture.state import ALWAYS_NUMBERS, CONSTANTS, Scan, hyper_parameter
from rushlight.core import dtypes
from rushlight.core.flags import verbosity
from rushlight.core.sites import describe
from rushlight.core.watch import REGION, observed_as
from rushlight.nn.module import Module
from rushlight.primitives.interpreter import slot
from rushlight.tensor.tensor import Tensor

#: Programs that a function keeps; another one takes the place of the one that was called longest ago.
MOST_PROGRAMS = 128

#: Calls that may be eager because an optimizer makes state for a parameter; beyond, it makes some at every call.
MOST_NEW_STATES = 16

_all: Any = None
#: The counts of compiled functions that are gone.
_past = {"compiles": 0, "calls": 0, "eager_calls": 0}


def _add_to_past(stats: dict[str, Any]) -> None:
    for name in _past:
        _past[name] += stats[name]


def _registry() -> Any:
    global _all  # noqa: PLW0603 - made when first needed
    if _all is None:
        _all = WeakSet()
    return _all


def _unlock() -> None:
    """In a forked child no other thread is left that could release a lock."""
    for each in _registry():
        each._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


class Compiled:
    """A function that runs as a native program, one for each kind of arguments and state."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._programs: dict[Any, list[Program]] = {}  # by the kind of the arguments
        self._by_key: dict[Any, list[Program]] = {}
        self._dynamic = ALWAYS_NUMBERS
        self._loose: set[tuple[int, Any]] = set()
        self._lock = threading.RLock()
        self._optimizers: WeakSet[Any] = WeakSet()  # those that have been stepped
        self._last: Scan | None = None
        self._last_key: Any = None
        self._eager_reason: str | None = None
        self._new_states = 0
        #: Wakes the threads that will share a program, while a call is still being prepared.
        self._nudge: Callable[[], None] | None = None
        self._stats: dict[str, Any] = {"compiles": 0, "calls": 0, "eager_calls": 0, "reasons": []}
        self.graph: Any = None
        _registry().add(self)
        weakref.finalize(self, _add_to_past, self._stats).atexit = False

    def __repr__(self) -> str:
        return f"<compiled {self.name}>"

    @property
    def name(self) -> str:
        """The function's name and where it is written, for people."""
        name = str(getattr(self.function, "__qualname__", type(self.function).__qualname__))
        code = getattr(self.function, "__code__", None)
        where = "" if code is None else f" ({describe((code, 0))})"
        return name.rpartition("<locals>.")[2] + where

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method: compiled for each object by itself."""
        if instance is None:
            return self
        name = f"_compiled_{getattr(self.function, '__name__', 'method')}"
        found = vars(instance).get(name)
        if found is None:
            found = Compiled(self.function.__get__(instance, owner))
            object.__setattr__(instance, name, found)
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        from copy import deepcopy

        return Compiled(deepcopy(self.function, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return Compiled, (self.function,)

    @property
    def programs(self) -> list[Program]:
        """What was compiled, the newest last."""
        return [program for programs in self._by_key.values() for program in programs]

    def stats(self) -> dict[str, Any]:
        """How often it was compiled and why, and how often it was called; eagerly, and why."""
        return {
            **self._stats,
            "reasons": list(self._stats["reasons"]),
            "kept_eager": self._eager_reason,
        }

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the program for these arguments; traces and compiles one where there is none."""
        if slot.recorder is not None:
            return self.function(*args, **kwargs)
        stats = self._stats
        stats["calls"] += 1
        if self._eager_reason is not None:
            stats["eager_calls"] += 1
            return self.function(*args, **kwargs)
        if self._nudge is not None:
            self._nudge()
        tensors: list[Tensor] = []
        kind = _kind(args, kwargs, tensors)
        with self._lock:
            for program in self._programs.get(kind, ()):
                if program.fits(tensors):
                    program.called = stats["calls"]
                    return program()
            return self._slow(kind, args, kwargs, tensors)

    # -- where nothing fits at once ----------------------------------------------------------------------------

    def _scan(self, args: Any, kwargs: Any) -> Scan:
        return Scan(self.function, (args, kwargs), self._dynamic, self._loose)

    def _slow(self, kind: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        scan = self._scan(args, kwargs)
        if not self._optimizers.issuperset(scan.optimizers):
            # An optimizer makes its state in its first step: traced now, the program would serve only once.
            self._optimizers.update(scan.optimizers)
            return self._first_step("an optimizer's first step makes its state", args, kwargs)
        if self._find_numbers(scan):
            scan = self._scan(args, kwargs)
        key = (
            kind,
            scan.hashed,
            modes.grad_enabled,
            modes.inference,
            dtypes.get_default_dtype().name,
        )
        for program in self._by_key.get(key, ()):
            if program.adopt(scan) and program.fits(scan.arguments):
                program.called = self._stats["calls"]
                return program()
        reason = self._reason(scan, key)
        started = time.perf_counter()
        try:
            program = observed_as(
                REGION, f"compile::{self.name}", (), Program, self.function, args, kwargs, scan, self._dynamic,
                lambda: self._scan(args, kwargs),
            )  # fmt: skip
        except MovingNumbers as found:
            scan.undo()
            self._dynamic |= found.names
            return self._slow(kind, args, kwargs, tensors)
        except NewState as found:
            scan.undo()
            self._new_states += 1
            if self._new_states > MOST_NEW_STATES:
                return self._keep_eager(f"{found}, at every call", args, kwargs)
            return self._first_step(str(found), args, kwargs)
        except Unsuitable as found:
            scan.undo()
            return self._keep_eager(str(found), args, kwargs)
        except BaseException:
            scan.undo()
            raise
        program.executable.title = self.name
        if program.executable.shared:
            self._nudge = program.executable.nudge
        if verbosity.level:
            telling.told(self.name, program, reason, time.perf_counter() - started)
        self._stats["compiles"] += 1
        self._stats["reasons"].append(reason)
        self._loose.update(program.loose)
        program.called = self._stats["calls"]
        self._make_room()
        self._by_key.setdefault(key, []).append(program)
        programs = self._programs.setdefault(kind, [])
        programs.insert(0, program)
        self._last, self._last_key = scan, key
        self.graph = program.graph
        if not program.fits(scan.arguments):
            raise AssertionError("a program does not fit what it was traced with")
        return program()

    def _first_step(self, reason: str, args: Any, kwargs: Any) -> Any:
        """Runs eagerly, once; the memory that this took is not needed any more."""
        self._stats["eager_calls"] += 1
        self._stats["reasons"].append(reason)
        result = self.function(*args, **kwargs)
        give_back()
        return result

    def _make_room(self) -> None:
        """Drops the program that was called longest ago where there are as many as may be."""
        if len(self.programs) < MOST_PROGRAMS:
            return
        oldest = min(self.programs, key=lambda program: program.called)
        for kept in (self._by_key, self._programs):
            for key, programs in list(kept.items()):
                if oldest in programs:
                    programs.remove(oldest)
                if not programs:
                    del kept[key]

    def _keep_eager(self, reason: str, args: Any, kwargs: Any) -> Any:
        """From now on the function runs as it is; said once, and in `stats`."""
        self._eager_reason = reason
        warnings.warn(
            f"{self!r} stays eager: {reason}. See .stats().", RuntimeWarning, stacklevel=5
        )
        self._stats["eager_calls"] += 1
        if verbosity.level:
            telling.kept_eager(self.name, reason)
        return self.function(*args, **kwargs)

    def _find_numbers(self, scan: Scan) -> bool:
        """A hyper-parameter that has changed since the last trace becomes one that may change at every call."""
        if self._last is None:
            return False
        changed = set()
        for path, value in scan.structure.items():
            if self._last.structure.get(path, value) != value:
                changed.add(hyper_parameter(path))
        new = {
            n for n in changed
            if any(_is_number(g.get(n)) for g in scan.groups)
        } - self._dynamic  # fmt: skip
        self._dynamic |= new
        return bool(new)

    def _reason(self, scan: Scan, key: Any) -> str:
        if self._last is None:
            return "first trace"
        if key[0] != self._last_key[0]:
            return f"arguments {key[0]!r} instead of {self._last_key[0]!r}"
        if key[2:] != self._last_key[2:]:
            return f"grad mode, inference mode, default dtype: {key[2:]} instead of {self._last_key[2:]}"
        for path, value in {**self._last.structure, **scan.structure}.items():
            before, now = self._last.structure.get(path), scan.structure.get(path)
            if before != now:
                return f"{path}: {now} instead of {before}"
            del value
        return "a tensor of the state has another shape, dtype, requires_grad or grad"


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (
        isinstance(value, tuple) and bool(value) and all(isinstance(v, float) for v in value)
    )


def _kind(args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
    """What a program depends on of the arguments; tensors are gathered on the way."""
    parts: list[tuple[Any, ...]] = []
    for value in args:
        if isinstance(value, Tensor):
            tensors.append(value)
            array = value._array
            order = None if array.flags.c_contiguous else array.strides
            parts.append(
                (array.shape, array.dtype, value._requires_grad, value._grad is None, order)
            )
        else:
            parts.append(_kind_of(value, tensors))
    if kwargs:
        parts.append(tuple((k, _kind_of(v, tensors)) for k, v in kwargs.items()))
    if len(tensors) > 1:
        numbers = {id(t): i for i, t in enumerate(tensors)}
        if len(numbers) != len(tensors):  # some are the same tensor
            parts.append(tuple(numbers[id(t)] for t in tensors))
    return tuple(parts)


def _kind_of(value: Any, tensors: list[Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors.append(value)
        array = value._array
        order = None if array.flags.c_contiguous else array.strides
        return (array.shape, array.dtype, value._requires_grad, value._grad is None, order)
    if isinstance(value, CONSTANTS):
        return (type(value), repr(value))
    if isinstance(value, (list, tuple)):
        return (type(value), *(_kind_of(v, tensors) for v in value))
    if type(value) is dict:
        return (dict, *((k, _kind_of(v, tensors)) for k, v in value.items()))
    if isinstance(value, np.ndarray):
        return (np.ndarray, id(value))
    return (type(value), id(value))


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = "native",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """A function, module or training step as a native program.

    The function is traced with the shapes and dtypes of its arguments; everything that it does to tensors, zero_grad,
    backward and optimizer steps included, becomes one program. Another shape, dtype or mode, or a changed Python value,
    is traced anew and kept beside. Of a module an object is given that is the module, with its forward compiled.
    With `disable`, the function itself is returned. The other arguments are accepted for PyTorch's sake.

    Raises RuntimeError, with the line, where the function needs a value that a trace does not have.

    >>> import rushlight
    >>> @rushlight.compile
    ... def f(x):
    ...     return (x * 2 + 1).relu()
    >>> f(rushlight.tensor([-1.0, 1.0]))
    tensor([0., 3.])
    """
    if model is None:
        return functools.partial(
            compile,
            fullgraph=fullgraph,
            dynamic=dynamic,
            backend=backend,
            mode=mode,
            options=options,
            disable=disable,
        )
    if not callable(model):
        raise TypeError(f"compile takes a function or a module, not {type(model).__name__}")
    if disable or isinstance(model, Compiled):
        return model
    if isinstance(model, Module):
        return _compiled_module(model)
    return Compiled(model)


def _compiled_module(module: Module) -> Module:
    """An object of the module's own class and state whose forward is compiled."""
    kind = type(module)
    compiled = Compiled(module.forward)

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return compiled(*args, **kwargs)

    forward.__doc__ = kind.forward.__doc__

    def reduce(self: Any, protocol: Any) -> tuple[Any, ...]:
        """Copied and pickled as the module that it was, to be compiled again."""
        plain = object.__new__(kind)
        object.__setattr__(plain, "__dict__", vars(self))
        return _compiled_module, (plain,)

    members = {
        "forward": forward, "_compiled": compiled, "__reduce_ex__": reduce, "__module__": kind.__module__,
    }  # fmt: skip
    extended = type(f"Compiled{kind.__name__}", (kind,), members)
    twin: Module = object.__new__(extended)
    object.__setattr__(twin, "__dict__", vars(module))
    return twin


def compile_in_place(module: Module, **options: Any) -> None:
    """Compiles a module's forward; the module itself runs it from now on. Options are those of `compile`."""
    made = compile(module.forward, **options)
    if isinstance(made, Compiled):
        object.__setattr__(module, "forward", made)


def stats() -> dict[str, Any]:
    """The counts of all compiled functions together."""
    total: dict[str, Any] = dict(_past)
    for each in _registry():
        for name in total:
            total[name] += each._stats[name]
    return total


compile.stats = stats  # type: ignore[attr-defined]
