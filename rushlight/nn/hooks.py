"""Hooks of modules: functions called around forward, around backward, and around state dicts."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.autograd.handles import RemovableHandle
from rushlight.autograd.modes import state
from rushlight.autograd.node import Node, edge_of
from rushlight.tensor.tensor import Tensor, alias

_CALL_HOOKS = ("_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_pre_hooks")
_FLAG_DICTS = (
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)
_STATE_HOOKS = (
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


class _GlobalHooks:
    """Hooks on every module of the process."""

    def __init__(self) -> None:
        self.forward: OrderedDict[int, Any] = OrderedDict()
        self.forward_with_kwargs: OrderedDict[int, bool] = OrderedDict()
        self.forward_always: OrderedDict[int, bool] = OrderedDict()
        self.forward_pre: OrderedDict[int, Any] = OrderedDict()
        self.backward: OrderedDict[int, Any] = OrderedDict()
        self.backward_pre: OrderedDict[int, Any] = OrderedDict()
        self.buffer_registration: OrderedDict[int, Any] = OrderedDict()
        self.module_registration: OrderedDict[int, Any] = OrderedDict()
        self.parameter_registration: OrderedDict[int, Any] = OrderedDict()

    @property
    def active(self) -> bool:
        """Whether some hook runs around every call."""
        return bool(self.forward or self.forward_pre or self.backward or self.backward_pre)


global_hooks = _GlobalHooks()


class HookMethods:
    """The part of Module that keeps and runs hooks."""

    _forward_hooks: dict[int, Any]
    _forward_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_always_called: dict[int, bool]
    _forward_pre_hooks: dict[int, Any]
    _forward_pre_hooks_with_kwargs: dict[int, bool]
    _backward_hooks: dict[int, Any]
    _backward_pre_hooks: dict[int, Any]

    _has_hooks: bool = False

    def _init_hooks(self) -> None:
        put = object.__setattr__
        for name in (*_CALL_HOOKS, *_FLAG_DICTS, *_STATE_HOOKS):
            put(self, name, OrderedDict())
        put(self, "_is_full_backward_hook", None)

    def _init_missing_hooks(self) -> None:
        """After unpickling what an older version wrote."""
        for name in (*_CALL_HOOKS, *_FLAG_DICTS, *_STATE_HOOKS):
            if name not in self.__dict__:
                object.__setattr__(self, name, OrderedDict())
        self.__dict__.setdefault("_is_full_backward_hook", None)
        self.__dict__.setdefault("_non_persistent_buffers_set", set())

    def _add_hook(
        self,
        hooks: Any,
        hook: Callable[..., Any],
        prepend: bool,
        flags: Sequence[tuple[Any, bool]] = (),
    ) -> RemovableHandle:
        handle = RemovableHandle(hooks, extra_dict=[d for d, _ in flags])
        hooks[handle.id] = hook
        for flag_dict, value in flags:
            if value:
                flag_dict[handle.id] = True
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        object.__setattr__(self, "_has_hooks", True)
        return handle

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args)` before forward; what it returns replaces the arguments.

        With `with_kwargs` it is called as `hook(module, args, kwargs)` and returns both, or None.
        """
        return self._add_hook(
            self._forward_pre_hooks,
            hook,
            prepend,
            [(self._forward_pre_hooks_with_kwargs, with_kwargs)],  # type: ignore[attr-defined]
        )

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Calls `hook(module, args, output)` after forward; what it returns replaces the output.

        With `with_kwargs`: `hook(module, args, kwargs, output)`; with `always_call`, also after an exception.
        """
        return self._add_hook(
            self._forward_hooks,  # type: ignore[attr-defined]
            hook,
            prepend,
            [
                (self._forward_hooks_with_kwargs, with_kwargs),
                (self._forward_hooks_always_called, always_call),
            ],  # type: ignore[attr-defined]
        )

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, grad_output)` before the gradients of the module are computed."""
        return self._add_hook(self._backward_pre_hooks, hook, prepend)  # type: ignore[attr-defined]

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, grad_input, grad_output)` when the gradients of the module's inputs are computed."""
        if self._is_full_backward_hook is False:  # type: ignore[has-type]
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module."
            )
        self._is_full_backward_hook = True
        return self._add_hook(self._backward_hooks, hook, prepend)  # type: ignore[attr-defined]

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The old name; here it is `register_full_backward_hook`, which gives the module's true gradients."""
        if self._is_full_backward_hook is True:
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module."
            )
        self._is_full_backward_hook = False
        return self._add_hook(self._backward_hooks, hook, False)  # type: ignore[attr-defined]

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, prefix, keep_vars)` before this module's part of a state_dict is made."""
        return RemovableHandle.add(self._state_dict_pre_hooks, hook)  # type: ignore[attr-defined]

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, local_metadata)` after it is made; it may change the dict."""
        hook._from_public_api = True  # type: ignore[attr-defined]
        return RemovableHandle.add(self._state_dict_hooks, hook)  # type: ignore[attr-defined]

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was previously "
                "registered via register_state_dict_post_hook"
            )
        return RemovableHandle.add(self._state_dict_hooks, hook)  # type: ignore[attr-defined]

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` before loading."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        bound = (lambda *args: hook(self, *args)) if with_module else hook
        return RemovableHandle.add(self._load_state_dict_pre_hooks, bound)  # type: ignore[attr-defined]

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, incompatible_keys)` after loading; it may change the lists of keys."""
        return RemovableHandle.add(self._load_state_dict_post_hooks, hook)  # type: ignore[attr-defined]

    # -- running -----------------------------------------------------------------------------------------

    def _call_with_hooks(self, args: Any, kwargs: Any) -> Any:
        always = {
            **dict.fromkeys(global_hooks.forward_always),
            **dict.fromkeys(self._forward_hooks_always_called),
        }  # type: ignore[attr-defined]
        called: set[int] = set()
        result = None
        try:
            args, kwargs = self._before_forward(args, kwargs)
            pair = self._backward_pair()
            if pair is not None:
                args = pair.watch_inputs(args)
            result = self.forward(*args, **kwargs)  # type: ignore[attr-defined]
            for key, hook, with_kwargs in self._after_hooks():
                called.add(key)
                replaced = (
                    hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
                )
                result = result if replaced is None else replaced
            if pair is not None:
                result = pair.watch_outputs(result)
            return result
        except Exception:
            for key, hook, with_kwargs in self._after_hooks():
                if key in always and key not in called:
                    try:
                        replaced = (
                            hook(self, args, kwargs, result)
                            if with_kwargs
                            else hook(self, args, result)
                        )
                        result = result if replaced is None else replaced
                    except Exception as failure:
                        warnings.warn(
                            f"forward hook with ``always_call=True`` raised an exception that was silenced as another "
                            f"error was raised in forward: {failure!s}",
                            stacklevel=3,
                        )
            raise

    def _before_forward(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        hooks = [(h, False) for h in global_hooks.forward_pre.values()]
        hooks += [
            (h, k in self._forward_pre_hooks_with_kwargs)
            for k, h in self._forward_pre_hooks.items()
        ]  # type: ignore[attr-defined]
        for hook, with_kwargs in hooks:
            if with_kwargs:
                replaced = hook(self, args, kwargs)
                if replaced is not None:
                    if not (isinstance(replaced, tuple) and len(replaced) == 2):
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, "
                            f"new_kwargs), but got {replaced}."
                        )
                    args, kwargs = replaced
            else:
                replaced = hook(self, args)
                if replaced is not None:
                    args = replaced if isinstance(replaced, tuple) else (replaced,)
        return args, kwargs

    def _after_hooks(self) -> list[tuple[int, Any, bool]]:
        hooks = [
            (k, h, k in global_hooks.forward_with_kwargs) for k, h in global_hooks.forward.items()
        ]
        return hooks + [
            (k, h, k in self._forward_hooks_with_kwargs) for k, h in self._forward_hooks.items()
        ]  # type: ignore[attr-defined]

    def _backward_pair(self) -> _BackwardPair | None:
        hooks = [*global_hooks.backward.values(), *self._backward_hooks.values()]  # type: ignore[attr-defined]
        pre = [*global_hooks.backward_pre.values(), *self._backward_pre_hooks.values()]  # type: ignore[attr-defined]
        return _BackwardPair(self, hooks, pre) if (hooks or pre) and state.grad_enabled else None


class _Gate(Node):
    """Lets gradients through; the hooks of a module hang on it."""

    __slots__ = ()

    def apply(self, grads: list[Any], create_graph: bool) -> Sequence[Any]:
        return grads


def _gated(tensors: list[Tensor]) -> tuple[_Gate, list[Tensor]]:
    """The same tensors as outputs of a new gate."""
    gate = _Gate(tuple(edge_of(t) for t in tensors))
    gate.outputs = tuple((t._array.shape, t._array.dtype) for t in tensors)
    gate.scope = state.scope
    fresh = []
    for i, t in enumerate(tensors):
        out = alias(t)
        if t.requires_grad:
            out._grad_fn, out._output, out._requires_grad = gate, i, True
        fresh.append(out)
    return gate, fresh


class _BackwardPair:
    """One call of a module with backward hooks: a gate before it and one after it."""

    def __init__(self, module: Any, hooks: list[Any], pre_hooks: list[Any]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_output: Any = None
        self.input_count = 0
        self.input_places: list[int] = []
        self.inputs_watched = False

    def watch_inputs(self, args: Any) -> Any:
        """The arguments, with a gate where gradients of tensors will pass."""
        places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        self.input_count, self.input_places = len(args), places
        if not self.hooks or not any(args[i].requires_grad for i in places):
            return args
        gate, fresh = _gated([args[i] for i in places])
        self.inputs_watched = True
        gate.register_prehook(self._inputs_ready)
        result = list(args)
        for i, t in zip(places, fresh, strict=True):
            result[i] = t
        return tuple(result)

    def watch_outputs(self, result: Any) -> Any:
        """The results, with a gate where gradients come in."""
        single = isinstance(result, Tensor)
        parts = (result,) if single else result
        if not isinstance(parts, tuple):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(result)}",
                stacklevel=4,
            )
            return result
        places = [i for i, p in enumerate(parts) if isinstance(p, Tensor)]
        if not any(parts[i].requires_grad for i in places):
            return result
        gate, fresh = _gated([parts[i] for i in places])
        count = len(parts)

        def outputs_ready(grads: tuple[Any, ...]) -> Any:
            full: list[Any] = [None] * count
            for i, g in zip(places, grads, strict=True):
                full[i] = g
            given = tuple(full)
            for hook in self.pre_hooks:
                replaced = hook(self.module, given)
                if replaced is not None:
                    given = replaced if isinstance(replaced, tuple) else (replaced,)
                    if len(given) != count:
                        raise RuntimeError(
                            f"Backward pre hook returned an invalid number of grad_output, got {len(given)}, but "
                            f"expected {count}"
                        )
            self.grad_output = given
            if not self.inputs_watched:
                for hook in self.hooks:
                    replaced = hook(self.module, (None,) * max(self.input_count, 1), given)
                    if replaced is not None and any(r is not None for r in replaced):
                        raise RuntimeError(
                            "Backward hook for Modules where no input requires gradient should always return None or "
                            "None for all gradients."
                        )
            return tuple(given[i] for i in places)

        gate.register_prehook(outputs_ready)
        rebuilt = list(parts)
        for i, t in zip(places, fresh, strict=True):
            rebuilt[i] = t
        return rebuilt[0] if single else tuple(rebuilt)

    def _inputs_ready(self, grads: tuple[Any, ...]) -> Any:
        full: list[Any] = [None] * self.input_count
        for i, g in zip(self.input_places, grads, strict=True):
            full[i] = g
        given = tuple(full)
        for hook in self.hooks:
            replaced = hook(self.module, given, self.grad_output)
            if replaced is not None:
                replaced = replaced if isinstance(replaced, tuple) else (replaced,)
                if len(replaced) != len(given):
                    raise RuntimeError(
                        f"Backward hook returned an invalid number of grad_input, got {len(replaced)}, but expected "
                        f"{len(given)}"
                    )
                given = replaced
        return tuple(given[i] for i in self.input_places)


# -- hooks on every module ----------------------------------------------------------------------------------


def _register(
    hooks: Any, hook: Callable[..., Any], flags: Sequence[tuple[Any, bool]] = ()
) -> RemovableHandle:
    handle = RemovableHandle(hooks, extra_dict=[d for d, _ in flags])
    hooks[handle.id] = hook
    for flag_dict, value in flags:
        if value:
            flag_dict[handle.id] = True
    return handle


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls `hook(module, args)` before the forward of every module."""
    return _register(global_hooks.forward_pre, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Calls `hook(module, args, output)` after the forward of every module."""
    flags = [
        (global_hooks.forward_with_kwargs, with_kwargs),
        (global_hooks.forward_always, always_call),
    ]
    return _register(global_hooks.forward, hook, flags)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls `hook(module, grad_output)` before the gradients of every module."""
    return _register(global_hooks.backward_pre, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls `hook(module, grad_input, grad_output)` for every module."""
    return _register(global_hooks.backward, hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls `hook(module, name, buffer)` when a buffer is registered; what it returns replaces it."""
    return _register(global_hooks.buffer_registration, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls `hook(module, name, submodule)` when a module is registered; what it returns replaces it."""
    return _register(global_hooks.module_registration, hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls `hook(module, name, parameter)` when a parameter is registered; what it returns replaces it."""
    return _register(global_hooks.parameter_registration, hook)
