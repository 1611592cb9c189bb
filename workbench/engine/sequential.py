"""The fast tier: TransformerLens' native blocks as plain functions.

Work that cannot reach an answer is not done: positions after the last answer and, in the last block, all but keys and
values away from the answers. Work that an edit cannot reach is not done again: attention is causal, so an edit at
position s leaves everything before s as it was, and only keys and values of the clean run are looked up there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

Stream = Float[Tensor, "prompt edit pos d_model"]
Kept = Float[Tensor, "prompt edit kept d_model"]
Write = Float[Tensor, "edit pos d_model"]
Queries = Float[Tensor, "row head query d_head"]
Heads = Float[Tensor, "row kv_head pos d_head"]
KeysValues = tuple[Float[Tensor, "prompt kv_head past d_head"], Float[Tensor, "prompt kv_head past d_head"]]
At = list[int] | slice
WholeBlock = Callable[[Float[Tensor, "row pos d_model"]], Any]


def is_sequential(blocks: Sequence[Any]) -> bool:
    """Whether all are native blocks with plain causal attention, which is what `Sequential` computes."""
    return all(
        type(block).__name__ == "NativeBlock" and block.attn.causal and block.attn.attn_scores_soft_cap <= 0
        for block in blocks
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Where a run begins, and what happens on its way.

    boundary: half-blocks before it; 2i is before block i, 2i + 1 between its attention and its MLP, 2n after the last.
    start: the first position that the stream holds. past: clean keys and values before it, by block. writes: what is
    added to the stream at a boundary; a write with one position is for all of them. whole: blocks that are called
    as they are, hooks and all, in place of their functional form; they need start 0.
    tokens: those whose logits are wanted at each answer; None: all.
    """

    boundary: int
    start: int = 0
    past: Mapping[int, KeysValues] = field(default_factory=dict)
    writes: Mapping[int, Write] = field(default_factory=dict)
    whole: Mapping[int, WholeBlock] = field(default_factory=dict)
    tokens: Int64[Tensor, "prompt answer read"] | None = None


class Sequential:
    """Native blocks, final norm and unembedding, from any boundary to the logits at the answer positions.

    Streams are [prompt, edit, pos, d_model]. Weights are read at every call, so they may change in between.
    """

    def __init__(self, blocks: Sequence[Any], norm: nn.Module, unembed: nn.Linear, positions: Sequence[int]) -> None:
        self.blocks, self.norm, self.unembed = list(blocks), norm, unembed
        self.positions = list(positions)
        self.reach = max(positions) + 1

    def __call__(self, stream: Stream, course: Course) -> Float[Tensor, "prompt edit answer read"]:
        """Logits at the answers from `course.start` on, of a stream at `course.boundary`."""
        read = _consecutive([position - course.start for position in self.positions if position >= course.start])
        x = stream[:, :, : self.reach - course.start]
        first = course.boundary // 2
        for i in range(first, len(self.blocks)):
            x = self._block(i, x, read if i == len(self.blocks) - 1 else None, course)
        if first == len(self.blocks):
            x = x[:, :, read]
        return self._unembed(x, course.tokens)

    def past(self, stream: Stream, boundary: int, until: int) -> dict[int, KeysValues]:
        """Keys and values before position `until` of every block whose attention comes after the boundary."""
        x, found, course = stream[:, :, :until], {}, Course(boundary=boundary)
        for i in range(boundary // 2, len(self.blocks)):
            if 2 * i >= boundary:
                _, *found[i] = _projected(self.blocks[i].attn, self.blocks[i].ln1(x).flatten(0, 1), None, 0)
            x = self._block(i, x, None, course)
        return {i: (keys, values) for i, (keys, values) in found.items()}

    def halfway(self, stream: Stream, block: int) -> Stream:
        """The stream between a block's attention and its MLP, from the stream before it."""
        return self._attend(block, stream, None, Course(boundary=2 * block))

    def _block(self, i: int, x: Stream, at: At | None, course: Course) -> Kept:
        """The stream after block i: at all positions, or `at` some."""
        if i in course.whole:
            x = _at(_first(course.whole[i](x.flatten(0, 1))).unflatten(0, x.shape[:2]), at)
        else:
            x = self._attend(i, x, at, course) if 2 * i >= course.boundary else _at(x, at)
            x = self._feed(i, _plus(x, course.writes.get(2 * i + 1), at))
        return _plus(x, course.writes.get(2 * i + 2), at)

    def _attend(self, i: int, x: Stream, at: At | None, course: Course) -> Kept:
        block = self.blocks[i]
        mixed = _attention(block.attn, block.ln1(x).flatten(0, 1), at, course.start, course.past.get(i))
        return mixed.unflatten(0, x.shape[:2]).add_(_at(x, at))

    def _feed(self, i: int, x: Stream) -> Stream:
        block = self.blocks[i]
        return x if block.cfg.attn_only else _mlp(block.mlp, block.ln2(x)).add_(x)

    def _unembed(self, x: Stream, tokens: Tensor | None) -> Tensor:
        normal = self.norm(x)
        if tokens is None:
            return self.unembed(normal)
        return torch.einsum("pead,pakd->peak", normal, self.unembed.weight[tokens[:, -x.shape[2] :]])


def _consecutive(positions: list[int]) -> At:
    """The same positions as a slice where they can be one: a view needs no copy, and no scatter on the way back."""
    first = positions[0] if positions else 0
    return (
        slice(first, first + len(positions)) if positions == list(range(first, first + len(positions))) else positions
    )


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _at(x: Stream, at: At | None) -> Kept:
    return x if at is None else x[:, :, at]


def _plus(x: Kept, write: Write | None, at: At | None) -> Kept:
    if write is None:
        return x
    return x + (write if at is None or write.shape[1] == 1 else write[:, at])


def _attention(
    attn: Any, x: Float[Tensor, "row pos d_model"], at: At | None, start: int, past: KeysValues | None
) -> Float[Tensor, "row query d_model"]:
    """Causal attention of the queries `at` these positions (None: all) to every position before them."""
    length = x.shape[1]
    q, k, v = (_repeated(t, attn) for t in _projected(attn, x, at, start))
    places = torch.arange(length, device=x.device)
    seen = places[None] <= (places if at is None else places[at])[:, None]
    if past is None:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=1 / attn.scale)
    else:
        mixed = _with_past(q / attn.scale, k, v, (_repeated(past[0], attn), _repeated(past[1], attn)), seen)
    return _linear(attn.o, mixed.transpose(1, 2).flatten(2))


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


def _projected(
    attn: Any, x: Float[Tensor, "row pos d_model"], at: At | None, start: int
) -> tuple[Queries, Heads, Heads]:
    """Queries `at` some positions or at all, keys and values, rotated where the model does so."""
    flat = _linear(attn.q, x if at is None else x[:, at]), _linear(attn.k, x), _linear(attn.v, x)
    q, k, v = (t.unflatten(-1, (-1, attn.d_head)).transpose(1, 2) for t in flat)
    if attn.rotary is None:
        return q, k, v
    places = torch.arange(start, start + x.shape[1], device=x.device)
    return _rotated(attn, q, places if at is None else places[at]), _rotated(attn, k, places), v


def _mlp(mlp: Any, x: Stream) -> Stream:
    if type(mlp).__name__ != "NativeMLP" or mlp.ln is not None:
        return mlp(x)
    return _linear(mlp.fc_out, mlp.act(_linear(mlp.fc_in, x)))


def _linear(layer: nn.Linear, x: Float[Tensor, "*rows given"]) -> Float[Tensor, "*rows made"]:
    """A linear layer. Its bias is added afterwards, in place: with one, a product on a CPU fills its output first."""
    product = F.linear(x, layer.weight)
    return product if layer.bias is None else product.add_(layer.bias)


def _rotated(attn: Any, x: Heads, positions: Int64[Tensor, "pos"]) -> Heads:
    """Rotary embedding at the given positions, by the model's own tables."""
    turned, _ = attn.rotary.apply_rope(x, x, position_ids=positions[None])
    return turned
