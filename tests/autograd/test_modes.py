"""no_grad, enable_grad, set_grad_enabled, inference_mode and anomaly mode: as managers and as decorators."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

LIBRARIES = [rushlight, torch]
both = pytest.mark.parametrize("lib", LIBRARIES, ids=["rushlight", "torch"])


@both
def test_managers_nest_and_restore(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)
    with lib.no_grad():
        assert not (w * 2).requires_grad
        with lib.enable_grad():
            assert (w * 2).requires_grad
        assert not lib.is_grad_enabled()
    assert lib.is_grad_enabled()
    with pytest.raises(KeyError), lib.no_grad():
        raise KeyError
    assert lib.is_grad_enabled()


@both
def test_decorators(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)

    @lib.no_grad()
    def quiet(x: Any) -> Any:
        """Its words."""
        return x * 2

    @lib.no_grad
    def bare(x: Any) -> Any:
        return x * 2

    @lib.enable_grad()
    def loud(x: Any) -> Any:
        return x * 2

    assert not quiet(w).requires_grad
    assert not bare(w).requires_grad
    assert quiet.__name__ == "quiet"
    assert quiet.__doc__ == "Its words."
    with lib.no_grad():
        assert loud(w).requires_grad
    assert lib.is_grad_enabled()


@both
def test_generators_keep_the_mode_of_each_side(lib: Any) -> None:
    @lib.no_grad()
    def inside() -> Iterator[bool]:
        yield lib.is_grad_enabled()
        yield lib.is_grad_enabled()

    seen = []
    for value in inside():
        seen.append((value, lib.is_grad_enabled()))
    assert seen == [(False, True), (False, True)]


@both
def test_set_grad_enabled(lib: Any) -> None:
    w = lib.ones(1, requires_grad=True)
    with lib.set_grad_enabled(False):
        assert not (w * 2).requires_grad
    assert (w * 2).requires_grad
    lib.set_grad_enabled(False)
    try:
        assert not (w * 2).requires_grad
    finally:
        lib.set_grad_enabled(True)

    @lib.set_grad_enabled(False)
    def quiet(x: Any) -> Any:
        return x * 2

    assert lib.is_grad_enabled()
    assert not quiet(w).requires_grad


@both
def test_inference_mode(lib: Any) -> None:
    w = lib.ones(2, requires_grad=True)
    with lib.inference_mode():
        a = w * 2
        assert lib.is_inference_mode_enabled()
        a.add_(1)
    assert a.is_inference()
    assert not a.requires_grad
    with pytest.raises(RuntimeError, match=r"[Ii]nplace update to inference tensor"):
        a.add_(1)
    with pytest.raises(RuntimeError, match="requires_grad=True on inference tensor"):
        a.requires_grad_()
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
        w * a
    assert (w + a).requires_grad
    assert not a.clone().is_inference()

    @lib.inference_mode()
    def predict(x: Any) -> Any:
        return x * 2

    assert predict(w).is_inference()
    with lib.inference_mode(False):
        assert (w * 2).requires_grad


@both
def test_modes_are_a_threads_own(lib: Any) -> None:
    seen: list[bool] = []
    with lib.no_grad():
        thread = threading.Thread(target=lambda: seen.append(lib.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


@both
def test_detect_anomaly_finds_the_first_nan(lib: Any) -> None:
    def run() -> Any:
        w = lib.zeros(1, requires_grad=True)
        (w.sqrt() * 0).sum().backward()
        return w.grad

    assert run().isnan().all()
    with pytest.raises(
        RuntimeError, match=r"'SqrtBackward0' returned nan values in its 0th output"
    ):
        _anomalous(lib, run)
    assert not lib.is_anomaly_enabled()
    with lib.autograd.set_detect_anomaly(True):
        assert lib.is_anomaly_enabled()
    assert not lib.is_anomaly_enabled()


@pytest.mark.filterwarnings("ignore:Anomaly Detection", "ignore:Error detected")
def _anomalous(lib: Any, run: Any) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with lib.autograd.detect_anomaly():
            run()


def test_anomaly_names_the_users_line() -> None:
    w = rushlight.zeros(1, requires_grad=True)
    with rushlight.autograd.set_detect_anomaly(True):
        y = w.sqrt() * 0
        with pytest.raises(RuntimeError, match=r"test_modes\.py:\d+"):
            y.backward()
