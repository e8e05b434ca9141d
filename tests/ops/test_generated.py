"""Tests that every op has because it is declared: they derive from its samples."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.backends.settings import settings
from rushlight.ops import families
from rushlight.ops.declare import FUNCTIONS, OPS, Bad
from tests.support.abstract import checking, hidden, revealed
from tests.support.ledger import expected
from tests.support.making import Make, replaced, tensors_in

families.load_all()
NAMES = sorted(OPS)
DIFFERENTIABLE = [n for n in NAMES if OPS[n].differentiable and OPS[n].sampler]


def samples_of(name: str, **options: Any) -> list[Any]:
    """The good samples of an op."""
    return [s for s in OPS[name].samples(Make(**options)) if not isinstance(s, Bad)]


def call(name: str, sample: Any) -> Any:
    """The op on a sample, from the same random state each time."""
    rushlight.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FUNCTIONS[name](*sample.args, **sample.kwargs)


def differentiable(result: Any) -> list[Any]:
    """The results that a gradient can flow from."""
    return [t for t in tensors_in(result) if t.requires_grad]


def values(result: Any) -> list[np.ndarray]:
    """The elements of all tensors in a result."""
    return [np.array(t._array) for t in tensors_in(result)]


def assert_same(a: Any, b: Any, tolerance: float = 0.0) -> None:
    """Equal shapes, dtypes and elements."""
    first, second = values(a), values(b)
    assert len(first) == len(second)
    for x, y in zip(first, second, strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        np.testing.assert_allclose(x.astype(np.complex128) if x.dtype.kind == "c" else x.astype(np.float64),
                                   y.astype(np.complex128) if y.dtype.kind == "c" else y.astype(np.float64),
                                   rtol=tolerance, atol=tolerance)  # fmt: skip


@pytest.mark.parametrize("name", [n for n in NAMES if OPS[n].function or OPS[n].method])
def test_has_samples_and_words(name: str) -> None:
    with expected("samples", name):
        assert OPS[name].sampler is not None, "an op without samples is tested by nothing"
        assert samples_of(name), "bad samples alone show nothing"
        assert inspect.getdoc(FUNCTIONS[name]), "an op without a docstring"


@pytest.mark.parametrize("name", NAMES)
def test_refuses_bad_input(name: str) -> None:
    with expected("bad_input", name):
        for bad in OPS[name].samples(Make()):
            if isinstance(bad, Bad):
                before = values((bad.args, bad.kwargs))
                with pytest.raises(bad.raises) as caught, warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    FUNCTIONS[name](*bad.args, **bad.kwargs)
                assert bad.says in str(caught.value)
                for x, y in zip(before, values((bad.args, bad.kwargs)), strict=True):
                    np.testing.assert_array_equal(x, y)


def _as_function_of(name: str, sample: Any) -> tuple[Any, list[Any]]:
    inputs = [t for t in tensors_in((sample.args, sample.kwargs)) if t.requires_grad]

    def function(*moved: Any) -> Any:
        places = dict(zip(map(id, inputs), moved, strict=True))
        change = lambda t: places.get(id(t), t)
        rushlight.manual_seed(0)
        result = FUNCTIONS[name](*replaced(sample.args, change), **replaced(sample.kwargs, change))
        return tuple(t for t in tensors_in(result) if t.is_floating_point() or t.is_complex())

    return function, inputs


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient(name: str) -> None:
    """The declared gradient against finite differences in float64."""
    checked = 0
    with expected("gradients", name), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample in samples_of(name, requires_grad=True):
            function, inputs = _as_function_of(name, sample)
            if inputs and differentiable(function(*inputs)):
                assert rushlight.autograd.gradcheck(function, tuple(inputs), atol=1e-5, rtol=1e-3)
                checked += 1
        assert checked, (
            "no sample needs a gradient: declare differentiable=False, or a sample that does"
        )


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_second_gradient(name: str) -> None:
    """The gradient of the gradient, on the op's first two samples."""
    with expected("second_gradients", name), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample in samples_of(name, requires_grad=True)[:2]:
            function, inputs = _as_function_of(name, sample)
            if inputs and differentiable(function(*inputs)):
                assert rushlight.autograd.gradgradcheck(
                    function, tuple(inputs), atol=1e-4, rtol=1e-3
                )


@pytest.mark.parametrize("name", [n for n in NAMES if OPS[n].sampler])
def test_elements_apart_in_memory(name: str) -> None:
    with expected("noncontiguous", name):
        for dense, apart in zip(
            samples_of(name), samples_of(name, noncontiguous=True), strict=True
        ):
            if OPS[name].view and "view" in name:
                continue  # torch's view refuses some strides: test_shape.py has those
            assert_same(call(name, dense), call(name, apart), 1e-12)


@pytest.mark.parametrize("name", [n for n in NAMES if OPS[n].inplace and OPS[n].sampler])
def test_in_place_form(name: str) -> None:
    this = OPS[name]
    with expected("in_place", name):
        for sample in samples_of(name):
            first = sample.args[0] if sample.args else None
            if not isinstance(first, rushlight.Tensor):
                continue
            wanted = call(name, sample)
            if not isinstance(wanted, rushlight.Tensor) or (wanted.shape, wanted.dtype) != (
                first.shape,
                first.dtype,
            ):
                continue
            target = first.clone()
            version = target._version
            rushlight.manual_seed(0)
            result = getattr(target, this.name + "_")(*sample.args[1:], **sample.kwargs)
            assert result is target and target._version > version
            assert_same(result, wanted)


@pytest.mark.parametrize("name", [n for n in NAMES if OPS[n].method and OPS[n].sampler])
def test_method_form(name: str) -> None:
    with expected("methods", name):
        for sample in samples_of(name):
            if sample.args and isinstance(sample.args[0], rushlight.Tensor):
                rushlight.manual_seed(0)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = getattr(sample.args[0], OPS[name].name)(
                        *sample.args[1:], **sample.kwargs
                    )
                assert_same(found, call(name, sample))


def _has_out(name: str) -> bool:
    this = OPS[name]
    return (
        this.module == ""
        and this.function
        and not this.view
        and not this.composite
        and "out" not in this.keywords
    )


@pytest.mark.parametrize("name", [n for n in NAMES if _has_out(n) and OPS[n].sampler])
def test_out(name: str) -> None:
    with expected("out", name):
        for sample in samples_of(name)[:2]:
            wanted = call(name, sample)
            results = tensors_in(wanted)
            if not results or any(t._is_view() for t in results):
                continue
            targets = tuple(rushlight.empty_like(t) for t in results)
            rushlight.manual_seed(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                FUNCTIONS[name](
                    *sample.args, **sample.kwargs, out=targets[0] if len(targets) == 1 else targets
                )
            assert_same(targets, results)


@pytest.mark.parametrize("name", [n for n in NAMES if OPS[n].traceable and OPS[n].sampler])
def test_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a recorder an op sees shapes and dtypes alone, every rule promises what its reference gives, and the
    recorded calls compute what the eager ones do, to the bit where NumPy makes both."""
    monkeypatch.setattr(settings, "native", False)
    with expected("recorded", name):
        for sample in samples_of(name):
            wanted = call(name, sample)
            with checking() as recorder:
                args, kwargs = replaced(sample.args, hidden), replaced(sample.kwargs, hidden)
                rushlight.manual_seed(0)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = FUNCTIONS[name](*args, **kwargs)
            assert recorder.calls or found is not None
            for x, y in zip(tensors_in(found), tensors_in(wanted), strict=True):
                np.testing.assert_array_equal(np.asarray(revealed(x)), np.asarray(y._array))
