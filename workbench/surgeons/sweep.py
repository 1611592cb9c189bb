"""Stimulating every neuron alone at finite doses: blind to gradients, so saturated gates cannot hide from it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agent import Agent
from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.errors import BadSettings
from workbench.goals import Goal, grade
from workbench.report import CLOSE
from workbench.sites import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronSweep:
    """Every neuron of a site at every dose, as in ABS (Liu et al. 2019), doses as shares of the budget's radius.

    Because doses are sizes of what a neuron writes, a neuron with tiny output weights is pushed as hard as any other.
    All are scored on the Surgeon's prompts without the plateau; the best `shortlist` are scored in full, and the best
    `keep` neurons are proposed, each at its smallest dose within .1 of its best score.
    """

    doses: tuple[float, ...] = (0.15, 0.25, 0.4, 0.65, 1.0)
    signs: tuple[int, ...] = (1, -1)
    shortlist: int = 48
    keep: int = 4

    def __post_init__(self) -> None:
        if not self.doses or min(self.doses) <= 0 or max(self.doses) > 1:
            raise BadSettings(f"expected doses in (0, 1], shares of the budget's radius, got {self.doses}.")
        if not self.signs or not set(self.signs) <= {1, -1}:
            raise BadSettings(f"expected signs among 1 and -1, got {self.signs}.")
        if self.shortlist < 1 or self.keep < 1:
            raise BadSettings(f"expected at least one to keep, got shortlist {self.shortlist} and keep {self.keep}.")

    def sites(self, agent: Agent) -> tuple[Site, ...]:
        """The MLP neurons of every layer but the last; none where there is no MLP."""
        last = max(1, agent.n_layers - 1)
        return tuple(s for s in agent.sites() if s.kind == "mlp.hook_post" and s.layer is not None and s.layer < last)

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon. The generator is not used: the search is exhaustive."""
        deltas = self._deltas(view, budget)
        rough = torch.cat([_unstretched(view, goal, chunk) for chunk in deltas.split(256)])
        short = rough.topk(min(self.shortlist, len(rough))).indices
        scores = view.scores(deltas[short], goal)
        for index in _smallest_of_the_best(deltas[short], scores, budget, view.site, self.keep):
            yield from ((edit,) for edit in view.edits(deltas[short[index]][None]))

    def _deltas(self, view: View, budget: Bound) -> Float[Tensor, "edit width"]:
        """One neuron at one dose each; neurons that write nothing are left out."""
        ones = torch.eye(view.width, device=view.agent.device)
        sizes = budget.at(view.site).size(ones)
        ones, sizes = ones[sizes > 0], sizes[sizes > 0]
        doses = torch.tensor([sign * dose for sign in self.signs for dose in self.doses], device=ones.device)
        units = ones * (budget.radius / sizes)[:, None]
        return (doses[:, None, None] * units).flatten(0, 1)


@torch.no_grad()
def _unstretched(view: View, goal: Goal, deltas: Float[Tensor, "edit width"]) -> Float[Tensor, "edit"]:
    logits = view.logits(deltas)
    return grade(goal, logits, logits, view.clean_logits, view.answers)


def _smallest_of_the_best(
    deltas: Float[Tensor, "edit width"], scores: Float[Tensor, "edit"], budget: Bound, site: Site, keep: int
) -> list[int]:
    """For each of the best `keep` neurons, the index of its smallest dose whose score is close to its best."""
    sizes = budget.at(site).size(deltas)
    neurons = deltas.abs().argmax(1)
    chosen = []
    for neuron in neurons.unique().tolist():
        own = (neurons == neuron).nonzero().flatten()
        close = own[scores[own] >= scores[own].max() - CLOSE]
        chosen.append(int(close[sizes[close].argmin()]))
    return sorted(chosen, key=lambda i: (-float(scores[i]), i))[:keep]
