"""`Optimizer`: parameter groups, state, and the step; each algorithm adds its defaults and one `update`.

An algorithm is declared by
    defaults      in __init__, checked, handed to `super().__init__(params, defaults)`
    new_state     the state of a parameter before its first step
    update        one parameter's step, in tensor ops, with the group's hyper-parameters
so that what all share (groups, hooks, closures, state dicts, maximize) stands here once.
"""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import numpy as np

from rushlight.autograd.handles import RemovableHandle
from rushlight.autograd.modes import state as modes
from rushlight.backends.settings import settings
from rushlight.core.memory import aligned, aligned_copy
from rushlight.core.watch import seen_as
from rushlight.ops.complex_numbers import view_as_real
from rushlight.primitives.interpreter import slot
from rushlight.primitives.structural import full
from rushlight.tensor.tensor import Tensor, wrap


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()

_global_pre_hooks: OrderedDict[int, Any] = OrderedDict()
_global_post_hooks: OrderedDict[int, Any] = OrderedDict()


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls `hook(optimizer, args, kwargs)` before every step of every optimizer."""
    return RemovableHandle.add(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls `hook(optimizer, args, kwargs)` after every step of every optimizer."""
    return RemovableHandle.add(_global_post_hooks, hook)


def check_range(what: str, value: Any, low: float = 0.0, high: float | None = None) -> None:
    """ValueError unless `low <= value` (and `value < high`); tensors of one element count as their value."""
    if isinstance(value, Tensor) and value.numel() != 1:  # type: ignore[attr-defined]
        what = "lr" if what == "learning rate" else what
        raise ValueError(f"Tensor {what} must be 1-element, but has shape {tuple(value.shape)}")
    number = value.item() if isinstance(value, Tensor) else value
    if not low <= number or (high is not None and not number < high):
        raise ValueError(f"Invalid {what}: {value}")


def check_betas(betas: tuple[float, float]) -> None:
    """ValueError unless both decay rates lie in [0, 1)."""
    for i, beta in enumerate(betas):
        check_range(f"beta parameter at index {i}", beta, 0.0, 1.0)


def zeros_like(param: Tensor) -> Tensor:
    """State of the parameter's shape, dtype and memory layout, all zeros."""
    if slot.recorder is not None:
        return wrap(full(0, shape=param._array.shape, dtype=param._array.dtype))
    if not param._array.flags.c_contiguous:
        return wrap(np.zeros_like(param._array))
    array = aligned(param._array.shape, param._array.dtype)
    array[...] = 0
    return wrap(array)


def copy_of(grad: Tensor) -> Tensor:
    """State that begins as a gradient."""
    if slot.recorder is not None or grad._requires_grad:
        return grad.clone()  # type: ignore[attr-defined, no-any-return]
    return wrap(aligned_copy(grad._array))


def new_step() -> Tensor:
    """A count of steps: a float32 scalar, as PyTorch's checkpoints hold it."""
    if slot.recorder is not None:
        return wrap(full(0, shape=(), dtype=np.dtype(np.float32)))
    return wrap(np.zeros((), np.float32))


def count_step(state: dict[str, Any]) -> Any:
    """Adds one to the count and gives it: as a number, or under a trace as a float64 tensor."""
    step = state["step"]
    step.add_(1)
    return step.double() if slot.recorder is not None else float(step._array)


def rate_of(group: dict[str, Any]) -> Any:
    """The learning rate: a number; or the tensor it is given as, where a gradient or a trace goes through it."""
    lr = group["lr"]
    if isinstance(lr, Tensor) and slot.recorder is None and not group.get("differentiable"):
        return lr.item()
    return lr


def descend(param: Tensor, direction: Tensor, rate: Any) -> None:
    """Takes `rate` times the direction from the parameter."""
    if isinstance(rate, Tensor):
        param.sub_(direction * rate)  # type: ignore[attr-defined]
    else:
        param.add_(direction, alpha=-rate)  # type: ignore[attr-defined]


def store(tensor: Tensor, value: Any) -> None:
    """Writes a number, or under a trace a tensor, into a tensor of the state."""
    if isinstance(value, Tensor):
        tensor.copy_(value)  # type: ignore[attr-defined]
    else:
        tensor.fill_(value)  # type: ignore[attr-defined]


def real_views(*tensors: Tensor | None) -> tuple[Any, ...]:
    """The real and imaginary parts as a last axis, for algorithms that take them as separate numbers."""
    return tuple(None if t is None else view_as_real(t) for t in tensors)


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """A `step` that runs the hooks around itself; not again where a subclass calls its base's."""

    @seen_as(lambda self: f"Optimizer.step#{type(self).__name__}.step")
    @functools.wraps(step)
    def hooked(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        before, after = self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks
        if not (before or after or _global_pre_hooks or _global_post_hooks) or self._stepping:
            return step(self, *args, **kwargs)
        called: tuple[Any, ...] = (self, *args)
        for hook in (*_global_pre_hooks.values(), *before.values()):
            result = hook(self, called, kwargs)
            if result is None:
                continue
            if not (isinstance(result, tuple) and len(result) == 2):
                raise RuntimeError(
                    f"{hook} must return None or a tuple of (new_args, new_kwargs), but got {result}."
                )
            called, kwargs = result
        self._stepping = True
        try:
            out = step(*called, **kwargs)
        finally:
            self._stepping = False
        for hook in (*after.values(), *_global_post_hooks.values()):
            hook(self, called, kwargs)
        return out

    return hooked


def _check_kernels(defaults: dict[str, Any]) -> None:
    """RuntimeError for `fused` with what cannot go with it; there is one implementation here, but one contract."""
    if defaults.get("fused"):
        if defaults.get("differentiable"):
            raise RuntimeError("`fused` does not support `differentiable`")
        if defaults.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


class Optimizer:
    """Base class of optimizers.

    Arguments: `params`, tensors, (name, tensor) pairs, or dicts that define groups; `defaults`, the hyper-parameters
    of groups that do not set them.
    """

    _stepping = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A subclass may define `step` itself: hooks run around it all the same."""
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.__dict__["step"])  # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        _check_kernels(defaults)
        self.defaults = defaults
        self._optimizer_step_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._optimizer_step_post_hooks: OrderedDict[int, Any] = OrderedDict()
        self._optimizer_state_dict_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._optimizer_state_dict_post_hooks: OrderedDict[int, Any] = OrderedDict()
        self._optimizer_load_state_dict_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._optimizer_load_state_dict_post_hooks: OrderedDict[int, Any] = OrderedDict()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{params.type()}: did you mean [{type(params).__name__}]?"  # type: ignore[attr-defined]
            )
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(dict(group))

    # -- what an algorithm writes --------------------------------------------------------------------------

    def new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter before its first step."""
        return {}

    def update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """Changes `param` (and `state`) by one step."""
        raise NotImplementedError(f"{type(self).__name__} does not define update()")

    # -- stepping ------------------------------------------------------------------------------------------

    @_with_hooks
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step from the parameters' `.grad`; parameters without one are left alone.

        `closure`, if given, computes the loss and its gradients first; its result is returned.
        """
        loss = None
        before = modes.grad_enabled
        try:
            if closure is not None:
                modes.grad_enabled = True
                loss = closure()
            modes.grad_enabled = bool(self.defaults.get("differentiable"))
            if slot.recorder is not None or not settings.step_natively(self):
                for group in self.param_groups:
                    self._step_group(group)
        finally:
            modes.grad_enabled = before
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        maximize, differentiable = group.get("maximize", False), group.get("differentiable", False)
        for param in group["params"]:
            grad = param._grad
            if grad is None:
                continue
            if grad._requires_grad and not differentiable:
                grad = grad.detach()
            state = self.state.get(param)
            if not state:
                state = self.new_state(param, group)
            elif differentiable:  # what the tape holds of the steps before must stay as it is
                state.update({k: v.clone() for k, v in state.items() if isinstance(v, Tensor)})
            self.update(param, -grad if maximize else grad, state, group)
            if state:
                self.state[param] = state

    @seen_as(lambda self: f"Optimizer.zero_grad#{type(self).__name__}.zero_grad")
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters, or fills them with zeros."""
        for group in self.param_groups:
            for param in group["params"]:
                grad = param._grad
                if grad is None:
                    continue
                if set_to_none:
                    param._grad = None
                    continue
                if grad._requires_grad:
                    grad = param._grad = grad.detach()
                grad.zero_()

    # -- groups --------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters with hyper-parameters of its own, for fine-tuning in stages.

        Raises ValueError for a parameter that another group has, TypeError for what is no tensor.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        params = list(params)
        names: list[str] = []
        if params and isinstance(params[0], tuple):
            if not all(isinstance(p, tuple) for p in params):
                raise ValueError(
                    "all optimizer params should be with/without names. Some param names are missing"
                )
            names, params = [n for n, _ in params], [p for _, p in params]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}"
                )
            if not self.defaults.get("differentiable") and not (p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        param_group["params"] = params
        if names:
            param_group["param_names"] = names
        if self.param_groups and ("param_names" in self.param_groups[0]) != bool(names):
            raise ValueError(
                "all optimizer param groups should be with/without names. cannot add param group with(out) names"
            )
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    f"parameter group didn't specify a value of required optimization parameter {name}"
                )
            param_group.setdefault(name, default)
        if len(set(params)) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error",
                stacklevel=3,
            )
        known = {p for group in self.param_groups for p in group["params"]}
        if not known.isdisjoint(params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    # -- state dicts ---------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state by number of parameter, and the groups with numbers in the place of parameters."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            packed = {k: v for k, v in group.items() if k != "params"}
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {
            (numbers[id(k)] if isinstance(k, Tensor) else k): v for k, v in self.state.items() if v
        }
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            replaced = hook(self, result)
            result = result if replaced is None else replaced
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a state dict of an optimizer with the same groups; ValueError if they differ, and
        nothing is changed.
        """
        state_dict = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = hook(self, state_dict)
            state_dict = state_dict if replaced is None else replaced
        saved = deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError(
                f"loaded state dict has a different number of parameter groups: {len(saved)}, not "
                f"{len(self.param_groups)}"
            )
        for i, (old, new) in enumerate(zip(self.param_groups, saved, strict=True)):
            if len(old["params"]) != len(new["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"group {i} has {len(new['params'])} parameters there and {len(old['params'])} here"
                )
        by_number = {
            number: p
            for old, new in zip(self.param_groups, saved, strict=True)
            for number, p in zip(new["params"], old["params"], strict=True)
        }
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            param = by_number.get(key)
            state[key if param is None else param] = (
                value if param is None else _converted(value, param)
            )
        for old, new in zip(self.param_groups, saved, strict=True):
            new["params"] = old["params"]
            if "param_names" in old and "param_names" not in new:
                new["param_names"] = old["param_names"]
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, members: dict[str, Any]) -> None:
        self.__dict__.update(members)
        for name in (
            "step_pre",
            "step_post",
            "state_dict_pre",
            "state_dict_post",
            "load_state_dict_pre",
            "load_state_dict_post",
        ):
            self.__dict__.setdefault(f"_optimizer_{name}_hooks", OrderedDict())
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    # -- hooks ---------------------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(optimizer, args, kwargs)` before each step; `args` begins with the optimizer.

        A hook may return new arguments as (args, kwargs).
        """
        return RemovableHandle.add(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(optimizer, args, kwargs)` after each step."""
        return RemovableHandle.add(self._optimizer_step_post_hooks, hook)

    def _register(self, hooks: Any, hook: Callable[..., Any], prepend: bool) -> RemovableHandle:
        handle = RemovableHandle.add(hooks, hook)
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        return handle

    def register_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(optimizer)` before `state_dict`."""
        return self._register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(optimizer, state_dict)` after `state_dict`; what it returns replaces it."""
        return self._register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(optimizer, state_dict)` before loading; what it returns replaces the dict."""
        return self._register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(optimizer)` after loading."""
        return self._register(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    def __repr__(self) -> str:
        groups = [
            "\n".join(
                [
                    f"Parameter Group {i}",
                    *(f"    {k}: {group[k]}" for k in sorted(group) if k != "params"),
                ]
            )
            for i, group in enumerate(self.param_groups)
        ]
        return f"{type(self).__name__} (\n" + "\n\n".join(groups) + "\n)"


def _converted(value: Any, param: Tensor) -> Any:
    """Loaded state in the parameter's dtype; step counts keep theirs."""
    if isinstance(value, Tensor):
        if param.is_floating_point() and value.is_floating_point() and value.dim() > 0:
            return value.detach().to(param.dtype).clone()  # type: ignore[attr-defined]
        return value.detach().clone()  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return {
            k: (v if k == "step" and not isinstance(v, Tensor) else _converted(v, param))
            for k, v in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(_converted(v, param) for v in value)
    return value


ParamsT = Iterable[Any]
