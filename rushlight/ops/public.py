"""The ops under their public names, for the rooms above: `public.cat(...)`, and whole namespaces.

What is an op's public place?
    `module` of its declaration (""; "nn.functional"; "linalg"; ...) and each dotted alias ("special.expit").
"""

from __future__ import annotations

from typing import Any

from rushlight.ops import families
from rushlight.ops.declare import FUNCTIONS


def namespace(module: str) -> dict[str, Any]:
    """All functions that are public in `module`, such as "nn.functional", by their names there."""
    families.load_all()
    found: dict[str, Any] = {}
    lead = module + "."
    for call in FUNCTIONS.values():
        op = call.op
        if not op.function:
            continue
        names = [op.name, *(a for a in op.aliases if "." not in a)] if op.module == module else []
        names += [a[len(lead) :] for a in op.aliases if a.startswith(lead)]
        for name in names:
            found[name] = call
            if op.inplace and module == "nn.functional":
                found[name + "_"] = call.inplace
    return found


def __getattr__(name: str) -> Any:
    """An op of the top package, or one that is not public but has a name."""
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        call = families.function(name)
    except KeyError:
        raise AttributeError(f"rushlight has no op named '{name}'") from None
    globals()[name] = call
    return call


__all__ = ["families", "namespace"]
