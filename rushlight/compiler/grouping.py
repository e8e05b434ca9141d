"""Fusion: which equations run together, in one loop nest or behind one heavy kernel.

A group is
    loop    elementwise equations of one shape, computed element by element in registers, and reductions of them
            along one set of axes
    heavy   one primitive with a lowering of its own; elementwise equations of its result's shape may follow it
            before anything is stored
    host    one primitive that runs by its NumPy reference, between native kernels
    view    no code at all

Groups run in the order in which they were begun. An equation joins a group that makes one of its operands, if all its
other operands are ready before that group runs. Elementwise equations that nothing in a group leads to (a parameter's
decay, before its gradient is there) wait for the first equation that needs them, and go where that goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.compiler.graph import Equation, Graph, Var
from rushlight.compiler.views import VIEWS
from rushlight.loops.arrays import KINDS

REDUCTIONS = {
    "reduce_sum": "add", "reduce_prod": "mul", "reduce_max": "max", "reduce_min": "min",
    "reduce_all": "and", "reduce_any": "or",
}  # fmt: skip
#: Values that need no memory: what they hold follows from the index.
VIRTUAL = frozenset({"full", "iota"})
#: Equations that cost no more than loading their result would.
CHEAP = frozenset(
    {
        "add", "sub", "mul", "neg", "maximum", "minimum", "select", "cast", "square", "absolute", "greater", "less",
        "greater_equal", "less_equal", "equal", "not_equal", "logical_not", "logical_and", "logical_or",
    }
)  # fmt: skip
#: How many equations one loop may hold, and how many arrays it may read and write: registers and address units end.
MOST_EQUATIONS, MOST_ARRAYS = 64, 24


class Group:
    """Equations that become one kernel (or one call on the host)."""

    __slots__ = (
        "axes",
        "equations",
        "head",
        "kind",
        "members",
        "number",
        "outputs",
        "pooling",
        "reads",
        "shape",
    )

    def __init__(
        self, kind: str, number: int, shape: tuple[int, ...], head: Equation | None = None
    ) -> None:
        self.kind = kind
        self.number = number
        self.shape = shape
        self.head = head  # the heavy or host equation
        self.equations: list[Equation] = [] if head is None else [head]
        self.axes: tuple[int, ...] | None = None  # of the reductions in a loop
        self.pooling: Equation | None = None  # of a heavy result, before anything is stored
        self.members: set[Var] = set()  # values of the loop's shape that live in registers
        self.reads: set[Var] = set()  # roots that are read
        self.outputs: list[Var] = []  # what others need of it

    @property
    def following(self) -> list[Equation]:
        """The elementwise equations behind the head."""
        start = 0 if self.head is None else 1
        return [e for e in self.equations[start:] if e is not self.pooling]

    def __repr__(self) -> str:
        names = "+".join(e.primitive.name for e in self.equations)
        return f"<{self.kind} {self.number} {list(self.shape)} {names}>"


def is_number_dtype(dtype: Any) -> bool:
    """Whether kernels can hold elements of this dtype."""
    return dtype.name in KINDS


class Grouping:
    """The groups of a graph, and where every value comes from."""

    def __init__(
        self,
        graph: Graph,
        lowered: Any,
        pools: Callable[[Equation, Equation], bool] | None = None,
        keeps_apart: Callable[[Equation, int], bool] | None = None,
    ) -> None:
        self.graph = graph
        self._lowered = lowered  # (equation) -> "element", "heavy" or "host"
        self._pools = pools  # (head, pooling): whether the head's kernel can pool its own result
        self.groups: list[Group] = []
        self.group_of: dict[Var, Group] = {}
        self.views: dict[Var, Equation] = {}
        self.virtual: dict[Var, Equation] = {}
        self._readers: dict[Var, list[Group]] = {}
        self._waiting: dict[Var, Equation] = {}  # by result: elementwise equations without a place
        self._spread = {  # values that larger loops read: they never join these
            o for e in graph.equations for o in e.operands
            if isinstance(o, Var) and lowered(e) == "element" and o.shape != e.outputs[0].shape
        }  # fmt: skip
        for equation in graph.equations:
            self._place(equation)
        while self._waiting:
            self._settle(next(reversed(self._waiting)))
        if keeps_apart is not None:
            self._set_apart(keeps_apart)
        self._find_outputs()
        self._recompute()
        self.last_reader: dict[Var, int] = {}
        for group in self.groups:
            for root in group.reads:
                self.last_reader[root] = group.number

    # -- where values come from ----------------------------------------------------------------------------

    def root(self, var: Var) -> Var:
        """The value whose memory a view looks into."""
        while var in self.views:
            var = self.views[var].operands[0]
        return var

    def ready(self, var: Var) -> int:
        """The number of the group that makes a value; -1 for inputs and virtual values."""
        group = self.group_of.get(self.root(var))
        return -1 if group is None else group.number

    # -- placing -------------------------------------------------------------------------------------------

    def _place(self, equation: Equation) -> None:
        name = equation.primitive.name
        result = equation.outputs[0]
        if name in VIRTUAL and is_number_dtype(result.dtype) and self._is_virtual(equation):
            self.virtual[result] = equation
            return
        if name in VIEWS and self._can_view(equation):
            self.views[result] = equation
            return
        kind = self._lowered(equation)
        if result.size == 0 and kind != "host":
            kind = "element" if len(equation.outputs) == 1 else "host"
        if kind == "element":
            self._place_element(equation)
        elif kind == "reduce":
            self._place_reduction(equation)
        elif name == "max_windows" and self._place_pooling(equation):
            pass
        else:
            self._settle_others(equation, None)
            group = self._begin(kind, result.shape, equation)
            for output in equation.outputs:
                self.group_of[output] = group
            alone = len(equation.outputs) == 1 or equation.primitive.streams
            if kind in ("heavy", "copy") and alone:
                group.members.add(result)
            self._note_reads(group, equation)

    @staticmethod
    def _is_virtual(equation: Equation) -> bool:
        return all(not isinstance(o, Var) for o in equation.operands)

    @staticmethod
    def _can_view(equation: Equation) -> bool:
        if not is_number_dtype(equation.outputs[0].dtype) or not is_number_dtype(
            equation.operands[0].dtype
        ):
            return False
        name = equation.primitive.name
        if name == "bitcast":
            return bool(equation.outputs[0].dtype.itemsize == equation.operands[0].dtype.itemsize)
        return name != "strided"

    def _begin(self, kind: str, shape: tuple[int, ...], head: Equation | None = None) -> Group:
        group = Group(kind, len(self.groups), shape, head)
        self.groups.append(group)
        return group

    def _note_reads(self, group: Group, equation: Equation) -> None:
        for operand in equation.operands:
            if isinstance(operand, Var) and operand not in group.members:
                root = self.root(operand)
                if root not in self.virtual and root not in group.reads:
                    group.reads.add(root)
                    self._readers.setdefault(root, []).append(group)

    def _fit(self, group: Group, equations: Sequence[Equation]) -> bool:
        """Whether all operands are at hand in the group's loop, or ready before it."""
        if (
            len(group.equations) + len(equations) > MOST_EQUATIONS
            or len(group.reads) >= MOST_ARRAYS
        ):
            return False
        made = {e.outputs[0] for e in equations}
        for equation in equations:
            for operand in equation.operands:
                if (
                    isinstance(operand, Var)
                    and operand not in group.members
                    and operand not in made
                    and self.ready(operand) >= group.number
                ):
                    return False
        return True

    def _place_element(self, equation: Equation) -> None:
        shape = equation.outputs[0].shape
        self._settle_others(equation, shape)
        along = self._waiting_for(equation)
        makers = self._makers([*along, equation], shape)
        group = self._first_that_fits(makers, [*along, equation])
        if group is None and not makers:
            result = equation.outputs[0]
            self._waiting[result] = equation
            if result.size == 1 or result in self._spread:  # others may wait for it themselves
                self._settle(result)
            return
        if group is None:
            group = self._begin("loop", shape)
        self._join(group, [*along, equation])

    def _join(self, group: Group, equations: Sequence[Equation]) -> None:
        for equation in equations:
            self._note_reads(group, equation)
            group.equations.append(equation)
            result = equation.outputs[0]
            group.members.add(result)
            self.group_of[result] = group
            self._waiting.pop(result, None)

    def _makers(self, equations: Sequence[Equation], shape: tuple[int, ...]) -> list[Group]:
        """The groups in whose loops over this shape operands of the equations are at hand."""
        found: dict[Group, None] = {}
        for equation in equations:
            for operand in equation.operands:
                group = self.group_of.get(operand) if isinstance(operand, Var) else None
                if group is not None and operand in group.members and group.shape == shape:
                    found[group] = None
        return list(found)

    def _first_that_fits(
        self, groups: Sequence[Group], equations: Sequence[Equation]
    ) -> Group | None:
        """The latest of the groups that can take the equations."""
        for group in sorted(groups, key=lambda g: -g.number):
            if group.kind != "host" and self._fit(group, equations):
                return group
        return None

    def _place_pooling(self, equation: Equation) -> bool:
        """Makes a pooling part of the convolution whose result it reads; False where that cannot be."""
        source = equation.operands[0]
        group = self.group_of.get(source)
        if (
            self._pools is None
            or group is None
            or group.head is None
            or group.kind != "heavy"
            or source not in group.members
            or group.pooling is not None
            or not self._pools(group.head, equation)
        ):
            return False
        group.pooling = equation
        group.equations.append(equation)
        for output in equation.outputs:
            self.group_of[output] = group
        return True

    # -- equations that wait ---------------------------------------------------------------------------------

    def _waiting_for(self, equation: Equation) -> list[Equation]:
        """The waiting equations that an equation needs, each after those that it needs itself."""
        ordered: dict[Equation, None] = {}

        def visit(at: Equation) -> None:
            for operand in at.operands:
                found = self._waiting.get(operand) if isinstance(operand, Var) else None
                if found is not None and found not in ordered:
                    visit(found)
                    ordered[found] = None

        visit(equation)
        return list(ordered)

    def _settle_others(self, equation: Equation, shape: tuple[int, ...] | None) -> None:
        """Places waiting operands that cannot go along with an equation's loop over a shape (None: no operand can)."""
        for operand in equation.operands:
            if not isinstance(operand, Var):
                continue
            root = self.root(operand)
            if root in self._waiting and (operand is not root or root.shape != shape):
                self._settle(root)

    def _settle(self, var: Var) -> None:
        """Places a waiting equation: beside a loop that reads the same array, or in a loop of its own."""
        equation = self._waiting[var]
        equations = [*self._waiting_for(equation), equation]
        siblings: list[Group] = []
        for operand in [o for e in equations for o in e.operands]:
            if isinstance(operand, Var) and operand.shape == var.shape:
                readers = self._readers.get(self.root(operand), ())
                siblings += [g for g in readers if g.kind == "loop" and g.shape == var.shape][-4:]
        group = self._first_that_fits(siblings, equations)
        self._join(group or self._begin("loop", var.shape), equations)

    def _place_reduction(self, equation: Equation) -> None:
        self._settle_others(equation, None)
        source = equation.operands[0]
        axes = tuple(sorted(equation.params["axes"]))
        group = self.group_of.get(source)
        if (
            group is None
            or group.kind != "loop"
            or source not in group.members
            or group.axes not in (None, axes)
            or not source.size
        ):
            group = next(
                (g for g in self._sums_beside(source, axes) if self._fit(g, [equation])), None
            )
            if group is None:
                group = self._begin("loop", source.shape)
        self._note_reads(group, equation)
        group.axes = axes
        group.equations.append(equation)
        self.group_of[equation.outputs[0]] = group

    def _sums_beside(self, source: Var, axes: tuple[int, ...]) -> list[Group]:
        """Loops that reduce, along the same axes, the value or others that are made where it is made; latest first."""
        root = self.root(source)
        maker = self.group_of.get(root)
        values = [root] if maker is None else [root, *(v for v in maker.members if v is not root)]
        readers = dict.fromkeys(g for v in values for g in self._readers.get(v, ()))
        beside = [
            g for g in readers if g.kind == "loop" and g.shape == source.shape and g.axes == axes
        ]
        return sorted(beside, key=lambda g: -g.number)

    # -- updates behind what they follow -----------------------------------------------------------------------

    def _set_apart(self, keeps_apart: Callable[[Equation, int], bool]) -> None:
        """Moves what follows a heavy head, and reads state as large as its result, into a loop behind it where
        `keeps_apart(head, bytes of that state)`.
        """
        inputs = set(self.graph.inputs)
        ordered: list[Group] = []
        for group in self.groups:
            ordered.append(group)
            head, following = group.head, group.following
            if head is None or group.kind != "heavy" or not following or group.pooling is not None:
                continue
            read = {o for e in following for o in e.operands if isinstance(o, Var)}
            state = sum(v.size * v.dtype.itemsize for v in read & inputs if v.shape == group.shape)
            if not state or not keeps_apart(head, state):
                continue
            behind = Group("loop", 0, group.shape)
            ordered.append(behind)
            group.equations = [head]
            group.members = {head.outputs[0]}
            self._forget_reads(group)
            self._note_reads(group, head)
            self._join(behind, following)
        self.groups = ordered
        for number, group in enumerate(ordered):
            group.number = number

    def _forget_reads(self, group: Group) -> None:
        for root in group.reads:
            self._readers[root].remove(group)
        group.reads.clear()

    # -- what must be stored ---------------------------------------------------------------------------------

    def _find_outputs(self) -> None:
        needed: dict[Var, None] = {}
        for output in self.graph.outputs:
            needed[self.root(output)] = None
        for group in self.groups:
            for equation in group.equations:
                for operand in equation.operands:
                    if isinstance(operand, Var) and operand not in group.members:
                        needed[self.root(operand)] = None
                    elif isinstance(operand, Var) and self.group_of.get(operand) is not group:
                        needed[operand] = None
        for group in self.groups:
            for equation in group.equations:
                for output in equation.outputs:
                    if output in needed or (
                        group.kind != "loop" and equation is group.head and not group.members
                    ):
                        group.outputs.append(output)

    # -- computing again instead of storing --------------------------------------------------------------------

    def _recompute(self) -> None:
        """A stored value that its readers can compute from what they load anyway is not stored."""
        returned = {self.root(v) for v in self.graph.outputs}
        readers: dict[Var, list[Group]] = {}
        for group in self.groups:
            for equation in group.equations:
                for operand in equation.operands:
                    if isinstance(operand, Var) and operand not in group.members:
                        found = readers.setdefault(self.root(operand), [])
                        if group not in found:
                            found.append(group)
        for group in reversed(self.groups):
            if group.kind != "loop" and not (group.kind == "heavy" and group.members):
                continue
            for var in reversed(list(group.outputs)):
                if var in returned or var not in group.members or var.equation is group.head:
                    continue
                chain = self._chain(group, var)
                mine = readers.get(var, [])
                if chain is None or not mine or not all(self._can_take(g, var) for g in mine):
                    continue
                equations, leaves = chain
                size = var.dtype.itemsize
                saved = size * (1 + len(mine))
                added = 0.0
                for g in mine:
                    for leaf in leaves:
                        root = self.root(leaf)
                        if root not in g.reads and root not in self.virtual:
                            added += leaf.dtype.itemsize * leaf.size / max(var.size, 1)
                if added > saved or len(equations) * len(mine) > 12:
                    continue
                group.outputs.remove(var)
                for g in mine:
                    start = 1 if g.head is not None else 0
                    known = set(g.equations)
                    fresh = [e for e in equations if e not in known]
                    g.equations[start:] = _in_order([*fresh, *g.equations[start:]])
                    g.members.update(e.outputs[0] for e in fresh)
                    g.reads.discard(var)
                    for e in fresh:
                        for operand in e.operands:
                            if isinstance(operand, Var) and operand not in g.members:
                                root = self.root(operand)
                                if root not in self.virtual:
                                    g.reads.add(root)
                                found = readers.setdefault(root, [])
                                if g not in found:
                                    found.append(g)

    def _chain(self, group: Group, var: Var) -> tuple[list[Equation], list[Var]] | None:
        """The cheap equations that make a value from stored ones, in order, and those stored values."""
        stored = {v for v in group.outputs if v is not var}
        equations: list[Equation] = []
        leaves: list[Var] = []

        def visit(at: Var) -> bool:
            equation = at.equation
            if equation is None or equation.primitive.name not in CHEAP or len(equations) > 6:
                return False
            for operand in equation.operands:
                if not isinstance(operand, Var):
                    continue
                if operand in group.members and operand not in stored:
                    if operand.equation not in equations and not visit(operand):
                        return False
                elif operand not in leaves:
                    leaves.append(operand)
            equations.append(equation)
            return True

        return (equations, leaves) if visit(var) else None

    def _can_take(self, group: Group, var: Var) -> bool:
        """Whether a group reads the value element by element, as part of its own loop."""
        if (
            group.shape != var.shape
            or group.kind not in ("loop", "heavy")
            or len(group.equations) > MOST_EQUATIONS
        ):
            return False
        for equation in group.equations:
            for operand in equation.operands:
                if (
                    isinstance(operand, Var)
                    and operand not in group.members
                    and self.root(operand) is var
                ):
                    if operand is not var or equation is group.head:
                        return False
        return True


def _in_order(equations: list[Equation]) -> list[Equation]:
    """The equations, each after those whose results it reads."""
    makers = {o: e for e in equations for o in e.outputs}
    ordered: dict[Equation, None] = {}

    def place(equation: Equation) -> None:
        if equation in ordered:
            return
        for operand in equation.operands:
            maker = makers.get(operand) if isinstance(operand, Var) else None
            if maker is not None and maker is not equation:
                place(maker)
        ordered[equation] = None

    for equation in equations:
        place(equation)
    return list(ordered)
