"""`Value`: one value of a kernel's text, and how LLVM writes types and numbers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from rushlight.loops.kinds import (
    BF16,
    F16,
    F32,
    F64,
    FLOATS,
    I1,
    I16,
    PTR,
)  # fmt: skip

if TYPE_CHECKING:
    from rushlight.loops.arithmetic import Arithmetic

_MANGLED = {F16: "i16", BF16: "i16", F32: "f32", F64: "f64", PTR: "p0"}
#: 16-bit floats are bits to LLVM: where processors lack them it would call functions that no process has.
_TYPES = {F16: I16, BF16: I16}


def vector_type(kind: str, lanes: int) -> str:
    """The LLVM type of `lanes` elements (1: a scalar)."""
    name = _TYPES.get(kind, kind)
    return name if lanes == 1 else f"<{lanes} x {name}>"


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

    __slots__ = ("_multiple", "builder", "kind", "lanes", "number", "text")

    def __init__(
        self, builder: Arithmetic, text: str, kind: str, lanes: int = 1, number: Any = None
    ) -> None:
        self.builder, self.text, self.kind, self.lanes = builder, text, kind, lanes
        self.number = number  # of a scalar constant
        self._multiple = 1

    @property
    def multiple(self) -> int:
        """A number that a scalar is known to be a multiple of: it says how places in memory are aligned."""
        return self._multiple if self.number is None else int(self.number)

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
