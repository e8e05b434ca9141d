"""`Abstract`: an array while a program is traced. Its shape and dtype are known; its elements are not."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.compiler.graph import Var
from rushlight.core.shapes import contiguous_strides, size_of
from rushlight.core.traced import needs_values
from rushlight.primitives import elementwise, structural


class _Flags:
    """What is asked of an array's memory."""

    writeable = owndata = aligned = True
    f_contiguous = False

    def __init__(self, c_contiguous: bool) -> None:
        self.c_contiguous = c_contiguous


_FLAGS = {True: _Flags(True), False: _Flags(False)}


class Abstract:
    """A traced array: shape, dtype, ndim, size, and Python's operators."""

    __slots__ = ("__weakref__", "_strides", "dtype", "ndim", "shape", "size", "var")

    base = None
    __array_priority__ = 2000

    def __init__(self, var: Var) -> None:
        self.var = var
        self.shape, self.dtype = var.shape, var.dtype
        self.ndim = len(self.shape)
        self.size = size_of(self.shape)
        self._strides: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"<traced {self.var.aval}>"

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes between neighbours: those of the memory that eager code would look into, else of contiguous memory."""
        return self._strides or tuple(
            s * self.dtype.itemsize for s in contiguous_strides(self.shape)
        )

    @property
    def flags(self) -> _Flags:
        """Whether the elements lie in order, as an array's flags say it."""
        strides = self._strides
        if strides is None or not self.size:
            return _FLAGS[True]
        item = self.dtype.itemsize
        ordered = zip(self.shape, strides, contiguous_strides(self.shape), strict=True)
        return _FLAGS[all(n == 1 or have == step * item for n, have, step in ordered)]

    def lie(self, strides: tuple[int, ...]) -> None:
        """Notes the strides that this value's memory would have eagerly: they decide what is a view and what a copy."""
        self._strides = tuple(strides)

    def outline(self) -> np.ndarray[Any, Any]:
        """An array of these strides whose elements must not be touched."""
        return np.lib.stride_tricks.as_strided(np.empty(1, self.dtype), self.shape, self.strides)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __bool__(self) -> bool:
        raise needs_values(
            "It decides which way the program goes (an `if`, `while`, `and` or assert on a tensor)."
        )

    def __float__(self) -> float:
        raise needs_values("It is turned into a Python number (float(), .item()).")

    def __int__(self) -> int:
        raise needs_values("It is turned into a Python number (int(), .item()).")

    __index__ = __int__
    __complex__ = __float__

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise needs_values("It is handed to NumPy.")

    def __getitem__(self, index: Any) -> Any:
        raise needs_values("Some of its elements are asked for.")

    def __iter__(self) -> Any:
        raise needs_values("Its elements are gone through one by one.")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise needs_values(f"Its elements are asked for ({name}).")


def _promoted(value: Any, other: Any) -> Any:
    """An operand in the dtype that NumPy computes in: gradient formulas use operators on real and complex arrays."""
    here, there = getattr(value, "dtype", None), getattr(other, "dtype", None)
    if here is None or here == there:
        return value
    if there is None:
        wanted = np.result_type(here, np.complex64) if isinstance(other, complex) else here
    else:
        wanted = np.result_type(here, there)
    return value if wanted == here else structural.cast(value, dtype=wanted)


def _operator(name: str, function: Any) -> None:
    def forward(self: Abstract, other: Any) -> Any:
        return function(_promoted(self, other), _promoted(other, self))

    def backward(self: Abstract, other: Any) -> Any:
        return function(_promoted(other, self), _promoted(self, other))

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
