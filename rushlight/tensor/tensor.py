"""`Tensor`: an array and what autograd keeps about it. It computes nothing: methods that do are ops, tied on by
the package root (rushlight/__init__.py), as are those of autograd.

State of a tensor (class attributes are the defaults, so that making one costs two stores):
    _array            the elements: a NumPy array, or an abstract value under a trace
    _requires_grad    whether gradients flow to it (leaf) or through it
    _grad_fn          the node that made it (None for a leaf); read it through `history()` or `grad_fn`
    _output           which output of that node it is
    _version_counter  shared by all views of its memory; None until somebody needs it
    _base, _steps     for a differentiable view: the tensor it looks into, and the chain of view primitives
    _generation       of a base: how often its history was rewritten by in-place ops; of a view: the
                      generation of the base that `_grad_fn` belongs to
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from rushlight.core import dtypes
from rushlight.primitives.interpreter import slot
from rushlight.tensor.device import CPU, device
from rushlight.tensor.size import Size

if TYPE_CHECKING:
    from rushlight.autograd.node import Node
    from rushlight.primitives.views import Steps
    from rushlight.tensor.storage import Version

ndarray = np.ndarray


class layout:
    """How elements lie in memory; there is one, `rushlight.strided`."""

    def __repr__(self) -> str:
        return "torch.strided"


strided = layout()


class memory_format:
    """An order of dimensions in memory: contiguous_format, preserve_format, channels_last, channels_last_3d."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return "torch." + self._name


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")


class Tensor:
    """A multi-dimensional array of one dtype that remembers how it was computed.

    Make one with `rushlight.tensor(data)`, `rushlight.zeros(...)`, `rushlight.from_numpy(array)` and their like.
    """

    _array: Any
    _requires_grad: bool = False
    _grad_fn: Node | None = None
    _output: int = 0
    _grad: Tensor | None = None
    _version_counter: Version | None = None
    _base: Tensor | None = None
    _steps: Steps = ()
    _generation: int = 0
    _is_inference: bool = False
    _view_error: str | None = None  # why this view must not be written in place, if it must not
    _accumulator: weakref.ref[Node] | None = None
    _hooks: Any = None
    _post_accumulate_hooks: Any = None
    _retains_grad: bool = False

    __array_priority__ = 1000  # NumPy's operators leave `array + tensor` to the tensor

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        self = object.__new__(cls)
        if args or kwargs:
            self._array = _legacy_new(*args, **kwargs)._array
        else:
            self._array = np.empty(0, dtypes.get_default_dtype().numpy)
        return self

    # -- what it is ------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return tuple.__new__(Size, self._array.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        """The type of the elements."""
        return dtypes.of_numpy(self._array.dtype)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim  # type: ignore[no-any-return]

    @property
    def device(self) -> device:
        """Where the elements are: always the CPU."""
        return CPU

    @property
    def layout(self) -> layout:
        """Always `rushlight.strided`."""
        return strided

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._array.dtype.itemsize  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.numel() * self.itemsize

    is_cuda = is_sparse = is_quantized = is_meta = is_mkldnn = is_mps = is_xpu = is_nested = False
    is_cpu = True
    names = property(lambda self: (None,) * self.ndim, doc="Dimensions have no names.")

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        shape = self._array.shape
        if dim is None:
            return Size(shape)
        if not shape:
            raise IndexError("Dimension specified as 0 but tensor has no dimensions")
        from rushlight.core.shapes import dimension

        return shape[dimension(dim, len(shape))]

    def dim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim  # type: ignore[no-any-return]

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return int(self._array.size)

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """How many elements of memory lie between neighbours along each dimension, or along one."""
        array = self._array
        itemsize = array.dtype.itemsize
        if array.flags.c_contiguous:  # NumPy may keep odd strides for dimensions of size 0 and 1
            strides: list[int] = []
            step = 1
            for n in reversed(array.shape):
                strides.append(step)
                step *= max(n, 1)
            result = tuple(reversed(strides))
        else:
            result = tuple(s // itemsize for s in array.strides)
        if dim is None:
            return result
        from rushlight.core.shapes import dimension

        return result[dimension(dim, len(result))]

    def storage_offset(self) -> int:
        """Elements between the start of the memory and this tensor's first element."""
        from rushlight.tensor.storage import memory_of

        start = memory_of(self._array).__array_interface__["data"][0]
        return (self.data_ptr() - start) // self.itemsize  # type: ignore[no-any-return]

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._array.__array_interface__["data"][0]  # type: ignore[no-any-return]

    def is_contiguous(self, memory_format: Any = contiguous_format) -> bool:
        """Whether elements lie in memory in the order of their indices (or in channels_last order)."""
        array = self._array
        if memory_format is channels_last and array.ndim == 4:
            return bool(array.transpose(0, 2, 3, 1).flags.c_contiguous)
        if memory_format is channels_last_3d and array.ndim == 5:
            return bool(array.transpose(0, 2, 3, 4, 1).flags.c_contiguous)
        return bool(array.flags.c_contiguous)

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating point type."""
        return self._array.dtype in dtypes.FLOATING

    def is_complex(self) -> bool:
        """Whether the dtype is complex64 or complex128."""
        return self._array.dtype in dtypes.COMPLEX

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return self.dtype.is_signed

    def is_conj(self) -> bool:
        """False: conjugates are computed at once."""
        return False

    def is_neg(self) -> bool:
        """False: negatives are computed at once."""
        return False

    def is_inference(self) -> bool:
        """Whether it was made under `inference_mode`."""
        return self._is_inference

    def is_pinned(self) -> bool:
        """False: there is no device to pin memory for."""
        return False

    def is_shared(self) -> bool:
        """False: the memory belongs to this process."""
        return False

    def get_device(self) -> int:
        """-1, as for every tensor on the CPU."""
        return -1

    def is_set_to(self, tensor: Tensor) -> bool:
        """Whether both look at the same memory with the same shape and strides."""
        return (self.data_ptr(), self.shape, self.stride()) == (
            tensor.data_ptr(),
            tensor.shape,
            tensor.stride(),
        )

    # -- what autograd keeps ---------------------------------------------------------------------------

    def history(self) -> Node | None:
        """The node that made it. Of a view whose base was written since, a node that looks at the new base."""
        base = self._base
        if base is not None and self._generation != base._generation:
            _renew_view(self)
        return self._grad_fn

    @property
    def grad_fn(self) -> Node | None:
        """The node of the graph that made this tensor; None for a leaf."""
        return self.history()

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are computed for it or through it."""
        if self._base is not None:
            self.history()
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        if not isinstance(flag, bool):
            raise RuntimeError("requires_grad must be a bool")
        if self.history() is not None:
            if not flag:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use a computed "
                    "variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
                )
            return
        if flag and self._array.dtype not in dtypes.INEXACT:
            raise RuntimeError(
                "only Tensors of floating point and complex dtype can require gradients"
            )
        if flag and self._is_inference:
            raise RuntimeError(
                "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
            )
        self._requires_grad = flag

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets `requires_grad` and returns the tensor itself."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded op made it: gradients gather in the `grad` of leaves."""
        return self.history() is None

    @property
    def output_nr(self) -> int:
        """Which output of `grad_fn` it is."""
        return self._output

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called on this non-leaf."""
        return self._retains_grad

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward has gathered for this leaf, or None."""
        if self._grad is None and self.history() is not None and not self._retains_grad:
            _warn_non_leaf_grad()
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value._array.dtype != self._array.dtype:
                raise RuntimeError(
                    f"attempting to assign a gradient with dtype '{value.dtype}' to a tensor with "
                    f"grad_dtype '{self.dtype}'."
                )
            if value._array.shape != self._array.shape:
                raise RuntimeError(
                    f"assigned grad has data of a different size: {list(value._array.shape)} for a tensor of shape "
                    f"{list(self._array.shape)}"
                )
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def _version(self) -> int:
        return 0 if self._version_counter is None else self._version_counter.count

    def _is_view(self) -> bool:
        return self._base is not None

    @property
    def data(self) -> Tensor:
        """The same memory as a tensor that autograd knows nothing of, with a version counter of its own."""
        other = wrap(self._array)
        if slot.recorder is not None:
            slot.recorder.viewed(other, self, ())  # type: ignore[attr-defined]
        return other

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if value._array.dtype not in dtypes.INEXACT and self._requires_grad:
            raise RuntimeError(
                "data set to a tensor that requires gradients must be floating point or complex dtype"
            )
        if (value._array.shape, value._array.dtype) != (self._array.shape, self._array.dtype):
            self._accumulator = None  # it knows the shape that gradients must have
        self._array = value._array

    def __len__(self) -> int:
        if not self._array.ndim:
            raise TypeError("len() of a 0-d tensor")
        return len(self._array)

    def __hash__(self) -> int:
        return id(self)

    def __format__(self, spec: str) -> str:
        if self._array.ndim == 0 and type(self) is Tensor:
            return self.item().__format__(spec)  # type: ignore[attr-defined, no-any-return]
        return object.__format__(self, spec)

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if not name.startswith("is_mk")]


def wrap(array: Any) -> Tensor:
    """A new tensor around an array, with no history."""
    tensor = object.__new__(Tensor)
    tensor._array = array
    return tensor


def alias(tensor: Tensor) -> Tensor:
    """The same memory and version counter, with no history: what `detach` gives."""
    from rushlight.tensor.storage import version_of

    other = object.__new__(Tensor)
    other._array = tensor._array
    other._version_counter = version_of(tensor)
    other._is_inference = tensor._is_inference
    if slot.recorder is not None:
        slot.recorder.viewed(other, tensor, ())  # type: ignore[attr-defined]
    return other


# Filled from above, by autograd: how the history of a stale view is renewed, and `Tensor(...)` as a constructor.
_renew_view: Any = None
_legacy_new: Any = None


def install(*, renew_view: Any = None, legacy_new: Any = None) -> None:
    """Hands Tensor what only higher rooms can know."""
    global _renew_view, _legacy_new  # noqa: PLW0603 - slots filled once, at import
    _renew_view = renew_view or _renew_view
    _legacy_new = legacy_new or _legacy_new


def _warn_non_leaf_grad() -> None:
    import warnings

    warnings.warn(
        "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
        "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf "
        "Tensor, use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure "
        "you access the leaf Tensor instead.",
        UserWarning,
        stacklevel=3,
    )
