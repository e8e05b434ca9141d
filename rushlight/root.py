"""What the package root is made of: the ops and types under their public names, and the methods of Tensor.

The only place that ties ops and autograd onto Tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.autograd import engine, hooks, modes
from rushlight.backends.settings import settings
from rushlight.core import dtypes
from rushlight.core.imports import when_imported
from rushlight.ops import conversion, families, indexing, names
from rushlight.ops import random as random_ops
from rushlight.ops.declare import FUNCTIONS, LISTENERS
from rushlight.random import generator
from rushlight.tensor import (
    copying,
    device,
    exchange,
    legacy,
    memory,
    promotion,
    show,
    size,
    tensor,
    values,
)
from rushlight.tensor.tensor import Tensor


def _operator(call: Callable[..., Any]) -> Callable[..., Any]:
    """An operator method: for a stranger's operand it says NotImplemented, so that the stranger is asked next."""

    def operator(self: Tensor, other: Any) -> Any:
        try:
            return call(self, other)
        except TypeError:
            if isinstance(other, (Tensor, int, float, complex)):
                raise
            return NotImplemented

    operator.__name__ = call.__name__
    return operator


_UNARY = ("__neg__", "__pos__", "__abs__", "__invert__")


def _tie_op(call: Any, namespace: dict[str, Any]) -> None:
    """An op's function, its methods and operators."""
    op = call.op
    names = [name for name in (op.name, *op.aliases) if "." not in name]
    if op.function and op.module == "":
        for name in names:
            namespace[name] = call
    if op.method:
        for name in names:
            setattr(Tensor, name, call)
    if op.property:
        setattr(Tensor, op.property, property(call))
    if op.inplace:
        for name in names:
            setattr(Tensor, name + "_", call.inplace)
    for name in op.operators:
        if name in _UNARY:
            setattr(Tensor, name, call)
        elif name.startswith("__i") and name != "__invert__":
            setattr(Tensor, name, _operator(call.inplace))
        else:
            setattr(Tensor, name, _operator(call))


class _Late:
    """A method of Tensor whose family of ops is loaded when it is first looked up; then the method takes its place."""

    __slots__ = ("family", "name")

    def __init__(self, name: str, family: str) -> None:
        self.name = name
        self.family = family

    def __get__(self, tensor: Tensor | None, owner: type) -> Any:
        families.load(self.family)
        if vars(Tensor)[self.name] is self:
            raise AttributeError(f"ops/{self.family}.py declares no method {self.name}")
        return getattr(owner if tensor is None else tensor, self.name)


def _tie_autograd() -> None:
    methods: dict[str, Any] = {
        "backward": engine.tensor_backward,
        "register_hook": hooks.register_hook,
        "register_post_accumulate_grad_hook": hooks.register_post_accumulate_grad_hook,
        "retain_grad": hooks.retain_grad,
    }
    for name, method in methods.items():
        setattr(Tensor, name, method)


def _tie_exchange() -> None:
    for module in (
        show,
        values,
        exchange,
        memory,
        copying,
        legacy,
        conversion,
        random_ops,
        indexing,
    ):
        for name, method in module.METHODS.items():  # type: ignore[attr-defined]
            setattr(Tensor, name, method)


def _step(optimizer: Any) -> bool:
    """An optimizer's whole step; what does it is loaded at the first one."""
    import importlib

    # By name: rooms import the package, and the package must not lead them to a room above.
    settings.stepper = importlib.import_module("rushlight.capture.stepping").step  # type: ignore[method-assign]
    return settings.stepper(optimizer)


def _compile_module(module: Any, options: dict[str, Any]) -> None:
    """`Module.compile`; the compiler is loaded at the first one."""
    import importlib

    importlib.import_module("rushlight.capture.api").compile_in_place(module, **options)


def _load_model(module: Any, path: Any, strict: bool) -> tuple[list[str], list[str]]:
    """`Module.load_state_dict` of a file; what reads files is loaded at the first one."""
    import importlib

    modules = importlib.import_module("rushlight.serialization.modules")
    return modules.load_into(module, path, strict)  # type: ignore[no-any-return]


def _teach_einops() -> None:
    """Lets einops know our tensors; called right after einops is imported."""
    import importlib
    import sys

    # An einops of another day may have no such place: then it works as ever, without our tensors.
    if hasattr(sys.modules.get("einops._backends"), "AbstractBackend"):
        importlib.import_module("rushlight.utils.einops_backend")


def teach_others() -> None:
    """Other libraries that ask for a class of their own for our tensors; called once the package is complete."""
    when_imported("einops", _teach_einops)


def tie(namespace: dict[str, Any]) -> None:
    """Fills the package's namespace."""
    settings.stepper = _step  # type: ignore[method-assign]
    settings.compile_module = _compile_module  # type: ignore[method-assign]
    settings.load_model = _load_model  # type: ignore[method-assign]
    for name, family in names.METHODS.items():
        setattr(Tensor, name, _Late(name, family))
    for call in FUNCTIONS.values():
        _tie_op(call, namespace)
    LISTENERS.append(lambda call: _tie_op(call, namespace))
    _tie_autograd()
    _tie_exchange()
    for d in dtypes.ALL:
        namespace[d.name] = d
    namespace.update(dtypes.ALIASES)
    for module, wanted in (
        (dtypes, ("dtype", "finfo", "iinfo", "get_default_dtype", "set_default_dtype")),
        (tensor, ("Tensor", "layout", "strided", "memory_format", "contiguous_format", "preserve_format",
                  "channels_last", "channels_last_3d")),
        (device, ("device",)),
        (size, ("Size",)),
        (show, ("set_printoptions", "printoptions")),
        (modes, ("no_grad", "enable_grad", "set_grad_enabled", "inference_mode", "is_grad_enabled",
                 "is_inference_mode_enabled", "is_anomaly_enabled")),
    ):  # fmt: skip
        for name in wanted:
            namespace[name] = getattr(module, name)
    for name in (
        "Generator",
        "default_generator",
        "manual_seed",
        "seed",
        "initial_seed",
        "get_rng_state",
        "set_rng_state",
    ):
        namespace[name] = getattr(generator, name)
    namespace.update(exchange.FUNCTIONS)
    namespace.update(memory.FUNCTIONS)
    namespace.update(promotion.FUNCTIONS)
    namespace.update(legacy.TYPES)


def late_function(name: str) -> None:
    """Loads the family that declares a function of the package; AttributeError where none does."""
    family = names.FUNCTIONS.get(name)
    if family is None:
        raise AttributeError(f"module 'rushlight' has no attribute '{name}'")
    families.load(family)


__all__ = ["late_function", "teach_others", "tie"]
