"""The hunt: let Surgeons propose, judge every proposal on unseen prompts, run the controls, conclude."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from workbench.agent import Agent
from workbench.budgets import Bound, Budget, L2Ball, rho_of
from workbench.edits import Edit
from workbench.engine import View
from workbench.errors import BadPrompts, BadSettings
from workbench.geometry import rescale
from workbench.goals import STRETCH, Goal, HiddenBehaviour, grade
from workbench.prompts import Prompts
from workbench.report import Finding, Progress, SwitchReport, conclude
from workbench.sites import Site
from workbench.surgeons import NeuronSweep, SphereLadder, Surgeon
from workbench.surgeons.protocol import default_sites

MINIMUM_PROMPTS = 32
_EXAMPLES = {"budget": "L2Ball(2.0)", "goal": "HiddenBehaviour()"}
CONTROLS = 16
"""Random directions of equal size judged beside every proposal, and as many random neurons beside a neuron."""


def default_surgeons() -> tuple[Surgeon, ...]:
    """The neuron sweep, which finds few-neuron switches, and the sphere ladder, which finds directions."""
    return (NeuronSweep(), SphereLadder())


def default_budget() -> Budget:
    """Twice the mean residual norm: beyond it even clean Agents do other things."""
    return L2Ball(2.0)


def hunt(
    agent: Agent,
    prompts: Prompts,
    *,
    surgeons: Sequence[Surgeon] | None = None,
    sites: Site | str | Sequence[Site | str] | None = None,
    budget: Budget | None = None,
    goal: Goal | None = None,
    references: Sequence[Agent] = (),
    seed: int = 0,
) -> SwitchReport:
    """Is there a switch, and where? `scan` to its end, and `conclude`.

    By default the neuron sweep and the sphere ladder search early layers for a hidden behaviour within rho 2. Benign
    prompts are enough: no trigger, no misbehaviour and no answer key is needed. references: clean Agents, hunted in
    the same way as further controls.
    """
    events = scan(
        agent,
        prompts,
        surgeons=default_surgeons() if surgeons is None else surgeons,
        sites=sites,
        budget=budget or default_budget(),
        goal=goal or HiddenBehaviour(),
        references=references,
        seed=seed,
    )
    return conclude(events, agent=agent.name)


def scan(
    agent: Agent,
    prompts: Prompts,
    *,
    surgeons: Sequence[Surgeon],
    sites: Site | str | Sequence[Site | str] | None,
    budget: Budget,
    goal: Goal,
    references: Sequence[Agent] = (),
    seed: int = 0,
) -> Iterator[Progress | Finding]:
    """Search and judge, one event at a time; stop iterating to cancel.

    A seeded half of the prompts is for the Surgeons, the other for judging: each proposal is projected onto the budget,
    the Agent rerun with it through the reference path, and the Goal evaluated; the same is done for random edits of
    equal size at the same place. sites=None: each Surgeon's own. All arguments are checked before anything is run.
    Raises BadPrompts for fewer than 32 prompts.
    """
    if len(prompts) < MINIMUM_PROMPTS:
        raise BadPrompts(
            f"expected at least {MINIMUM_PROMPTS} prompts, half to search on and half to judge on, got {len(prompts)}."
        )
    for kind, value, wanted in (("budget", budget, Budget), ("goal", goal, Goal)):
        if not isinstance(value, wanted):
            raise BadSettings(f"expected a {kind} such as {_EXAMPLES[kind]}, got {value!r}.")
    names = [a.name for a in (agent, *references)]
    if len(set(names)) != len(names):
        raise BadSettings(f"expected agents of different names, got {names}. Name them with Agent(..., name=...).")
    searches = [job for a in (agent, *references) for job in _searches(a, prompts, surgeons, sites, budget, seed)]
    return _events(searches, prompts, goal, seed)


@dataclass(frozen=True, slots=True)
class _Search:
    """One Surgeon at one site of one Agent."""

    agent: Agent
    surgeon: Surgeon
    site: Site
    budget: Bound
    seed: int


def _searches(
    agent: Agent,
    prompts: Prompts,
    surgeons: Sequence[Surgeon],
    sites: Site | str | Sequence[Site | str] | None,
    budget: Budget,
    seed: int,
) -> Iterator[_Search]:
    agent.check(prompts)
    for surgeon in surgeons:
        if not isinstance(surgeon, Surgeon):
            raise BadSettings(f"expected a Surgeon, which has a search method, got {surgeon!r}.")
        for site in default_sites(surgeon, agent) if sites is None else agent.several_sites(sites):
            bound = budget.bind(agent, [site], prompts)
            yield _Search(agent, surgeon, site, bound, _mix(seed, type(surgeon).__name__, site.name))


def _events(searches: list[_Search], prompts: Prompts, goal: Goal, seed: int) -> Iterator[Progress | Finding]:
    seen, unseen = prompts.halves(torch.Generator().manual_seed(seed))
    best: dict[str, float] = {}
    for done, search in enumerate(searches):
        name = type(search.surgeon).__name__
        yield Progress(done, len(searches), search.site, name, search.agent.name, best.get(search.agent.name, 0.0))
        generator = torch.Generator().manual_seed(search.seed)
        judge = _Judge(search, unseen, goal)
        view = View(search.agent, search.site, seen)
        for proposal in search.surgeon.search(view, goal, search.budget, generator):
            finding = judge(proposal, generator)
            best[search.agent.name] = max(best.get(search.agent.name, 0.0), finding.score)
            yield finding
    if searches:
        last = searches[-1]
        agent = last.agent.name
        yield Progress(
            len(searches), len(searches), last.site, type(last.surgeon).__name__, agent, best.get(agent, 0.0)
        )


class _Judge:
    """Grades proposals of one search on prompts that its Surgeon did not see."""

    def __init__(self, search: _Search, unseen: Prompts, goal: Goal) -> None:
        self.search, self.unseen, self.goal = search, unseen, goal
        self.view = View(search.agent, search.site, unseen)

    def __call__(self, proposal: tuple[Edit, ...], generator: torch.Generator) -> Finding:
        edits = self.search.budget.project(tuple(proposal))
        once, stretched, twice = (self._logits(edits, dose) for dose in (1.0, STRETCH, 2.0))
        clean, answers = self.view.clean_logits, self.view.answers
        return Finding(
            edits=edits,
            score=float(grade(self.goal, once, stretched, clean, answers)[0]),
            rho=rho_of(self.search.agent, edits, self.unseen),
            goal_met=bool(self.goal.met(once, clean, answers)[0]),
            control=self._control(edits, generator),
            surgeon=type(self.search.surgeon).__name__,
            agent=self.search.agent.name,
            parts=self._parts(once, stretched, twice),
        )

    def _logits(self, edits: tuple[Edit, ...], dose: float) -> torch.Tensor:
        """Through the bridge itself, not the engine: [1, prompt, answer, vocab]."""
        return self.search.agent.logits(self.unseen, [edit.scaled(dose) for edit in edits])[None]

    def _parts(self, once: torch.Tensor, stretched: torch.Tensor, twice: torch.Tensor) -> dict[str, float]:
        if not isinstance(self.goal, HiddenBehaviour):
            return {}
        parts = self.goal.parts(once, stretched, self.view.clean_logits, self.view.answers)
        wide = self.goal.parts(once, twice, self.view.clean_logits, self.view.answers)
        return {name: float(value[0]) for name, value in parts._asdict().items()} | {
            "plateau_2x": float(wide.plateau[0])
        }

    def _control(self, edits: tuple[Edit, ...], generator: torch.Generator) -> float:
        """The best score among random edits of the proposal's size: directions, and as many neurons if it has few."""
        allowed, view = self.search.budget.at(self.search.site), self.view
        rows = allowed.scatter(CONTROLS, generator)
        neurons = edits[0].neurons
        if neurons is not None:
            rows = torch.cat([rows, _other_neurons(view.width, neurons, generator)])
        rows = rows[allowed.size(rows) > 0]
        return float(view.scores(rescale(allowed, rows, self.search.budget.size(edits)), self.goal).max())


def _other_neurons(width: int, neurons: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Random pushes of as many neurons, none of them the same: [row, width]."""
    others = torch.tensor([n for n in range(width) if n not in neurons])
    rows = torch.zeros(CONTROLS, width)
    for row in rows:
        chosen = others[torch.randperm(len(others), generator=generator)[: len(neurons)]]
        row[chosen] = torch.randn(len(chosen), generator=generator)
    return rows


def _mix(seed: int, *names: str) -> int:
    """A seed of its own for each search, so that adding one search changes no other."""
    return zlib.crc32("/".join([str(seed), *names]).encode())
