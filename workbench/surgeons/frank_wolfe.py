"""Frank-Wolfe: steps towards the furthest point of the budget, without projections and without a step size."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.goals import Goal
from workbench.surgeons.ground import Ground, check_counts, check_shares
from workbench.surgeons.steps import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class FrankWolfe:
    """Step t goes 2 / (t + 2) of the way to the point of the budget that is furthest uphill (Frank & Wolfe 1956).

    Every end is a mixture of at most `steps` such points (Jaggi 2013), so that an edit in an L1 ball, whose furthest
    points are single neurons, touches at most `steps` of them. The first step goes all the way, so a random start
    decides only where the first gradient is taken. Mixtures leave a set that is not convex, such as one of sparse
    edits; then its member nearest to the end is proposed. shares, keep and positional are as in ProjectedAscent. It
    climbs on the first `prompts` of the Surgeon's prompts and scores on all of them.

    Runs of the Agent: shares x starts x (steps + 2), of which `steps` also back. Where the loss has no slope it
    proposes nothing: pair it with a sweep, `Together((FrankWolfe(), NeuronSweep()))`.
    """

    shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    starts: int = 8
    steps: int = 20
    keep: int = 1
    positional: bool = False
    prompts: int = 24

    def __post_init__(self) -> None:
        check_shares("shares", self.shares)
        check_counts(starts=self.starts, steps=self.steps, keep=self.keep, prompts=self.prompts)

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        for share in self.shares:
            ground = Ground.of(view.on_first(self.prompts), goal, budget, share, self.positional)
            start, _ = ground.starts(self.starts, generator)
            ends = ground.project(self.climb(ground, start))
            yield from Ground.of(view, goal, budget, share, self.positional).best(ends, self.keep)

    def climb(self, ground: Ground, x: Rows) -> Rows:
        """All starts after `steps` steps; in the set if it is convex."""
        for step in range(self.steps):
            part = 2 / (step + 2)
            x = (1 - part) * x + part * ground.extreme(ground.slopes(x))
        return x
