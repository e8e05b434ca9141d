"""16-bit floats to float32 and back, by integer arithmetic: processors without such instructions have them too.

Values are rounded once, to nearest even. Subnormal numbers of float16 keep their value also where subnormal numbers of
float32 count as zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rushlight.loops.kinds import BF16, F32, I16, I32

if TYPE_CHECKING:
    from rushlight.loops.arithmetic import Arithmetic
    from rushlight.loops.values import Value


def widened(b: Arithmetic, x: Value) -> Value:
    """A float16 or bfloat16 as float32, exactly."""
    lanes = x.lanes

    def number(value: int) -> Value:
        return b.const(value, I32, lanes)

    bits = b.convert(b.bitcast(x, I16), I32, signed=False)
    if x.kind == BF16:
        return b.bitcast(b.binary("shl", bits, number(16)), F32)
    size = bits & number(0x7FFF)
    shifted = b.binary("shl", size, number(13))
    normal = b.bitcast(shifted + number(112 << 23), F32)
    endless = b.bitcast(shifted | number(0x7F800000), F32)
    tiny = b.convert(size, F32) * 2.0**-24
    value = b.select(b.compare("lt", size, number(0x400)), tiny, normal)
    value = b.select(b.compare("ge", size, number(0x7C00)), endless, value)
    sign = b.binary("shl", bits & number(0x8000), number(16))
    return b.bitcast(b.bitcast(value, I32) | sign, F32)


def narrowed(b: Arithmetic, x: Value, kind: str) -> Value:
    """A float32 as the nearest float16 or bfloat16."""
    lanes = x.lanes

    def number(value: int) -> Value:
        return b.const(value, I32, lanes)

    bits = b.bitcast(x, I32)
    size = bits & number(0x7FFFFFFF)
    sign = b.binary("lshr", bits & number(-0x80000000), number(16))
    if kind == BF16:
        odd = b.binary("lshr", size, number(16)) & number(1)
        rounded = b.binary("lshr", size + odd + number(0x7FFF), number(16))
        quiet = number(0x7FC0)
    else:
        odd = b.binary("lshr", size, number(13)) & number(1)
        shifted = size + odd + number((-112 << 23) + 0xFFF)
        rounded = b.binary("lshr", shifted, number(13))
        # Added to 1/2, whose last place is that of float16's subnormal numbers, they are rounded to it.
        tiny = b.bitcast(b.bitcast(size, F32) + 0.5, I32) - number(0x3F000000)
        rounded = b.select(b.compare("lt", size, number(0x38800000)), tiny, rounded)
        rounded = b.select(b.compare("ge", size, number(0x47800000)), number(0x7C00), rounded)
        quiet = number(0x7E00)
    rounded = b.select(b.compare("gt", size, number(0x7F800000)), quiet, rounded)
    return b.bitcast(b.convert(rounded | sign, I16), kind)
