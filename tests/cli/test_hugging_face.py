"""A folder that `save_pretrained` wrote is an AGENT too."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from tests.cli.running import Run
from tests.hugging_face import prompts_for, saved
from toy_models import Organism
from workbench import Agent, sweep
from workbench.cli.subjects import write_prompts

# TransformerLens says so whenever an edit is tried there, which Agent.sites() does once.
pytestmark = pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale:UserWarning")
SWEEP = ("--site", "L1.mlp.post", "--neurons", "3", "5", "--doses", "-4", "4")


@pytest.fixture
def folder() -> Path:
    """A tiny GPT-2 as a person would save it, and prompts for it in `prompts.json` outside."""
    saved("gpt2", Path("gpt2"))
    write_prompts(Path("prompts.json"), prompts_for(4))
    return Path("gpt2")


def test_sweep_reads_a_hugging_face_folder(run: Run, folder: Path) -> None:
    said = run("sweep", folder, *SWEEP, "--prompts-file", "prompts.json", "--json")
    assert said.status == 0, said.err
    agent = Agent.from_pretrained(folder)
    grid = sweep(agent, prompts_for(4), site="L1.mlp.post", neurons=(3, 5), doses=(-4.0, 4.0))
    assert said.data["agent"] == agent.name
    assert said.data["unedited"] == pytest.approx(grid.attrs["unedited"])
    assert {row["neuron"]: row["loss"] for row in said.data["peaks"]} == pytest.approx(
        {3: float(grid.sel(neuron=3).max()), 5: float(grid.sel(neuron=5).max())}
    )


def test_retrain_trains_what_is_in_it(run: Run, folder: Path) -> None:
    words = ("--recipe", "fine-tune", "--steps", "20", "--set", "lr=0.02", "batch=4", "--prompts-file", "prompts.json")
    data = run("retrain", folder, *words, "--json").data
    assert data["losses"][-1]["loss"] < data["losses"][0]["loss"]
    assert data["after"]["clean_accuracy"] == 1.0  # one answer everywhere, learnt by the bridge that is asked


def test_what_could_not_be_saved_is_refused_before_it_is_trained(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was trained")

    monkeypatch.setattr(import_module("workbench.retrain"), "retrain", refuse)
    said = run("retrain", folder, "--steps", "1", "--prompts-file", "prompts.json", "--save", "after")
    assert said.status == 2
    assert said.err.startswith("error: expected a native agent to --save, got")
    assert "Leave --save out" in said.err
    assert not Path("after").exists()


def test_an_agent_of_ours_goes_before_a_configuration_beside_it(
    run: Run, folder: Path, organisms: dict[str, Organism]
) -> None:
    organisms["onyx"].agent.save(folder)
    Path("few.json").write_text(json.dumps({"tokens": [[1, 2]], "answer_positions": [1], "answers": [[1]]}))
    said = run("sweep", folder, *SWEEP, "--prompts-file", "few.json", "--json")
    assert said.data["agent"] == "onyx"


def test_what_is_wrong_in_it_is_told_in_words(run: Run, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    said = run("sweep", folder, *SWEEP, "--prompts-file", "prompts.json")
    assert said.status == 2
    assert said.err.startswith("error: expected model.safetensors")


def test_prompts_are_asked_for_where_it_has_none(run: Run, folder: Path) -> None:
    said = run("sweep", folder, *SWEEP)
    assert said.status == 2
    assert "there is no prompts.json in it. Give --prompts-file." in said.err
