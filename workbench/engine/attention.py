"""Causal self-attention of native blocks on many short rows: the same sums, done in the way that suits the device."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

Queries = Float[Tensor, "row head query d_head"]
Heads = Float[Tensor, "row kv_head pos d_head"]
KeysValues = tuple[Float[Tensor, "prompt kv_head past d_head"], Float[Tensor, "prompt kv_head past d_head"]]
At = list[int] | slice

# Positions that fill vectors of a CPU. Measured with d_head 12 to 32: rows of fewer are joined, with a mask in between,
# 1.5 to 2.4 times as fast; and of these the plain products go back 1.4 times faster than the fused kernel does.
_SHORT = 16


def attention(
    attn: Any,
    x: Float[Tensor, "rows length d_model"],
    at: At | None = None,
    start: int = 0,
    past: KeysValues | None = None,
) -> Float[Tensor, "rows query d_model"]:
    """What heads write, at the queries `at` these positions (None: all), which see every position up to their own.

    start: the position of the first. past: keys and values before it, shared by all rows of a prompt.
    """
    places = torch.arange(x.shape[1], device=x.device)
    asked = places if at is None else places[at]
    joined = 1 if past is not None or len(asked) == 1 else _joined(x)
    q, k, v = (_repeated(t, attn) for t in projected(attn, x, at, start, joined))
    seen = places <= asked[:, None]
    if past is not None:
        mixed = _with_past(q / attn.scale, k, v, (_repeated(past[0], attn), _repeated(past[1], attn)), seen)
    elif joined > 1:
        mixed = _joint(q, k, v, torch.block_diag(*[seen] * joined), 1 / attn.scale)
    elif at is None:
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1 / attn.scale)
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=1 / attn.scale)
    return linear(attn.o, mixed.transpose(1, 2).flatten(2)).view(len(x), len(asked), -1)


def projected(
    attn: Any, x: Float[Tensor, "rows length d_model"], at: At | None = None, start: int = 0, joined: int = 1
) -> tuple[Queries, Heads, Heads]:
    """Queries `at` some positions or at all, keys and values, rotated where the model does so.

    joined: how many rows come as one.
    """
    asked = x if at is None else x[:, at]
    flat = linear(attn.q, asked), linear(attn.k, x), linear(attn.v, x)
    q, k, v = (t.reshape(len(x) // joined, -1, t.shape[-1] // attn.d_head, attn.d_head).transpose(1, 2) for t in flat)
    if attn.rotary is None:
        return q, k, v
    places = torch.arange(start, start + x.shape[1], device=x.device)
    mine = places if at is None else places[at]
    return _rotated(attn, q, mine.repeat(joined)), _rotated(attn, k, places.repeat(joined)), v


def linear(layer: nn.Linear, x: Float[Tensor, "*rows given"]) -> Float[Tensor, "*rows made"]:
    """A linear layer. Its bias is added afterwards, in place: with one, a product on a CPU fills its output first."""
    product = F.linear(x, layer.weight)
    return product if layer.bias is None else product.add_(layer.bias)


def _joined(x: Float[Tensor, "rows length d_model"]) -> int:
    """How many rows attend in one: a power of two that divides them."""
    rows, length, _ = x.shape
    if x.device.type != "cpu" or length >= _SHORT:
        return 1
    return math.gcd(rows, 2 ** math.ceil(math.log2(_SHORT / length)))


def _joint(q: Queries, k: Heads, v: Heads, seen: Bool[Tensor, "query pos"], scale: float) -> Queries:
    """Attention of joined rows."""
    if not q.requires_grad:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale)
    hidden = torch.zeros(seen.shape, dtype=q.dtype).masked_fill(~seen, float("-inf"))
    return ((scale * q) @ k.mT + hidden).softmax(-1) @ v


def _repeated(heads: Tensor, attn: Any) -> Tensor:
    """Keys or values for every query head, where several share them."""
    return heads if heads.shape[1] == attn.n_heads else heads.repeat_interleave(attn.kv_repeats, dim=1)


def _with_past(q: Queries, k: Heads, v: Heads, past: KeysValues, seen: Tensor) -> Queries:
    """Attention to own positions and to a past that all rows of a prompt share, which is not copied for each row."""
    earlier, values = past
    prompts, before = len(earlier), earlier.shape[2]
    own = _by_prompt(_products(q, k).masked_fill(~seen, float("-inf")), prompts)
    pattern = torch.cat([_by_prompt(q, prompts) @ earlier.mT, own], -1).softmax(-1)
    mixed = _by_row(pattern[..., :before] @ values, len(q))
    mine = _by_row(pattern[..., before:], len(q))
    return mixed + (mine * v if v.shape[2] == 1 else mine @ v)


def _products(q: Queries, k: Heads) -> Float[Tensor, "row head query pos"]:
    """Inner products; of single positions without a matrix product for each row, which would cost much more."""
    return (q * k).sum(-1, keepdim=True) if k.shape[2] == 1 else q @ k.mT


def _by_prompt(rows: Float[Tensor, "row head query n"], prompts: int) -> Float[Tensor, "prompt head queries n"]:
    """All queries of a prompt's rows together."""
    return rows.unflatten(0, (prompts, -1)).transpose(1, 2).flatten(2, 3)


def _by_row(joined: Float[Tensor, "prompt head queries n"], rows: int) -> Float[Tensor, "row head query n"]:
    """Each row's queries again."""
    return joined.unflatten(2, (rows // len(joined), -1)).transpose(1, 2).flatten(0, 1)


def _rotated(attn: Any, x: Heads, positions: Int64[Tensor, "pos"]) -> Heads:
    """Rotary embedding at the given positions, by the model's own tables."""
    turned, _ = attn.rotary.apply_rope(x, x, position_ids=positions[None])
    return turned
