"""Reverse-mode differentiation: the tape, its engine, and what users steer them with. See README.md."""

from __future__ import annotations

import importlib
from typing import Any

from rushlight.autograd.engine import backward, grad
from rushlight.autograd.function import Function
from rushlight.autograd.modes import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_anomaly_enabled,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
)
from rushlight.tensor.tensor import Tensor

__all__ = [
    "Function", "Variable", "backward", "detect_anomaly", "enable_grad", "functional", "grad", "gradcheck",
    "gradgradcheck", "graph", "inference_mode", "is_anomaly_enabled", "no_grad", "profiler", "set_detect_anomaly",
    "set_grad_enabled",
]  # fmt: skip


class _VariableMeta(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_VariableMeta):
    """The old name for tensors that autograd follows: it gives a Tensor.

    >>> import rushlight
    >>> rushlight.autograd.Variable(rushlight.ones(2))
    tensor([1., 1.])
    """

    def __new__(
        cls, data: Any = None, requires_grad: bool | None = None, volatile: bool | None = None
    ) -> Any:
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        result = data.detach() if data.requires_grad or requires_grad else data.view_as(data)  # type: ignore[attr-defined]
        return result.requires_grad_(bool(requires_grad))


def __getattr__(name: str) -> Any:
    """What most programs never use is loaded when it is asked for."""
    if name in ("functional", "graph", "profiler"):
        return importlib.import_module("rushlight.autograd." + name)
    if name in ("gradcheck", "gradgradcheck"):
        from rushlight.autograd import finite_differences

        return getattr(finite_differences, name)
    raise AttributeError(f"module 'rushlight.autograd' has no attribute '{name}'")
