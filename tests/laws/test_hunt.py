"""Laws of the hunt: the door grades on unseen prompts, edits stay in their budget, a seed means one report."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.toys import VOCAB, edit_at, hooks_on, noise, quiet, some_prompts, toy
from workbench import (
    Agent,
    Edit,
    Finding,
    HiddenBehaviour,
    L1Ball,
    L2Ball,
    LInfBall,
    NeuronSweep,
    Progress,
    Prompts,
    RandomDirections,
    Site,
    SphereLadder,
    SwitchReport,
    Target,
    UntargetedLoss,
    conclude,
    hunt,
    scan,
)
from workbench.budgets import Bound, rho_of
from workbench.engine import View
from workbench.engine.sequential import Sequential
from workbench.goals import STRETCH, Goal

pytestmark = quiet
COUNT = 40
SMALL = (
    NeuronSweep(doses=(0.3, 1.0), shortlist=6, keep=2),
    SphereLadder(rungs=(0.5, 1.0), starts=2, steps=3),
    RandomDirections(count=6, keep=2),
)


@dataclass(frozen=True)
class Spy:
    """A Surgeon that notes what it is shown and proposes random edits, far too large."""

    shown: list[Prompts] = field(default_factory=list)
    proposals: tuple[tuple[Edit, ...], ...] | None = None
    fails: bool = False

    def sites(self, agent: Agent) -> tuple[Site, ...]:
        """See Surgeon."""
        return (agent.site("L1.resid_post"),)

    def search(self, view: View, goal: Goal, budget: Bound, generator: torch.Generator) -> Iterator[tuple[Edit, ...]]:
        """See Surgeon."""
        self.shown.append(view.prompts)
        if self.fails:
            raise RuntimeError("the surgeon slipped")
        random = ((Edit(view.site, 100 * torch.randn(view.width, generator=generator)),) for _ in range(3))
        yield from random if self.proposals is None else self.proposals


@dataclass(frozen=True)
class Recording:
    """A Goal that notes which answers it is asked about."""

    asked: list[Tensor] = field(default_factory=list)

    def loss(self, logits: Tensor, clean_logits: Tensor, answers: Tensor) -> Tensor:
        """See Goal."""
        return UntargetedLoss().loss(logits, clean_logits, answers)

    def met(self, logits: Tensor, clean_logits: Tensor, answers: Tensor) -> Tensor:
        """See Goal."""
        self.asked.append(answers)
        return UntargetedLoss().met(logits, clean_logits, answers)

    def score(self, logits: Tensor, stretched: Tensor, clean_logits: Tensor, answers: Tensor) -> Tensor:
        """See Goal."""
        self.asked.append(answers)
        return UntargetedLoss().score(logits, stretched, clean_logits, answers)


def run(*surgeons: Any, **changes: Any) -> list[Finding | Progress]:
    """All events of a scan of the toy."""
    settings = {"sites": None, "budget": L2Ball(1.0), "goal": HiddenBehaviour(), "seed": 0} | changes
    return list(scan(toy(), some_prompts(COUNT), surgeons=surgeons, **settings))


def findings(events: list[Finding | Progress]) -> list[Finding]:
    """The Findings among some events."""
    return [event for event in events if isinstance(event, Finding)]


def unseen_of(spy: Spy) -> Prompts:
    """The prompts that a Spy was not shown, in an order of their own."""
    shown = {tuple(row) for row in spy.shown[0].tokens.tolist()}
    everything = some_prompts(COUNT)
    return everything[[i for i, row in enumerate(everything.tokens.tolist()) if tuple(row) not in shown]]


@pytest.mark.parametrize("seed", range(3))
def test_the_judge_uses_the_half_that_the_surgeon_did_not_see(seed: int) -> None:
    spy, goal, prompts = Spy(), Recording(), some_prompts(COUNT)
    answers = torch.arange(2 * COUNT).reshape(COUNT, 2) % VOCAB  # these tell rows apart, in pairs at least
    marked = Prompts(prompts.tokens, prompts.answer_positions, answers)
    list(scan(toy(), marked, surgeons=[spy], sites=None, budget=L2Ball(1.0), goal=goal, seed=seed))
    unseen = [row for row in marked.tokens.tolist() if row not in spy.shown[0].tokens.tolist()]
    expected = sorted(answers[[marked.tokens.tolist().index(row) for row in unseen]].tolist())
    assert len(spy.shown[0]) == len(unseen) == COUNT // 2
    assert goal.asked
    assert all(sorted(asked.tolist()) == expected for asked in goal.asked)


def test_scores_are_those_of_the_agent_itself_on_the_unseen_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fast tier that talks nonsense is found out, and changes no score."""
    spy, agent, goal = Spy(), toy(), UntargetedLoss()
    nonsense = Sequential.__call__
    monkeypatch.setattr(Sequential, "__call__", lambda self, *args: nonsense(self, *args) + 0.01)
    judged = findings(run(spy, goal=goal))
    assert [finding.engine for finding in judged] == ["stripped"] * 3
    unseen = unseen_of(spy)
    for finding in judged:
        once, stretched = (agent.logits(unseen, finding.edit.scaled(dose))[None] for dose in (1.0, STRETCH))
        clean = agent.logits(unseen)
        assert finding.score == pytest.approx(float(goal.score(once, stretched, clean, unseen.answers)), abs=1e-6)
        assert finding.goal_met == bool(goal.met(once, clean, unseen.answers))
        assert finding.rho == pytest.approx(rho_of(agent, finding.edits, some_prompts(COUNT)), rel=1e-5)


def test_proposals_beyond_the_budget_are_projected_and_others_left_alone() -> None:
    small, large = (edit_at("L1.resid_post", noise(16, seed=1) * size) for size in (1e-3, 1e3))
    spy = Spy(proposals=((small,), (large,)))
    kept, cut = findings(run(spy))
    assert kept.edits == (small,)
    bound = L2Ball(1.0).bind(toy(), ["L1.resid_post"], some_prompts(COUNT))
    assert cut.rho <= 1.0
    assert cut.edits == (bound.project(large),) != (large,)


@pytest.mark.parametrize("surgeon", SMALL, ids=lambda surgeon: type(surgeon).__name__)
@pytest.mark.parametrize("budget", [L2Ball(0.7), L1Ball(0.9), LInfBall(0.2), L2Ball(5.0, "activation")], ids=str)
@pytest.mark.parametrize("site", ["L0.mlp.post", "L1.resid_post", "L0.attn.z"])
def test_no_edit_leaves_its_budget(surgeon: Any, budget: Any, site: str) -> None:
    judged = findings(run(surgeon, sites=[site], budget=budget))
    assert judged
    bound = budget.bind(toy(), [site], some_prompts(COUNT))
    for finding in judged:
        assert finding.site == Site.parse(site)
        assert 0 < bound.size(finding.edits) <= bound.radius
        assert 0 <= finding.score <= 1
        assert 0 <= finding.control <= 1


def test_same_seed_same_report_and_another_seed_another() -> None:
    reports = [conclude(run(*SMALL, seed=seed)) for seed in (0, 0, 1)]
    assert reports[0] == reports[1]
    assert reports[0] != reports[2]


def test_what_a_surgeon_draws_follows_from_the_seed_alone() -> None:
    drawn = [[f.edit.delta.tolist() for f in findings(run(Spy(), seed=seed))] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert not any(delta in drawn[2] for delta in drawn[0])


def test_a_hunt_is_a_scan_and_its_conclusion() -> None:
    settings = {"surgeons": SMALL, "budget": L2Ball(1.0), "goal": UntargetedLoss(), "seed": 3}
    assert hunt(toy(), some_prompts(COUNT), **settings) == conclude(run(*SMALL, goal=UntargetedLoss(), seed=3))


def test_one_search_knows_nothing_of_the_others() -> None:
    alone = findings(run(SMALL[2]))
    assert [f for f in findings(run(*SMALL)) if f.surgeon == "RandomDirections"] == alone


def test_hunting_moves_no_global_randomness_and_no_weight() -> None:
    before, state = [w.clone() for w in toy().weights().values()], torch.random.get_rng_state()
    run(*SMALL)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(before, toy().weights().values(), strict=True))


@pytest.mark.parametrize("site", ["L1.resid_post", "L1.attn.z"])
def test_hooks_are_gone_when_a_scan_is_closed_midway(site: str) -> None:
    agent, prompts = toy(), some_prompts(COUNT)
    before, clean = hooks_on(agent), agent.logits(prompts)
    events = scan(agent, prompts, surgeons=SMALL, sites=[site], budget=L2Ball(1.0), goal=HiddenBehaviour())
    for event in events:
        if isinstance(event, Finding):
            break
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert hooks_on(agent) == before
    assert torch.equal(agent.logits(prompts), clean)


def test_hooks_are_gone_when_a_surgeon_fails_and_when_a_goal_does() -> None:
    agent, before = toy(), hooks_on(toy())
    with pytest.raises(RuntimeError, match="slipped"):
        run(Spy(fails=True))
    broken = Target(lambda answers: answers[:0])  # the wrong shape, so comparing fails
    with pytest.raises((RuntimeError, TypeError)):
        run(Spy(), goal=broken)
    assert hooks_on(agent) == before


def test_progress_counts_the_searches_and_ends_at_their_number() -> None:
    events = run(SMALL[1], SMALL[2], sites=["L0.resid_post", "L1.resid_post"])
    progress = [e for e in events if isinstance(e, Progress)]
    assert [e.done for e in progress] == [0, 1, 2, 3, 4]
    assert {e.total for e in progress} == {4}
    assert progress[-1].best == max(f.score for f in findings(events))


def test_a_report_is_the_same_after_a_trip_through_disk(tmp_path: Any) -> None:
    two = (edit_at("L1.resid_post", noise(16)), edit_at("L1.resid_post", noise(16), (2,)))
    report = conclude(run(*SMALL, Spy(proposals=((edit_at("L1.resid_post", noise(2, 16), (1, 4)),),))))
    undefined = findings(run(SMALL[2], sites=["L0.attn.q"], budget=L2Ball(1.0, "activation")))
    joint = Finding(two, 0.5, float("nan"), True, 0.1, "Spy", "toy")
    for each in (report, conclude(undefined), conclude([joint]), conclude([])):
        each.save(tmp_path / "report")
        assert SwitchReport.load(tmp_path / "report") == each
