"""The scene of one attack: a batch, cut where its latent state is edited, and what the adversary wants of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Generator, Tensor

from workbench.agent import Agent
from workbench.engine import Split
from workbench.retrain.schedules import Terms

Residual = Float[Tensor, "row pos d_model"]
Delta = Float[Tensor, "#row #pos d_model"]
Deltas = Mapping[int, Delta]
"""What is added to the residual stream before a block, by the block's number; broadcast over rows or positions."""
Answers = Int64[Tensor, "row answer"]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What an adversary sees in one step: input, latent state and output, as Jermyn 2022 asks.

    split: the Agent, cut before the first block whose input is edited. streams: the residual stream before each of
    those blocks, unedited and without a graph. objective: from logits [row, answer, vocab] to what the adversary
    raises. terms: its share of the radius and its compute.
    """

    agent: Agent
    split: Split
    tokens: Int64[Tensor, "row pos"]
    answers: Answers
    streams: Mapping[int, Residual]
    objective: Callable[[Float[Tensor, "row answer vocab"]], Float[Tensor, ""]]
    terms: Terms

    def logits(self, deltas: Deltas) -> Float[Tensor, "row answer vocab"]:
        """Logits at the answers under edits, differentiable in them."""
        first, *later = sorted(self.streams)
        stream = self.streams[first]
        writes = {layer: deltas[layer].expand_as(stream) for layer in later}
        return self.split.suffix(stream + deltas[first], writes)


@runtime_checkable
class Adversary(Protocol):
    """Makes the edits of one step."""

    def cost(self, terms: Terms) -> int:
        """Gradient evaluations of a call on those terms."""
        ...

    def edit(self, scene: Scene, generator: Generator) -> Deltas:
        """An edit for each row, or one for all, at every block of the scene; without a graph."""
        ...
