"""Stimulating every neuron alone at finite doses: blind to gradients, so saturated gates cannot hide from it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.agent import Agent
from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View, over_singles, single, slopes, strongest
from workbench.engine.neurons import Doses, Neurons
from workbench.errors import BadSettings
from workbench.geometry import on_device
from workbench.goals import Goal
from workbench.report import CLOSE
from workbench.sites import Site
from workbench.surgeons.stimulation import early_neurons, full_doses


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronSweep:
    """Every neuron of a site at every dose, as in ABS (Liu et al. 2019), doses as shares of the budget's radius.

    Because doses are sizes of what a neuron writes, a neuron with tiny output weights is pushed as hard as any other.
    All are scored on the first `glance` of the Surgeon's prompts and the better quarter of them on the first `prompts`,
    both without the plateau (successive halving, Karnin et al. 2013); the best `shortlist` are scored in full on all,
    and the best neurons are proposed, each at its smallest dose within .1 of its best score. `keep` are proposed in
    all; where that is more than one, the neuron that is best at a glance comes first, long before the others. In a
    layer of more than twice `soon` neurons, which takes long to look at, it is the best of the first `soon`.
    screen: for wide models, the share of neurons to look at, chosen by the slope of the Goal's loss, which a switch
    behind a saturated gate escapes.
    """

    doses: tuple[float, ...] = (0.15, 0.25, 0.4, 0.65, 1.0)
    signs: tuple[int, ...] = (1, -1)
    shortlist: int = 24
    keep: int = 3
    screen: float | None = None
    prompts: int = 12
    glance: int = 4
    soon: int = 64

    def __post_init__(self) -> None:
        if not self.doses or min(self.doses) <= 0 or max(self.doses) > 1:
            raise BadSettings(f"expected doses in (0, 1], shares of the budget's radius, got {self.doses}.")
        if not self.signs or not set(self.signs) <= {1, -1}:
            raise BadSettings(f"expected signs among 1 and -1, got {self.signs}.")
        if self.shortlist < 1 or self.keep < 1:
            raise BadSettings(f"expected at least one to keep, got shortlist {self.shortlist} and keep {self.keep}.")
        if self.prompts < 1 or self.glance < 1:
            got = f"prompts {self.prompts} and glance {self.glance}"
            raise BadSettings(f"expected at least one prompt to sweep on, got {got}.")
        if self.soon < 1:
            raise BadSettings(f"expected at least one neuron from which the first comes, got soon {self.soon}.")
        if self.screen is not None and not (isinstance(self.screen, int | float) and 0 < self.screen <= 1):
            raise BadSettings(f"expected the share of neurons to screen in (0, 1] or None, got {self.screen!r}.")

    def sites(self, agent: Agent) -> tuple[Site, ...]:
        """The MLP neurons of every layer but the last; none where there is no MLP."""
        return early_neurons(agent)

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon. The generator is not used: the search is exhaustive, or screened."""
        neurons, doses = self._pairs(view, goal, budget)
        if not len(neurons):
            return
        quick, early = view.on_first(self.glance), self._early(neurons)
        scores, rest = torch.empty_like(doses), torch.ones_like(early)
        scores[early] = self._rough(quick, goal, neurons[early], doses[early])
        if self.keep > 1:
            rest = neurons != neurons[early][scores[early].argmax()]
            yield from self._proposed(view, goal, budget, neurons[~rest], doses[~rest], 1)
        if not early.all():
            scores[~early] = self._rough(quick, goal, neurons[~early], doses[~early])
        neurons, doses, scores = neurons[rest], doses[rest], scores[rest]
        if not len(neurons):
            return
        better = scores.topk(min(max(self.shortlist, len(neurons) // 4), len(neurons))).indices
        neurons, doses = neurons[better], doses[better]
        scores = self._rough(view.on_first(self.prompts), goal, neurons, doses)
        short = scores.topk(min(self.shortlist, len(neurons))).indices
        yield from self._proposed(view, goal, budget, neurons[short], doses[short], max(1, self.keep - 1))

    def _early(self, neurons: Neurons) -> Bool[Tensor, "edit"]:
        """Which edits are looked at before the first proposal."""
        known = neurons.unique()
        return torch.isin(neurons, known[: self.soon] if len(known) > 2 * self.soon else known)

    def _proposed(
        self, view: View, goal: Goal, budget: Bound, neurons: Neurons, doses: Doses, keep: int
    ) -> Iterator[tuple[Edit, ...]]:
        """The best `keep` neurons of these edits, scored in full."""
        deltas = single(neurons, doses, view.width)
        for index in _smallest_of_the_best(deltas, view.scores(deltas, goal), budget, view.site, keep):
            yield from ((edit,) for edit in view.edits(deltas[index][None]))

    def _rough(self, view: View, goal: Goal, neurons: Neurons, doses: Doses) -> Float[Tensor, "edit"]:
        """Scores of one-neuron edits on the View's prompts, without the plateau."""
        return over_singles(neurons, doses, view.width, lambda deltas: view.scores(deltas, goal, stretch=False))

    def _pairs(self, view: View, goal: Goal, budget: Bound) -> tuple[Neurons, Doses]:
        """One neuron and one dose each, dose after dose; neurons that write nothing are left out."""
        units = full_doses(view, on_device(budget.at(view.site), view.agent.device))
        neurons = (units > 0).nonzero().flatten()
        if self.screen is not None and len(neurons):
            neurons = neurons[strongest((slopes(view, goal) * units)[neurons], self.screen)]
        shares = torch.tensor([sign * dose for sign in self.signs for dose in self.doses], device=units.device)
        return neurons.repeat(len(shares)), (shares[:, None] * units[neurons]).flatten()


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
