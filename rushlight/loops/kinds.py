"""Element types, by their names in LLVM."""

from __future__ import annotations

F16, BF16, F32, F64 = "half", "bfloat", "float", "double"
I1, I8, I16, I32, I64, PTR = "i1", "i8", "i16", "i32", "i64", "ptr"
FLOATS = frozenset((F16, BF16, F32, F64))
HALVES = frozenset((F16, BF16))
BYTES = {F16: 2, BF16: 2, F32: 4, F64: 8, I1: 1, I8: 1, I16: 2, I32: 4, I64: 8, PTR: 8}
