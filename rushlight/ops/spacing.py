"""Numbers in a row: arange, linspace, logspace; and the indices of a matrix's diagonal and
triangles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rushlight.core import dtypes
from rushlight.core.dtypes import COMPLEX, COMPLEX128, FLOAT64, FLOATING, INT64, INTEGRAL
from rushlight.core.sites import warn_user
from rushlight.ops.declare import Array, Bad, Operand, Sample, op
from rushlight.ops.operands import to
from rushlight.primitives import elementwise as p
from rushlight.primitives import structural as s
from rushlight.primitives.creation import triangle_indices
from rushlight.primitives.views import diagonal_update


def _plain(value: Any, caller: str, name: str) -> Any:
    """A Python number; 0-d arrays give theirs."""
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, complex):
        raise RuntimeError(
            f"value cannot be converted to type double without overflow: {caller}() got "
            f"{name}={value}"
        )
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{caller}(): argument '{name}' must be Number, not {type(value).__name__}")


def _bounds(caller: str, start: Any, end: Any, step: Any) -> tuple[Any, Any, Any]:
    """Start, end and step as numbers; one bound alone is the end."""
    if start is None and end is None:
        raise TypeError(f"{caller}() missing 1 required argument: 'end'")
    if end is None:
        start, end = 0, start
    elif start is None:
        start = 0
    return _plain(start, caller, "start"), _plain(end, caller, "end"), _plain(step, caller, "step")


def _multiples(start: Any, step: Any, length: int, exact: bool) -> Array:
    """The numbers start + step * (0, 1, ..., length - 1) in int64 or float64."""
    numbers = s.iota(length=length, dtype=INT64 if exact else FLOAT64)
    if step != 1:
        numbers = p.mul(numbers, step)
    return p.add(numbers, start) if start != 0 else numbers


def _check_range(start: Any, end: Any, step: Any) -> None:
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError(
            f"upper bound and lower bound inconsistent with step sign: {step} leads from {start} "
            f"away from {end}"
        )


def _row(start: Any, end: Any, step: Any, dtype: Any, closed: bool, caller: str) -> Array:
    if dtype is None:
        whole = all(isinstance(v, int) for v in (start, end, step)) and not closed
        dtype = INT64 if whole else dtypes.get_default_dtype().numpy
    if dtype == dtypes.BOOL or dtype in COMPLEX:
        raise NotImplementedError(f'"{caller}" not implemented for {dtypes.of_numpy(dtype)!r}')
    if dtype is INT64:
        start, end, step = (int(v) if math.isfinite(v) else v for v in (start, end, step))
    _check_range(start, end, step)
    if closed:
        length = int((end - start) / step) + 1
    elif all(isinstance(v, int) for v in (start, end, step)):
        length = -(-(end - start) // step)
    else:
        length = math.ceil((end - start) / step)
    if dtype in INTEGRAL:
        return to(_multiples(int(start), int(step), length, True), dtype)
    return to(_multiples(start, step, length, False), dtype)


@op(factory=True, differentiable=False)
def arange(start: Any = None, end: Any = None, step: Any = 1, *, dtype: Any = None) -> Array:
    """Numbers from `start` (0 if one argument is given) up to but without `end`, `step` apart.

    Integers give int64, otherwise the default dtype. Raises RuntimeError for a step of zero and for
    bounds that the step leads away from, NotImplementedError for bool and complex dtypes.

    >>> import rushlight
    >>> rushlight.arange(1, 2.5, 0.5)
    tensor([1.0000, 1.5000, 2.0000])
    """
    start, end, step = _bounds("arange", start, end, step)
    return _row(start, end, step, dtype, False, "arange_cpu")


@arange.samples
def arange_samples(make: Any) -> Iterator[Any]:
    yield Sample(5)
    yield Sample(1, 10, 3)
    yield Sample(5, 0, -2)
    yield Sample(0, 1, 0.1)
    yield Sample(3, dtype=dtypes.float16)
    yield Sample(2, 2)
    yield Bad(0, 3, 0, raises=RuntimeError, says="step must be nonzero")
    yield Bad(0, 3, -1, raises=RuntimeError, says="inconsistent with step sign")


@op(factory=True, differentiable=False)
def range_(start: Any = None, end: Any = None, step: Any = 1, *, dtype: Any = None) -> Array:
    """As `arange`, but `end` belongs to it. Deprecated: it warns; use `arange`."""
    warn_user(
        "range is deprecated and will be removed in a future release because its behavior is "
        "inconsistent with Python's range builtin. Instead, use arange, which produces values in "
        "[start, end).",
    )
    start, end, step = _bounds("range", start, end, step)
    return _row(start, end, step, dtype, True, "range")


@range_.samples
def range_samples(make: Any) -> Iterator[Any]:
    yield Sample(1, 4)
    yield Sample(0.5, 2.5, 0.5)
    yield Bad(3, 1, raises=RuntimeError, says="inconsistent")


# -- a number of steps -----------------------------------------------------------------------------


def _steps(steps: Any) -> int:
    if not hasattr(steps, "__index__"):
        raise TypeError(f"argument 'steps' must be int, not {type(steps).__name__}")
    if steps.__index__() < 0:
        raise RuntimeError(f"number of steps must be non-negative, not {steps}")
    return int(steps.__index__())


def _end_dtype(ends: tuple[Any, ...], dtype: Any) -> Any:
    if dtype is not None:
        return dtype
    default = dtypes.get_default_dtype()
    found = default.numpy
    for end in ends:
        have = getattr(end, "dtype", None)
        if isinstance(end, complex) or have in COMPLEX:
            return have or default.to_complex().numpy
        if have in FLOATING:
            found = have
    return default.numpy if dtype is None and found is None else found


def _ends(caller: str, ends: tuple[Any, ...], wide: Any, dtype: Any) -> list[Any]:
    """Start and end in the type that the row is computed in; integer rows run between whole
    numbers.
    """
    found = []
    for name, end in zip(("start", "end"), ends, strict=True):
        shape = getattr(end, "shape", ())
        if shape:
            raise RuntimeError(
                f"{caller} only supports 0-dimensional start and end tensors, but got {name} with "
                f"{len(shape)} dimension(s)."
            )
        if hasattr(end, "dtype"):
            found.append(to(to(end, dtype), wide))
        else:
            found.append(s.full(int(end) if dtype in INTEGRAL else end, shape=(), dtype=wide))
    return found


def _spaced(caller: str, start: Any, end: Any, steps: Any, dtype: Any) -> Array:
    """Evenly spaced numbers in float64 or complex128. Each half counts from its own end, so that
    both are exact.
    """
    count = _steps(steps)
    wide = COMPLEX128 if dtype in COMPLEX else FLOAT64
    start, end = _ends(caller, (start, end), wide, dtype)
    first = (count + 1) // 2 if count < 2 else count // 2
    index = s.iota(length=first, dtype=wide)
    if count < 2:
        return p.add(index, start)
    step = p.div(p.sub(end, start), count - 1)
    rising = p.add(p.mul(index, step), start)
    back = s.flip(s.iota(length=count - first, dtype=wide), axes=(0,))
    falling = p.sub(end, p.mul(back, step))
    return s.concatenate(rising, falling, axis=0)


@op(factory=True, differentiable=False)
def linspace(start: Operand, end: Operand, steps: int, *, dtype: Any = None) -> Array:
    """`steps` numbers from `start` to `end`, both included, evenly spaced.

    `start` and `end` are numbers or 0-d tensors. Raises RuntimeError for a negative number of
    steps.

    >>> import rushlight
    >>> rushlight.linspace(0, 1, 5)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    dtype = _end_dtype((start, end), dtype)
    return to(_spaced("linspace", start, end, steps, dtype), dtype)


@linspace.samples
def linspace_samples(make: Any) -> Iterator[Any]:
    yield Sample(0, 1, 5)
    yield Sample(3, -2.5, 6)
    yield Sample(0, 10, 4, dtype=dtypes.int64)
    yield Sample(1, 2, 1)
    yield Sample(1, 2, 0)
    yield Bad(0, 1, -1, raises=RuntimeError, says="non-negative")


@op(factory=True, differentiable=False)
def logspace(
    start: Operand, end: Operand, steps: int, base: float = 10.0, *, dtype: Any = None
) -> Array:
    """`base` to the power of `steps` evenly spaced exponents from `start` to `end`.

    >>> import rushlight
    >>> rushlight.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    dtype = _end_dtype((start, end), dtype)
    exponents = _spaced("logspace", start, end, steps, dtype)
    bases = s.full(base, shape=exponents.shape, dtype=exponents.dtype)
    return to(p.power(bases, exponents), dtype)


@logspace.samples
def logspace_samples(make: Any) -> Iterator[Any]:
    yield Sample(0, 2, 3)
    yield Sample(-1, 1, 4, 2.0)
    yield Sample(0, 3, 4, dtype=dtypes.int64)
    yield Bad(0, 1, -1, raises=RuntimeError, says="non-negative")


# -- matrices --------------------------------------------------------------------------------------


def _side(value: Any, caller: str, name: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{caller}(): argument '{name}' must be int, not {type(value).__name__}")
    if value.__index__() < 0:
        raise RuntimeError(
            f"{caller}: {name} must be greater or equal to 0 (non-negative), got {value}"
        )
    return int(value.__index__())


@op(factory=True, differentiable=False)
def eye(n: int, m: int | None = None, *, dtype: Any = None) -> Array:
    """Ones on the diagonal of an n x m matrix (n x n without `m`), zeros elsewhere.

    >>> import rushlight
    >>> rushlight.eye(2, 3)
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    rows = _side(n, "eye", "n")
    columns = rows if m is None else _side(m, "eye", "m")
    dtype = dtypes.get_default_dtype().numpy if dtype is None else dtype
    matrix = s.full(0, shape=(rows, columns), dtype=dtype)
    return diagonal_update(
        matrix, s.full(1, shape=(min(rows, columns),), dtype=dtype), offset=0, axis1=0, axis2=1
    )


@eye.samples
def eye_samples(make: Any) -> Iterator[Any]:
    yield Sample(3)
    yield Sample(2, 4)
    yield Sample(3, 1, dtype=dtypes.int64)
    yield Sample(0)
    yield Bad(-1, raises=RuntimeError, says="must be greater or equal to 0")
    yield Bad(2.5, raises=TypeError, says="must be int")


def _triangle(caller: str, row: Any, col: Any, offset: Any, upper: bool, dtype: Any) -> Array:
    rows, columns = _side(row, caller, "row"), _side(col, caller, "col")
    dtype = INT64 if dtype is None else dtype
    if dtype not in INTEGRAL or dtype == dtypes.BOOL:
        raise NotImplementedError(
            f'"{caller}" not implemented for {dtypes.of_numpy(dtype)!r}: indices are ints'
        )
    return triangle_indices(
        rows=rows, columns=columns, offset=int(offset), upper=upper, dtype=dtype
    )


@op(factory=True, differentiable=False)
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None) -> Array:
    """Rows and columns (a 2 x N tensor) of the places on and below a diagonal of a row x col
    matrix.

    >>> import rushlight
    >>> rushlight.tril_indices(2, 2)
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    return _triangle("tril_indices", row, col, offset, False, dtype)


@op(factory=True, differentiable=False)
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None) -> Array:
    """Rows and columns (a 2 x N tensor) of the places on and above a diagonal of a row x col
    matrix.

    >>> import rushlight
    >>> rushlight.triu_indices(2, 2)
    tensor([[0, 0, 1],
            [0, 1, 1]])
    """
    return _triangle("triu_indices", row, col, offset, True, dtype)


@tril_indices.samples
@triu_indices.samples
def triangle_samples(make: Any) -> Iterator[Any]:
    yield Sample(3, 3)
    yield Sample(2, 4, 1)
    yield Sample(4, 2, -1)
    yield Sample(0, 3)
    yield Sample(2, 2, 5, dtype=dtypes.int32)
    yield Bad(-1, 2, raises=RuntimeError, says="non-negative")
