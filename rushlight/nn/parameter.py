"""Parameters and buffers: the tensors that a module owns, and those whose shape is known only later."""

from __future__ import annotations

from typing import Any

from rushlight.tensor.show import tensor_repr
from rushlight.tensor.tensor import Tensor


class _ParameterMeta(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return type.__instancecheck__(cls, instance) or (
            isinstance(instance, Tensor) and getattr(instance, "_is_param", False)
        )


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that a Module registers as its parameter when it is assigned to an attribute.

    Arguments: `data`, the values (shared, not copied), and `requires_grad`, True unless said otherwise.

    >>> import rushlight
    >>> from rushlight import nn
    >>> nn.Parameter(rushlight.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    _prints_as_tensor = True

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter needs a Tensor, not {type(data).__name__}")
        if type(data) is not Tensor and not isinstance(data, Parameter):
            # A user's own kind of tensor keeps its class.
            data.requires_grad_(requires_grad)
            data._is_param = True  # type: ignore[attr-defined]
            return data
        self = object.__new__(cls)
        self._array = data._array
        self.requires_grad_(requires_grad)
        return self

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return "Parameter containing:\n" + tensor_repr(self, tensor_contents)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        found = memo.get(id(self))
        if found is None:
            found = type(self)(self.data.clone(), self.requires_grad)  # type: ignore[attr-defined]
            if self._grad is not None:
                found._grad = self._grad.detach().clone()  # type: ignore[attr-defined]
            memo[id(self)] = found
        return found  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        attributes = {k: v for k, v in self.__dict__.items() if k not in _OWN_STATE}
        return _rebuild_parameter, (self.data, self.requires_grad, attributes)


#: Attributes of a tensor that are not the user's.
_OWN_STATE = frozenset(name for name in Tensor.__annotations__ if name.startswith("_"))


def _rebuild_parameter(data: Tensor, requires_grad: bool, attributes: dict[str, Any]) -> Parameter:
    parameter = Parameter(data, requires_grad)
    parameter.__dict__.update(attributes)
    return parameter


class Buffer(Tensor):
    """A tensor that a Module registers as its buffer when it is assigned to an attribute."""

    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        source = Tensor() if data is None else data
        if not isinstance(source, Tensor):
            raise TypeError(f"Buffer needs a Tensor, not {type(data).__name__}")
        self = object.__new__(cls)
        self._array = source._array
        self._requires_grad = source.requires_grad and source.is_leaf
        self.persistent = persistent
        return self


class UninitializedParameter(Parameter):
    """A parameter whose shape is known at the first forward: see the Lazy modules."""

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        self = object.__new__(cls)
        self._array = Tensor()._array if dtype is None else Tensor()._array.astype(dtype.numpy)
        self._requires_grad = requires_grad
        return self

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Gives it its shape; the values are not set."""
        import numpy as np

        self._array = np.empty(tuple(shape), self._array.dtype if dtype is None else dtype.numpy)
        self.__class__ = Parameter  # type: ignore[assignment]

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return "<UninitializedParameter>"


class UninitializedBuffer(Tensor):
    """A buffer whose shape is known at the first forward."""

    def __new__(cls, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> Any:
        self = object.__new__(cls)
        self._array = Tensor()._array if dtype is None else Tensor()._array.astype(dtype.numpy)
        return self

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Gives it its shape; the values are not set."""
        import numpy as np

        self._array = np.empty(tuple(shape), self._array.dtype if dtype is None else dtype.numpy)
        self.__class__ = Tensor  # type: ignore[assignment]

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return "<UninitializedBuffer>"


def is_lazy(tensor: Any) -> bool:
    """Whether the tensor's shape is not known yet."""
    return isinstance(tensor, (UninitializedParameter, UninitializedBuffer))


__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]
