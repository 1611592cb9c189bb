"""Edits where benign answers read nothing: a hidden input shows itself at positions that should not matter."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.agent import Agent
from workbench.budgets import Bound
from workbench.edits import Edit
from workbench.engine import View
from workbench.errors import BadSettings
from workbench.goals import Goal
from workbench.prompts import Prompts
from workbench.report import CLOSE
from workbench.sites import Site
from workbench.surgeons.frank_wolfe import FrankWolfe
from workbench.surgeons.ground import Ground, check_counts, check_shares

_PLACES = ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post")
_DRAWS = 3  # other prompts whose token is tried at each position


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadInputs:
    """Frank-Wolfe over one vector for each position whose tokens vary and change no answer of the prompts given.

    A benign answer does not depend on such a position, so that a clean Agent has no reason to obey an edit there; an
    Agent with a trigger in the prompt must read it somewhere. Of the best of `starts` at each share of the budget's
    radius only the positions that it needs are proposed, which hints at where the trigger stands. tolerance: the share
    of answers that may change where a position counts as unread. It climbs on the first `prompts` of the Surgeon's
    prompts. Runs of the Agent: shares x starts x (steps + 4), and a few to find and to leave out positions.

    Proposes nothing where every position that varies is read. Misses triggers at positions that benign answers read,
    and those behind a gate so shut that it has no slope, as a comparator's is; the neuron sweep finds the latter.
    """

    shares: tuple[float, ...] = (0.5, 1.0)
    starts: int = 4
    steps: int = 16
    prompts: int = 24
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        check_shares("shares", self.shares)
        check_counts(starts=self.starts, steps=self.steps, prompts=self.prompts)
        if not 0 <= self.tolerance < 1:
            raise BadSettings(f"expected a tolerance in [0, 1), a share of the answers, got {self.tolerance}.")

    def sites(self, agent: Agent) -> tuple[Site, ...]:
        """The embedding, where a position holds its own token and nothing else, and the stream after layer 0."""
        known = {site.name for site in agent.sites()}
        return tuple(agent.site(name) for name in _PLACES if name in known)

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        places = unread(view.agent, view.prompts, self.tolerance)
        if not places:
            return
        whole = view.at(view.site, positions=places)
        climber = FrankWolfe(steps=self.steps, positional=True)
        for share in self.shares:
            ground = Ground.of(whole.on_first(self.prompts), goal, budget, share, True)
            start, _ = ground.starts(self.starts, generator)
            ends = ground.project(climber.climb(ground, start))
            best = ends[int(whole.scores(ends, goal).argmax())]
            yield (_needed(whole, best, goal),)


def unread(agent: Agent, prompts: Prompts, tolerance: float = 0.01) -> tuple[int, ...]:
    """Positions before the first answer at which another prompt's token changes at most that share of the answers.

    Those at which all prompts have the same token are left out: nothing can be said of them.
    """
    said = agent.logits(prompts).argmax(-1)
    first = min(prompts.answer_positions)
    varied = [p for p in range(first) if prompts.tokens[:, p].unique().numel() > 1]
    return tuple(p for p in varied if _changed(agent, prompts, p, said) <= tolerance)


def _changed(agent: Agent, prompts: Prompts, position: int, said: Tensor) -> float:
    """The largest share of answers that change when each prompt has another's token there."""
    shifts = [1 + draw * (len(prompts) - 1) // _DRAWS for draw in range(_DRAWS)]
    shares = []
    for shift in shifts:
        tokens = prompts.tokens.clone()
        tokens[:, position] = tokens[:, position].roll(shift)
        answers = agent.logits(replace(prompts, tokens=tokens)).argmax(-1)
        shares.append(float((answers != said).float().mean()))
    return max(shares)


def _needed(view: View, delta: Float[Tensor, "place width"], goal: Goal) -> Edit:
    """The edit without the positions that add nothing, the smallest first, each left out for good if it can be."""
    least = float(view.scores(delta[None], goal)[0]) - CLOSE
    kept = list(delta.norm(dim=1).argsort().tolist())
    for place in list(kept):
        rest = delta.clone()
        rest[place] = 0
        if len(kept) > 1 and float(view.scores(rest[None], goal)[0]) >= least:
            delta = rest
            kept.remove(place)
    assert view.positions is not None
    kept.sort()
    return Edit(view.site, delta[kept].cpu(), tuple(view.positions[place] for place in kept))
