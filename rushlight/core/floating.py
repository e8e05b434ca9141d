"""Floating point exceptions are values, not warnings: 1/0 is inf and log(-1) is nan, silently, as in IEEE 754.

NumPy warns by default. Its public switch, `numpy.errstate`, costs 0.9 us a use; the context variable beneath it
costs 0.13 us, and is used where this NumPy has it. The user's own NumPy settings are never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

quiet: Callable[[], Any]
restore: Callable[[Any], None]

try:
    from numpy._core import umath as _umath

    _SILENT = _umath._make_extobj(all="ignore")
    _variable = _umath._extobj_contextvar
except (ImportError, AttributeError):  # another NumPy: the public way, slower

    def quiet() -> Any:
        """Silences NumPy's floating point warnings in this context; hand the result to `restore`."""
        state = np.errstate(all="ignore")
        state.__enter__()
        return state

    def restore(token: Any) -> None:
        """Ends what `quiet` began."""
        token.__exit__(None, None, None)

else:

    def quiet() -> Any:
        """Silences NumPy's floating point warnings in this context; hand the result to `restore`."""
        return _variable.set(_SILENT)

    restore = _variable.reset
