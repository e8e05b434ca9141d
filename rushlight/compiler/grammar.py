"""The words of a graph's text: types, numbers, parameters, labels; each is printed here and read back here."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.core import dtypes
from rushlight.primitives.primitive import Aval

_TYPE = re.compile(r"(\w+)\[([\d,]*)\]")


def type_text(aval: Aval) -> str:
    """As in float32[64,10]."""
    return f"{aval.dtype.name}[{','.join(map(str, aval.shape))}]"


def read_type(text: str) -> Aval:
    """The type that `type_text` printed."""
    found = _TYPE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no type: expected something like float32[64,10]")
    name, sizes = found.groups()
    return Aval(tuple(int(n) for n in sizes.split(",") if n), _dtype(name))


def _dtype(name: str) -> np.dtype[Any]:
    return getattr(dtypes, name).numpy if hasattr(dtypes, name) else np.dtype(name)


def value_text(value: Any) -> str:
    """A number among operands, or a parameter."""
    if isinstance(value, np.dtype):
        return f"dtype({value.name!r})"
    if isinstance(value, (tuple, list)):
        inside = ", ".join(map(value_text, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, np.generic):
        return value_text(value.item())
    if isinstance(value, complex) or (isinstance(value, float) and not np.isfinite(value)):
        return f"{type(value).__name__}({str(value)!r})"
    return repr(value)


_NAMED: dict[str, Callable[[Any], Any]] = {"dtype": _dtype, "float": float, "complex": complex}


def read_value(node: ast.expr) -> Any:
    """The value that `value_text` printed, from Python's syntax tree of it."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _NAMED:
        return _NAMED[node.func.id](ast.literal_eval(node.args[0]))
    if isinstance(node, ast.Tuple):
        return tuple(read_value(n) for n in node.elts)
    return ast.literal_eval(node)


def quoted(text: str) -> str:
    """A label as one word."""
    return json.dumps(text)


def unquoted(text: str) -> str:
    """The label that was quoted."""
    return str(json.loads(text))


def origin_text(scope: str, site: str) -> str:
    """Where an equation comes from: 'net.fc1 (Linear) at train.py:12', or one of both."""
    return " ".join(filter(None, (_phrase(scope), f"at {_phrase(site)}" if site else "")))


def _phrase(text: str) -> str:
    plain = text.isprintable() and not (
        '"' in text or " at " in f" {text} " or text != text.strip()
    )
    return text if plain else quoted(text)


_ORIGIN = re.compile(
    r'(?P<scope>"(?:[^"\\]|\\.)*"|(?!at ).*?)??(?: ?\bat (?P<site>"(?:[^"\\]|\\.)*"|.+))?'
)


def read_origin(text: str) -> tuple[str, str]:
    """The scope and the site that `origin_text` printed."""
    found = _ORIGIN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} does not say where an equation comes from")
    scope, site = (part or "" for part in found.group("scope", "site"))
    return tuple(unquoted(p) if p.startswith('"') else p for p in (scope, site))  # type: ignore[return-value]


def parts_of(line: str) -> tuple[str, str, str]:
    """A line's operands, parameters and comment: split at the first ';' and '#' that stand in no quotes."""
    marks = [len(line)] * 2
    quote = ""
    i = 0
    while i < len(line):
        c = line[i]
        if quote:
            if c == "\\":
                i += 1
            elif c == quote:
                quote = ""
        elif c in "\"'":
            quote = c
        elif c == ";" and marks[0] == len(line):
            marks[0] = i
        elif c == "#":
            marks[1] = i
            break
        i += 1
    comment = line[marks[1] + 1 :].strip()
    call = line[: marks[1]].rstrip()
    if marks[0] >= len(call):
        return call, "", comment
    return call[: marks[0]].rstrip(), call[marks[0] + 1 :].strip(), comment


def arguments(text: str) -> tuple[list[ast.expr], Sequence[ast.keyword]]:
    """The syntax trees of a call's arguments."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
    except SyntaxError:
        raise ValueError(f"{text!r} is no list of operands or parameters") from None
    assert isinstance(call, ast.Call)  # noqa: S101 - that is what was parsed
    return call.args, call.keywords
