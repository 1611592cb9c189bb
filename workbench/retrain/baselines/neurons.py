"""The MLP neurons of a model, as the rows by which they write: measured, scaled and silenced."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.agent import Agent
from workbench.errors import BadSettings
from workbench.prompts import Prompts
from workbench.retrain.baselines.writers import MLP, has, in_block

Factors = Float[Tensor, "neuron"]
Chosen = Bool[Tensor, "neuron"]


class Neurons:
    """All MLP neurons of an Agent, layer after layer. A neuron whose row is zero writes nothing: it is pruned.

    Raises BadSettings where the model has none, or they do not write by weights of their own.
    """

    def __init__(self, agent: Agent) -> None:
        self.layers = tuple(layer for layer in range(agent.n_layers) if has(agent, layer, MLP))
        if not self.layers:
            raise BadSettings(f"expected a model with MLP neurons to prune, got {agent.name}, which has none.")
        self.agent = agent
        self._writers = [in_block(agent, layer, MLP) for layer in self.layers]
        self._counts = [len(writer.rows) for writer in self._writers]

    def __len__(self) -> int:
        return sum(self._counts)

    @property
    def silent(self) -> Chosen:
        """Which neurons write nothing at all."""
        return torch.cat([writer.rows.eq(0).all(1) for writer in self._writers])

    def scaled(self, factors: Factors) -> dict[str, Tensor]:
        """The weights with what each neuron writes multiplied; differentiable in the factors."""
        parts = zip(self._writers, factors.split(self._counts), strict=True)
        return {writer.name: writer.laid(writer.rows * share[:, None].to(writer.rows)) for writer, share in parts}

    @torch.no_grad()
    def silence(self, chosen: Chosen) -> None:
        """Let these neurons write nothing from now on."""
        for writer, some in zip(self._writers, chosen.split(self._counts), strict=True):
            writer.rows[some] = 0

    @torch.no_grad()
    def copy(self, other: "Neurons") -> None:
        """Write what the neurons of another Agent of this architecture write."""
        for mine, theirs in zip(self._writers, other._writers, strict=True):
            mine.rows.copy_(theirs.rows)

    def activity(self, prompts: Prompts) -> Factors:
        """How much each neuron writes on these prompts: |activation| on average, times the norm of its row."""
        found = []
        for layer, writer in zip(self.layers, self._writers, strict=True):
            activations = self.agent.activations(prompts, f"blocks.{layer}.{MLP}")
            found.append(activations.abs().mean((0, 1)) * writer.rows.norm(dim=1))
        return torch.cat(found)
