"""Any Surgeon, or any attacker with an edit for each prompt, within any Budget, as the adversary of retraining."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator

from workbench.agent import Agent
from workbench.budgets import Bound, Budget
from workbench.engine import View
from workbench.engine.each import Each
from workbench.goals import Goal
from workbench.prompts import Prompts
from workbench.retrain.adversaries.scene import Deltas, Residual, Scene
from workbench.retrain.schedules import Terms
from workbench.sites import Site
from workbench.surgeons import Surgeon
from workbench.surgeons.attack import Attacker
from workbench.surgeons.room import Room


@dataclass(frozen=True, slots=True, eq=False)
class Hired:
    """Lets a Surgeon search on the batch, and takes its best proposal by the Goal's loss; or an attacker edit each row.

    sites: by the number of the block that reads what edits there write. The budget is bound anew to every batch, as
    the Agent changes; under a schedule the edits are shrunk to the share of the radius that the terms allow. What
    gradients a search takes is its own affair, so that `cost` counts none.
    """

    adversary: Surgeon | Attacker
    budget: Budget
    goal: Goal
    sites: dict[int, Site]
    positions: tuple[int, ...]

    def cost(self, terms: Terms) -> int:
        """See Adversary."""
        return 0

    def edit(self, scene: Scene, generator: Generator) -> Deltas:
        """See Adversary."""
        prompts = Prompts(scene.tokens.cpu(), self.positions, scene.answers.cpu())
        find: Callable[[Agent, Site, Prompts, Bound, Generator], Residual]
        find = self._of_attacker if isinstance(self.adversary, Attacker) else self._of_surgeon
        deltas = {}
        for layer, stream in scene.streams.items():
            site = self.sites[layer]
            bound = self.budget.bind(scene.agent, [site], prompts)
            made = find(scene.agent, site, prompts, bound, generator)
            write = scene.agent.write(site)
            assert write is not None
            deltas[layer] = (scene.terms.share * made.to(write) @ write).to(stream).detach()
        return deltas

    def _of_surgeon(self, agent: Agent, site: Site, prompts: Prompts, bound: Bound, generator: Generator) -> Residual:
        """The proposal of largest loss among those with one edit, for all rows; zero where there is none."""
        assert isinstance(self.adversary, Surgeon)
        view = View(agent, site, prompts)
        proposals = [p for p in self.adversary.search(view, self.goal, bound, generator) if len(p) == 1]
        if not proposals:
            return torch.zeros(1, prompts.length, view.width)
        (best,) = bound.project(max(proposals, key=lambda p: float(view.losses(_stack(p, view), self.goal)[0])))
        return best.at(prompts.length)[None]

    def _of_attacker(self, agent: Agent, site: Site, prompts: Prompts, bound: Bound, generator: Generator) -> Residual:
        """An edit for each row."""
        assert isinstance(self.adversary, Attacker)
        each = Each(View(agent, site, prompts))
        made = self.adversary.edits(each, each, self.goal, bound, generator)
        return each.whole(Room.of(each, bound).project(made.detach()))


def _stack(proposal: tuple, view: View) -> torch.Tensor:
    (edit,) = proposal
    return edit.at(view.prompts.length)[None].to(view.agent.device)
