"""Greedy stimulation: a set of neurons that throws the switch together, grown by one neuron at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from workbench.agent import Agent
from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View, over_singles, single
from workbench.errors import BadSettings
from workbench.geometry import SetOfRows, on_device, rescale
from workbench.goals import Goal
from workbench.report import CLOSE
from workbench.sites import Site
from workbench.surgeons.ground import check_counts, check_shares
from workbench.surgeons.stimulation import early_neurons, full_doses

_Deltas = Float[Tensor, "edit width"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyStimulation:
    """Forward selection of up to `neurons` neurons, for switches that are spread over several; one universal edit.

    All members of a set are pushed equally hard, by the size of what each writes, up or down, and the whole set is
    tried at each of `sizes`, shares of the budget's radius. Each round adds the neuron with which the score (without
    the plateau) is largest; while no candidate has any, the one with which the Goal's loss is. The best `starts`
    neurons are grown into a set each, which is proposed at the smallest number of neurons within .1 of its best score.

    Runs of the Agent, on the Surgeon's prompts, at a site of n neurons that write, with c = signs x sizes candidates
    for each neuron: c n + starts x c x sum of (n - r) for r from 1 to neurons - 1, and 2 x starts x neurons for the
    sets. A round without any score is run twice, for its losses.
    """

    neurons: int = 4
    sizes: tuple[float, ...] = (0.25, 0.5, 1.0)
    signs: tuple[int, ...] = (1, -1)
    starts: int = 2

    def __post_init__(self) -> None:
        check_counts(neurons=self.neurons, starts=self.starts)
        check_shares("sizes", self.sizes)
        if not self.signs or not set(self.signs) <= {1, -1}:
            raise BadSettings(f"expected signs among 1 and -1, got {self.signs}.")

    def sites(self, agent: Agent) -> tuple[Site, ...]:
        """The MLP neurons of every layer but the last; none where there is no MLP."""
        return early_neurons(agent)

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon. The generator is not used."""
        allowed = on_device(budget.at(view.site), view.agent.device)
        task = _Selection(view, goal, allowed, full_doses(view, allowed), self.sizes, self.signs)
        for first in task.grown(torch.zeros_like(task.full), self.starts):
            sets = [first]
            while len(sets) < self.neurons and (more := task.grown(sets[-1].pushes, 1)):
                sets.extend(more)
            yield from ((edit,) for edit in view.edits(self._smallest(view, goal, sets)))

    @staticmethod
    def _smallest(view: View, goal: Goal, sets: list["_Set"]) -> _Deltas:
        """The first of these growing sets whose score is close to the best, as a stack of one."""
        deltas = torch.stack([each.delta for each in sets])
        scores = view.scores(deltas, goal)
        index = int((scores >= scores.max() - CLOSE).nonzero()[0])
        return deltas[index : index + 1]


class _Set(NamedTuple):
    """Neurons pushed together: each at its full dose, up or down, and all of them at the size that does best."""

    pushes: Float[Tensor, "width"]
    delta: Float[Tensor, "width"]


@dataclass(frozen=True, slots=True)
class _Selection:
    """One round of forward selection: every neuron that is not in the set yet, each way, at each size."""

    view: View
    goal: Goal
    allowed: SetOfRows
    full: Float[Tensor, "width"]
    sizes: tuple[float, ...]
    signs: tuple[int, ...]

    def grown(self, pushes: Float[Tensor, "width"], count: int) -> list[_Set]:
        """The set with one more neuron: the best `count` of them, each at its best sign and size; none without room."""
        free = self._free(pushes)
        if not len(free):
            return []
        values, ways = self._values(pushes, free).flatten(0, 1).max(0)
        grown = []
        for index in values.topk(min(count, len(free))).indices.tolist():
            size, sign = divmod(int(ways[index]), len(self.signs))
            more = pushes + single(free[index, None], self.signs[sign] * self.full[free[index, None]], len(pushes))[0]
            grown.append(_Set(more, self._at(more[None], self.sizes[size])[0]))
        return grown

    def _free(self, pushes: Float[Tensor, "width"]) -> Int64[Tensor, "free"]:
        """The neurons that write something, are not in the set, and may be in it together with its members."""
        other = ((self.full > 0) & (pushes == 0)).nonzero().flatten()
        if not len(other):
            return other
        sizes = over_singles(other, self.full[other], len(pushes), lambda deltas: self.allowed.size(pushes + deltas))
        return other[sizes.isfinite()]

    def _values(self, pushes: Float[Tensor, "width"], free: Int64[Tensor, "free"]) -> Float[Tensor, "size sign free"]:
        """The score of every candidate, or its loss if none has a score."""

        def over(answer: Callable[[_Deltas], Tensor]) -> Tensor:
            ways = [(size, sign) for size in self.sizes for sign in self.signs]
            each = [
                over_singles(
                    free, sign * self.full[free], len(pushes), lambda d, s=size: answer(self._at(pushes + d, s))
                )
                for size, sign in ways
            ]
            return torch.stack(each).reshape(len(self.sizes), len(self.signs), -1)

        scores = over(lambda deltas: self.view.scores(deltas, self.goal, stretch=False))
        return scores if scores.any() else over(lambda deltas: self.view.losses(deltas, self.goal))

    def _at(self, pushes: _Deltas, share: float) -> _Deltas:
        """These pushes at a share of the budget's radius."""
        return rescale(self.allowed, pushes, share * self.allowed.radius)
