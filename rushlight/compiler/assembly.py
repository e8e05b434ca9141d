"""From groups to kernels: memory for every value, lowerings called in order, results put where they are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.grouping import REDUCTIONS, Group, Grouping
from rushlight.compiler.layout import choose_layouts, turn_inputs
from rushlight.compiler.looping import Leaf, LoopWriter
from rushlight.compiler.pairing import find_pairs
from rushlight.compiler.placement import Placement, bytes_of
from rushlight.compiler.sinks import (
    FusedSink,
    PooledSink,
    leaves_none_over,
    may_pool_first,
    pools_alone,
    pools_side_by_side,
)
from rushlight.compiler.views import look
from rushlight.core.shapes import size_of
from rushlight.loops.arrays import KINDS, Array, Memory, Sink
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.target import Target
from rushlight.primitives.lowerings import depthwise, load_all
from rushlight.primitives.lowerings.contraction import lower_pair
from rushlight.primitives.lowerings.copying import copy_into
from rushlight.primitives.lowerings.elementwise import LOWERED, may_raise
from rushlight.primitives.lowerings.products.tiling import STREAM, goes_along_rows


class HostStep:
    """An equation that runs by its reference, between native kernels."""

    def __init__(
        self, equation: Equation, operands: Sequence[Any], results: Sequence[Array]
    ) -> None:
        self.equation, self.operands, self.results = equation, tuple(operands), tuple(results)


def lowered(equation: Equation) -> str:
    """How an equation can be done: element, reduce, heavy or host."""
    primitive = equation.primitive
    dtypes = [o.dtype for o in (*equation.operands, *equation.outputs) if isinstance(o, Var)]
    if any(d.name not in KINDS for d in dtypes):
        return "host"
    if any(isinstance(o, complex) for o in equation.operands):
        return "host"
    if primitive.name in LOWERED:
        if may_raise(primitive.name, dtypes[0], equation.operands[-1]):
            return "host"
        return "element"
    if primitive.name in REDUCTIONS:
        return (
            "reduce"
            if equation.operands[0].size or primitive.name not in ("reduce_max", "reduce_min")
            else "host"
        )
    if primitive.name in ("full", "copy", "contiguous_copy"):
        return "copy"
    if primitive.name in ("reshape", "expand", "permute", "slice", "diagonal", "windows"):
        return "host"
    if primitive.name in ("concatenate", "slice_update"):
        return "heavy"
    return "heavy" if primitive.lowering is not None else "host"


class Assembly:
    """The steps of a program (kernels and host steps) with the arrays they work on."""

    def __init__(
        self,
        graph: Graph,
        target: Target,
        writable: Sequence[tuple[int, int]] = (),
        strides: Mapping[int, Sequence[int]] | None = None,
        safe: int = -1,
        streams: bool = False,
    ) -> None:
        load_all()
        graph, self._layouts = turn_inputs(graph, choose_layouts(graph, target))
        self.graph, self.target = graph, target
        self.grouping = Grouping(graph, lowered, self._pools, self._keeps_apart)
        self.steps: list[Kernel | HostStep] = []
        #: By id of a step that may fail: the number of the group that it belongs to.
        self._risky: dict[int, int] = {}
        self.plan = Plan(target)
        self.faults = self.plan.faults
        self.scratches: list[Array] = []
        #: By id of a kernel: the equation that it is there for.
        self.scopes: dict[int, Equation] = {}
        self._group: Group | None = None  # whose kernels are being written
        #: Where values lie; the lists are its own.
        self.places = Placement(
            graph, self.grouping, self._layouts, writable, strides or {}, safe, streams
        )
        self.arrays, self.inputs, self.outputs = (
            self.places.arrays,
            self.places.inputs,
            self.places.outputs,
        )
        self._uses: dict[Var, int] = {}
        for equation in graph.equations:
            for operand in equation.operands:
                if isinstance(operand, Var):
                    self._uses[operand] = self._uses.get(operand, 0) + 1
        #: Groups whose kernel also does what another one would, later.
        self._pairs = {
            first: second
            for first, second in find_pairs(self.grouping, self.places.overwritten).items()
            if first.number > safe
        }
        #: The groups that come forward so, and where to.
        self._moved = {second: first.number for first, second in self._pairs.items()}
        for group in self.grouping.groups:
            if group in self._pairs:
                self._emit_pair(group, self._pairs[group])
            elif group not in self._moved:
                self._emit(group)
        state = [self.inputs[number] for _, number in writable]
        self._store_copies(state)
        self._check_first(state)

    def _pools(self, head: Equation, pooling: Equation) -> bool:
        """Whether a convolution's kernel can pool its own result: windows lie side by side, as its pixels do."""
        result = head.outputs[0]
        return (
            head.primitive.name == "convolve"
            and result.dtype.kind == "f"
            and result.dtype.itemsize >= 4
            and len(pooling.params["size"]) == result.ndim - 2
            and not depthwise.suits(head.operands[1].shape, head.params["groups"])
            and pools_side_by_side(pooling.params)
            and (leaves_none_over(result, pooling) or pools_alone(head, pooling, self.graph))
        )

    def _keeps_apart(self, head: Equation, state: int) -> bool:
        """Whether an optimizer's update should not be made tile by tile, as its state lies in no cache."""
        if head.primitive.name != "contract":
            return False
        terms = size_of(head.operands[0].shape[i] for i in head.params["axes_a"])
        far = state > self.target.second_cache // 16
        return far and not goes_along_rows(terms, STREAM, self.target)

    # -- outputs -----------------------------------------------------------------------------------------------

    def _check_first(self, state: Sequence[Array]) -> None:
        """Moves checks of what the caller gives to the front; finds whether state is written before another check."""
        given = {id(a.memory) for a in self.inputs} - {id(a.memory) for a in state}
        given.add(id(self.plan.status.memory))

        def memories(step: Kernel) -> set[int]:
            return {id(a.memory) for a in step.arrays}

        kernels = [s for s in self.steps if isinstance(s, Kernel)]
        early: set[int] = set()
        for number, step in enumerate(self.steps):
            if not isinstance(step, Kernel) or not step.checks:
                continue
            made = {
                id(a.memory) for a in step.arrays
            } - given  # indices that are copied or counted first
            makers = [
                s
                for s in self.steps[:number]
                if isinstance(s, Kernel) and any(id(a.memory) in made for a in s.arrays)
            ]
            if all(id(a.memory) in given | made for s in makers for a in s.arrays) and (
                makers or not made
            ):
                early.update(map(id, [*makers, step]))
                if not any("update" in s.name for s in kernels if made & memories(s)):
                    given |= made
        first = [s for s in self.steps if id(s) in early]
        self.steps = [*first, *(s for s in self.steps if id(s) not in early)]
        written = {id(a.memory) for a in state}
        owners = [v for v, array in self.places.claimed.items() if id(array.memory) in written]
        owned = [self.grouping.group_of[v] for v in owners]
        begins = min((self._moved.get(g, g.number) for g in owned), default=None)
        #: The last group that holds a step which may fail, but for those that come first.
        self.last_risk = max((n for key, n in self._risky.items() if key not in early), default=-1)
        #: Whether a step that may fail comes after one that has changed the caller's state.
        self.writes_early = begins is not None and begins < self.last_risk

    def _store_copies(self, state: Sequence[Array]) -> None:
        """Copies values to where the caller wants them; what lies in state that is written is first taken aside."""
        written = {id(array.memory) for array in state}
        copies = []
        for var, array in self.places.copies:
            self._group = self.grouping.group_of.get(self.grouping.root(var))
            source = self.array(var)
            if id(source.memory) in written:
                aside = self.places.allocate(Var(var.aval), None)
                self._copy(source, aside, "keep")
                source = aside
            copies.append((source, array))
        for source, array in copies:
            self._copy(source, array, "store")

    # -- arrays --------------------------------------------------------------------------------------------------

    def array(self, var: Var) -> Array:
        """Where a value lies; views are resolved, virtual values and views that need a copy are made now."""
        found = self.arrays.get(var)
        if found is not None:
            return found
        view = self.grouping.views.get(var)
        if view is not None:
            source = self.array(view.operands[0])
            found = look(source, view)
            if found is None:
                target = self.places.allocate(var, None)
                assert view.primitive.name == "reshape"  # noqa: S101 - all other views are looks
                whole = target.reshape(source.shape)
                assert whole is not None  # noqa: S101 - contiguous memory takes any shape
                self._copy(source, whole, "copy")
                found = target
        else:
            found = self.places.allocate(var, None)
            self.arrays[var] = found
            self._loop(
                "fill", var.shape, (), {var: self._virtual_leaf(var, var.shape)}, {var: found}, None
            )
        self.arrays[var] = found
        return found

    def _virtual_leaf(self, var: Var, shape: Sequence[int]) -> Leaf:
        """A leaf for a virtual value, or a view of one, broadcast to a shape."""
        chain: list[Equation] = []
        at = var
        while at in self.grouping.views:
            chain.append(self.grouping.views[at])
            at = chain[-1].operands[0]
        equation = self.grouping.virtual[at]
        array = Array(
            Memory(0, "virtual"),
            at.dtype,
            at.shape,
            [0] * at.ndim if equation.primitive.name == "full" else None,
        )
        for view in reversed(chain):
            if equation.primitive.name == "full":
                array = Array(
                    array.memory,
                    view.outputs[0].dtype,
                    view.outputs[0].shape,
                    [0] * view.outputs[0].ndim,
                )
                continue
            seen = look(array, view)
            if seen is None:
                return Leaf(var, self.array(var).expand(shape))
            array = seen
        return Leaf(var, array.expand(shape), equation)

    def leaves(
        self, group: Group, equations: Sequence[Equation], shape: Sequence[int]
    ) -> dict[Var, Leaf]:
        """What a group's elementwise equations read from outside, broadcast to the loop's shape."""
        found: dict[Var, Leaf] = {}
        for equation in equations:
            for operand in equation.operands:
                if not isinstance(operand, Var) or operand in group.members or operand in found:
                    continue
                root = self.grouping.root(operand)
                if root in self.grouping.virtual and operand not in self.arrays:
                    virtual = self.grouping.virtual[root]
                    if not (virtual.primitive.name == "full" and operand.dtype != root.dtype):
                        found[operand] = self._virtual_leaf(operand, shape)
                        continue
                found[operand] = Leaf(operand, self.array(operand).expand(shape))
        return found

    # -- emission -------------------------------------------------------------------------------------------------

    def _emit(self, group: Group) -> None:
        self._group = group
        if group.kind == "loop":
            leaves = self.leaves(group, group.equations, group.shape)
            outputs = {v: self.places.allocate(v, group) for v in group.outputs}
            self.arrays.update(outputs)
            if outputs:
                stem = _stem(group)
                self._loop(stem, group.shape, group.equations, leaves, outputs, group.axes)
        else:
            self._emit_heavy(group)
        self._flush()

    def _emit_pair(self, gradient: Group, update: Group) -> None:
        """An input's gradient and the update of the weight that it reads: by one kernel, or one after the other."""
        products = []
        for group in (gradient, update):
            self._group = group
            head = group.equations[0]
            operands = [self._operand(o) for o in head.operands]
            self._flush()
            products.append((self._sinks(group, operands), operands, head.params))
        if lower_pair(self.plan, *products):
            self._flush()
        else:
            self._emit(gradient)
            self._emit(update)

    def _flush(self) -> None:
        """Moves the plan's new kernels to the program."""
        equations = [] if self._group is None else self._group.equations
        origin = next((e for e in equations if e.scope), equations[0] if equations else None)
        for kernel in self.plan.kernels:
            if origin is not None:
                self.scopes[id(kernel)] = origin
            if kernel.checks and self._group is not None:
                self._risky[id(kernel)] = self._group.number
            self.steps.append(kernel)
        self.plan.kernels.clear()
        self.scratches += self.plan.scratches
        self.plan.scratches.clear()

    def _emit_heavy(self, group: Group) -> None:
        head = group.equations[0]
        if group.kind == "copy" or (group.kind == "heavy" and head.primitive.name in ("full",)):
            self._emit_copy(group)
            return
        if head.primitive.name == "concatenate" and group.kind == "heavy":
            self._emit_concatenation(group)
            return
        if head.primitive.name == "slice_update" and group.kind == "heavy":
            self._emit_update(group)
            return
        operands = [self._operand(o) for o in head.operands]
        self._flush()
        results = head.outputs
        if group.kind == "heavy":
            sinks = self._sinks(group, operands)
            if not sinks:
                return
            lowering = head.primitive.lowering
            assert lowering is not None  # noqa: S101 - the group is heavy
            if lowering(self.plan, sinks, tuple(operands), **head.params) is not False:
                return
            self.plan.kernels.clear()
            self.plan.scratches.clear()
        targets = []
        for v in results:
            array = self.arrays.get(v)
            if array is None or v not in group.outputs:
                array = self.arrays[v] = self.places.allocate(v, None)
            targets.append(array)
        self.steps.append(HostStep(head, operands, targets))
        self._risky[id(self.steps[-1])] = group.number
        rest = group.equations[1:]
        if rest:
            group.members.discard(results[0])
            leaves = self.leaves(group, rest, group.shape)
            outputs = {v: self.arrays[v] for v in group.outputs if v not in results}
            self._loop("after_" + head.primitive.name, group.shape, rest, leaves, outputs, None)

    def _sinks(self, group: Group, operands: Sequence[Any]) -> tuple[Sink, ...]:
        """Where the results of a heavy group's head go; nowhere if nobody needs them."""
        head = group.equations[0]
        results = head.outputs
        if group.members:
            outputs = {v: self.places.allocate(v, group) for v in group.outputs}
            if not outputs:
                return ()
            self.arrays.update(outputs)
            followed = {v: a for v, a in outputs.items() if v not in results[1:]}
            if not followed:  # nobody wants the first of several results
                followed = {results[0]: self.places.allocate(results[0], None)}
            if list(followed) == [results[0]] and len(group.equations) == 1:
                first: Sink = Sink(followed[results[0]])
            else:
                looks = self.leaves(group, group.following, group.shape)
                self._flush()
                if group.pooling is None:
                    first = FusedSink(group, followed, looks)
                else:
                    late = may_pool_first(group, looks, self.graph)
                    first = PooledSink(group, followed, looks, late)
            others = [outputs.get(v) or self.places.allocate(v, None) for v in results[1:]]
            return (first, *map(Sink, others))
        reused = dict(head.primitive.reuses)
        for n, v in enumerate(results):
            free = n in reused and self._is_left(head, reused[n], v, group)
            self.arrays[v] = operands[reused[n]] if free else self.places.allocate(v, group)
        return tuple(Sink(self.arrays[v]) for v in results)

    def _is_left(self, head: Equation, number: int, result: Var, group: Group) -> bool:
        """Whether a result may lie where an operand lies: nobody needs that after this equation."""
        var = head.operands[number]
        root = self.grouping.root(var)
        read = [self.grouping.root(o) for o in head.operands if isinstance(o, Var)]
        return (
            var.aval == result.aval
            and var.size == root.size
            and root in self.grouping.group_of
            and read.count(root) == 1
            and not {root, result} & (self.places.claimed.keys() | self.places.destinations.keys())
            and self._is_done(root, group.number)
            and self.array(var).memory is self.array(root).memory
            and self.array(var).is_contiguous
        )

    def _is_done(self, root: Var, number: int) -> bool:
        """Whether nobody needs a value after the group of this number, nor the parts that lie in its memory."""
        if root in map(self.grouping.root, self.graph.outputs):
            return False
        if self.grouping.last_reader.get(root, -1) > number:
            return False
        parts = [v for v, (head, _) in self.places.destinations.items() if head.outputs[0] is root]
        return all(self._is_done(part, number) for part in parts)

    def _emit_concatenation(self, group: Group) -> None:
        head = group.equations[0]
        result = head.outputs[0]
        whole = self.places.whole(head)
        self.arrays[result] = whole
        axis = head.params["axis"]
        start = 0
        for operand in head.operands:
            starts, stops = [0] * whole.ndim, list(whole.shape)
            starts[axis], stops[axis] = start, start + operand.shape[axis]
            start = stops[axis]
            place = whole.slice(starts, stops, [1] * whole.ndim)
            source = self.array(operand)
            if source.memory is not whole.memory or (source.offset, source.strides) != (
                place.offset,
                place.strides,
            ):
                self._copy(source, place, "concatenate")
        self._rest(group)

    def _emit_update(self, group: Group) -> None:
        """A slice is written into the memory of what it replaces a part of, if nobody needs that any more."""
        head = group.equations[0]
        base, value = head.operands
        result = head.outputs[0]
        root = self.grouping.root(base)
        source = self.array(base)
        free = (
            root not in self.graph.inputs
            and root not in self.places.claimed
            and result not in self.places.claimed
            and result not in self.places.destinations
            and root not in self.places.destinations
            and self._is_done(root, group.number)
            and (base is root or base.shape == root.shape)
        )
        if root in self.grouping.virtual:
            free = free and self._uses[root] == 1
        if free and source.is_contiguous:
            target = source
        else:
            target = self.places.allocate(result, None)
            self._copy(source, target, "update")
        self.arrays[result] = target
        params = head.params
        self._copy(
            self.array(value),
            target.slice(params["starts"], params["stops"], params["steps"]),
            "update",
        )
        self._rest(group)

    def _rest(self, group: Group) -> None:
        """The equations behind a head that needs no kernel which could take them."""
        rest = group.equations[1:]
        if not rest:
            return
        group.members.discard(group.equations[0].outputs[0])
        leaves = self.leaves(group, rest, group.shape)
        outputs = {
            v: self.places.allocate(v, None)
            for v in group.outputs
            if v is not group.equations[0].outputs[0]
        }
        self.arrays.update(outputs)
        self._loop(
            "after_" + group.equations[0].primitive.name, group.shape, rest, leaves, outputs, None
        )

    def _emit_copy(self, group: Group) -> None:
        head = group.equations[0]
        result = head.outputs[0]
        outputs = {v: self.places.allocate(v, group) for v in group.outputs}
        self.arrays.update(outputs)
        source = head.operands[0]
        if isinstance(source, Var) and list(outputs) == [result] and source.aval == result.aval:
            self._copy(self.array(source), outputs[result], "copy")
            return
        leaf = (
            Leaf(result, self.array(source).expand(result.shape))
            if isinstance(source, Var)
            else None
        )
        if leaf is None:
            leaf = Leaf(
                result,
                Array(Memory(0, "virtual"), result.dtype, result.shape, [0] * result.ndim),
                head,
            )
        elif source.dtype != result.dtype:  # full of a 0-d value of another dtype
            leaf = Leaf(result, leaf.array)
        leaves = {result: leaf, **self.leaves(group, group.equations[1:], group.shape)}
        self._loop(head.primitive.name, group.shape, group.equations[1:], leaves, outputs, None)

    def _operand(self, operand: Any) -> Any:
        if not isinstance(operand, Var):
            return operand
        return self.array(operand)

    def _loop(
        self, stem: str, shape: Sequence[int], equations: Sequence[Equation], leaves: dict[Var, Leaf],
        outputs: dict[Var, Array], axes: tuple[int, ...] | None,
    ) -> None:  # fmt: skip
        if any(a.size for a in outputs.values()):
            LoopWriter(self.plan, stem, tuple(shape), equations, leaves, outputs, axes).emit()
        self._flush()

    def _copy(self, source: Array, target: Array, stem: str) -> None:
        if target.size:
            if source.dtype.name in KINDS:
                copy_into(self.plan, Sink(target), source)
            else:
                self.steps.append(HostStep(_COPY, (source,), (target,)))
        self._flush()


def assemble(graph: Graph, target: Target, writable: Sequence[tuple[int, int]]) -> Assembly:
    """The steps of a program that changes no state of its caller before the last thing that may fail."""
    into = dict(writable)
    given = [*graph.inputs, *(v for n, v in enumerate(graph.outputs) if n not in into)]
    streams = sum(map(bytes_of, given)) > target.second_cache
    found = Assembly(graph, target, writable, streams=streams)
    if not found.writes_early:
        return found
    return Assembly(graph, target, writable, safe=found.last_risk, streams=streams)


def _copy_equation() -> Equation:
    from rushlight.primitives import structural

    return Equation(structural.copy.primitive, (), {}, ())


_COPY = _copy_equation()


def _stem(group: Group) -> str:
    names = [e.primitive.name for e in group.equations]
    shown = names if len(names) <= 4 else [*names[:3], names[-1]]
    return "_".join(n.removeprefix("reduce_") for n in shown)
