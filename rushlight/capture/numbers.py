"""`Number`: a hyper-parameter while a program is traced: its value may change from call to call without a new trace."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable
from typing import Any

_COMPARISONS = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}
_ARITHMETIC = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv, "pow": operator.pow,
    "floordiv": operator.floordiv, "mod": operator.mod,
}  # fmt: skip


class Number:
    """A Python number that is read again at every call.

    Arithmetic with numbers gives Numbers. A comparison gives its answer of now, and notes it: where the answer is
    another one in a later call, the program is traced again. What turns it into a plain number pins its value so.
    """

    __slots__ = ("phase", "read", "trace", "value")

    def __init__(self, value: float, read: Callable[[], float], trace: Any, phase: int) -> None:
        self.value, self.read, self.trace, self.phase = value, read, trace, phase

    def __repr__(self) -> str:
        return repr(self.value)

    def _pin(self) -> float:
        value, read = self.value, self.read
        self.trace.guard(
            self.phase, lambda: read() == value or (read() != read() and value != value)
        )
        return value

    def __float__(self) -> float:
        return float(self._pin())

    def __int__(self) -> int:
        return int(self._pin())

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __hash__(self) -> int:
        return hash(self._pin())

    def __neg__(self) -> Number:
        read = self.read
        return Number(-self.value, lambda: -read(), self.trace, self.phase)

    def __pos__(self) -> Number:
        return self

    def __abs__(self) -> Number:
        read = self.read
        return Number(abs(self.value), lambda: abs(read()), self.trace, self.phase)

    def __round__(self, digits: int | None = None) -> Any:
        return round(self._pin(), digits)

    def __trunc__(self) -> int:
        return math.trunc(self._pin())

    __floor__ = __ceil__ = __trunc__

    @property
    def real(self) -> Number:
        """The number itself."""
        return self

    @property
    def imag(self) -> float:
        """Zero."""
        return 0.0

    def conjugate(self) -> Number:
        """The number itself."""
        return self


def _compared(function: Callable[[Any, Any], bool]) -> Any:
    def compare(self: Number, other: Any) -> Any:
        if not isinstance(other, (int, float, Number)):
            return NotImplemented
        mine = self.read
        theirs = other.read if isinstance(other, Number) else lambda: other
        answer = function(self.value, other.value if isinstance(other, Number) else other)
        self.trace.guard(self.phase, lambda: function(mine(), theirs()) == answer)
        return answer

    return compare


def _computed(function: Callable[[Any, Any], Any], reverse: bool) -> Any:
    def compute(self: Number, other: Any) -> Any:
        if not isinstance(other, (int, float, Number)):
            return NotImplemented
        mine = self.read
        theirs = other.read if isinstance(other, Number) else lambda: other
        there = other.value if isinstance(other, Number) else other
        phase = max(self.phase, other.phase) if isinstance(other, Number) else self.phase
        if reverse:
            return Number(
                function(there, self.value), lambda: function(theirs(), mine()), self.trace, phase
            )
        return Number(
            function(self.value, there), lambda: function(mine(), theirs()), self.trace, phase
        )

    return compute


for _name, _function in _COMPARISONS.items():
    setattr(Number, f"__{_name}__", _compared(_function))
for _name, _function in _ARITHMETIC.items():
    setattr(Number, f"__{_name}__", _computed(_function, False))
    setattr(Number, f"__r{_name}__", _computed(_function, True))
numbers.Real.register(Number)
