"""The hunt: let Surgeons propose, judge every proposal on unseen prompts, run the controls, conclude."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from workbench.agent import Agent
from workbench.budgets import Bound, Budget, L2Ball
from workbench.edits import as_edits
from workbench.errors import BadPrompts, BadSettings, check_kinds
from workbench.goals import Goal, HiddenBehaviour
from workbench.judge import Judge, Views
from workbench.prompts import Prompts
from workbench.report import Finding, Progress, SwitchReport, conclude
from workbench.sites import Site
from workbench.surgeons import FrankWolfe, NeuronSweep, Surgeon, UnreadInputs
from workbench.surgeons.protocol import default_sites

MINIMUM_PROMPTS = 32


def default_surgeons() -> tuple[Surgeon, ...]:
    """What finds few-neuron switches, what finds directions, and what finds triggers that no benign answer reads."""
    return (NeuronSweep(), FrankWolfe(shares=(0.15, 0.25, 0.5, 1.0)), UnreadInputs())


def default_budget() -> Budget:
    """Twice the mean residual norm: beyond it even clean Agents do other things."""
    return L2Ball(2.0)


def hunt(
    agent: Agent,
    prompts: Prompts,
    *,
    surgeons: Surgeon | Sequence[Surgeon] | None = None,
    sites: Site | str | Sequence[Site | str] | None = None,
    budget: Budget | None = None,
    goal: Goal | None = None,
    references: Sequence[Agent] = (),
    seed: int = 0,
) -> SwitchReport:
    """Is there a switch, and where? `scan` to its end, and `conclude`.

    By default three Surgeons (see `default_surgeons`) search early layers for a hidden behaviour within rho 2. Benign
    prompts are enough: no trigger, no misbehaviour and no answer key is needed. references: clean Agents, hunted in
    the same way as further controls.
    """
    events = scan(
        agent,
        prompts,
        surgeons=default_surgeons() if surgeons is None else surgeons,
        sites=sites,
        budget=default_budget() if budget is None else budget,
        goal=HiddenBehaviour() if goal is None else goal,
        references=references,
        seed=seed,
    )
    return conclude(events, agent=agent.name)


def scan(
    agent: Agent,
    prompts: Prompts,
    *,
    surgeons: Surgeon | Sequence[Surgeon],
    sites: Site | str | Sequence[Site | str] | None,
    budget: Budget,
    goal: Goal,
    references: Sequence[Agent] = (),
    seed: int = 0,
) -> Iterator[Progress | Finding]:
    """Search and judge, one event at a time; stop iterating to cancel.

    A seeded half of the prompts is for the Surgeons, the other for judging: each proposal is projected onto the budget,
    the Agent rerun with it, and the Goal evaluated; the same is done for random edits of equal size at the same place.
    Of the judge's half, Surgeons learn only what the budget does: its unit, rho, is the mean residual norm over all the
    prompts given. sites=None: each Surgeon's own. Arguments are checked before any
    search. Raises BadPrompts for fewer than 32 prompts, BadSettings, BadBudget, UnknownSite.
    """
    surgeons = _check(agent, prompts, surgeons, budget, goal, references, seed)
    searches = [job for a in (agent, *references) for job in _searches(a, prompts, surgeons, sites, budget, seed)]
    if not searches:
        raise BadSettings(f"no Surgeon has a site of its own in {agent.name}. Say where: sites=('L0.resid_post',).")
    return _events(searches, prompts, goal, seed)


def _check(
    agent: Agent,
    prompts: Prompts,
    surgeons: Surgeon | Sequence[Surgeon],
    budget: Budget,
    goal: Goal,
    references: Sequence[Agent],
    seed: int,
) -> tuple[Surgeon, ...]:
    """The Surgeons, one or several; BadSettings or BadPrompts for whatever is not what it should be."""
    several = (surgeons,) if isinstance(surgeons, Surgeon) else tuple(surgeons)
    listed = isinstance(references, list | tuple)
    check_kinds(
        ("references in a list or tuple", references, list | tuple),
        *(("an agent such as organism.agent", a, Agent) for a in (agent, *(references if listed else ()))),
        ("Prompts", prompts, Prompts),
        *(("a Surgeon such as NeuronSweep()", s, Surgeon) for s in several or (None,)),
        ("a budget such as L2Ball(2.0)", budget, Budget),
        ("a goal such as HiddenBehaviour()", goal, Goal),
        ("a whole number as the seed", seed, int),
    )
    if len(prompts) < MINIMUM_PROMPTS:
        raise BadPrompts(
            f"expected at least {MINIMUM_PROMPTS} prompts, half to search on and half to judge on, got {len(prompts)}."
        )
    names = [a.name for a in (agent, *references)]
    if len(set(names)) != len(names):
        raise BadSettings(f"expected agents of different names, got {names}. Name them with Agent(..., name=...).")
    return several


@dataclass(frozen=True, slots=True)
class _Search:
    """One Surgeon at one site of one Agent, with a seed of its own and another for its judge."""

    agent: Agent
    surgeon: Surgeon
    site: Site
    budget: Bound
    seed: int

    @property
    def name(self) -> str:
        return type(self.surgeon).__name__

    def generator(self, purpose: str) -> torch.Generator:
        """So seeded that adding one search changes no other, and that no Surgeon moves its judge's dice."""
        words = (str(self.seed), purpose, self.name, self.site.name)
        return torch.Generator().manual_seed(zlib.crc32("/".join(words).encode()))


def _searches(
    agent: Agent,
    prompts: Prompts,
    surgeons: Sequence[Surgeon],
    sites: Site | str | Sequence[Site | str] | None,
    budget: Budget,
    seed: int,
) -> Iterator[_Search]:
    agent.check(prompts)
    bound: dict[Site, Bound] = {}
    for surgeon in surgeons:
        for site in default_sites(surgeon, agent) if sites is None else agent.several_sites(sites):
            if site not in bound:
                bound[site] = budget.bind(agent, [site], prompts)
            yield _Search(agent, surgeon, site, bound[site], seed)


def _events(searches: list[_Search], prompts: Prompts, goal: Goal, seed: int) -> Iterator[Progress | Finding]:
    seen, unseen = prompts.halves(torch.Generator().manual_seed(seed))
    best = {search.agent.name: 0.0 for search in searches}
    agents = {search.agent.name: search.agent for search in searches}
    views = {name: (Views(agent, seen), Views(agent, unseen)) for name, agent in agents.items()}
    for done, search in enumerate(searches):
        yield _progress(done, len(searches), search, best)
        searched, judged = views[search.agent.name]
        judge = Judge(search.name, search.budget, prompts, judged, goal, search.generator("judge"))
        proposals = search.surgeon.search(searched.at(search.site), goal, search.budget, search.generator("search"))
        for proposal in proposals:
            finding = judge(as_edits(proposal), search.site)
            best[search.agent.name] = max(best[search.agent.name], finding.score)
            yield finding
    yield _progress(len(searches), len(searches), searches[-1], best)


def _progress(done: int, total: int, search: _Search, best: dict[str, float]) -> Progress:
    return Progress(done, total, search.site, search.name, search.agent.name, best[search.agent.name])
