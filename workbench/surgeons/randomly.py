"""Random directions of one size: what a Surgeon must beat."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.errors import BadSettings
from workbench.geometry import on_device, rescale
from workbench.goals import Goal


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomDirections:
    """`count` isotropic directions at `share` of the budget's radius; the best `keep` by score are proposed."""

    count: int = 200
    share: float = 0.5
    keep: int = 4

    def __post_init__(self) -> None:
        if self.count < 1 or self.keep < 1:
            raise BadSettings(f"expected at least one direction, got count {self.count} and keep {self.keep}.")
        if not 0 < self.share <= 1:
            raise BadSettings(f"expected a share of the budget's radius in (0, 1], got {self.share}.")

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        allowed = on_device(budget.at(view.site), view.agent.device)
        start = allowed.scatter(self.count, generator).to(view.agent.device)
        deltas = rescale(allowed, start, self.share * budget.radius)
        scores = view.scores(deltas, goal)
        for index in scores.topk(min(self.keep, len(scores))).indices.tolist():
            yield from ((edit,) for edit in view.edits(deltas[index : index + 1]))
