"""Projected gradient ascent of one edit for each prompt: what latent adversarial training trains against."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.budgets import Bound
from workbench.engine.each import Each, Own
from workbench.errors import BadSettings
from workbench.goals import Goal
from workbench.surgeons.ground import check_counts
from workbench.surgeons.room import Room
from workbench.surgeons.steps import RULES, Memory, StepRule


@dataclass(frozen=True, slots=True, kw_only=True)
class PerPromptAscent:
    """Steps uphill on the Goal's loss of each prompt alone, a vector for each position, inside the budget.

    The inner loop of LAT (Madry et al. 2018, in latent space; Casper et al. 2024), within a Budget in place of a share
    of each position's own norm. A prompt's edit depends on no other prompt. A Goal that compares prompts sees one at a
    time, so that of `HiddenBehaviour` only log(1 - p(benign)) is left. step: as in ProjectedAscent, row by row.
    step_size: the length of a move as a share of the length of a random row at the edge. starts: random ones, at
    lengths uniform up to the edge; of each prompt's ends the one of largest loss is taken.

    Runs of the Agent, on all prompts: starts x (steps + 1), of which `steps` also back.
    """

    step: StepRule = "normalised"
    step_size: float = 0.25
    steps: int = 16
    starts: int = 1

    learns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.step not in RULES:
            raise BadSettings(f"expected a step rule among {', '.join(RULES)}, got {self.step!r}.")
        check_counts(steps=self.steps, starts=self.starts)
        if not 0 < self.step_size <= 1:
            raise BadSettings(f"expected a step size in (0, 1], a share of the set's reach, got {self.step_size}.")

    def edits(
        self, attacked: Each, seen: Each, goal: Goal, budget: Bound, generator: torch.Generator
    ) -> Float[Tensor, "prompt place width"]:
        """See Attacker."""
        room = Room.of(attacked, budget)
        shape = (self.starts, len(attacked.prompts), len(attacked.places))
        edge = room.project(room.directions(*shape, generator=generator))
        sizes = torch.rand(*shape, 1, generator=generator).to(edge)
        ends = self.climb(attacked, goal, room, sizes * edge, float(edge.norm(dim=-1).mean()))
        best = attacked.losses(ends, goal).argmax(0)
        return ends[best, torch.arange(len(best), device=best.device)]

    def climb(self, attacked: Each, goal: Goal, room: Room, x: Own, reach: float) -> Own:
        """All starts after `steps` steps, in the room; `reach` is the length that `step_size` is a share of."""
        memory = Memory.empty(x)
        for _ in range(self.steps):
            _, slope = attacked.gradients_alone(x, goal)
            move, memory = RULES[self.step](x / reach, slope, memory)
            x = room.project(x + self.step_size * reach * move)
        return x
