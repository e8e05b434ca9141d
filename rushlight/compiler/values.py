"""`Abstract`: an array while a program is traced. Its shape and dtype are known; its elements are not."""

from __future__ import annotations

from typing import Any

from rushlight.compiler.graph import Var
from rushlight.core.shapes import size_of
from rushlight.core.sites import describe, user_site
from rushlight.loops.arrays import contiguous_strides
from rushlight.primitives import elementwise

_ADVICE = (
    "a value is needed at {line} that is not known while the program is traced for compiling. {what} Keep it on "
    "tensors (rushlight.where instead of `if`), return it and look at it outside, or leave this function uncompiled."
)


def refuse(what: str) -> RuntimeError:
    """The error for code that asks for elements."""
    return RuntimeError(_ADVICE.format(line=describe(user_site(1)), what=what))


class _Flags:
    """What is asked of an array's memory: traced values lie in the order of their indices, and may be written."""

    c_contiguous = writeable = owndata = aligned = True
    f_contiguous = False


class Abstract:
    """A traced array: shape, dtype, ndim, size, and Python's operators."""

    __slots__ = ("__weakref__", "dtype", "ndim", "shape", "size", "var")

    flags = _Flags()
    base = None
    __array_priority__ = 2000

    def __init__(self, var: Var) -> None:
        self.var = var
        self.shape, self.dtype = var.shape, var.dtype
        self.ndim = len(self.shape)
        self.size = size_of(self.shape)

    def __repr__(self) -> str:
        return f"<traced {self.var.aval}>"

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes between neighbours, as of contiguous memory."""
        return tuple(s * self.dtype.itemsize for s in contiguous_strides(self.shape))

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __bool__(self) -> bool:
        raise refuse(
            "It decides which way the program goes (an `if`, `while`, `and` or assert on a tensor)."
        )

    def __float__(self) -> float:
        raise refuse("It is turned into a Python number (float(), .item()).")

    def __int__(self) -> int:
        raise refuse("It is turned into a Python number (int(), .item()).")

    __index__ = __int__
    __complex__ = __float__

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise refuse("It is handed to NumPy.")

    def __iter__(self) -> Any:
        raise refuse("Its elements are gone through one by one.")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise refuse(f"Its elements are asked for ({name}).")


def _operator(name: str, function: Any) -> None:
    def forward(self: Abstract, other: Any) -> Any:
        return function(self, other)

    def backward(self: Abstract, other: Any) -> Any:
        return function(other, self)

    setattr(Abstract, f"__{name}__", forward)
    setattr(Abstract, f"__r{name}__", backward)


for _name, _function in {
    "add": elementwise.add, "sub": elementwise.sub, "mul": elementwise.mul, "truediv": elementwise.div,
    "floordiv": elementwise.floor_divide, "mod": elementwise.remainder, "pow": elementwise.power,
    "and": elementwise.bit_and, "or": elementwise.bit_or, "xor": elementwise.bit_xor,
}.items():  # fmt: skip
    _operator(_name, _function)
for _name, _function in {
    "lt": elementwise.less, "le": elementwise.less_equal, "gt": elementwise.greater, "ge": elementwise.greater_equal,
    "eq": elementwise.equal, "ne": elementwise.not_equal,
}.items():  # fmt: skip
    setattr(Abstract, f"__{_name}__", lambda self, other, call=_function: call(self, other))
for _name, _function in {
    "neg": elementwise.neg, "invert": elementwise.bit_not, "abs": elementwise.absolute,
}.items():  # fmt: skip
    setattr(Abstract, f"__{_name}__", lambda self, call=_function: call(self))
Abstract.__hash__ = object.__hash__  # type: ignore[method-assign]
