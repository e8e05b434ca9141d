"""`Recorder`: what the primitives' slot holds during a trace. It notes calls, draws, views and writes.

Views and writes are made functional: all tensors that look into one memory belong to a `Cell`, which has a current
value; a write through any of them gives the cell a new one, in which all of them are shown again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.autograd.modes import state
from rushlight.capture.chance import Chance
from rushlight.capture.numbers import Number
from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.values import Abstract
from rushlight.core.sites import describe, user_site
from rushlight.primitives import structural
from rushlight.primitives.primitive import Aval
from rushlight.primitives.views import show, update
from rushlight.random.generator import STATE_BYTES


class Unsuitable(Exception):
    """The function does something that no program of arrays can repeat; it is run as it is."""


#: Views whose strides NumPy finds without looking at elements.
_PLAIN_VIEWS = frozenset({"permute", "expand", "slice", "diagonal", "windows"})


def _strides_of(source: Any, steps: Any) -> tuple[int, ...] | None:
    """The strides of a view, as eager code would make it; None where they are not known."""
    outline = source.outline()
    for view, params in steps:
        name = view.primitive.name
        if name in _PLAIN_VIEWS:
            outline = view.primitive.reference(np, outline, **params)
        elif name == "reshape":
            try:
                outline = outline.reshape(params["shape"], copy=False)
            except ValueError:
                return None
        else:
            return None
    return tuple(outline.strides)


class MovingNumbers(Unsuitable):
    """Hyper-parameters change in the function itself (a scheduler's momentum): traced anew, they may."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(f"it changes hyper-parameters: {', '.join(sorted(names))}")
        self.names = names


class NewState(Unsuitable):
    """An optimizer makes the state of a parameter: this call is made eagerly, the next one may be compiled."""


class Cell:
    """One piece of memory in a trace: its current value, and the tensors that look into it."""

    __slots__ = ("initial", "lookers", "value", "written")

    def __init__(self, value: Abstract) -> None:
        self.value = self.initial = value
        self.lookers: list[tuple[Any, Any]] = []  # (tensor, steps)
        self.written = False


class Recorder:
    """Notes everything that happens to arrays, as equations of a graph."""

    def __init__(self) -> None:
        self.inputs: list[Var] = []
        #: Where each input's array comes from at a call: ("tensor", t), ("number", phase, read), ("array", a),
        #: ("chance",) for what an action of `chance` gives.
        self.sources: list[tuple[Any, ...]] = []
        self.chance = Chance(self._chance_input)
        self.equations: list[Equation] = []
        self.cells: dict[
            int, tuple[Cell, Any, Any]
        ] = {}  # by id of a tensor: cell, steps, the tensor
        self._arrays: dict[int, tuple[Any, Abstract]] = {}
        self._numbers: dict[int, tuple[Number, Var]] = {}
        self._kept: list[Any] = []
        self.phase = 0
        self.guards: list[tuple[int, Any]] = []
        self.effects: list[Any] = []
        self._scopes: dict[int, str] = {}

    # -- inputs --------------------------------------------------------------------------------------------

    def input(
        self, shape: tuple[int, ...], dtype: Any, source: tuple[Any, ...], name: str = ""
    ) -> Abstract:
        """A new input of the graph."""
        var = Var(Aval(tuple(shape), dtype), name=name)
        self.inputs.append(var)
        self.sources.append(source)
        return Abstract(var)

    def drop_input(self, number: int) -> None:
        """Takes back an input; those behind it move up."""
        del self.inputs[number], self.sources[number]
        self.chance.actions = [(a[0] - (a[0] > number), *a[1:]) for a in self.chance.actions]

    def guard(self, phase: int, holds: Any) -> None:
        """A condition under which the program stays right; it is asked before a call, and so before its effects."""
        if phase:
            raise Unsuitable(
                f"after a scheduler's step a hyper-parameter decides what happens at {describe(user_site(1))}"
            )
        self.guards.append((phase, holds))

    def constant(self, array: Any) -> Abstract:
        """An array that the program reads as it is."""
        array = np.asarray(array)
        found = self._arrays.get(id(array))
        if found is None:
            value = self.input(array.shape, array.dtype, ("array", array))
            found = self._arrays[id(array)] = (array, value)
        return found[1]

    def _number(self, number: Number, dtype: Any) -> Var:
        found = self._numbers.get(id(number))
        if found is None:
            value = self.input(
                (),
                np.dtype(np.float64),
                ("number", number.phase, number.read, number.value),
                "number",
            )
            found = self._numbers[id(number)] = (number, value.var)
        if dtype == np.float64:
            return found[1]
        return self._equation(
            structural.cast.primitive, (found[1],), {"dtype": dtype}, (Aval((), dtype),)
        ).outputs[0]

    # -- calls ---------------------------------------------------------------------------------------------

    def _equation(
        self, primitive: Any, operands: Any, params: dict[str, Any], avals: Any
    ) -> Equation:
        site = user_site(2)
        equation = Equation(
            primitive,
            operands,
            params,
            avals,
            self._scope(),
            "" if site is None else describe(site),
        )
        self.equations.append(equation)
        return equation

    def _scope(self) -> str:
        scope = state.scope
        if scope is None:
            return ""
        known = self._scopes.get(id(scope))
        if known is None:
            from rushlight.autograd.node import scope_path

            known = self._scopes[id(scope)] = scope_path(scope)
            self._kept.append(scope)
        return known

    def record(self, primitive: Any, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Notes a call of a primitive and gives its abstract results."""
        promised = primitive.rule(*operands, **params)
        avals = promised if isinstance(promised, tuple) else (promised,)
        given: list[Any] = []
        for operand in operands:
            if isinstance(operand, Abstract):
                given.append(operand.var)
            elif isinstance(operand, Number):
                given.append(
                    self._number(operand, self._beside(primitive, operands, params, avals))
                )
            elif isinstance(operand, (np.ndarray, np.generic)):
                given.append(self.constant(operand).var)
            else:
                given.append(operand)
        equation = self._equation(primitive, given, params, avals)
        results = tuple(Abstract(o) for o in equation.outputs)
        return results if isinstance(promised, tuple) else results[0]

    @staticmethod
    def _beside(
        primitive: Any, operands: tuple[Any, ...], params: dict[str, Any], avals: Any
    ) -> Any:
        """The dtype that a number takes beside these operands."""
        arrays = [o for o in operands if hasattr(o, "dtype") and not isinstance(o, Number)]
        if primitive.name == "select":
            arrays = [o for o in operands[1:] if hasattr(o, "dtype")]
        return arrays[0].dtype if arrays else params.get("dtype", avals[0].dtype)

    # -- chance --------------------------------------------------------------------------------------------

    def _chance_input(self, like: Any, name: str) -> tuple[int, Abstract]:
        value = self.input(like.shape, like.dtype, ("chance",), name)
        return len(self.inputs) - 1, value

    def draw(self, stream: Any, generator: Any, arguments: tuple[Any, ...]) -> Any:
        """Random numbers: drawn by the same function before every call of the program, in the same order."""
        if any(isinstance(a, Abstract) for a in arguments):
            raise Unsuitable(
                f"random numbers whose distribution is computed ({stream.__name__}) at {describe(user_site(1))}"
            )
        plain = tuple(float(a) if isinstance(a, Number) else a for a in arguments)
        return self.chance.draw(stream, generator, plain)

    def give_up(self, reason: str) -> Any:
        """The function does what no program can repeat: it stays eager, for this reason."""
        raise Unsuitable(f"{reason} (at {describe(user_site(1))})")

    def reseed(self, generator: Any, seed: int) -> None:
        """A generator starts the stream of a seed."""
        self.chance.reseed(generator, seed)

    def random_state(self, generator: Any) -> Any:
        """What stands for the state of a generator."""
        return self.chance.state(generator, np.empty(STATE_BYTES, np.uint8))

    def set_random_state(self, generator: Any, state: Any) -> None:
        """A generator goes back to a state that it had in this call."""
        if not self.chance.restore(generator, state):
            raise Unsuitable(
                f"a generator is set to a state from outside at {describe(user_site(1))}"
            )

    # -- memory --------------------------------------------------------------------------------------------

    def cell_of(self, tensor: Any) -> tuple[Cell, Any, Any]:
        """The cell of a tensor's memory; a new one for a tensor that was made in the trace."""
        found = self.cells.get(id(tensor))
        if found is None:
            array = tensor._array
            if not isinstance(array, Abstract):
                array = tensor._array = self.constant(array)
            cell = Cell(array)
            found = self.cells[id(tensor)] = (cell, (), tensor)
            cell.lookers.append((tensor, ()))
        return found

    def viewed(self, view: Any, source: Any, steps: Any) -> None:
        """A tensor was made that looks into another's memory."""
        if not isinstance(source._array, Abstract) and id(source) not in self.cells:
            return
        cell, before, _ = self.cell_of(source)
        if steps and view._array is not source._array:
            strides = _strides_of(source._array, steps)
            if strides is not None:
                view._array.lie(strides)
        self.cells[id(view)] = (cell, before + tuple(steps), view)
        cell.lookers.append((view, before + tuple(steps)))

    def write(self, tensor: Any, value: Any) -> None:
        """All elements of a tensor are replaced."""
        array = tensor._array
        if not isinstance(array, Abstract):
            raise Unsuitable(
                f"a tensor that was not found from the function (nor made in it) is written at {describe(user_site(2))}"
            )
        if value is array:
            return
        cell, steps, _ = self.cell_of(tensor)
        fitted = self.fitted(value, array)
        cell.value = update(cell.value, fitted, steps) if steps else fitted
        cell.written = True
        for other, chain in cell.lookers:
            before = other._array
            other._array = show(cell.value, chain)
            if isinstance(before, Abstract):
                other._array.lie(before.strides)

    def fitted(self, value: Any, like: Any) -> Any:
        """A value in the dtype and shape of what it is written to."""
        if not isinstance(value, Abstract):
            if isinstance(value, (np.ndarray, np.generic)):
                value = self.constant(value)
            else:
                value = structural.full(value, shape=(), dtype=like.dtype)
        if value.dtype != like.dtype:
            value = structural.cast(value, dtype=like.dtype)
        if value.shape != like.shape:
            value = structural.expand(value, shape=like.shape)
        return value

    # -- what runs on the host -----------------------------------------------------------------------------

    def replay(self, effect: Any) -> None:
        """Something that changes Python state (a scheduler's step): done now, and again at every call."""
        raise Unsuitable(f"{effect} changes Python state")

    def graph(self, outputs: list[Abstract]) -> Graph:
        """The graph with these results."""
        return Graph(self.inputs, self.equations, [o.var for o in outputs])
