"""Frank-Wolfe: steps towards the furthest point of the budget, without projections and without a step size."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.errors import BadSettings
from workbench.goals import Goal
from workbench.surgeons.ground import Ground, check_counts, check_shares
from workbench.surgeons.steps import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class FrankWolfe:
    """Step t goes 2 / (t + 2) of the way to the point of the budget that is furthest uphill (Frank & Wolfe 1956).

    Every end is a mixture of at most `steps` such points (Jaggi 2013), so that an edit in an L1 ball, whose furthest
    points are single neurons, touches at most `steps` of them. The first step goes all the way, so a random start
    decides only where the first gradient is taken. Where a switch is a direction few starts see it, but those lead
    after two or three steps: so `tried` starts take `trial` steps on half of the prompts, and the best `starts` by the
    Goal's loss go on (successive halving, Karnin et al. 2013, in one round). Mixtures leave a set that is not convex,
    such as one of sparse edits; then its member nearest to the end is proposed. shares, keep and positional are as in
    ProjectedAscent. It climbs on the first `prompts` of the Surgeon's prompts and scores on all of them.

    Runs of the Agent: shares x (tried x (trial + 1) + starts x (steps - trial + 2)), all but the scoring also back.
    Where the loss has no slope it proposes nothing: pair it with a sweep, `Together((FrankWolfe(), NeuronSweep()))`.
    """

    shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    tried: int = 32
    trial: int = 3
    starts: int = 6
    steps: int = 16
    keep: int = 1
    positional: bool = False
    prompts: int = 24

    def __post_init__(self) -> None:
        check_shares("shares", self.shares)
        check_counts(starts=self.starts, steps=self.steps, keep=self.keep, prompts=self.prompts, trial=self.trial)
        if self.tried < self.starts:
            raise BadSettings(f"expected at least as many starts tried as go on, {self.starts}, got {self.tried}.")

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        climbed = view.on_first(self.prompts)
        rehearsed = view.on_first(max(1, self.prompts // 2))
        for share in self.shares:
            on = [Ground.of(each, goal, budget, share, self.positional) for each in (rehearsed, climbed, view)]
            start, _ = on[0].starts(self.tried, generator)
            ends = on[1].project(self.climb(on[1], self.leading(on[0], start), self._trial))
            yield from on[2].best(ends, self.keep)

    def leading(self, ground: Ground, x: Rows) -> Float[Tensor, "leading *place width"]:
        """The starts that go on, after their trial."""
        x = self._steps(ground, x, range(self._trial))
        return x[ground.losses(x).topk(min(self.starts, len(x))).indices]

    def climb(self, ground: Ground, x: Rows, first: int = 0) -> Rows:
        """All starts after the steps from `first` on; in the set if it is convex."""
        return self._steps(ground, x, range(first, self.steps))

    @property
    def _trial(self) -> int:
        return min(self.trial, self.steps)

    def _steps(self, ground: Ground, x: Rows, numbers: range) -> Rows:
        for number in numbers:
            part = 2 / (number + 2)
            x = (1 - part) * x + part * ground.extreme(ground.slopes(x))
        return x
