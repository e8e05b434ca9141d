"""`Program`: one traced call of a function, ready to be repeated on the state and arguments of the moment."""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from sys import getrefcount
from typing import Any

import numpy as np

from rushlight.capture.execution import make_executable
from rushlight.capture.guards import Guards, Kind, kind_of
from rushlight.capture.recorder import MovingNumbers, NewState, Recorder, Unsuitable
from rushlight.capture.results import Results
from rushlight.capture.state import Scan, hyper_parameter
from rushlight.capture.trace import Trace
from rushlight.capture.vjp import Vjp
from rushlight.compiler.graph import Var
from rushlight.tensor.storage import version_of
from rushlight.tensor.tensor import Tensor, wrap

NOTHING: frozenset[int] = frozenset()
#: References that `max(map(getrefcount, objects))` counts to an object that only the list `objects` holds.
ALONE = max(map(getrefcount, [object()]))


class Program:
    """A compiled call: where its inputs come from, and where its results go.

    A call does work only for what has changed since the last one: arrays that are the same objects are at the same
    addresses, and memory of results that nobody else holds is written again.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: Any,
        kwargs: Any,
        scan: Scan,
        dynamic: frozenset[str],
        rescan: Callable[[], Scan],
    ) -> None:
        trace = Trace(scan, dynamic)
        recorder = trace.recorder
        results = self._results = Results(trace)
        self.vjp: Vjp | None = None
        #: When it was called last, in calls of its function.
        self.called = 0

        def finish(returned: Any) -> None:
            results.collect(returned)
            if results.outside:
                self.vjp = Vjp(recorder, scan, results.outside, results.outputs)

        try:
            try:
                trace.run(function, args, kwargs, finish)
            finally:
                trace.restore()
            _check_structure(scan, rescan())
        except BaseException:
            trace.undo_effects()
            raise
        self.graph = recorder.graph(results.outputs) if self.vjp is None else self.vjp.forward
        self.executable = make_executable(self.graph, results.writable)
        self.loose = results.loose
        self._effects = recorder.effects
        self._guards = Guards(scan, [holds for phase, holds in recorder.guards if phase == 0])
        self._number_inputs(recorder)
        self._numbered = [*scan.groups, *scan.schedulers]  # whose numbers the program reads
        self._connect(scan)
        self._first = True
        scan.settle()

    # -- where everything is -------------------------------------------------------------------------------

    def _number_inputs(self, recorder: Recorder) -> None:
        """Sorts the graph's inputs by where they come from."""
        #: (input, tensor of the scan)
        self._from_tensors: list[tuple[int, int]] = []
        #: (array of the input, how the number is read, phase)
        self._from_numbers: list[tuple[Any, Callable[[], float], int]] = []
        self._chance = recorder.chance.actions
        needed = self._needed_inputs()
        for i, (kind, *source) in enumerate(recorder.sources):
            if kind == "tensor":
                if i in needed:
                    self._from_tensors.append((i, source[0]))
            elif kind == "number":
                phase, read, value = source
                array = np.full((), value)
                self.executable.bind(i, array)
                self._from_numbers.append((array, read, phase))
            elif kind == "array":
                self.executable.bind(i, source[0])

    def _needed_inputs(self) -> set[int]:
        """The graph's inputs that are read or written: a gradient that is only replaced is neither."""
        graph = self.executable.graph
        used = {o for e in graph.equations for o in e.operands if isinstance(o, Var)}
        used.update(graph.outputs)
        needed = {i for i, var in enumerate(graph.inputs) if var in used}
        needed.update(i for _, i in self._results.writable)
        if self.vjp is not None:
            needed.update(i for i, _ in self.vjp.kept_inputs)
        return needed

    def adopt(self, scan: Scan) -> bool:
        """Takes the tensors of another walk that came out the same; False if its numbers are other ones."""
        numbers = [*scan.groups, *scan.schedulers]
        if len(numbers) != len(self._numbered) or not all(map(is_, numbers, self._numbered)):
            return False
        for found, locator in zip(scan.tensors, self._locators, strict=True):
            if locator[0] == "slot":
                found.locator = locator
        self._guards.adopt(scan)
        self._connect(scan)
        scan.settle()
        return True

    def _connect(self, scan: Scan) -> None:
        """Ties inputs and results to the tensors that a walk has found."""
        results, vjp = self._results, self.vjp
        locators = self._locators = [f.locator for f in scan.tensors]
        read = {k for _, k in self._from_tensors}
        used = read | {*results.written, *results.cleared, *results.returned}
        used |= {k for _, k in results.grads}
        if vjp is not None:
            used |= {*vjp.wanted, *vjp.saved_tensors}
        needed = used | {locators[k][1] for k in used if locators[k][0] == "grad"}
        #: The tensors of the state; those that are found anew at each call are set then.
        self._tensors: list[Any] = [
            f.tensor if f.locator[0] == "fixed" else None for f in scan.tensors
        ]
        self._moving = [(k, *locators[k]) for k in sorted(needed) if locators[k][0] != "fixed"]
        #: Tensors of the state that are found anew, and what their arrays must be: nobody else has checked that.
        self._unchecked: list[tuple[int, Kind]] = [
            (k, kind_of(scan.tensors[k].tensor._array))
            for k in sorted(read)
            if locators[k][0] in ("grad", "slot")
        ]
        self._state_ids = {id(t) for t in self._guards.tensors}
        bases = [t if t._base is None else t._base for t in scan.arguments]
        #: For each argument: the tensor of the state that it is or looks into, and how.
        self._origins = [
            (base, t._steps) if id(base) in self._state_ids else (None, ())
            for t, base in zip(scan.arguments, bases, strict=True)
        ]
        self._written_arguments = [
            locators[k][1] for k in results.written if locators[k][0] == "argument"
        ]
        place = {id(t): n for n, t in enumerate(self._guards.tensors)}
        #: (input, place among the guards' arrays), and (input, tensor) of those that are found anew.
        self._fixed_inputs: list[tuple[int, int]] = []
        self._moving_inputs: list[tuple[int, int]] = []
        for i, k in self._from_tensors:
            if locators[k][0] == "fixed":
                self._fixed_inputs.append((i, place[id(self._tensors[k])]))
            else:
                self._moving_inputs.append((i, k))
        self._bound: Any = None  # the guards' arrays that the executable knows
        self._known_numbers: Any = None  # the guards' numbers that it knows
        fixed_writes = [k for k in results.written if locators[k][0] == "fixed"]
        self._versions = [version_of(self._tensors[k]) for k in fixed_writes]
        self._moving_writes = [k for k in results.written if locators[k][0] != "fixed"]
        reads_grads = {locators[k][1] for k in read if locators[k][0] == "grad"}
        self._other_grads = [(n, k) for n, k in results.grads if k in reads_grads]
        #: Outputs and owners of gradients whose old memory may be written: the program does not read it.
        self._grad_outputs = [n for n, k in results.grads if k not in reads_grads]
        self._grad_owners = [k for _, k in results.grads if k not in reads_grads]
        self._all_grads = frozenset(self._grad_outputs)
        owners: list[Any] = [self._tensors[k] for k in self._grad_owners]
        #: Those owners, if they are the same tensors at every call.
        self._owners = None if any(t is None for t in owners) else owners
        self._made: list[Any] = []  # the gradients that the last call made

    # -- calls ---------------------------------------------------------------------------------------------

    def fits(self, arguments: list[Tensor]) -> bool:
        """Whether the program does now what the function would do; makes ready for the call."""
        if not self._guards.hold() or not self._aliases_fit(arguments):
            return False
        tensors = self._tensors
        for k, kind, *where in self._moving:
            if kind == "argument":
                tensors[k] = arguments[where[0]]
            elif kind == "grad":
                tensors[k] = tensors[where[0]]._grad
            else:
                tensors[k] = where[0][where[1]]
        return not self._unchecked or all(
            kind_of(tensors[k]._array) == kind for k, kind in self._unchecked
        )

    def _aliases_fit(self, arguments: list[Tensor]) -> bool:
        """Whether arguments are, or look into, the tensors of the state that they did when the program was traced."""
        state = self._state_ids
        for tensor, (origin, steps) in zip(arguments, self._origins, strict=True):
            base = tensor if tensor._base is None else tensor._base
            if id(base) in state:
                if base is not origin or tensor._steps != steps:
                    return False
            elif origin is not None:
                return False
        if self._written_arguments:
            arrays = [a._array for a in arguments]
            for i in self._written_arguments:
                if any(np.may_share_memory(arrays[i], a) for n, a in enumerate(arrays) if n != i):
                    return False
        return True

    def __call__(self) -> Any:
        """Runs on the state of now; `fits` has just said that it may."""
        executable, tensors, results = self.executable, self._tensors, self._results
        if self._guards.arrays is not self._bound:
            arrays = self._bound = self._guards.arrays
            for i, n in self._fixed_inputs:
                executable.bind(i, arrays[n])
        for i, k in self._moving_inputs:
            executable.bind(i, tensors[k]._array)
        if self._effects or self._guards.numbers is not self._known_numbers:
            self._read_numbers()
        for i, function, generator, given in self._chance:
            drawn = function(generator, *given)
            if i >= 0:
                executable.bind(i, drawn)
        again = self._grads_to_write_again()
        outputs = executable.call(again)
        for version in self._versions:
            version.count += 1
        for k in self._moving_writes:
            version_of(tensors[k]).count += 1
        if again is not self._all_grads:
            self._give_grads(outputs)
        for n, k in self._other_grads:
            tensors[k]._grad = wrap(outputs[n])
        for n, container, key in results.slots:
            container[key] = wrap(outputs[n])
        for k in results.cleared:
            tensors[k]._grad = None
        if self.vjp is not None:
            outputs = self.vjp.attach(outputs, executable.inputs, tensors, results.outside)
        result = results.structure.build(outputs, tensors)
        for k, *_ in self._moving:
            tensors[k] = None
        return result

    # -- numbers -------------------------------------------------------------------------------------------

    def _read_numbers(self) -> None:
        """Hyper-parameters of the moment; a scheduler that is stepped inside acts between its before and after."""
        if self._first:  # the first call runs with the numbers of its trace
            self._first = False
        elif not self._effects:
            self._known_numbers = self._guards.numbers
            for array, read, _ in self._from_numbers:
                array[()] = read()
        else:
            for phase, effect in enumerate([*self._effects, None]):
                for array, read, when in self._from_numbers:
                    if when == phase:
                        array[()] = read()
                if effect is not None:
                    effect()

    # -- gradients -----------------------------------------------------------------------------------------

    def _grads_to_write_again(self) -> frozenset[int]:
        """The outputs that may be written into the memory of the gradients that the last call has made.

        That is so if the tensors still have them and nobody else does: to a gradient its owner, the guards and the
        list of those made refer, to its array the gradient and the executable; the rest is what `ALONE` counts.
        """
        made, owners = self._made, self._owners
        if not made or owners is None:
            return NOTHING
        grads = [owner._grad for owner in owners]
        if all(map(is_, grads, made)):
            arrays = [grad._array for grad in grads]
            last = map(self.executable.last.__getitem__, self._grad_outputs)
            if (
                all(map(is_, arrays, last))
                and max(map(getrefcount, grads)) <= ALONE + 3
                and max(map(getrefcount, arrays)) <= ALONE + 2
            ):
                return self._all_grads
        self._made = []
        return NOTHING

    def _give_grads(self, outputs: list[Any]) -> None:
        tensors = self._tensors
        made = [wrap(outputs[n]) for n in self._grad_outputs]
        for k, grad in zip(self._grad_owners, made, strict=True):
            tensors[k]._grad = grad
        self._made = made


def _check_structure(before: Scan, after: Scan) -> None:
    """Refuses a function that changes Python values which a trace depends on."""
    if after.structure != before.structure:
        paths = {**before.structure, **after.structure}
        changed = [p for p in paths if before.structure.get(p) != after.structure.get(p)]
        names = {n for n in map(hyper_parameter, changed) if n}
        if all(map(hyper_parameter, changed)) and not names & before.dynamic:
            raise MovingNumbers(names)
        if all(p.startswith(tuple(before.state_paths)) for p in changed):
            raise NewState("an optimizer's first step makes its state")
        raise Unsuitable(
            f"it changes {changed[0]}, which is no tensor: a program could not repeat that"
        )
