"""The fast tier: TransformerLens' native blocks as plain functions.

Work that cannot reach an answer is not done: positions after the last answer and, in the last block, all but keys and
values away from the answers. Work that an edit cannot reach is not done again: attention is causal, so an edit at
position s leaves everything before s as it was, and only keys and values of the clean run are looked up there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from workbench.engine.attention import At, KeysValues, attention, linear, projected

Stream = Float[Tensor, "prompt edit pos d_model"]
Kept = Float[Tensor, "prompt edit kept d_model"]
Write = Float[Tensor, "edit pos d_model"]
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
                _, *found[i] = projected(self.blocks[i].attn, self.blocks[i].ln1(x).flatten(0, 1))
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
        mixed = attention(block.attn, block.ln1(x).flatten(0, 1), at, course.start, course.past.get(i))
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


def _mlp(mlp: Any, x: Stream) -> Stream:
    if type(mlp).__name__ != "NativeMLP" or mlp.ln is not None:
        return mlp(x)
    return linear(mlp.fc_out, mlp.act(linear(mlp.fc_in, x)))
