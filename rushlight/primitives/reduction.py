"""Reductions along axes. 16-bit floats are summed in float32 and rounded once."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core import shapes
from rushlight.core.dtypes import HALF
from rushlight.primitives.primitive import Aval, primitive

reduce_sum = primitive("reduce_sum", params=("axes", "keepdim"), checked=False)


@reduce_sum.define_rule
def _(x: Any, *, axes: tuple[int, ...], keepdim: bool) -> Aval:
    return Aval(shapes.reduced(x.shape, axes, keepdim), x.dtype)


@reduce_sum.define_reference
def _(xp: Any, x: Any, *, axes: tuple[int, ...], keepdim: bool) -> Any:
    if x.dtype in HALF:
        return xp.add.reduce(x, axes, np.float32, None, keepdim).astype(x.dtype)
    return xp.add.reduce(x, axes, x.dtype, None, keepdim)
