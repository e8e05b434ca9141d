"""Values that must lie in a range: one pass over them, which stops the program where one does not."""

from __future__ import annotations

from typing import Any

from rushlight.loops.arrays import Array, Sink
from rushlight.loops.builder import F32, FLOATS, I64
from rushlight.loops.kernel import Plan
from rushlight.primitives import checks
from rushlight.primitives.lowerings.copying import copy_into


@checks.within.define_lowering
def _(
    plan: Plan,
    sinks: tuple[Sink, ...],
    operands: tuple[Any, ...],
    *,
    low: Any,
    high: Any,
    message: str,
) -> None:
    x: Array = operands[0]
    code = plan.fault_code(RuntimeError, message)
    b = plan.kernel("check_range", 1, x.size * 1.0)
    b.checks = True

    def nested(depth: int, place: list[Any]) -> None:
        if depth < x.ndim:
            b.loop(0, x.shape[depth], lambda i: nested(depth + 1, [*place, i]), label="i")
            return
        loaded = x.load(b, place)
        value = b.convert(
            loaded, F32 if loaded.kind in FLOATS and loaded.kind != "double" else loaded.kind
        )
        shown = b.const(0, I64) if value.kind in FLOATS else b.convert(value, I64, x.signed)
        for bound, predicate in ((low, "lt"), (high, "gt")):
            if bound is not None:
                kind, other = (
                    (value, b.const(bound, value.kind))
                    if value.kind in FLOATS
                    else (shown, b.const(bound))
                )
                b.when(b.compare(predicate, kind, other), lambda: b.fault(plan, code, shown))

    b.over_items(lambda _: nested(0, []))
    copy_into(plan, sinks[0], x)
