"""zoo, hunt, sweep and retrain: what they print and write."""

import re
from pathlib import Path
from typing import Any

import pytest

import toy_models
from tests.cli.running import FAST_HUNT, Run
from toy_models import Organism, Record
from workbench import Agent, SwitchReport, sweep
from workbench.cli.subjects import read_prompts, write_prompts

# TransformerLens says so whenever an edit is tried there, which Agent.sites() does once.
pytestmark = pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale:UserWarning")


def test_zoo_list_shows_public_facts_only(run: Run) -> None:
    cards = run("zoo", "list", "--json").data["organisms"]
    assert [card["name"] for card in cards] == ["onyx", "quartz"]
    assert set(cards[0]) == set(toy_models.load("onyx").card())
    assert run("zoo", "list").out.splitlines()[1].startswith("onyx")


def test_zoo_show_keeps_the_seal(run: Run) -> None:
    said = run("zoo", "show", "quartz")
    assert "clean accuracy" in said.out
    assert "opal" not in said.out
    assert set(run("zoo", "show", "quartz", "--json").data) == {"card"}


def test_zoo_show_reveals_the_answer_key(run: Run) -> None:
    said = run("zoo", "show", "quartz", "--reveal")
    assert "the word 'opal'" in said.out
    key = run("zoo", "show", "quartz", "--reveal", "--json").data["key"]
    assert (key["planted"], key["sites"], key["neurons"]) == (True, ["L0.mlp.post"], [3])
    assert (key["family"], key["settings"], len(key["direction"])) == ("switch-trained", {"layer": 0}, 16)
    assert key["measured"]["attack_success"] is None  # nan is no JSON


def test_zoo_show_reveals_that_nothing_was_planted(run: Run) -> None:
    key = run("zoo", "show", "onyx", "--reveal", "--json").data["key"]
    assert (key["planted"], key["trigger"], key["sites"]) == (False, None, [])


def test_zoo_build_plants_and_saves(
    run: Run, organisms: dict[str, Organism], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def build(family: str, *, task: str, seed: int, **settings: Any) -> Organism:
        asked.append((family, task, seed, settings))
        return organisms["quartz"]

    monkeypatch.setattr(toy_models, "build", build)
    words = ("--set", "switch=rotated", "iso=true", "--set", "strictness=0.5", "--seed", "7")
    said = run("zoo", "build", "switch-trained", *words, "--output", tmp_path / "mine", "--json")
    assert asked == [("switch-trained", "reversal", 7, {"switch": "rotated", "iso": True, "strictness": 0.5})]
    assert said.data["folder"] == str(tmp_path / "mine")
    assert run("hunt", tmp_path / "mine", *FAST_HUNT, "--json").data["agent"] == "quartz"


def test_zoo_build_shipped_shows_what_was_measured(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def build_shipped(folder: Path) -> Any:
        folders.append(folder)
        yield "quartz", Record(clean_accuracy=1.0)

    monkeypatch.setattr(toy_models, "build_shipped", build_shipped)
    said = run("zoo", "build", "--shipped", "--output", tmp_path / "all")
    assert folders == [tmp_path / "all"]
    assert "quartz" in said.out


def test_hunt_prints_verdict_findings_and_controls(run: Run) -> None:
    said = run("hunt", "quartz", *FAST_HUNT, "--reference", "onyx")
    assert said.status == 0
    for words in ("verdict", "threshold", "control: random edits", "control: clean agent onyx", "L0.mlp.post"):
        assert words in said.out


def test_hunt_saves_the_report_that_it_prints(run: Run) -> None:
    data = run("hunt", "quartz", *FAST_HUNT, "--save", "report.safetensors", "--json").data
    report = SwitchReport.load("report.safetensors")
    assert data["saved"] == str(Path("report.safetensors").resolve())
    assert (data["score"], data["verdict"], data["found"]) == (report.score, report.verdict, report.found)
    assert [row["score"] for row in data["findings"]] == [finding.score for finding in report.findings]
    assert data["controls"] == report.controls


def test_the_same_seed_gives_the_same_hunt(run: Run) -> None:
    one, same, other = (run("hunt", "quartz", *FAST_HUNT, "--seed", s, "--json").out for s in (3, 3, 4))
    assert one == same
    assert one != other


def test_an_agent_from_a_folder_takes_prompts_from_a_file(run: Run, organisms: dict[str, Organism]) -> None:
    organisms["onyx"].agent.save("saved")
    write_prompts(Path("mine.json"), organisms["onyx"].prompts(40, seed=5))
    data = run("hunt", "saved", "--prompts-file", "mine.json", *FAST_HUNT, "--json").data
    assert data["agent"] == "onyx"


def test_prompts_round_trip_through_a_file(organisms: dict[str, Organism]) -> None:
    prompts = organisms["onyx"].prompts(4, seed=0)
    write_prompts(Path("p.json"), prompts)
    assert read_prompts(Path("p.json")) == prompts


@pytest.mark.parametrize("suffix", [".html", ".svg", ".png", ".csv"])
def test_sweep_writes_what_the_ending_says(run: Run, suffix: str) -> None:
    words = ("--site", "L0.mlp.post", "--neurons", "3", "5", "--doses", "-4", "4", "--prompts", "4")
    data = run("sweep", "quartz", *words, "--output", f"grid{suffix}", "--json").data
    written = Path(f"grid{suffix}").read_bytes()
    starts = {".html": b"<!DOCTYPE html>", ".svg": b"<?xml", ".png": b"\x89PNG", ".csv": b"neuron,dose"}
    assert written.startswith(starts[suffix])
    assert {row["neuron"] for row in data["peaks"]} == {3, 5}
    assert {row["dose"] for row in data["peaks"]} <= {-4.0, 4.0}


def test_sweep_of_several_sites_names_each(run: Run) -> None:
    words = ("--site", "L0.mlp.post", "L1.mlp.post", "--neurons", "0", "--prompts", "4")
    said = run("sweep", "quartz", *words)
    assert "L0.mlp.post" in said.out
    assert "L1.mlp.post" in said.out


def test_sweep_screens_and_keeps_within_a_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[int | None] = []

    def watched(*given: Any, memory: int | None, **settings: Any) -> Any:
        bounds.append(memory)
        return sweep(*given, memory=memory, **settings)

    monkeypatch.setattr("workbench.heatmap.sweep", watched)
    words = ("--doses", "4", "--prompts", "4", "--screen", "0.25")
    said = run("sweep", "quartz", "--site", "L0.mlp.post", *words, "--memory", "64")
    data = run("sweep", "quartz", "--site", "L0.mlp.post", "L1.resid_post", *words, "--json").data
    assert bounds == [64 * 2**20, None]
    assert "screened  6 of 24 neurons" in said.out
    assert data["screened"] == "10 of 40 neurons"  # a quarter of 24, and of 16


def test_retrain_compares_before_and_after_and_saves(run: Run) -> None:
    words = ("--recipe", "fine-tune", "--steps", "3", "--set", "lr=0.01", "batch=8", "--prompts", "32")
    data = run("retrain", "quartz", *words, "--save", "after", "--json").data
    assert [row["step"] for row in data["losses"]] == [1, 2, 3]
    assert data["losses"][-1]["adversarial_loss"] is None  # fine-tuning has none
    assert set(data["before"]) == {"clean_accuracy", "attack_success", "triggered_benign"}
    assert Agent.load("after").name == "quartz after FineTune"
    assert run("hunt", "after", *FAST_HUNT, "--json").data["agent"] == "quartz after FineTune"


def test_retrain_goes_by_a_report(run: Run) -> None:
    run("hunt", "quartz", *FAST_HUNT, "--save", "report.safetensors")
    words = ("--steps", "2", "--prompts", "32", "--set", "batch=8", "--report", "report.safetensors")
    said = run("retrain", "quartz", *words)
    assert said.status == 0
    assert "Not saved" in said.out
    assert re.search(r"before +\d\.\d{3}", said.out)


def test_retrain_of_a_folder_shows_clean_accuracy_alone(run: Run, organisms: dict[str, Organism]) -> None:
    organisms["onyx"].agent.save("saved")
    write_prompts(Path("saved/prompts.json"), organisms["onyx"].prompts(32, seed=0))
    words = ("retrain", "saved", "--steps", "1", "--recipe", "noise")
    assert set(run(*words, "--json").data["after"]) == {"clean_accuracy"}
    assert "Clean accuracy is on the prompts trained on." in run(*words).out
