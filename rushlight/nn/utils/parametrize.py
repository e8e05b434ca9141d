"""Parametrizations: a parameter that is computed from another whenever it is read.

After `register_parametrization(linear, "weight", Symmetric())` the layer's `weight` is what the module Symmetric
makes of `linear.parametrizations.weight.original`, which is what an optimizer trains.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rushlight.autograd.modes import no_grad
from rushlight.nn.containers import ModuleDict, ModuleList
from rushlight.nn.module import Module
from rushlight.nn.parameter import Parameter
from rushlight.tensor.tensor import Tensor


class _Cache:
    """Values of parametrized tensors within `cached()`."""

    depth = 0
    values: dict[tuple[int, str], Any] = {}  # noqa: RUF012 - one cache for the process


@contextmanager
def cached() -> Iterator[None]:
    """Within this context every parametrized tensor is computed once, when it is first read."""
    _Cache.depth += 1
    try:
        yield
    finally:
        _Cache.depth -= 1
        if _Cache.depth == 0:
            _Cache.values.clear()


def _as_member(value: Tensor, like: Tensor) -> Tensor:
    """A tensor as a parameter, where the tensor it stands for is one."""
    if isinstance(like, Parameter):
        return Parameter(value.detach(), like.requires_grad)  # type: ignore[attr-defined, no-any-return]
    return value


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, called one after the other, and what the first of them reads.

    Without `unsafe` the result must have the shape and dtype of the tensor (ValueError).
    """

    original: Tensor
    unsafe: bool

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        source: Any = original
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    source = module.right_inverse(source)
        if not isinstance(source, (Tensor, Sequence)):
            raise ValueError(
                f"'right_inverse' must return a Tensor or a Sequence of tensors. Got {type(source).__name__}"
            )
        self.is_tensor = isinstance(source, Tensor)
        self.ntensors = 1 if self.is_tensor else len(source)
        for name, part in self._names(source):
            if not isinstance(part, Tensor):
                raise ValueError(
                    f"'right_inverse' must return a Tensor or a Sequence of tensors. Got a sequence with {part!r}"
                )
            if self.is_tensor and part is not original and original.dtype != part.dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype: "
                    f"{original.dtype} became {part.dtype}"
                )
            if isinstance(original, Parameter):
                self.register_parameter(
                    name,
                    original if part is original else _as_member(part, original),  # type: ignore[arg-type]
                )
            else:
                self.register_buffer(name, part)
        if not unsafe:
            self._check(original)

    def _names(self, source: Any) -> list[tuple[str, Any]]:
        if self.is_tensor:
            return [("original", source)]
        return [(f"original{i}", part) for i, part in enumerate(source)]

    def _check(self, original: Tensor) -> None:
        result = self()
        if not isinstance(result, Tensor):
            raise ValueError(
                f"A parametrization must return a tensor. Got {type(result).__name__}."
            )
        if result.dtype != original.dtype:
            raise ValueError(
                "Registering a parametrization may not change the dtype of the tensor, unless the `unsafe` flag is "
                f"enabled: unparametrized dtype: {original.dtype}, parametrized dtype: {result.dtype}"
            )
        if result.shape != original.shape:
            raise ValueError(
                "Registering a parametrization may not change the shape of the tensor, unless the `unsafe` flag is "
                f"enabled: unparametrized shape: {original.shape}, parametrized shape: {result.shape}"
            )

    def right_inverse(self, value: Tensor) -> None:
        """Sets what the first parametrization reads so that the result is `value`."""
        with no_grad():
            source: Any = value
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                source = module.right_inverse(source)
            if self.is_tensor and not isinstance(source, Tensor):
                raise ValueError(
                    f"`right_inverse` should return a tensor. Got {type(source).__name__}"
                )
            if not self.is_tensor and (
                not isinstance(source, Sequence) or len(source) != self.ntensors
            ):
                raise ValueError(
                    f"'right_inverse' must return a sequence of {self.ntensors} tensors."
                )
            for name, part in self._names(source):
                own = getattr(self, name)
                if part.dtype != own.dtype:
                    raise ValueError(
                        f"The tensor returned by right_inverse has dtype {part.dtype} while `{name}` has dtype "
                        f"{own.dtype}"
                    )
                own.data = part.data if part is not value else part.detach().clone()

    def forward(self) -> Any:
        """The parametrized tensor."""
        first, *others = list(self)
        result = first(*(getattr(self, name) for name, _ in self._names(range(self.ntensors))))
        for module in others:
            result = module(result)
        return result


def _give_class(module: Module) -> None:
    """Gives the module a class of its own, whose properties are its parametrized tensors."""
    base = type(module)

    def refuse(self: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(): save that, and load it "
            "into a module with the same parametrizations."
        )

    members: dict[str, Any] = {"__getstate__": refuse}
    if not hasattr(base, "__deepcopy__"):

        def deep(self: Any, memo: dict[int, Any]) -> Any:
            found = memo.get(id(self))
            if found is None:
                found = self.__new__(type(self))
                memo[id(self)] = found
                found.__dict__ = copy.deepcopy(self.__dict__, memo)
            return found

        members["__deepcopy__"] = deep
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), members)


def _give_property(module: Module, name: str) -> None:
    def read(self: Any) -> Any:
        if not _Cache.depth:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _Cache.values:
            _Cache.values[key] = self.parametrizations[name]()
        return _Cache.values[key]

    def assign(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(read, assign))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Makes a parameter or buffer of `module` what `parametrization` computes; gives the module.

    A second parametrization of the same tensor gets the first one's result. Its `right_inverse(value)`, if it has one,
    says what to start from. ValueError for a name that is no tensor, or where shape or dtype change without `unsafe`.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        chain: Any = module.parametrizations[tensor_name]
        before = getattr(module, tensor_name)
        if not unsafe:
            after = parametrization(before)
            if not isinstance(after, Tensor):
                raise ValueError(
                    f"A parametrization must return a tensor. Got {type(after).__name__}."
                )
            if after.shape != before.shape or after.dtype != before.dtype:
                raise ValueError(
                    "Registering a parametrization may not change the shape or dtype of the tensor, unless the "
                    f"`unsafe` flag is enabled: {before.dtype} of shape {before.shape} became {after.dtype} of shape "
                    f"{after.shape}"
                )
            if hasattr(parametrization, "right_inverse"):
                with no_grad():
                    chain.append(parametrization)
                    try:
                        chain.right_inverse(before.detach())
                    except RuntimeError:
                        if all(hasattr(m, "right_inverse") for m in chain):
                            raise
                return module
        chain.append(parametrization)
        chain.unsafe |= unsafe
        return module
    if tensor_name not in module._parameters and tensor_name not in module._buffers:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    chain = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe=unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _give_class(module)
        module.parametrizations = ModuleDict()
    _give_property(module, tensor_name)
    module.parametrizations[tensor_name] = chain
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module has a parametrized tensor, or one of that name."""
    chains = module._modules.get("parametrizations")
    if not isinstance(chains, ModuleDict):
        return False
    return len(chains) > 0 if tensor_name is None else tensor_name in chains


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Makes the tensor an ordinary one again: with its parametrized value, or the original one.

    ValueError for a tensor that is not parametrized, or an original that is not one tensor.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    chains: Any = module.parametrizations
    chain = chains[tensor_name]
    source: Any = chain.original if chain.is_tensor else chain.original0
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name).detach()
        if chain.is_tensor:
            source.data = value.clone().data
            member = source
        else:
            member = _as_member(value.clone(), source)
    elif chain.is_tensor:
        member = source
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del chains[tensor_name]
    if isinstance(member, Parameter):
        module.register_parameter(tensor_name, member)
    else:
        module.register_buffer(tensor_name, member)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class that the module had before any of its tensors was parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Copies the parametrizations (of one tensor, or of all) and their originals to another module."""
    if not is_parametrized(from_module):
        return to_module
    chains: Any = from_module.parametrizations
    names = list(chains) if tensor_name is None else [tensor_name]
    for name in names:
        if not hasattr(to_module, name):
            setattr(to_module, name, copy.deepcopy(getattr(from_module, name)))
        for module in chains[name]:
            register_parametrization(to_module, name, copy.deepcopy(module), unsafe=True)
        target: Any = to_module.parametrizations
        for key, parameter in chains[name]._parameters.items():
            setattr(target[name], key, copy.deepcopy(parameter))
    return to_module


__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
    "transfer_parametrizations_and_params", "type_before_parametrizations",
]  # fmt: skip
