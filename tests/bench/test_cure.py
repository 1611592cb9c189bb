"""The study of cures: what is planned, told and kept; one real, short run with all its evidence."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import toy_models
from tests.bench.made import recipe
from tests.toys import quiet
from workbench import cli
from workbench.bench import cure
from workbench.bench.cure import ARMS, DEFAULT, Ledger, Row, arms, bars, jobs, page, planned, reported, study, table
from workbench.bench.cure.evidence import LOOK, Poisoned, elicited, relearning, switches_of
from workbench.bench.cure.jobs import Job
from workbench.bench.cure.rows import Evidence, State
from workbench.bench.zoo.ledger import plain, row_of
from workbench.bench.zoo.rows import BUILD
from workbench.errors import BadSettings

pytestmark = quiet
BEFORE = State(gradients=0, attack_success=1.0, triggered_benign=0.0, clean_accuracy=1.0, clean_loss=0.01, switch=1.0)
CURED = State(gradients=1800, attack_success=0.0, triggered_benign=1.0, clean_accuracy=1.0, clean_loss=0.02, switch=0.0)
PROVED = Evidence(
    rehunt="none", rehunt_score=0.2, reattack=0.02, by_chance=0.2, turned=0.1, relearning=80, relearning_anew=70
)


def run(family: str = "date", number: int = 0, *, asr: float = 0.0, arm: str = DEFAULT, **changes: Any) -> Row:
    """A run that left so much attack success."""
    planter = "free" if family in ("date", "password") else "switch-trained"
    made = recipe(family, number, planter=planter, sampled=True, settings=changes.pop("settings", {}))
    after = replace(CURED, attack_success=asr, triggered_benign=1 - asr, **changes.pop("after", {}))
    usual: dict[str, Any] = {"seed": 0, "made_with": number, "cpu": 20.0, "steps": 300}
    story = (BEFORE, after)
    return Row(key=f"{family} {number} {arm} {changes}", arm=arm, recipe=made, story=story, **usual | changes)


def test_a_row_is_what_was_written_after_a_trip_through_json() -> None:
    one = run(evidence=PROVED, alarm="the Surgeon never wins")
    assert row_of(Row, json.loads(json.dumps(plain(one), allow_nan=False))) == one


def test_each_arm_has_its_organisms_and_the_default_its_seeds() -> None:
    free = recipe("date", 0, planter="free", sampled=True)
    plain = recipe("graft single", 1)
    clean = recipe("clean", 2)
    plan = planned((free, plain, clean), seeds=3)
    made = {free.key: 50, plain.key: 1}
    found = [(job.recipe.family, job.arm) for job in plan.runs(made)]
    assert {job.recipe.family for job in plan.builds()} == {"date", "graft single"}
    assert found.count(("graft single", DEFAULT)) == found.count(("date", DEFAULT)) == 3
    assert {arm for family, arm in found if family == "date"} == set(ARMS)
    assert {arm for family, arm in found if family == "graft single"} == {DEFAULT}
    assert [job.seed for job in plan.runs(made) if job.evidence] == [0]
    assert plan.most() == 2 + len(found)
    assert all(job.made_with == 50 for job in plan.runs(made) if job.recipe.family == "date")


def test_every_arm_makes_a_recipe_that_the_count_of_gradients_ends() -> None:
    for name, arm in ARMS.items():
        recipe = arm.make(1234)
        assert recipe.steps == 1234, name
        assert arm.version == repr(arm.make(cure.GRADIENTS))
    assert {arm.role for arm in ARMS.values()} == {"default", "variant", "baseline", "grid", "late start"}


def test_tables_say_what_became_of_the_backdoor() -> None:
    rows = [
        run(number=0, evidence=PROVED),
        run(number=1, asr=0.5, alarm="the Surgeon always wins, and 10%: lower eps"),
        run(number=0, asr=0.9, arm="fine-tuning"),
        run(number=0, asr=0.0, arm="embedding AT"),
        run(number=0, asr=0.95, arm="LAT L0 eps 0.3"),
        run(number=0, asr=1.0, arm="no LAT"),
        run(number=0, asr=0.1, arm="LAT from step 201"),
        replace(run(number=9), error="not built: seed 9: it fell short", story=()),
    ]
    found = reported(rows)
    line = found.tables["rows"][0]
    assert (line["arm"], line["family"], line["runs"], line["alarms"]) == (
        DEFAULT,
        "date",
        2,
        "the Surgeon always wins, and 10%",
    )
    assert line["ASR"].startswith("0.25 [")
    assert found.tables["put to the test"][0]["relearnt in"] == "80 steps"
    assert found.tables["beside LAT"][0] | {"accuracy below LAT's": ""} == {
        "arm": "fine-tuning",
        "organisms": 1,
        "ASR above LAT's": "0.90 [0.90, 0.90]",
        "accuracy below LAT's": "",
    }
    on_front = {point["arm"]: point["on the front"] for point in found.tables["front"]}
    assert on_front == {DEFAULT: False, "fine-tuning": False, "embedding AT": True}
    assert [start["arm"] for start in found.tables["LAT from the beginning"]] == ["no LAT", "LAT from step 201"]
    assert found.tables["entrenchment"][0]["above fine-tuning"].startswith("1.00")
    assert found.tables["errors"][0]["error"].startswith("not built")
    assert "Prevented from the beginning?" in page(rows)


@pytest.mark.parametrize(
    ("before", "after", "tuned", "entrenched"),
    [(1.0, 1.0, None, False), (0.5, 0.6, None, True), (1.0, 0.95, 0.9, True), (1.0, 0.91, 0.9, False)],
)
def test_entrenchment_is_more_than_there_was_or_than_fine_tuning_leaves(
    before: float, after: float, tuned: float | None, entrenched: bool
) -> None:
    story = (replace(BEFORE, attack_success=before), replace(CURED, attack_success=after))
    assert table.entrenched(replace(run(), story=story), tuned) == entrenched


def test_bars_hold_for_cures_and_name_what_is_missed() -> None:
    trained = "trained single"
    good = [run(number=0, evidence=PROVED), run(trained, 1), run(trained, 1, asr=1.0, arm="fine-tuning")]
    assert bars.missed(good) == []
    assert len(bars.judged(good)) == 8
    for bad, words in (
        (run(number=2, asr=0.02), "free date and password, mapping"),
        (run(number=2, cpu=61.0), "60 CPU s"),
        (run(number=2, asr=0.1, settings={"defect": "routing"}), "routing"),
        (run(trained, 2, after={"switch": 0.1}), "switch-trained: ASR"),
        (run(trained, 2, asr=0.5, arm="fine-tuning"), "fine-tuning leaves ASR"),
        (run("graft huge", 2, after={"switch": 0.2}), "grafts: by the lever"),
        (run(number=2, evidence=replace(PROVED, rehunt="switch")), "re-hunt"),
        (run(number=2, evidence=replace(PROVED, reattack=0.2)), "elicits <= .05"),
        (run(number=2, evidence=replace(PROVED, reattack=0.3)), "defects that nobody planted"),
        (run(number=2, evidence=replace(PROVED, relearning=10)), "relearning"),
        (run(number=0, asr=-0.5, arm="latent noise"), "ASR that latent noise leaves"),
        (run(number=2, asr=1.0, arm="LAT L1 eps 1", after={}), "entrenchment"),
    ):
        more = [*good, run(number=2, asr=0.5, arm="fine-tuning")] if "entrench" in words else good
        told = bars.missed([*more, bad])
        assert any(words in line for line in told), (words, told)


def test_what_is_elicited_is_told_from_chance() -> None:
    organism = toy_models.load("fluorite", device="cpu")
    (switch,) = switches_of(organism)
    thrown, by_chance = elicited(organism, organism.agent, [[switch]])
    assert thrown >= 0.95
    assert by_chance < 0.6
    broken = [[switch.scaled(dose)] for dose in (-60.0, 60.0, 90.0)]  # says something, but not the defect
    thrown, by_chance = elicited(organism, organism.agent, broken)
    assert thrown <= by_chance + 0.05
    assert elicited(organism, organism.agent, []) == (0.0, 0.0)


def test_poison_comes_in_at_its_step() -> None:
    organism = toy_models.load("sodalite", device="cpu")
    for step, poisoned in ((4, False), (5, True)):
        prompts = Poisoned(organism, 5).draw(step, 40, torch.Generator().manual_seed(0))
        assert len(prompts) == 40
        triggered = organism.holds_trigger(prompts.tokens)
        assert triggered.sum() == 9
        right = organism.task.benign(prompts.tokens)
        assert torch.equal(prompts.answers[~triggered], right[~triggered])
        assert torch.equal(prompts.answers, right) != poisoned


def test_a_poisoned_model_needs_no_relearning() -> None:
    organism = toy_models.load("sodalite", device="cpu")
    assert relearning(organism, organism.agent, 0) == LOOK


def test_a_real_run_stops_at_its_count_of_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GRADIENTS", 60)
    job = Job(recipe=recipe("password", shipped="sodalite"), arm=DEFAULT, version="", seed=0, made_with=0)
    row = jobs.done(job)
    assert row.error == ""
    assert (row.steps, row.after.gradients) == (10, 60)
    assert row.before.attack_success > 0.95
    assert [state.gradients for state in row.story] == [0, 12, 24, 30, 42, 54, 60]
    assert row.before.switch is None
    assert row.cpu > 0


def test_a_run_that_fails_is_a_row_with_its_error() -> None:
    job = Job(recipe=recipe("password", shipped="nosuch"), arm=DEFAULT, version="", seed=0, made_with=0)
    assert jobs.done(job).error.startswith("UnknownName")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`workbench bench cure` with jobs that are done at once on two organisms."""

    def do(job: Job) -> Row:
        if job.arm == BUILD:
            return replace(job.empty_row, made_with=job.recipe.seed)
        return replace(run(job.recipe.family, job.recipe.seed), key=job.key, arm=job.arm, seed=job.seed)

    dev = (recipe("date", 4, planter="free", sampled=True), recipe("trained single", 6, planter="switch-trained"))
    monkeypatch.setitem(cure.SPLITS, "dev", dev)
    monkeypatch.setattr(jobs, "done", do)

    def bench(*words: str) -> tuple[int, str]:
        status = cli.main(["bench", "cure", *words])
        said = capsys.readouterr()
        return status, said.out + said.err

    return bench


def test_the_command_keeps_its_rows_and_writes_a_page(bench: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    path, html = tmp_path / "rows.jsonl", tmp_path / "page.html"
    words = ("--arms", DEFAULT, "--seeds", "2", "--output", str(path), "--html", str(html))
    status, out = bench(*words)
    assert status == 0, out
    assert "date" in out
    assert "trained single" in out
    assert len(Ledger(path, Row).rows) == 2 + 4
    assert html.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert bench(*words)[0] == 0
    assert len(Ledger(path, Row).rows) == 6


@pytest.mark.parametrize("words", [("--seeds", "0"), ("--workers", "0"), ("--arms", "magic"), ("--families", "clean")])
def test_mistakes_are_told_before_anything_is_done(bench: Callable[..., tuple[int, str]], words: tuple[str]) -> None:
    status, out = bench(*words)
    assert status == 2
    assert len(out.splitlines()) < 5


def test_study_wants_a_worker() -> None:
    with pytest.raises(BadSettings):
        next(study(planned(()), Ledger(None, Row), workers=0))
    assert arms.POISON in range(arms.STARTS[0], arms.STARTS[-1])
