"""`Module`: the base of all networks. It owns parameters, buffers and other modules, and calls `forward`.

State dicts are in state_dict.py, hooks in hooks.py, and the words of errors in errors.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from rushlight.autograd.modes import state
from rushlight.backends.settings import settings
from rushlight.core import dtypes
from rushlight.nn import errors
from rushlight.nn.hooks import HookMethods, global_hooks
from rushlight.nn.parameter import Buffer, Parameter, is_lazy
from rushlight.nn.state_dict import StateDictMethods
from rushlight.tensor.tensor import Tensor, wrap

Self = TypeVar("Self", bound="Module")


class Module(StateDictMethods, HookMethods):
    """Base class of networks: assign parameters and modules to attributes in `__init__`, write `forward`.

    >>> import rushlight
    >>> from rushlight import nn
    >>> class Double(nn.Module):
    ...     def forward(self, x):
    ...         return 2 * x
    >>> Double()(rushlight.ones(2))
    tensor([2., 2.])
    """

    dump_patches: bool = False
    _version: int = 1
    training: bool
    call_super_init: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and kwargs:
            raise TypeError(
                f"{type(self).__name__}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
            )
        if not self.call_super_init and args:
            raise TypeError(
                f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
            )
        put = super().__setattr__
        put("training", True)
        put("_parameters", {})
        put("_buffers", {})
        put("_non_persistent_buffers_set", set())
        put("_modules", {})
        self._init_hooks()
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # -- calling -----------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every module writes its own."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outer = state.scope
        scope = state.scope = (self, outer)
        try:
            if self._has_hooks or global_hooks.active:
                return self._call_with_hooks(args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            errors.explain(error, scope, args, kwargs)
            raise
        finally:
            state.scope = outer

    # -- attributes --------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        members = self.__dict__
        parameters = members.get("_parameters")
        if isinstance(value, Parameter):
            if parameters is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._drop(name, keep="_parameters")
            self.register_parameter(name, value)
            return
        if parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
            return
        modules = members.get("_modules")
        if isinstance(value, Module):
            if modules is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._drop(name, keep="_modules")
            for hook in global_hooks.module_registration.values():
                replaced = hook(self, name, value)
                value = value if replaced is None else replaced
            modules[name] = value
            return
        if modules is not None and name in modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            for hook in global_hooks.module_registration.values():
                replaced = hook(self, name, value)
                value = value if replaced is None else replaced
            modules[name] = value
            return
        buffers = members.get("_buffers")
        if isinstance(value, Buffer) or (buffers is not None and name in buffers):
            if buffers is None:
                raise AttributeError("cannot assign buffers before Module.__init__() call")
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as buffer '{name}' (torch.nn.Buffer, "
                    "torch.Tensor or None expected)"
                )
            if isinstance(value, Buffer):
                persistent = value.persistent
                self._drop(name, keep="_buffers")
                self.register_buffer(name, value, persistent)
                return
            for hook in global_hooks.buffer_registration.values():
                replaced = hook(self, name, value)
                value = value if replaced is None else replaced
            buffers[name] = value  # type: ignore[index]
            return
        super().__setattr__(name, value)

    def _drop(self, name: str, keep: str) -> None:
        """Removes what another kind of member of that name held."""
        members = self.__dict__
        for kind in ("_parameters", "_buffers", "_modules"):
            if kind != keep and kind in members:
                members[kind].pop(name, None)
        members.pop(name, None)
        members.get("_non_persistent_buffers_set", set()).discard(name)

    def __getattr__(self, name: str) -> Any:
        members = self.__dict__
        if "_modules" in members:  # __init__ has run
            for found in (members["_parameters"], members["_buffers"], members["_modules"]):
                if name in found:
                    return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for kind in (self._parameters, self._buffers, self._modules):
            if name in kind:
                del kind[name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = [
            *dir(type(self)),
            *self.__dict__,
            *self._parameters,
            *self._buffers,
            *self._modules,
        ]
        return sorted(n for n in names if not n[:1].isdigit())

    def __setstate__(self, members: dict[str, Any]) -> None:
        self.__dict__.update(members)
        self._init_missing_hooks()

    def _checked_name(self, kind: str, name: Any, taken: dict[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_type_name(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in taken:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter under `name`; None reserves the name."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._checked_name("parameter", name, self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{_type_name(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must "
                    "be created explicitly. "
                    "To express a parameter as a function of another Tensor, compute the value in the forward() method."
                )
        for hook in global_hooks.parameter_registration.values():
            replaced = hook(self, name, param)
            param = param if replaced is None else replaced
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that is state but no parameter; `persistent` ones are part of the state_dict."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._checked_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        for hook in global_hooks.buffer_registration.values():
            replaced = hook(self, name, tensor)
            tensor = tensor if replaced is None else replaced
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child module under `name`."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{_type_name(module)} is not a Module subclass")
        self._checked_name("module", name, self._modules)
        for hook in global_hooks.module_registration.values():
            replaced = hook(self, name, module)
            module = module if replaced is None else replaced
        self._modules[name] = module

    register_module = add_module

    # -- finding members ---------------------------------------------------------------------------------

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as 'blocks.0.conv'; AttributeError says which part is missing."""
        module = self
        for part in target.split(".") if target else ():
            if not hasattr(module, part):
                raise AttributeError(
                    f"{type(module).__name__} has no attribute `{part}`" + _members(module)
                )
            module = getattr(module, part)
            if not isinstance(module, Module):
                raise AttributeError(f"`{part}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Replaces (or, unless `strict`, adds) the module at a path."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        path, _, name = target.rpartition(".")
        if not isinstance(module, Module):
            raise ValueError(f'"module" is not an nn.Module, found {type(module)}')
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as 'conv1.weight'."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(
                f"{type(module).__name__} has no attribute `{name}`" + _members(module)
            )
        found = getattr(module, name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path such as 'bn1.running_mean'."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(
                f"{type(module).__name__} has no attribute `{name}`" + _members(module)
            )
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return module._buffers[name]  # type: ignore[return-value]

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their paths, parents first; each once unless told otherwise."""
        seen = set() if memo is None else memo
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if remove_duplicate:
                if module in seen:
                    continue
                seen.add(module)
            yield path, module
            lead = path + "." if path else ""
            stack.extend(
                (lead + n, m) for n, m in reversed(list(module._modules.items())) if m is not None
            )

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, with their names, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly below, each once."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, get: Callable[[Module], Any], prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[Any] = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, member in get(module):
                if member is None or member in seen:
                    continue
                if remove_duplicate:
                    seen.add(member)
                yield (path + "." if path else "") + name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their paths; a shared one once, under its first path."""
        yield from self._named_members(
            lambda m: m._parameters.items(), prefix, recurse, remove_duplicate
        )

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, as an optimizer wants them; a shared one once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers with their paths; a shared one once."""
        yield from self._named_members(
            lambda m: m._buffers.items(), prefix, recurse, remove_duplicate
        )

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    # -- changing everything below -----------------------------------------------------------------------

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Calls `fn` on every module below and then on this one; for initialisation."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self: Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replaces the data of all parameters, gradients and buffers by `fn` of it."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for parameter in self._parameters.values():
            if parameter is None:
                continue
            if is_lazy(parameter):  # no values yet: the dtype is what they will have
                parameter._array = fn(wrap(parameter._array))._array
                continue
            parameter.data = fn(parameter.data)
            if parameter._grad is not None:
                grad = parameter._grad
                parameter._grad = fn(grad.detach()).requires_grad_(grad.requires_grad)  # type: ignore[attr-defined]
        for name, buffer in self._buffers.items():
            if buffer is None:
                continue
            if is_lazy(buffer):
                buffer._array = fn(wrap(buffer._array))._array
            else:
                self._buffers[name] = fn(buffer)
        return self

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Moves to a device or casts floating point members: `to(dtype)`, `to(device)`, `to(tensor)`.

        Raises TypeError for a dtype that is neither floating nor complex, RuntimeError for a device that is not here.
        """
        from rushlight.ops.conversion import parse_to

        dtype, memory_format = parse_to(args, kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )

        def convert(t: Tensor) -> Tensor:
            wanted = dtype if t.is_floating_point() or t.is_complex() else None
            if memory_format is not None and t.dim() in (4, 5):
                return t.to(dtype=wanted, memory_format=memory_format)  # type: ignore[attr-defined, no-any-return]
            return t if wanted is None else t.to(wanted)  # type: ignore[attr-defined, no-any-return]

        return self._apply(convert)

    def _cast_floats(self: Self, dtype: dtypes.dtype) -> Self:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)  # type: ignore[attr-defined]

    def type(self: Self, dst_type: Any) -> Self:
        """Casts all parameters and buffers."""
        return self._apply(lambda t: t.type(dst_type))  # type: ignore[attr-defined]

    def float(self: Self) -> Self:
        """Casts floating point members to float32."""
        return self._cast_floats(dtypes.float32)

    def double(self: Self) -> Self:
        """Casts floating point members to float64."""
        return self._cast_floats(dtypes.float64)

    def half(self: Self) -> Self:
        """Casts floating point members to float16."""
        return self._cast_floats(dtypes.float16)

    def bfloat16(self: Self) -> Self:
        """Casts floating point members to bfloat16."""
        return self._cast_floats(dtypes.bfloat16)

    def cpu(self: Self) -> Self:
        """Itself: modules live on the CPU."""
        return self

    def cuda(self: Self, device: Any = None) -> Self:
        """RuntimeError: there is no such device."""
        return self.to("cuda" if device is None else device)

    def to_empty(self: Self, *, device: Any, recurse: bool = True) -> Self:
        """Gives all members fresh memory whose values are not set."""
        from rushlight.tensor.device import check_available

        check_available(device)
        return self._apply(lambda t: t.new_empty(t.shape), recurse)  # type: ignore[attr-defined]

    def share_memory(self: Self) -> Self:
        """Moves the members to memory that processes share."""
        return self._apply(lambda t: t.share_memory_())  # type: ignore[attr-defined]

    def train(self: Self, mode: bool = True) -> Self:
        """Sets training mode here and below: dropout drops, batch norm uses and tracks batch statistics."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Sets evaluation mode here and below."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Sets whether the parameters gather gradients: freezes or thaws them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def compile(self, **options: Any) -> None:
        """Compiles the forward in place: calls of this module run as native programs from now on.

        Takes the options of `rushlight.compile`. State, hooks and modes stay the module's own.

        >>> import rushlight
        >>> net = rushlight.nn.Linear(3, 1)
        >>> net.compile()
        >>> net(rushlight.ones(2, 3)).shape
        torch.Size([2, 1])
        """
        settings.compile_module(self, options)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the parameters' gradients, or fills them with zeros."""
        for parameter in self.parameters():
            grad = parameter._grad
            if grad is None:
                continue
            if set_to_none:
                parameter._grad = None
            else:
                if grad.grad_fn is not None:
                    grad = parameter._grad = grad.detach()  # type: ignore[attr-defined]
                grad.requires_grad_(False)
                grad.zero_()  # type: ignore[attr-defined]

    # -- printing ----------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses when the module is printed."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_indent(repr(module))}" for name, module in self._modules.items()]
        head = self._get_name() + "("
        if not children and len(lines) <= 1:
            return head + "".join(lines) + ")"
        if not lines + children:
            return head + ")"
        return head + "\n  " + "\n  ".join(lines + children) + "\n)"

    def __hash__(self) -> int:
        return id(self)


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")


def _members(module: Module) -> str:
    names = [*module._modules, *module._parameters, *module._buffers]
    return f"; it has {', '.join(names)}" if names else "; it has no members"


def _type_name(value: Any) -> str:
    kind = type(value)
    return (
        f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__name__
    )
