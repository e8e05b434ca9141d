"""`Builder`: writes one kernel as LLVM IR text, with structured loops, typed vectors and no knowledge of primitives.

A kernel is a function `void name(ptr args, i64 low, i64 high)`: `args` points at the addresses of its buffers, and
`[low, high)` are the work items that this call must do; items are independent of each other, so that any thread may
do any of them. Values are immutable (`Value`: a type, a count of lanes, a name); control flow is structured:

    b = Builder("scale", buffers=2)
    x, out = b.buffer(0), b.buffer(1)
    def body(i):
        b.store(b.load(x, i * 16, F32, lanes=16) * 2.0, out, i * 16)
    b.loop(b.low, b.high, body)
    text = b.finish()

Loops carry values explicitly (`carried`), so accumulators live in registers by construction. Floating point follows
IEEE 754: no flag assumes NaN or infinity away, and products are fused with sums only where `fma` is called.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.loops import halves
from rushlight.loops.kinds import (
    BF16,
    BYTES,
    F16,
    F32,
    F64,
    FLOATS,
    HALVES,
    I1,
    I8,
    I16,
    I32,
    I64,
    PTR,
)  # fmt: skip

_MANGLED = {F16: "i16", BF16: "i16", F32: "f32", F64: "f64", PTR: "p0"}
#: 16-bit floats are bits to LLVM: where processors lack them it would call functions that no process has.
_TYPES = {F16: I16, BF16: I16}


def vector_type(kind: str, lanes: int) -> str:
    """The LLVM type of `lanes` elements (1: a scalar)."""
    name = _TYPES.get(kind, kind)
    return name if lanes == 1 else f"<{lanes} x {name}>"


def _half(lanes: int) -> str:
    """LLVM's own type of float16, for the instructions that convert it."""
    return F16 if lanes == 1 else f"<{lanes} x {F16}>"


def mangled(kind: str, lanes: int) -> str:
    """The type as it stands in the name of an intrinsic: v16f32."""
    name = _MANGLED.get(kind, kind)
    return name if lanes == 1 else f"v{lanes}{name}"


def literal(value: Any, kind: str) -> str:
    """A number as a constant of LLVM's text."""
    if kind in FLOATS:
        if kind == F16:
            return str(struct.unpack("<h", struct.pack("<e", value))[0])
        if kind == BF16:
            bits = struct.unpack("<I", struct.pack("<f", value))[0]
            return str((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 & 0xFFFF)
        number = float(value)
        if kind == F32:
            try:
                number = struct.unpack("<f", struct.pack("<f", number))[0]
            except OverflowError:
                number = float("inf") if number > 0 else float("-inf")
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    if kind == I1:
        return "true" if value else "false"
    return str(int(value))


class Value:
    """One SSA value. Python's operators emit arithmetic; comparisons are methods of the builder."""

    __slots__ = ("builder", "kind", "lanes", "number", "text")

    def __init__(
        self, builder: Builder, text: str, kind: str, lanes: int = 1, number: Any = None
    ) -> None:
        self.builder, self.text, self.kind, self.lanes = builder, text, kind, lanes
        self.number = number  # of a scalar constant

    @property
    def type(self) -> str:
        """LLVM's name of the type."""
        return vector_type(self.kind, self.lanes)

    def __repr__(self) -> str:
        return f"{self.type} {self.text}"

    def __add__(self, other: Any) -> Value:
        return self.builder.binary("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self.builder.binary("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.builder.binary("sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.builder.binary("sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.builder.binary("mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.builder.binary("mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.builder.binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.builder.binary("div", other, self)

    def __and__(self, other: Any) -> Value:
        return self.builder.binary("and", self, other)

    def __or__(self, other: Any) -> Value:
        return self.builder.binary("or", self, other)

    def __xor__(self, other: Any) -> Value:
        return self.builder.binary("xor", self, other)

    def __lshift__(self, other: Any) -> Value:
        return self.builder.binary("shl", self, other)

    def __rshift__(self, other: Any) -> Value:
        return self.builder.binary("ashr", self, other)

    def __neg__(self) -> Value:
        return self.builder.negate(self)


_INTEGER = {
    "add": "add", "sub": "sub", "mul": "mul", "div": "sdiv", "rem": "srem", "udiv": "udiv", "urem": "urem",
    "and": "and", "or": "or", "xor": "xor", "shl": "shl", "ashr": "ashr", "lshr": "lshr",
}  # fmt: skip
_FLOATING = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "rem": "frem"}
_PREDICATES = {
    "lt": ("slt", "olt"), "le": ("sle", "ole"), "gt": ("sgt", "ogt"), "ge": ("sge", "oge"), "eq": ("eq", "oeq"),
    "ne": ("ne", "une"), "ult": ("ult", "ult"), "ugt": ("ugt", "ugt"), "ule": ("ule", "ule"), "uge": ("uge", "uge"),
    "uno": ("", "uno"), "ord": ("", "ord"),
}  # fmt: skip


class Builder:
    """The text of one kernel while it is written."""

    #: Whether the processor itself turns float16 into float32 and back.
    half_floats = False

    def __init__(self, name: str, buffers: int) -> None:
        self.name = name
        self.lines: list[str] = []
        self.declared: dict[str, str] = {}
        self.allocas: list[str] = []
        self._count = 0
        self._block = "entry"
        self._depth = 0
        #: One line for each loop, indented, for people: label, extent, step.
        self.outline: list[str] = []
        self._buffers: dict[int, Value] = {}
        self._entry: list[str] = []
        self.buffers = buffers
        #: The lanes that count, while a tail of a loop is written (None: all).
        self.active: Value | None = None
        self.low, self.high = Value(self, "%low", I64), Value(self, "%high", I64)

    # -- names and text ------------------------------------------------------------------------------------

    def fresh(self, kind: str, lanes: int = 1) -> Value:
        """A new name."""
        self._count += 1
        return Value(self, f"%v{self._count}", kind, lanes)

    def emit(self, instruction: str, kind: str, lanes: int = 1) -> Value:
        """An instruction with a result."""
        result = self.fresh(kind, lanes)
        self.lines.append(f"  {result.text} = {instruction}")
        return result

    def buffer(self, index: int) -> Value:
        """The address of a buffer of the kernel, loaded once at its entry."""
        found = self._buffers.get(index)
        if found is None:
            found = self._buffers[index] = Value(self, f"%buffer{index}", PTR)
            self._entry += [
                f"  %slot{index} = getelementptr ptr, ptr %args, i64 {index}",
                f"  %buffer{index} = load ptr, ptr %slot{index}",
            ]
        return found

    def scratch(self, kind: str, count: int, align: int = 64) -> Value:
        """Memory of `count` elements on the stack of the call; keep it under a few pages."""
        name = f"%scratch{len(self.allocas)}"
        self.allocas.append(f"  {name} = alloca {vector_type(kind, 1)}, i64 {count}, align {align}")
        return Value(self, name, PTR)

    def finish(self) -> str:
        """The kernel as the text of an LLVM module part: declarations come from `declarations`."""
        body = [
            f"define void @{self.name}(ptr %args, i64 %low, i64 %high) nounwind {{",
            "entry:",
            *self.allocas,
            *self._entry,
            *self.lines,
            "  ret void",
            "}",
        ]
        return "\n".join(body)

    def declarations(self) -> list[str]:
        """The intrinsics that the kernel calls."""
        return [f"declare {text}" for text in self.declared.values()]

    # -- values --------------------------------------------------------------------------------------------

    def const(self, value: Any, kind: str = I64, lanes: int = 1) -> Value:
        """A constant; with lanes, in all of them."""
        text = literal(value, kind)
        if lanes == 1:
            return Value(self, text, kind, 1, value)
        if kind not in FLOATS and not value:
            return Value(self, "zeroinitializer", kind, lanes)
        return Value(self, f"splat ({vector_type(kind, 1)} {text})", kind, lanes)

    def values(self, numbers: Sequence[Any], kind: str) -> Value:
        """A constant vector of these numbers."""
        inside = ", ".join(f"{vector_type(kind, 1)} {literal(n, kind)}" for n in numbers)
        return Value(self, f"<{inside}>", kind, len(numbers))

    def like(self, value: Any, other: Value) -> Value:
        """A number (or scalar) with the type and lanes of another value."""
        if isinstance(value, Value):
            return value if value.lanes == other.lanes else self.splat(value, other.lanes)
        return self.const(value, other.kind, other.lanes)

    def _pair(self, a: Any, b: Any) -> tuple[Value, Value]:
        if isinstance(a, Value) and (not isinstance(b, Value) or a.lanes >= b.lanes):
            return a, self.like(b, a)
        return self.like(a, b), b

    def splat(self, value: Value, lanes: int) -> Value:
        """A scalar in all lanes."""
        if lanes in (1, value.lanes):
            return value
        if value.number is not None:
            return self.const(value.number, value.kind, lanes)
        kind = vector_type(value.kind, lanes)
        first = self.emit(
            f"insertelement {kind} poison, {value.type} {value.text}, i64 0", value.kind, lanes
        )
        return self.emit(
            f"shufflevector {kind} {first.text}, {kind} poison, <{lanes} x i32> zeroinitializer",
            value.kind,
            lanes,
        )

    def extract(self, vector: Value, lane: Any) -> Value:
        """One lane of a vector."""
        index = lane.text if isinstance(lane, Value) else str(lane)
        return self.emit(f"extractelement {vector.type} {vector.text}, i64 {index}", vector.kind)

    def insert(self, vector: Value, value: Value, lane: Any) -> Value:
        """The vector with one lane replaced."""
        index = lane.text if isinstance(lane, Value) else str(lane)
        return self.emit(
            f"insertelement {vector.type} {vector.text}, {value.type} {value.text}, i64 {index}",
            vector.kind, vector.lanes,
        )  # fmt: skip

    def shuffle(self, a: Value, b: Value, order: Sequence[int]) -> Value:
        """Lanes of two vectors in any order; -1 for any value."""
        mask = ", ".join(f"i32 {n}" if n >= 0 else "i32 poison" for n in order)
        return self.emit(
            f"shufflevector {a.type} {a.text}, {b.type} {b.text}, <{len(order)} x i32> <{mask}>",
            a.kind,
            len(order),
        )

    def lane_numbers(self, lanes: int, kind: str = I64) -> Value:
        """0, 1, 2, ... in the lanes."""
        return self.const(0, kind) if lanes == 1 else self.values(range(lanes), kind)

    # -- arithmetic ----------------------------------------------------------------------------------------

    def binary(self, operation: str, a: Any, b: Any) -> Value:
        """add, sub, mul, div, rem, and, or, xor, shl, ashr, lshr, udiv, urem; constants of i64 are folded."""
        left, right = self._pair(a, b)
        if left.kind in HALVES:
            wide = self.binary(operation, self.convert(left, F32), self.convert(right, F32))
            return self.convert(wide, left.kind)
        if left.kind == I64 and left.lanes == 1:
            folded = self._folded(operation, left, right)
            if folded is not None:
                return folded
        word = (_FLOATING if left.kind in FLOATS else _INTEGER)[operation]
        return self.emit(f"{word} {left.type} {left.text}, {right.text}", left.kind, left.lanes)

    def _folded(self, operation: str, a: Value, b: Value) -> Value | None:
        """The result of whole numbers that are known while the text is written; None where it is not."""
        x, y = a.number, b.number
        if x is not None and y is not None and operation in ("add", "sub", "mul"):
            return self.const(
                x + y if operation == "add" else x - y if operation == "sub" else x * y
            )
        if (operation in ("add", "sub") and y == 0) or (operation == "mul" and y == 1):
            return a
        if (operation == "add" and x == 0) or (operation == "mul" and x == 1):
            return b
        if operation == "mul" and 0 in (x, y):
            return self.const(0)
        return None

    def negate(self, a: Value) -> Value:
        """-a; flips the sign bit of floating point numbers."""
        if a.kind in HALVES:
            return self.convert(self.negate(self.convert(a, F32)), a.kind)
        if a.kind in FLOATS:
            return self.emit(f"fneg {a.type} {a.text}", a.kind, a.lanes)
        return self.binary("sub", self.const(0, a.kind, a.lanes), a)

    def compare(self, predicate: str, a: Any, b: Any) -> Value:
        """lt, le, gt, ge, eq, ne (unordered counts as unequal), and for integers ult, ule, ugt, uge; `uno`: a NaN."""
        a, b = self._pair(a, b)
        if a.kind in HALVES:
            a, b = self.convert(a, F32), self.convert(b, F32)
        integer, floating = _PREDICATES[predicate]
        word = f"fcmp {floating}" if a.kind in FLOATS else f"icmp {integer}"
        return self.emit(f"{word} {a.type} {a.text}, {b.text}", I1, a.lanes)

    def select(self, condition: Value, a: Any, b: Any) -> Value:
        """A where the condition holds, else b."""
        a, b = self._pair(a, b)
        if condition.lanes == 1 and a.lanes > 1:
            condition = self.splat(condition, a.lanes)
        elif a.lanes == 1 and condition.lanes > 1:
            a, b = self.splat(a, condition.lanes), self.splat(b, condition.lanes)
        return self.emit(
            f"select {condition.type} {condition.text}, {a.type} {a.text}, {b.type} {b.text}",
            a.kind,
            a.lanes,
        )

    def logical_not(self, a: Value) -> Value:
        """The other truth value."""
        return self.binary("xor", a, self.const(1, I1, a.lanes))

    def intrinsic(
        self, name: str, *operands: Value, extra: str = "", kind: str | None = None
    ) -> Value:
        """A call of llvm.`name` whose result has the type of its first operand (or `kind`)."""
        first = operands[0]
        if first.kind in HALVES:
            wide = [self.convert(o, F32) if o.kind in HALVES else o for o in operands]
            value = self.intrinsic(name, *wide, extra=extra, kind=kind)
            return self.convert(value, first.kind) if kind is None else value
        result = kind or first.kind
        full = f"llvm.{name}.{mangled(first.kind, first.lanes)}"
        types = ", ".join(o.type for o in operands) + (
            ", " + extra.split(maxsplit=1)[0] if extra else ""
        )
        self.declared[full] = f"{vector_type(result, first.lanes)} @{full}({types})"
        given = ", ".join(f"{o.type} {o.text}" for o in operands) + (", " + extra if extra else "")
        return self.emit(
            f"call {vector_type(result, first.lanes)} @{full}({given})", result, first.lanes
        )

    def fma(self, a: Any, b: Any, c: Value) -> Value:
        """A * b + c, rounded once."""
        return self.intrinsic("fma", self.like(a, c), self.like(b, c), c)

    def sqrt(self, a: Value) -> Value:
        """The square root."""
        return self.intrinsic("sqrt", a)

    def absolute(self, a: Value) -> Value:
        """|a|."""
        if a.kind in FLOATS:
            return self.intrinsic("fabs", a)
        return self.intrinsic("abs", a, extra="i1 false")

    def round(self, how: str, a: Value) -> Value:
        """floor, ceil, trunc, or rint (half to even)."""
        return self.intrinsic({"rint": "roundeven"}.get(how, how), a)

    def minimum(self, a: Any, b: Any) -> Value:
        """The smaller; NaN if one is NaN, as NumPy and torch have it."""
        a, b = self._pair(a, b)
        if a.kind not in FLOATS:
            return self.intrinsic("smin", a, b)
        less = self.select(self.compare("lt", a, b), a, b)
        return self.select(self.compare("uno", a, a), a, less)

    def maximum(self, a: Any, b: Any) -> Value:
        """The larger; NaN if one is NaN, as NumPy and torch have it."""
        a, b = self._pair(a, b)
        if a.kind not in FLOATS:
            return self.intrinsic("smax", a, b)
        # max(a, b) of the vector unit gives b where either is NaN: one compare keeps a's NaN.
        more = self.select(self.compare("gt", a, b), a, b)
        return self.select(self.compare("uno", a, a), a, more)

    def convert(self, a: Value, kind: str, signed: bool = True) -> Value:
        """The value in another element type. Float to int truncates (saturating); anything to i1 asks for non-zero."""
        if a.kind == kind:
            return a
        if (
            a.number is not None
            and a.lanes == 1
            and kind in (F32, F64, I64, I32)
            and a.kind not in (F16, BF16)
        ):
            if kind in FLOATS or a.kind not in FLOATS:
                return self.const(a.number, kind)
        to = vector_type(kind, a.lanes)
        if kind == I1:
            return self.compare("ne", a, self.const(0, a.kind, a.lanes))
        if a.kind in HALVES and kind != F32:
            return self.convert(self.convert(a, F32), kind, signed)
        if kind in HALVES and a.kind != F32:
            return self.convert(self.convert(a, F32, signed), kind)
        if kind == F32 and a.kind in HALVES:
            if not (self.half_floats and a.kind == F16):
                return halves.widened(self, a)
            half = self.emit(f"bitcast {a.type} {a.text} to {_half(a.lanes)}", a.kind, a.lanes)
            return self.emit(f"fpext {_half(a.lanes)} {half.text} to {to}", kind, a.lanes)
        if kind in HALVES:
            if not (self.half_floats and kind == F16):
                return halves.narrowed(self, a, kind)
            half = self.emit(f"fptrunc {a.type} {a.text} to {_half(a.lanes)}", kind, a.lanes)
            return self.emit(f"bitcast {_half(a.lanes)} {half.text} to {to}", kind, a.lanes)
        if a.kind in FLOATS and kind in FLOATS:
            word = "fpext" if BYTES[kind] > BYTES[a.kind] else "fptrunc"
        elif a.kind in FLOATS:
            word = "fptosi" if signed else "fptoui"
        elif kind in FLOATS:
            word = "sitofp" if signed and a.kind != I1 else "uitofp"
        elif BYTES[kind] < BYTES[a.kind]:
            word = "trunc"
        else:
            word = "sext" if signed and a.kind != I1 else "zext"
        return self.emit(f"{word} {a.type} {a.text} to {to}", kind, a.lanes)

    def bitcast(self, a: Value, kind: str) -> Value:
        """The same bits as another type of the same size."""
        if vector_type(a.kind, 1) == vector_type(kind, 1):
            return Value(self, a.text, kind, a.lanes)
        return self.emit(
            f"bitcast {a.type} {a.text} to {vector_type(kind, a.lanes)}", kind, a.lanes
        )

    def reduce(self, operation: str, vector: Value) -> Value:
        """All lanes in one: add, mul (pairwise, in a fixed tree), max, min (of floats: NaN wins), or, and."""
        if vector.lanes == 1:
            return vector
        combine: dict[str, Callable[[Value, Value], Value]] = {
            "add": lambda a, b: a + b, "mul": lambda a, b: a * b, "max": self.maximum, "min": self.minimum,
            "or": lambda a, b: a | b, "and": lambda a, b: a & b,
        }  # fmt: skip
        while vector.lanes > 1:
            half = vector.lanes // 2
            if vector.lanes % 2:
                rest = self.extract(vector, vector.lanes - 1)
                even = self.shuffle(vector, vector, range(vector.lanes - 1))
                return combine[operation](self.reduce(operation, even), rest)
            low = self.shuffle(vector, vector, range(half)) if half > 1 else self.extract(vector, 0)
            high = (
                self.shuffle(vector, vector, range(half, 2 * half))
                if half > 1
                else self.extract(vector, 1)
            )
            vector = combine[operation](low, high)
        return vector

    # -- memory --------------------------------------------------------------------------------------------

    def index(self, value: Any) -> Value:
        """An int or a value as i64."""
        return value if isinstance(value, Value) else self.const(value, I64)

    def address(self, base: Value, offset: Any, kind: str) -> Value:
        """The address of element `offset`."""
        offset = self.index(offset)
        if offset.number == 0:
            return base
        memory = I8 if kind == I1 else kind
        return self.emit(
            f"getelementptr {vector_type(memory, 1)}, ptr {base.text}, i64 {offset.text}", PTR
        )

    def load(
        self,
        base: Value,
        offset: Any,
        kind: str,
        lanes: int = 1,
        mask: Value | None = None,
        align: int | None = None,
    ) -> Value:
        """Elements `offset` to `offset + lanes`. Truth values lie in memory as bytes. Masked lanes read as 0."""
        memory = I8 if kind == I1 else kind
        place = self.address(base, offset, kind)
        align = align or BYTES[kind]
        shape = vector_type(memory, lanes)
        if mask is None:
            value = self.emit(f"load {shape}, ptr {place.text}, align {align}", memory, lanes)
        else:
            name = f"llvm.masked.load.{mangled(memory, lanes)}.p0"
            self.declared[name] = f"{shape} @{name}(ptr, i32, {mask.type}, {shape})"
            value = self.emit(
                f"call {shape} @{name}"
                f"(ptr {place.text}, i32 {align}, {mask.type} {mask.text}, {shape} zeroinitializer)",
                memory, lanes,
            )  # fmt: skip
        return self.convert(value, I1) if kind == I1 else value

    def store(
        self,
        value: Value,
        base: Value,
        offset: Any,
        mask: Value | None = None,
        align: int | None = None,
    ) -> None:
        """Writes all lanes from element `offset` on; with a mask, those lanes only."""
        if mask is not None and mask.number == 1:
            # As one element: LLVM writes too many bytes where it folds a truncation into a store of one known lane.
            value, mask = self.extract(value, 0), None
        kind = value.kind
        place = self.address(base, offset, kind)
        if kind == I1:
            value = self.convert(value, I8, signed=False)
        align = align or BYTES[kind]
        if mask is None:
            self.lines.append(f"  store {value.type} {value.text}, ptr {place.text}, align {align}")
            return
        name = f"llvm.masked.store.{mangled(value.kind, value.lanes)}.p0"
        self.declared[name] = f"void @{name}({value.type}, ptr, i32, {mask.type})"
        self.lines.append(
            f"  call void @{name}({value.type} {value.text}, ptr {place.text}, i32 {align}, {mask.type} {mask.text})"
        )

    def gather(self, base: Value, offsets: Value, kind: str) -> Value:
        """Elements at each lane's own offset."""
        if offsets.lanes == 1:
            return self.load(base, offsets, kind)
        result: Value | None = None
        memory = I8 if kind == I1 else kind
        for lane in range(offsets.lanes):
            one = self.load(base, self.extract(offsets, lane), memory)
            if result is None:
                poison = Value(self, "poison", memory, offsets.lanes)
                result = self.insert(poison, one, 0)
            else:
                result = self.insert(result, one, lane)
        assert result is not None  # noqa: S101 - there is at least one lane
        return self.convert(result, I1) if kind == I1 else result

    def lane_mask(self, count: Value, lanes: int) -> Value:
        """The first `count` lanes."""
        count = self.index(count)
        mask = self.compare("lt", self.lane_numbers(lanes), self.splat(count, lanes))
        mask.number = count.number
        return mask

    def prefetch(self, base: Value, offset: Any, kind: str, cache: int = 1) -> None:
        """Asks for the cache line of an element, into the first or the second cache."""
        self.declared["llvm.prefetch.p0"] = "void @llvm.prefetch.p0(ptr, i32, i32, i32)"
        place = self.address(base, offset, kind)
        self.lines.append(
            f"  call void @llvm.prefetch.p0(ptr {place.text}, i32 0, i32 {4 - cache}, i32 1)"
        )

    # -- control flow --------------------------------------------------------------------------------------

    def _label(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def _start(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self._block = label

    def loop(
        self,
        low: Any,
        high: Any,
        body: Callable[..., Any],
        carried: Sequence[Value] = (),
        step: int = 1,
        label: str = "i",
        unroll: bool = False,
    ) -> tuple[Value, ...]:
        """`for i in range(low, high, step)`: body(i, *carried) gives the next carried values; returns the last ones.

        `unroll` writes the body out for each i; bounds must then be constants. LLVM itself unrolls no loop.
        """
        low, high = self.index(low), self.index(high)
        known = low.number is not None and high.number is not None
        trips = max(0, -(-(high.number - low.number) // step)) if known else None
        if unroll or (trips is not None and trips <= 1):
            values = tuple(carried)
            if trips is None:
                raise ValueError("only loops with constant bounds can be unrolled")
            for k in range(trips):
                values = self._carry(body(self.const(low.number + k * step), *values))
            return values
        extent = f"{trips}" if trips is not None else f"{low.text}..{high.text}"
        self.outline.append(
            "  " * self._depth + f"{label}: {extent}" + (f" by {step}" if step != 1 else "")
        )
        head, after = self._label("loop"), self._label("after")
        before = self._block
        if trips is None:
            enter = self.compare("lt", low, high)
            self.lines.append(f"  br i1 {enter.text}, label %{head}, label %{after}")
        else:
            self.lines.append(f"  br label %{head}")
        i = self.fresh(I64)
        phis = [self.fresh(v.kind, v.lanes) for v in carried]
        self._start(head)
        place = len(self.lines)
        self._depth += 1
        results = self._carry(body(i, *phis))
        self._depth -= 1
        if len(results) != len(phis):
            raise ValueError(f"the loop carries {len(phis)} values, its body gave {len(results)}")
        following = self.emit(f"add i64 {i.text}, {step}", I64)
        latch = self._block
        more = self.compare("lt", following, high)
        self.lines.append(f"  br i1 {more.text}, label %{head}, label %{after}, !llvm.loop !0")
        heads = [f"  {i.text} = phi i64 [{low.text}, %{before}], [{following.text}, %{latch}]"]
        for phi, first, last in zip(phis, carried, results, strict=True):
            heads.append(
                f"  {phi.text} = phi {phi.type} [{first.text}, %{before}], [{last.text}, %{latch}]"
            )
        self.lines[place:place] = heads
        self._start(after)
        if trips is not None:
            return results
        merged = []
        for first, last in zip(carried, results, strict=True):
            merged.append(
                self.emit(
                    f"phi {last.type} [{first.text}, %{before}], [{last.text}, %{latch}]",
                    last.kind,
                    last.lanes,
                )
            )
        return tuple(merged)

    @staticmethod
    def _carry(result: Any) -> tuple[Value, ...]:
        if result is None:
            return ()
        return (result,) if isinstance(result, Value) else tuple(result)

    def when(
        self, condition: Value, then: Callable[[], Any], otherwise: Callable[[], Any] | None = None
    ) -> tuple[Value, ...]:
        """Runs `then` where a scalar condition holds, else `otherwise`; values that both give are merged."""
        if condition.number is not None:
            chosen = then if condition.number else otherwise
            return () if chosen is None else self._carry(chosen())
        yes, no, after = self._label("then"), self._label("else"), self._label("after")
        self.lines.append(f"  br i1 {condition.text}, label %{yes}, label %{no}")
        self._start(yes)
        first = self._carry(then())
        from_yes = self._block
        self.lines.append(f"  br label %{after}")
        self._start(no)
        second = self._carry(otherwise()) if otherwise is not None else ()
        from_no = self._block
        self.lines.append(f"  br label %{after}")
        self._start(after)
        return tuple(
            self.emit(
                f"phi {a.type} [{a.text}, %{from_yes}], [{b.text}, %{from_no}]", a.kind, a.lanes
            )
            for a, b in zip(first, second, strict=True)
        )


def module_text(kernels: Sequence[Builder], globals_: Sequence[str] = ()) -> str:
    """One LLVM module with these kernels."""
    declared: dict[str, None] = {}
    bodies = []
    for kernel in kernels:
        bodies.append(kernel.finish())
        declared.update(dict.fromkeys(kernel.declarations()))
    loops = '!0 = distinct !{!0, !1}\n!1 = !{!"llvm.loop.unroll.disable"}'
    return "\n".join([*globals_, *declared, *bodies, loops, ""])
