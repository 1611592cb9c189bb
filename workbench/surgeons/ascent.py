"""Projected gradient ascent inside the budget, from many random starts at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.errors import BadSettings
from workbench.goals import Goal
from workbench.surgeons.ground import Ground, check_counts, check_shares
from workbench.surgeons.steps import RULES, Memory, Rows, StepRule


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectedAscent:
    """Steps uphill on the Goal's loss, each followed by the nearest point of the budget (Madry et al. 2018).

    step: "normalised" (the gradient at length 1), "sign" (its signs) or "adamw". step_size: the length of a move as a
    share of the length of a random vector at the edge. shares: the parts of the budget that are searched, one after the
    other; of each, the best `keep` ends by score are proposed. positional: a vector for each position, each in the
    budget, in place of one vector for all.

    Runs of the Agent, on the Surgeon's prompts: shares x starts x (steps + 2), of which `steps` also back. A saturated
    gate has no slope: pair it with a sweep, `Together((ProjectedAscent(), NeuronSweep()))`.
    """

    step: StepRule = "adamw"
    step_size: float = 0.1
    shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    starts: int = 8
    steps: int = 40
    keep: int = 1
    positional: bool = False

    def __post_init__(self) -> None:
        if self.step not in RULES:
            raise BadSettings(f"expected a step rule among {', '.join(RULES)}, got {self.step!r}.")
        check_shares("shares", self.shares)
        check_counts(starts=self.starts, steps=self.steps, keep=self.keep)
        if not 0 < self.step_size <= 1:
            raise BadSettings(f"expected a step size in (0, 1], a share of the set's reach, got {self.step_size}.")

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        for share in self.shares:
            ground = Ground.of(view, goal, budget, share, self.positional)
            start, reach = ground.starts(self.starts, generator)
            yield from ground.best(self.climb(ground, start, reach), self.keep)

    def climb(self, ground: Ground, x: Rows, reach: float) -> Rows:
        """All starts after `steps` steps, in the set; `reach` is the length that `step_size` is a share of."""
        memory = Memory.empty(x)
        for _ in range(self.steps):
            move, memory = RULES[self.step](x / reach, ground.slopes(x), memory)
            x = ground.project(x + self.step_size * reach * move)
        return x
