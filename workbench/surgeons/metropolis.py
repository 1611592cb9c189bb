"""Metropolis-Hastings over edits of a few neurons, many chains at once, with restarts and falling temperature."""

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
from workbench.geometry import SetOfRows, on_device
from workbench.goals import Goal
from workbench.sites import Site
from workbench.surgeons.chains import Slots, walk
from workbench.surgeons.ground import check_counts
from workbench.surgeons.stimulation import early_neurons, full_doses


@dataclass(frozen=True, slots=True, kw_only=True)
class Metropolis:
    """Chains over universal edits of at most `neurons` neurons, whose doses are shares of the budget's radius.

    They climb the Goal's score (without the plateau) minus `price` times the size as a share of the radius, at
    temperatures that fall from `hot` to `cold` by a constant factor. Edits outside the budget are refused. All chains
    start afresh `restarts` times. spread: standard deviation of a change of dose. The best `keep` of different neurons,
    scored in full, are proposed.

    Runs of the Agent, on the Surgeon's prompts: (1 + restarts) x chains x (steps + 3), of which 2 score a chain's best.
    """

    neurons: int = 3
    chains: int = 16
    steps: int = 40
    restarts: int = 2
    hot: float = 0.1
    cold: float = 0.005
    price: float = 0.02
    spread: float = 0.25
    keep: int = 4

    def __post_init__(self) -> None:
        check_counts(neurons=self.neurons, chains=self.chains, steps=self.steps, keep=self.keep)
        if self.restarts < 0:
            raise BadSettings(f"expected no restarts or some, got {self.restarts}.")
        if not 0 < self.cold <= self.hot:
            raise BadSettings(f"expected temperatures that fall, 0 < cold <= hot, got {self.cold} and {self.hot}.")
        if self.price < 0 or self.spread <= 0:
            raise BadSettings(f"expected price >= 0 and spread > 0, got {self.price} and {self.spread}.")

    def sites(self, agent: Agent) -> tuple[Site, ...]:
        """The MLP neurons of every layer but the last; none where there is no MLP."""
        return early_neurons(agent)

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        task = _Task.of(view, goal, on_device(budget.at(view.site), view.agent.device), self.price)
        if not len(task.doses):
            return
        rounds = [self._round(task, generator) for _ in range(1 + self.restarts)]
        deltas = torch.cat(rounds)
        values = task.objective(deltas, stretch=True)
        for index in _of_different_neurons(deltas, values)[: self.keep]:
            yield from ((edit,) for edit in view.edits(deltas[index][None]))

    def temperatures(self) -> list[float]:
        """One for each step."""
        fall = (self.cold / self.hot) ** (1 / max(1, self.steps - 1))
        return [self.hot * fall**step for step in range(self.steps)]

    def _round(self, task: "_Task", generator: torch.Generator) -> Float[Tensor, "chain width"]:
        """The best state that each chain came through, as an edit."""
        state = Slots.of_one_neuron(self.chains, self.neurons, len(task.doses), generator)
        best, most = state, torch.full((self.chains,), float("-inf"))
        steps = walk(state, lambda s: task.objective(task.deltas(s)), self.temperatures(), self.spread, generator)
        for state, value in steps:
            best, most = best.where(value > most, state), torch.maximum(most, value)
        return task.deltas(best)


@dataclass(frozen=True, slots=True)
class _Task:
    """What is climbed: the neurons that write something, their full doses, and the objective of an edit."""

    view: View
    goal: Goal
    allowed: SetOfRows
    price: float
    members: Tensor
    doses: Tensor

    @classmethod
    def of(cls, view: View, goal: Goal, allowed: SetOfRows, price: float) -> "_Task":
        full = full_doses(view, allowed)
        members = (full > 0).nonzero().flatten()
        return cls(view, goal, allowed, price, members, full[members])

    def deltas(self, state: Slots) -> Float[Tensor, "chain width"]:
        """States as edits."""
        doses = state.shares().to(self.doses) * self.doses
        return doses.new_zeros(len(doses), self.view.width).index_copy(1, self.members, doses)

    def objective(self, deltas: Float[Tensor, "chain width"], stretch: bool = False) -> Float[Tensor, "chain"]:
        """The score minus the price of the size, minus infinity outside the budget; on the CPU, as all chance is."""
        sizes = self.allowed.size(deltas)
        value = self.view.scores(deltas, self.goal, stretch=stretch) - self.price * sizes / self.allowed.radius
        return torch.where(sizes <= self.allowed.radius, value, value.new_tensor(float("-inf"))).cpu()


def _of_different_neurons(deltas: Float[Tensor, "edit width"], values: Float[Tensor, "edit"]) -> list[int]:
    """The best edit of each set of neurons, best first, without those that change nothing or are not allowed."""
    seen: dict[tuple[int, ...], int] = {}
    for index in values.argsort(descending=True, stable=True).tolist():
        neurons = tuple(deltas[index].nonzero().flatten().tolist())
        if neurons and values[index].isfinite():
            seen.setdefault(neurons, index)
    return list(seen.values())
