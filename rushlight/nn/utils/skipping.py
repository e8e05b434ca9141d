"""Making a module without drawing its starting values."""

from __future__ import annotations

from typing import Any

from rushlight.nn import init
from rushlight.nn.module import Module


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """`module_cls(*args, **kwargs)` whose parameters and buffers are not set: for those that are loaded at once.

    RuntimeError unless it is a class of modules whose constructor takes `device`.

    >>> from rushlight import nn
    >>> nn.utils.skip_init(nn.Linear, 2, 3)
    Linear(in_features=2, out_features=3, bias=True)
    """
    import inspect

    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    takes = inspect.signature(module_cls).parameters
    if "device" not in takes and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    before, init.switch.off = init.switch.off, True
    try:
        return module_cls(*args, **kwargs)
    finally:
        init.switch.off = before


__all__ = ["skip_init"]
