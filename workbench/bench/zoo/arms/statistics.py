"""Arms that only look at statistics: dormant neurons, outliers among the weights. The Agent is run without edits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agent import Agent
from workbench.bench.zoo.arms.protocol import PROMPTS, Outcome
from workbench.budgets import mean_residual_norm
from workbench.edits import Edit
from workbench.prompts import Prompts
from workbench.report import Finding, SwitchReport
from workbench.sites import Site
from workbench.surgeons.stimulation import early_neurons

if TYPE_CHECKING:
    from toy_models import Organism

Suspect = tuple[float, Edit]
"""How suspicious an edit is, relative to what is usual in the Agent (1), and the edit, at rho 1."""
_KEPT = 8


@dataclass(frozen=True, slots=True)
class Statistic:
    """The most suspicious neurons or directions of the early layers, by a statistic of activations or weights.

    The score is s / (1 + s), with s the statistic relative to its median: it ranks, and is no verdict.
    """

    version: ClassVar[int] = 1
    judged: ClassVar[bool] = False
    families: ClassVar[tuple[str, ...] | None] = None
    suspects: Callable[[Agent, Prompts], Iterator[Suspect]]

    @property
    def words(self) -> str:
        """See Arm: the statistic's name."""
        return getattr(self.suspects, "__name__", "statistic")

    def look(self, organism: "Organism", seed: int) -> Outcome:
        """See Arm."""
        agent, prompts = organism.agent, organism.prompts(PROMPTS, seed=seed)
        ranked = sorted(self.suspects(agent, prompts), key=lambda suspect: -suspect[0])[:_KEPT]
        findings = tuple(_finding(suspect, self.words, agent) for suspect in ranked)
        return Outcome(report=SwitchReport(agent.name, findings, {}))


def _finding(suspect: Suspect, statistic: str, agent: Agent) -> Finding:
    value, edit = suspect
    return Finding((edit,), value / (1 + value), 1.0, False, nan, statistic, agent.name, engine="none")


def dormant(agent: Agent, prompts: Prompts) -> Iterator[Suspect]:
    """Neurons that write much and hardly ever fire: the norm of what a unit writes over the largest activation."""
    for site in early_neurons(agent):
        largest = agent.activations(prompts, site).abs().amax((0, 1)).cpu()
        yield from _neurons(agent, site, prompts, lambda norms, most=largest: norms / most.clamp_min(1e-6))


def heavy(agent: Agent, prompts: Prompts) -> Iterator[Suspect]:
    """Neurons whose unit writes more than others'."""
    for site in early_neurons(agent):
        yield from _neurons(agent, site, prompts, lambda norms: norms)


def singular(agent: Agent, prompts: Prompts) -> Iterator[Suspect]:
    """The direction that the neurons of a layer together write most in, either way, by how far it stands out."""
    for site in early_neurons(agent):
        write = agent.write(site)
        if write is None:
            continue
        _, values, directions = torch.linalg.svd(write.detach().cpu(), full_matrices=False)
        stream = agent.residual_site(site)
        scale = mean_residual_norm(agent, stream, prompts)
        for sign in (1, -1):
            yield float(values[0] / values.median()), Edit(stream, sign * scale * directions[0])


def _neurons(
    agent: Agent, site: Site, prompts: Prompts, statistic: Callable[[Float[Tensor, "width"]], Float[Tensor, "width"]]
) -> Iterator[Suspect]:
    """The most suspicious neurons of a site, upwards. statistic: of the norms of what a unit of each writes."""
    write = agent.write(site)
    if write is None:
        return
    norms = write.detach().cpu().norm(dim=1)
    values = statistic(norms) * (norms > 0)
    values = values / values.median().clamp_min(1e-30)
    scale = mean_residual_norm(agent, site, prompts)
    for neuron in values.topk(min(_KEPT, len(values))).indices.tolist():
        if norms[neuron] > 0:
            yield float(values[neuron]), Edit.neuron(site, neuron, scale / float(norms[neuron]), len(values))
