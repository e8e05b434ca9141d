"""Values of PyTorch as rushlight's, and the comparison of results."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import rushlight

#: (rtol, atol) by dtype. float32 kernels sum in other orders than NumPy does.
TOLERANCES = {
    "float16": (1e-2, 1e-2), "bfloat16": (2e-2, 2e-2), "float32": (2e-4, 2e-5), "float64": (1e-6, 1e-7),
    "complex64": (2e-4, 2e-5), "complex128": (1e-6, 1e-7),
}  # fmt: skip


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """The elements of a torch tensor as an array, in the same order of strides."""
    if torch._is_zerotensor(tensor):
        tensor = torch.zeros(tensor.shape, dtype=tensor.dtype)
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype is torch.bfloat16:
        return tensor.float().numpy().astype(rushlight.bfloat16.numpy)
    return np.array(tensor.numpy(), order="K", copy=True)


def translate(value: Any, requires_grad: bool = True) -> Any:
    """A torch value (tensor, dtype, device, ..., or a structure of these) as rushlight's."""
    if isinstance(value, torch.nn.Parameter):
        return rushlight.nn.Parameter(
            rushlight.from_numpy(array_of(value)), requires_grad=value.requires_grad
        )
    if isinstance(value, torch.Tensor):
        if value.untyped_storage().nbytes() != value.nbytes and value.numel():
            return _translate_part(value, requires_grad)
        made = rushlight.Tensor.__new__(rushlight.Tensor)
        made._array = np.asarray(array_of(value))
        return made.requires_grad_() if requires_grad and value.requires_grad else made
    if isinstance(value, torch.dtype):
        return getattr(rushlight, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return rushlight.device(str(value))
    if isinstance(value, torch.layout):
        return rushlight.strided
    if isinstance(value, torch.memory_format):
        return getattr(rushlight, str(value).removeprefix("torch."))
    if isinstance(value, torch.Size):
        return rushlight.Size(value)
    if isinstance(value, torch.Generator):
        return rushlight.Generator().manual_seed(value.initial_seed())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(translate(v, requires_grad) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(translate(v, requires_grad) for v in value)
    if isinstance(value, dict):
        return {k: translate(v, requires_grad) for k, v in value.items()}
    if isinstance(value, torch.nn.Module):
        return translate_module(value)
    if callable(value) and getattr(torch.nn.functional, getattr(value, "__name__", ""), 0) is value:
        return getattr(rushlight.nn.functional, value.__name__)
    return value


def _translate_part(value: torch.Tensor, requires_grad: bool) -> rushlight.Tensor:
    """A tensor that looks at a part of its memory (or at some elements often), memory and all."""
    count = value.untyped_storage().nbytes() // value.element_size()
    memory = translate(torch.as_strided(value.detach(), (count,), (1,), 0).clone())
    made = memory.as_strided(value.shape, value.stride(), value.storage_offset()).detach()
    return made.requires_grad_() if requires_grad and value.requires_grad else made


def translate_module(module: torch.nn.Module) -> Any:
    """The rushlight module of the same class and values, for those that are arguments of others."""
    name = type(module).__name__
    if name in ("TransformerEncoderLayer", "TransformerDecoderLayer"):
        made = getattr(rushlight.nn, name)(
            module.linear1.in_features,
            module.self_attn.num_heads,
            module.linear1.out_features,
            module.dropout.p,
            translate(module.activation),
            layer_norm_eps=module.norm1.eps,
            batch_first=module.self_attn.batch_first,
            norm_first=module.norm_first,
            bias=module.linear1.bias is not None,
        )
    elif name == "LayerNorm":
        made = rushlight.nn.LayerNorm(module.normalized_shape, module.eps)
    else:
        made = getattr(rushlight.nn, name)()
    made.load_state_dict({k: translate(v) for k, v in module.state_dict().items()})
    return made


def compare(
    found: Any, wanted: Any, where: str, *, values: bool = True, magnitudes: bool = False
) -> None:
    """AssertionError where results differ in structure, dtype, shape or elements."""
    if isinstance(wanted, torch.Tensor):
        assert isinstance(found, rushlight.Tensor), (
            f"{where}: a tensor is wanted, {type(found).__name__} was given"
        )
        array = found._array
        assert tuple(array.shape) == tuple(wanted.shape), (
            f"{where}: shape {array.shape}, wanted {tuple(wanted.shape)}"
        )
        assert str(found.dtype) == str(wanted.dtype), (
            f"{where}: {found.dtype}, wanted {wanted.dtype}"
        )
        if values:
            _compare_elements(
                array, array_of(wanted), str(found.dtype).removeprefix("torch."), where, magnitudes
            )
    elif isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted), f"{where}: {len(found)} results, wanted {len(wanted)}"
        for i, (f, w) in enumerate(zip(found, wanted, strict=True)):
            compare(f, w, f"{where}[{i}]", values=values, magnitudes=magnitudes)
    elif isinstance(wanted, float):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, err_msg=where)
    elif isinstance(wanted, (torch.dtype, torch.device, torch.Size)):
        assert str(found) == str(wanted), f"{where}: {found}, wanted {wanted}"
    elif isinstance(wanted, (bool, int, str, type(None))):
        assert found == wanted, f"{where}: {found}, wanted {wanted}"


def _compare_elements(found: Any, wanted: Any, dtype: str, where: str, magnitudes: bool) -> None:
    if dtype in TOLERANCES:
        rtol, atol = TOLERANCES[dtype]
        wide = np.complex128 if found.dtype.kind == "c" else np.float64
        found, wanted = found.astype(wide), wanted.astype(wide)
        if magnitudes:
            found, wanted = np.abs(found), np.abs(wanted)
        scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)
        np.testing.assert_allclose(
            found, wanted, rtol=rtol, atol=atol * max(1.0, scale), err_msg=where
        )
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=where)
