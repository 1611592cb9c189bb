"""Gradient ascent of one vector on spheres of growing size, from many random starts at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.errors import BadSettings
from workbench.geometry import SetOfRows, on_device, rescale
from workbench.goals import Goal


@dataclass(frozen=True, slots=True, kw_only=True)
class SphereLadder:
    """Adam on the Goal's loss, one universal vector a start, kept on a sphere; one rung for each size.

    rungs: sizes as shares of the budget's radius. Small spheres are where switches that work only near natural
    activations are found, large ones where a trained-in tolerance to small pushes has flattened the landscape. On each
    rung the best of `starts` by score is proposed. It climbs on the first `prompts` of the Surgeon's prompts and
    scores on all of them.
    """

    rungs: tuple[float, ...] = (0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
    starts: int = 8
    steps: int = 40
    step_size: float = 0.2
    prompts: int = 24

    def __post_init__(self) -> None:
        if not self.rungs or min(self.rungs) <= 0 or max(self.rungs) > 1:
            raise BadSettings(f"expected rungs in (0, 1], shares of the budget's radius, got {self.rungs}.")
        if self.starts < 1 or self.steps < 1:
            raise BadSettings(f"expected at least one start and one step, got {self.starts} and {self.steps}.")
        if self.prompts < 1:
            raise BadSettings(f"expected at least one prompt to climb on, got {self.prompts}.")
        if not 0 < self.step_size <= 1:
            raise BadSettings(f"expected a step size in (0, 1], a share of the sphere's radius, got {self.step_size}.")

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        allowed = on_device(budget.at(view.site), view.agent.device)
        climbed = view.on_first(self.prompts)
        for rung in self.rungs:
            start = allowed.scatter(self.starts, generator).to(view.agent.device)
            found = self._ascend(climbed, goal, allowed, start, rung * budget.radius)
            best = int(view.scores(found, goal).argmax())
            yield from ((edit,) for edit in view.edits(found[best : best + 1]))

    def _ascend(
        self, view: View, goal: Goal, allowed: SetOfRows, start: Float[Tensor, "start width"], size: float
    ) -> Float[Tensor, "start width"]:
        """All starts after `steps` steps of Adam (betas .9, .999) that move by `step_size` of the radius."""
        x = rescale(allowed, start, size)
        pace = self.step_size * x.norm(dim=-1).mean() / x.shape[-1] ** 0.5
        first, second = torch.zeros_like(x), torch.zeros_like(x)
        for step in range(1, self.steps + 1):
            _, gradient = view.gradients(x, goal)
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient.square()
            move = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-12)
            x = rescale(allowed, x + pace * move, size)
        return x
