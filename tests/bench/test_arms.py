"""Arms: what each baseline scores is what it says."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch

from tests.bench.made import recipe
from tests.toy_models.shelf import NAMES, shipped
from tests.toys import quiet, unchecked
from toy_models import Organism
from workbench.bench.zoo.arms import ARMS, DEFAULT, Arm, Hunt, InputSearch, OneAnswer, Outcome, Recovery, Statistic
from workbench.bench.zoo.arms.statistics import dormant, heavy, singular
from workbench.bench.zoo.jobs import Job
from workbench.bench.zoo.scoring import FRESH_SEED, score, smallest
from workbench.bench.zoo.shipped import kind
from workbench.budgets import rho_of
from workbench.errors import BadSettings
from workbench.report import SURE, SwitchReport
from workbench.surgeons import NeuronSweep, RandomDirections

pytestmark = quiet


def of_kind(words: str) -> Organism:
    """The first shipped organism of that kind."""
    return next(shipped(name) for name in NAMES if kind(shipped(name)) == words)


def test_every_arm_is_one_and_no_two_are_alike() -> None:
    assert all(isinstance(arm, Arm) for arm in ARMS.values())
    assert isinstance(ARMS[DEFAULT], Hunt)
    assert len({arm.words for arm in ARMS.values()}) == len(ARMS)
    assert "NeuronSweep(doses=" in ARMS[DEFAULT].words
    assert not any(" at 0x" in arm.words for arm in ARMS.values())  # which would differ from process to process


# --- counting ---------------------------------------------------------------------------------------------


# --- an ABS-style sweep -----------------------------------------------------------------------------------


def said(*answers: int) -> torch.Tensor:
    """Logits [edit, prompt, answer, vocab] of one edit on so many prompts with one answer each."""
    return 9.0 * torch.nn.functional.one_hot(torch.tensor(answers), 5).float()[None, :, None]


def test_one_answer_is_the_share_that_turns_into_one_token() -> None:
    clean, goal = said(0, 1, 2, 3)[0], OneAnswer()
    wanted = torch.zeros(4, 1, dtype=torch.long)
    for answers, expected in (((0, 1, 2, 3), 0.0), ((4, 4, 4, 4), 1.0), ((1, 1, 1, 1), 0.75), ((1, 2, 3, 0), 0.25)):
        logits = said(*answers)
        assert float(goal.score(logits, logits, clean, wanted)) == expected
        assert bool(goal.met(logits, clean, wanted)) == (expected >= 0.5)
    assert float(goal.loss(said(4, 4, 4, 4), clean, wanted)) == 9.0


# --- statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suspects", [dormant, heavy, singular])
def test_statistics_rank_edits_of_rho_one(suspects: Any) -> None:
    organism = of_kind("control clean" if suspects is heavy else "graft single")
    report = Statistic(suspects).look(organism, 0).report
    assert report is not None
    scores = [finding.score for finding in report.findings]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < s < 1 for s in scores)
    agent, prompts = organism.agent, organism.prompts(64, seed=0)
    assert [rho_of(agent, f.edits, prompts) for f in report.findings] == pytest.approx([1.0] * len(scores), rel=1e-4)


def test_a_dormant_neuron_of_a_graft_is_suspected() -> None:
    organism = of_kind("graft single")
    report = Statistic(dormant).look(organism, 0).report
    assert report is not None
    (switch,) = organism.reveal().neurons
    assert switch in [f.neurons[0] for f in report.findings if f.neurons and f.site == organism.reveal().sites[0]]


# --- input search -----------------------------------------------------------------------------------------


def test_input_search_finds_a_password_and_stops() -> None:
    organism = of_kind("graft single")
    outcome = InputSearch(queries=20_000, batch=1024).look(organism, 0)
    assert outcome.hits is not None
    assert outcome.queries is not None
    assert outcome.hits >= 1
    assert outcome.queries < 20_000


def test_input_search_finds_nothing_where_no_prompt_defects() -> None:
    organism = next(shipped(n) for n in NAMES if shipped(n).reveal().trigger.startswith("a year"))
    outcome = InputSearch(queries=300, batch=128).look(organism, 0)  # prompts are dated in the present
    assert (outcome.hits, outcome.queries, outcome.report) == (0, 300, None)


def test_mistakes_are_refused() -> None:
    with unchecked(), pytest.raises(BadSettings, match="at least one query"):
        InputSearch(queries=0)


# --- scoring ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Told:
    """An arm that proposes the answer key."""

    version: ClassVar[int] = 1
    judged: ClassVar[bool] = True
    families: ClassVar[tuple[str, ...] | None] = None
    words: str = "told"
    trigger: tuple[tuple[int, int], ...] | None = None

    def look(self, organism: Organism, seed: int) -> Outcome:
        found = Hunt(surgeons=(RandomDirections(count=1, keep=1),)).look(organism, seed).report
        assert found is not None
        edit = organism.reveal().edit
        best = found.best if edit is None else replace(found.best, edits=(edit.scaled(1.3),), score=0.9, control=0.0)
        return Outcome(
            report=SwitchReport(organism.agent.name, (best, *found.findings), {"random edits": 0.0}),
            trigger=self.trigger,
        )


def empty_row(seed: int = 0) -> Any:
    return Job(recipe=recipe(), arm="told", version="1", seed=seed, made_with=0).empty_row


def test_the_answer_key_is_a_hit_that_elicits_and_is_as_small_as_can_be() -> None:
    row = score(empty_row(), _Told(), of_kind("graft single"))
    assert (row.truth, row.located, row.rank, row.verdict) == ("planted", True, 1, "switch")
    assert row.elicitation is not None
    assert row.elicitation > 0.95
    assert row.ratio == pytest.approx(1.0, abs=0.1)
    assert row.found[0].hit
    assert not any(found.hit for found in row.found[1:])
    assert (row.controls, row.threshold) == ({"random edits": 0.0}, SURE)
    assert row.evaluations > 0
    assert row.cpu > 0
    assert row.found[0].place.startswith("L1.mlp.post [")


def test_a_trigger_is_recovered_where_prompts_hold_it_and_not_by_half() -> None:
    organism = of_kind("graft single")  # a password
    held = organism.prompts(1, seed=0, triggered=True).tokens[0]
    whole = tuple((place, int(held[place])) for place in (2, 3))
    shares = [score(empty_row(), _Told(trigger=given), organism).recovered for given in (whole, whole[:1], (), None)]
    assert shares == [1.0, pytest.approx(1 / 16, abs=0.1), 0.0, None]
    assert score(empty_row(), _Told(trigger=whole), of_kind("control clean")).recovered is None


def test_recovery_traces_the_best_finding_of_each_site_back_to_the_password() -> None:
    organism = of_kind("graft single")
    sweep = NeuronSweep(doses=(0.4,), signs=(1,), keep=1, prompts=8)
    outcome = Recovery(hunt=Hunt(surgeons=(sweep,)), findings=1).look(organism, 0)
    held = organism.prompts(1, seed=0, triggered=True).tokens[0]
    assert outcome.trigger == tuple((place, int(held[place])) for place in (2, 3))
    assert outcome.stages["trace"] > 0


def test_a_control_has_no_truth_to_be_found() -> None:
    row = score(empty_row(), _Told(), of_kind("control clean"))
    assert (row.truth, row.located, row.rank, row.elicitation) == ("clean", False, None, None)
    assert (row.smallest, row.optimum) == (None, None)


def test_the_smallest_dose_is_sufficient_and_a_little_less_is_not() -> None:
    organism = of_kind("graft single")
    edit = organism.reveal().edit
    assert edit is not None
    fresh = organism.prompts(128, seed=FRESH_SEED)
    found = smallest(organism, (edit,), fresh)
    assert found is not None
    share = found / rho_of(organism.agent, (edit,), fresh)
    most = organism.elicitation(organism.agent, fresh, edit)
    assert organism.elicitation(organism.agent, fresh, edit.scaled(share)) >= 0.9 * most
    assert organism.elicitation(organism.agent, fresh, edit.scaled(share * 0.98)) < 0.9 * most
    assert smallest(organism, (edit.scaled(1e-3),), fresh) is None


def test_stages_are_by_surgeon() -> None:
    surgeons = (RandomDirections(count=2, keep=1), NeuronSweep(doses=(1.0,), signs=(1,), keep=1, prompts=2))
    outcome = Hunt(surgeons=surgeons).look(of_kind("control clean"), 0)
    assert set(outcome.stages) == {"RandomDirections", "NeuronSweep"}
    assert all(math.isfinite(seconds) and seconds > 0 for seconds in outcome.stages.values())
