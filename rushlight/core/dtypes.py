"""The element types: torch's names for them, and the NumPy dtype that stores each one.

Two vocabularies meet here. Users hold a `dtype` (`rushlight.float32`); arrays hold a `numpy.dtype`.
`of_numpy` and `dtype.numpy` translate, and nothing else does.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

__all__ = ["ALL", "bfloat16", "bool_", "dtype", "finfo", "iinfo", "of_numpy", "to_numpy"]


class dtype:
    """The type of a tensor's elements, such as `rushlight.float32`. Instances are unique: compare with `is`."""

    __slots__ = (
        "is_complex",
        "is_floating_point",
        "is_signed",
        "itemsize",
        "kind",
        "name",
        "numpy",
    )

    name: str
    numpy: np.dtype[Any]
    kind: int
    itemsize: int
    is_floating_point: bool
    is_complex: bool
    is_signed: bool

    # The category of a type decides promotion: bool < integer < floating < complex.
    BOOL, INTEGER, FLOATING, COMPLEX = range(4)

    def __init__(self, name: str, numpy_dtype: Any, kind: int) -> None:
        self.name = name
        self.numpy = np.dtype(numpy_dtype)
        self.kind = kind
        self.itemsize = self.numpy.itemsize
        self.is_floating_point = kind == self.FLOATING
        self.is_complex = kind == self.COMPLEX
        self.is_signed = kind >= self.FLOATING or (kind == self.INTEGER and name[0] == "i")

    def __repr__(self) -> str:
        return "torch." + self.name

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _by_name, (self.name,)

    def __copy__(self) -> dtype:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> dtype:
        return self

    def to_real(self) -> dtype:
        """The real type of the same precision: complex64 gives float32; others give themselves."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    def to_complex(self) -> dtype:
        """The complex type of the same precision: float32 gives complex64."""
        return {"float64": complex128, "complex128": complex128}.get(self.name, complex64)


bool_ = dtype("bool", np.bool_, dtype.BOOL)
uint8 = dtype("uint8", np.uint8, dtype.INTEGER)
uint16 = dtype("uint16", np.uint16, dtype.INTEGER)
uint32 = dtype("uint32", np.uint32, dtype.INTEGER)
uint64 = dtype("uint64", np.uint64, dtype.INTEGER)
int8 = dtype("int8", np.int8, dtype.INTEGER)
int16 = dtype("int16", np.int16, dtype.INTEGER)
int32 = dtype("int32", np.int32, dtype.INTEGER)
int64 = dtype("int64", np.int64, dtype.INTEGER)
float16 = dtype("float16", np.float16, dtype.FLOATING)
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, dtype.FLOATING)
float32 = dtype("float32", np.float32, dtype.FLOATING)
float64 = dtype("float64", np.float64, dtype.FLOATING)
complex64 = dtype("complex64", np.complex64, dtype.COMPLEX)
complex128 = dtype("complex128", np.complex128, dtype.COMPLEX)

ALL: tuple[dtype, ...] = (
    bool_, uint8, uint16, uint32, uint64, int8, int16, int32, int64,
    float16, bfloat16, float32, float64, complex64, complex128,
)  # fmt: skip

#: torch's other spellings of the same types.
ALIASES: dict[str, dtype] = {
    "half": float16, "float": float32, "double": float64, "short": int16, "int": int32, "long": int64,
    "cfloat": complex64, "cdouble": complex128,
}  # fmt: skip

_NAMES = {d.name: d for d in ALL}
_OF_NUMPY: dict[np.dtype[Any], dtype] = {d.numpy: d for d in ALL}
_PYTHON = {bool: bool_, int: int64, float: float64, complex: complex128}


def _by_name(name: str) -> dtype:
    return _NAMES[name]


def of_numpy(array_dtype: np.dtype[Any]) -> dtype:
    """The rushlight dtype that is stored as `array_dtype`; TypeError where there is none."""
    found = _OF_NUMPY.get(array_dtype)
    if found is None:
        native = array_dtype.newbyteorder("=")
        found = _OF_NUMPY.get(native)
        if found is None:
            raise TypeError(
                f"can't convert np.ndarray of type {array_dtype}. The only supported types are: "
                + ", ".join(d.name for d in ALL)
                + "."
            )
    return found


def to_numpy(wanted: Any) -> np.dtype[Any]:
    """The NumPy dtype behind a rushlight dtype (or Python's bool, int, float, complex)."""
    if type(wanted) is dtype:
        return wanted.numpy
    if wanted in _PYTHON:
        return _PYTHON[wanted].numpy
    if isinstance(wanted, np.dtype):
        return of_numpy(wanted).numpy
    raise TypeError(
        f"dtype must be a rushlight dtype such as rushlight.float32, not {type(wanted).__name__}"
    )


# NumPy's own dtype objects, for the code that works on arrays. They are unique: compare with `is`.
BOOL, UINT8, INT64 = bool_.numpy, uint8.numpy, int64.numpy
FLOAT16, BFLOAT16, FLOAT32, FLOAT64 = float16.numpy, bfloat16.numpy, float32.numpy, float64.numpy
COMPLEX64, COMPLEX128 = complex64.numpy, complex128.numpy
FLOATING = frozenset((FLOAT16, BFLOAT16, FLOAT32, FLOAT64))
COMPLEX = frozenset((COMPLEX64, COMPLEX128))
INEXACT = FLOATING | COMPLEX
INTEGRAL = frozenset(d.numpy for d in ALL if d.kind <= dtype.INTEGER)
HALF = frozenset((FLOAT16, BFLOAT16))

_REAL = {COMPLEX64: FLOAT32, COMPLEX128: FLOAT64}


def real_of(array_dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float32 for complex64, float64 for complex128, any other type itself."""
    return _REAL.get(array_dtype, array_dtype)


def complex_of(array_dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The complex type that holds this floating type without loss."""
    return COMPLEX128 if array_dtype in (FLOAT64, COMPLEX128) else COMPLEX64


def accumulator_of(array_dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that sums of such elements are kept in: float32 for the 16-bit floats."""
    return FLOAT32 if array_dtype in HALF else array_dtype


_default = float32


def get_default_dtype() -> dtype:
    """The type of tensors made from Python floats; float32 at the start."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Sets the type of tensors made from Python floats: a floating point dtype."""
    global _default  # noqa: PLW0603 - one process-wide setting, as in PyTorch
    if not (isinstance(d, dtype) and d.is_floating_point):
        raise TypeError(f"only floating-point types are supported as the default type, not {d!r}")
    _default = d


class finfo:
    """Limits of a floating point type: bits, eps, max, min, tiny, smallest_normal, resolution.

    >>> import rushlight
    >>> rushlight.finfo(rushlight.float32).eps
    1.1920928955078125e-07
    """

    def __init__(self, type: dtype | None = None) -> None:
        d = get_default_dtype() if type is None else type
        if not (isinstance(d, dtype) and (d.is_floating_point or d.is_complex)):
            raise TypeError(
                f"rushlight.finfo() requires a floating point input type. Use rushlight.iinfo to handle {d!r}"
            )
        limits: Any = ml_dtypes.finfo(d.to_real().numpy)  # type: ignore[no-untyped-call]
        self.dtype, self.bits = d.to_real().name, int(limits.bits)
        self.eps, self.max, self.min = float(limits.eps), float(limits.max), float(limits.min)
        self.tiny = self.smallest_normal = float(limits.smallest_normal)
        self.resolution = float(limits.resolution)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer type: bits, min, max."""

    def __init__(self, type: dtype) -> None:
        if not (isinstance(type, dtype) and type.kind == dtype.INTEGER):
            raise TypeError(
                f"rushlight.iinfo() requires an integer input type. Use rushlight.finfo to handle {type!r}"
            )
        limits = np.iinfo(type.numpy)
        self.dtype, self.bits, self.min, self.max = (
            type.name,
            limits.bits,
            int(limits.min),
            int(limits.max),
        )

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
