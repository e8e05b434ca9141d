"""A recorder for tests: every primitive call is checked against its rule, and arrays are hidden behind values
that offer only what a traced value offers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.primitives import elementwise
from rushlight.primitives.interpreter import recording
from rushlight.tensor.tensor import wrap


class Abstract:
    """An array of which code may read shape, dtype, ndim and size, and nothing else."""

    __slots__ = ("_hidden", "dtype", "ndim", "shape", "size")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._hidden = array
        self.shape, self.dtype, self.ndim, self.size = (
            array.shape,
            array.dtype,
            array.ndim,
            array.size,
        )


def _reflected(function: Any) -> Any:
    return lambda self, other: function(other, self)


for _name, _function in {
    "add": elementwise.add,
    "sub": elementwise.sub,
    "mul": elementwise.mul,
    "truediv": elementwise.div,
}.items():
    setattr(Abstract, f"__{_name}__", _function)
    setattr(Abstract, f"__r{_name}__", _reflected(_function))
Abstract.__neg__ = elementwise.neg  # type: ignore[attr-defined]


class CheckingRecorder:
    """Runs each recorded call at once, and compares the result with what the primitive's rule promised."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.writes = 0

    def record(self, primitive: Any, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        self.calls.append(primitive.name)
        for operand in operands:
            if isinstance(operand, np.ndarray) and operand.ndim:
                raise AssertionError(
                    f"{primitive.name}: a concrete array {operand.shape} among traced operands"
                )
        hash(primitive.record(params))
        promised = primitive.rule(*operands, **params)
        arrays = [o._hidden if isinstance(o, Abstract) else o for o in operands]
        result = primitive.evaluate(tuple(arrays), params)
        results = result if isinstance(result, tuple) else (result,)
        promises = promised if isinstance(promised, tuple) else (promised,)
        values = []
        for value, promise in zip(results, promises, strict=True):
            array = np.asarray(value)
            if (array.shape, array.dtype) != (tuple(promise.shape), promise.dtype):
                raise AssertionError(
                    f"{primitive.name}: the rule promised {promise}, the reference gave {array.dtype}{array.shape}"
                )
            values.append(Abstract(array))
        return tuple(values) if isinstance(result, tuple) else values[0]

    def draw(self, stream: Any, generator: Any, arguments: tuple[Any, ...]) -> Any:
        self.calls.append(stream.__name__)
        return Abstract(
            stream(generator, *(a._hidden if isinstance(a, Abstract) else a for a in arguments))
        )

    def reseed(self, generator: Any, seed: int) -> None:
        with recording(None):
            generator.manual_seed(seed)

    def write(self, tensor: Any, value: Any) -> None:
        self.writes += 1
        tensor._array = value

    def viewed(self, view: Any, source: Any, steps: Any) -> None:
        """A trace would note how the view relates to its base."""
        self.calls.append("view")


def hidden(tensor: Any) -> Any:
    """A tensor like this one whose elements can't be read."""
    other = wrap(Abstract(tensor._array))
    other._requires_grad = tensor._requires_grad
    return other


def revealed(tensor: Any) -> Any:
    """The elements behind a hidden tensor."""
    array = tensor._array
    return array._hidden if isinstance(array, Abstract) else array


def checking() -> Any:
    """Context manager: primitives in this thread go through a CheckingRecorder."""
    return recording(CheckingRecorder())
