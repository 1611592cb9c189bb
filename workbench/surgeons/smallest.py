"""The smallest sufficient edit: proposals of another Surgeon, stripped of what they can do without."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log

import torch
from torch import Tensor

from workbench.agent import Agent
from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.errors import BadSettings
from workbench.goals import Goal
from workbench.sites import Site
from workbench.surgeons.ground import Ground, check_counts
from workbench.surgeons.protocol import Surgeon, default_sites

_Edits = tuple[Edit, ...]
_MOVE = 0.3  # the length of a move, as a share of the way to the edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Smallest:
    """Each proposal of `surgeon` with fewer neurons and at a smaller dose, as long as it does as well.

    A proposal is first projected onto the budget, as the judge would. An edit is sufficient if its score on the
    Surgeon's prompts is at least `share` of the best along the proposal's ray. Whole Edits and neurons are dropped, one
    at a time, the least needed first; then the dose is lowered; and so on until neither is possible. What is proposed
    is sufficient, but not without any one of its neurons (within the budget), and not at (1 - tolerance) of its dose.
    Doses go down to `floor` of the proposal's. Since a switch may work in a band of doses only, `looks` doses are tried
    first, and the bisection goes on below the lowest that works. Neurons are dropped from edits of at most a quarter of
    the width. A proposal without any score is handed on as it came.

    A vector that is added at every position and has no few neurons is then turned: it is taken a `tolerance` in, moved
    uphill for `moves` steps within what is left, and so on as long as it is sufficient again, at most `turns` times.
    The smallest edit that throws a switch lies along the switch's own direction, the proposal only near it.

    Runs of the Agent, on the Surgeon's prompts: those of `surgeon`, and for each proposal 2 x (looks + 1) to begin
    with, 2 x k to drop one of k neurons, and 2 x (looks + 1 + b) to lower the dose, where b is at most log2 of the
    steps of `tolerance` between two looks, rounded up (3 by default). For a direction, 4 x (looks + 1) + 2 x b, and
    moves + 4 for each turn, the moves also back; after the last, 2 x (looks + 1 + b) again.
    """

    surgeon: Surgeon
    share: float = 0.9
    tolerance: float = 0.05
    floor: float = 0.01
    looks: int = 16
    turns: int = 12
    moves: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.surgeon, Surgeon) or isinstance(self.surgeon, type):
            raise BadSettings(f"expected a Surgeon such as NeuronSweep() to propose, got {self.surgeon!r}.")
        for name, number in (("share", self.share), ("tolerance", self.tolerance), ("floor", self.floor)):
            if not 0 < number <= 1 or (name != "share" and number == 1):
                raise BadSettings(f"expected a {name} between 0 and 1, got {number}.")
        check_counts(looks=self.looks, moves=self.moves)
        if self.turns < 0:
            raise BadSettings(f"expected a number of turns, 0 for none, got {self.turns}.")

    def sites(self, agent: Agent) -> tuple[Site, ...]:
        """Where `surgeon` searches."""
        return default_sites(self.surgeon, agent)

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[_Edits]:
        """See Surgeon."""
        for proposal in self.surgeon.search(view, goal, budget, generator):
            yield self.stripped(view, goal, budget, proposal)

    def stripped(self, view: View, goal: Goal, budget: Bound, proposal: _Edits) -> _Edits:
        """A proposal without what it does not need; only projected where it has no score."""
        trial, edits = _Trial.of(view, goal, budget, proposal), budget.project(proposal)
        ladder = [_scaled(edits, self.factor(step)) for step in self._ladder()]
        scores = trial.scores(ladder)
        if scores.max() <= 0:
            return edits
        enough = self.share * float(scores.max())
        start = edits if scores[0] >= enough else ladder[int(scores.argmax())]
        edits = self._lowered(trial, _without_surplus(trial, start, enough), enough)
        while (fewer := _without_surplus(trial, edits, enough)) != edits:
            edits = self._lowered(trial, fewer, enough)
        return self._turned(trial, edits, enough) if _is_direction(edits) else edits

    def _turned(self, trial: "_Trial", edits: _Edits, enough: float) -> _Edits:
        """The edit as it is after the last turn that leaves it sufficient."""
        (edit,), budget = edits, trial.budget
        for _ in range(self.turns):
            share = self.factor(1) * budget.size((edit,)) / budget.radius
            ground = Ground.of(trial.view, trial.goal, budget, share, positional=False)
            straight = x = ground.project(edit.delta[None].to(trial.view.clean_logits))
            for _ in range(self.moves):
                x = ground.project(x + _MOVE * ground.extreme(ground.slopes(x)))
            smaller = list(trial.view.edits(torch.cat([x, straight])))
            scores = trial.scores([(one,) for one in smaller])
            if scores.max() < enough:
                return (edit,)
            edit = smaller[int(scores.argmax())]
        return self._lowered(trial, (edit,), enough)

    def _lowered(self, trial: "_Trial", edits: _Edits, enough: float) -> _Edits:
        """The edits at the lowest dose that is sufficient, by looks at some doses and bisection between two of them."""
        ladder = self._ladder()
        works = trial.scores([_scaled(edits, self.factor(step)) for step in ladder]) >= enough
        last = int(works.nonzero().max()) if works.any() else 0
        low, high = ladder[last], (*ladder, ladder[-1] + 1)[last + 1]
        while high - low > 1:
            middle = (low + high) // 2
            still = bool(trial.scores([_scaled(edits, self.factor(middle))]) >= enough)
            low, high = (middle, high) if still else (low, middle)
        return _scaled(edits, self.factor(low))

    def factor(self, step: int) -> float:
        """The dose after so many steps down, as a share of the proposal's."""
        return (1 - self.tolerance) ** step

    def _ladder(self) -> list[int]:
        """The steps that are looked at, from the proposal's own dose down to the floor."""
        lowest = ceil(log(self.floor) / log(1 - self.tolerance))
        return sorted({round(lowest * look / self.looks) for look in range(self.looks + 1)})


@dataclass(frozen=True, slots=True)
class _Trial:
    """Where proposals are tried: the Agent at all of their sites, with the Surgeon's prompts."""

    view: View
    goal: Goal
    budget: Bound

    @classmethod
    def of(cls, view: View, goal: Goal, budget: Bound, edits: _Edits) -> "_Trial":
        """At the View's own site where that is the only one."""
        sites = tuple(dict.fromkeys(view.agent.site(edit.site) for edit in edits))
        own = sites == view.sites and view.positions is None
        return cls(view if own else view.at(*sites), goal, budget)

    def scores(self, candidates: Sequence[_Edits]) -> Tensor:
        """The Goal's score of each; two runs of the Agent for each."""
        return self.view.scores(self.view.stack(candidates), self.goal).cpu()

    def allows(self, edits: _Edits) -> bool:
        """Whether edits lie in the budget: dropping neurons can make what is written larger."""
        return self.budget.size(edits) <= self.budget.radius


def _without_surplus(trial: _Trial, edits: _Edits, enough: float) -> _Edits:
    """The edits after dropping, one at a time, the part without which the score is highest, while it is enough."""
    while candidates := [fewer for fewer in _with_one_part_less(edits) if trial.allows(fewer)]:
        scores = trial.scores(candidates)
        if scores.max() < enough:
            break
        edits = candidates[int(scores.argmax())]
    return edits


def _with_one_part_less(edits: _Edits) -> Iterator[_Edits]:
    """Without one neuron of an Edit of few, or without one whole Edit of several; never without everything."""
    for place, edit in enumerate(edits):
        others = edits[:place] + edits[place + 1 :]
        if others:
            yield others
        for neuron in edit.neurons or ():
            delta = edit.delta.clone()
            delta[..., neuron] = 0
            if delta.any():
                yield (*edits[:place], Edit(edit.site, delta, edit.positions), *edits[place + 1 :])


def _is_direction(edits: _Edits) -> bool:
    """Whether they are one vector for every position, of more than a few neurons."""
    return len(edits) == 1 and edits[0].neurons is None and edits[0].positions is None and edits[0].delta.ndim == 1


def _scaled(edits: _Edits, factor: float) -> _Edits:
    return tuple(edit.scaled(factor) for edit in edits)
