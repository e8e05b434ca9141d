"""`Arithmetic`: the instructions that make values out of values: constants, lanes, operators, conversions."""

from __future__ import annotations

import math
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
    I32,
    I64,
)  # fmt: skip
from rushlight.loops.values import Value, literal, mangled, vector_type

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


def _half(lanes: int) -> str:
    """LLVM's own type of float16, for the instructions that convert it."""
    return F16 if lanes == 1 else f"<{lanes} x {F16}>"


class Arithmetic:
    """Writes instructions, one line each; `Builder` adds memory and control flow."""

    #: Whether the processor itself turns float16 into float32 and back.
    half_floats = False

    def __init__(self) -> None:
        self.lines: list[str] = []
        #: The intrinsics that are called, by name.
        self.declared: dict[str, str] = {}
        self._count = 0

    def fresh(self, kind: str, lanes: int = 1) -> Value:
        """A new name."""
        self._count += 1
        return Value(self, f"%v{self._count}", kind, lanes)

    def emit(self, instruction: str, kind: str, lanes: int = 1) -> Value:
        """An instruction with a result."""
        result = self.fresh(kind, lanes)
        self.lines.append(f"  {result.text} = {instruction}")
        return result

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
        result = self.emit(f"{word} {left.type} {left.text}, {right.text}", left.kind, left.lanes)
        if left.kind == I64 and left.lanes == 1:
            if operation == "mul":
                result._multiple = left.multiple * right.multiple
            elif operation in ("add", "sub"):
                result._multiple = math.gcd(left.multiple, right.multiple)
        return result

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
        found = self.emit(
            f"call {vector_type(result, first.lanes)} @{full}({given})", result, first.lanes
        )
        if name in ("smin", "smax") and result == I64 and first.lanes == 1:
            found._multiple = math.gcd(*(o.multiple for o in operands))
        return found

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
