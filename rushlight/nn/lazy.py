"""`LazyModuleMixin`: modules that learn the shapes of their parameters from the first input."""

from __future__ import annotations

from typing import Any

from rushlight.nn.parameter import is_lazy


class LazyModuleMixin:
    """Mix in before a Module: its parameters are `UninitializedParameter` until the first call.

    The class writes `initialize_parameters(*args)`, which gives them their shapes; `cls_to_become` is what the
    module is from then on. Inside another module nothing else has to be done; but an optimizer must be made after
    the first call.
    """

    cls_to_become: type | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        module: Any = self
        self._initialize_hook = module.register_forward_pre_hook(
            _infer_parameters, with_kwargs=True
        )

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Gives the parameters their shapes; every lazy module writes its own."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self) -> bool:
        """Whether some parameter or buffer has no shape yet."""
        module: Any = self
        return any(is_lazy(t) for t in (*module._parameters.values(), *module._buffers.values()))

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError(
            "Modules with uninitialized parameters can't be replicated: call the module once first."
        )


def _infer_parameters(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Runs before the first forward: shapes, then the module becomes an ordinary one."""
    module.initialize_parameters(*args, **kwargs)
    if module.has_uninitialized_params():
        raise RuntimeError(
            f"module {module._get_name()} has not been fully initialized: initialize_parameters() left some "
            "parameters without a shape"
        )
    module._initialize_hook.remove()
    del module._initialize_hook
    if not any(
        (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    ):
        module.__dict__.pop("_has_hooks", None)  # calls are direct again
    if module.cls_to_become is not None:
        module.__class__ = module.cls_to_become


__all__ = ["LazyModuleMixin"]
