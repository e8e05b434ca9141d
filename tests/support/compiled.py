"""Eager against compiled: an op's samples run as one function, plainly and as a native program."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import rushlight
from rushlight.capture.api import Compiled
from rushlight.ops import families
from rushlight.ops.declare import FUNCTIONS, OPS, Bad
from tests.support.making import Make, tensors_in

#: How far results may differ, relative to the largest element of a result.
TOLERANCES = {"float64": 1e-12, "complex128": 1e-12, "float16": 2e-3, "bfloat16": 1.6e-2}
DEFAULT_TOLERANCE = 1e-5


def names() -> list[str]:
    """All ops that have samples."""
    families.load_all()
    return sorted(n for n in OPS if OPS[n].sampler is not None)


def samples_of(name: str, dtype: Any) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The good samples of an op as (args, kwargs); they require gradients where the op has one."""
    make = Make(dtype=dtype, requires_grad=OPS[name].differentiable)
    return [(s.args, s.kwargs) for s in OPS[name].samples(make) if not isinstance(s, Bad)]


def weights_for(tensor: Any) -> Any:
    """The gradient that is sent back through a result: the same for the same shape."""
    values = 1.5 + np.cos(np.arange(tensor.numel()) * 0.7 + 0.1).reshape(tuple(tensor.shape))
    if tensor.dtype.is_complex:
        values = values + 1j * values[::-1] if values.ndim else values * (1 + 0.5j)
    return rushlight.tensor(values, dtype=tensor.dtype)


def forward(name: str) -> Any:
    """A function of a list of calls that gives all their results."""
    function = FUNCTIONS[name]

    def run(calls: list[Any]) -> list[Any]:
        return [function(*args, **kwargs) for args, kwargs in calls]

    return run


def forward_and_backward(name: str) -> Any:
    """As `forward`; gives detached results and the gradients of all inputs beside."""
    function = FUNCTIONS[name]

    def run(calls: list[Any]) -> list[Any]:
        found: list[Any] = []
        for args, kwargs in calls:
            results = tensors_in(function(*args, **kwargs))
            inputs = [t for t in tensors_in((args, kwargs)) if t.requires_grad]
            outputs = [t for t in results if t.requires_grad]
            found.append([t.detach() for t in results])
            if inputs and outputs:
                grads = rushlight.autograd.grad(
                    outputs, inputs, [weights_for(t) for t in outputs], allow_unused=True
                )
                found.append(list(grads))
        return found

    return run


def backward_outside(results: list[Any], calls: list[Any]) -> list[Any]:
    """The gradients of all inputs, through results of `forward`."""
    inputs = [t for t in tensors_in(calls) if t.requires_grad]
    outputs = [t for t in tensors_in(results) if t.requires_grad]
    if not inputs or not outputs:
        return []
    return list(
        rushlight.autograd.grad(
            outputs, inputs, [weights_for(t) for t in outputs], allow_unused=True
        )
    )


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*stays eager.*")
        yield


def difference(found: Any, wanted: Any, path: str = "") -> str:
    """What differs between two results, in words; "" if nothing does."""
    if isinstance(wanted, rushlight.Tensor):
        if not isinstance(found, rushlight.Tensor):
            return f"{path}: {type(found).__name__}, not a tensor"
        return _array_difference(np.asarray(found._array), np.asarray(wanted._array), path)
    if isinstance(wanted, (list, tuple)):
        if type(found) is not type(wanted) or len(found) != len(wanted):
            return f"{path}: {type(found).__name__} of {len(found)}, not {type(wanted).__name__}"
        for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
            words = difference(a, b, f"{path}[{i}]")
            if words:
                return words
        return ""
    if isinstance(wanted, dict):
        if type(found) is not type(wanted) or list(found) != list(wanted):
            return f"{path}: keys {list(found)}, not {list(wanted)}"
        for key in wanted:
            words = difference(found[key], wanted[key], f"{path}[{key!r}]")
            if words:
                return words
        return ""
    same = found == wanted or (found != found and wanted != wanted)
    return "" if type(found) is type(wanted) and same else f"{path}: {found!r}, not {wanted!r}"


def _array_difference(found: Any, wanted: Any, path: str) -> str:
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        return f"{path}: {found.dtype}{found.shape}, not {wanted.dtype}{wanted.shape}"
    if not wanted.size or found.tobytes() == wanted.tobytes():
        return ""
    name = wanted.dtype.name
    if wanted.dtype.kind in "biu":
        wrong = int((found != wanted).sum())
        return f"{path}: {wrong} of {wanted.size} elements differ" if wrong else ""
    wide = np.complex128 if wanted.dtype.kind == "c" else np.float64
    a, b = found.astype(wide).reshape(-1), wanted.astype(wide).reshape(-1)
    special = ~(np.isfinite(a) & np.isfinite(b))
    if special.any():
        if not np.array_equal(a[special], b[special], equal_nan=True):
            return f"{path}: infinities or NaN differ: {a[special][:4]}, not {b[special][:4]}"
        a, b = a[~special], b[~special]
    if not b.size:
        return ""
    scale = max(float(np.abs(b).max()), 1e-30)
    worst = float(np.abs(a - b).max()) / scale
    if worst <= TOLERANCES.get(name, DEFAULT_TOLERANCE):
        return ""
    return f"{path}: {name}{wanted.shape} differs by {worst:.1e} of the largest element"


class Unequal(AssertionError):
    """Compiled and eager differ."""


def compare_op(name: str, dtype: Any, inside: bool) -> int:
    """Runs an op's samples eager and compiled, gradients taken inside the program or outside; the number of samples.

    Raises what fails; Unequal where results differ.
    """
    calls = samples_of(name, dtype)
    compare_calls(name, calls, inside)
    return len(calls)


def compare_calls(name: str, calls: list[Any], inside: bool) -> None:
    """As `compare_op`, for these calls."""
    function = forward_and_backward(name) if inside else forward(name)
    with _quietly():
        rushlight.manual_seed(0)
        wanted = function(calls)
        wanted_grads = [] if inside else backward_outside(wanted, calls)
        compiled = Compiled(function)
        rushlight.manual_seed(0)
        found = compiled(calls)
        found_grads = [] if inside else backward_outside(found, calls)
    words = difference(found, wanted, "result") or difference(found_grads, wanted_grads, "gradient")
    if words:
        raise Unequal(words)
    stats = compiled.stats()
    if stats["compiles"] != 1 or stats["eager_calls"]:
        raise Unequal(f"it was not compiled: {stats}")
