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

import math
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.loops.arithmetic import Arithmetic
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
from rushlight.loops.values import Value, literal, mangled, vector_type

#: Whoever writes a kernel finds here what it is written with.
__all__ = [
    "BF16", "BYTES", "CACHE_LINE", "F16", "F32", "F64", "FLOATS", "HALVES", "I1", "I8", "I16", "I32", "I64",
    "METADATA", "PTR", "Builder", "Value", "literal", "mangled", "module_text", "vector_type",
]  # fmt: skip

#: Bytes of a cache line.
CACHE_LINE = 64
#: What loops and stores refer to, at the end of every module.
UNROLLED, STREAMED = "!0", "!2"
METADATA = f"""{UNROLLED} = distinct !{{{UNROLLED}, !1}}
!1 = !{{!"llvm.loop.unroll.disable"}}
{STREAMED} = !{{i32 1}}"""


class Builder(Arithmetic):
    """The text of one kernel while it is written."""

    def __init__(self, name: str, buffers: int) -> None:
        super().__init__()
        self.name = name
        self.allocas: list[str] = []
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

    # -- text ----------------------------------------------------------------------------------------------

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
        streamed: bool = False,
    ) -> None:
        """Writes all lanes from element `offset` on; with a mask, those lanes only.

        `streamed`: past the caches, where that can be: `base` must then be aligned as vectors are.
        """
        if mask is not None and mask.number == 1:
            # As one element: LLVM writes too many bytes where it folds a truncation into a store of one known lane.
            value, mask = self.extract(value, 0), None
        kind = value.kind
        place = self.address(base, offset, kind)
        if kind == I1:
            value = self.convert(value, I8, signed=False)
        align = align or BYTES[kind]
        if mask is None:
            past = ""
            if streamed and value.lanes > 1 and self.index(offset).multiple % value.lanes == 0:
                align = min(value.lanes * BYTES[kind], CACHE_LINE)
                past = f", !nontemporal {STREAMED}"
            self.lines.append(
                f"  store {value.type} {value.text}, ptr {place.text}, align {align}{past}"
            )
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

    def compress(self, value: Value, mask: Value) -> Value:
        """The lanes that the mask chooses, side by side in the first ones; the others hold anything."""
        rest = Value(self, "poison", value.kind, value.lanes)
        return self.intrinsic("experimental.vector.compress", value, mask, rest)

    def count(self, mask: Value) -> Value:
        """How many lanes a mask chooses."""
        kind = f"i{mask.lanes}"
        bits = self.emit(f"bitcast {mask.type} {mask.text} to {kind}", kind)
        name = f"llvm.ctpop.{kind}"
        self.declared[name] = f"{kind} @{name}({kind})"
        number = self.emit(f"call {kind} @{name}({kind} {bits.text})", kind)
        return self.emit(f"zext {kind} {number.text} to i64", I64)

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
        i._multiple = math.gcd(low.multiple, step)
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
        self.lines.append(
            f"  br i1 {more.text}, label %{head}, label %{after}, !llvm.loop {UNROLLED}"
        )
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
    return "\n".join([*globals_, *declared, *bodies, METADATA, ""])
