"""The function behind MultiheadAttention: projections, masks, attention, and the projection back."""

from __future__ import annotations

from typing import Any

from rushlight.ops import families
from rushlight.tensor.tensor import Tensor


def _f(name: str) -> Any:
    """A function of nn.functional, which imports this file."""
    return families.function("nn.functional." + name)


def canonical_mask(mask: Tensor | None, name: str, like: Tensor) -> Tensor | None:
    """A mask to add: bools become 0 and minus infinity; RuntimeError for other integers."""
    if mask is None or mask.is_floating_point():
        return mask
    if not _is_bool(mask):
        raise RuntimeError(
            f"only bool and floating types of {name} are supported, not {mask.dtype}"
        )
    blank: Any = like.new_zeros(mask.shape)  # type: ignore[attr-defined]
    return blank.masked_fill_(mask, float("-inf"))  # type: ignore[no-any-return]


def _is_bool(mask: Tensor) -> bool:
    return bool(mask._array.dtype.kind == "b")


def _check_shapes(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    padding: Tensor | None,
    mask: Tensor | None,
    heads: int,
) -> bool:
    """Whether the inputs are batched; AssertionError, as PyTorch's, where ranks do not fit."""
    if query.dim() not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.dim()}-D query tensor"
        )
    batched = query.dim() == 3
    rank = query.dim()
    kind = "batched" if batched else "unbatched"
    if key.dim() != rank or value.dim() != rank:
        raise AssertionError(
            f"For {kind} ({rank}-D) `query`, expected `key` and `value` to be {rank}-D but found "
            f"{key.dim()}-D and {value.dim()}-D tensors respectively"
        )
    if padding is not None and padding.dim() != rank - 1:
        raise AssertionError(
            f"For {kind} ({rank}-D) `query`, expected `key_padding_mask` to be `None` or {rank - 1}-D but found "
            f"{padding.dim()}-D tensor instead"
        )
    if mask is not None:
        if mask.dim() not in (2, 3):
            raise AssertionError(
                f"For {kind} ({rank}-D) `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
                f"{mask.dim()}-D tensor instead"
            )
        if not batched and mask.dim() == 3:
            expected = (heads, query.shape[0], key.shape[0])
            if tuple(mask.shape) != expected:
                raise AssertionError(
                    f"Expected `attn_mask` shape to be {expected} but got {tuple(mask.shape)}"
                )
    return batched


def _project_packed(q: Any, k: Any, v: Any, weight: Any, bias: Any) -> tuple[Any, Any, Any]:
    """The three projections by one weight of 3 E rows; one product where inputs are the same tensor."""
    linear = _f("linear")
    size = q.shape[-1]
    if k is v and q is k:
        return tuple(linear(q, weight, bias).chunk(3, -1))  # type: ignore[return-value]
    if k is v:
        b_q, b_kv = (None, None) if bias is None else bias.split([size, 2 * size])
        w_q, w_kv = weight.split([size, 2 * size])
        return (linear(q, w_q, b_q), *linear(k, w_kv, b_kv).chunk(2, -1))
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return tuple(linear(x, w, b) for x, w, b in zip((q, k, v), weight.chunk(3), biases))  # type: ignore[return-value]


def _project_separately(
    q: Any, k: Any, v: Any, weights: tuple[Any, Any, Any], bias: Any
) -> tuple[Any, Any, Any]:
    linear = _f("linear")
    size = q.shape[-1]
    expected = ((size, size), (size, k.shape[-1]), (size, v.shape[-1]))
    for name, w, shape in zip(("query", "key", "value"), weights, expected):
        if tuple(w.shape) != shape:
            raise AssertionError(
                f"expecting {name} weights shape of {shape}, but got {tuple(w.shape)}"
            )
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return tuple(linear(x, w, b) for x, w, b in zip((q, k, v), weights, biases))  # type: ignore[return-value]


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads: (L, N, E) queries over (S, N, E) keys and values; N may be missing.

    Gives (L, N, E) and, with `need_weights`, the weights: (N, L, S), or (N, heads, L, S) unless
    `average_attn_weights`. Masks are bools (True: do not look) or numbers to add to the scores. AssertionError for
    ranks and sizes that do not fit. Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
    """
    q, k, v = _any(query), _any(key), _any(value)
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        q, k, v = _unsqueezed(q, k, v)
        key_padding_mask = None if key_padding_mask is None else _any(key_padding_mask).unsqueeze(0)
    length, batch, size = q.shape
    sources = k.shape[0]
    padding: Any = canonical_mask(key_padding_mask, "key_padding_mask", query)
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if is_causal and padding is None and not need_weights:
        mask: Any = None  # scaled_dot_product_attention makes the causal mask itself
    else:
        mask = canonical_mask(attn_mask, "attn_mask", query)
        is_causal = False
    _check_sizes(size, embed_dim_to_check, num_heads, k, v, use_separate_proj_weight)
    head = size // num_heads
    if use_separate_proj_weight:
        q, k, v = _project_separately(
            q, k, v, (q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias
        )
    else:
        q, k, v = _project_packed(q, k, v, in_proj_weight, in_proj_bias)
    mask = _fit_mask(mask, length, sources, batch * num_heads)
    pad = _f("pad")
    cat = families.function("cat")
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key or value")
        k = cat([k, _any(bias_k).expand(1, batch, size)])
        v = cat([v, _any(bias_v).expand(1, batch, size)])
        mask = mask if mask is None else pad(mask, (0, 1))
        padding = padding if padding is None else pad(padding, (0, 1))
    rows = batch * num_heads
    q = q.reshape(length, rows, head).transpose(0, 1)
    k = _static(static_k, "static_k", rows, head, k)
    v = _static(static_v, "static_v", rows, head, v)
    if add_zero_attn:
        blank = k.new_zeros((rows, 1, head))
        k, v = cat([k, blank], 1), cat([v, blank], 1)
        mask = mask if mask is None else pad(mask, (0, 1))
        padding = padding if padding is None else pad(padding, (0, 1))
    sources = k.shape[1]
    if padding is not None:
        if tuple(padding.shape) != (batch, sources):
            raise AssertionError(
                f"expecting key_padding_mask shape of {(batch, sources)}, but got {tuple(padding.shape)}"
            )
        spread = padding.view(batch, 1, 1, sources).expand(-1, num_heads, -1, -1)
        spread = spread.reshape(rows, 1, sources)
        mask = spread if mask is None else mask + spread
    p = dropout_p if training else 0.0
    linear = _f("linear")
    weights: Any = None
    if need_weights:
        scores = (q * (1.0 / head) ** 0.5).bmm(k.transpose(-2, -1))
        scores = scores if mask is None else scores + mask
        weights = _f("softmax")(scores, -1)
        weights = _f("dropout")(weights, p) if p > 0.0 else weights
        result = weights.bmm(v)
    else:
        if mask is not None:
            shape = (1, 1) if mask.shape[0] == 1 and mask.dim() == 3 else (batch, num_heads)
            mask = mask.view(*shape, mask.shape[-2], sources)
        q, k, v = (t.reshape(batch, num_heads, t.shape[1], head) for t in (q, k, v))
        result = _f("scaled_dot_product_attention")(q, k, v, mask, p, is_causal)
        result = result.reshape(rows, length, head)
    result = result.transpose(0, 1).reshape(length * batch, size)
    result = linear(result, out_proj_weight, out_proj_bias).view(length, batch, -1)
    if weights is not None:
        weights = weights.view(batch, num_heads, length, sources)
        weights = weights.mean(1) if average_attn_weights else weights
        weights = weights if batched else weights.squeeze(0)
    return (result if batched else result.squeeze(1)), weights


def _any(tensor: Any) -> Any:
    """The tensor, with the methods that the root ties to it."""
    return tensor


def _unsqueezed(q: Any, k: Any, v: Any) -> tuple[Any, Any, Any]:
    """With a batch of one; equal inputs stay one tensor, so that they are projected by one product."""
    q1 = q.unsqueeze(1)
    k1 = q1 if k is q else k.unsqueeze(1)
    return q1, k1, (k1 if v is k else v.unsqueeze(1))


def _check_sizes(size: int, wanted: int, heads: int, k: Any, v: Any, separate: bool) -> None:
    if size != wanted:
        raise AssertionError(f"was expecting embedding dimension of {wanted}, but got {size}")
    if size // heads * heads != size:
        raise AssertionError(f"embed_dim {size} not divisible by num_heads {heads}")
    if separate:
        if k.shape[:2] != v.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {k.shape[:2]} do not match value's {v.shape[:2]}"
            )
    elif k.shape != v.shape:
        raise AssertionError(f"key shape {k.shape} does not match value shape {v.shape}")


def _fit_mask(mask: Any, length: int, sources: int, rows: int) -> Any:
    if mask is None:
        return None
    if mask.dim() == 2:
        if tuple(mask.shape) != (length, sources):
            raise RuntimeError(
                f"The shape of the 2D attn_mask is {mask.shape}, but should be {(length, sources)}."
            )
        return mask.unsqueeze(0)
    if tuple(mask.shape) != (rows, length, sources):
        raise RuntimeError(
            f"The shape of the 3D attn_mask is {mask.shape}, but should be {(rows, length, sources)}."
        )
    return mask


def _static(given: Any, name: str, rows: int, head: int, computed: Any) -> Any:
    """Keys or values by head: those computed, (S, N, E), or those given, (N heads, S, E / heads)."""
    if given is None:
        return computed.reshape(computed.shape[0], rows, head).transpose(0, 1)
    if given.size(0) != rows or given.size(2) != head:
        raise AssertionError(
            f"expecting {name}.size(0) of {rows} and .size(2) of {head}, but got {given.size(0)} and {given.size(2)}"
        )
    return given


__all__ = ["canonical_mask", "multi_head_attention_forward"]
