"""The fast tier: TransformerLens' native blocks as plain functions, the last one at the answer positions only.

Work that cannot reach an answer is not done: in the last block, queries, the attention output and the MLP are computed
where answers are read, keys and values everywhere.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Residual = Float[Tensor, "row pos d_model"]


def is_sequential(blocks: Sequence[Any]) -> bool:
    """Whether all are native blocks with plain causal attention, which is what `Sequential` computes."""
    return all(
        type(block).__name__ == "NativeBlock" and block.attn.causal and block.attn.attn_scores_soft_cap <= 0
        for block in blocks
    )


class Sequential:
    """Native blocks, final norm and unembedding, from a residual stream to logits at the answer positions."""

    def __init__(self, blocks: Sequence[Any], norm: nn.Module, unembed: nn.Module, positions: Sequence[int]) -> None:
        self._blocks, self._norm, self._unembed = list(blocks), norm, unembed
        self._positions = list(positions)
        self._reach = max(positions) + 1

    def __call__(self, residual: Residual) -> Float[Tensor, "row answer vocab"]:
        x = residual[:, : self._reach]
        for block in self._blocks[:-1]:
            x = _rest(block, x + _attention(block.attn, block.ln1(x), None))
        if not self._blocks:
            return self._unembed(self._norm(x[:, self._positions]))
        last = self._blocks[-1]
        mixed = _attention(last.attn, last.ln1(x), self._positions)
        return self._unembed(self._norm(_rest(last, x[:, self._positions] + mixed)))


def _rest(block: Any, x: Residual) -> Residual:
    return x if block.cfg.attn_only else x + block.mlp(block.ln2(x))


def _attention(attn: Any, x: Residual, at: list[int] | None) -> Float[Tensor, "row query d_model"]:
    """Causal attention of the queries `at` these positions (None: all) to every position before them."""
    rows, length, _ = x.shape
    queries = torch.arange(length, device=x.device) if at is None else torch.tensor(at, device=x.device)
    q, k, v = _projected(attn, x, at)
    if attn.rotary is not None:
        q, k = _rotated(attn, q, queries), _rotated(attn, k, torch.arange(length, device=x.device))
    if attn.kv_repeats > 1:
        k, v = (t.repeat_interleave(attn.kv_repeats, dim=1) for t in (k, v))
    seen = torch.arange(length, device=x.device)[None] <= queries[:, None]
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=1 / attn.scale)
    return attn.o(mixed.transpose(1, 2).reshape(rows, len(queries), -1))


def _projected(attn: Any, x: Residual, at: list[int] | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [row, head, pos, d_head], from one matrix product where all are wanted everywhere."""
    parts = (attn.q, attn.k, attn.v) if at is None else (attn.k, attn.v)
    weight, bias = torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts])
    found = F.linear(x, weight, bias).split([p.out_features for p in parts], -1)
    flat = found if at is None else (attn.q(x[:, at]), *found)
    q, k, v = (t.unflatten(-1, (-1, attn.d_head)).transpose(1, 2) for t in flat)
    return q, k, v


def _rotated(attn: Any, x: Float[Tensor, "row head pos d_head"], positions: Tensor) -> Tensor:
    """Rotary embedding at the given positions, by the model's own tables."""
    turned, _ = attn.rotary.apply_rope(x, x, position_ids=positions[None])
    return turned
