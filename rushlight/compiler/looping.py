"""Loop groups as kernels: elementwise equations in registers, with the reductions that ride on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rushlight.compiler.graph import Equation, Var
from rushlight.compiler.grouping import REDUCTIONS
from rushlight.loops.arrays import KINDS, Array
from rushlight.loops.builder import BF16, F16, F32, FLOATS, I1, I64, Value
from rushlight.loops.kernel import Kernel, Plan
from rushlight.loops.nest import ITEM_ELEMENTS, Nest, along, decompose, lanes_for
from rushlight.primitives.lowerings.elementwise import LOWERED

#: Into how many parts, at most, a long reduction with few results is cut: a number that never follows the threads.
PARTS = 16
#: Nanoseconds for one vector of one equation, about.
VECTOR_NS = 0.4


class Leaf:
    """What a loop reads: an array, or a value that follows from the index (`full`, `iota`)."""

    __slots__ = ("array", "equation", "key")

    def __init__(self, key: Any, array: Array, equation: Equation | None = None) -> None:
        self.key = key
        self.array = array  # for a virtual value: strides only
        self.equation = equation

    def value(
        self,
        b: Kernel,
        look: Array,
        index: Sequence[Any],
        axis: int,
        lanes: int,
        mask: Value | None,
    ) -> Value:
        """Its element at an index of the nest (lanes along `axis`)."""
        if self.equation is None:
            return look.load(b, index, axis, lanes, mask)
        if self.equation.primitive.name == "full":
            return b.const(_as_number(self.equation.operands[0], look), look.kind, lanes)
        place = look.element(b, index) + look.offset
        stride = look.strides[axis] if look.shape[axis] != 1 else 0
        offsets = b.splat(place, lanes)
        if lanes > 1 and stride:
            offsets = offsets + b.lane_numbers(lanes) * stride
        return b.convert(offsets, look.kind)


def _as_number(value: Any, array: Array) -> Any:
    return value if array.dtype.kind in "fV" or array.kind in FLOATS else int(value)


def constant(b: Kernel, value: Any, dtype: Any, lanes: int) -> Value:
    """A Python number beside arrays of this dtype."""
    kind = KINDS[dtype.name]
    return b.const(value if kind in FLOATS else int(value), kind, lanes)


def operand_dtype(equation: Equation) -> Any:
    """The dtype that the numbers among an equation's operands take."""
    vars_ = [o for o in equation.operands if isinstance(o, Var)]
    if equation.primitive.name == "select":
        vars_ = [o for o in equation.operands[1:] if isinstance(o, Var)]
        return vars_[0].dtype if vars_ else equation.outputs[0].dtype
    return vars_[0].dtype if vars_ else equation.outputs[0].dtype


def apply(b: Kernel, equation: Equation, values: Sequence[Value]) -> Value:
    """One elementwise equation on values in registers."""
    return LOWERED[equation.primitive.name](
        b, tuple(values), operand_dtype(equation) if equation.primitive.name != "cast" else equation.operands[0].dtype,
        equation.outputs[0].dtype,
    )  # fmt: skip


class Point:
    """The values of a loop's equations at one place (or one vector of places)."""

    def __init__(
        self,
        write: LoopWriter,
        b: Kernel,
        index: Sequence[Any],
        axis: int,
        lanes: int,
        mask: Value | None,
    ) -> None:
        self.write, self.b, self.index, self.axis, self.lanes, self.mask = (
            write,
            b,
            index,
            axis,
            lanes,
            mask,
        )
        self.values: dict[Var, Value] = {}

    def of(self, var: Any, dtype: Any) -> Value:
        """An operand's value here."""
        if not isinstance(var, Var):
            return constant(self.b, var, dtype, self.lanes)
        found = self.values.get(var)
        if found is None:
            leaf = self.write.leaves[var]
            look = self.write.nest.arrays[var]
            found = self.values[var] = leaf.value(
                self.b, look, self.index, self.axis, self.lanes, self.mask
            )
        return found


class LoopWriter:
    """Writes the kernels of one loop group into a plan."""

    def __init__(
        self,
        plan: Plan,
        stem: str,
        shape: tuple[int, ...],
        equations: Sequence[Equation],
        leaves: dict[Var, Leaf],
        outputs: dict[Var, Array],
        axes: tuple[int, ...] | None,
    ) -> None:
        self.plan, self.stem, self.shape = plan, stem, shape
        self.elements = [e for e in equations if e.primitive.name not in REDUCTIONS]
        self.reductions = [e for e in equations if e.primitive.name in REDUCTIONS]
        self.leaves, self.outputs = leaves, outputs
        self.axes = axes or ()
        kinds = {leaf.array.kind for leaf in leaves.values()} | {a.kind for a in outputs.values()}
        kinds |= {KINDS[e.outputs[0].dtype.name] for e in self.elements}
        self.lanes = lanes_for(plan.target, sorted(kinds))
        self.stored = [v for v in outputs if v.equation not in self.reductions]

    def emit(self) -> None:
        """Adds the kernels."""
        arrays: dict[Any, Array] = {v: leaf.array for v, leaf in self.leaves.items()}
        arrays |= {("out", v): self.outputs[v] for v in self.stored}
        lead = [("out", v) for v in self.stored] + [
            v for v, leaf in self.leaves.items() if leaf.equation is None
        ]
        size = 1
        for n in self.shape:
            size *= n
        if not self.reductions:
            self.nest = Nest(self.shape, arrays, lead)
            self._emit_map(size)
        else:
            for e in (
                self.reductions
            ):  # results, as arrays of the whole shape that stand still along reduced axes
                arrays["result", e.outputs[0]] = self._spread(self.outputs[e.outputs[0]], e)
            self.nest = Nest(self.shape, arrays, lead, self.axes)
            self._emit_reductions(size)

    def _spread(self, array: Array, equation: Equation) -> Array:
        strides: list[int] = []
        place = iter(array.strides)
        for d in range(len(self.shape)):
            if d in self.axes:
                strides.append(0)
                if equation.params["keepdim"]:
                    next(place)
            else:
                strides.append(next(place))
        return array.look(self.shape, strides)

    # -- bodies ------------------------------------------------------------------------------------------------

    def _at(
        self, b: Kernel, index: Sequence[Any], axis: int, lanes: int, mask: Value | None
    ) -> Point:
        """Computes all elementwise equations at a place and stores those that others need."""
        point = Point(self, b, index, axis, lanes, mask)
        b.active = mask
        for equation in self.elements:
            dtype = operand_dtype(equation)
            values = [point.of(o, dtype) for o in equation.operands]
            result = apply(b, equation, values)
            point.values[equation.outputs[0]] = b.splat(result, lanes)
        b.active = None
        for var in self.stored:
            self.nest.arrays["out", var].store(b, index, point.of(var, var.dtype), axis, mask)
        return point

    def _cost(self, count: float) -> float:
        work = 1 + len(self.elements) + len(self.leaves)
        return max(1.0, count / self.lanes * work * VECTOR_NS)

    def _traffic(self) -> int:
        moved = [leaf.array for leaf in self.leaves.values() if leaf.equation is None] + list(
            self.outputs.values()
        )
        return sum(_reach(a) * a.dtype.itemsize for a in moved)

    # -- loops without reductions --------------------------------------------------------------------------------

    def _emit_map(self, size: int) -> None:
        nest = self.nest
        axis = nest.vector_axis()
        sizes = nest.sizes
        outer = [d for d in range(len(sizes)) if d != axis]
        lanes = self.lanes
        if not outer:
            block = max(lanes, -(-ITEM_ELEMENTS // lanes) * lanes)
            n = sizes[axis]
            items = -(-n // block)
            b = self.plan.kernel(
                self.stem,
                items,
                self._cost(min(block, n)),
                flops=len(self.elements) * size,
                nbytes=self._traffic(),
            )

            def item(i: Value) -> None:
                low = i * block
                high = b.intrinsic("smin", low + block, b.const(n)) if n % block else low + block
                if items == 1:
                    low, high = b.const(0), b.const(n)
                along(b, low, high, lanes, lambda x, w, mask: self._store([x], 0, w, mask, b))

            b.over_items(item)
            return
        inner = sizes[axis]
        split = len(outer)
        while split > 1 and inner * sizes[outer[split - 1]] <= ITEM_ELEMENTS:
            split -= 1
            inner *= sizes[outer[split]]
        # Rows that are short are done several to an item.
        over, within = outer[:split], outer[split:]
        items = 1
        for d in over:
            items *= sizes[d]
        b = self.plan.kernel(
            self.stem,
            items,
            self._cost(inner),
            flops=len(self.elements) * size,
            nbytes=self._traffic(),
        )

        def row(i: Value) -> None:
            index: list[Any] = [b.const(0)] * len(sizes)
            for d, place in zip(over, decompose(b, i, [sizes[d] for d in over]), strict=True):
                index[d] = place

            def nested(depth: int) -> None:
                if depth == len(within):

                    def vector(x: Value, w: int, mask: Value | None) -> None:
                        index[axis] = x
                        self._store(index, axis, w, mask, b)

                    along(b, b.const(0), b.const(sizes[axis]), lanes, vector)
                    return

                def step(k: Value) -> None:
                    index[within[depth]] = k
                    nested(depth + 1)

                b.loop(0, sizes[within[depth]], step, label=f"d{within[depth]}")

            nested(0)

        b.over_items(row)

    def _store(
        self, index: Sequence[Any], axis: int, lanes: int, mask: Value | None, b: Kernel
    ) -> None:
        self._at(b, index, axis, lanes, mask)

    # -- loops with reductions -------------------------------------------------------------------------------------

    def _emit_reductions(self, size: int) -> None:
        nest = self.nest
        kept = nest.kept
        folded = [d for d in range(len(nest.sizes)) if nest.reduced[d]]
        axis = nest.vector_axis()
        if axis in kept:  # lanes along it: partial results lie side by side along it
            kept = [*(d for d in kept if d != axis), axis]
        results = 1
        for d in kept:
            results *= nest.sizes[d]
        parts = 1
        if folded and size >= 2 * ITEM_ELEMENTS and results <= 256:
            parts = self._parts(folded, axis)
        targets = {e: nest.arrays["result", e.outputs[0]] for e in self.reductions}
        partial: dict[Equation, Array] = {}
        if parts > 1:
            for e in self.reductions:
                dtype = _accumulator_dtype(e)
                shape = [nest.sizes[d] for d in kept]
                scratch = self.plan.scratch(dtype, (parts, *shape))
                strides = [0] * len(nest.sizes)
                for d, s in zip(kept, scratch.strides[1:], strict=True):
                    strides[d] = s
                partial[e] = scratch
                targets[e] = Array(scratch.memory, scratch.dtype, nest.sizes, strides)
        if axis in kept:
            self._reduce_across(kept, folded, axis, parts, targets, partial, size)
        else:
            self._reduce_along(kept, folded, axis, parts, targets, partial, size)
        if parts > 1:
            self._combine(kept, parts, partial)

    def _parts(self, folded: list[int], axis: int) -> int:
        """How many equal parts the outermost reduced dimension is cut into."""
        n = self.nest.sizes[folded[0]]
        unit = self.lanes if folded[0] == axis else 1
        for parts in range(PARTS, 1, -1):
            if n % (parts * unit) == 0:
                return parts
        if folded[0] == axis and n >= PARTS * unit * 8:
            return PARTS
        return 1

    def _range(
        self, b: Kernel, d: int, part: Value | None, parts: int, first: int
    ) -> tuple[Any, Any]:
        n = self.nest.sizes[d]
        if part is None or d != first:
            return 0, n
        unit = self.lanes if n % parts else 1
        step = -(-n // (parts * unit)) * unit
        low = part * step
        high = low + step
        if n % step:
            high = b.intrinsic("smin", high, b.const(n))
            low = b.intrinsic("smin", low, b.const(n))
        return low, high

    def _starts(self, b: Kernel, lanes: int) -> list[Value]:
        return [b.const(_start(e), _accumulator_kind(e), lanes) for e in self.reductions]

    def _accumulate(
        self, b: Kernel, point: Point, values: Sequence[Value], mask: Value | None
    ) -> list[Value]:
        results = []
        for e, total in zip(self.reductions, values, strict=True):
            value = point.of(e.operands[0], e.operands[0].dtype)
            value = _widened(b, e, value)
            if mask is not None:
                value = b.select(mask, value, b.const(_start(e), value.kind, value.lanes))
            results.append(_combined(b, e, total, value))
        return results

    def _finish(
        self,
        b: Kernel,
        e: Equation,
        array: Array,
        index: Sequence[Any],
        value: Value,
        axis: int,
        mask: Value | None,
    ) -> None:
        array.store(b, index, value, axis, mask)

    def _reduce_along(
        self,
        kept: list[int],
        folded: list[int],
        axis: int,
        parts: int,
        targets: dict[Equation, Array],
        partial: dict[Equation, Array],
        size: int,
    ) -> None:
        """Lanes run along a reduced dimension; they are summed at the end, in a fixed tree."""
        nest, lanes = self.nest, self.lanes
        sizes = [nest.sizes[d] for d in kept]
        count = 1
        for n in sizes:
            count *= n
        each = max(1, size // max(count * parts, 1))
        b = self.plan.kernel(
            self.stem,
            count * parts,
            self._cost(each),
            flops=size * (len(self.elements) + len(self.reductions)),
            nbytes=self._traffic(),
        )
        outer = [d for d in folded if d != axis]
        first = folded[0] if folded else -1

        def item(i: Value) -> None:
            index: list[Any] = [b.const(0)] * len(nest.sizes)
            part = None
            if parts > 1:
                part, *places = decompose(b, i, [parts, *sizes])
            else:
                places = decompose(b, i, sizes)
            for d, place in zip(kept, places, strict=True):
                index[d] = place

            def vector(x: Value, w: int, mask: Value | None, *totals: Value) -> list[Value]:
                index[axis] = x
                return self._accumulate(b, self._at(b, index, axis, w, mask), totals, mask)

            def nested(depth: int, totals: tuple[Value, ...]) -> tuple[Value, ...]:
                if depth == len(outer):
                    low, high = self._range(b, axis, part, parts, first)
                    return along(b, low, high, lanes, vector, totals)
                d = outer[depth]

                def step(k: Value, *inside: Value) -> tuple[Value, ...]:
                    index[d] = k
                    return nested(depth + 1, inside)

                low, high = self._range(b, d, part, parts, first)
                return b.loop(low, high, step, totals, label=f"d{d}")

            totals = nested(0, tuple(self._starts(b, lanes)))
            for e, total in zip(self.reductions, totals, strict=True):
                result = b.reduce(REDUCTIONS[e.primitive.name], total)
                aim = list(index)
                for d in folded:
                    aim[d] = b.const(0)
                self._put(b, e, targets[e], partial.get(e), part, aim, result, axis, None)

        b.over_items(item)

    def _reduce_across(
        self,
        kept: list[int],
        folded: list[int],
        axis: int,
        parts: int,
        targets: dict[Equation, Array],
        partial: dict[Equation, Array],
        size: int,
    ) -> None:
        """Lanes run along a kept dimension: each lane has its own total; some vectors are summed side by side."""
        nest, lanes = self.nest, self.lanes
        others = [d for d in kept if d != axis]
        sizes = [nest.sizes[d] for d in others]
        width = nest.sizes[axis]
        vectors = -(-width // lanes)
        side = max(1, min(vectors, 4 // max(1, len(self.reductions)) or 1))
        block = side * lanes
        blocks = -(-width // block)
        count = blocks
        for n in sizes:
            count *= n
        each = max(1, size // max(count * parts, 1))
        b = self.plan.kernel(
            self.stem,
            count * parts,
            self._cost(each),
            flops=size * (len(self.elements) + len(self.reductions)),
            nbytes=self._traffic(),
        )
        first = folded[0] if folded else -1

        def item(i: Value) -> None:
            index: list[Any] = [b.const(0)] * len(nest.sizes)
            part = None
            if parts > 1:
                part, *places = decompose(b, i, [parts, *sizes, blocks])
            else:
                places = decompose(b, i, [*sizes, blocks])
            for d, place in zip(others, places[:-1], strict=True):
                index[d] = place
            start = places[-1] * block

            def columns(masked: bool) -> None:
                masks: list[Value | None] = []
                for v in range(side):
                    masks.append(
                        b.lane_mask(b.const(width) - (start + v * lanes), lanes) if masked else None
                    )

                def nested(depth: int, totals: tuple[Value, ...]) -> tuple[Value, ...]:
                    if depth == len(folded):
                        results: list[Value] = []
                        for v in range(side):
                            index[axis] = start + v * lanes
                            mine = totals[v * len(self.reductions) : (v + 1) * len(self.reductions)]
                            point = self._at(b, index, axis, lanes, masks[v])
                            results += self._accumulate(b, point, mine, None)
                        return tuple(results)
                    d = folded[depth]

                    def step(k: Value, *inside: Value) -> tuple[Value, ...]:
                        index[d] = k
                        return nested(depth + 1, inside)

                    low, high = self._range(b, d, part, parts, first)
                    return b.loop(low, high, step, totals, label=f"d{d}")

                totals = nested(0, tuple(self._starts(b, lanes) * side))
                for v in range(side):
                    for j, e in enumerate(self.reductions):
                        place = list(index)
                        for d in folded:
                            place[d] = b.const(0)
                        place[axis] = start + v * lanes
                        self._put(
                            b,
                            e,
                            targets[e],
                            partial.get(e),
                            part,
                            place,
                            totals[v * len(self.reductions) + j],
                            axis,
                            masks[v],
                        )

            if width % block == 0:
                columns(False)
            elif blocks == 1:
                columns(True)
            else:
                b.when(
                    b.compare("le", start + block, b.const(width)),
                    lambda: columns(False),
                    lambda: columns(True),
                )

        b.over_items(item)

    def _put(
        self,
        b: Kernel,
        e: Equation,
        array: Array,
        scratch: Array | None,
        part: Value | None,
        index: list[Any],
        value: Value,
        axis: int,
        mask: Value | None,
    ) -> None:
        if scratch is not None and part is not None:
            place = array.element(b, index) + part * scratch.strides[0]
            b.store(value, b.pointer(scratch), place, mask=mask)
            return
        array.store(b, index, _narrowed(b, e, value), axis, mask)

    def _combine(self, kept: list[int], parts: int, partial: dict[Equation, Array]) -> None:
        """Adds the parts, in order."""
        nest = self.nest
        count = 1
        for d in kept:
            count *= nest.sizes[d]
        for e, scratch in partial.items():
            lanes = self.plan.target.lanes(scratch.kind)
            flat = scratch.look((parts, count), (count, 1))
            result = nest.arrays["result", e.outputs[0]]
            b = self.plan.kernel(self.stem + "_parts", 1, 2.0 * parts * max(1, count // lanes))

            def item(
                i: Value, b: Kernel = b, e: Equation = e, flat: Array = flat, result: Array = result,
                lanes: int = lanes,
            ) -> None:  # fmt: skip
                if count == 1 or not all(
                    s == c for s, c in zip(
                        [result.strides[d] for d in kept], _contiguous([nest.sizes[d] for d in kept]), strict=True
                    )
                ):  # fmt: skip

                    def one(x: Value) -> None:
                        total = flat.load(b, [0, x])
                        for p in range(1, parts):
                            total = _combined(b, e, total, flat.load(b, [p, x]))
                        place: list[Any] = [b.const(0)] * len(nest.sizes)
                        for d, at in zip(
                            kept, decompose(b, x, [nest.sizes[d] for d in kept]), strict=True
                        ):
                            place[d] = at
                        result.store(b, place, _narrowed(b, e, total))

                    b.loop(0, count, one)
                    return

                def several(x: Value, w: int, mask: Value | None) -> None:
                    total = flat.load(b, [0, x], 1, w, mask)
                    for p in range(1, parts):
                        total = _combined(b, e, total, flat.load(b, [p, x], 1, w, mask))
                    b.store(
                        b.convert(_narrowed(b, e, total), result.kind, result.signed),
                        b.pointer(result),
                        x,
                        mask=mask,
                    )

                along(b, b.const(0), b.const(count), lanes, several)

            b.over_items(item)


def _contiguous(sizes: Sequence[int]) -> list[int]:
    strides, step = [], 1
    for n in reversed(sizes):
        strides.append(step)
        step *= n
    return strides[::-1]


def _reach(array: Array) -> int:
    count = 1
    for n, s in zip(array.shape, array.strides, strict=True):
        if s:
            count *= n
    return count


def _accumulator_kind(e: Equation) -> str:
    kind = KINDS[e.operands[0].dtype.name]
    if REDUCTIONS[e.primitive.name] in ("and", "or"):
        return I1
    if kind in (F16, BF16):
        return F32
    if kind == I1:
        return I1
    return kind


def _accumulator_dtype(e: Equation) -> Any:
    import numpy as np

    kind = _accumulator_kind(e)
    if kind == I1:
        return np.dtype(bool)
    return np.dtype(np.float32) if kind == F32 else e.operands[0].dtype


def _widened(b: Kernel, e: Equation, value: Value) -> Value:
    kind = _accumulator_kind(e)
    return value if value.kind == kind else b.convert(value, kind)


def _narrowed(b: Kernel, e: Equation, value: Value) -> Value:
    dtype = e.outputs[0].dtype
    kind = KINDS[dtype.name]
    return value if value.kind == kind else b.convert(value, kind, dtype.kind != "u")


def _start(e: Equation) -> Any:
    """The neutral element of a reduction."""
    operation, dtype = REDUCTIONS[e.primitive.name], e.operands[0].dtype
    if operation == "add":
        return 0
    if operation == "mul":
        return 1
    if operation in ("and", "or"):
        return operation == "and"
    kind = KINDS[dtype.name]
    if kind in FLOATS:
        return float("-inf") if operation == "max" else float("inf")
    if kind == I1:
        return operation == "min"
    bits = dtype.itemsize * 8
    if dtype.kind == "u":
        return 0 if operation == "max" else -1
    return -(1 << bits - 1) if operation == "max" else (1 << bits - 1) - 1


def _combined(b: Kernel, e: Equation, total: Value, value: Value) -> Value:
    operation = REDUCTIONS[e.primitive.name]
    if total.kind == I1:
        return total | value if operation in ("or", "max", "add") else total & value
    if operation == "add":
        return total + value
    if operation == "mul":
        return total * value
    if operation in ("and", "or"):
        return total & value if operation == "and" else total | value
    if e.operands[0].dtype.kind == "u":
        return b.intrinsic("umax" if operation == "max" else "umin", total, value)
    return b.maximum(total, value) if operation == "max" else b.minimum(total, value)


__all__ = ["I64", "Leaf", "LoopWriter", "apply", "operand_dtype"]
