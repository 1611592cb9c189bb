"""`workbench bench zoo`: what it prints, keeps and returns; once with real, quick arms on two organisms."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench.made import fake, recipe, row
from tests.toys import quiet
from workbench import cli
from workbench.bench import zoo
from workbench.bench.zoo import Ledger, jobs
from workbench.bench.zoo.arms import ARMS, Hunt
from workbench.surgeons import RandomDirections

pytestmark = quiet
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("--split", "dev")` is `workbench bench zoo --split dev`: exit status, and what it prints."""

    def bench(*words: str) -> tuple[int, str]:
        status = cli.main(["bench", "zoo", *words])
        said = capsys.readouterr()
        return status, said.out + said.err

    return bench


@pytest.fixture
def hunted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Two recipes in `dev`, and jobs that are done at once; what was asked for is listed."""
    asked: list[Any] = []

    def do(job: jobs.Job) -> zoo.Row:
        asked.append(job)
        if job.arm == zoo.BUILD:
            return fake(job)
        done = row(job.recipe.family, job.recipe.seed, rank=None if job.recipe.seed == 5 else 1)
        return replace(done, key=job.key, arm=job.arm, seed=job.seed)

    monkeypatch.setitem(zoo.SPLITS, "dev", (recipe(number=4, sampled=True), recipe("graft huge", 6)))
    monkeypatch.setattr(jobs, "done", do)
    return asked


def test_a_split_is_hunted_by_every_arm(run: Run, hunted: list[Any]) -> None:
    status, out = run("--split", "dev")
    assert status == 0
    assert out.endswith("Nothing falls short of what is asked.\n")
    for words in ("graft single", "graft huge", "neuron sweep", "bars\n", "hit@1, single and distributed"):
        assert words in out
    assert len(hunted) == 2 + 1 + sum(arm.families is None for arm in ARMS.values())


def test_what_is_kept_is_not_done_again(run: Run, hunted: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    words = ("--split", "dev", "--arms", "default", "--output", str(path))
    first = run(*words)
    assert len(hunted) == 4
    assert run(*words) == first
    assert len(hunted) == 4
    assert len(Ledger(path, zoo.Row).rows) == 4
    run(*words, "--seeds", "2")
    assert len(hunted) == 6


def test_a_miss_is_printed_and_the_status_is_1(run: Run, hunted: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(zoo.SPLITS, "dev", (recipe(number=5), recipe(number=1)))
    status, out = run("--split", "dev", "--arms", "default", "--json")
    data = json.loads(out)
    assert status == 1
    assert data["shortfalls"][0].startswith("hit@1, single and distributed: 0.00 [0.00, 0.79], asked at least 0.95")
    assert data["errors"] == [
        {"arm": "build", "family": "graft single", "task": "reversal", "seed": 1, "error": "it went wrong"}
    ]


def test_families_and_limits(run: Run, hunted: list[Any]) -> None:
    run("--split", "dev", "--families", "graft huge", "--arms", "default", "--limit", "1")
    assert [job.recipe.family for job in hunted] == ["graft huge"] * 2


MISTAKES = {
    "--workers 0": "expected at least one seed and one worker, got 5 and 0",
    "--split dev --seeds 0": "expected at least one seed and one worker, got 0 and 1",
    "--split dev --organisms beryl": "expected no --organisms beside --split dev",
    "--split dev --arms defualt": "no arm 'defualt'",
    "--split dev --families grafts": "no family 'grafts'",
    "--split dev --limit 0": "a limit of at least 1",
    "--organisms nothing": "no organism 'nothing'",
    "--output .": "expected a file to write",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_told_in_words(run: Run, hunted: list[Any], words: str) -> None:
    status, said = run(*words.split())
    assert status == 2
    assert MISTAKES[words] in said
    assert hunted == []


@pytest.mark.story
def test_two_shipped_organisms_from_end_to_end(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARMS, "quick", Hunt(surgeons=(RandomDirections(count=2, keep=1),)))
    path = tmp_path / "rows.jsonl"
    words = ("--organisms", "zircon", "calcite", "--arms", "heavy neurons", "quick", "--seeds", "1")
    status, out = run(*words, "--output", str(path), "--json")
    rows = Ledger(path, zoo.Row).rows
    assert status == 0
    assert [(r.arm, r.organism, r.error) for r in rows] == [
        ("heavy neurons", "zircon", ""),
        ("quick", "zircon", ""),
        ("heavy neurons", "calcite", ""),
        ("quick", "calcite", ""),
    ]
    assert len(json.loads(out)["rows"]) == 4
    assert run(*words, "--output", str(path), "--json") == (0, out)
