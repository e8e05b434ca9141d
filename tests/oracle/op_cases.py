"""PyTorch's own cases for ops (op_db): run on both sides, forward and backward, and compare."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import rushlight
from rushlight.ops import families
from rushlight.ops.declare import OPS
from tests.oracle.translation import compare, translate

#: Their results hold whatever was in memory: shape and dtype are compared.
UNINITIALISED = {
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "new_empty_strided",
    "empty_permuted",
    "resize_",
    "resize_as_",
}

#: Their results are unique only up to signs (or phases).
UP_TO_SIGN = {
    "svd",
    "linalg.svd",
    "qr",
    "linalg.qr",
    "linalg.eigh",
    "linalg.eig",
    "geqrf",
    "svd_lowrank",
    "pca_lowrank",
}

#: Cases beyond this many of one op and dtype are sampled evenly.
LIMIT = 60


def public_names() -> dict[str, str]:
    """Public name (aliases too) -> qualified name of the declaration."""
    families.load_all()
    names: dict[str, str] = {}
    for key, this in OPS.items():
        prefix = f"{this.module}." if this.module else ""
        if this.function or this.method:
            names[key] = key
            for alias in this.aliases:
                names.setdefault(alias if "." in alias else prefix + alias, key)
            for operator in this.operators:
                names.setdefault(operator, key)
    return names


@functools.cache
def cases() -> tuple[tuple[Any, str], ...]:
    """op_db's entries for ops that are declared, with the declaration's name."""
    names = public_names()
    return tuple((info, names[info.name]) for info in op_db if info.name in names)


def _seeded(op: Any, *args: Any, **kwargs: Any) -> Any:
    """The table's entries for random ops set a seed first; on this side it is rushlight's."""
    rushlight.manual_seed(42)
    return op(*args, **kwargs)


def _rebound(function: types.FunctionType) -> types.FunctionType:
    """A function of PyTorch's table with `torch` replaced: it reorders arguments or combines calls."""
    names = {**function.__globals__, "torch": rushlight, "wrapper_set_seed": _seeded}
    return types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )


def function_of(info: Any) -> Any:
    """What a user of rushlight calls for an op_db entry."""
    op = info.op
    if isinstance(op, types.FunctionType) and op.__module__.startswith("torch.testing."):
        return _rebound(op)
    found: Any = rushlight
    for part in info.name.split("."):
        found = getattr(found, part, None)
        if found is None:
            return getattr(rushlight.Tensor, info.name)
    return found


def _gradients(result: Any, inputs: list[Any], backend: Any, process: Any) -> list[Any]:
    """Gradients of the inputs for fixed gradients of all results, made by NumPy."""
    outputs = [t for t in _tensors(process(result), backend.Tensor) if t.requires_grad]
    if not outputs or not inputs:
        return []
    random = np.random.default_rng(0)
    weights = []
    for t in outputs:
        values = random.uniform(0.5, 1.5, tuple(t.shape))
        kind = str(t.dtype).removeprefix("torch.")
        weight = backend.from_numpy(np.asarray(values)).to(getattr(backend, kind))
        weights.append(weight)
    return list(backend.autograd.grad(outputs, inputs, weights, allow_unused=True))


def _tensors(value: Any, kind: Any) -> list[Any]:
    if isinstance(value, kind):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return (
        [t for item in value for t in _tensors(item, kind)]
        if isinstance(value, (tuple, list))
        else []
    )


def run_sample(info: Any, sample: Any) -> None:
    """One case; AssertionError where the two sides differ.

    Where float32 results differ, PyTorch's own answer in float64 decides: its float32 kernels may be the less exact.
    """
    try:
        _run(info, sample, sample)
    except AssertionError:
        if not _holds(sample, torch.float32):
            raise
        _run(info, sample, sample.transform(_doubled))


def _holds(sample: Any, dtype: torch.dtype) -> bool:
    given = _tensors((sample.input, sample.args, sample.kwargs), torch.Tensor)
    return any(t.dtype is dtype for t in given)


def _doubled(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype is torch.float32:
        return value.detach().double().requires_grad_(value.requires_grad)
    return value


def _rounded(wanted: Any, found: Any) -> Any:
    """PyTorch's float64 results in float32 where ours are."""
    if isinstance(wanted, torch.Tensor):
        single = getattr(found, "dtype", None) is rushlight.float32
        return wanted.float() if single and wanted.dtype is torch.float64 else wanted
    if isinstance(wanted, (tuple, list)) and len(wanted) == len(found):
        return [_rounded(w, f) for w, f in zip(wanted, found, strict=True)]
    return wanted


def _run(info: Any, sample: Any, exact: Any) -> None:
    """One case, forward and (where torch supports it) backward; `exact` is what PyTorch is given."""
    function = function_of(info)
    here, keywords = translate((sample.input, *sample.args)), translate(sample.kwargs)
    there, sample = (exact.input, *exact.args), exact
    torch.manual_seed(0)
    wanted = info.op(*there, **sample.kwargs)
    rushlight.manual_seed(0)
    found = function(*here, **keywords)
    signs = info.name in UP_TO_SIGN
    values = info.name not in UNINITIALISED
    compare(found, _rounded(wanted, found), "result", values=values and not signs)
    if signs:
        pair = _determined(info.name, found), _determined(info.name, _rounded(wanted, found))
        compare(*pair, "result", magnitudes=True)
    if info.supports_autograd and not signs:
        process = sample.output_process_fn_grad or (lambda x: x)
        ours = [t for t in _tensors((here, keywords), rushlight.Tensor) if t.requires_grad]
        theirs = [t for t in _tensors((there, sample.kwargs), torch.Tensor) if t.requires_grad]
        try:
            processed = process if process(wanted) is wanted else _same_choice(process, wanted)
        except Exception:  # torch's own helper does not fit: whole results are compared
            processed = lambda x: x
        grads = _gradients(wanted, theirs, torch, processed)
        if grads:
            mine = _gradients(found, ours, rushlight, processed)
            mine, grads = _zeros_for_none(mine, grads)
            compare(mine, _rounded(grads, mine), "gradient")


def _determined(name: str, results: Any) -> Any:
    """Singular vectors without those of the null space, for which any orthonormal basis is right."""
    if name not in ("svd", "linalg.svd"):
        return results
    u, s, v = results
    k = s.shape[-1]
    return u[..., :k], s, v[..., :k] if name == "svd" else v[..., :k, :]


def _zeros_for_none(mine: list[Any], theirs: list[Any]) -> tuple[list[Any], list[Any]]:
    """A gradient that is not there counts as one of zeros."""
    if not mine:  # nothing here requires a gradient
        mine = [None] * len(theirs)
    pairs = []
    for ours, wanted in zip(mine, theirs, strict=True):
        if ours is None and wanted is not None:
            ours = translate(torch.zeros_like(wanted))
        if wanted is None and ours is not None:
            wanted = torch.zeros(ours.shape, dtype=getattr(torch, str(ours.dtype)[6:]))
        pairs.append((ours, wanted))
    return [a for a, _ in pairs], [b for _, b in pairs]


def _same_choice(process: Any, wanted: Any) -> Any:
    """If torch's helper picks some of the results, the same picking by position."""
    if isinstance(wanted, tuple):
        picked = process(wanted)
        places = [i for i, w in enumerate(wanted) for p in _tensors(picked, torch.Tensor) if p is w]
        if places:
            return lambda results: tuple(results[i] for i in places)
    return lambda x: x


def samples(info: Any, dtype: torch.dtype) -> Iterator[Any]:
    """PyTorch's sample inputs for one entry and dtype."""
    torch.manual_seed(0)
    grad = info.supports_autograd and (dtype.is_floating_point or dtype.is_complex)
    found = list(info.sample_inputs("cpu", dtype, requires_grad=grad))
    yield from found[:: -(-len(found) // LIMIT)] if len(found) > LIMIT else found


def run_op(info: Any, dtype: torch.dtype) -> tuple[int, list[str]]:
    """All cases of an entry in one dtype: how many ran, and what was wrong with those that failed."""
    failures: list[str] = []
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample in samples(info, dtype):
            count += 1
            try:
                run_sample(info, sample)
            except Exception as error:
                text = " ".join(str(error).split())
                failures.append(f"case {count}: {type(error).__name__}: {text[:300]}")
    return count, failures


def key_of(info: Any) -> str:
    """The entry's name with its variant."""
    return f"{info.name}/{info.variant_test_name}" if info.variant_test_name else str(info.name)
