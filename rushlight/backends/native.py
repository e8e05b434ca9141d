"""Which eager calls run as native kernels, and the kernels that there are.

A call's signature is what it computes: the function, what it is given that is no array, and the shape, dtype and
strides of each array. What has been decided for a signature holds as long as the process lives: a call that is made
twice gives the same bits twice. See README.md of this room for why nothing here depends on time.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.backends.settings import settings
from rushlight.core import dtypes
from rushlight.primitives.interpreter import slot

ndarray = np.ndarray

#: Calls whose largest array has fewer elements are NumPy's, unseen.
SMALL = 1024
#: What NumPy must take (by `cost.numpy_ns`) before a kernel is made.
WORTH_NS = 8_000.0
#: How many signatures that differ in shapes and numbers alone get kernels, and how many that differ in floating point
#: numbers alone: a program in which they change at every call would compile without end. All others are NumPy's.
MOST_SHAPES, MOST_NUMBERS = 32, 4
#: How many signatures of such a family are remembered at all.
MOST_ALIKE = 512
#: Kernels in memory. The oldest go, and are made again (from the disk) when they are needed.
MOST_KERNELS = 1024

#: What `run` answers where NumPy should do the call.
NUMPY: Any = object()


class _Call:
    """A signature that is native: its kernel, and how the result is put together.

    `structure` has a number for each item of the result: of a result of the kernel, counted from the end of the
    operands, or of an operand; None for None. It is None where the result is the kernel's only one.
    """

    __slots__ = ("exact", "fault", "kernel", "structure")

    def __init__(self, kernel: Any, structure: tuple[int | None, ...] | None, fault: Any) -> None:
        self.kernel, self.structure, self.fault = kernel, structure, fault
        #: Whether the kernel has NumPy's bits (exact.py).
        self.exact = False

    def __call__(self, operands: list[Any]) -> Any:
        try:
            results = self.kernel(operands)
        except self.fault:
            return NUMPY  # which raises what the user should read
        structure = self.structure
        if structure is None:
            return results[0]
        everything = operands + results
        return tuple([None if n is None else everything[n] for n in structure])


class _Calls:
    """All signatures that were decided on, with their calls; None for those that are NumPy's."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.known: dict[Any, Any] = {}
        #: How many signatures of a family were seen, and how many of them are native.
        self.seen: Counter[Any] = Counter()
        self.native: Counter[Any] = Counter()
        #: Signatures with kernels in memory, the oldest first; and those whose kernels had to go.
        self.kernels: deque[Any] = deque()
        self.gone: set[Any] = set()

    def keep(self, signature: Any, call: Any) -> None:
        """Remembers what was decided."""
        self.known[signature] = call
        if call is not None:
            self.kernels.append(signature)
            if len(self.kernels) > MOST_KERNELS:
                oldest = self.kernels.popleft()
                del self.known[oldest]
                self.gone.add(oldest)

    def renew_locks(self) -> None:
        """In a forked child, where threads that held locks are gone."""
        self.lock = threading.RLock()
        for call in self.known.values():
            if call is not None:
                call.kernel.renew_lock()


_calls = _Calls()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_calls.renew_locks)


def run(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """`function(*args, **kwargs)` by a native kernel; or NUMPY, where NumPy should do it.

    The function computes arrays from arrays by primitives, and its result must follow from its arguments alone.
    """
    if not settings.native or slot.recorder is not None:
        return NUMPY
    found = signature_of(function, args, kwargs)
    if found is None:
        return NUMPY
    signature, operands = found
    try:
        call = _calls.known.get(signature, _calls)
    except TypeError:  # an argument that has no hash
        return NUMPY
    if call is _calls:
        call = _decide(signature, function, args, kwargs, operands)
    return NUMPY if call is None else call(operands)


def signature_of(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Any, list[Any]] | None:
    """What decides on a call, and its arrays; None where an argument can be no part of a signature."""
    key: list[Any] = [function, dtypes.get_default_dtype()]
    operands: list[Any] = []
    for value in args:
        if type(value) is ndarray:
            operands.append(value)
            if value.flags.c_contiguous:
                key += (value.shape, value.dtype)
            else:
                key += (value.shape, value.dtype, value.strides)
        elif not _describe(value, key, operands):
            return None
    for name, value in kwargs.items():
        key.append(name)
        before = len(operands)
        if not _describe(value, key, operands) or len(operands) > before:
            return None
    return tuple(key), operands


def call_of(function: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The call that `run` makes for these arguments, or None, and their arrays; nothing is decided or made."""
    found = signature_of(function, args, {})
    if found is None:
        return None, []
    try:
        return _calls.known.get(found[0]), found[1]
    except TypeError:
        return None, []


def _describe(value: Any, key: list[Any], operands: list[Any]) -> bool:
    """Adds an argument to a signature; False where it cannot be part of one."""
    kind = type(value)
    if kind is ndarray:
        operands.append(value)
        key += (value.shape, value.dtype, value.strides)
        return True
    if kind is tuple or kind is list:
        if kind is tuple and ndarray not in map(type, value):
            # Its hash and equality do the rest; but (1, 1) and (1.0, 1.0) are equal.
            key += (value, type(value[0]) if value else None)
            return True
        key += (kind, len(value))
        for item in value:
            if not _describe(item, key, operands):
                return False
        return True
    if kind is float and value == 0:
        value = repr(value)  # 0.0 equals -0.0
    key += (kind, value)
    return True


def _decide(
    signature: Any,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    operands: list[Any],
) -> Any:
    """Makes a kernel for a new signature, if it is worth one."""
    calls = _calls
    with calls.lock:
        if signature in calls.known:
            return calls.known[signature]
        if signature in calls.gone:
            calls.gone.remove(signature)
            call = make_call(function, args, kwargs, operands)
            calls.keep(signature, call)
            return call
        shapes = tuple(_without_sizes(part) for part in signature)
        numbers = tuple(float if isinstance(part, float) else part for part in signature)
        if calls.seen[shapes] >= MOST_ALIKE:
            return None
        calls.seen[shapes] += 1
        call = None
        if calls.native[shapes] < MOST_SHAPES and calls.native[numbers] < MOST_NUMBERS:
            call = make_call(function, args, kwargs, operands)
        if call is not None:
            calls.native[shapes] += 1
            calls.native[numbers] += numbers != signature
        calls.keep(signature, call)
        return call


def _without_sizes(part: Any) -> Any:
    """What the parts of two signatures have in common that differ in sizes and numbers only."""
    if isinstance(part, (float, int)):
        return type(part)
    if isinstance(part, tuple):
        return len(part)
    return part


def _pays(graph: Any) -> bool:
    """Whether NumPy would take so long that a kernel is worth making."""
    from rushlight.backends.cost import numpy_ns

    return numpy_ns(graph) >= WORTH_NS


def make_call(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    operands: list[Any],
    suits: Callable[[Any], bool] = _pays,
) -> _Call | None:
    """The call as a kernel; None where there is none, or its graph does not suit."""
    from rushlight.backends.calls import Unsuitable
    from rushlight.backends.kernel import Fault, Kernel
    from rushlight.backends.tracing import Traced
    from rushlight.compiler.graph import Graph
    from rushlight.compiler.passes import optimize

    try:
        traced = Traced(function, args, kwargs)
    except Exception:  # NumPy raises what the user should read, if it raises at all
        return None
    if not suits(traced.graph):
        return None
    strides: dict[int, tuple[int, ...]] = {}
    for i, array in enumerate(operands):
        if not array.flags.aligned or not array.dtype.isnative:
            return None
        if not array.flags.c_contiguous:
            if any(s % array.itemsize or s < 0 for s in array.strides):
                return None
            strides[i] = tuple(s // array.itemsize for s in array.strides)
    graph = optimize(traced.graph)
    # A result may be an operand itself, or the same as another result.
    number: dict[Any, int] = {v: i for i, v in enumerate(graph.inputs[: len(operands)])}
    computed = [v for v in dict.fromkeys(graph.outputs) if v not in number]
    if not computed or any(v in graph.inputs for v in computed):
        return None
    number.update((v, len(operands) + n) for n, v in enumerate(computed))
    numbers = [number[v] for v in graph.outputs]
    graph = Graph(graph.inputs, graph.equations, computed)
    try:
        kernel = Kernel(graph, strides, traced.constants)
    except Unsuitable:
        return None
    except ImportError:  # llvmlite is not installed
        settings.native = False
        return None
    structure = traced.structure
    if structure is None:
        return _Call(kernel, None, Fault)
    return _Call(kernel, tuple(None if n is None else numbers[n] for n in structure), Fault)
