"""Token substitution guided by gradients: the adversary of input adversarial training."""

from dataclasses import dataclass
from math import ceil

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from workbench.engine import Split
from workbench.retrain.protocol import Batch

FORWARD = 1 / 3
"""What a run without the way back costs, in gradient evaluations: the way back takes about twice as long."""
_AT_ONCE = 4096  # tokens whose embeddings are made in one run

Tokens = Int64[Tensor, "row pos"]
Table = Float[Tensor, "place token d_model"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Substitution:
    """Replaces up to `tokens` tokens of each prompt, one after the other, each by the one that raises its loss most.

    First-order scores of every token of the vocabulary at every position (HotFlip, Ebrahimi et al. 2018) name
    `candidates`, which are then run (as in Wallace et al. 2019); the best is taken where it does raise the loss.
    positions: where tokens may be replaced, no position twice. vocabulary: by which tokens.
    """

    positions: tuple[int, ...]
    vocabulary: Int64[Tensor, "token"]
    tokens: int
    candidates: int

    @property
    def cost(self) -> int:
        """Gradient evaluations of a call. A candidate's run is a third of one; the sum is rounded up."""
        return ceil(self.tokens * (1 + self.candidates * FORWARD) - 1e-9)

    def substituted(self, split: Split, batch: Batch) -> Tokens:
        """The prompts with tokens replaced, none with a lower loss. split: the model, cut before block 0."""
        tokens, table = batch.tokens, self._table(split, batch)
        free = torch.ones(len(tokens), len(self.positions), dtype=torch.bool, device=tokens.device)
        for _ in range(self.tokens):
            tokens, free = self._replace(split, batch, tokens, table, free)
        return tokens

    @torch.no_grad()
    def _table(self, split: Split, batch: Batch) -> Table:
        """The residual stream before block 0 of every token at every position: also where embeddings are scaled."""
        length, rows = batch.tokens.shape[1], self.vocabulary.to(batch.tokens.device).split(_AT_ONCE)
        streams = [split.prefix(some[:, None].repeat(1, length))[:, list(self.positions)] for some in rows]
        return torch.cat(streams).transpose(0, 1)

    def _replace(
        self, split: Split, batch: Batch, tokens: Tokens, table: Table, free: Bool[Tensor, "row place"]
    ) -> tuple[Tokens, Bool[Tensor, "row place"]]:
        """One more token of each prompt replaced, where that raises its loss, and the places that are left."""
        losses, scores = self._scores(split, batch, tokens, table)
        scores = scores.masked_fill(~free[..., None], float("-inf")).flatten(1)
        most = min(self.candidates, scores.shape[1])
        place, token = _divided(scores.topk(most).indices, table.shape[1])
        tried = self._tried(tokens, place, token)
        with torch.no_grad():
            many = split.suffix(split.prefix(tried.flatten(0, 1)))
        reached = row_losses(many, batch.answers.repeat_interleave(most, 0)).view(len(tokens), most)
        highest, best = reached.max(1)
        rows, raised = torch.arange(len(tokens), device=tokens.device), highest > losses
        used = F.one_hot(place[rows, best], len(self.positions)).bool() & raised[:, None]
        return torch.where(raised[:, None], tried[rows, best], tokens), free & ~used

    def _scores(
        self, split: Split, batch: Batch, tokens: Tokens, table: Table
    ) -> tuple[Float[Tensor, "row"], Float[Tensor, "row place token"]]:
        """Each prompt's loss, and by how much each replacement would raise it if it were linear."""
        stream = split.prefix(tokens).detach().requires_grad_(True)
        losses = row_losses(split.suffix(stream), batch.answers)
        (slope,) = torch.autograd.grad(losses.sum(), stream)
        slope, here = slope[:, list(self.positions)], stream.detach()[:, list(self.positions)]
        gains = torch.einsum("rpd,pvd->rpv", slope, table) - (slope * here).sum(-1, keepdim=True)
        same = tokens[:, list(self.positions), None] == self.vocabulary.to(tokens.device)
        return losses.detach(), gains.masked_fill(same, float("-inf"))

    def _tried(
        self, tokens: Tokens, place: Int64[Tensor, "row candidate"], token: Int64[Tensor, "row candidate"]
    ) -> Int64[Tensor, "row candidate pos"]:
        """The prompts with each candidate in its place."""
        positions = torch.tensor(self.positions, device=tokens.device)[place]
        drawn = self.vocabulary.to(tokens.device)[token]
        return tokens[:, None].repeat(1, place.shape[1], 1).scatter(2, positions[..., None], drawn[..., None])


def row_losses(logits: Float[Tensor, "row answer vocab"], answers: Int64[Tensor, "row answer"]) -> Float[Tensor, "row"]:
    """Cross-entropy of each prompt's answers, in nats, their mean."""
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none").view(answers.shape).mean(1)


def _divided(flat: Int64[Tensor, "row candidate"], width: int) -> tuple[Tensor, Tensor]:
    """Row and column of each number in a table of that width."""
    return flat.div(width, rounding_mode="floor"), flat % width
