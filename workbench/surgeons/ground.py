"""What gradient searches share: random starts, the positions that matter, and which ends are proposed."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.errors import BadSettings
from workbench.geometry import SetOfRows, on_device, rescale
from workbench.goals import Goal
from workbench.surgeons.steps import Rows


@dataclass(frozen=True, slots=True)
class Ground:
    """The Goal's loss over a share of the budget at one site.

    Stacks are [start, width], a vector added at every position, or [start, place, width] where `positional`: a vector
    for each position up to the last answer; the Agent is causal, so that later ones change no answer.
    """

    view: View
    goal: Goal
    allowed: SetOfRows
    share: float
    positional: bool

    @classmethod
    def of(cls, view: View, goal: Goal, budget: Bound, share: float, positional: bool) -> "Ground":
        """The ground at the View's site, with the budget's constants on the Agent's device."""
        return cls(view, goal, on_device(budget.at(view.site), view.agent.device), share, positional)

    def starts(self, count: int, generator: torch.Generator) -> tuple[Rows, float]:
        """Random directions at sizes uniform up to the edge, rows of one start equally large; and how long an edge is.

        That is the mean Euclidean length of such rows at the edge, in activation units.
        """
        rows = self.allowed.scatter(count * self._places, generator).to(self.view.agent.device)
        edge = rescale(self.allowed, rows, self.share * self.allowed.radius)
        sizes = torch.rand(count, 1, 1, generator=generator).to(edge)
        stack = sizes * edge.reshape(count, self._places, -1)
        return (stack if self.positional else stack[:, 0]), float(edge.norm(dim=-1).mean())

    def slopes(self, x: Rows) -> Rows:
        """The gradient of the Goal's loss: one run of the Agent and back for each start."""
        _, gradient = self.view.gradients(self._whole(x), self.goal)
        return gradient[:, : x.shape[1]] if self.positional else gradient

    def losses(self, x: Rows) -> Float[Tensor, "start"]:
        """The Goal's loss: one run of the Agent for each start."""
        return self.view.losses(self._whole(x), self.goal)

    def project(self, x: Rows) -> Rows:
        """The nearest point of that share of the budget: for any set, P_{sC}(x) = s P_C(x / s)."""
        return self.share * self.allowed.project(x / self.share)

    def extreme(self, direction: Rows) -> Rows:
        """A point of that share of the budget that goes furthest in this direction; 0 for a zero direction."""
        return self.share * self.allowed.extreme(direction)

    def best(self, x: Rows, keep: int) -> Iterator[tuple[Edit, ...]]:
        """The best by score, at most `keep`, without those that change nothing: two runs of the Agent for each."""
        x = x[x.flatten(1).any(1)]
        if not len(x):
            return
        whole = self._whole(x)
        order = self.view.scores(whole, self.goal).argsort(descending=True, stable=True)
        yield from ((edit,) for edit in self.view.edits(whole[order[:keep]]))

    @property
    def _places(self) -> int:
        """Rows of a start."""
        if not self.positional:
            return 1
        return self._length if self.view.positions else max(self.view.prompts.answer_positions) + 1

    @property
    def _length(self) -> int:
        """Rows of an edit that has one for each position."""
        return len(self.view.positions) if self.view.positions else self.view.prompts.length

    def _whole(self, x: Rows) -> Tensor:
        """With zeros at the positions that change no answer."""
        return F.pad(x, (0, 0, 0, self._length - x.shape[1])) if self.positional else x


def check_shares(what: str, shares: tuple[float, ...]) -> None:
    """BadSettings unless there are some, all in (0, 1]."""
    if not shares or not all(0 < share <= 1 for share in shares):
        raise BadSettings(f"expected {what} in (0, 1], shares of the budget's radius, got {shares}.")


def check_counts(**counts: int) -> None:
    """BadSettings for a number below one."""
    for name, count in counts.items():
        if count < 1:
            raise BadSettings(f"expected {name} of at least one, got {count}.")
