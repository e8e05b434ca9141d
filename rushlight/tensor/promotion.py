"""PyTorch's type promotion, on arrays and Python numbers.

Operands fall in three ranks: tensors with dimensions, 0-d tensors, Python numbers. A lower rank
changes the result's dtype only if its category (bool < integer < floating < complex) is higher than
that of all ranks above.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.core.dtypes import dtype

_WIDE_UNSIGNED = (dtypes.uint16, dtypes.uint32, dtypes.uint64)
_promoted: dict[tuple[Any, Any], np.dtype[Any]] = {}


def promote_dtypes(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """The smallest dtype that holds both, as PyTorch has it: uint8 and int8 give int16, int64 and
    float16 float16.
    """
    if a is b:
        return a
    found = _promoted.get((a, b))
    if found is None:
        found = _promoted[a, b] = _promote(dtypes.of_numpy(a), dtypes.of_numpy(b)).numpy
    return found


def _promote(a: dtype, b: dtype) -> dtype:
    if a is b:
        return a
    if a.kind != b.kind:
        low, high = (a, b) if a.kind < b.kind else (b, a)
        if high.is_complex and low is dtypes.float64:
            return dtypes.complex128
        return high
    if a.kind == dtype.INTEGER:
        if a in _WIDE_UNSIGNED or b in _WIDE_UNSIGNED:
            narrow, wide = (a, b) if a.itemsize < b.itemsize else (b, a)
            if not narrow.is_signed and not wide.is_signed:
                return wide
            raise RuntimeError(
                "Promotion for uint16, uint32, uint64 types is not supported, attempted to "
                f"promote {a!r} and {b!r}: cast one of them first"
            )
        return dtypes.of_numpy(np.promote_types(a.numpy, b.numpy))
    if {a, b} == {dtypes.float16, dtypes.bfloat16}:
        return dtypes.float32
    return a if a.itemsize > b.itemsize else b


def _of_number(value: Any) -> np.dtype[Any]:
    if isinstance(value, bool):
        return dtypes.BOOL
    if isinstance(value, int):
        return dtypes.INT64
    default = dtypes.get_default_dtype()
    if isinstance(value, complex):
        return default.to_complex().numpy
    return default.numpy  # a float, or what stands for one in a trace


def _kind(d: np.dtype[Any]) -> int:
    return dtypes.of_numpy(d).kind


def result_dtype(operands: Iterable[Any]) -> np.dtype[Any]:
    """The dtype in which an op computes on these arrays and numbers."""
    ranks: list[np.dtype[Any] | None] = [None, None, None]
    for operand in operands:
        d = getattr(operand, "dtype", None)
        if d is None:
            rank, d = 2, _of_number(operand)
        else:
            rank = 0 if operand.shape else 1
        have = ranks[rank]
        ranks[rank] = d if have is None or have is d else promote_dtypes(have, d)
    best: np.dtype[Any] | None = None
    for d in ranks:
        if d is None:
            continue
        if best is None:
            best = d
        elif _kind(d) > _kind(best):
            # A complex number beside a float64 tensor gives complex128: the tensor's precision
            # counts.
            best = (
                dtypes.complex_of(best)
                if d in dtypes.COMPLEX and best in dtypes.FLOATING
                else promote_dtypes(best, d)
            )
    if best is None:
        raise RuntimeError("promotion needs at least one operand")
    return best


# -- questions that users ask ----------------------------------------------------------------------


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype of an arithmetic op on two tensors or numbers.

    >>> import rushlight
    >>> rushlight.result_type(rushlight.tensor([1]), 1.5)
    torch.float32
    """
    return dtypes.of_numpy(result_dtype(getattr(t, "_array", t) for t in (tensor1, tensor2)))


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype that holds both: uint8 and int8 give int16."""
    return dtypes.of_numpy(promote_dtypes(dtypes.to_numpy(type1), dtypes.to_numpy(type2)))


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether values of `from_` may be stored as `to`: complex not as real, floats not as ints,
    ints not as bool.
    """
    for d in (from_, to):
        dtypes.to_numpy(d)
    return from_.kind <= to.kind


#: What is public at the package root.
FUNCTIONS = {"result_type": result_type, "promote_types": promote_types, "can_cast": can_cast}
