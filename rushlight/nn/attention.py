"""MultiheadAttention as a layer."""

from __future__ import annotations

from typing import Any

from rushlight.nn import functional as F
from rushlight.nn import init
from rushlight.nn.linear import NonDynamicallyQuantizableLinear
from rushlight.nn.making import parameter
from rushlight.nn.module import Module
from rushlight.nn.parameter import Parameter
from rushlight.tensor.tensor import Tensor


class MultiheadAttention(Module):
    """Several attentions side by side over (L, N, E) queries and (S, N, E) keys and values.

    Each head attends in E / num_heads dimensions. `kdim` and `vdim` are the sizes of keys and values where they
    differ from E; `add_bias_kv` adds a learned key and value, `add_zero_attn` one of zeros; `batch_first` takes
    (N, L, E). ValueError for sizes that are not positive, AssertionError unless num_heads divides embed_dim.
    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017.

    >>> import rushlight
    >>> attention = rushlight.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = rushlight.ones(1, 5, 8)
    >>> output, weights = attention(x, x, x)
    >>> output.shape, weights.shape
    (torch.Size([1, 5, 8]), torch.Size([1, 5, 5]))
    """

    batch_first: bool
    bias_k: Parameter | None
    bias_v: Parameter | None
    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and "
                f"num_heads={num_heads} instead"
            )
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = kdim if kdim is not None else embed_dim
        self.vdim = vdim if vdim is not None else embed_dim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError(
                f"embed_dim must be divisible by num_heads: {embed_dim} by {num_heads} is not"
            )
        made: dict[str, tuple[int, ...] | None]
        if self._qkv_same_embed_dim:
            made = {"in_proj_weight": (3 * embed_dim, embed_dim)}
            made |= dict.fromkeys(("q_proj_weight", "k_proj_weight", "v_proj_weight"))
        else:
            made = {
                "q_proj_weight": (embed_dim, embed_dim),
                "k_proj_weight": (embed_dim, self.kdim),
                "v_proj_weight": (embed_dim, self.vdim),
                "in_proj_weight": None,
            }
        made["in_proj_bias"] = (3 * embed_dim,) if bias else None
        self._make(made, device, dtype)
        self.out_proj = NonDynamicallyQuantizableLinear(
            embed_dim, embed_dim, bias=bias, device=device, dtype=dtype
        )
        extra = (1, 1, embed_dim) if add_bias_kv else None
        if add_bias_kv:
            self._make({"bias_k": extra, "bias_v": extra}, device, dtype)
        else:
            self.bias_k = self.bias_v = None
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _make(self, shapes: dict[str, tuple[int, ...] | None], device: Any, dtype: Any) -> None:
        for name, shape in shapes.items():
            self.register_parameter(
                name, None if shape is None else parameter(*shape, device=device, dtype=dtype)
            )

    def _reset_parameters(self) -> None:
        if self._qkv_same_embed_dim:
            init.xavier_uniform_(self.in_proj_weight)
        else:
            for weight in (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Queries, keys and values to attended values and, with `need_weights`, the weights.

        `key_padding_mask` (N, S) and `attn_mask` (L, S) or (N heads, L, S) are bools, True where not to look, or
        numbers to add to the scores. `is_causal` is a hint that `attn_mask` is the causal one.
        """
        turned = self.batch_first and query.dim() == 3
        if turned:
            query, key, value = _turned(query, key, value)
        packed = self._qkv_same_embed_dim
        result, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias,
            training=self.training, key_padding_mask=key_padding_mask, need_weights=need_weights,
            attn_mask=attn_mask, use_separate_proj_weight=not packed,
            q_proj_weight=None if packed else self.q_proj_weight, k_proj_weight=None if packed else self.k_proj_weight,
            v_proj_weight=None if packed else self.v_proj_weight, average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )  # fmt: skip
        if turned:
            result = result.transpose(1, 0)  # type: ignore[attr-defined]
        return result, weights


def _turned(query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    """Sequence first; tensors that were one stay one, so that they are projected by one product."""
    q = query.transpose(0, 1)
    k = q if key is query else key.transpose(0, 1)
    return q, k, (k if value is key else value.transpose(0, 1))


__all__ = ["MultiheadAttention"]
