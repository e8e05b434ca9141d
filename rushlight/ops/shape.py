"""The view ops of all kinds under one roof, for the files that use several: shapes, orders, parts."""

from __future__ import annotations

from rushlight.ops.orders import (
    adjoint,
    matrix_transpose,
    movedim,
    permute,
    reversed_dims,
    t,
    transpose,
)  # fmt: skip
from rushlight.ops.parts import (
    chunk,
    diagonal,
    narrow,
    select,
    slice_step,
    split,
    split_with_sizes,
    tensor_split,
    unbind,
    unfold,
)  # fmt: skip
from rushlight.ops.reshaping import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_tensors,
    broadcast_to,
    check_viewable,
    count_of,
    expand,
    expand_as,
    flatten,
    is_viewable,
    ravel,
    reshape,
    reshape_step,
    reshaped,
    reshaped_copy,
    squeeze,
    to_shape,
    unflatten,
    unsqueeze,
    view,
    view_as,
)  # fmt: skip

__all__ = [
    "adjoint", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_tensors", "broadcast_to", "check_viewable", "chunk",
    "count_of", "diagonal", "expand", "expand_as", "flatten", "is_viewable", "matrix_transpose", "movedim", "narrow",
    "permute", "ravel", "reshape", "reshape_step", "reshaped", "reshaped_copy", "reversed_dims", "select", "slice_step",
    "split", "split_with_sizes", "squeeze", "t", "tensor_split", "to_shape", "transpose", "unbind", "unflatten",
    "unfold", "unsqueeze", "view", "view_as",
]  # fmt: skip
