"""Values that must lie in a range: what an op refuses by its elements, eager and in a compiled program alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.primitives.primitive import Aval, primitive

within = primitive("within", params=("low", "high", "message"))


@within.define_rule
def _within_rule(x: Any, *, low: Any, high: Any, message: str) -> Aval:
    return Aval(x.shape, x.dtype)


@within.define_reference
def _within_reference(xp: Any, x: Any, *, low: Any, high: Any, message: str) -> Any:
    """The elements as they are; RuntimeError where one lies outside [low, high] (None is no bound; NaN passes).

    The message may hold {value}, for integers.
    """
    for bound, wrong in ((low, np.less), (high, np.greater)):
        if bound is not None and x.size and wrong(x, bound).any():
            raise RuntimeError(message.format(value=x[wrong(x, bound)].reshape(-1)[0]))
    return x
