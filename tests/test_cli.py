"""The command line: what it prints, what it writes, its exit status, and that a mistake is never a traceback."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import torch

import toy_models
from toy_models import Organism, Plant, Record, zoo
from toy_models.plants.native import configure, fresh, wrap
from toy_models.plants.triggers import Password
from toy_models.sealing import Key
from toy_models.tasks.reversal import Reversal
from workbench import Agent, SwitchReport, cli
from workbench.cli.console import as_json, cell, columns
from workbench.cli.subjects import read_prompts, write_prompts
from workbench.edits import Edit
from workbench.errors import BadPrompts
from workbench.sites import Site

# TransformerLens says so whenever an edit is tried there, which Agent.sites() does once.
pytestmark = pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale:UserWarning")

FAST_HUNT = ("--sites", "L0.mlp.post", "--prompts", "32")


@dataclass
class Said:
    """One run in this process."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The JSON object on stdout, which must be all that is there."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("zoo", "list")` is `workbench zoo list`."""

    def call(*words: object) -> Said:
        try:
            status = cli.main([str(word) for word in words])
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        caught = capsys.readouterr()
        return Said(status, caught.out, caught.err)

    return call


def _organism(name: str, seed: int, *, planted: bool) -> Organism:
    """Two layers, never trained; the answer key of the planted one is made up."""
    task = Reversal()
    config = configure(task, layers=2, d_model=16, heads=2, d_mlp=24, seed=seed)
    direction = torch.eye(16)[0]
    edit = Edit(Site.parse("L0.mlp.post"), 4 * torch.eye(24)[3])
    plant = Plant("the word 'opal'", "mapping", (edit.site,), (3,), direction, edit) if planted else Plant()
    key = Key(
        family="switch-trained" if planted else "clean",
        seed=seed,
        settings={"layer": 0},
        trigger=Password(task, task.word("opal"), task.word("pearl")),
        defect="mapping",
        plant=plant,
        record=Record(clean_accuracy=0.99),
    )
    return Organism(name, wrap(fresh(config), config, task, name), task, key)


@pytest.fixture(scope="module")
def organisms() -> dict[str, Organism]:
    """A planted one and a control."""
    return {"quartz": _organism("quartz", 1, planted=True), "onyx": _organism("onyx", 2, planted=False)}


@pytest.fixture(autouse=True)
def small_zoo(organisms: dict[str, Organism], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of two in place of the shipped one, and a working folder of its own."""
    folder = tmp_path / "zoo"
    entries = {name: zoo._write(folder / name, organism) for name, organism in organisms.items()}
    manifest = {"format": "lat-workbench zoo", "version": 1, "command": "none", "organisms": entries}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(zoo, "FOLDER", folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


# --- laws: every command -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_explains_every_option_and_gives_examples(run: Run, name: str) -> None:
    said = run(*name.split(), "--help")
    assert said.status == 0
    assert f"usage: workbench {name}" in said.out
    assert f"Examples:\n  workbench {name}" in said.out
    assert "--json" in said.out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_example_in_the_help_is_understood(name: str) -> None:
    lines = re.findall(r"^ +workbench (.*)$", getdoc(cli.COMMANDS[name]) or "", re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        found, words = cli._route(shlex.split(line.partition(" > ")[0]))
        assert found == name
        cli._parse(found, words)


def test_organisms_named_in_examples_are_shipped() -> None:
    lines = "\n".join(getdoc(kind) or "" for kind in cli.COMMANDS.values())
    named = set(re.findall(r"workbench (?:hunt|sweep|retrain|zoo show) ([a-z]+)(?:$| )", lines, re.MULTILINE))
    assert named
    assert named <= set(zoo.shipped_names())


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_overview_names_every_command(run: Run, words: tuple[str, ...]) -> None:
    said = run(*words)
    assert said.status == 0
    assert all(f"workbench {name}" in said.out for name in cli.COMMANDS)


def test_a_group_lists_its_own_commands(run: Run) -> None:
    said = run("zoo")
    assert "zoo build" in said.out
    assert "retrain " not in said.out


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("lat-workbench 0.")


@pytest.mark.parametrize(
    "words",
    [
        ("zoo", "list"),
        ("zoo", "show", "quartz", "--reveal"),
        ("doctor",),
        ("hunt", "quartz", *FAST_HUNT),
        ("sweep", "onyx", "--site", "L0.mlp.post", "--neurons", "0", "1"),
        ("retrain", "onyx", "--steps", "2"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_json_is_one_object_and_nothing_else(run: Run, words: tuple[str, ...]) -> None:
    said = run(*words, "--json")
    assert said.status in (0, 1)
    assert isinstance(said.data, dict)
    assert said.err == ""  # progress is for terminals


# --- the zoo -------------------------------------------------------------------------------------------------


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


# --- hunt, sweep, retrain ------------------------------------------------------------------------------------


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
    data = run("retrain", "saved", "--steps", "1", "--recipe", "noise", "--json").data
    assert set(data["after"]) == {"clean_accuracy"}


# --- demo and bench: what drives them, with stand-ins for the long work ---------------------------------------


def _stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


RATES = {"attack_success": 0.9, "clean_accuracy": 1.0, "triggered_benign": 0.1}
SUMMARY = {
    "organism": "quartz", "found": True, "switch_rank": 1, "rehunt_found": False,
    "attack_success_before": 1.0, "attack_success_after": 0.01, "clean_accuracy_after": 1.0,
    "triggered_benign_after": 0.99, "control_arms": {"fine_tune": RATES, "embedding_at": RATES},
    "seconds": {"hunt": 20.0, "retrain lat": 12.5},
}  # fmt: skip


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A demo without compute; what it was asked for."""

    @dataclass
    class Stage:
        name: str
        done: int
        total: int
        note: str = ""

    class Outcome:
        def summary(self) -> dict[str, Any]:
            return SUMMARY

        def page(self) -> str:
            return "<!DOCTYPE html>é"

    asked: list[dict[str, Any]] = []

    def stand_in(**settings: Any) -> Any:
        asked.append(settings)
        print("chatter")
        yield Stage("hunt", 0, 2)
        yield Stage("hunt", 2, 2, "best 0.9")
        yield Stage("heatmap", 0, 1)
        yield Outcome()

    _stand_in(monkeypatch, "workbench.bench.demo", Stage=Stage, demo=stand_in)
    return asked


def test_demo_writes_the_report_and_names_it_last(run: Run, demo: list[dict[str, Any]]) -> None:
    said = run("demo", "--seed", "3", "--organism", "quartz")
    path = Path("workbench-demo.html").resolve()
    assert said.status == 0
    assert demo == [{"organism": "quartz", "seed": 3}]
    assert path.read_text(encoding="utf-8") == "<!DOCTYPE html>é"
    assert said.out.splitlines()[-1] == f"Report: {path}"
    assert re.search(r"after LAT +0\.010 +1\.000 +0\.990", said.out)
    assert re.search(r"after fine tune +0\.900", said.out)
    assert "the true switch is finding 1" in said.out


def test_demo_json_is_the_summary_and_the_path(run: Run, demo: list[dict[str, Any]]) -> None:
    said = run("demo", "--json", "--output", "deep/er/report.html")
    assert said.data == SUMMARY | {"report": str(Path("deep/er/report.html").resolve())}
    assert "chatter" in said.err


def _bench(monkeypatch: pytest.MonkeyPatch, short: list[str]) -> None:
    frame = pd.DataFrame({"kind": ["single"], "score": [0.9], "elicitation": [float("nan")]}).set_index("kind")
    _stand_in(
        monkeypatch,
        "workbench.bench.zoo",
        bench=lambda names, seeds, workers: iter([(name, seed) for name in names for seed in range(seeds)]),
        table=lambda rows: frame.assign(hunts=len(rows)),
        shortfalls=lambda rows: short,
    )


def test_bench_prints_the_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _bench(monkeypatch, [])
    said = run("bench", "zoo", "--seeds", "2")
    assert said.status == 0
    assert "single" in said.out
    row = run("bench", "zoo", "--seeds", "3", "--organisms", "onyx", "--json").data["rows"][0]
    assert row == {"kind": "single", "score": 0.9, "elicitation": None, "hunts": 3}


def test_bench_that_falls_short_says_where_and_exits_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _bench(monkeypatch, ["hit@1 .8 < .95", "an alarm on onyx"])
    said = run("bench", "zoo")
    assert said.status == 1
    assert "falls short: hit@1 .8 < .95\nfalls short: an alarm on onyx" in said.out


# --- doctor --------------------------------------------------------------------------------------------------


def test_doctor_finds_everything_in_order(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(zoo.CACHE_VARIABLE, str(tmp_path / "cache"))
    said = run("doctor", "--json")
    names = {check["name"] for check in said.data["checks"]}
    assert {"python", "torch", "transformer-lens", "lat-workbench", "device", "cores", "organisms", "cache"} <= names
    assert "pytest" not in names  # an extra, not needed
    assert (said.status, said.data["ok"]) == (0, True)


def test_doctor_names_an_altered_checkpoint(run: Run, small_zoo: Path) -> None:
    with (small_zoo / "onyx" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    said = run("doctor")
    assert said.status == 1
    assert "BAD" in said.out
    assert re.search(r"organisms: .*onyx.model\.safetensors is not the file that was saved", said.out)


def test_doctor_names_what_is_missing_and_what_is_out_of_range(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["no-such-package>=1", "numpy<1", "pytest; extra == 'dev'"]
    monkeypatch.setattr("workbench.cli.doctor.requires", lambda name: needed)
    said = run("doctor", "--json")
    checks = {check["name"]: check for check in said.data["checks"]}
    assert said.status == 1
    assert checks["no-such-package"]["found"] == "missing"
    assert checks["no-such-package"]["cure"] == "run `pip install 'no-such-package>=1'`"
    assert checks["numpy"]["found"].endswith(", wanted <1")
    assert "pytest" not in checks


# --- mistakes ------------------------------------------------------------------------------------------------


def _files(folder: Path, organism: Organism) -> None:
    """What the mistakes below need."""
    organism.agent.save(folder / "saved")
    (folder / "empty").mkdir()
    (folder / "broken.json").write_text("{")
    (folder / "wrong.json").write_text('{"tokens": [[1]]}')
    (folder / "outside.json").write_text('{"tokens": [[999, 1]], "answer_positions": [1], "answers": [[1]]}')


MISTAKES = {
    "hunr": "no command 'hunr' among 9. Closest: hunt.",
    "zoo lst": "Closest: zoo list",
    "zoo show quart": "no organism 'quart' among 2. Closest: quartz.",
    "hunt quart": "no organism or folder 'quart' among 2. Closest: quartz.",
    "hunt ./nowhere": "expected a file at nowhere/agent.json",
    "hunt empty": "expected a file at empty/agent.json",
    "hunt saved": "there is no prompts.json in it. Give --prompts-file.",
    "hunt saved --prompts-file nowhere.json": "expected a file at nowhere.json",
    "hunt saved --prompts-file broken.json": "expected JSON in broken.json",
    "hunt saved --prompts-file wrong.json": "expected an object with tokens, answer_positions, answers in wrong.json",
    "hunt saved --prompts-file outside.json": "expected tokens in 0..",
    "hunt quartz --prompts 8": "expected at least 32 prompts",
    "hunt quartz --prompts 0": "expected a number of prompts of at least 1",
    "hunt quartz --radius -1": "expected a positive radius, got -1.0",
    "hunt quartz --radius nan": "expected a positive radius",
    "hunt quartz --sites L0.mlp.pots": "Closest: L0.mlp.post",
    "hunt quartz --reference quartz": "expected agents of different names",
    "hunt quartz --save empty": "expected a file to write, but empty is none",
    "sweep quartz --site L0.mlp.post --output grid.gif": "no kind of file '.gif' among 5",
    "sweep quartz --site L0.mlp.post --neurons 999": "expected neurons in 0..23",
    "sweep quartz --site L0.mlp.post --doses inf": "expected one or more finite doses",
    "sweep quartz --site": "expected at least one --site",
    "retrain quartz --set lrr=1": "no setting of 'lat' 'lrr' among 7. Closest: lr",
    "retrain quartz --set lr=-1": "lr of 'lat': Input should be greater than 0, got -1.",
    "retrain quartz --set lr": "expected --set key=value, got 'lr'",
    "retrain quartz --set lr=1 --set lr=2": "expected each setting once, got 'lr' twice",
    "retrain quartz --steps 0": "steps of 'lat': Input should be greater than or equal to 1, got 0.",
    "retrain quartz --steps 3 --set steps=3": "expected the number of steps once",
    "retrain quartz --report wrong.json": "expected safetensors in wrong.json",
    "retrain quartz --save wrong.json": "expected a folder to write, but wrong.json is none",
    "retrain quartz --save wrong.json/deeper": "expected a folder at",
    "zoo build": "expected a family or --shipped",
    "zoo build graft --shipped": "expected a family or --shipped",
    "zoo build grafft": "no family 'grafft' among 4. Closest: graft",
    "zoo build clean --task reversl": "Closest: reversal",
    "zoo build clean --set stepps=3": "Closest: steps",
    "zoo build clean --set seed=3": "Is it --seed?",
    "zoo build clean --seed -1": "expected a seed of 0 or more, got -1",
    "zoo build --shipped --set a=1": "expected no --set beside --shipped",
    "bench zoo --seeds 0": "expected at least one seed and one worker",
    "demo --organism quart": "no organism 'quart' among 2. Closest: quartz.",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_told_in_words(run: Run, organisms: dict[str, Organism], words: str) -> None:
    _files(Path(), organisms["onyx"])
    said = run(*shlex.split(words))
    assert said.status == 2
    assert said.err.startswith("error: ")
    assert MISTAKES[words] in said.err
    assert said.out == ""


@pytest.mark.parametrize("words", ["hunt", "hunt a --jsn", "retrain a --recipe lta", "hunt a --prompts many"])
def test_a_word_that_does_not_fit_is_told_by_the_parser(run: Run, words: str) -> None:
    said = run(*words.split())
    assert said.status == 2
    assert "--help" in said.err
    assert said.out == ""


def test_an_altered_checkpoint_is_refused(run: Run, small_zoo: Path) -> None:
    (small_zoo / "onyx" / "model.safetensors").write_bytes(b"x" * 100)
    said = run("hunt", "onyx")
    assert said.status == 2
    assert "It was truncated or altered" in said.err


def test_a_file_that_cannot_be_written_is_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "grid.csv")

    monkeypatch.setattr("workbench.cli.sweep.write_bytes", refuse)
    said = run("sweep", "onyx", "--site", "L0.mlp.post", "--neurons", "0", "--output", "grid.csv")
    assert said.status == 2
    assert said.err == "error: Permission denied: grid.csv. Mend the path, or its permissions.\n"


def test_an_interruption_is_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.cli.zoo.shipped", interrupt)
    assert run("zoo", "list") == Said(130, "", "")


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("ours")

    monkeypatch.setattr("workbench.cli.zoo.shipped", fail)
    with pytest.raises(ValueError, match="ours"):
        cli.main(["zoo", "list"])


# --- pieces --------------------------------------------------------------------------------------------------


def test_json_knows_no_nan_and_keeps_everything_else() -> None:
    data = {"a": float("nan"), "b": (1, True, None), "c": Path("x"), "d": torch.tensor(2.5), "e": {1: "é"}}
    assert json.loads(as_json(data)) == {"a": None, "b": [1, True, None], "c": "x", "d": 2.5, "e": {"1": "é"}}


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "yes"), (None, "-"), (float("nan"), "-"), (0.12345, "0.123"), ((3, 4), "3 4"), ([], "-")],
)
def test_cells_are_short(value: object, shown: str) -> None:
    assert cell(value) == shown


def test_columns_align_numbers_to_the_right() -> None:
    assert columns([{"name": "a", "loss": 1.0}, {"name": "bcdef", "loss": 10.0}]) == (
        "name     loss\na       1.000\nbcdef  10.000"
    )
    assert columns([]) == "(none)"


@pytest.mark.parametrize(
    ("name", "value"),
    [("tokens", [[1], [1, 2]]), ("tokens", [[0.5]]), ("tokens", "words"), ("tokens", []), ("answers", [1])]
    + [("answer_positions", value) for value in ("0", [0.5], [True], 0)],
)
def test_prompts_in_a_file_are_whole_numbers(name: str, value: object) -> None:
    content = {"tokens": [[1]], "answer_positions": [0], "answers": [[1]]} | {name: value}
    Path("p.json").write_text(json.dumps(content))
    with pytest.raises(BadPrompts, match=f"expected {name} as .* of whole numbers .*p.json"):
        read_prompts(Path("p.json"))


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from workbench.cli import main; main(['--help']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformer_lens', 'pandas', 'plotly')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_module_runs_as_a_program_and_survives_a_reader_that_leaves() -> None:
    command = f"{shlex.quote(sys.executable)} -m workbench.cli --help | head -c 5"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "usage", "")
