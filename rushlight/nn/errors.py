"""What a failed call of a module says: which module of which network, what it was given, and where that came from.

Nothing is prepared for it: a call that succeeds pays nothing. When an exception passes a module, the innermost
one adds its path, its inputs' shapes with the ops that made them, and the user's line.
"""

from __future__ import annotations

import sys
import traceback
from types import FrameType
from typing import Any

from rushlight.core.sites import describe, is_own
from rushlight.tensor.tensor import Tensor

_EXPLAINED = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError)


def explain(error: Exception, scope: Any, args: Any, kwargs: Any) -> None:
    """Adds to the error's message where in the network it happened; once, and only to rushlight's own errors."""
    if getattr(error, "_rushlight_explained", False):
        _name_root(error, scope)
        return
    if (
        not isinstance(error, _EXPLAINED)
        or len(error.args) != 1
        or not isinstance(error.args[0], str)
    ):
        return
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or not is_own(last.tb_frame.f_code):
        return  # the user's own code raised it
    path, brief = _path(scope)
    given = "; ".join(_describe_input(i, a) for i, a in enumerate(args) if isinstance(a, Tensor))
    where = _user_line(error)
    parts = [f"{{root}}{path} ({brief}): {error.args[0].rstrip()}"]
    if given:
        parts.append(given)
    if where:
        parts.append(f"called at {where}")
    noted: Any = error
    noted._rushlight_explained = True
    noted._rushlight_text = "; ".join(parts)
    _name_root(error, scope)


def _name_root(error: Exception, scope: Any) -> None:
    """At the outermost module, the name of the variable that holds the network comes first."""
    module, outer = scope
    if outer is not None:
        return
    text: str = error._rushlight_text  # type: ignore[attr-defined]
    name = _variable_of(module) or type(module).__name__
    error.args = (text.replace("{root}", name, 1),)


def _variable_of(module: Any) -> str | None:
    """The name under which the calling user code holds this module."""
    frame: FrameType | None = sys._getframe(3)
    while frame is not None and is_own(frame.f_code):
        frame = frame.f_back
    for _ in range(3):
        if frame is None:
            return None
        for name, value in frame.f_locals.items():
            if value is module and name != "self":
                return name
        frame = frame.f_back
    return None


def _path(scope: Any) -> tuple[str, str]:
    """'.blocks.0.fc1' and a short description of the innermost module."""
    module, outer = scope
    steps: list[str] = []
    inner = module
    while outer is not None:
        parent = outer[0]
        name = next((n for n, m in parent.named_modules() if m is inner), type(inner).__name__)
        if name:
            steps.append(name)
        inner, outer = parent, outer[1]
    path = "".join("." + s for s in reversed(steps))
    extra = module.extra_repr().split("\n")[0]
    kind = type(module).__name__
    return path, f"{kind}({extra})" if 0 < len(extra) < 80 else kind


def _describe_input(index: int, tensor: Tensor) -> str:
    text = f"input {index} is {tensor.dtype} of shape {list(tensor._array.shape)}"
    node = tensor.history()
    if node is not None and node.site is not None:
        text += f", made by {node.name()} at {describe(node.site)}"
        if len(node.edges) == 1 and node.edges[0] is not None:
            source, output = node.edges[0]
            text += f" from {list(source.outputs[output][0])}"
    return text


def _user_line(error: Exception) -> str:
    """The last line of the user's own that the exception passed."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not is_own(frame.f_code):
            found = f"{frame.f_code.co_filename.replace(chr(92), '/').rpartition('/')[2]}:{line}"
    if found:
        return found
    outer: FrameType | None = sys._getframe(2)
    while outer is not None and is_own(outer.f_code):
        outer = outer.f_back
    return describe((outer.f_code, outer.f_lasti)) if outer is not None else ""
