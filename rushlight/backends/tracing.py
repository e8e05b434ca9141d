"""Traces a function of arrays: what it computes, as a graph of primitives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.values import Abstract
from rushlight.primitives.interpreter import recording
from rushlight.primitives.primitive import Aval


class Untraceable(Exception):
    """The function does more than compute arrays from arrays."""


class Traced:
    """A function's graph, and how its result is put together of the graph's outputs.

    `inputs` are the arrays that it was traced on, in the order of the graph's first inputs; `constants` are arrays
    that it made itself, the inputs after them. `structure` is None for one array, else a tuple with the number of an
    output, or None, for each item of the result.
    """

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> None:
        recorder = _Recorder()
        with recording(recorder):
            given = [recorder.given(a) for a in args]
            self.inputs = len(recorder.inputs)
            result = function(*given, **kwargs)
            outputs: list[Var] = []
            self.structure: tuple[int | None, ...] | None = None
            if type(result) in (tuple, list):
                self.structure = tuple(recorder.taken(item, outputs) for item in result)
            elif recorder.taken(result, outputs) is None:
                raise Untraceable("there is no result")
        self.constants = recorder.constants
        self.graph = Graph(recorder.inputs, recorder.equations, outputs)


class _Recorder:
    """What the interpreter's slot holds meanwhile."""

    def __init__(self) -> None:
        self.inputs: list[Var] = []
        self.equations: list[Equation] = []
        self.constants: list[Any] = []
        #: By id of a constant: it, and its value in the graph.
        self._known: dict[int, tuple[Any, Abstract]] = {}

    def given(self, value: Any) -> Any:
        """An argument: arrays become inputs, also those inside of lists."""
        if isinstance(value, np.ndarray):
            return self._input(value)
        if type(value) in (list, tuple) and any(isinstance(v, np.ndarray) for v in value):
            return [self.given(v) for v in value]
        return value

    def _input(self, array: Any) -> Abstract:
        var = Var(Aval(array.shape, array.dtype))
        self.inputs.append(var)
        return Abstract(var)

    def taken(self, value: Any, outputs: list[Var]) -> int | None:
        """One result: its number among the outputs."""
        if value is None:
            return None
        if not isinstance(value, Abstract):
            raise Untraceable("a result does not depend on the arguments")
        outputs.append(value.var)
        return len(outputs) - 1

    def record(self, primitive: Any, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Notes a call of a primitive; gives its abstract results."""
        promised = primitive.rule(*operands, **params)
        avals = promised if isinstance(promised, tuple) else (promised,)
        given = [self._operand(o) for o in operands]
        equation = Equation(primitive, given, params, avals)
        self.equations.append(equation)
        results = tuple(Abstract(o) for o in equation.outputs)
        return results if isinstance(promised, tuple) else results[0]

    def _operand(self, operand: Any) -> Any:
        if isinstance(operand, Abstract):
            return operand.var
        if isinstance(operand, (np.ndarray, np.generic)):
            known = self._known.get(id(operand))
            if known is None:
                array = np.asarray(operand, order="C")
                # The operand is kept: another object must not get its id while this one counts.
                known = self._known[id(operand)] = (operand, self._input(array))
                self.constants.append(array)
            return known[1].var
        return operand

    def draw(self, stream: Any, generator: Any, arguments: tuple[Any, ...]) -> Any:
        """Random numbers change their generator: no graph can say that."""
        raise Untraceable("random numbers are drawn")

    def write(self, tensor: Any, value: Any) -> None:
        """A tensor is no array."""
        raise Untraceable("a tensor is written")

    def viewed(self, view: Any, source: Any, steps: Any) -> None:
        """A tensor is no array."""
        raise Untraceable("a view of a tensor is taken")
