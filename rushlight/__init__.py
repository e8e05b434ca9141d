"""rushlight: PyTorch's torch, torch.nn, torch.autograd and torch.optim in pure Python, light and fast on a CPU.

>>> import rushlight
>>> x = rushlight.tensor([1.0, 2.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4.])
"""

from __future__ import annotations

import gc
import importlib
from typing import Any

# Thousands of functions are made here and none of them is garbage: looking for some takes a tenth of the time.
_collects = gc.isenabled()
gc.disable()

from rushlight import root as _root  # noqa: E402

__version__ = "0.1.0"

_ROOMS = frozenset(
    (
        "autograd", "capture", "cli", "compiler", "datasets", "fft", "linalg", "models", "nn", "optim",
        "profiler", "random", "serialization", "special", "utils",
    )
)  # fmt: skip


#: Functions of the compiler's rooms: where they are.
_LATE = {
    "compile": "capture.api",
    "debug": "core.flags",
    "explain": "report.explain",
    "summary": "report.summary",
    "set_num_threads": "capture.threads",
    "get_num_threads": "capture.threads",
    "set_flush_denormal": "capture.threads",
    "save": "serialization.files",
    "load": "serialization.files",
}


def __getattr__(name: str) -> Any:
    """Rooms, and functions of families that are not loaded yet: when they are first used."""
    if name in _LATE:
        found = globals()[name] = getattr(importlib.import_module("rushlight." + _LATE[name]), name)
        return found
    if name in _ROOMS:
        return importlib.import_module("rushlight." + name)
    _root.late_function(name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_LATE, *_root.names.FUNCTIONS})


_root.tie(globals())
_root.teach_others()
if _collects:
    gc.enable()
