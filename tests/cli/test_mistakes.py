"""A mistake is told in words, with exit status 2, before any compute; never by a traceback."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Run, Said
from toy_models import Organism
from workbench import LAT, cli

# TransformerLens says so whenever an edit is tried there, which Agent.sites() does once.
pytestmark = pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale:UserWarning")


def _files(folder: Path, organism: Organism) -> None:
    """What the mistakes below need."""
    organism.agent.save(folder / "saved")
    (folder / "empty").mkdir()
    (folder / "broken.json").write_text("{")
    (folder / "wrong.json").write_text('{"tokens": [[1]]}')
    (folder / "outside.json").write_text('{"tokens": [[999, 1]], "answer_positions": [1], "answers": [[1]]}')


MISTAKES = {
    "hunr": f"no command 'hunr' among {len(cli.COMMANDS)}. Closest: hunt",
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
    "sweep quartz --site L0.mlp.post --screen 1.5": "expected the share of neurons to evaluate in (0, 1]",
    "sweep quartz --site L0.mlp.post --memory 0": "expected --memory in MiB, at least 1, got 0.",
    "retrain quartz --set lrr=1": f"no setting of LAT 'lrr' among {len(LAT.model_fields)}. Closest: lr",
    "retrain quartz --set lr=-1": "lr of LAT: Input should be greater than 0, got -1.",
    "retrain quartz --set lr": "expected --set key=value, got 'lr'",
    "retrain quartz --set lr=1 --set lr=2": "expected each setting once, got 'lr' twice",
    "retrain quartz --steps 0": "steps of LAT: Input should be greater than or equal to 1, got 0.",
    "retrain quartz --steps 3 --set steps=3": "expected the number of steps once",
    "retrain quartz --report wrong.json": "expected safetensors in wrong.json",
    "retrain quartz --save wrong.json": "expected a folder to write, but wrong.json is none",
    "retrain quartz --save wrong.json/deeper": "expected a folder at",
    "zoo build": "expected a family or --shipped",
    "zoo build graft --shipped": "expected a family or --shipped",
    "zoo build grafft": "no family 'grafft' among 8. Closest: graft",
    "zoo build clean --task reversl": "Closest: reversal",
    "zoo build clean --set stepps=3": "Closest: steps",
    "zoo build clean --set seed=3": "Is it --seed?",
    "zoo build clean --seed -1": "expected a seed of 0 or more, below 2**63, got -1",
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
