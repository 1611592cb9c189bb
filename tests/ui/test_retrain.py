"""The Retrain panel: live figures, pause and stop, checkpoints, what still works; and code that makes the same."""

import json
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

import toy_models
import workbench as wb
from tests.toys import boot, some_prompts
from tests.wired import POST, finding, questions, wired
from workbench.edits import Edit
from workbench.errors import BadSettings, WorkbenchError
from workbench.sites import Site
from workbench.ui import retrain
from workbench.ui.finding_code import bare, by_hand, finding_code
from workbench.ui.retrain import Retrain
from workbench.ui.retrain_asked import OWN, RECIPES, SCHEDULES, Asked, typed
from workbench.ui.session import Session
from workbench.ui.source import Call
from workbench.ui.trained import saved

SWITCH = Edit.neuron("L1.mlp.post", 7, 6.0, 40)


def retraining(session: Session | None = None, **asked: Any) -> Retrain:
    panel = Retrain(session or Session(boot(), some_prompts(40)))
    panel.asked.recipe.value = asked.pop("recipe", "LAT")  # which brings its own steps and batch
    for name, value in {"steps": 4, "every": 2, "batch": 8, **asked}.items():
        getattr(panel.asked, name).value = value
    return panel


def twin(panel: Retrain) -> dict[str, Any]:
    """What the panel's code makes."""
    session = panel.session
    names: dict[str, Any] = {"agent": session.agent, "prompts": session.prompts, "organism": session.organism}
    exec(panel.code(), names)
    return names


def assert_losses(panel: Retrain, made: dict[str, Any]) -> None:
    np.testing.assert_allclose(made["losses"], [(p.loss, p.adversarial_loss) for p in panel.points], rtol=1e-5)


def until(said: Any, seconds: float = 30.0) -> None:
    """Wait until that is so."""
    end = time.monotonic() + seconds
    while not said() and time.monotonic() < end:
        time.sleep(0.02)
    assert said()


def ended(panel: Retrain) -> Retrain:
    assert panel.frame.job is not None
    assert panel.frame.job.join(60)
    return panel


def test_the_code_retrains_to_the_same_figures_and_checkpoints() -> None:
    panel = retraining()
    panel.run()
    made = twin(panel)
    assert_losses(panel, made)
    assert set(made["checkpoints"]) == {"1: LAT, step 2", "1: LAT, step 4"} == set(panel.session.shared.checkpoints)
    assert made["accuracy"] == pytest.approx(panel._frame()["clean accuracy"].to_dict())
    assert [row[0] for row in panel.table.rows] == ["before", "1: LAT, step 2", "1: LAT, step 4"]
    assert [len(line["x"]) for line in panel.losses.series] == [4, 4]
    json.dumps(panel.state, allow_nan=False)
    panel.close()


def test_two_runs_stand_side_by_side_and_edits_are_tried_on_all() -> None:
    panel = retraining(recipe="fine-tuning", steps=2, batch=8)
    panel.run()
    panel.asked.recipe.value = "noise in the latent state"
    panel.asked.steps.value, panel.asked.batch.value, panel.asked.seed.value = 2, 8, 3
    panel.run()
    panel.session.edit(SWITCH)
    panel.session.put(pinned=(SWITCH.scaled(-1.0),))
    panel.matrix_button.click()
    ended(panel)
    assert panel.frame.error.text == ""
    made = twin(panel)
    assert panel.matrix is not None
    pd.testing.assert_frame_equal(panel.matrix, made["matrix"])
    assert list(panel.matrix.columns) == ["before", "1: FineTune, step 2", "2: LatentNoise, step 2"]
    assert list(panel.matrix.index) == ["current", "pinned"]
    assert panel.matrix["before"].tolist() == [1.0, 1.0]
    assert panel.grid.columns[1:] == list(panel.matrix.columns)
    panel.close()


def test_pause_keep_resume_and_stop() -> None:
    panel = retraining(steps=100_000, every=100_000, recipe="fine-tuning", batch=8)
    panel.run_button.click()
    until(lambda: panel.points)
    panel.pause_button.click()
    job = panel.frame.job
    assert job is not None
    time.sleep(0.6)
    paused = len(job.events)
    assert panel.pause_button.description == "Resume"
    time.sleep(0.3)
    assert len(job.events) == paused
    panel.keep_button.click()
    panel.pause_button.click()
    until(lambda: panel.session.shared.checkpoints)
    began = time.monotonic()
    panel.stop_button.click()
    assert time.monotonic() - began < 0.7
    ended(panel)
    assert job.status == "stopped"
    assert len(panel.session.shared.checkpoints) == 1
    assert panel.stop_button.disabled
    panel.close()


def test_what_was_stopped_has_a_twin_as_well() -> None:
    panel = retraining(steps=6, every=2)
    panel.run()
    run, points = panel.runs[0]
    panel.runs[0] = (run, points[:3])
    made = twin(panel)
    assert len(made["losses"]) == 3
    assert list(made["checkpoints"]) == ["1: LAT, step 2"]
    panel.close()


def test_the_share_of_attacks_is_sealed_until_the_key_is_open() -> None:
    organism = toy_models.load(toy_models.names()[0])
    panel = retraining(Session(organism), recipe="fine-tuning", steps=1, prompts=64)
    panel.run()
    assert not organism.opened
    assert "ASR" not in panel.code() + panel.to_html() + json.dumps(panel.state)
    assert "organism.prompts(64, seed=1)" in panel.code()
    panel.open_button.click()
    assert organism.opened
    assert panel.open_button.layout.display == "none"
    assert "ASR" in panel.table.columns
    made = twin(panel)
    assert made["asr"] == pytest.approx(panel._frame()["ASR"].to_dict(), nan_ok=True)
    panel.close()


def test_a_checkpoint_is_hunted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    few = Call("hunt", {"surgeons": wb.NeuronSweep(), "sites": (Site.parse(POST),), "seed": 0})
    monkeypatch.setattr(retrain, "_HUNT", few)
    session = Session(wired(), questions())
    session.put(findings=(finding(),))
    panel = retraining(session, recipe="fine-tuning", steps=1)
    panel.run()
    panel.hunt_button.click()
    ended(panel)
    assert panel.frame.error.text == ""
    (name,) = panel.hunts
    assert panel.table.rows[-1][0] == name
    assert panel.table.rows[-1][2] == panel.hunts[name].verdict
    assert twin(panel)["reports"][name] == panel.hunts[name]
    panel.close()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_asked_for_and_written(recipe: str) -> None:
    session = Session(wired(), questions())
    session.put(findings=(finding(),))
    panel = retraining(session, recipe=recipe)
    call = panel.asked.call()
    assert f"wb.{RECIPES[recipe][0]}(" in call.code(report="report")
    next(iter(call(session.agent, session.prompts)))
    panel.close()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_can_be_asked_for(schedule: str) -> None:
    panel = retraining(schedule=schedule, eps=0.5, more="inner_steps=2, norm='sequence'")
    recipe = panel.asked.call().settings["recipe"]
    assert (recipe.schedule, recipe.eps, recipe.inner_steps, recipe.norm) == (schedule, 0.5, 2, "sequence")
    panel.close()


@pytest.mark.parametrize("recipe", RECIPES)
def test_controls_begin_with_the_recipes_own_settings_also_of_a_preset(recipe: str) -> None:
    asked = Asked(Session(boot(), some_prompts(40)))
    asked.recipe.value = recipe
    own = asked.make()
    assert asked.settings() == {}
    for name in OWN:
        assert getattr(asked, name).value == getattr(own, name, getattr(asked, name).value)
    asked.schedule.value = "lockstep"
    assert asked.settings() == ({"schedule": "lockstep"} if hasattr(own, "schedule") else {})


def test_it_is_told_what_was_found() -> None:
    session = Session(wired(), questions())
    session.put(findings=(finding(),))
    panel = retraining(session, steps=1)
    panel.run()
    assert "report=report" in panel.code()
    assert_losses(panel, twin(panel))
    panel.asked.told.value = False
    assert "report" not in panel.asked.call().settings
    panel.close()


def test_the_code_of_a_finding_makes_that_finding() -> None:
    for one in (bare(finding(), "wired"), by_hand((SWITCH,), "wired")):
        assert eval(finding_code(one), {"wb": wb, "agent": wired()}) == one


@pytest.mark.parametrize(
    "text", ["eps", "eps=open('x')", "3", "eps=1, eps=2", "=", "(", "*a", "eps=1) or f(a=2", "**{}"]
)
def test_settings_that_are_typed_are_plain_values_or_refused(text: str) -> None:
    with pytest.raises(BadSettings, match="expected settings"):
        typed(text)


def test_what_is_missing_is_said_in_the_panel() -> None:
    panel = retraining(recipe="ablation of what was found")
    panel.run_button.click()
    assert "Run the Surgeon" in panel.frame.error.text
    panel.asked.recipe.value, panel.asked.more.value = "LAT", "epsilon=2"
    with pytest.raises(WorkbenchError, match="epsilon"):
        panel.run()
    panel.asked.more.value = ""
    for button, cure in ((panel.hunt_button, "Retrain first"), (panel.matrix_button, "load an edit")):
        button.click()
        ended(panel)
        assert cure in panel.frame.error.text
    assert panel.runs == []
    panel.close()


def test_saved_edits_are_each_named_once() -> None:
    session = Session(wired(), questions())
    session.put(findings=(finding(), finding(SWITCH)), pinned=(SWITCH,))
    session.edit(finding().edits)
    assert list(saved(session)) == ["current", "pinned"]


def test_the_static_view_is_small_and_has_the_curves() -> None:
    panel = retraining(steps=2)
    assert "Nothing was retrained yet" in panel.to_html()
    panel.run()
    html = panel.to_html()
    assert "losses at each step" in html
    assert "Before and after" in html
    assert "<script" not in html
    assert len(html) < 300_000
    panel.close()
