"""The workbench: panels in step with each other, opened and closed without a trace, and read as one page."""

import json
import threading
from types import SimpleNamespace

import pytest
import torch
from ipywidgets.widgets.widget import Widget, _instances

import toy_models
import workbench as wb
from tests.drawn import EVIL
from tests.toys import boot, edit_at, noise, some_prompts, toy
from workbench.agent import Agent, Vocabulary
from workbench.errors import BadSettings
from workbench.ui import cells

HOSTILE = (EVIL, "<img src=x onerror=alert(1)>", "\u202etxet\u202c", "a\x00b", "x" * 10_000, "</style>", "${1}", "`")


def bench(agent: Agent | None = None) -> wb.Workbench:
    return wb.Workbench(agent or toy(), some_prompts(40))


def sent(widget: Widget) -> int:
    """Bytes that opening a widget sends, binary ones as they are."""
    state = widget.get_state()
    binary = sum(len(v) for v in state.values() if isinstance(v, bytes | memoryview))
    return binary + len(json.dumps(state, default=lambda v: "" if isinstance(v, bytes | memoryview) else str(v)))


def test_a_selection_in_one_panel_is_seen_in_the_others() -> None:
    workbench = bench()
    workbench.heatmap.asked.steps.value = 3
    workbench.heatmap.run()
    workbench.heatmap.canvas._handle_custom_msg({"kind": "click", "row": 0, "column": 9}, [])
    assert workbench.picker.typed.value == "L1.mlp.post.9"
    assert workbench.picker.canvas.picked == [9]
    workbench.picker.typed.value = "L1.mlp.3-4"
    assert workbench.heatmap.canvas.picked == [3, 4]
    json.dumps(workbench.state, allow_nan=False)
    workbench.close()


def test_twenty_runs_of_the_cell_leave_no_thread_observer_or_widget(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [("cell", "run 0")]
    monkeypatch.setattr(cells, "_here", lambda: here[0])
    monkeypatch.setattr(cells, "_OPEN", {})
    workbench = bench()
    first = (len(_instances), threading.active_count(), workbench.session.watchers)
    old = []
    for run in range(1, 21):
        here[0] = ("cell", f"run {run}")
        old.append(workbench.session)
        workbench.heatmap.draw_button.click()
        workbench = bench()
    assert (len(_instances), threading.active_count(), workbench.session.watchers) == first
    assert [session.watchers for session in old] == [0] * 20
    workbench.close()


def test_another_subject_takes_the_place_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    handle = SimpleNamespace(update=lambda data, raw: shown.append(data["text/html"]))
    monkeypatch.setattr("workbench.ui.saved.display", lambda *_, display_id=False, **__: handle if display_id else None)
    monkeypatch.setattr("workbench.ui.panel.display", lambda *_, **__: None)
    workbench = bench()
    workbench._ipython_display_()
    first, box, counted = workbench.session, workbench.box, len(_instances)
    workbench.session.edit((edit_at("L1.mlp.post", noise(40)),))
    workbench.heatmap.draw_button.click()
    workbench.open(organism := toy_models.load("rutile"))
    assert workbench.session.agent is organism.agent
    assert workbench.box is box
    assert [panel.frame.box for panel in workbench.panels.values()] == list(box.children)
    assert (first.watchers, workbench.session.watchers > 0) == (0, True)
    assert all(panel.frame.title in page for panel, page in zip(workbench.panels.values(), shown[-8:], strict=True))
    assert workbench.session.edits == ()
    assert list(workbench.session.shared.checkpoints) == [first.agent.name]
    assert len(_instances) < counted * 1.5
    with pytest.raises(BadSettings):
        workbench.open(toy())  # prompts are missing
    assert workbench.session.agent is organism.agent
    workbench.close()


def test_the_zoo_opens_what_it_has_loaded_in_all_panels() -> None:
    workbench = bench()
    zoo = workbench.zoo
    assert zoo.open_button.disabled
    zoo.open_button.click()
    assert "expected an organism" in zoo.frame.error.text
    zoo.filter.value, zoo.cards.chosen = "rutile", 0
    zoo.run()
    assert not zoo.open_button.disabled
    zoo.open_button.click()
    organism = workbench.session.organism
    assert organism is not None
    assert organism is zoo.organism
    assert workbench.zoo is not zoo
    assert workbench.zoo.open_button.disabled
    assert not organism.opened
    assert 'organism = toy_models.load("rutile")' in workbench.surgeon.code()
    workbench.close()


def test_opening_sends_less_than_three_megabytes() -> None:
    before = set(_instances)
    workbench = bench()
    assert sum(sent(_instances[key]) for key in set(_instances) - before) < 3_000_000
    workbench.close()


def test_hostile_names_of_tokens_and_agents_stay_text() -> None:
    names = (*HOSTILE, *(f"t{i}" for i in range(20 - len(HOSTILE))))
    agent = Agent(boot().bridge, name=EVIL, device="cpu", vocabulary=Vocabulary(names, None))
    prompts = some_prompts(40)
    prompts.tokens[:, :8] = torch.arange(8)
    workbench = wb.Workbench(agent, prompts)
    workbench.session.select("L1.mlp.post")
    surgeon = workbench.surgeon
    surgeon.asked.search.value, surgeon.asked.where.value = "NeuronSweep", "the selected sites"
    surgeon.run()
    surgeon.findings.chosen = 0
    assert max(len(text) for row in surgeon.answers.rows for text in row) < 1000
    html = workbench.to_html()
    for page in (html, str(workbench._repr_mimebundle_()["text/html"])):
        assert "<script" not in page
        assert "<img src=x" not in page
        assert "\u202e" not in page
        assert "\x00" not in page
    assert len(html) < 900_000
    workbench.close()


def test_it_is_displayed_live_and_still() -> None:
    workbench = bench()
    data = workbench._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert workbench.code().count("agent, prompts: those that the workbench was opened with") == len(workbench.panels)
    workbench.close()
