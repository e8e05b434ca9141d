"""What ops and nodes are called where people look inside: torch's names, as far as there are any."""

from __future__ import annotations

import functools
import re
from typing import Any

from rushlight.ops.declare import _node_name

#: Ops that torch calls by another name inside.
_ATEN = {
    "nn.functional.cross_entropy": "cross_entropy_loss",
    "nn.functional.nll_loss": "nll_loss_nd",
    "nn.functional.logsigmoid": "log_sigmoid",
    "attention": "_scaled_dot_product_flash_attention_for_cpu",
    "convolution": "convolution",
    "copy": "copy_",
    "fill": "fill_",
    "to_copy": "_to_copy",
    "zero": "zero_",
}


@functools.cache
def op_name(function: Any) -> str:
    """The name of an op's function: `aten::relu_`, or `rushlight::causal` for an op that only rushlight has.

    >>> import rushlight
    >>> op_name(rushlight.nn.functional.linear), op_name(rushlight.add.inplace)
    ('aten::linear', 'aten::add_')
    """
    op = function.op
    known = _ATEN.get(op.qualified_name)
    if known is not None:
        return f"aten::{known}"
    if op.function or op.method:
        module = op.module.removeprefix("nn.functional").removeprefix("Tensor").replace(".", "_")
        name = f"{module}_{op.name}" if module else op.name
        return f"aten::{name}" + ("_" if function.__name__.endswith("_") else "")
    if not isinstance(op.node_name, str) or op.node_name == _node_name(op.name):
        return f"rushlight::{op.name}"
    return f"aten::{stem_of(op.node_name)}"


def node_name(name: str) -> str:
    """As torch's engine names a node: `AddmmBackward0`, `torch::autograd::AccumulateGrad`."""
    return f"torch::autograd::{name}" if name in ("AccumulateGrad", "CopySlices") else name


def stem_of(node: str) -> str:
    """The op that a node is of.

    >>> stem_of("MaxPool2DWithIndicesBackward0")
    'max_pool2d_with_indices'
    """
    stem = re.sub(r"Backward(s|\d+)$", "", node)
    stem = re.sub(r"(\d)D", r"\1d", stem)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", stem).lower()


__all__ = ["node_name", "op_name", "stem_of"]
